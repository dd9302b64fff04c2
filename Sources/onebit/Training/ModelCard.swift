import Foundation
import SignDecomposition

/// `README.md` of a packed model: Hugging Face's front matter, and what was measured.
func modelCard(teacher: URL, report: CompressionReport, recipe: RecipeName, seed: UInt64) -> String {
    var table = TextTable([
        .text("model"), .figure("linear layers, bytes"), .figure("bits per weight"), .figure("whole model, bytes"),
        .figure("bits per weight"), .figure("perplexity"),
    ])
    for model in report.models {
        table.append([
            model.name, Quantity.grouped(model.linearBytes), Quantity.fixed(model.linearBitsPerWeight, digits: 3),
            Quantity.grouped(model.bytes), Quantity.fixed(model.bitsPerWeight, digits: 3),
            Quantity.fixed(model.perplexity, digits: 3),
        ])
    }
    let name = teacher.lastPathComponent
    return """
        ---
        base_model: \(name)
        base_model_relation: quantized
        library_name: onebit-swift
        tags:
        - onebit
        - 1-bit
        ---

        # \(name) at one bit per weight

        Every linear layer of the blocks is one sign matrix and two value vectors (OneBit, Xu et al., NeurIPS 2024), \
        distilled from \(name) with the recipe "\(recipe.rawValue)", seed \(seed), by onebit-swift \(OneBitVersion.current).

        \(table.markdown)
        Perplexity: \(report.perplexityDefinition). "start" is the student before training.

        Run it with `onebit generate`.

        """
}
