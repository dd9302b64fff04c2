extension Renderer {
    func evaluate(_ expression: Expression) throws -> Value {
        try use()
        switch expression.kind {
        case .literal(let value): return value
        case .name(let symbol): return scope[symbol] ?? .undefined(.name(name(symbol)))
        case .attribute(let owner, let name):
            let owner = try nested { try evaluate(owner) }
            position = expression.position
            return try attribute(name, of: owner)
        default: return try nested { try evaluateCompound(expression) }
        }
    }

    // Each kind has a function of its own: what one of them needs on the stack, the others do not.
    private func evaluateCompound(_ expression: Expression) throws -> Value {
        switch expression.kind {
        case .item(let owner, let key): try evaluateItem(expression, owner, key)
        case .call(let function, let arguments): try evaluateCall(expression, function, arguments)
        case .filter(let filter, let value): try apply(filter, to: try evaluate(value))
        case .test(let name, let value, let arguments): try evaluateTest(expression, name, value, arguments)
        case .binary(let operation, let left, let right): try evaluateBinary(expression, operation, left, right)
        case .comparison(let first, let rest): try evaluateComparison(expression, first, rest)
        case .and(let left, let right): try evaluateAnd(left, right)
        case .or(let left, let right): try evaluateOr(left, right)
        case .not(let operand): .boolean(try !evaluate(operand).isTrue)
        case .concatenation(let operands): try evaluateConcatenation(operands)
        default: try evaluateOther(expression)
        }
    }

    private func evaluateOther(_ expression: Expression) throws -> Value {
        switch expression.kind {
        case .list(let elements): try list(try elements.map { try evaluate($0) })
        case .tuple(let elements): try tuple(try elements.map { try evaluate($0) })
        case .dictionary(let entries): try evaluateDictionary(expression, entries)
        case .slice(let owner, let start, let stop, let step): try evaluateSlice(expression, owner, start, stop, step)
        case .unary(let operation, let operand): try evaluateUnary(expression, operation, operand)
        case .conditional(let value, let condition, let otherwise):
            try evaluateConditional(value, condition, otherwise)
        default: preconditionFailure("an expression that is evaluated elsewhere")
        }
    }

    private func evaluateItem(_ expression: Expression, _ owner: Expression, _ key: Expression) throws -> Value {
        let owner = try evaluate(owner)
        let key = try evaluate(key)
        position = expression.position
        return try item(key, of: owner)
    }

    private func evaluateSlice(
        _ expression: Expression, _ owner: Expression, _ start: Expression?, _ stop: Expression?, _ step: Expression?
    ) throws -> Value {
        let owner = try evaluate(owner)
        let bounds = try [start, stop, step].map { try $0.map { try evaluate($0) } }
        position = expression.position
        return try slice(owner, start: bounds[0], stop: bounds[1], step: bounds[2])
    }

    private func evaluateDictionary(
        _ expression: Expression, _ pairs: [(key: Expression, value: Expression)]
    ) throws -> Value {
        var entries = Entries()
        for pair in pairs {
            let key = try evaluate(pair.key)
            let value = try evaluate(pair.value)
            position = expression.position
            try key.checkHashable()
            entries[key] = value
        }
        return try .dictionary(entries)
    }

    private func evaluateConditional(
        _ value: Expression, _ condition: Expression, _ otherwise: Expression?
    ) throws -> Value {
        if try evaluate(condition).isTrue { return try evaluate(value) }
        guard let otherwise else {
            return .undefined(.other("the inline if-expression has no else section, and its condition is false"))
        }
        return try evaluate(otherwise)
    }

    private func evaluateAnd(_ left: Expression, _ right: Expression) throws -> Value {
        let left = try evaluate(left)
        return left.isTrue ? try evaluate(right) : left
    }

    private func evaluateOr(_ left: Expression, _ right: Expression) throws -> Value {
        let left = try evaluate(left)
        return left.isTrue ? left : try evaluate(right)
    }

    private func evaluateConcatenation(_ operands: [Expression]) throws -> Value {
        let values = try operands.map { try evaluate($0) }
        let texts = try values.map { escapes ? try escaped($0) : try $0.printed() }
        try checkLength(texts.reduce(0) { $0 + $1.count })
        var text = TemplateString.joined(texts, separator: "")
        text.isMarkup = escapes
        return .string(text)
    }

    private func evaluateTest(
        _ expression: Expression, _ name: String, _ value: Expression, _ arguments: CallArguments
    ) throws -> Value {
        let value = try evaluate(value)
        let arguments = try evaluate(arguments)
        position = expression.position
        return .boolean(try test(name, value, arguments))
    }

    func test(_ name: String, _ value: Value, _ arguments: Arguments) throws -> Bool {
        guard let test = Tests.all[name] else { throw TemplateError(.runtime, "no test named '\(name)'") }
        var reader = ArgumentReader(arguments, of: name)
        let result = try test(self, value, &reader)
        try reader.finish()
        return result
    }

    /// Applies a filter of the template.
    func apply(_ filter: FilterCall, to value: Value) throws -> Value {
        let arguments = try evaluate(filter.arguments)
        position = filter.position
        return try apply(filter.name, to: value, arguments)
    }

    func apply(_ name: String, to value: Value, _ arguments: Arguments) throws -> Value {
        guard let filter = Filters.all[name] else { throw TemplateError(.runtime, "no filter named '\(name)'") }
        return try filter(self, value, arguments)
    }

    // MARK: Operators

    private func evaluateUnary(_ expression: Expression, _ operation: UnaryOperator, _ operand: Expression) throws
        -> Value
    {
        let value = try evaluate(operand)
        position = expression.position
        if case .undefined(let undefined) = value { throw undefined.error }
        guard let number = value.number else {
            throw TemplateError.type("bad operand type for unary \(operation.rawValue): '\(value.typeName)'")
        }
        switch (operation, number) {
        case (.minus, .float(let value)): return .float(-value)
        case (.minus, _): return try Arithmetic.compute(.subtract, .integer(0), number)
        case (.plus, .integer(let value)): return .integer(value)
        case (.plus, _): return value
        }
    }

    private func evaluateBinary(
        _ expression: Expression, _ operation: BinaryOperator, _ left: Expression, _ right: Expression
    ) throws -> Value {
        let left = try evaluate(left)
        let right = try evaluate(right)
        position = expression.position
        return try compute(operation, left, right)
    }

    /// Python's arithmetic on values of any types.
    func compute(_ operation: BinaryOperator, _ left: Value, _ right: Value) throws -> Value {
        if let leftNumber = left.number, let rightNumber = right.number {
            if case .integer = leftNumber, case .integer = rightNumber, operation != .power {
            } else if leftNumber.big != nil, rightNumber.big != nil {
                // Arithmetic on long integers takes its time.
                try use(steps: 2000)
            }
            return try Arithmetic.compute(operation, leftNumber, rightNumber)
        }
        switch (operation, left, right) {
        case (.modulo, .string(let format), _): return .string(try PercentFormat.format(format, right, self))
        case (_, .undefined(let undefined), _), (_, _, .undefined(let undefined)): throw undefined.error
        case (.add, .string(let left), .string(let right)): return .string(try concatenated(left, right))
        case (.add, .bytes(let left), .bytes(let right)):
            try checkLength(left.count + right.count)
            return .bytes(left + right)
        case (.add, .list(let left), .list(let right)): return try list(left.elements + right.elements)
        case (.add, .tuple(let left), .tuple(let right)): return try tuple(left.elements + right.elements)
        case (.add, .string, _): throw TemplateError.type("can only concatenate str (not \"\(right.typeName)\") to str")
        case (.multiply, _, _):
            if let count = right.index { return try repeated(left, count, by: right) }
            if let count = left.index { return try repeated(right, count, by: left) }
            if left.isRepeatable, case .bigInteger = right { throw tooManyTimes }
            if right.isRepeatable, case .bigInteger = left { throw tooManyTimes }
        default: break
        }
        throw unsupported(operation, left, right)
    }

    private var tooManyTimes: TemplateError { TemplateError(.overflow, "a sequence is repeated too many times") }

    private func unsupported(_ operation: BinaryOperator, _ left: Value, _ right: Value) -> TemplateError {
        .type("unsupported operand type(s) for \(operation.rawValue): '\(left.typeName)' and '\(right.typeName)'")
    }

    private func concatenated(_ left: TemplateString, _ right: TemplateString) throws -> TemplateString {
        try checkLength(left.count + right.count)
        var (left, right) = (left, right)
        if left.isMarkup != right.isMarkup {
            if left.isMarkup { right = right.escaped } else { left = left.escaped }
        }
        left.append(right)
        return left
    }

    private func repeated(_ value: Value, _ count: Int, by factor: Value) throws -> Value {
        let count = max(0, count)
        func checked(_ length: Int) throws -> Int {
            let (total, overflows) = length.multipliedReportingOverflow(by: count)
            return overflows ? .max : total
        }
        switch value {
        case .string(let text):
            try checkLength(try checked(text.count))
            var result = TemplateString()
            result.isMarkup = text.isMarkup
            if !text.isEmpty { for _ in 0..<count { result.append(text) } }
            return .string(result)
        case .bytes(let bytes):
            try checkLength(try checked(bytes.count))
            return .bytes(Array(repeatElement(bytes, count: bytes.isEmpty ? 0 : count).joined()))
        case .list(let list), .tuple(let list):
            try checkCount(try checked(list.elements.count))
            let elements = Array(repeatElement(list.elements, count: list.elements.isEmpty ? 0 : count).joined())
            if case .list = value { return try .list(elements) }
            return try .tuple(elements)
        default: throw unsupported(.multiply, value, factor)
        }
    }

    private func evaluateComparison(
        _ expression: Expression, _ first: Expression, _ rest: [(operation: ComparisonOperator, operand: Expression)]
    ) throws -> Value {
        var left = try evaluate(first)
        for (operation, operand) in rest {
            let right = try evaluate(operand)
            position = expression.position
            guard try holds(operation, left, right) else { return .boolean(false) }
            left = right
        }
        return .boolean(true)
    }

    func holds(_ operation: ComparisonOperator, _ left: Value, _ right: Value) throws -> Bool {
        switch operation {
        case .equal: left.isEqual(to: right)
        case .notEqual: !left.isEqual(to: right)
        case .contained: try contains(right, left)
        case .notContained: try !contains(right, left)
        default: try Value.compare(left, right, by: operation)
        }
    }

    /// Python's `element in container`.
    func contains(_ container: Value, _ element: Value) throws -> Bool {
        switch (container, element) {
        case (.string(let text), .string(let part)):
            try use(steps: text.count >> 6)
            return text.contains(part)
        case (.string, _):
            throw TemplateError.type("'in <string>' requires string as left operand, not \(element.typeName)")
        case (.dictionary(let dictionary), _):
            try element.checkHashable()
            return dictionary.entries[element] != nil
        case (.range(let range), .integer(let value)): return range.contains(value)
        default:
            let elements = try elements(
                of: container, asIn: "argument of type '\(container.typeName)' is not iterable")
            try use(steps: elements.count)
            return elements.contains { $0.isEqual(to: element) }
        }
    }

    // MARK: Iteration

    /// The elements that a loop goes over.
    ///
    /// - Throws: `TemplateError` with `message` where the value is not iterable.
    func elements(of value: Value, asIn message: @autoclosure () -> String? = nil) throws -> [Value] {
        switch value {
        case .list(let list), .tuple(let list): return list.elements
        case .undefined: return []
        case .object(let object) where object.isIterable:
            let iterator = try object.makeIterator(self)
            var elements: [Value] = []
            while let element = try iterator.next() {
                try use()
                elements.append(element)
                if elements.count > limits.elementCount { try checkCount(elements.count) }
            }
            return elements
        default: break
        }
        switch value {
        case .string(let text):
            try checkCount(text.count)
            try use(steps: 4 * text.count)
            // The characters of HTML are plain text.
            return text.unmarked.characters.map { .string($0) }
        case .bytes(let bytes):
            try checkCount(bytes.count)
            return bytes.map { .integer(Int($0)) }
        case .dictionary(let dictionary): return dictionary.entries.keys
        case .range(let range):
            try checkCount(range.count)
            return range.elements
        default: throw TemplateError.type(message() ?? "'\(value.typeName)' object is not iterable")
        }
    }

    /// The elements one by one: of a generator as they are asked for.
    func iterator(over value: Value) throws -> ValueIterator {
        if case .object(let object) = value, object.isIterable { return try object.makeIterator(self) }
        return ValueIterator(try elements(of: value))
    }

    // MARK: Calls

    private func evaluateCall(
        _ expression: Expression, _ function: Expression, _ arguments: CallArguments
    ) throws -> Value {
        let callee = try evaluate(function)
        let arguments = try evaluate(arguments)
        position = expression.position
        return try call(callee, arguments)
    }

    func call(_ callee: Value, _ arguments: Arguments) throws -> Value {
        switch callee {
        case .object(let object): return try object.call(arguments, self)
        case .undefined(let undefined): throw undefined.error
        default: throw TemplateError.type("'\(callee.typeName)' object is not callable")
        }
    }

    func evaluate(_ arguments: CallArguments) throws -> Arguments {
        var values = Arguments()
        for argument in arguments.positional { values.positional.append(try evaluate(argument)) }
        if let rest = arguments.restPositional {
            let rest = try evaluate(rest)
            values.positional += try elements(
                of: rest, asIn: "argument after * must be an iterable, not \(rest.typeName)")
        }
        for (name, argument) in arguments.keywords { values.keywords.append((name, try evaluate(argument))) }
        guard let rest = arguments.restKeywords else { return values }
        guard case .dictionary(let dictionary) = try evaluate(rest) else {
            throw TemplateError.type("argument after ** must be a mapping")
        }
        for (key, value) in zip(dictionary.entries.keys, dictionary.entries.values) {
            guard case .string(let name) = key else { throw TemplateError.type("keywords must be strings") }
            guard !values.keywords.contains(where: { $0.name == name.text }) else {
                throw TemplateError.type("got multiple values for keyword argument '\(name.text)'")
            }
            values.keywords.append((name.text, value))
        }
        return values
    }
}

extension Value {
    /// Whether a number of it is a longer one.
    fileprivate var isRepeatable: Bool {
        switch self {
        case .string, .bytes, .list, .tuple: true
        default: false
        }
    }
}
