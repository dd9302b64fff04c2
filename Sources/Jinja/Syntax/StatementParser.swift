// Statements: what stands between `{%` and `%}`, up to the tags that end it.
extension Parser {
    /// Reads text, expressions and statements up to one of the tags, which is left in place, or to the template's end.
    mutating func parseBody(until tags: [String]) throws -> [Statement] {
        statementDepth += 1
        endTags.append(tags)
        defer {
            statementDepth -= 1
            endTags.removeLast()
        }
        guard statementDepth <= Self.maximumStatementDepth, !stack.isExhausted else {
            throw SyntaxError(
                "statements are nested too deeply; the limit is \(Self.maximumStatementDepth)", at: token.position)
        }
        var body: [Statement] = []
        while true {
            switch token.kind {
            case .text(let text):
                advance()
                body.append(.text(TemplateString(text)))
            case .outputBegin:
                advance()
                body.append(.output(try parseWholeTuple()))
                guard token.kind == .outputEnd else { throw expected("end of print statement") }
                advance()
            case .statementBegin:
                advance()
                if case .name(let name) = token.kind, tags.contains(name) { return body }
                body += try parseStatement()
                try expectStatementEnd()
            default:
                guard tags.isEmpty else {
                    let names = tags.map { "'\($0)'" }.joined(separator: " or ")
                    throw SyntaxError("unexpected end of template, expected the tag \(names)", at: token.position)
                }
                return body
            }
        }
    }

    /// Reads the end of a statement's tag, its body, and the name of the tag that ends it.
    private mutating func parseBlock(until tags: String...) throws -> (body: [Statement], end: String) {
        // As jinja2 has it, for those who think of Python.
        _ = take(.colon)
        try expectStatementEnd()
        let body = try parseBody(until: tags)
        return (body, try expectName())
    }

    /// Reads a body in which a filter that there is not is an error at once, even inside `if`.
    private mutating func parseScope(until tag: String, isLoop: Bool? = nil) throws -> [Statement] {
        let (wasInLoop, wasConditional) = (isInLoop, isConditional)
        defer { (isInLoop, isConditional) = (wasInLoop, wasConditional) }
        isInLoop = isLoop ?? isInLoop
        isConditional = false
        return try parseBlock(until: tag).body
    }

    private mutating func parseWholeExpression() throws -> Expression {
        let expression = try parseExpression()
        try checkNames()
        return expression
    }

    private mutating func parseWholeTuple(allowsConditional: Bool = true, endNames: [String] = []) throws -> Expression
    {
        let expression = try parseTuple(allowsConditional: allowsConditional, endNames: endNames)
        try checkNames()
        return expression
    }

    private mutating func parseStatement() throws -> [Statement] {
        guard case .name(let tag) = token.kind else { throw expected("the name of a tag") }
        let position = advance().position
        switch tag {
        case "for": return [try parseFor(at: position)]
        case "if": return [try parseIf()]
        case "set": return [try parseSet()]
        case "macro": return [try parseMacro()]
        case "call": return [try parseCallBlock(at: position)]
        case "filter": return [try parseFilterBlock()]
        case "with": return [try parseWith()]
        case "autoescape":
            return [.autoescape(try parseWholeExpression(), body: try parseScope(until: "endautoescape"))]
        case "block": return [try parseNamedBlock(at: position)]
        case "generation": return [.generation(try parseScope(until: "endgeneration", isLoop: false))]
        case "print": return try parsePrint()
        case "break", "continue":
            guard isInLoop else { throw SyntaxError("'\(tag)' outside of a loop", at: position) }
            return [tag == "break" ? .break : .continue]
        case "include", "import", "from", "extends": return [try parseUnsupported(tag, at: position)]
        default:
            let names = (endTags.last ?? []).map { "'\($0)'" }.joined(separator: " or ")
            throw SyntaxError("unknown tag '\(tag)'\(names.isEmpty ? "" : ", expected \(names)")", at: position)
        }
    }

    // MARK: Control

