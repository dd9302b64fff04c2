/// The condition of an `if`, as far as it is open in a plain conversation: one without tools, documents and reasoning.
indirect enum TemplateCondition: Equatable {
    case constant(Bool)
    case open(String)
    case not(TemplateCondition)
    case any([TemplateCondition])
    case all([TemplateCondition])

    /// What is settled in a plain conversation. Everything else is open.
    private static let settled: [String: Bool] = [
        "tools": false, "tools is defined": false, "tools is not none": false, "tools is none": true,
        "custom_tools": false, "custom_tools is defined": false, "builtin_tools is defined": false,
        "tools_in_user_message is defined": false, "date_string is defined": false, "strftime_now is defined": true,
        "message.tool_calls": false, "message.tool_calls is defined": false, "message.tool_calls is not none": false,
        "'tool_calls' in message": false, "message.role=='tool'": false, "message.role=='tool_results'": false,
        "message.role=='tool_calls'": false, "message.role=='ipython'": false, "enable_thinking is defined": false,
        "message.reasoning_content is defined": false, "message.reasoning_content is string": false,
        "message.content is string": true, "add_generation_prompt is defined": true, "true==true": true,
        "false==true": false,
    ]

    /// Deeper nesting than this is refused.
    private static let maximumDepth = 64

    /// Reads a condition.
    ///
    /// - Throws: `TemplateSyntaxError` where parentheses and negations are nested too deeply.
    init(_ expression: TemplateExpression) throws {
        var words = expression.words[...]
        self = try Self.readAny(&words, depth: 0)
        // Something is left only where parentheses do not match: no known condition looks like this.
        if !words.isEmpty { self = .open(expression.spelling) }
    }

    private static func readAny(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition {
        var terms = [try readAll(&words, depth: depth)]
        while words.first == .name("or") {
            words.removeFirst()
            terms.append(try readAll(&words, depth: depth))
        }
        return joined(terms, decidedBy: true, TemplateCondition.any)
    }

    private static func readAll(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition {
        var terms = [try readTerm(&words, depth: depth)]
        while words.first == .name("and") {
            words.removeFirst()
            terms.append(try readTerm(&words, depth: depth))
        }
        return joined(terms, decidedBy: false, TemplateCondition.all)
    }

    private static func readTerm(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition {
        guard depth <= maximumDepth else { throw TemplateSyntaxError(reason: "nested too deeply") }
        if words.first == .name("not") {
            words.removeFirst()
            let inner = try readTerm(&words, depth: depth + 1)
            if case .constant(let value) = inner { return .constant(!value) }
            return .not(inner)
        }
        if words.first == .sign("("), let inner = try readParenthesized(&words, depth: depth) { return inner }
        var open = 0
        let atom = words.prefix { word in
            if word == .sign("(") || word == .sign("[") { open += 1 }
            if word == .sign(")") || word == .sign("]") { open -= 1 }
            return open > 0 || open == 0 && word != .name("and") && word != .name("or")
        }
        words.removeFirst(atom.count)
        let spelling = TemplateExpression(words: Array(atom)).spelling
        return settled[spelling].map(constant) ?? .open(spelling)
    }

    /// A condition in parentheses; nil where they belong to a comparison.
    private static func readParenthesized(
        _ words: inout ArraySlice<TemplateExpression.Word>, depth: Int
    ) throws -> TemplateCondition? {
        var rest = words.dropFirst()
        let inner = try readAny(&rest, depth: depth + 1)
        guard rest.popFirst() == .sign(")") else { return nil }
        guard [nil, .name("and"), .name("or"), .sign(")")].contains(rest.first) else { return nil }
        words = rest
        return inner
    }

    private static func joined(
        _ terms: [TemplateCondition], decidedBy decisive: Bool, _ join: ([TemplateCondition]) -> TemplateCondition
    ) -> TemplateCondition {
        if terms.contains(.constant(decisive)) { return .constant(decisive) }
        let open = terms.filter { $0 != .constant(!decisive) }
        if open.isEmpty { return .constant(!decisive) }
        return open.count == 1 ? open[0] : join(open)
    }

    /// Whether it holds wherever another does, as far as their spelling shows.
    func follows(from other: TemplateCondition) -> Bool {
        if case .any(let terms) = self, terms.contains(other) { return true }
        return self == other
    }

    /// As it is written in an outline.
    var spelling: String {
        switch self {
        case .constant(let value): value ? "true" : "false"
        case .open(let text): text
        case .not(let inner): "not \(inner.enclosed)"
        case .any(let terms): terms.map(\.enclosed).joined(separator: " or ")
        case .all(let terms): terms.map(\.enclosed).joined(separator: " and ")
        }
    }

    private var enclosed: String {
        switch self {
        case .any, .all: "(\(spelling))"
        default: spelling
        }
    }
}
