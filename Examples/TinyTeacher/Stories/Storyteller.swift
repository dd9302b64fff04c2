/// A small generator of random numbers (SplitMix64) whose numbers are the same everywhere.
struct StoryRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// Tells one story: casts the characters, sets the scene, then lets a plot add sentence after sentence.
///
/// Who and what a story is about is drawn once and held here. Plots only ever speak of it through these properties,
/// so that names, pronouns, colors and places agree from the first sentence to the last.
struct Storyteller {
    private var random: StoryRandom
    private var sentences: [String] = []

    let hero: CastMember
    let friend: CastMember
    let parent: CastMember
    let place: Place
    let toy: Thing
    let food: String
    let weather: Weather
    let time: String

    init(seed: UInt64, story: Int) {
        // The first draw of a generator that the seed and the number start scrambles both into an unrelated state.
        var mixer = StoryRandom(seed: seed &* 0x2545_F491_4F6C_DD1D &+ UInt64(story))
        var random = StoryRandom(seed: mixer.next())
        // Two stories in five are about animals, the others about children; friends may be of either kind.
        let heroIsAnimal = Int.random(in: 0..<5, using: &random) < 2
        let friendIsAnimal = Int.random(in: 0..<5, using: &random) < (heroIsAnimal ? 4 : 1)
        let hero = CastMember.draw(animal: heroIsAnimal, avoiding: nil, using: &random)
        self.hero = hero
        friend = CastMember.draw(animal: friendIsAnimal, avoiding: hero, using: &random)
        parent = CastMember.parent(of: hero, using: &random)
        place = Place.all.randomElement(using: &random)!
        toy = Thing(
            color: Words.colors.randomElement(using: &random)!,
            noun: Words.toys.randomElement(using: &random)!
        )
        food = Words.foods.randomElement(using: &random)!
        weather = Weather.all.randomElement(using: &random)!
        time = Words.times.randomElement(using: &random)!
        self.random = random
    }

    /// The whole story.
    mutating func tell() -> String {
        introduceHero()
        pick(Storyteller.plots)(&self)
        return sentences.joined(separator: " ")
    }

    /// Adds one of several ways to say the same thing.
    mutating func say(_ paraphrases: String...) {
        sentences.append(pick(paraphrases))
    }

    /// Adds one of the sentences in `percent` of the stories, and nothing in the others.
    mutating func perhaps(_ percent: Int, _ paraphrases: String...) {
        guard Int.random(in: 0..<100, using: &random) < percent else { return }
        sentences.append(pick(paraphrases))
    }

    /// One of the choices, each as likely as the others.
    mutating func pick<Choice>(_ choices: [Choice]) -> Choice {
        choices.randomElement(using: &random)!
    }

    /// As many different choices as asked for.
    mutating func pick<Choice>(_ count: Int, of choices: [Choice]) -> [Choice] {
        Array(choices.shuffled(using: &random).prefix(count))
    }

    /// Speech with its speaker, before or after: `"Yes," said Tom.` or `Tom said, "Yes."`
    mutating func speak(_ speaker: CastMember, _ words: String, verb: String = "said") {
        let inner = words.hasSuffix(".") ? words.dropLast() + "," : words[...]
        say(
            "\"\(inner)\" \(verb) \(speaker.name).",
            "\"\(inner)\" \(speaker.name) \(verb).",
            "\(speaker.name.capitalizedFirst) \(verb), \"\(words)\""
        )
    }

    /// The first sentences: who the story is about, what they are like, where they live.
    private mutating func introduceHero() {
        say(
            "Once upon a time, there was a \(hero.trait) \(hero.kind) named \(hero.name).",
            "Once there lived a \(hero.trait) little \(hero.kind). \(hero.capitalHis) name was \(hero.name).",
            "\(hero.name) was a \(hero.trait) little \(hero.kind).",
            "In \(hero.home) lived a \(hero.kind) named \(hero.name). \(hero.capitalHe) was very \(hero.trait).",
            "There was once a \(hero.kind) called \(hero.name), who was very \(hero.trait)."
        )
        perhaps(
            40,
            "\(hero.capitalHe) lived with \(hero.his) \(parent.kind) near \(place.name).",
            "\(hero.capitalHe) loved to eat \(food).",
            "Every day \(hero.he) liked to \(place.play).",
            "\(hero.capitalHe) was small, but \(hero.he) was not afraid to ask questions."
        )
    }
}
