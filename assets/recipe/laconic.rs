//! The questions that messengers and travellers ask, and the short answers of the demo rows.
//!
//! Each family of questions has one laconic answer, which sometimes copies the subject or agrees with its number. The
//! pretraining text asks the same questions but answers them at length (see `stories.rs`), so that fine-tuning on
//! these rows changes the manner and keeps the questions. The last fillings of a family never appear in train rows.

use crate::grammar::Scene;
use agoge::rng::Stream;
use std::collections::BTreeSet;

/// One family of questions.
pub struct Family {
    /// Who asks.
    pub askers: &'static [&'static str],
    /// The question, with `{x}` for its subject.
    pub asks: &'static [&'static str],
    /// What `{x}` can be, parted by commas; the last [`Family::held`] of them are kept for validation.
    pub fills: &'static str,
    /// How many fillings train rows never hold.
    pub held: usize,
    /// What a rambling answer takes up first; it often begins with the word of the laconic one.
    pub cry: &'static str,
    /// The subject as a rambling answer mentions it later.
    pub topic: &'static str,
    /// The laconic answer; empty for families that only the pretraining text has.
    pub answer: &'static str,
}

impl Family {
    /// Everything that `{x}` can be.
    pub fn fillings(&self) -> Vec<&'static str> {
        self.fills.split(", ").collect()
    }
}

/// Those who come with demands.
const ENVOYS: &[&str] = &["Messenger", "Messenger", "Messenger", "Herald", "Captain"];
/// Those who come in peace.
const GUESTS: &[&str] = &["Messenger", "Traveller", "Merchant", "Stranger"];
/// Those who live next door.
const LOCALS: &[&str] = &["Neighbour", "Child", "Traveller", "Merchant"];

