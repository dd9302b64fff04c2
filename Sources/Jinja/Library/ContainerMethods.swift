/// The methods of lists, dictionaries and bytes that change nothing.
enum ContainerMethods {
    static let ofLists: [String: Method<[Value]>] = [
        "copy": { elements, _, renderer in try renderer.list(elements) },
        "count": { elements, arguments, renderer in
            let element = try arguments.requiredPositional()
            try renderer.use(steps: elements.count)
            return .integer(elements.count { $0.isEqual(to: element) })
        },
        "index": { elements, arguments, renderer in
            let element = try arguments.requiredPositional()
            let slice = try range(of: elements.count, &arguments)
            try renderer.use(steps: slice.count)
            guard let index = elements[slice].firstIndex(where: { $0.isEqual(to: element) }) else {
                throw TemplateError.value("\(element.shortDescription) is not in list")
            }
            return .integer(index)
        },
    ]

    static let ofDictionaries: [String: Method<Entries>] = [
        "get": { entries, arguments, _ in
            let key = try arguments.requiredPositional()
            let standard = arguments.nextPositional() ?? Value.none
            try key.checkHashable()
            return entries[key] ?? standard
        },
        "items": { entries, _, renderer in
            try renderer.checkCount(entries.count)
            return .object(try DictionaryView(.items, of: entries))
        },
        "keys": { entries, _, _ in .object(try DictionaryView(.keys, of: entries)) },
        "values": { entries, _, _ in .object(try DictionaryView(.values, of: entries)) },
        "copy": { entries, _, renderer in
            try renderer.checkCount(entries.count)
            return try .dictionary(entries)
        },
        "fromkeys": { _, arguments, renderer in try fromKeys(&arguments, renderer) },
    ]

    /// `dict.fromkeys(keys, value)`
    static func fromKeys(_ arguments: inout ArgumentReader, _ renderer: Renderer) throws -> Value {
        let keys = try renderer.elements(of: try arguments.requiredPositional())
        let value = arguments.nextPositional() ?? Value.none
        try renderer.checkCount(keys.count)
        var entries = Entries()
        for key in keys {
            try key.checkHashable()
            entries[key] = value
        }
        return try .dictionary(entries)
    }

    static let ofBytes: [String: Method<[UInt8]>] = [
        "decode": { bytes, arguments, _ in
            _ = try arguments.text("encoding")
            _ = try arguments.text("errors")
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw TemplateError.value("the bytes are not valid UTF-8")
            }
            // What bytes came from is not known.
            return .string(text, origin: .input)
        },
        "hex": { bytes, _, _ in .string(bytes.map { hexadecimal(UInt32($0), width: 2) }.joined()) },
    ]

    /// The optional start and end of `index` and `find`, as a range of so many elements.
    static func range(of count: Int, _ arguments: inout ArgumentReader) throws -> Range<Int> {
        func bound(_ value: Value?, _ standard: Int) throws -> Int {
            switch value {
            case nil, Value.none?: return standard
            case let value?:
                guard let index = value.index else {
                    throw TemplateError.type("slice indices must be integers or None, not \(value.typeName)")
                }
                return index < 0 ? max(0, index < -count ? 0 : index + count) : index
            }
        }
        let start = try bound(arguments.nextPositional(), 0)
        let end = min(count, try bound(arguments.nextPositional(), count))
        return start <= end ? start..<end : count..<count
    }
}
