import Foundation
import JSON

/// What a template does in a plain conversation, step by step, in one way of writing: two templates with equal outlines
/// write equal texts.
///
/// Left out is what never happens without tools, documents and reasoning, and what refuses a conversation
/// (`raise_exception`): `ChatTemplate` checks the roles itself.
struct TemplateOutline: Equatable {
    private(set) var steps: [String]
    /// Whether the template wants user and assistant in turn.
    private(set) var requiresAlternation: Bool
    /// Whether the loop goes over `loop_messages`, which is then what the outline calls `messages`.
    private let renames: Bool

    /// Outlines a template.
    ///
    /// - Throws: `TemplateSyntaxError` where it is not Jinja, or Jinja that no chat template uses.
    init(_ template: String) throws {
        try Self.checkMarks(in: template)
        var segments = try TemplateLexer.segments(of: template)[...]
        var block = try TemplateBlock(&segments, isNested: false)
        requiresAlternation = block.removeRefusals()
        steps = []
        renames = template.contains("loop_messages")
        append(block)
    }

    /// Refuses runs of combining marks without end: Swift takes time that grows with the square of a run to compare strings.
    /// A mark has to follow a letter, a digit or another mark, or shorter runs could become one where parts of the template
    /// are put together.
    private static func checkMarks(in template: String) throws {
        var markCount = 0
        var previous: Unicode.Scalar = " "
        for scalar in template.unicodeScalars {
            markCount = scalar.isReorderedMark ? markCount + 1 : 0
            let standsAlone =
                previous.isASCII ? !CharacterSet.alphanumerics.contains(previous) : previous.properties.isWhitespace
            guard markCount <= JSONReader.maximumMarkCount, markCount != 1 || !standsAlone else {
                throw TemplateSyntaxError(reason: "combining marks without a base character, or too many of them")
            }
            previous = scalar
        }
    }

    /// A number that stands for the steps: FNV-1a, 64 bits, over the UTF-8 of their lines.
    var digest: UInt64 {
        var digest: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in steps.joined(separator: "\n").utf8 { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return digest
    }

    private mutating func append(_ block: TemplateBlock) {
        for node in block.nodes {
            switch node {
            case .write(let text): append(writing: text)
            case .set(let statement): steps.append("set \(statement)")
            case .slice(let rest): steps.append("set messages = \u{27E8}\(rest)\u{27E9}")
            case .loop(let head, let body):
                let count = steps.count
                steps.append("for \(renamed(head))")
                append(body)
                if steps.count == count + 1 { steps.removeLast() } else { steps.append("end") }
            case .choice(let branches): append(branches)
            case .raise: steps.append("raise")
            }
        }
    }

    private func renamed(_ head: String) -> String {
        switch head {
        case "message in loop_messages": "message in messages"
        case "message in messages" where renames: "message in messages, all of them"
        default: head
        }
    }

    private mutating func append(_ branches: [TemplateBlock.Branch]) {
        let start = steps.count
        for branch in branches {
            guard let condition = branch.condition else {
                if steps.count == start { return append(branch.body) }
                steps.append("else")
                append(branch.body)
                if steps.last == "else" { steps.removeLast() }
                continue
            }
            steps.append("\(steps.count == start ? "if" : "elif") \(condition.spelling)")
            append(branch.body)
        }
        if steps.count > start { steps.append("end") }
        if steps.count == start + 2 { steps.removeLast(2) }
    }

    /// Texts that are written one after the other are one text.
    private mutating func append(writing text: String) {
        if let last = steps.last, last.hasPrefix("write ") {
            steps[steps.count - 1] = last + text
        } else {
            steps.append("write \(text)")
        }
    }
}

/// A stretch of a template as a tree, without the branches that are never taken in a plain conversation.
struct TemplateBlock {
    struct Branch {
        /// Nil for `else`.
        var condition: TemplateCondition?
        var body: TemplateBlock
    }

    enum Node {
        /// Text as it is, expressions between ⟨ and ⟩.
        case write(String)
        case set(String)
        /// `loop_messages`, set to what of `messages` is looped over.
        case slice(String)
        case loop(head: String, body: TemplateBlock)
        case choice([Branch])
        case raise
    }

    private(set) var nodes: [Node] = []
    /// What ended the block: `else`, `endif` and their like; nil at the end of the template.
    private var ending: TemplateExpression?

    /// What is set for tools and for counting turns alone, to any value and to one that says nothing.
    private static let idleNames: Set<String> = ["tools_in_user_message", "user_messages", "ns.index"]
    private static let idleValues = ["tools": "none", "ns": "namespace()"]
    private static let emptyLoops: Set<String> = ["tool in tools", "tool_call in message.tool_calls"]

    /// Deeper nesting than this is refused.
    private static let maximumDepth = 64

