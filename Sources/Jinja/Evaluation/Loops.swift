extension Renderer {
    func execute(_ loop: ForLoop) throws {
        let iterable = try evaluate(loop.iterable)
        position = loop.position
        try run(loop, over: iterable, depth: 0)
    }

    /// Runs a loop over the elements of a value; recursive ones call it for those inside.
    fileprivate func run(_ loop: ForLoop, over iterable: Value, depth: Int) throws {
        let outer = scope
        defer { scope = outer }
        let elements = try filtered(try self.elements(of: iterable), by: loop)
        if elements.isEmpty {
            try nested { try inScope { _ = try execute(loop.otherwise) } }
            return
        }
        let context = try keep(LoopContext(loop, elements, depth: depth, scope: outer), in: outer)
        for (index, element) in elements.enumerated() {
            try use()
            context.index = index
            let flow = try nested {
                try inScope {
                    if let loopSymbol { scope.set(loopSymbol, to: .object(context)) }
                    try assign(loop.target, element)
                    return try execute(loop.body)
                }
            }
            if flow == .break { break }
        }
    }

    /// The elements that a loop's `if` lets through. They alone count for `loop`.
    private func filtered(_ elements: [Value], by loop: ForLoop) throws -> [Value] {
        guard let condition = loop.condition else { return elements }
        return try inScope {
            try elements.filter { element in
                try use()
                try assign(loop.target, element)
                return try evaluate(condition).isTrue
            }
        }
    }
}

/// `loop`: what a template may know of the loop that it is in.
final class LoopContext: Object {
    var index = 0

    private let loop: ForLoop
    private var elements: [Value]
    private let recursionDepth: Int
    private var scope: Scope?
    private var changedValue: [Value]?

    override var typeName: String { "LoopContext" }
    override var count: Int? { elements.count }
    override var isCallable: Bool { true }

    init(_ loop: ForLoop, _ elements: [Value], depth: Int, scope: Scope) {
        self.loop = loop
        self.elements = elements
        recursionDepth = depth
        self.scope = scope
        super.init()
    }

    override func attribute(_ name: String) -> Value? {
        switch name {
        case "index": .integer(index + 1)
        case "index0": .integer(index)
        case "revindex": .integer(elements.count - index)
        case "revindex0": .integer(elements.count - index - 1)
        case "first": .boolean(index == 0)
        case "last": .boolean(index == elements.count - 1)
        case "length": .integer(elements.count)
        case "depth": .integer(recursionDepth + 1)
        case "depth0": .integer(recursionDepth)
        case "previtem": index > 0 ? elements[index - 1] : .undefined(.other("there is no previous item"))
        case "nextitem":
            index + 1 < elements.count ? elements[index + 1] : .undefined(.other("there is no next item"))
        case "cycle": .object(Function("cycle") { arguments, _ in try self.cycle(arguments) })
        case "changed": .object(Function("changed") { arguments, _ in self.changed(arguments) })
        default: nil
        }
    }

    private func cycle(_ arguments: Arguments) throws -> Value {
        guard !arguments.positional.isEmpty else { throw TemplateError.type("no items for cycling given") }
        return arguments.positional[index % arguments.positional.count]
    }

    private func changed(_ arguments: Arguments) -> Value {
        let values = arguments.positional
        if let last = changedValue, last.count == values.count, zip(last, values).allSatisfy({ $0.isEqual(to: $1) }) {
            return .boolean(false)
        }
        changedValue = values
        return .boolean(true)
    }

    /// Runs the loop over what is nested in an element.
    override func call(_ arguments: Arguments, _ renderer: Renderer) throws -> Value {
        guard loop.isRecursive else {
            throw TemplateError.type("the loop needs the 'recursive' marker to be called")
        }
        var reader = ArgumentReader(arguments, of: "loop")
        let iterable = try reader.required("iterable")
        try reader.finish()
        guard let scope else { return .none }
        let outer = renderer.scope
        renderer.scope = scope
        defer { renderer.scope = outer }
        return .string(
            try renderer.nested {
                try renderer.capture { try renderer.run(loop, over: iterable, depth: recursionDepth + 1) }
            })
    }

    override func representation(depth: Int) -> TemplateString {
        TemplateString("<LoopContext \(index + 1)/\(elements.count)>")
    }

    override func release() {
        elements = []
        scope = nil
        changedValue = nil
    }
}
