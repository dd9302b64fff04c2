/// The state of one rendering: what is written, what names mean, and what may still be used of the limits.
///
/// The statements are executed here; expressions in `ExpressionEvaluation.swift`. A rendering ends with everything let go that
/// may hold itself: namespaces, macros and loops.
final class Renderer {
    let limits: RenderingLimits
    let clock: Clock
    /// Where the template is being evaluated: the offset in the source, for errors.
    var position = 0
    private var depth = 0
    private let stack = StackGuard()
    private var stepsLeft: Int

    /// What is being written: the template's output, or that of a macro or block whose text becomes a value.
    var output = TemplateString()
    /// The output that waits for those inside to be complete, the template's first.
    private var outerOutputs: [TemplateString] = []
    /// What stands between `generation` and its end, in the template's output.
    private(set) var generations: [Range<Int>] = []
    /// Whether what is written is escaped for HTML.
    var escapes = false

    private let tree: SyntaxTree
    private let globals: Scope
    var scope: Scope
    /// Objects that may hold each other in circles.
    private var objects: [Object] = []
    /// The scopes that macros and loops hold.
    private var scopes: [Scope] = []
    let loopSymbol: Symbol?

    init(_ tree: SyntaxTree, context: [String: Value], limits: RenderingLimits, clock: Clock) {
        self.tree = tree
        self.limits = limits
        self.clock = clock
        stepsLeft = limits.steps
        loopSymbol = tree.symbols["loop"]
        globals = Scope(parent: nil)
        scope = globals
        for (index, name) in tree.symbols.names.enumerated() {
            if let value = context[name] ?? Globals.value(of: name) { globals.set(Symbol(index: index), to: value) }
            if name == "self" {
                globals.set(Symbol(index: index), to: .object(TemplateReference(Set(tree.blocks.keys))))
            }
        }
        scope = Scope(parent: globals)
        scopes = [globals, scope]
    }

    /// Renders the whole template.
    func render() throws {
        defer {
            for object in objects { object.release() }
            for scope in scopes { scope.release() }
        }
        _ = try execute(tree.body)
    }

    // MARK: Limits

    /// Uses steps of the limit: one for each expression and statement, more for work on much text or many elements.
    func use(steps: Int = 1) throws {
        stepsLeft -= steps
        if stepsLeft < 0 {
            throw TemplateError(.limit, "the template takes more than \(limits.steps) steps")
        }
    }

    /// Checks the length of a text before it is made, and uses steps for it.
    func checkLength(_ count: Int) throws {
        guard count <= limits.textLength else {
            throw TemplateError(.limit, "a text of \(count) characters; the limit is \(limits.textLength)")
        }
        try use(steps: count >> 3)
    }

    /// Checks the number of elements of a list before it is made, and uses steps for them.
    func checkCount(_ count: Int) throws {
        guard count <= limits.elementCount else {
            throw TemplateError(.limit, "a list of \(count) elements; the limit is \(limits.elementCount)")
        }
        try use(steps: count)
    }

    func list(_ elements: [Value]) throws -> Value {
        try checkCount(elements.count)
        return try .list(elements)
    }

    func tuple(_ elements: [Value]) throws -> Value {
        try checkCount(elements.count)
        return try .tuple(elements)
    }

    /// Goes one level deeper.
    func nested<T>(_ body: () throws -> T) throws -> T {
        depth += 1
        defer { depth -= 1 }
        guard depth <= limits.depth, !stack.isExhausted else {
            throw TemplateError(.recursion, "expressions, statements and calls are nested too deeply: \(depth)")
        }
        return try body()
    }

    /// Takes care that an object, and the scope that it looks names up in, let go of their values at the end.
    func keep<T: Object>(_ object: T, in scope: Scope? = nil) throws -> T {
        try use(steps: 16)
        objects.append(object)
        if let scope { scopes.append(scope) }
        return object
    }

