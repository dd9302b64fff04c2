extension Renderer {
    func define(_ definition: MacroDefinition) throws {
        let macro = try keep(Macro(definition, scope: scope), in: scope)
        if let symbol = definition.symbol { scope.set(symbol, to: .object(macro)) }
    }

    /// Calls a function that gets the body of the block as `caller`.
    func executeCall(
        _ function: Expression, _ arguments: CallArguments, at position: Int, _ body: MacroDefinition
    ) throws {
        let callee = try evaluate(function)
        var arguments = try evaluate(arguments)
        self.position = position
        arguments.keywords.append(("caller", .object(try keep(Macro(body, scope: scope), in: scope))))
        try write(try call(callee, arguments).printed())
    }
}

/// A macro, and the scope that its names are looked up in.
final class Macro: Object {
    private let definition: MacroDefinition
    private var scope: Scope?

    override var typeName: String { "Macro" }
    override var isCallable: Bool { true }

    init(_ definition: MacroDefinition, scope: Scope) {
        self.definition = definition
        self.scope = scope
        super.init()
    }

    override func attribute(_ name: String) -> Value? {
        switch name {
        case "name": definition.name.map { .string($0) } ?? Value.none
        case "arguments": try? .tuple(definition.parameters.map { .string($0.name) })
        case "catch_kwargs": .boolean(definition.usesKeywordArguments)
        case "catch_varargs": .boolean(definition.usesVariableArguments)
        case "caller": .boolean(definition.usesCaller)
        case "explicit_caller": .boolean(definition.parameters.contains { $0.name == "caller" })
        default: nil
        }
    }

    override func representation(depth: Int) -> TemplateString {
        TemplateString("<Macro \(definition.name.map { "'\($0)'" } ?? "anonymous")>")
    }

    override func call(_ arguments: Arguments, _ renderer: Renderer) throws -> Value {
        let position = renderer.position
        let text = try renderer.nested {
            try renderer.capture {
                try renderer.inScope(of: scope) {
                    try bind(arguments, in: renderer)
                    _ = try renderer.execute(definition.body)
                }
            }
        }
        renderer.position = position
        return .string(text)
    }

    /// Gives the parameters their values, in the macro's scope: a default may use the parameters before it.
    private func bind(_ arguments: Arguments, in renderer: Renderer) throws {
        var keywords = arguments.keywords
        func takeKeyword(_ name: String) -> Value? {
            keywords.firstIndex { $0.name == name }.map { keywords.remove(at: $0).value }
        }
        let name = definition.name ?? "caller"
        // Values that are given are taken before a default is evaluated.
        let given = definition.parameters.enumerated().map { index, parameter in
            index < arguments.positional.count ? arguments.positional[index] : takeKeyword(parameter.name)
        }
        let caller = definition.usesCaller ? takeKeyword("caller") ?? .undefined(.other("No caller defined")) : nil
        if let keyword = keywords.first, !definition.usesKeywordArguments {
            throw TemplateError.type("macro '\(name)' takes no keyword argument '\(keyword.name)'")
        }
        let rest = arguments.positional.dropFirst(definition.parameters.count)
        guard rest.isEmpty || definition.usesVariableArguments else {
            throw TemplateError.type("macro '\(name)' takes not more than \(definition.parameters.count) argument(s)")
        }
        for (parameter, value) in zip(definition.parameters, given) {
            let missing = Value.undefined(.other("parameter '\(parameter.name)' was not provided"))
            renderer.scope.set(parameter.symbol, to: value ?? missing)
        }
        for (parameter, value) in zip(definition.parameters, given) {
            guard value == nil, let standard = parameter.standard else { continue }
            renderer.scope.set(parameter.symbol, to: try renderer.evaluate(standard))
        }
        if let caller { renderer.setSpecial("caller", to: caller) }
        if definition.usesVariableArguments { renderer.setSpecial("varargs", to: try renderer.tuple(Array(rest))) }
        if definition.usesKeywordArguments {
            var entries = Entries()
            for keyword in keywords { entries[.string(keyword.name)] = keyword.value }
            renderer.setSpecial("kwargs", to: try .dictionary(entries))
        }
    }

    override func release() { scope = nil }
}
