/// A JSON document as it was written: member order kept, integers exact, duplicate keys impossible.
///
/// Foundation's reader keeps one of two equal keys without a word and turns every number into `NSNumber`; the headers
/// and configurations read here come from strangers, so both matter.
package enum JSONValue: Sendable, Hashable {
    case null
    case boolean(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// The value in JSON's own words, shortened for an error message.
    package var summary: String {
        let text = serialized()
        return text.count > 80 ? text.prefix(77) + "..." : text
    }
}

/// Members of a JSON object in the order in which they stood.
package struct JSONObject: Sendable, Hashable {
    package struct Member: Sendable, Hashable {
        package let key: String
        package var value: JSONValue
    }

    package private(set) var members: [Member]

    package init(_ members: [(String, JSONValue)] = []) {
        self.members = members.map { Member(key: $0, value: $1) }
    }

    /// The member's value; nil when there is none. Setting appends or replaces, setting nil removes. O(members).
    package subscript(key: String) -> JSONValue? {
        get { members.first { $0.key == key }?.value }
        set {
            let index = members.firstIndex { $0.key == key }
            switch (index, newValue) {
            case (let index?, let value?): members[index].value = value
            case (let index?, nil): members.remove(at: index)
            case (nil, let value?): members.append(Member(key: key, value: value))
            case (nil, nil): break
            }
        }
    }

    /// Adds a member whose key is known to be new. O(1).
    mutating func append(_ key: String, _ value: JSONValue) {
        members.append(Member(key: key, value: value))
    }
}
