/// An expression of a template, and where it stands.
struct Expression {
    indirect enum Kind {
        case literal(Value)
        case name(Symbol)
        case list([Expression])
        case tuple([Expression])
        case dictionary([(key: Expression, value: Expression)])
        /// `owner.name`: an attribute before an item of that name.
        case attribute(of: Expression, String)
        /// `owner[key]`: an item before an attribute of that name.
        case item(of: Expression, key: Expression)
        case slice(of: Expression, start: Expression?, stop: Expression?, step: Expression?)
        case call(Expression, CallArguments)
        case filter(FilterCall, value: Expression)
        case test(name: String, value: Expression, CallArguments)
        case unary(UnaryOperator, Expression)
        case binary(BinaryOperator, Expression, Expression)
        /// A chain: `a < b <= c`.
        case comparison(Expression, [(operation: ComparisonOperator, operand: Expression)])
        /// `a ~ b ~ c`: as text.
        case concatenation([Expression])
        case and(Expression, Expression)
        case or(Expression, Expression)
        case not(Expression)
        case conditional(Expression, condition: Expression, otherwise: Expression?)
    }

    let kind: Kind
    /// The offset in the source.
    let position: Int
    /// How deep expressions are nested in it, itself counted.
    let depth: Int
}

/// A name of the template, as an index in ``SymbolTable/names``.
struct Symbol: Hashable {
    let index: Int
}

/// The names of a template, each once.
struct SymbolTable {
    private(set) var names: [String] = []
    private var symbols: [String: Symbol] = [:]

    mutating func symbol(of name: String) -> Symbol {
        if let symbol = symbols[name] { return symbol }
        let symbol = Symbol(index: names.count)
        symbols[name] = symbol
        names.append(name)
        return symbol
    }

    /// The symbol of a name, if the template has it.
    subscript(name: String) -> Symbol? { symbols[name] }
}

enum UnaryOperator: String {
    case minus = "-"
    case plus = "+"
}

enum BinaryOperator: String {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case modulo = "%"
    case power = "**"
}

enum ComparisonOperator: String {
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case contained = "in"
    case notContained = "not in"
}

/// What a call passes: `f(1, x=2, *rest, **more)`.
struct CallArguments {
    var positional: [Expression] = []
    var keywords: [(name: String, value: Expression)] = []
    var restPositional: Expression?
    var restKeywords: Expression?

    var expressions: [Expression] {
        positional + keywords.map(\.value) + [restPositional, restKeywords].compactMap { $0 }
    }
}

/// A filter and its arguments, without what it is applied to.
struct FilterCall {
    let name: String
    let arguments: CallArguments
    let position: Int
}

/// What is assigned to.
indirect enum Target {
    case name(Symbol)
    /// An attribute of a namespace.
    case namespace(Symbol, attribute: String, position: Int)
    case tuple([Target], position: Int)
}

/// A statement, or the text and expressions between statements.
indirect enum Statement {
    case text(TemplateString)
    case output(Expression)
    case set(Target, Expression)
    /// `{% set x | filter %}…{% endset %}`
    case setBlock(Target, filters: [FilterCall], body: [Statement])
    case `if`([(condition: Expression, body: [Statement])], otherwise: [Statement])
    case `for`(ForLoop)
    case `break`
    case `continue`
    case macro(MacroDefinition)
    /// `{% call(x) f() %}…{% endcall %}`: the body is what `f` gets as `caller`.
    case call(Expression, CallArguments, position: Int, body: MacroDefinition)
    case filter([FilterCall], body: [Statement])
    case with([(target: Target, value: Expression)], body: [Statement])
    case autoescape(Expression, body: [Statement])
    case block(name: String, isScoped: Bool)
    /// Of transformers: marks what the model writes.
    case generation([Statement])
    /// A statement that needs other templates, of which there are none.
    case unsupported(tag: String, position: Int)
}

struct ForLoop {
    let target: Target
    let iterable: Expression
    let condition: Expression?
    let isRecursive: Bool
    let body: [Statement]
    let otherwise: [Statement]
    let position: Int
}

final class MacroDefinition {
    let name: String?
    let symbol: Symbol?
    let parameters: [(name: String, symbol: Symbol, standard: Expression?)]
    let body: [Statement]
    /// Which of the special names the body asks for.
    let usesCaller: Bool
    let usesVariableArguments: Bool
    let usesKeywordArguments: Bool

    init(
        name: String?, symbol: Symbol?, parameters: [(name: String, symbol: Symbol, standard: Expression?)],
        body: [Statement], uses names: Set<String>
    ) {
        self.name = name
        self.symbol = symbol
        self.parameters = parameters
        self.body = body
        usesCaller = names.contains("caller") && !parameters.contains { $0.name == "caller" }
        usesVariableArguments = names.contains("varargs")
        usesKeywordArguments = names.contains("kwargs")
    }
}

/// A template as a tree.
struct SyntaxTree {
    let body: [Statement]
    let blocks: [String: (body: [Statement], isRequired: Bool)]
    let symbols: SymbolTable
}
