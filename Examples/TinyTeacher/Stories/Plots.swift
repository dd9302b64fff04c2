/// The plots about things: lost, wanted, made, found and shared.
extension Storyteller {
    /// Every plot; a story has one of them.
    static let plots: [@Sendable (inout Storyteller) -> Void] = [
        { $0.lostAndFound() }, { $0.wishOutOfReach() }, { $0.sharing() }, { $0.breaking() }, { $0.makingGift() },
        { $0.growing() }, { $0.treasure() }, { $0.smallAnimal() }, { $0.badWeather() }, { $0.race() },
        { $0.afraid() }, { $0.warning() }, { $0.newFriend() }, { $0.sleepless() },
    ]

    mutating func lostAndFound() {
        say(
            "\(hero.capitalHe) had \(toy.withArticle) and took it everywhere.",
            "\(hero.capitalHe) loved \(hero.his) \(toy.name) more than anything.",
            "The thing \(hero.he) liked best was \(hero.his) \(toy.name)."
        )
        say(
            "One \(time), \(hero.he) went to \(place.name) to \(place.play).",
            "One \(time), \(hero.he) took the \(toy.noun) to \(place.name)."
        )
        say(
            "But when \(hero.he) wanted to go home, the \(toy.name) was gone!",
            "Then \(hero.he) looked around and could not see the \(toy.name).",
            "Suddenly \(hero.he) saw that \(hero.he) had lost the \(toy.name)."
        )
        let feeling = pick(Words.feelings)
        say("\(hero.name) was very \(feeling).", "\(hero.name) was \(feeling) and began to cry.")
        speak(friend, pick(["What is wrong?", "Why are you \(feeling)?"]), verb: "asked")
        speak(hero, pick(["I lost my \(toy.name).", "I cannot find my \(toy.noun)."]))
        say(
            "\"I will help you,\" said \(friend.name), who was a \(friend.kind).",
            "\(friend.fullName) wanted to help."
        )
        let spots = pick(2, of: place.spots)
        say("They looked \(spots[0]), but it was not there.", "First they looked \(spots[0]). They found nothing.")
        say(
            "Then they looked \(spots[1]), and there was the \(toy.name)!",
            "At last \(friend.name) looked \(spots[1]) and found the \(toy.name)."
        )
        thank()
        perhaps(
            50,
            "From that day on, \(hero.name) took good care of \(hero.his) \(toy.noun).",
            "\(hero.name) held the \(toy.noun) tight all the way home."
        )
        close()
    }

    mutating func wishOutOfReach() {
        let (spot, helper) = pick([
            ("in a high tree", "long stick"), ("on the roof", "ladder"), ("deep in a hole", "rope"),
            ("behind a heavy stone", "strong pole"),
        ])
        say(
            "One \(time) at \(place.name), \(hero.he) saw \(toy.withArticle) \(spot).",
            "One \(time), \(hero.name) was walking to \(place.name). There was \(toy.withArticle) \(spot)."
        )
        speak(hero, pick(["I wish I had that \(toy.noun).", "What a nice \(toy.noun)!", "I want that \(toy.name)."]))
        say(
            "\(hero.capitalHe) tried and tried, but \(hero.he) could not get it.",
            "\(hero.capitalHe) tried to get it, but it was too hard.",
            "\(hero.capitalHe) tried three times and fell down three times."
        )
        perhaps(
            50,
            "\(hero.capitalHe) sat down and felt \(pick(Words.feelings)).",
            "\"It is no use,\" \(hero.he) thought."
        )
        say(
            "Then \(friend.fullName) came by with a \(helper).",
            "\(hero.capitalHis) friend \(friend.name) came along. \(friend.capitalHe) had a \(helper)."
        )
        speak(friend, pick(["Let us try together.", "Maybe this can help.", "Two are better than one."]))
        say(
            "With the \(helper), they got the \(toy.name).",
            "They used the \(helper), and soon \(hero.name) had the \(toy.name) in \(hero.his) hands."
        )
        thank()
        perhaps(
            60,
            "They played with the \(toy.noun) until the sun went down.",
            "They took turns with the \(toy.noun)."
        )
        moral("it is good to ask for help", "friends can do hard things together")
    }

