// Expressions, from what binds loosest to what binds tightest:
//
//     x if c else y · or · and · not · comparisons, in · + - · ~ · * / // % · ** · unary + - · . [] () · | is
//
// It is jinja2's order, which is not Python's: `**` groups to the left, and filters bind tighter than a sign before them only
// where there is no space for doubt: `-1|abs` is `(-1)|abs`.
extension Parser {
    /// Makes an expression around others.
    private func make(
        _ kind: Expression.Kind, at position: Int, around children: [Expression] = []
    ) throws -> Expression {
        let depth = 1 + (children.lazy.map(\.depth).max() ?? 0)
        guard depth <= Self.maximumExpressionDepth else { throw tooDeep(at: position) }
        return Expression(kind: kind, position: position, depth: depth)
    }

    private func tooDeep(at position: Int) -> SyntaxError {
        SyntaxError("expressions are nested too deeply; the limit is \(Self.maximumExpressionDepth)", at: position)
    }

    /// Reads something that may contain itself.
    private mutating func nested<T>(_ read: (inout Parser) throws -> T) throws -> T {
        expressionDepth += 1
        defer { expressionDepth -= 1 }
        guard expressionDepth <= Self.maximumExpressionDepth, !stack.isExhausted else {
            throw tooDeep(at: token.position)
        }
        return try read(&self)
    }

    mutating func parseExpression(allowsConditional: Bool = true) throws -> Expression {
        try nested { try allowsConditional ? $0.parseConditional() : $0.parseOr() }
    }

    private mutating func parseConditional() throws -> Expression {
        let position = token.position
        let unknownCount = unknownNames.count
        var expression = try parseOr()
        while takeName("if") {
            let condition = try parseOr()
            let otherwise = takeName("else") ? try nested { try $0.parseConditional() } : nil
            // Whatever stands in it is looked up only when it is reached.
            unknownNames.removeLast(unknownNames.count - unknownCount)
            expression = try make(
                .conditional(expression, condition: condition, otherwise: otherwise), at: position,
                around: [expression, condition] + (otherwise.map { [$0] } ?? []))
        }
        return expression
    }

    private mutating func parseOr() throws -> Expression {
        var left = try parseAnd()
        while isName("or") {
            let position = advance().position
            let right = try parseAnd()
            left = try make(.or(left, right), at: position, around: [left, right])
        }
        return left
    }

    private mutating func parseAnd() throws -> Expression {
        var left = try parseNot()
        while isName("and") {
            let position = advance().position
            let right = try parseNot()
            left = try make(.and(left, right), at: position, around: [left, right])
        }
        return left
    }

    private mutating func parseNot() throws -> Expression {
        guard isName("not") else { return try parseComparison() }
        let position = advance().position
        let operand = try nested { try $0.parseNot() }
        return try make(.not(operand), at: position, around: [operand])
    }

    private mutating func parseComparison() throws -> Expression {
        let first = try parseSum()
        let position = token.position
        var rest: [(operation: ComparisonOperator, operand: Expression)] = []
        while let operation = takeComparison() { rest.append((operation, try parseSum())) }
        guard !rest.isEmpty else { return first }
        return try make(.comparison(first, rest), at: position, around: [first] + rest.map(\.operand))
    }

    private mutating func takeComparison() -> ComparisonOperator? {
        switch token.kind {
        case .sign(let sign):
            guard let operation = ComparisonOperator(rawValue: sign.rawValue) else { return nil }
            advance()
            return operation
        case .name("in"):
            advance()
            return .contained
        case .name("not") where following.kind == .name("in"):
            advance()
            advance()
            return .notContained
        default: return nil
        }
    }

    private mutating func parseSum() throws -> Expression {
        try parseBinary([.plus, .minus]) { try $0.parseConcatenation() }
    }

    private mutating func parseConcatenation() throws -> Expression {
        let first = try parseProduct()
        guard isSign(.tilde) else { return first }
        let position = token.position
        var operands = [first]
        while take(.tilde) { operands.append(try parseProduct()) }
        return try make(.concatenation(operands), at: position, around: operands)
    }

    private mutating func parseProduct() throws -> Expression {
        try parseBinary([.multiply, .divide, .floorDivide, .modulo]) { try $0.parsePower() }
    }

    private mutating func parsePower() throws -> Expression {
        try parseBinary([.power]) { try $0.parseUnary() }
    }

    private mutating func parseBinary(
        _ signs: [Token.Sign], operand: (inout Parser) throws -> Expression
    ) throws -> Expression {
        var left = try operand(&self)
        while case .sign(let sign) = token.kind, signs.contains(sign),
            let operation = BinaryOperator(rawValue: sign.rawValue)
        {
            let position = advance().position
            let right = try operand(&self)
            left = try make(.binary(operation, left, right), at: position, around: [left, right])
        }
        return left
    }

