import JSON

/// Typed access to the keys of one JSON object, with errors that name file and key.
struct ConfigurationReader {
    let file: String
    let object: JSONObject
    /// Prepended to keys in messages, e.g. `quantization_config.`.
    var prefix = ""

    /// The value of a key; nil when it is missing or null.
    func value(_ key: String) -> JSONValue? {
        let value = object[key]
        return value == .null ? nil : value
    }

    func integer(_ key: String, in bounds: ClosedRange<Int>) throws -> Int {
        guard let number = try integer(key, in: bounds, default: nil) else { throw missing(key) }
        return number
    }

    func integer(_ key: String, in bounds: ClosedRange<Int>, default fallback: Int?) throws -> Int? {
        guard let value = value(key) else { return fallback }
        guard case .integer(let number) = value, bounds.contains(number) else {
            throw invalid(key, "an integer from \(bounds.lowerBound) to \(bounds.upperBound)", value)
        }
        return number
    }

    /// A positive number, at most `limit`.
    func positive(_ key: String, atMost limit: Double, default fallback: Float) throws -> Float {
        guard let value = value(key) else { return fallback }
        let number: Double? =
            switch value {
            case .number(let number): number
            case .integer(let number): Double(number)
            default: nil
            }
        guard let number, number > 0, number <= limit, Float(number) > 0 else {
            throw invalid(key, "a positive number, at most \(limit)", value)
        }
        return Float(number)
    }

    func boolean(_ key: String, default fallback: Bool) throws -> Bool {
        guard let value = value(key) else { return fallback }
        guard case .boolean(let flag) = value else { throw invalid(key, "true or false", value) }
        return flag
    }

    func string(_ key: String) throws -> String? {
        guard let value = value(key) else { return nil }
        guard case .string(let text) = value else { throw invalid(key, "a string", value) }
        return text
    }

    /// An integer or a list of integers, each within bounds.
    func integers(_ key: String, in bounds: Range<Int>) throws -> [Int] {
        guard let value = value(key) else { return [] }
        let elements = if case .array(let elements) = value { elements } else { [value] }
        return try elements.map {
            guard case .integer(let number) = $0, bounds.contains(number) else {
                throw invalid(key, "token ids from 0 to \(bounds.upperBound - 1)", value)
            }
            return number
        }
    }

    func strings(_ key: String, default fallback: [String]) throws -> [String] {
        guard let value = value(key) else { return fallback }
        guard case .array(let elements) = value else { throw invalid(key, "a list of strings", value) }
        return try elements.map {
            guard case .string(let text) = $0 else { throw invalid(key, "a list of strings", value) }
            return text
        }
    }

    /// The reader of a nested object; nil when the key is missing or null.
    func nested(_ key: String) throws -> ConfigurationReader? {
        guard let value = value(key) else { return nil }
        guard case .object(let object) = value else { throw invalid(key, "an object", value) }
        return ConfigurationReader(file: file, object: object, prefix: "\(prefix)\(key).")
    }

    func missing(_ key: String) -> ConfigurationError { .missingKey(file: file, key: prefix + key) }

    func invalid(_ key: String, _ expected: String, _ found: JSONValue) -> ConfigurationError {
        .invalidValue(file: file, key: prefix + key, expected: expected, found: found.summary)
    }

    func unsupported(_ key: String, _ supported: String, _ found: JSONValue) -> ConfigurationError {
        .unsupportedSetting(file: file, key: prefix + key, found: found.summary, supported: supported)
    }
}