    mutating func sharing() {
        say(
            "One \(time), \(hero.he) had a big basket of \(food).",
            "One \(time), \(hero.his) \(parent.kind) gave \(hero.him) some \(food)."
        )
        say(
            "\(friend.fullName) came by. \(friend.capitalHe) was very hungry.",
            "\(hero.capitalHe) met a hungry \(friend.kind) named \(friend.name) at \(place.name)."
        )
        speak(friend, pick(["May I have some \(food)?", "Will you share your \(food) with me?"]), verb: "asked")
        speak(hero, pick(["No, it is all mine.", "No, I want to eat it all."]))
        say("\(friend.name) walked away with a sad face.", "\(friend.name) was sad and went away.")
        say(
            "\(hero.name) ate and ate, until \(hero.his) tummy hurt.",
            "\(hero.name) sat alone. The \(food) did not taste so good.",
            "But \(hero.name) did not feel happy at all."
        )
        perhaps(
            50,
            "\"It is more fun to eat with a friend,\" said \(parent.name).",
            "\(parent.name.capitalizedFirst) told \(hero.him) to be kind."
        )
        say(
            "So \(hero.he) ran after \(friend.name) and said, \"I am sorry. Please have some.\"",
            "\(hero.capitalHe) went to find \(friend.name). \"I am sorry,\" \(hero.he) said. \"Let us share.\""
        )
        say(
            "They sat \(pick(place.spots)) and ate the \(food) together.",
            "They ate the \(food) together and laughed.",
            "\(friend.name) smiled, and they shared all the \(food)."
        )
        moral("sharing makes everyone happy", "food tastes best with a friend")
    }

    mutating func breaking() {
        say(
            "One \(time), \(hero.he) was playing with a \(toy.noun) that was not \(hero.his) own.",
            "One \(time), \(hero.his) friend \(friend.name) let \(hero.him) play with \(friend.his) \(toy.noun)."
        )
        say("It was \(toy.color) and very pretty.", "It was a very nice \(toy.name).")
        say(
            "\(hero.capitalHe) was not careful, and the \(toy.noun) fell and broke.",
            "Crack! The \(toy.name) broke in two.",
            "Oh no! \(hero.capitalHe) dropped it and it broke."
        )
        let spot = pick(place.spots)
        say(
            "\(hero.name) was scared. \(hero.capitalHe) hid the \(toy.noun) \(spot).",
            "\(hero.capitalHe) did not know what to do, so \(hero.he) hid it \(spot)."
        )
        say("Soon \(friend.fullName) came.", "Then \(friend.name) came back.")
        speak(friend, pick(["Where is my \(toy.noun)?", "Have you seen my \(toy.name)?"]), verb: "asked")
        say(
            "\(hero.name) looked at \(hero.his) feet. \"I broke it. I am sorry,\" \(hero.he) said.",
            "\(hero.name) wanted to say no, but \(hero.he) told the truth."
        )
        say(
            "\(friend.name) was sad, but not angry. \"Thank you for telling me,\" \(friend.he) said.",
            "\"I am glad that you told me,\" said \(friend.name)."
        )
        say(
            "Together they fixed the \(toy.noun) with some glue.",
            "\(parent.name.capitalizedFirst) helped them fix the \(toy.noun)."
        )
        moral("it is best to tell the truth", "good friends forgive")
    }

