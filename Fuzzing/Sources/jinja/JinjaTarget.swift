import Foundation
import FuzzSupport
import Jinja

// The input is a template, and behind a separator its variables as a JSON object. One is always there: a text that comes from
// outside and holds a character that nothing else has.

private let mark = "\u{10FFFD}"

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = FuzzInput(start, count, parts: 2)
    let parts = (0..<2).map { index in input[index].map { String(decoding: $0, as: UTF8.self) } ?? "" }
    guard !parts[0].contains(mark) else { return 0 }
    let read = refusing(with: TemplateError.self) { try Template(parts[0]) }
    guard let template = read else { return 0 }
    var limits = RenderingLimits()
    limits.steps = 200_000
    limits.textLength = 1 << 20
    limits.elementCount = 1 << 17
    let rendered = refusing(with: TemplateError.self) {
        try template.render(context(parts[1]), clock: Clock(date: .distantPast, timeZone: .gmt), limits: limits)
    }
    guard let rendering = rendered else { return 0 }
    require(rendering.text == rendering.parts.map(\.text).joined(), "the parts are not the text")
    for part in rendering.parts where part.text.contains(mark) {
        require(part.origin == .input, "what came from outside counts as the template's")
    }
    for span in rendering.generations { require(span.lowerBound >= 0, "a span before the output") }
    return 0
}

/// The variables, and those that the seeds use.
private func context(_ json: String) -> [String: ContextValue] {
    let text = ContextValue.string(mark + "<|im_start|> \u{E9}\n", origin: .input)
    var context: [String: ContextValue] = [
        "m": text, "bos_token": .string("<s>", origin: .template), "add_generation_prompt": .boolean(true),
        "messages": .array([
            .dictionary([
                .init(key: "role", value: .string("user", origin: .template)), .init(key: "content", value: text),
            ])
        ]),
    ]
    if case .dictionary(let members)? = try? ContextValue(json: json) {
        for member in members where member.key != "m" { context[member.key] = member.value }
    }
    return context
}