    private mutating func parseUnary(takesFilters: Bool = true) throws -> Expression {
        var expression: Expression
        if isSign(.minus) || isSign(.plus) {
            let operation: UnaryOperator = isSign(.minus) ? .minus : .plus
            let position = advance().position
            let operand = try nested { try $0.parseUnary(takesFilters: false) }
            expression = try make(.unary(operation, operand), at: position, around: [operand])
        } else {
            expression = try parsePrimary()
        }
        expression = try parsePostfix(expression)
        return takesFilters ? try parseFiltersAndTests(of: expression) : expression
    }

    // MARK: Primaries

    private mutating func parsePrimary() throws -> Expression {
        let position = token.position
        switch token.kind {
        case .name(let name):
            advance()
            return try make(name.constant.map { .literal($0) } ?? .name(load(name)), at: position)
        case .string:
            var text: [UInt32] = []
            while case .string(let piece) = token.kind {
                text += piece
                advance()
            }
            return try make(.literal(.string(TemplateString(text))), at: position)
        case .integer(let value):
            advance()
            return try make(.literal(.integer(value)), at: position)
        case .float(let value):
            advance()
            return try make(.literal(.float(value)), at: position)
        case .sign(.leftParenthesis):
            advance()
            let expression = try nested { try $0.parseTuple(isInParentheses: true) }
            try expect(.rightParenthesis)
            return expression
        case .sign(.leftBracket): return try parseList()
        case .sign(.leftBrace): return try parseDictionary()
        default: throw SyntaxError("unexpected '\(token.description)'", at: position)
        }
    }

    /// The symbol of a name that is read, noted where it is one that makes a macro take more.
    private mutating func load(_ name: String) -> Symbol {
        if ["caller", "varargs", "kwargs"].contains(name) {
            for index in specialNames.indices { specialNames[index].insert(name) }
        }
        return symbols.symbol(of: name)
    }

    private mutating func parseList() throws -> Expression {
        let position = advance().position
        let elements = try parseElements(until: .rightBracket) { try $0.parseExpression() }
        return try make(.list(elements), at: position, around: elements)
    }

    private mutating func parseDictionary() throws -> Expression {
        let position = advance().position
        let entries = try parseElements(until: .rightBrace) { parser in
            let key = try parser.parseExpression()
            try parser.expect(.colon)
            return (key: key, value: try parser.parseExpression())
        }
        return try make(.dictionary(entries), at: position, around: entries.flatMap { [$0.key, $0.value] })
    }

    /// Reads elements with commas between them, and perhaps one behind the last.
    private mutating func parseElements<T>(
        until closing: Token.Sign, _ element: (inout Parser) throws -> T
    ) throws -> [T] {
        var elements: [T] = []
        while !isSign(closing) {
            if !elements.isEmpty { try expect(.comma) }
            if isSign(closing) { break }
            elements.append(try element(&self))
        }
        try expect(closing)
        return elements
    }

    /// Reads an expression, or a tuple of them without parentheses of its own.
    mutating func parseTuple(
        allowsConditional: Bool = true, isInParentheses: Bool = false, endNames: [String] = []
    ) throws -> Expression {
        let position = token.position
        var elements: [Expression] = []
        var isTuple = false
        while !isTupleEnd(endNames) {
            elements.append(try parseExpression(allowsConditional: allowsConditional))
            guard take(.comma) else { break }
            isTuple = true
        }
        if !isTuple {
            if let only = elements.first { return only }
            if !isInParentheses { throw expected("an expression") }
        }
        return try make(.tuple(elements), at: position, around: elements)
    }

    private func isTupleEnd(_ endNames: [String]) -> Bool {
        switch token.kind {
        case .outputEnd, .statementEnd, .sign(.rightParenthesis): true
        case .name(let name): endNames.contains(name)
        default: false
        }
    }

    // MARK: Postfixes

    private mutating func parsePostfix(_ expression: Expression) throws -> Expression {
        var expression = expression
        while true {
            switch token.kind {
            case .sign(.dot): expression = try parseAttribute(of: expression)
            case .sign(.leftBracket): expression = try parseSubscript(of: expression)
            case .sign(.leftParenthesis): expression = try parseCall(of: expression)
            default: return expression
            }
        }
    }

    private mutating func parseAttribute(of owner: Expression) throws -> Expression {
        let position = advance().position
        let name = advance()
        switch name.kind {
        case .name(let name): return try make(.attribute(of: owner, name), at: position, around: [owner])
        case .integer(let index):
            let key = try make(.literal(.integer(index)), at: name.position)
            return try make(.item(of: owner, key: key), at: position, around: [owner])
        default: throw SyntaxError("expected a name or number, found '\(name.description)'", at: name.position)
        }
    }

    private mutating func parseSubscript(of owner: Expression) throws -> Expression {
        let position = advance().position
        var keys: [Expression] = []
        var count = 0
        while !isSign(.rightBracket) {
            if count > 0 { try expect(.comma) }
            if let slice = try parseSlice(of: owner, keys: &keys, at: position) {
                guard count == 0, take(.rightBracket) else {
                    throw SyntaxError("a slice stands alone: tuples of slices index nothing", at: position)
                }
                return slice
            }
            count += 1
        }
        try expect(.rightBracket)
        let key = keys.count == 1 ? keys[0] : try make(.tuple(keys), at: position, around: keys)
        return try make(.item(of: owner, key: key), at: position, around: [owner, key])
    }

