/// The plots about others: friends, animals, weather and fears; and the ways that stories end.
extension Storyteller {
    mutating func smallAnimal() {
        let animal = pick(Words.smallAnimals)
        let (trouble, cure) = pick([
            ("hurt its leg", "put a soft bandage on it"), ("lost its mother", "looked for its mother"),
            ("was very hungry", "gave it some food"), ("was stuck in the mud", "pulled it out"),
            ("was cold and wet", "put it in a warm box"),
        ])
        say(
            "One \(time), \(hero.he) heard a small sound \(pick(place.spots)) at \(place.name).",
            "One \(time) at \(place.name), \(hero.he) heard someone cry."
        )
        say("It was a little \(animal) that \(trouble).", "There sat a tiny \(animal). It \(trouble).")
        speak(hero, pick(["Do not be afraid.", "Poor little \(animal).", "I will help you."]))
        perhaps(
            50,
            "\(parent.name.capitalizedFirst) came to see and said, \"We must be gentle.\"",
            "\(hero.capitalHe) called \(friend.name), and \(friend.he) came at once."
        )
        say(
            "So \(hero.name) \(cure).",
            "\(hero.name) was very gentle and \(cure).",
            "\(hero.capitalHe) \(cure) and sang a song."
        )
        say(
            "Soon the \(animal) felt much better.",
            "The next day the \(animal) was well again.",
            "After a while the \(animal) was happy again."
        )
        speak(friend, pick(["Will it stay with us?", "Can we keep it?"]), verb: "asked")
        say(
            "\"No, it must go home,\" said \(hero.name), and they waved goodbye.",
            "\"It can stay as long as it wants,\" said \(hero.name)."
        )
        perhaps(60, "The \(animal) came back every \(time) to play.", "The \(animal) never forgot \(hero.name).")
        moral("even a small kindness is big", "it is good to help")
    }

    mutating func badWeather() {
        say(
            "One \(time), \(hero.name) and \(hero.his) friend \(friend.name) went to \(place.name) to \(place.play).",
            "One \(time), \(hero.he) asked \(friend.fullName), \"Shall we go to \(place.name)?\""
        )
        perhaps(50, "They took \(toy.withArticle) with them.", "\(hero.capitalHe) took \(food) to eat.")
        say("But then \(weather.arrival).", "Suddenly, \(weather.arrival).", "All at once \(weather.arrival).")
        say(
            "Soon they were \(weather.trouble).",
            "\(friend.name) was \(weather.trouble) and wanted to go home.",
            "\(hero.name) did not want to be \(weather.trouble)."
        )
        speak(hero, pick(["Come with me, I know a place.", "Quick, let us hide!", "Hold my hand."]))
        say(
            "They ran to hide \(pick(place.spots)).",
            "They found a dry little house and went in.",
            "They sat close together \(pick(place.spots))."
        )
        say(
            "To pass the time, they told funny stories.",
            "They sang songs and were not afraid.",
            "\(friend.name) told a story about a \(pick(Words.smallAnimals)), and they laughed."
        )
        say(weather.departure, "After a long time, it was over. " + weather.departure)
        say(
            "\"That was fun,\" said \(friend.name).",
            "\"Look how pretty it is!\" cried \(hero.name).",
            "They ran out to \(place.play)."
        )
        perhaps(50, "When they came home, \(parent.name) gave them warm \(pick(["milk", "soup", "tea"])).")
        close()
    }

    mutating func race() {
        say(
            "One \(time), \(friend.fullName) said, \"I am faster than you.\"",
            "One \(time), there was a big race at \(place.name)."
        )
        speak(friend, pick(["Let us race!", "I will win for sure.", "Nobody can beat me."]))
        let prize = toy.withArticle
        perhaps(60, "The winner would get \(prize).", "\(parent.name.capitalizedFirst) said, \"One, two, three, go!\"")
        say("\(friend.name) ran very fast. \(hero.name) ran behind.", "\(friend.name) was soon far away.")
        let (fall, rise) = pick([
            ("fell over a stone", "helped \(friend.him) up"), ("fell into the mud", "pulled \(friend.him) out"),
            ("lost the way", "showed \(friend.him) the way"),
        ])
        say("But then \(friend.name) \(fall).", "Near the end, \(friend.name) \(fall) and cried for help.")
        say(
            "\(hero.name) could have won, but \(hero.he) stopped.",
            "\(hero.name) did not run on. \(hero.capitalHe) went to \(hero.his) friend."
        )
        say("\(hero.capitalHe) \(rise).", "\(hero.name) was \(hero.trait) and \(rise).")
        say(
            "They ran to the end hand in hand.",
            "Then they went on together, side by side.",
            "They came in last, but they did not mind."
        )
        say(
            "\"You are the real winner,\" said \(friend.name).",
            "\"You are a true friend,\" said \(friend.name).",
            "Everyone clapped for \(hero.name)."
        )
        moral("being kind is better than winning", "a friend is better than a prize")
    }

