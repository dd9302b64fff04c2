import ArgumentParser
import SignDecomposition

extension RecipeName: ExpressibleByArgument {}
extension DecompositionMethod: ExpressibleByArgument {}
extension LatentWeight: ExpressibleByArgument {}
extension ScaleSplit: ExpressibleByArgument {}

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

    @Option(help: "How g and h share the scale: nmf (as the factorisation leaves it) or balanced (equal norms).")
    var scaleSplit: ScaleSplit?

    @Option(help: "A LayerNorm without parameters after every one-bit linear: on or off.")
    var postLayernorm: OnOff?

    /// The preset with these choices in place of its own.
    func applied(to preset: RecipeName) -> StartRecipe {
        var recipe = preset.start
        if let method { recipe.method = method }
        if let latent { recipe.latent = latent }
        if let scaleSplit { recipe.scaleSplit = scaleSplit }
        if let postLayernorm { recipe.postLayerNorm = postLayernorm == .on }
        return recipe
    }
}
