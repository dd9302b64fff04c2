/// Someone in a story, with the pronouns that fit them.
///
/// The pronouns are properties named after their masculine forms: `he` reads "she" for a girl.
struct CastMember {
    let name: String
    let kind: String
    /// The name, with the kind of animal where it is one: "Lily", "Pip the fox".
    let fullName: String
    let trait: String
    let home: String
    let he: String
    let him: String
    let his: String

    /// The pronouns at the start of a sentence.
    var capitalHe: String { he.capitalizedFirst }
    var capitalHis: String { his.capitalizedFirst }

    private init(name: String, kind: String, trait: String, home: String, female: Bool) {
        self.name = name
        self.kind = kind
        fullName = Words.animals.contains { $0.kind == kind } ? "\(name) the \(kind)" : name
        self.trait = trait
        self.home = home
        (he, him, his) = female ? ("she", "her", "her") : ("he", "him", "his")
    }

    /// A child or an animal, other than the one to avoid in name, kind of animal and trait.
    static func draw(animal: Bool, avoiding other: CastMember?, using random: inout StoryRandom) -> CastMember {
        let female = Bool.random(using: &random)
        let names = animal ? Words.animalNames : female ? Words.girlNames : Words.boyNames
        let animals = Words.animals.filter { $0.kind != other?.kind }
        let creature = animals.randomElement(using: &random)!
        return CastMember(
            name: names.filter { $0 != other?.name }.randomElement(using: &random)!,
            kind: animal ? creature.kind : female ? "girl" : "boy",
            trait: Words.traits.filter { $0 != other?.trait }.randomElement(using: &random)!,
            home: animal ? creature.home : Words.homes.randomElement(using: &random)!,
            female: female
        )
    }

    /// The grown-up of the story.
    static func parent(of hero: CastMember, using random: inout StoryRandom) -> CastMember {
        let (kind, name, female) = Words.parents.randomElement(using: &random)!
        return CastMember(name: "\(hero.his) \(name)", kind: kind, trait: "kind", home: hero.home, female: female)
    }
}

/// Something that a character owns, always spoken of with its color.
struct Thing {
    let color: String
    let noun: String

    var name: String { "\(color) \(noun)" }
    var withArticle: String { (color.startsWithVowel ? "an " : "a ") + name }
}

/// Where a story happens: what one plays there, and where things hide.
struct Place {
    let name: String
    let play: String
    let spots: [String]

    static let all = [
        Place(
            name: "the park",
            play: "run on the grass",
            spots: ["under a bench", "behind the slide", "on the swing"]
        ),
        Place(
            name: "the forest",
            play: "climb the trees",
            spots: ["under a leaf", "behind a rock", "in a hollow tree"]
        ),
        Place(name: "the beach", play: "dig in the sand", spots: ["in the sand", "under a shell", "beside a boat"]),
        Place(name: "the farm", play: "feed the hens", spots: ["in the hay", "behind the barn", "under a cart"]),
        Place(name: "the garden", play: "smell the flowers", spots: ["in the roses", "under a pot", "by the gate"]),
        Place(
            name: "the river",
            play: "throw stones in the water",
            spots: ["in the mud", "under the bridge", "on a log"]
        ),
        Place(
            name: "the hill",
            play: "roll down the hill",
            spots: ["in the tall grass", "under a bush", "behind a wall"]
        ),
        Place(name: "the lake", play: "watch the fish", spots: ["in the reeds", "behind a stone", "in an old boat"]),
    ]
}

/// A kind of weather that stops a plan, and what comes when it is over.
struct Weather {
    let arrival: String
    let trouble: String
    let departure: String

    static let all = [
        Weather(arrival: "it began to rain", trouble: "wet", departure: "The rain stopped and a rainbow came out."),
        Weather(
            arrival: "a cold wind began to blow",
            trouble: "cold",
            departure: "The wind went away and it was warm again."
        ),
        Weather(arrival: "it began to snow", trouble: "cold", departure: "The snow stopped and the world was white."),
        Weather(
            arrival: "dark clouds came",
            trouble: "scared",
            departure: "The clouds went away and the sun came out."
        ),
        Weather(arrival: "thick fog came", trouble: "lost", departure: "The fog went away and they could see the sky."),
    ]
}

/// The word lists. Each list is small enough for a tiny model to learn and large enough that stories differ.
enum Words {
    static let girlNames = [
        "Lily", "Mia", "Anna", "Sara", "Emma", "Rosie", "Lucy", "Ella", "Nina", "Zoe", "Clara", "Ruby", "Molly", "Kate",
    ]
    static let boyNames = [
        "Tom", "Ben", "Max", "Sam", "Jack", "Leo", "Tim", "Oscar", "Finn", "Noah", "Peter", "Theo", "Luke", "Adam",
    ]
    static let animalNames = [
        "Pip", "Daisy", "Momo", "Bibi", "Coco", "Fluffy", "Sunny", "Pepper", "Dot", "Bean", "Honey", "Nutty",
    ]
    static let animals: [(kind: String, home: String)] = [
        ("rabbit", "a warm burrow"), ("fox", "a cosy den"), ("bear", "a quiet cave"), ("mouse", "a tiny hole"),
        ("duck", "a nest by the water"), ("squirrel", "a tall tree"), ("frog", "a green pond"),
        ("cat", "a small house"),
        ("dog", "a yellow house"), ("bird", "a round nest"), ("turtle", "a muddy pond"), ("pig", "a big barn"),
    ]
    static let homes = ["a small house", "a little village", "a yellow house", "a house by the sea", "a big town"]
    static let parents: [(kind: String, name: String, female: Bool)] = [
        ("mother", "mom", true), ("father", "dad", false), ("grandmother", "grandma", true),
        ("grandfather", "grandpa", false),
    ]
    static let traits = [
        "brave", "kind", "shy", "happy", "clever", "curious", "gentle", "funny", "quiet", "cheerful", "careful",
        "playful",
    ]
    static let colors = ["red", "blue", "green", "yellow", "orange", "purple", "white", "shiny"]
    static let toys = ["ball", "kite", "hat", "drum", "boat", "scarf", "bell", "book", "cup", "bag", "top", "train"]
    static let foods = ["apples", "bread", "cake", "berries", "nuts", "carrots", "soup", "honey", "cookies", "pears"]
    static let times = ["morning", "day", "afternoon", "evening"]
    static let feelings = ["sad", "worried", "upset"]
    static let joys = ["happy", "glad", "proud"]
    static let smallAnimals = ["kitten", "puppy", "lamb", "chick", "snail", "butterfly", "bee", "ladybug", "hedgehog"]
}

extension String {
    var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
    var startsWithVowel: Bool { first.map { "aeiou".contains($0) } ?? false }
}