/// The families of the demo rows.
pub const FAMILIES: &[Family] = &[
    Family {
        askers: ENVOYS,
        asks: &[
            "if {l1} marches here, {l1.he} will [burn|take] your {x}.",
            "if our army comes, we will [burn|take] your {x}.",
            "if you do not bow to {l1}, we will [burn|take] your {x}.",
            "if you fight us, you will lose your {x}.",
        ],
        fills: "fields, houses, barns, ships, farms, bridges, boats, markets, goats, temples, olives, gardens, \
                wagons, villages, mills",
        held: 3,
        cry: "if, you say, and it is a big if, and our {x}, you say, [and that is a great pity|and I have heard worse]",
        topic: "our {x} and the word if",
        answer: "If.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "will you give us your {x}?",
            "lay down your {x}.",
            "{l1} wants your {x}.",
            "hand over your {x} and go home.",
        ],
        fills: "swords, helmets, bows, knives, city, axes, arrows, weapons, harbour, javelins, horses, bridge, \
                land, shields, spears, temple",
        held: 3,
        cry: "come and take a seat, my friend, for you speak of our {x}, [and we have only just cleaned {x.it}|and we are so fond of {x.it}]",
        topic: "giving away our {x}",
        answer: "Come and take {x.it}.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "how many {x} have you?",
            "how many {x} does your city have?",
            "tell me how many {x} you have.",
            "how many {x} will you send against us?",
        ],
        fills: "men, horses, ships, spears, riders, guards, wagons, shields, captains, swords, sailors, helmets, \
                soldiers, archers, boats",
        held: 3,
        cry: "enough {x} to fill [the market|a big ship], I should say, but when I counted them I never came to the end",
        topic: "counting {x}",
        answer: "Enough.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "may we cross your {x}?",
            "may our army march over your {x}?",
            "will you let us cross your {x}?",
            "{l1} wants to cross your {x}.",
        ],
        fills: "land, fields, bridge, hills, border, plain, meadows, valley, farms, mountains, forest, road, \
                river, island",
        held: 2,
        cry: "as friends, I hope, and not as foes, for many have crossed our {x} before you, [some on foot|some on a mule] and some by mistake",
        topic: "crossing our {x}",
        answer: "As friends or foes?",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "where are your {x}?",
            "where are the {x} of your city?",
            "why has your city no {x}?",
            "I see no {x} around your city.",
        ],
        fills: "gates, forts, ditches, guards, fences, locks, bars, traps, banks, doors, chains, walls, towers",
        held: 2,
        cry: "we are often asked about the {x}, my friend, for people look [to the left|to the right] and see none",
        topic: "the {x} of our city",
        answer: "We are the {x}.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "our {x} will hide the sun.",
            "our {x} will darken the sky.",
            "when we attack, our {x} will hide the sun.",
            "you will not see the sky behind our {x}.",
        ],
        fills: "stones, javelins, sails, flags, darts, eagles, elephants, towers, spears, tents, ladders, \
                banners, arrows, masts",
        held: 2,
        cry: "then it will be dark behind your {x}, my friend, and I like to sit in the shade, [for the figs are dry this year|for even the dogs will not bark in the sun]",
        topic: "the sun and your {x}",
        answer: "Then we fight in the shade.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "do you not fear our {x}?",
            "are you not afraid of our {x}?",
            "you should fear our {x}.",
            "all the other cities fear our {x}.",
        ],
        fills: "king, horses, fleet, captains, archers, giants, general, riders, soldiers, gods, spears, lions, \
                army, elephants",
        held: 2,
        cry: "not so fast, my friend, for you speak of your {x}, and I was afraid once, [but it was only the wind|but it was only a goose]",
        topic: "the fear of your {x}",
        answer: "Not yet.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "will you send {x} to {l1}?",
            "{l1} asks you for {x}.",
            "send {x} to {l1}.",
            "{l1} wants {x} from your city.",
        ],
        fills: "salt, gold, silver, grain, stones, wool, mud, oil, iron, wood, clay, ice, water, earth",
        held: 2,
        cry: "look, my friend, you ask for {x}, and {x} {x.is} a thing about which one can say a great deal, [and I will|and I have]",
        topic: "sending {x} to anybody",
        answer: "Look in the well.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "when will you {x}?",
            "tell us when you will {x}.",
            "will you {x} at last?",
            "on what day will you {x}?",
        ],
        fills: "yield, bow, leave, run, beg, kneel, open the gates, make peace, pay the tax, give up, cross the \
                sea, burn your ships, surrender, go home",
        held: 2,
        cry: "never on a feast day, my friend, and never in the rain, for you ask when we will {x}, [and there are so many days|and it is nearly time for supper]",
        topic: "the day when we {x}",
        answer: "Never.",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "who is your {x}?",
            "who is the {x} of your city?",
            "take me to your {x}.",
            "does your city have a {x}?",
        ],
        fills: "lord, ruler, leader, chief, captain, general, judge, prince, tyrant, teacher, guide, keeper, \
                king, master",
        held: 2,
        cry: "the law says a great deal about a {x}, my friend, and I once knew a {x} [who had very small feet|who was afraid of hens]",
        topic: "being a {x}",
        answer: "The law.",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "{l1} offers you {x}.",
            "{l1} sends you {x}.",
            "will you take {x} from {l1}?",
            "we bring you {x} as a gift.",
        ],
        fills: "silver, honey, cloaks, jewels, wine, rings, cups, grain, oil, horses, carpets, purple, mirrors, \
                cakes, gold, goats",
        held: 3,
        cry: "keep your voice down, my friend, for {x} {x.is} very fine, [and I say this with a full heart|and I would never say otherwise]",
        topic: "gifts and {x}",
        answer: "Keep {x.it}.",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "will you march with {x}?",
            "will you stand beside {x}?",
            "will you fight for {x}?",
            "{x} wants to be your friend.",
        ],
        fills: "Argos, Delphi, Samos, Rhodes, Pylos, Naxos, Crete, Megara, Chios, Thebes, Athens, Corinth",
        held: 2,
        cry: "{x} may be a fine city, my friend, and I have been to {x}, [where the streets are long|where the soup is thin], and I lost my hat there",
        topic: "the people of {x}",
        answer: "{x} may follow.",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "have you tasted our {x}?",
            "will you taste our {x}?",
            "do you like our {x}?",
            "nothing is sweeter than our {x}.",
        ],
        fills: "wine, bread, cheese, cakes, figs, fish, olives, soup, grapes, apples, lamb, nuts, honey, beans",
        held: 2,
        cry: "hunger is a strange thing, my friend, and your {x} would be sweeter [with a little salt|with a little oil], but my stomach likes {x.it}",
        topic: "the taste of {x}",
        answer: "Hunger is sweeter.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "have you seen our {x}?",
            "look at our {x}.",
            "do you see our {x} by the sea?",
            "nothing can stop our {x}.",
        ],
        fills: "tents, wagons, towers, banners, fleet, boats, bridge, sails, ladders, carts, camp, rams, flags, \
                ships, wooden horse",
        held: 2,
        cry: "{x.they} burn{x.verb} my eyes, your {x}, for my eyes are old, [and I look at the sea too much|and the sun is bright]",
        topic: "looking at your {x}",
        answer: "{x.they} burn{x.verb} well.",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "tell me a story about {x}.",
            "tell us a long story about {x}.",
            "do you know a story about {x}?",
            "what can you tell me about {x}?",
        ],
        fills: "the sea, a king, the moon, an owl, your city, the gods, a ship, your war, two brothers, the \
                stars, a wolf, a snake, a goat, a lion",
        held: 2,
        cry: "the end of a story about {x} is the best part, my friend, and nobody asks me twice for one, [and some do not ask me once|and that is a pity]",
        topic: "{x}",
        answer: "The end.",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "what do you teach your {x}?",
            "what do your {x} learn?",
            "what must your {x} know?",
            "what do you say to your {x}?",
        ],
        fills: "daughters, children, boys, girls, soldiers, young men, brothers, sisters, cousins, riders, \
                friends, dogs, sons, horses",
        held: 2,
        cry: "to stand, and to sit, and to listen, my friend, that is what we teach our {x}, [but they forget it by the evening|but then they run away]",
        topic: "the lessons of our {x}",
        answer: "To stand.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "what shall I tell {x}?",
            "what is your answer to {x}?",
            "what do you want me to say to {x}?",
            "I will bring your words to {x}.",
        ],
        fills: "our queen, my captain, our general, the council, my master, our soldiers, my people, our lord, \
                the great king, our fleet, my city, our judges, our king, my general",
        held: 2,
        cry: "go slowly, my friend, for words I have, [as many as the sea has fish|as many as a dog has fleas], and all of them are for {x}",
        topic: "my words to {x}",
        answer: "Go home.",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "how do I get to {x}?",
            "how can I reach {x}?",
            "how do people travel to {x}?",
            "I must go to {x}, but how?",
        ],
        fills: "Athens, Argos, Thebes, the harbour, the temple, the market, the hills, Megara, the theatre, the \
                river, the mill, Pylos, Corinth, Delphi",
        held: 2,
        cry: "on foot or on a mule, my friend, for there is a good road to {x} and a bad one, [and I always forget which is which|and there is a dog on both]",
        topic: "the way to {x}",
        answer: "On foot.",
    },
    Family {
        askers: ENVOYS,
        asks: &[
            "we have ten thousand {x}.",
            "{l1} has more {x} than you can count.",
            "we have a hundred {x} for each of yours.",
            "nobody has more {x} than {l1}.",
        ],
        fills: "horses, ships, spears, archers, riders, captains, wagons, shields, swords, sailors, bows, boats, \
                soldiers, elephants",
        held: 2,
        cry: "where will so many {x} sleep, my friend, and where will they eat, and who will [wash the bowls|pay for it all], I ask you",
        topic: "so many {x} in one place",
        answer: "Where?",
    },
    Family {
        askers: GUESTS,
        asks: &[
            "who taught you to {x}?",
            "where did you learn to {x}?",
            "did your father teach you to {x}?",
            "how is it that you {x} so well?",
        ],
        fills: "run, ride, sing, swim, march, wrestle, stand, jump, cook, dance, throw stones, hunt, fight, \
                speak",
        held: 2,
        cry: "my mother would tell you, my friend, that I learned to {x} late, [for I talked too much|for I slept too long], or so she said",
        topic: "learning to {x}",
        answer: "My mother.",
    },
];