    /// Reads `a:b:c`; appends to the keys what is no slice, and gives nil.
    private mutating func parseSlice(
        of owner: Expression, keys: inout [Expression], at position: Int
    ) throws -> Expression? {
        let start = isSign(.colon) ? nil : try parseExpression()
        guard take(.colon) else {
            if let start { keys.append(start) }
            return nil
        }
        func isEnd() -> Bool { isSign(.colon) || isSign(.rightBracket) || isSign(.comma) }
        let stop = isEnd() ? nil : try parseExpression()
        var step: Expression?
        if take(.colon), !isEnd() { step = try parseExpression() }
        return try make(
            .slice(of: owner, start: start, stop: stop, step: step), at: position,
            around: [owner] + [start, stop, step].compactMap { $0 })
    }

    private mutating func parseCall(of function: Expression) throws -> Expression {
        let position = token.position
        let arguments = try parseArguments()
        return try make(.call(function, arguments), at: position, around: [function] + arguments.expressions)
    }

    mutating func parseArguments() throws -> CallArguments {
        let position = token.position
        var arguments = CallArguments()
        let invalid = SyntaxError("invalid order of arguments in a call", at: position)
        try expect(.leftParenthesis)
        var isFirst = true
        while !isSign(.rightParenthesis) {
            if !isFirst { try expect(.comma) }
            isFirst = false
            if isSign(.rightParenthesis) { break }
            if take(.multiply) {
                guard arguments.restPositional == nil, arguments.restKeywords == nil else { throw invalid }
                arguments.restPositional = try parseExpression()
            } else if take(.power) {
                guard arguments.restKeywords == nil else { throw invalid }
                arguments.restKeywords = try parseExpression()
            } else if case .name(let name) = token.kind, following.kind == .sign(.assign) {
                guard arguments.restKeywords == nil else { throw invalid }
                advance()
                advance()
                guard !arguments.keywords.contains(where: { $0.name == name }) else {
                    throw SyntaxError("the argument '\(name)' is given twice", at: position)
                }
                arguments.keywords.append((name, try parseExpression()))
            } else {
                guard arguments.restPositional == nil, arguments.restKeywords == nil, arguments.keywords.isEmpty else {
                    throw invalid
                }
                arguments.positional.append(try parseExpression())
            }
        }
        try expect(.rightParenthesis)
        return arguments
    }

    // MARK: Filters and tests

    private mutating func parseFiltersAndTests(of expression: Expression) throws -> Expression {
        var expression = expression
        while true {
            switch token.kind {
            case .sign(.pipe):
                advance()
                let filter = try parseFilter()
                expression = try make(
                    .filter(filter, value: expression), at: filter.position,
                    around: [expression] + filter.arguments.expressions)
            case .name("is"): expression = try parseTest(of: expression)
            case .sign(.leftParenthesis): expression = try parseCall(of: expression)
            default: return expression
            }
        }
    }

    /// Reads a filter behind its `|`.
    mutating func parseFilter() throws -> FilterCall {
        let position = token.position
        let name = try parseDottedName()
        let arguments = isSign(.leftParenthesis) ? try parseArguments() : CallArguments()
        use("filter", name, isKnown: Filters.all[name] != nil, at: position)
        return FilterCall(name: name, arguments: arguments, position: position)
    }

    private mutating func parseDottedName() throws -> String {
        var name = try expectName()
        while take(.dot) { name += "." + (try expectName()) }
        return name
    }

    private mutating func parseTest(of value: Expression) throws -> Expression {
        let position = advance().position
        let isNegated = takeName("not")
        let name = try parseDottedName()
        var arguments = CallArguments()
        if isSign(.leftParenthesis) {
            arguments = try parseArguments()
        } else if beginsTestArgument {
            if isName("is") { throw SyntaxError("tests cannot be chained with is", at: token.position) }
            let argument = try parsePrimary()
            arguments.positional = [try parsePostfix(argument)]
        }
        use("test", name, isKnown: Tests.all[name] != nil, at: position)
        let test = try make(
            .test(name: name, value: value, arguments), at: position, around: [value] + arguments.expressions)
        return isNegated ? try make(.not(test), at: position, around: [test]) : test
    }

    private var beginsTestArgument: Bool {
        switch token.kind {
        case .name(let name): !["else", "or", "and"].contains(name)
        case .string, .integer, .float, .sign(.leftBracket), .sign(.leftBrace): true
        default: false
        }
    }
}

extension String {
    /// What the name is if it is one of Jinja's constants.
    var constant: Value? {
        switch self {
        case "true", "True": .boolean(true)
        case "false", "False": .boolean(false)
        case "none", "None": Value.none
        default: nil
        }
    }
}
