import Foundation
import OneBitTraining
import Tokenization

/// The text of a compression: what is trained on, and what is judged by.
struct CompressionText {
    let training: [Int32]
    let heldOut: [Int]
    let heldOutName: String
    let heldOutLoader: Loader

    /// What the `datasets` library calls the reader of a file; the Hub's cards name data of one's own by it.
    enum Loader: String {
        case json, text

        init(of file: URL) { self = file.pathExtension == "jsonl" ? .json : .text }
    }

    /// - Parameter heldOut: Text to judge by; without one, every twentieth document of the corpus is held out.
    init(corpus: URL, heldOut: URL?, tokenizer: any Tokenizer) throws {
        if let heldOut {
            training = try Corpus.tokens(of: corpus, tokenizer: tokenizer)
            self.heldOut = try Corpus.tokens(of: heldOut, tokenizer: tokenizer).map(Int.init)
            heldOutName = heldOut.lastPathComponent
            heldOutLoader = Loader(of: heldOut)
        } else {
            training = try Corpus.tokens(of: corpus, tokenizer: tokenizer) { $0 % 20 != 0 }
            self.heldOut = try Corpus.tokens(of: corpus, tokenizer: tokenizer) { $0 % 20 == 0 }.map(Int.init)
            heldOutName = "the corpus's held-out twentieth"
            heldOutLoader = Loader(of: corpus)
        }
    }
}
