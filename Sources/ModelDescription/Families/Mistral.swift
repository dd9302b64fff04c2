import TensorFiles

extension ModelFamily {
    /// Mistral (Jiang et al. 2023): LLaMA with a sliding attention window.
    static let mistral = ModelFamily(
        modelType: "mistral",
        architecture: "MistralForCausalLM",
        names: .llama,
        defaultKeyValueHeadCount: 8,
        knownKeys: rotaryKeys.union(["sliding_window"]),
        requirements: [silu, wholeRotary]
    ) { reader, sizes in
        var structure = DecoderStructure(
            positions: .rotary(try RotaryPositions(reader, maximumPositions: sizes.maximumPositions)))
        // A missing key stands for the 4096 of the first release, null for none.
        let isMissing = reader.object["sliding_window"] == nil
        structure.slidingWindow = try reader.integer(
            "sliding_window", in: 1...Int(Int32.max), default: isMissing ? 4096 : nil)
        if structure.slidingWindow != nil { structure.windowedLayers = Set(0..<sizes.layerCount) }
        return structure
    }
}