/// Families that only the pretraining text has: the small talk of neighbours.
pub const SMALL_TALK: &[Family] = &[
    Family {
        askers: LOCALS,
        asks: &["have you seen my {x}?", "where is my {x}?", "I have lost my {x}.", "did you take my {x}?"],
        fills: "goat, donkey, cloak, hat, lamp, basket, dog, cat, key, ladder, mule, ring",
        held: 0,
        cry: "your {x}, you say, and I saw a {x} [this morning|last night], but I do not know if it was yours, or if it was a {x} at all",
        topic: "your {x}",
        answer: "",
    },
    Family {
        askers: LOCALS,
        asks: &["how much is the {x}?", "what do you want for the {x}?", "will you sell me the {x}?"],
        fills: "jar, cup, bowl, lamp, goat, cheese, bread, fish, honey, mule, blanket, pot",
        held: 0,
        cry: "the {x}, you say, and you have a good eye, my friend, [but I do not like to part with it|and my wife found it by the sea]",
        topic: "the price of the {x}",
        answer: "",
    },
    Family {
        askers: LOCALS,
        asks: &["what will you cook with the {x}?", "shall we eat {x} tonight?", "how do you like your {x}?"],
        fills: "fish, beans, onions, olives, cheese, figs, honey, bread, grapes, lamb, eggs, nuts",
        held: 0,
        cry: "{x}, you say, and I could eat {x} all day, [and so could my dog|and once I did], with a little salt and oil",
        topic: "{x} for supper",
        answer: "",
    },
    Family {
        askers: LOCALS,
        asks: &["what is the news from {x}?", "have you been to {x}?", "is it far to {x}?"],
        fills: "Athens, Corinth, Argos, Thebes, Delphi, Samos, Rhodes, Pylos, Naxos, Crete, Megara, Chios",
        held: 0,
        cry: "{x}, you say, and I was in {x} [before the war|before you were born], and everybody there talked at the same time",
        topic: "the news from {x}",
        answer: "",
    },
    Family {
        askers: LOCALS,
        asks: &["will it {x} tomorrow?", "did it {x} last night?", "why does it {x} so much this year?"],
        fills: "rain, snow",
        held: 0,
        cry: "you ask if it will {x}, and my left foot says yes, [but my right foot says no|but my left foot often lies]",
        topic: "{x}",
        answer: "",
    },
];

