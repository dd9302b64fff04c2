import Foundation
import ModelDescription

/// `README.md` of a packed model: Hugging Face's front matter, what was measured, and what it was made with.
///
/// - Parameters:
///   - teacher: the teacher's directory; its own card, where it has one, says license and languages.
///   - output: the directory that the card is for.
///   - heldOut: what reads the held-out text.
func modelCard(
    teacher: URL, output: URL, report: CompressionReport, heldOut: CompressionText.Loader
) throws -> String {
    let base = BaseModel(directory: teacher)
    let name = base.name
    let definitions = [
        "kl_divergence", "top_one_agreement", "top_five_agreement", "perplexity", "perplexity_ratio", "standard_error",
    ].compactMap { report.definitions[$0] }.map { "* \($0).\n" }
    return """
        \(try frontMatter(base: base, output: output, report: report, heldOut: heldOut))
        # \(name) at one bit per weight

        Every linear layer of the blocks is one sign matrix and two value vectors (OneBit, Xu et al., NeurIPS 2024), \
        distilled from \(name) by onebit-swift \(OneBitVersion.current).

        ## Size

        \(report.table(withSpeed: false).markdown)
        "teacher" is \(name), "start" the student before training, "packed" this model. Bits per weight are of the \
        teacher's weights, value vectors included. Perplexity: see below.

        ## Quality

        What this model (the student) kept of its teacher, on held-out text:

        \(report.comparison.table.markdown)
        \(definitions.joined())
        \(Quantity.grouped(report.comparison.tokensPredicted)) tokens in \(Quantity.grouped(report.comparison.windows)) \
        windows.

        \(report.tasks.map { "## Zero-shot tasks\n\n\($0.summary.markdown)\n\($0.legend)\n\n" } ?? "")\
        ## Recipe

        \(report.recipe.table.markdown)
        Compressed in \(Quantity.duration(seconds: report.compressionSeconds)) by

        ```sh
        \(report.recipe.command)
        ```

        ## Use

        ```sh
        onebit generate \(ShellCommand.text([output.lastPathComponent])) --prompt "Once upon a time"
        ```

        """
}

/// The card's metadata, as the Hub reads it (its `modelcard.md`).
private func frontMatter(
    base: BaseModel, output: URL, report: CompressionReport, heldOut: CompressionText.Loader
) throws -> String {
    let figures = report.comparison
    func metric(_ type: String, _ name: String, _ value: Double) -> String {
        "    - type: \(type)\n      name: \(YAML.scalar(name))\n      value: \(YAML.number(value))"
    }
    let metrics = [
        metric("perplexity", "perplexity per token", figures.studentPerplexity.value),
        metric("kl_divergence", "KL divergence from the teacher, nats per token", figures.klDivergence.value),
        metric("accuracy", "agreement with the teacher on the likeliest token", figures.topOneAgreement.value),
    ].joined(separator: "\n")
    return """
        ---
        base_model: \(YAML.scalar(base.identifier))
        base_model_relation: quantized
        \(try base.inheritedMetadata())\
        library_name: onebit-swift
        pipeline_tag: text-generation
        tags:
        - onebit
        - 1-bit
        model-index:
        - name: \(YAML.scalar(output.lastPathComponent))
          results:
          - task:
              type: text-generation
            dataset:
              type: \(heldOut.rawValue)
              name: \(YAML.scalar(figures.source))
            metrics:
        \(metrics)
        ---

        """
}
