/// A file some of whose tensors are taken apart: rows that lie one below the other in one tensor are tensors by themselves, where
/// they are mapped.
package struct SplitTensorFile: TensorFile {
    package let contents: MappedTensors

    /// - Parameters:
    ///   - file: holds the tensors.
    ///   - parts: of a tensor, the names and rows of its parts from the first row on, which are all rows that it has; nil for
    ///     one that stays whole.
    /// - Throws: ``TensorFileError/tensorTwice(file:tensor:other:)`` where a part is there by itself too, and what `parts`
    ///   throws.
    package init(
        _ file: any TensorFile, parts: (TensorDescription) throws -> [(name: String, rows: Int)]?
    ) throws {
        var descriptions = file.contents.descriptions
        var ranges = file.contents.ranges
        for (name, whole) in file.contents.descriptions {
            guard let parts = try parts(whole), let range = ranges[name], file.contents.conversions[name] == nil,
                let rows = whole.shape.first, rows > 0
            else { continue }
            precondition(parts.reduce(0) { $0 + $1.rows } == rows, "parts that are not the whole")
            (descriptions[name], ranges[name]) = (nil, nil)
            let rowBytes = range.count / rows
            var first = range.lowerBound
            for part in parts {
                guard descriptions[part.name] == nil else {
                    throw TensorFileError.tensorTwice(file: file.path, tensor: part.name, other: name)
                }
                descriptions[part.name] = TensorDescription(
                    name: part.name, elementType: whole.elementType, shape: [part.rows] + whole.shape.dropFirst())
                ranges[part.name] = first..<first + part.rows * rowBytes
                first += part.rows * rowBytes
            }
        }
        contents = MappedTensors(
            file: file.contents.file, descriptions: descriptions, ranges: ranges, conversions: file.contents.conversions
        )
    }
}