    mutating func afraid() {
        let (fear, truth) = pick([
            ("the dark", "the stars are pretty in the dark"), ("deep water", "\(friend.he) would hold \(hero.him)"),
            ("loud noises", "it was only the wind"), ("big dogs", "the dog only wanted to play"),
            ("high places", "one can go slowly"), ("the deep woods", "the trees are our friends"),
        ])
        say(
            "But \(hero.he) was afraid of \(fear).",
            "There was one thing that \(hero.he) did not like: \(fear).",
            "\(hero.capitalHe) had a secret. \(hero.capitalHe) was afraid of \(fear)."
        )
        say(
            "One \(time), all the others went to \(place.name). \(hero.name) stayed at home.",
            "One \(time), \(friend.name) asked \(hero.him) to come to \(place.name)."
        )
        speak(hero, pick(["I cannot go.", "I am too scared.", "What if something bad happens?"]))
        say(
            "\(friend.fullName) did not laugh. \(friend.capitalHe) said that \(truth).",
            "\(friend.name) was a \(friend.trait) \(friend.kind). \(friend.capitalHe) told \(hero.him) that \(truth)."
        )
        speak(friend, pick(["I will stay with you.", "Take my hand.", "I was afraid too, once."]))
        say(
            "\(hero.name) took one small step, and then one more.",
            "\(hero.name) closed \(hero.his) eyes and went on.",
            "\(hero.name) held \(hero.his) \(toy.name) tight and came along."
        )
        say(
            "And it was not bad at all!",
            "Soon \(hero.he) forgot to be afraid.",
            "After a while \(hero.he) even began to laugh."
        )
        perhaps(60, "They stayed to \(place.play).", "\"I did it!\" cried \(hero.name).")
        moral("being brave means to try", "friends make us brave")
    }

    mutating func warning() {
        let (rule, breach, result) = pick([
            ("go too near the water", "went near the water", "fell in with a splash"),
            ("climb the old wall", "climbed up the wall", "could not get down"),
            ("eat too many \(food)", "ate and ate", "got very sick"),
            ("go far from home", "walked and walked", "did not know the way back"),
            ("touch the bees", "went to see the bees", "got a sting on the nose"),
        ])
        say(
            "\"Do not \(rule),\" \(parent.name) always said.",
            "\(parent.name.capitalizedFirst) told \(hero.him), \"You may play, but do not \(rule).\""
        )
        say(
            "But one \(time) \(hero.he) did not listen.",
            "One \(time), \(hero.he) was at \(place.name) and forgot.",
            "One \(time), \(hero.he) thought, \"Just this once.\""
        )
        say(
            "\(hero.capitalHe) \(breach), and \(hero.he) \(result).",
            "\(hero.name) \(breach). Then \(hero.he) \(result)."
        )
        speak(hero, pick(["Help! Help!", "Oh no, what have I done?", "Please, somebody help me!"]), verb: "cried")
        say(
            "\(friend.fullName) heard \(hero.him) and ran to get \(parent.name).",
            "A \(friend.kind) named \(friend.name) came to help \(hero.him)."
        )
        say(
            "Soon \(hero.name) was safe at home.",
            "\(friend.name) brought \(hero.him) home.",
            "It took a long time, but in the end \(hero.he) was safe."
        )
        say(
            "\"I am sorry that I did not listen,\" said \(hero.name).",
            "\(hero.name) said sorry to \(parent.name), and \(parent.name) gave \(hero.him) a hug."
        )
        perhaps(
            50,
            "\(parent.name.capitalizedFirst) was not angry, only glad.",
            "That night \(hero.he) slept very well."
        )
        moral("it is wise to listen", "rules keep us safe")
    }