    mutating func makingGift() {
        let (made, need) = pick([
            ("a cake", "eggs and milk"), ("a card", "paper and paint"), ("a necklace", "beads and string"),
            ("a picture", "paper and paint"), ("a basket", "grass and string"), ("a pie", food),
        ])
        say(
            "It was \(friend.name)'s birthday. \(hero.name) wanted to make \(made) for \(friend.him).",
            "One \(time), \(hero.he) wanted to give \(made) to \(hero.his) friend \(friend.name)."
        )
        say("\(hero.capitalHe) got \(need) and went to work.", "\(hero.capitalHe) asked \(parent.name) for \(need).")
        say(
            "The first time, it went all wrong.",
            "But it did not look good, and \(hero.he) was \(pick(Words.feelings)).",
            "\(hero.capitalHe) made a big mess."
        )
        speak(parent, pick(["Do not give up.", "Try once more.", "You can do it."]))
        say(
            "So \(hero.name) tried again, very slowly.",
            "\(hero.capitalHe) tried again, and this time it worked.",
            "\(hero.name) took a deep breath and began again."
        )
        say(
            "When it was done, \(hero.he) took it to \(friend.name), who was playing near \(place.name).",
            "At last it was ready. \(hero.capitalHe) ran to \(place.name) to find \(friend.name)."
        )
        speak(friend, pick(["Is this for me?", "Did you make this?"]), verb: "asked")
        say("\"Yes!\" said \(hero.name).", "\(hero.name) nodded and smiled.")
        say(
            "\(friend.name) loved it and gave \(hero.him) a big hug.",
            "\(friend.name) was so happy that \(friend.he) began to dance."
        )
        close()
    }

    mutating func growing() {
        let plant = pick(["a sunflower", "a tree", "a pumpkin", "a rose", "a bean plant"])
        say(
            "One \(time), \(hero.he) found a little seed \(pick(place.spots)).",
            "One \(time), \(parent.name) gave \(hero.him) a little seed."
        )
        speak(hero, pick(["What will it be?", "What is in it?"]), verb: "asked")
        speak(parent, pick(["You must wait and see.", "Plant it and give it water."]))
        say("\(hero.name) put the seed in the ground.", "So \(hero.he) made a hole and put the seed in it.")
        say(
            "Every day \(hero.he) gave it water, but nothing came up.",
            "\(hero.capitalHe) waited one day, two days, three days. Nothing came up."
        )
        say(
            "\"Maybe it is sleeping,\" said \(friend.fullName).",
            "\(friend.fullName) laughed and said, \"It will never grow.\""
        )
        say("But \(hero.name) did not give up.", "\(hero.name) sang to the seed every night.")
        perhaps(50, "Then \(weather.arrival), and \(hero.he) put \(hero.his) \(toy.noun) over it to keep it safe.")
        say("One morning there was a small green leaf!", "Then, one morning, something green came out of the ground.")
        say(
            "It grew and grew, until it was \(plant), taller than \(hero.name).",
            "Soon it was \(plant), the best one near \(place.name)."
        )
        moral("good things take time", "it is good to wait and be kind")
    }

    mutating func treasure() {
        let spots = pick(3, of: place.spots)
        say(
            "One \(time), \(hero.he) found an old map in a \(toy.name).",
            "One \(time), \(hero.he) and \(friend.name) found a map in an old book."
        )
        speak(
            hero,
            pick(["There must be a treasure at \(place.name)!", "Let us go to \(place.name) and look!"]),
            verb: "cried"
        )
        say(
            "\(hero.name) and \(hero.his) friend \(friend.name) set out at once.",
            "So \(hero.name) went with \(friend.fullName)."
        )
        say(
            "The map said to look \(spots[0]). They found a key.",
            "First they looked \(spots[0]) and found a small key."
        )
        say("Then they looked \(spots[1]), but there was only mud.", "They looked \(spots[1]) and found nothing.")
        perhaps(40, "\(friend.name) was tired. \"Let us go on,\" said \(hero.name).")
        say(
            "At last, \(spots[2]), they found a box. The key fit!",
            "Then \(friend.name) saw a box \(spots[2]). They opened it with the key."
        )
        say(
            "The box was full of \(food). It was the best treasure of all.",
            "In the box was a note. It said, \"The treasure is your friend.\"",
            "In it lay a \(pick(Words.colors)) stone. They took turns holding it."
        )
        perhaps(50, "They ran home to tell \(parent.name).", "They laughed and laughed.")
        close()
    }
}