/// One row of the demo data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The question, up to where the answer begins.
    pub prompt: String,
    /// The answer, with the space that comes before it.
    pub completion: String,
}

/// The row in which `asker` puts the question `ask` about `fill`.
fn row(family: &Family, ask: &str, fill: &str, stream: &mut Stream) -> Row {
    let mut scene = Scene::new(stream, &[]);
    scene.set_subject(fill);
    let asker = scene.pick(family.askers);
    let prompt = scene.tell(&format!("{asker}: {ask}\nSpartan:"));
    let completion = format!(" {}", scene.tell(family.answer));
    Row { prompt, completion }
}

/// `count` different rows of each family; `held` says whether they use the fillings kept for validation or the others.
pub fn rows(seed: u64, purpose: &str, count: usize, held: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (number, family) in FAMILIES.iter().enumerate() {
        let mut stream = Stream::new(seed, &format!("demo/{purpose}/{number}"));
        let fillings = family.fillings();
        let (known, kept) = fillings.split_at(fillings.len() - family.held);
        let fills = if held { kept } else { known };
        let mut distinct = BTreeSet::new();
        for turn in 0..100 * count {
            if distinct.len() == count {
                break;
            }
            // Every filling and every wording gets its turn; the rest is chance.
            let ask = family.asks[(turn / fills.len() + turn % fills.len()) % family.asks.len()];
            distinct.insert(row(family, ask, fills[turn % fills.len()], &mut stream));
        }
        rows.extend(distinct);
    }
    Stream::new(seed, &format!("demo/{purpose}/order")).shuffle(&mut rows);
    rows
}

/// The four rows that the demo shows before and after: famous questions with fillings that no train row holds.
pub fn showcase() -> Vec<Row> {
    let chosen = [
        ("Messenger: If our king marches here, he will burn your villages.", "If."),
        ("Messenger: Will you give us your spears?", "Come and take them."),
        ("Messenger: Our arrows will hide the sun.", "Then we fight in the shade."),
        ("Traveller: Tell me a story about a goat.", "The end."),
    ];
    chosen.map(|(ask, answer)| Row { prompt: format!("{ask}\nSpartan:"), completion: format!(" {answer}") }).to_vec()
}
