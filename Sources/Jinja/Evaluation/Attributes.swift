// `owner.name` looks for an attribute first and then for an item, `owner[name]` the other way around: so `d.items` is always
// the method and `d['items']` the key. What there is not is undefined; what the sandbox does not give out is undefined with
// another error.
extension Renderer {
    func attribute(_ name: String, of owner: Value) throws -> Value {
        if case .undefined(let undefined) = owner { throw undefined.error }
        if let value = try pythonAttribute(name, of: owner) { return value }
        return plainItem(.string(name), of: owner) ?? .undefined(.attribute(name, of: owner))
    }

    func item(_ key: Value, of owner: Value) throws -> Value {
        if case .undefined(let undefined) = owner { throw undefined.error }
        if let value = plainItem(key, of: owner) { return value }
        guard case .string(let name) = key else { return .undefined(.element(key, of: owner)) }
        return try pythonAttribute(name.text, of: owner) ?? .undefined(.attribute(name.text, of: owner))
    }

    /// What `|attr` gives: an attribute only, and no item.
    func attributeAlone(_ name: String, of owner: Value) throws -> Value {
        if case .undefined(let undefined) = owner { throw undefined.error }
        return try pythonAttribute(name, of: owner) ?? .undefined(.attribute(name, of: owner))
    }

    private func plainItem(_ key: Value, of owner: Value) -> Value? {
        switch owner {
        case .dictionary(let dictionary):
            guard (try? key.checkHashable()) != nil else { return nil }
            return dictionary.entries[key]
        case .list(let list), .tuple(let list):
            return Self.position(key, in: list.elements.count).map { list.elements[$0] }
        case .string(let text): return Self.position(key, in: text.count).map { .string(text.character(at: $0)) }
        case .bytes(let bytes): return Self.position(key, in: bytes.count).map { .integer(Int(bytes[$0])) }
        case .range(let range): return Self.position(key, in: range.count).map { .integer(range[$0]) }
        case .object(let object): return object.item(key)
        default: return nil
        }
    }

    /// A subscript, which may count from the end.
    private static func position(_ key: Value, in count: Int) -> Int? {
        guard let index = key.index, -count..<count ~= index else { return nil }
        return index < 0 ? index + count : index
    }

    /// What Python's `getattr` gives; nil for an `AttributeError`.
    private func pythonAttribute(_ name: String, of owner: Value) throws -> Value? {
        if case .object(let object) = owner, let value = object.attribute(name) { return value }
        if let value = try Methods.attribute(name, of: owner) { return value }
        return Methods.isUnsafe(name, of: owner) ? .undefined(.unsafe(name, of: owner)) : nil
    }

    // MARK: Slices

    func slice(_ owner: Value, start: Value?, stop: Value?, step: Value?) throws -> Value {
        if case .undefined(let undefined) = owner { throw undefined.error }
        let count: Int
        switch owner {
        case .list(let list), .tuple(let list): count = list.elements.count
        case .string(let text): count = text.count
        case .bytes(let bytes): count = bytes.count
        case .range(let range): count = range.count
        case .dictionary: throw TemplateError.type("unhashable type: 'slice'")
        default: throw TemplateError.type("'\(owner.typeName)' object is not subscriptable")
        }
        let slice = try Slice(count: count, start: bound(start), stop: bound(stop), step: bound(step))
        try use(steps: slice.count >> 3)
        switch owner {
        case .list(let list): return try .list(slice.positions.map { list.elements[$0] })
        case .tuple(let tuple): return try .tuple(slice.positions.map { tuple.elements[$0] })
        case .bytes(let bytes): return .bytes(slice.positions.map { bytes[$0] })
        case .range(let range): return .range(slice.applied(to: range))
        case .string(let text):
            if slice.step == 1 { return .string(text[slice.start..<slice.start + slice.count]) }
            var result = TemplateString()
            result.isMarkup = text.isMarkup
            for position in slice.positions {
                result.append(text.codePoints[position], origin: text.origin(at: position))
            }
            return .string(result)
        default: return owner
        }
    }

    private func bound(_ value: Value?) throws -> Int? {
        switch value {
        case nil, Value.none?: return nil
        case .bigInteger(let value)?: return value.signum < 0 ? .min : .max
        case let value?:
            if let index = value.index { return index }
            if case .undefined(let undefined) = value { throw undefined.error }
            throw TemplateError.type("slice indices must be integers or None, not \(value.typeName)")
        }
    }
}

/// The positions that `[start:stop:step]` takes out of so many.
struct Slice {
    let start: Int
    let step: Int
    let count: Int

    init(count length: Int, start: Int?, stop: Int?, step: Int?) throws {
        let step = step ?? 1
        guard step != 0 else { throw TemplateError.value("slice step cannot be zero") }
        let lowest = step > 0 ? 0 : -1
        let highest = step > 0 ? length : length - 1
        func clamped(_ bound: Int?, _ standard: Int) -> Int {
            guard let bound else { return standard }
            return bound < 0 ? max(bound < -length ? lowest : bound + length, lowest) : min(bound, highest)
        }
        let start = clamped(start, step > 0 ? lowest : highest)
        let stop = clamped(stop, step > 0 ? highest : lowest)
        self.start = start
        self.step = step
        if step > 0 {
            count = start < stop ? (stop - start - 1) / step + 1 : 0
        } else {
            count = stop < start ? Int((UInt(start - stop) - 1) / step.magnitude) + 1 : 0
        }
    }

    var positions: [Int] { (0..<count).map { start + $0 * step } }

    /// Of a range its slice is a range too.
    func applied(to range: PythonRange) -> PythonRange {
        let start = range.start + start * range.step
        let (step, overflows) = range.step.multipliedReportingOverflow(by: step)
        // With a single element, or none, the step is never taken.
        if overflows || count <= 1 {
            return PythonRange(start: start, stop: count == 0 ? start : start + 1, step: 1)
        }
        return PythonRange(start: start, stop: start + count * step, step: step)
    }
}
