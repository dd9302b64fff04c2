import Foundation

/// The special tokens that `tokenizer_config.json` and `special_tokens_map.json` beside a tokenizer name.
struct NamedSpecialTokens {
    /// The keys that name one token each.
    private static let keys = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    private(set) var beginOfSequence: String?
    private(set) var endOfSequence: String?
    /// Whether BOS and EOS are put around a text, where `tokenizer_config.json` says so.
    private(set) var addsBeginOfSequence: Bool?
    private(set) var addsEndOfSequence: Bool?
    /// Where each token is named: a string, or an object with `content`. The file that counts more comes first.
    private(set) var places: [JSONNode] = []
    /// `tokenizer_config.json`; null where there is none.
    let configuration: JSONNode

    /// Reads `tokenizer_config.json`, and for what it does not name `special_tokens_map.json`.
    init(directory: URL) throws {
        let urls = ["tokenizer_config.json", "special_tokens_map.json"].map { directory.appending(path: $0) }
        let files = try urls.map { url in
            guard FileManager.default.fileExists(atPath: url.path) else {
                return JSONNode(file: url.path, path: "", value: .null)
            }
            let node = try readJSONTree(at: url)
            guard case .object = node.value else { throw node.mismatch("an object") }
            return node
        }
        configuration = files[0]
        for node in files {
            beginOfSequence = try beginOfSequence ?? node["bos_token"].tokenContent()
            endOfSequence = try endOfSequence ?? node["eos_token"].tokenContent()
            addsBeginOfSequence = try addsBeginOfSequence ?? Self.flag(node["add_bos_token"])
            addsEndOfSequence = try addsEndOfSequence ?? Self.flag(node["add_eos_token"])
            places += Self.keys.map { node[$0] }.filter { !$0.isNull }
            for list in ["additional_special_tokens", "extra_special_tokens"].map({ node[$0] }) {
                if case .array = list.value { places += try list.elements() }
            }
        }
    }

    /// `processor`, or what `add_bos_token` and `add_eos_token` make of it: each that is given decides its end of a text.
    /// A token that is to be added, but that no file names, is left out, as transformers does.
    ///
    /// - Throws: `TokenizerError` where a named token that is to be added is not in the vocabulary.
    func applied(to processor: PostProcessor, beginOfSequence: Int?, endOfSequence: Int?) throws -> PostProcessor {
        func tokens(_ isAdded: Bool?, _ key: String, _ name: String?, _ id: Int?, standard: [Int]) throws -> [Int] {
            guard let isAdded else { return standard }
            if isAdded, id == nil, let name {
                throw configuration[key].malformed("\"\(name)\" is to be added to texts, but is not in the vocabulary")
            }
            return isAdded ? [id].compactMap { $0 } : []
        }
        return PostProcessor(
            prefix: try tokens(
                addsBeginOfSequence, "bos_token", self.beginOfSequence, beginOfSequence, standard: processor.prefix),
            suffix: try tokens(
                addsEndOfSequence, "eos_token", self.endOfSequence, endOfSequence, standard: processor.suffix)
        )
    }

    private static func flag(_ node: JSONNode) throws -> Bool? { node.isNull ? nil : try node.boolean() }
}

extension JSONNode {
    /// What a token is spelled like that is given as a string or as an object with `content`; nil where this is null.
    func tokenContent() throws -> String? {
        if isNull { return nil }
        if case .object = value { return try self["content"].string() }
        return try string()
    }
}
