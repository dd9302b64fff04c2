/// Reads a template into a tree: the tokens, and what both expressions and statements need of them.
///
/// `ExpressionParser.swift` and `StatementParser.swift` hold the grammar, which is that of jinja2's parser.
struct Parser {
    /// Deeper nesting of expressions is refused: trees are evaluated and freed recursively.
    static let maximumExpressionDepth = 200
    /// Deeper nesting of statements is refused.
    static let maximumStatementDepth = 100

    private let tokens: [Token]
    private var index = 0
    let stack = StackGuard()
    /// How deep the parser is in expressions right now.
    var expressionDepth = 0
    var symbols = SymbolTable()
    var blocks: [String: (body: [Statement], isRequired: Bool)] = [:]

    // What surrounds the present place.
    var statementDepth = 0
    /// Whether a loop can be left or continued from here.
    var isInLoop = false
    /// The tags that would end the statements that are open, the innermost last.
    var endTags: [[String]] = []
    /// Whether a filter or test that there is not is an error only where it is reached: inside `if`.
    var isConditional = false
    /// Filters and tests that there are not, of the expression that is being read.
    var unknownNames: [SyntaxError] = []
    /// The special names that the macros around ask for, the innermost last.
    var specialNames: [Set<String>] = []

    /// - Throws: ``SyntaxError``
    static func parse(_ source: [UInt32], control: WhitespaceControl) throws -> SyntaxTree {
        var parser = Parser(tokens: try Lexer.tokens(of: source, control: control))
        let body = try parser.parseBody(until: [])
        return SyntaxTree(body: body, blocks: parser.blocks, symbols: parser.symbols)
    }

    private init(tokens: [Token]) { self.tokens = tokens }

    // MARK: Tokens

    var token: Token { tokens[index] }

    var following: Token { tokens[min(index + 1, tokens.count - 1)] }

    /// Takes the present token. The one at the end stays.
    @discardableResult
    mutating func advance() -> Token {
        let token = token
        if index < tokens.count - 1 { index += 1 }
        return token
    }

    func isName(_ name: String) -> Bool { token.kind == .name(name) }

    func isSign(_ sign: Token.Sign) -> Bool { token.kind == .sign(sign) }

    mutating func takeName(_ name: String) -> Bool {
        guard isName(name) else { return false }
        advance()
        return true
    }

    mutating func take(_ sign: Token.Sign) -> Bool {
        guard isSign(sign) else { return false }
        advance()
        return true
    }

    mutating func expect(_ sign: Token.Sign) throws {
        guard take(sign) else { throw expected("'\(sign.rawValue)'") }
    }

    mutating func expectName() throws -> String {
        guard case .name(let name) = token.kind else { throw expected("a name") }
        advance()
        return name
    }

    mutating func expectName(_ name: String) throws {
        guard takeName(name) else { throw expected("'\(name)'") }
    }

    mutating func expectStatementEnd() throws {
        guard token.kind == .statementEnd else { throw expected("end of statement block") }
        advance()
    }

    func expected(_ what: String) -> SyntaxError {
        SyntaxError("expected \(what), found '\(token.description)'", at: token.position)
    }

    /// Notes that a filter or test of a name is asked for.
    mutating func use(_ kind: String, _ name: String, isKnown: Bool, at position: Int) {
        guard !isKnown, !isConditional else { return }
        unknownNames.append(SyntaxError("no \(kind) named '\(name)'", at: position))
    }

    /// - Throws: ``SyntaxError`` where a filter or test of what was read is unknown.
    func checkNames() throws {
        if let first = unknownNames.first { throw first }
    }
}
