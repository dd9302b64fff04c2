import Foundation
public enum BytePairTrainer { public static func train(texts: some Sequence<String>, vocabularySize: Int) throws -> Data { Data() } }
