/// A template that is recognised, and the format that it writes.
///
/// The templates here say in a few lines of Jinja what the published ones do in a plain conversation. They are compared by
/// their outlines, so that quotes, spacing, branches for tools and checks of the roles make no difference, and everything
/// that is written does.
struct KnownTemplate: Sendable {
    /// Stands in a template for a system message that each model's template words differently.
    static let anySystem = "ANY SYSTEM MESSAGE"

    let template: String
    let format: ChatFormat

    static let all: [KnownTemplate] = llama2 + llama3 + mistral + chatML + alpaca

    /// The names of the formats, each once.
    static var formatNames: [String] {
        var names: [String] = []
        for known in all where !names.contains(known.format.name) { names.append(known.format.name) }
        return names
    }

    /// The outlines of `all`, made once.
    private static let outlines: [(outline: TemplateOutline, format: ChatFormat)] = all.map { known in
        do {
            return (try TemplateOutline(known.template), known.format)
        } catch {
            preconditionFailure("a known template is not Jinja: \(error)")
        }
    }

    /// The format of a template.
    ///
    /// - Throws: `ChatTemplateError` where it is not known.
    static func format(of source: ChatTemplateSource) throws -> ChatFormat {
        let outline: TemplateOutline
        do {
            outline = try TemplateOutline(source.text)
        } catch let error as TemplateSyntaxError {
            throw ChatTemplateError.malformed(file: source.file, reason: error.reason)
        }
        var nearest = 0
        for known in outlines {
            switch match(outline.steps, known.outline.steps) {
            case .success(let standardSystem):
                var format = known.format
                format.standardSystem = standardSystem ?? format.standardSystem
                format.demandsAlternation = outline.demandsAlternation
                return format
            case .failure(let mismatch): nearest = max(nearest, mismatch.step)
            }
        }
        throw ChatTemplateError.unknownFormat(
            file: source.file,
            beginning: String(source.text.prefix(80)),
            step: outline.steps.indices.contains(nearest) ? String(outline.steps[nearest].prefix(120)) : nil,
            known: formatNames
        )
    }

    private struct Mismatch: Error { let step: Int }

    /// Compares step by step; success gives what stands for `anySystem`.
    private static func match(_ steps: [String], _ known: [String]) -> Result<String?, Mismatch> {
        var captured: String?
        for (index, pattern) in known.enumerated() {
            guard index < steps.count else { return .failure(Mismatch(step: index)) }
            if let place = pattern.range(of: anySystem) {
                let ends = (pattern[..<place.lowerBound], pattern[place.upperBound...])
                let step = steps[index]
                guard step.hasPrefix(ends.0), step.hasSuffix(ends.1), step.count > ends.0.count + ends.1.count,
                    case let text = step.dropFirst(ends.0.count).dropLast(ends.1.count), !text.contains("\u{27E8}")
                else { return .failure(Mismatch(step: index)) }
                captured = String(text)
            } else if steps[index] != pattern {
                return .failure(Mismatch(step: index))
            }
        }
        return steps.count == known.count ? .success(captured) : .failure(Mismatch(step: known.count))
    }
}
