/// The names that every template knows.
enum Globals {
    /// Larger ranges are refused, as jinja2's sandbox does.
    private static let maximumRange = 100_000

    static let names: Set<String> = [
        "range", "dict", "namespace", "cycler", "joiner", "lipsum", "raise_exception", "strftime_now",
    ]

    static func value(of name: String) -> Value? {
        switch name {
        case "range": .object(Function(name) { try range($0, $1) })
        case "dict": .object(DictionaryFunction())
        case "namespace": .object(Function(name) { .object(try $1.keep(Namespace(try namespaceAttributes($0, $1)))) })
        case "cycler": .object(Function(name) { arguments, _ in try cycler(arguments) })
        case "joiner":
            .object(
                Function(name) { arguments, _ in
                    var reader = ArgumentReader(arguments, of: name)
                    let separator = try reader.next("sep") ?? .string(", ")
                    try reader.finish()
                    return .object(try Joiner(separator))
                })
        case "lipsum":
            .object(
                Function(name) { _, _ in
                    throw TemplateError(.runtime, "lipsum writes random text, which a chat has no use for")
                })
        case "raise_exception": .object(Function(name) { arguments, _ in throw try raised(arguments) })
        case "strftime_now":
            .object(
                Function(name) { arguments, renderer in
                    var reader = ArgumentReader(arguments, of: name)
                    guard let format = try reader.text("format") else {
                        throw TemplateError.type("strftime_now() needs a format")
                    }
                    try reader.finish()
                    try renderer.checkLength(format.count * 16)
                    return .string(renderer.clock.formatted(format))
                })
        default: nil
        }
    }

    private static func range(_ arguments: Arguments, _ renderer: Renderer) throws -> Value {
        var reader = ArgumentReader(arguments, of: "range")
        let bounds = try reader.takeRest().positional.map { value in
            if case .undefined(let undefined) = value { throw undefined.error }
            if case .bigInteger = value { throw tooLarge }
            return try StringMethods.index(value)
        }
        guard arguments.keywords.isEmpty else { throw TemplateError.type("range() takes no keyword arguments") }
        guard 1...3 ~= bounds.count else {
            throw TemplateError.type("range expected 1 to 3 arguments, got \(bounds.count)")
        }
        let step = bounds.count == 3 ? bounds[2] : 1
        guard step != 0 else { throw TemplateError.value("range() arg 3 must not be zero") }
        let (start, stop) = bounds.count == 1 ? (0, bounds[0]) : (bounds[0], bounds[1])
        // Checked before the count, which might overflow.
        let isEmpty = step > 0 ? start >= stop : start <= stop
        let (distance, overflows) = stop.subtractingReportingOverflow(start)
        guard isEmpty || !overflows && distance.magnitude / step.magnitude <= UInt(maximumRange) else { throw tooLarge }
        let range = PythonRange(start: start, stop: isEmpty ? start : stop, step: step)
        if isEmpty, let magnitude = try? checkedSmall(start, stop, step) { return .range(magnitude) }
        guard range.count <= maximumRange else { throw tooLarge }
        return .range(range)
    }

    /// An empty range prints its bounds all the same.
    private static func checkedSmall(_ start: Int, _ stop: Int, _ step: Int) throws -> PythonRange {
        guard start.magnitude < 1 << 60, stop.magnitude < 1 << 60, step.magnitude < 1 << 60 else { throw tooLarge }
        return PythonRange(start: start, stop: stop, step: step)
    }

    private static let tooLarge = TemplateError(
        .overflow, "range too big: the sandbox allows \(maximumRange) elements")

    /// What `dict(…)` and `namespace(…)` make of their arguments.
    fileprivate static func entries(_ arguments: Arguments, _ renderer: Renderer, of function: String) throws -> Entries
    {
        var entries = Entries()
        guard arguments.positional.count <= 1 else {
            throw TemplateError.type("\(function) expected at most 1 argument, got \(arguments.positional.count)")
        }
        if case .dictionary(let dictionary)? = arguments.positional.first {
            entries = dictionary.entries
        } else if let pairs = arguments.positional.first {
            for pair in try renderer.elements(of: pairs) {
                let pair = try renderer.elements(of: pair)
                guard pair.count == 2 else {
                    throw TemplateError.value(
                        "\(function) update sequence element has length \(pair.count); 2 is required")
                }
                try pair[0].checkHashable()
                entries[pair[0]] = pair[1]
            }
        }
        try renderer.checkCount(entries.count)
        for keyword in arguments.keywords { entries[.string(keyword.name)] = keyword.value }
        return entries
    }

    private static func namespaceAttributes(_ arguments: Arguments, _ renderer: Renderer) throws -> Entries {
        let attributes = try entries(arguments, renderer, of: "namespace")
        for key in attributes.keys { try Namespace.check(key) }
        return attributes
    }

    private static func cycler(_ arguments: Arguments) throws -> Value {
        guard arguments.keywords.isEmpty else { throw TemplateError.type("cycler() takes no keyword arguments") }
        guard !arguments.positional.isEmpty else {
            throw TemplateError(.other, "cycler() needs at least one item")
        }
        return .object(try Cycler(arguments.positional))
    }

    /// The template refuses what it was given.
    private static func raised(_ arguments: Arguments) throws -> TemplateError {
        var reader = ArgumentReader(arguments, of: "raise_exception")
        let message = try reader.required("message")
        try reader.finish()
        if case .none = message { return TemplateError(.raised, "") }
        return TemplateError(.raised, try message.printed().text)
    }
}

/// `dict`, which has a method of its own.
private final class DictionaryFunction: Object {
    override var typeName: String { "TemplateDict" }
    override var isCallable: Bool { true }

    override func call(_ arguments: Arguments, _ renderer: Renderer) throws -> Value {
        try .dictionary(try Globals.entries(arguments, renderer, of: "dict"))
    }

    override func attribute(_ name: String) -> Value? {
        guard name == "fromkeys" else { return nil }
        return .object(
            Function(name) { arguments, renderer in
                var reader = ArgumentReader(arguments, of: name)
                let value = try ContainerMethods.fromKeys(&reader, renderer)
                try reader.finish()
                return value
            })
    }
}