    // MARK: Output

    func write(_ text: TemplateString) throws {
        guard output.count + text.count <= limits.textLength else {
            throw TemplateError(.limit, "the output has more than \(limits.textLength) characters")
        }
        try use(steps: text.count >> 3)
        output.append(text)
    }

    private func write(_ value: Value) throws {
        if escapes {
            try write(try escaped(value))
        } else {
            try write(try value.printed())
        }
    }

    /// What a body writes, as a text of its own.
    func capture(_ body: () throws -> Void) throws -> TemplateString {
        outerOutputs.append(output)
        output = TemplateString()
        defer { output = outerOutputs.removeLast() }
        try body()
        var text = output
        text.isMarkup = escapes
        return text
    }

    // MARK: Scopes

    /// Executes something in a scope inside the present one, or inside another.
    func inScope<T>(of parent: Scope? = nil, _ body: () throws -> T) throws -> T {
        let outer = scope
        scope = Scope(parent: parent ?? outer)
        defer { scope = outer }
        return try body()
    }

    func assign(_ target: Target, _ value: Value) throws {
        switch target {
        case .name(let symbol): scope.set(symbol, to: value)
        case .namespace(let symbol, let attribute, let position):
            self.position = position
            guard case .object(let object)? = scope[symbol], let namespace = object as? Namespace else {
                throw TemplateError(.runtime, "cannot assign attribute on non-namespace object")
            }
            try namespace.set(attribute, to: value)
        case .tuple(let targets, let position):
            self.position = position
            let values = try elements(of: value, asIn: "cannot unpack non-iterable \(value.typeName) object")
            guard values.count == targets.count else {
                throw TemplateError.value("expected \(targets.count) values to unpack, found \(values.count)")
            }
            for (target, value) in zip(targets, values) { try assign(target, value) }
        }
    }

    func name(_ symbol: Symbol) -> String { tree.symbols.names[symbol.index] }

    /// Gives one of the names a value that the language itself defines, if the template uses it.
    func setSpecial(_ name: String, to value: Value) {
        if let symbol = tree.symbols[name] { scope.set(symbol, to: value) }
    }

    // MARK: Statements

    /// How the execution of statements goes on.
    enum Flow { case next, `break`, `continue` }

    func execute(_ statements: [Statement]) throws -> Flow {
        for statement in statements {
            let flow = try execute(statement)
            if flow != .next { return flow }
        }
        return .next
    }

    private func execute(_ statement: Statement) throws -> Flow {
        try use()
        switch statement {
        case .text(let text): try write(text)
        case .output(let expression): try write(try evaluate(expression))
        case .set(let target, let expression): try assign(target, try evaluate(expression))
        case .if(let branches, let otherwise): return try execute(branches, otherwise)
        case .for(let loop): try execute(loop)
        case .break: return .break
        case .continue: return .continue
        default: return try executeScoped(statement)
        }
        return .next
    }

    private func executeScoped(_ statement: Statement) throws -> Flow {
        switch statement {
        case .setBlock(let target, let filters, let body): return try executeSetBlock(target, filters, body)
        case .macro(let definition): try define(definition)
        case .call(let function, let arguments, let position, let body):
            try executeCall(function, arguments, at: position, body)
        case .filter(let filters, let body): return try executeFilter(filters, body)
        case .with(let assignments, let body): return try executeWith(assignments, body)
        case .autoescape(let expression, let body): return try executeAutoescape(expression, body)
        case .block(let name, let isScoped): try write(try renderBlock(name, in: isScoped ? scope : nil))
        case .generation(let body): try executeGeneration(body)
        case .unsupported(let tag, let position):
            self.position = position
            throw TemplateError.type("'\(tag)' needs another template, and there is none")
        default: preconditionFailure("a statement without a scope")
        }
        return .next
    }