    mutating func newFriend() {
        say(
            "But \(hero.he) had nobody to play with, and \(hero.he) was lonely.",
            "\(hero.capitalHe) had \(toy.withArticle), but no friend to play with."
        )
        say(
            "One \(time), a new \(friend.kind) came to \(place.name). \(friend.capitalHis) name was \(friend.name).",
            "One \(time), \(hero.he) saw a \(friend.kind) sitting \(pick(place.spots)). It was \(friend.name)."
        )
        say(
            "\(hero.name) wanted to say hello, but \(hero.he) did not dare.",
            "\(friend.name) looked very \(friend.trait)."
        )
        perhaps(50, "\"Go on, be nice,\" said \(parent.name).", "\(hero.name) thought about it for a while.")
        speak(
            hero,
            pick(["Hello! Do you want to play?", "Would you like to play with my \(toy.noun)?"]),
            verb: "asked"
        )
        speak(friend, pick(["Yes, please!", "I would love to."]))
        say(
            "They played with the \(toy.name) all \(time).",
            "They went to \(place.play) and had a lot of fun.",
            "\(friend.name) had brought \(food), and they ate together."
        )
        say(
            "\"Will you come back tomorrow?\" asked \(friend.name).",
            "\"I am so glad I met you,\" said \(friend.name)."
        )
        say("\"Yes,\" said \(hero.name), and smiled.", "\(hero.name) gave \(friend.him) the \(toy.noun) to keep.")
        say("Now \(hero.he) was not lonely any more.", "From that day on, they were best friends.")
        close()
    }

    mutating func sleepless() {
        say(
            "One night, \(hero.he) could not sleep.",
            "One night, \(hero.name) lay in bed with open eyes.",
            "It was late, but \(hero.he) was not tired at all."
        )
        perhaps(50, "Outside, \(weather.arrival).", "The moon was big and round.")
        say(
            "First \(hero.he) counted sheep. It did not help.",
            "\(hero.capitalHe) drank some milk, but it did not help.",
            "\(hero.capitalHe) turned left and \(hero.he) turned right."
        )
        say("So \(hero.he) went to \(parent.name).", "\(hero.capitalHe) called \(parent.name).")
        speak(parent, pick(["What is the matter?", "Why are you not asleep?"]), verb: "asked")
        speak(
            hero,
            pick(["I miss my friend \(friend.name).", "I heard a noise.", "I had a bad dream about a \(friend.kind)."])
        )
        say(
            "\(parent.name.capitalizedFirst) sat down and told \(hero.him) about \(place.name).",
            "\(parent.name.capitalizedFirst) gave \(hero.him) \(hero.his) \(toy.name) and sang a song."
        )
        say(
            "In the story, a little \(pick(Words.smallAnimals)) went to \(place.play).",
            "It was a song about a \(pick(Words.smallAnimals)) and the moon."
        )
        say(
            "Slowly \(hero.his) eyes closed.",
            "Before it was over, \(hero.name) was asleep.",
            "\"Good night,\" said \(hero.name), and closed \(hero.his) eyes."
        )
        say(
            "\(hero.capitalHe) dreamed of \(food) and of \(place.name).",
            "\(hero.capitalHe) dreamed that \(hero.he) could fly with \(friend.name)."
        )
        perhaps(60, "In the morning, \(hero.he) was \(pick(Words.joys)) and ready to play.")
    }

    // MARK: - Ways to end

    /// The hero thanks the friend.
    mutating func thank() {
        speak(hero, pick(["Thank you, \(friend.name)!", "You are a good friend.", "Thank you for your help."]))
        perhaps(
            40,
            "\"You are welcome,\" said \(friend.name).",
            "\(friend.name) smiled.",
            "\(friend.name) was \(pick(Words.joys)) to help."
        )
    }

    /// What the hero learned.
    mutating func moral(_ lessons: String...) {
        let lesson = pick(lessons)
        say(
            "\(hero.name) learned that \(lesson).",
            "That \(time), \(hero.name) learned that \(lesson).",
            "Now \(hero.name) knew that \(lesson)."
        )
        perhaps(30, "The end.", "And they were friends for a long, long time.")
    }

    /// A happy end.
    mutating func close() {
        let joy = pick(Words.joys)
        say(
            "\(hero.name) and \(friend.name) were very \(joy).",
            "It was the best \(time) of all.",
            "They went home \(joy) and tired.",
            "\(hero.name) was \(joy), and so was \(friend.name).",
            "And they played together every day."
        )
        perhaps(30, "The end.", "\(parent.name.capitalizedFirst) was \(pick(Words.joys)) too.")
    }
}