    private mutating func parseFor(at position: Int) throws -> Statement {
        let target = try parseTarget(endNames: ["in"])
        guard !target.assigns(symbols.symbol(of: "loop")) else {
            throw SyntaxError("the target of a loop cannot be 'loop'", at: position)
        }
        try expectName("in")
        let iterable = try parseWholeTuple(allowsConditional: false, endNames: ["recursive"])
        let condition = takeName("if") ? try parseUnconditionally { try $0.parseWholeExpression() } : nil
        let isRecursive = takeName("recursive")
        let (body, otherwise) = try parseUnconditionally { parser in
            let wasInLoop = parser.isInLoop
            parser.isInLoop = true
            let (body, end) = try parser.parseBlock(until: "endfor", "else")
            parser.isInLoop = wasInLoop
            return (body, end == "else" ? try parser.parseBlock(until: "endfor").body : [])
        }
        return .for(
            ForLoop(
                target: target, iterable: iterable, condition: condition, isRecursive: isRecursive, body: body,
                otherwise: otherwise, position: position))
    }

    private mutating func parseUnconditionally<T>(_ read: (inout Parser) throws -> T) throws -> T {
        let wasConditional = isConditional
        defer { isConditional = wasConditional }
        isConditional = false
        return try read(&self)
    }

    private mutating func parseIf() throws -> Statement {
        let wasConditional = isConditional
        defer { isConditional = wasConditional }
        isConditional = true
        var branches: [(condition: Expression, body: [Statement])] = []
        var otherwise: [Statement] = []
        var end = "elif"
        while end == "elif" {
            let condition = try parseWholeTuple(allowsConditional: false)
            let body: [Statement]
            (body, end) = try parseBlock(until: "elif", "else", "endif")
            branches.append((condition, body))
        }
        if end == "else" { otherwise = try parseBlock(until: "endif").body }
        return .if(branches, otherwise: otherwise)
    }

    private mutating func parsePrint() throws -> [Statement] {
        var statements: [Statement] = []
        while token.kind != .statementEnd {
            if !statements.isEmpty { try expect(.comma) }
            statements.append(.output(try parseWholeExpression()))
        }
        return statements
    }

    // MARK: Assignment

    private mutating func parseSet() throws -> Statement {
        let target = try parseTarget(allowsNamespace: true)
        if take(.assign) { return .set(target, try parseWholeTuple()) }
        var filters: [FilterCall] = []
        while take(.pipe) { filters.append(try parseFilter()) }
        try checkNames()
        return .setBlock(target, filters: filters, body: try parseScope(until: "endset"))
    }

    private mutating func parseWith() throws -> Statement {
        var assignments: [(target: Target, value: Expression)] = []
        while token.kind != .statementEnd, !isSign(.colon) {
            if !assignments.isEmpty { try expect(.comma) }
            let target = try parseTarget()
            try expect(.assign)
            assignments.append((target, try parseWholeExpression()))
        }
        return .with(assignments, body: try parseScope(until: "endwith"))
    }

    /// Reads what is assigned to: a name, an attribute of a namespace, or several with commas between them.
    private mutating func parseTarget(
        allowsNamespace: Bool = false, endNames: [String] = [], isInParentheses: Bool = false
    ) throws -> Target {
        statementDepth += 1
        defer { statementDepth -= 1 }
        guard statementDepth <= Self.maximumStatementDepth else { throw expected("a name") }
        let position = token.position
        var targets: [Target] = []
        var isTuple = false
        loop: while true {
            switch token.kind {
            case .statementEnd, .outputEnd, .sign(.rightParenthesis): break loop
            case .name(let name) where endNames.contains(name): break loop
            default: break
            }
            targets.append(try parseSingleTarget(allowsNamespace: allowsNamespace))
            guard take(.comma) else { break }
            isTuple = true
        }
        if !isTuple, let only = targets.first { return only }
        guard isTuple || isInParentheses else { throw expected("a name to assign to") }
        return .tuple(targets, position: position)
    }

    private mutating func parseSingleTarget(allowsNamespace: Bool) throws -> Target {
        let position = token.position
        if take(.leftParenthesis) {
            let target = try parseTarget(isInParentheses: true)
            try expect(.rightParenthesis)
            return target
        }
        guard case .name(let name) = token.kind, name.constant == nil else {
            throw SyntaxError("cannot assign to '\(token.description)'", at: position)
        }
        advance()
        let symbol = symbols.symbol(of: name)
        guard allowsNamespace, take(.dot) else { return .name(symbol) }
        return .namespace(symbol, attribute: try expectName(), position: position)
    }

