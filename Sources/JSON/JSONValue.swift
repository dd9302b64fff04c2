/// A JSON value as a tree: member order kept, integers exact, duplicate keys impossible.
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
        let text = serialized(stoppingAfter: 80)
        return text.count > 80 ? text.prefix(77) + "..." : text
    }
}

/// Members of a JSON object in the order in which they stood.
package struct JSONObject: Sendable, Hashable {
    package struct Member: Sendable, Hashable {
        package let key: String
        package fileprivate(set) var value: JSONValue
    }

    /// Up to so many members a search is as fast as an index, and takes no memory.
    private static let indexedCount = 16

    package private(set) var members: [Member] = []
    /// Where each key stands in `members`; empty while these are few.
    private var positions: [String: Int] = [:]

    package init(_ members: [(String, JSONValue)] = []) {
        for (key, value) in members { self[key] = value }
    }

    /// The member's value; nil when there is none. Setting replaces the value where it stands, or appends; setting nil
    /// removes, which takes time linear in the number of members.
    package subscript(key: String) -> JSONValue? {
        get { position(of: key).map { members[$0].value } }
        set {
            switch (position(of: key), newValue) {
            case (let position?, let value?): members[position].value = value
            case (_?, nil): self = JSONObject(members.filter { $0.key != key }.map { ($0.key, $0.value) })
            case (nil, let value?): append(Member(key: key, value: value))
            case (nil, nil): break
            }
        }
    }

    private func position(of key: String) -> Int? {
        members.count <= Self.indexedCount ? members.firstIndex { $0.key == key } : positions[key]
    }

    private mutating func append(_ member: Member) {
        members.append(member)
        if members.count == Self.indexedCount + 1 {
            for (position, member) in members.enumerated() { positions[member.key] = position }
        } else if members.count > Self.indexedCount {
            positions[member.key] = members.count - 1
        }
    }
}
