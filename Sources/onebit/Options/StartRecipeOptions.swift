import ArgumentParser
import ModelDescription
import SignDecomposition

extension DecompositionMethod: ExpressibleByArgument {}
extension LatentWeight: ExpressibleByArgument {}
extension ScaleSplit: ExpressibleByArgument {}
extension QuantizationConfiguration.InputScales: ExpressibleByArgument {}

/// A preset of the method, as `--recipe` takes it.
enum RecipeName: String, ExpressibleByArgument, CaseIterable, Encodable {
    /// The paper's.
    case paper
    /// The best that this project has measured.
    case `default`

    /// What it makes of a start checkpoint.
    var start: StartRecipe {
        switch self {
        case .paper: .paper
        case .default: .standard
        }
    }
}

/// An option that is on or off, so that it can override a preset either way.
enum OnOff: String, ExpressibleByArgument, CaseIterable {
    case on
    case off
}

/// The preset of the method and the choices of it that concern the start checkpoint.
struct StartRecipeOptions: ParsableArguments {
    @Option(help: "How |W| becomes g and h: nmf, svd, or copy (unit vectors).")
    var method: DecompositionMethod?

    @Option(help: "The latent weight: sign (0.01 · sign W) or weight (W itself).")
    var latent: LatentWeight?

    @Option(help: "How g and h share the scale: nmf (as the factorization leaves it) or balanced (equal norms).")
    var scaleSplit: ScaleSplit?

    @Option(help: "A LayerNorm without parameters after every one-bit linear: on or off.")
    var postLayernorm: OnOff?

    @Option(
        help: ArgumentHelp(
            "Whether each layer has a g of its own, or q, k, v share one, gate and up share one, and so do the query heads of "
                + "a group: own or shared.",
            discussion: "Shared ones fold away in onebit export --format gguf: one bit per weight in llama.cpp too."))
    var inputScales: QuantizationConfiguration.InputScales?

    /// Puts these choices in place of a preset's.
    func apply(to recipe: inout StartRecipe) {
        if let method { recipe.method = method }
        if let latent { recipe.latent = latent }
        if let scaleSplit { recipe.scaleSplit = scaleSplit }
        if let inputScales { recipe.inputScales = inputScales }
        if let postLayernorm { recipe.postLayerNorm = postLayernorm == .on }
    }
}