    private func execute(
        _ branches: [(condition: Expression, body: [Statement])], _ otherwise: [Statement]
    ) throws -> Flow {
        for branch in branches where try evaluate(branch.condition).isTrue {
            return try nested { try execute(branch.body) }
        }
        return try nested { try execute(otherwise) }
    }

    private func executeSetBlock(_ target: Target, _ filters: [FilterCall], _ body: [Statement]) throws -> Flow {
        var flow = Flow.next
        let text = try nested { try capture { try inScope { flow = try execute(body) } } }
        // Left by `break` or `continue`, it sets nothing.
        guard flow == .next else { return flow }
        try assign(target, try filters.reduce(.string(text)) { try apply($1, to: $0) })
        return .next
    }

    private func executeFilter(_ filters: [FilterCall], _ body: [Statement]) throws -> Flow {
        var flow = Flow.next
        let text = try nested { try capture { try inScope { flow = try execute(body) } } }
        guard flow == .next else { return flow }
        try write(try filters.reduce(.string(text)) { try apply($1, to: $0) })
        return .next
    }

    private func executeWith(_ assignments: [(target: Target, value: Expression)], _ body: [Statement]) throws -> Flow {
        let values = try assignments.map { try evaluate($0.value) }
        return try nested {
            try inScope {
                for (assignment, value) in zip(assignments, values) { try assign(assignment.target, value) }
                return try execute(body)
            }
        }
    }

    private func executeAutoescape(_ expression: Expression, _ body: [Statement]) throws -> Flow {
        let outer = escapes
        defer { escapes = outer }
        escapes = try evaluate(expression).isTrue
        return try nested { try inScope { try execute(body) } }
    }

    private func executeGeneration(_ body: [Statement]) throws {
        let text = try nested { try capture { try inScope { _ = try execute(body) } } }
        // Inside a macro it is the place of the whole macro that transformers notes.
        let start = (outerOutputs.first ?? output).count
        generations.append(start..<start + text.count)
        try write(text)
    }

    /// What a block writes: it sees the names of the template's outermost level, or all if it is scoped.
    func renderBlock(_ name: String, in parent: Scope?) throws -> TemplateString {
        guard let block = tree.blocks[name] else { throw TemplateError(.undefined, "there is no block '\(name)'") }
        if block.isRequired { throw TemplateError(.runtime, "required block '\(name)' not found") }
        return try nested { try capture { try inScope(of: parent ?? scopes[1]) { _ = try execute(block.body) } } }
    }

}

/// What names mean at one level of a template.
final class Scope {
    private var symbols: [Symbol] = []
    private var values: [Value] = []
    private var parent: Scope?

    init(parent: Scope?) { self.parent = parent }

    /// The value of a name, here or further out.
    subscript(symbol: Symbol) -> Value? {
        var scope: Scope? = self
        while let current = scope {
            if let index = current.symbols.firstIndex(of: symbol) { return current.values[index] }
            scope = current.parent
        }
        return nil
    }

    func set(_ symbol: Symbol, to value: Value) {
        if let index = symbols.firstIndex(of: symbol) {
            values[index] = value
        } else {
            symbols.append(symbol)
            values.append(value)
        }
    }

    func release() {
        values = []
        symbols = []
        parent = nil
    }
}

/// `self`: the template's blocks.
final class TemplateReference: Object {
    private let blocks: Set<String>

    override var typeName: String { "TemplateReference" }
    override var isSubscriptable: Bool { true }

    init(_ blocks: Set<String>) {
        self.blocks = blocks
        super.init()
    }

    override func item(_ key: Value) -> Value? {
        guard case .string(let name) = key, blocks.contains(name.text) else { return nil }
        return .object(
            Function(name.text) { arguments, renderer in
                try ArgumentReader(arguments, of: name.text).finish()
                return .string(try renderer.renderBlock(name.text, in: nil))
            })
    }

    override func representation(depth: Int) -> TemplateString { "<TemplateReference None>" }
}
