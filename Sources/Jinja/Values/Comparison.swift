/// A value as a key of a dictionary or element of a set. Numbers that are equal are one key, whatever their types.
struct HashableValue: Hashable {
    let value: Value

    static func == (left: HashableValue, right: HashableValue) -> Bool { left.value.isEqual(to: right.value) }

    func hash(into hasher: inout Hasher) {
        switch value {
        case .string(let text): hasher.combine(text)
        case .bytes(let bytes): hasher.combine(bytes)
        case .boolean(let value): hasher.combine(value ? 1 : 0)
        case .integer(let value): hasher.combine(value)
        case .bigInteger(let value): hasher.combine(Double(value))
        case .float(let value):
            if let integer = Int(exactly: value) { hasher.combine(integer) } else { hasher.combine(value) }
        case .tuple(let tuple): for element in tuple.elements { HashableValue(value: element).hash(into: &hasher) }
        case .range(let range): hasher.combine(range.count)
        case .object(let object): hasher.combine(ObjectIdentifier(object))
        case .undefined, .none, .list, .dictionary: break
        }
    }
}

extension Value {
    /// - Throws: `TemplateError` for lists and dictionaries, which are no keys.
    func checkHashable() throws {
        switch self {
        case .list, .dictionary: throw TemplateError.type("unhashable type: '\(typeName)'")
        case .tuple(let tuple): for element in tuple.elements { try element.checkHashable() }
        default: break
        }
    }

    /// Python's `==`.
    func isEqual(to other: Value) -> Bool {
        switch (self, other) {
        case (.string(let left), .string(let right)): left == right
        case (.undefined, .undefined), (.none, .none): true
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            left === right || Self.areEqual(left.elements, right.elements)
        case (.dictionary(let left), .dictionary(let right)):
            left === right || Self.areEqual(left.entries, right.entries)
        case (.bytes(let left), .bytes(let right)): left == right
        case (.range(let left), .range(let right)):
            left.count == right.count
                && (left.count == 0 || left.start == right.start && (left.count == 1 || left.step == right.step))
        case (.object(let left), .object(let right)): left.isEqual(to: right)
        default: order(of: other) == .some(.equal)
        }
    }

    private static func areEqual(_ left: [Value], _ right: [Value]) -> Bool {
        left.count == right.count && zip(left, right).allSatisfy { $0.isEqual(to: $1) }
    }

    private static func areEqual(_ left: Entries, _ right: Entries) -> Bool {
        left.count == right.count
            && zip(left.keys, left.values).allSatisfy { key, value in right[key]?.isEqual(to: value) == true }
    }

    enum Order { case less, equal, greater, unordered }

    /// How two numbers are ordered; nil where one of them is none.
    private func order(of other: Value) -> Order? {
        switch (number, other.number) {
        case (.integer(let left)?, .integer(let right)?): Self.order(left, right)
        case (.float(let left)?, .float(let right)?): Self.order(left, right)
        case (.float(let left)?, .integer(let right)?): Self.order(left, right)
        case (.integer(let left)?, .float(let right)?): Self.order(right, left).reversed
        case (.big(let left)?, .big(let right)?): Self.order(left, right)
        case (.big(let left)?, .integer(let right)?): Self.order(left, BigInteger(right))
        case (.integer(let left)?, .big(let right)?): Self.order(BigInteger(left), right)
        case (.big(let left)?, .float(let right)?): Self.order(right, left).reversed
        case (.float(let left)?, .big(let right)?): Self.order(left, right)
        default: nil
        }
    }

    private static func order<T: Comparable>(_ left: T, _ right: T) -> Order {
        left < right ? .less : left == right ? .equal : left > right ? .greater : .unordered
    }

    /// Exact, where a conversion of the integer would round it.
    private static func order(_ left: Double, _ right: Int) -> Order {
        if right.magnitude <= 1 << 53 { return order(left, Double(right)) }
        return order(left, BigInteger(right))
    }

    private static func order(_ left: Double, _ right: BigInteger) -> Order {
        guard left.isFinite else { return left.isNaN ? .unordered : left > 0 ? .greater : .less }
        let whole = order(BigInteger(left), right)
        guard whole == .equal else { return whole }
        return order(left, left.rounded(.towardZero))
    }

    /// Python's `<`, `<=`, `>` and `>=`.
    ///
    /// - Throws: `TemplateError` for values that have no order.
    static func compare(_ left: Value, _ right: Value, by operation: ComparisonOperator) throws -> Bool {
        if let order = left.order(of: right) { return operation.holds(for: order) }
        switch (left, right) {
        case (.string(let left), .string(let right)): return operation.holds(for: order(left, right))
        case (.bytes(let left), .bytes(let right)):
            let order: Order = left == right ? .equal : left.lexicographicallyPrecedes(right) ? .less : .greater
            return operation.holds(for: order)
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            for (left, right) in zip(left.elements, right.elements) where !left.isEqual(to: right) {
                return try compare(left, right, by: operation)
            }
            return operation.holds(for: order(left.elements.count, right.elements.count))
        case (.undefined(let undefined), _), (_, .undefined(let undefined)): throw undefined.error
        default:
            throw TemplateError.type(
                "'\(operation.rawValue)' not supported between instances of '\(left.typeName)' and '\(right.typeName)'")
        }
    }

    /// Whether it sorts before another.
    func precedes(_ other: Value) throws -> Bool { try Self.compare(self, other, by: .less) }
}

extension Value.Order {
    fileprivate var reversed: Value.Order {
        switch self {
        case .less: .greater
        case .greater: .less
        default: self
        }
    }
}

extension ComparisonOperator {
    fileprivate func holds(for order: Value.Order) -> Bool {
        switch self {
        case .less: order == .less
        case .lessOrEqual: order == .less || order == .equal
        case .greater: order == .greater
        case .greaterOrEqual: order == .greater || order == .equal
        case .equal, .notEqual, .contained, .notContained: preconditionFailure("not an order")
        }
    }
}

extension [Value] {
    /// Sorted as Python's `sorted` does, equal ones in their order: each by its key.
    func sorted(by keys: [Value], descending: Bool) throws -> [Value] {
        // A sort that is reversed keeps equal elements in their order too.
        let order = try indices.sorted { left, right in
            descending ? try keys[right].precedes(keys[left]) : try keys[left].precedes(keys[right])
        }
        return order.map { self[$0] }
    }
}
