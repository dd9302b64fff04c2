/// A template that is recognized, and the format that it writes.
///
/// Templates are compared by their outlines, so that quotes, spacing, branches for tools and checks of the roles make no
/// difference, and everything that is written does. A known one is a few lines of Jinja that do in a plain conversation
/// what the published ones do, or where these are programs of their own, a digest of their outline.
struct KnownTemplate: Sendable {
    /// Stands in a template for a system message that each model's template words differently.
    static let anySystem = "ANY SYSTEM MESSAGE"

    /// How the template is recognized.
    enum Signature: Sendable {
        /// The steps of this template.
        case template(String)
        /// ``TemplateOutline/digest`` of its steps.
        case digest(UInt64)
    }

    let signature: Signature
    let format: ChatFormat

    init(template: String, format: ChatFormat) {
        signature = .template(template)
        self.format = format
    }

    init(digest: UInt64, format: ChatFormat) {
        signature = .digest(digest)
        self.format = format
    }

    static let all: [KnownTemplate] = llama2 + llama3 + mistral + chatML + alpaca

    /// The names of the formats, each once.
    static var formatNames: [String] {
        var names: [String] = []
        for known in all where !names.contains(known.format.name) { names.append(known.format.name) }
        return names
    }

    /// The outlines of those of `all` that have one, made once.
    private static let outlines: [(outline: TemplateOutline, format: ChatFormat)] = all.compactMap { known in
        guard case .template(let template) = known.signature else { return nil }
        do {
            return (try TemplateOutline(template), known.format)
        } catch {
            preconditionFailure("a known template is not Jinja: \(error)")
        }
    }

    private static func format(digest: UInt64) -> ChatFormat? {
        all.first { if case .digest(digest) = $0.signature { true } else { false } }?.format
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
        if var format = format(digest: outline.digest) {
            format.requiresAlternation = outline.requiresAlternation
            return format
        }
        var nearest = 0
        for known in outlines {
            switch match(outline.steps, known.outline.steps) {
            case .success(let standardSystem):
                var format = known.format
                format.standardSystem = standardSystem ?? format.standardSystem
                format.requiresAlternation = outline.requiresAlternation
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