    // MARK: Macros and blocks

    private mutating func parseMacro() throws -> Statement {
        let position = token.position
        let name = try expectName()
        guard name.constant == nil else { throw SyntaxError("cannot assign to '\(name)'", at: position) }
        return .macro(try parseMacroBody(name: name, parameters: try parseParameters(), until: "endmacro"))
    }

    private mutating func parseCallBlock(at position: Int) throws -> Statement {
        let parameters = isSign(.leftParenthesis) ? try parseParameters() : []
        let call = try parseWholeExpression()
        guard case .call(let function, let arguments) = call.kind else {
            throw SyntaxError("expected a call", at: call.position)
        }
        let body = try parseMacroBody(name: nil, parameters: parameters, until: "endcall")
        return .call(function, arguments, position: position, body: body)
    }

    private mutating func parseParameters() throws -> [(name: String, symbol: Symbol, standard: Expression?)] {
        var parameters: [(name: String, symbol: Symbol, standard: Expression?)] = []
        try expect(.leftParenthesis)
        while !isSign(.rightParenthesis) {
            if !parameters.isEmpty { try expect(.comma) }
            let position = token.position
            let name = try expectName()
            guard name.constant == nil, !parameters.contains(where: { $0.name == name }) else {
                throw SyntaxError("'\(name)' cannot be a parameter here", at: position)
            }
            let standard = take(.assign) ? try parseUnconditionally { try $0.parseWholeExpression() } : nil
            guard standard != nil || parameters.last?.standard == nil else {
                throw SyntaxError("a parameter without a default behind one that has one", at: position)
            }
            parameters.append((name, symbols.symbol(of: name), standard))
        }
        try expect(.rightParenthesis)
        return parameters
    }

    private mutating func parseMacroBody(
        name: String?, parameters: [(name: String, symbol: Symbol, standard: Expression?)], until tag: String
    ) throws -> MacroDefinition {
        specialNames.append([])
        let position = token.position
        let body = try parseScope(until: tag, isLoop: false)
        let uses = specialNames.removeLast()
        if uses.contains("caller"), let caller = parameters.first(where: { $0.name == "caller" }),
            caller.standard == nil
        {
            throw SyntaxError("a parameter 'caller' needs a default", at: position)
        }
        let symbol = name.map { symbols.symbol(of: $0) }
        return MacroDefinition(name: name, symbol: symbol, parameters: parameters, body: body, uses: uses)
    }

    private mutating func parseFilterBlock() throws -> Statement {
        var filters = [try parseFilter()]
        while take(.pipe) { filters.append(try parseFilter()) }
        try checkNames()
        return .filter(filters, body: try parseScope(until: "endfilter"))
    }

    private mutating func parseNamedBlock(at position: Int) throws -> Statement {
        let name = try expectName()
        let isScoped = takeName("scoped")
        let isRequired = takeName("required")
        guard blocks[name] == nil else { throw SyntaxError("the block '\(name)' is defined twice", at: position) }
        blocks[name] = ([], isRequired)
        let body = try parseScope(until: "endblock", isLoop: false)
        _ = takeName(name)
        if isRequired, !body.allSatisfy(\.isWhitespace) {
            throw SyntaxError("a required block holds nothing but comments and white space", at: position)
        }
        blocks[name] = (body, isRequired)
        return .block(name: name, isScoped: isScoped)
    }

    /// Reads over a statement that needs another template.
    private mutating func parseUnsupported(_ tag: String, at position: Int) throws -> Statement {
        _ = try parseWholeExpression()
        while token.kind != .statementEnd, token.kind != .end { advance() }
        return .unsupported(tag: tag, position: position)
    }
}

extension Statement {
    fileprivate var isWhitespace: Bool {
        if case .text(let text) = self { text.codePoints.allSatisfy(CodePoint.isSpace) } else { false }
    }
}

extension Target {
    fileprivate func assigns(_ symbol: Symbol) -> Bool {
        switch self {
        case .name(let name): name == symbol
        case .namespace: false
        case .tuple(let targets, _): targets.contains { $0.assigns(symbol) }
        }
    }
}
