import Foundation
import JSON
import ModelDescription
import TensorFiles

/// What a template does in a plain conversation, step by step, in one way of writing: two templates with equal outlines
/// write equal texts.
///
/// Left out is what never happens without tools, documents and reasoning, and what refuses a conversation
/// (`raise_exception`): `ChatTemplate` checks the roles itself.
struct TemplateOutline: Equatable {
    private(set) var steps: [String]
    /// Whether the template wants user and assistant in turn.
    private(set) var demandsAlternation: Bool
    /// Whether the loop goes over `loop_messages`, which is then what the outline calls `messages`.
    private let renames: Bool

    /// Outlines a template.
    ///
    /// - Throws: `TemplateSyntaxError` where it is not Jinja, or Jinja that no chat template uses.
    init(_ template: String) throws {
        try Self.checkMarks(in: template)
        var segments = try TemplateCutter.cut(template)[...]
        var block = try TemplateBlock(&segments, isNested: false)
        demandsAlternation = block.removeRefusals()
        steps = []
        renames = template.contains("loop_messages")
        append(block)
    }

    /// Refuses runs of combining marks without end: Swift takes time that grows with the square of a run to compare strings.
    /// A mark has to follow a letter, a digit or another mark, or shorter runs could become one where parts of the template
    /// are put together.
    private static func checkMarks(in template: String) throws {
        var markCount = 0
        var previous: Unicode.Scalar = " "
        for scalar in template.unicodeScalars {
            markCount = scalar.isReorderedMark ? markCount + 1 : 0
            let standsAlone =
                previous.isASCII ? !CharacterSet.alphanumerics.contains(previous) : previous.properties.isWhitespace
            guard markCount <= JSONReader.maximumMarkCount, markCount != 1 || !standsAlone else {
                throw TemplateSyntaxError(reason: "combining marks that no character bears, or too many of them")
            }
            previous = scalar
        }
    }

    /// A number that stands for the steps: FNV-1a, 64 bits, over the UTF-8 of their lines.
    var digest: UInt64 {
        var digest: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in steps.joined(separator: "\n").utf8 { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return digest
    }

    private mutating func append(_ block: TemplateBlock) {
        for node in block.nodes {
            switch node {
            case .write(let text): append(writing: text)
            case .set(let statement): steps.append("set \(statement)")
            case .slice(let rest): steps.append("set messages = \u{27E8}\(rest)\u{27E9}")
            case .loop(let head, let body):
                let count = steps.count
                steps.append("for \(renamed(head))")
                append(body)
                if steps.count == count + 1 { steps.removeLast() } else { steps.append("end") }
            case .choice(let branches): append(branches)
            case .raise: steps.append("raise")
            }
        }
    }

    private func renamed(_ head: String) -> String {
        switch head {
        case "message in loop_messages": "message in messages"
        case "message in messages" where renames: "message in messages, all of them"
        default: head
        }
    }

    private mutating func append(_ branches: [TemplateBlock.Branch]) {
        let start = steps.count
        for branch in branches {
            guard let condition = branch.condition else {
                if steps.count == start { return append(branch.body) }
                steps.append("else")
                append(branch.body)
                if steps.last == "else" { steps.removeLast() }
                continue
            }
            steps.append("\(steps.count == start ? "if" : "elif") \(condition.spelling)")
            append(branch.body)
        }
        if steps.count > start { steps.append("end") }
        if steps.count == start + 2 { steps.removeLast(2) }
    }

    /// Texts that are written one after the other are one text.
    private mutating func append(writing text: String) {
        if let last = steps.last, last.hasPrefix("write ") {
            steps[steps.count - 1] = last + text
        } else {
            steps.append("write \(text)")
        }
    }
}
