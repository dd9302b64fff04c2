/// A test: what stands behind `is`.
typealias Test = @Sendable (_ renderer: Renderer, _ value: Value, _ arguments: inout ArgumentReader) throws -> Bool

/// jinja2's built-in tests.
enum Tests {
    static let all: [String: Test] = types.merging(comparisons) { first, _ in first }

    private static func plain(_ test: @escaping @Sendable (Value) -> Bool) -> Test { { _, value, _ in test(value) } }

    private static let types: [String: Test] = [
        "defined": plain { !isUndefined($0) },
        "undefined": plain(isUndefined),
        "none": plain { if case .none = $0 { true } else { false } },
        "boolean": plain { if case .boolean = $0 { true } else { false } },
        "true": plain { if case .boolean(true) = $0 { true } else { false } },
        "false": plain { if case .boolean(false) = $0 { true } else { false } },
        "integer": plain { value in
            switch value {
            case .integer, .bigInteger: true
            default: false
            }
        },
        "float": plain { if case .float = $0 { true } else { false } },
        "number": plain { $0.number != nil },
        "string": plain { if case .string = $0 { true } else { false } },
        "mapping": plain { if case .dictionary = $0 { true } else { false } },
        "sequence": plain(isSequence),
        "iterable": plain(isIterable),
        "callable": plain { value in
            switch value {
            case .object(let object): object.isCallable
            case .undefined: true
            default: false
            }
        },
        "escaped": plain { if case .string(let text) = $0 { text.isMarkup } else { false } },
        "lower": { _, value, _ in try value.printed().isLowercase },
        "upper": { _, value, _ in try value.printed().isUppercase },
        "filter": { _, value, _ in try name(value).map { Filters.all[$0] != nil } ?? false },
        "test": { _, value, _ in try name(value).map { Tests.all[$0] != nil } ?? false },
    ]

    /// What is looked for among names: any key of a dictionary, but only strings are found.
    private static func name(_ value: Value) throws -> String? {
        try value.checkHashable()
        return if case .string(let text) = value { text.text } else { nil }
    }

    private static func isUndefined(_ value: Value) -> Bool { if case .undefined = value { true } else { false } }

    private static func isSequence(_ value: Value) -> Bool {
        switch value {
        case .string, .bytes, .list, .tuple, .dictionary, .range, .undefined: true
        default: false
        }
    }

    private static func isIterable(_ value: Value) -> Bool {
        switch value {
        case .string, .bytes, .list, .tuple, .dictionary, .range, .undefined: true
        case .object(let object): object.isIterable
        default: false
        }
    }

    private static let comparisons: [String: Test] = {
        var tests: [String: Test] = [
            "odd": { renderer, value, _ in try remainder(value, .integer(2), renderer).isEqual(to: .integer(1)) },
            "even": { renderer, value, _ in try remainder(value, .integer(2), renderer).isEqual(to: .integer(0)) },
            "divisibleby": { renderer, value, arguments in
                try remainder(value, try arguments.required("num"), renderer).isEqual(to: .integer(0))
            },
            "sameas": { _, value, arguments in isSame(value, try arguments.required("other")) },
            "in": { renderer, value, arguments in try renderer.contains(try arguments.required("seq"), value) },
        ]
        let operations: [(names: [String], operation: ComparisonOperator)] = [
            (["eq", "equalto", "=="], .equal), (["ne", "!="], .notEqual), (["lt", "lessthan", "<"], .less),
            (["le", "<="], .lessOrEqual), (["gt", "greaterthan", ">"], .greater), (["ge", ">="], .greaterOrEqual),
        ]
        for (names, operation) in operations {
            for name in names {
                tests[name] = { renderer, value, arguments in
                    try renderer.holds(operation, value, try arguments.requiredPositional())
                }
            }
        }
        return tests
    }()

    private static func remainder(_ value: Value, _ divisor: Value, _ renderer: Renderer) throws -> Value {
        try renderer.compute(.modulo, value, divisor)
    }

    /// Python's `is`. Texts and numbers are the same where they are equal and of one type.
    private static func isSame(_ left: Value, _ right: Value) -> Bool {
        switch (left, right) {
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)): left === right
        case (.dictionary(let left), .dictionary(let right)): left === right
        case (.object(let left), .object(let right)): left === right
        default: left.typeName == right.typeName && left.isEqual(to: right)
        }
    }
}