    /// Reads up to the statement that ends the block.
    init(_ segments: inout ArraySlice<TemplateSegment>, isNested: Bool, depth: Int = 0) throws {
        guard depth <= Self.maximumDepth else { throw TemplateSyntaxError(reason: "nested too deeply") }
        while let segment = segments.popFirst() {
            switch segment {
            case .text(let text): nodes.append(.write(text))
            case .output(let text): nodes.append(try Self.output(TemplateExpression(text)))
            case .statement(let text):
                let statement = try TemplateExpression(text)
                guard case .name(let keyword) = statement.words.first else {
                    throw TemplateSyntaxError(reason: "a statement without a name: \(text)")
                }
                let argument = TemplateExpression(words: Array(statement.words.dropFirst()))
                switch keyword {
                case "set": readSet(argument)
                case "if": try readChoice(argument, &segments, depth: depth)
                case "for": try readLoop(argument, &segments, depth: depth)
                case "elif", "else", "endif", "endfor":
                    guard isNested else { throw TemplateSyntaxError(reason: "\(keyword) without a beginning") }
                    ending = statement
                    return
                case "generation", "endgeneration": continue  // marks answers for training, writes nothing
                default: throw TemplateSyntaxError(reason: "a statement that no known format has: \(keyword)")
                }
            }
        }
        guard !isNested else { throw TemplateSyntaxError(reason: "an if or a for has no end") }
    }

    private static func output(_ expression: TemplateExpression) -> Node {
        if expression.words.first == .name("raise_exception") { return .raise }
        return .write(written(expression))
    }

    private static func written(_ expression: TemplateExpression) -> String {
        expression.summands.map { summand in
            if summand.words.count == 1, case .string(let text) = summand.words[0] { return text }
            return "\u{27E8}\(summand.spelling)\u{27E9}"
        }.joined()
    }

    private mutating func readSet(_ argument: TemplateExpression) {
        guard let equals = argument.words.firstIndex(of: .sign("=")) else {
            nodes.append(.set(argument.spelling))
            return
        }
        let name = TemplateExpression(words: Array(argument.words[..<equals])).spelling
        let value = TemplateExpression(words: Array(argument.words[(equals + 1)...]))
        if Self.idleNames.contains(name) || Self.idleValues[name] == value.spelling { return }
        if name == "loop_messages" {
            if value.spelling != "messages" { nodes.append(.slice(value.spelling)) }
            return
        }
        // `messages` itself stays whole when `loop_messages` is the rest of it: the order does not matter.
        let slice = nodes.indices.last.flatMap { index in if case .slice = nodes[index] { index } else { nil } }
        nodes.insert(.set("\(name) = \(Self.written(value))"), at: slice ?? nodes.endIndex)
    }

    private mutating func readLoop(
        _ head: TemplateExpression, _ segments: inout ArraySlice<TemplateSegment>, depth: Int
    ) throws {
        let body = try TemplateBlock(&segments, isNested: true, depth: depth + 1)
        guard body.ending?.words == [.name("endfor")] else { throw TemplateSyntaxError(reason: "a for has no end") }
        if !Self.emptyLoops.contains(head.spelling) { nodes.append(.loop(head: head.spelling, body: body)) }
    }

    private mutating func readChoice(
        _ condition: TemplateExpression, _ segments: inout ArraySlice<TemplateSegment>, depth: Int
    ) throws {
        var branches: [Branch] = []
        var condition: TemplateCondition? = try TemplateCondition(condition)
        var isSettled = false
        while true {
            let body = try TemplateBlock(&segments, isNested: true, depth: depth + 1)
            if !isSettled {
                switch condition {
                case .constant(false): break
                case .constant(true), nil:
                    branches.append(Branch(condition: nil, body: body))
                    isSettled = true
                case .some(let condition):
                    // What an earlier branch takes never comes here.
                    if !branches.contains(where: { $0.condition?.follows(from: condition) == true }) {
                        branches.append(Branch(condition: condition, body: body))
                    }
                }
            }
            switch body.ending?.words.first {
            case .name("endif"):
                if branches.count == 1, branches[0].condition == nil {
                    nodes += branches[0].body.nodes
                } else if !branches.isEmpty {
                    nodes.append(.choice(branches))
                }
                return
            case .name("elif"):
                condition = try TemplateCondition(
                    TemplateExpression(words: Array(body.ending?.words.dropFirst() ?? [])))
            case .name("else"): condition = nil
            default: throw TemplateSyntaxError(reason: "an if has no end")
            }
        }
    }
}

extension TemplateBlock {
    /// Takes out the refusals of roles: of those that do not alternate, and of those that no branch is for.
    ///
    /// - Returns: Whether the roles have to alternate.
    mutating func removeRefusals() -> Bool {
        var requiresAlternation = false
        var kept: [Node] = []
        for node in nodes {
            switch node {
            case .loop(let head, var body):
                if body.removeRefusals() { requiresAlternation = true }
                kept.append(.loop(head: head, body: body))
            case .choice(var branches):
                for index in branches.indices where branches[index].body.removeRefusals() { requiresAlternation = true }
                if branches.last?.condition == nil, branches.last?.body.isRefusal == true { branches.removeLast() }
                if branches.count == 1, branches[0].body.isRefusal,
                    branches[0].condition?.spelling.contains("index0%2==0") == true
                        || branches[0].condition?.spelling.contains("ns.index%2==0") == true
                {
                    requiresAlternation = true
                } else {
                    kept.append(.choice(branches))
                }
            default: kept.append(node)
            }
        }
        nodes = kept
        return requiresAlternation
    }

    private var isRefusal: Bool {
        nodes.allSatisfy { if case .write(let text) = $0 { text.allSatisfy(\.isWhitespace) } else { $0.isRaise } }
            && nodes.contains(where: \.isRaise)
    }
}

extension TemplateBlock.Node {
    fileprivate var isRaise: Bool { if case .raise = self { true } else { false } }
}
