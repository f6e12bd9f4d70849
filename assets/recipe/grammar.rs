//! The words of the demo world and the small machine that turns templates into sentences.
//!
//! A template holds `{slot}` marks, which name a person, an animal, a thing (`{p1}`, `{a1}`, `{t1}`) and keep it for
//! the whole text, and `[...]` marks, which choose: `[a|b|c]` picks one of the parts, `[name]` picks one line of the
//! rule of that name. Slots have forms: `{p1.his}`, `{a1.a}`, `{s1.at}`. Sentences get their capital letters last.

use agoge::rng::Stream;
use std::collections::BTreeMap;

/// Names of men.
const MEN: &[&str] =
    &["Nikias", "Lykos", "Dion", "Theon", "Kleon", "Milon", "Ariston", "Timon", "Leon", "Damon", "Philon", "Phaidon"];
/// Names of women.
const WOMEN: &[&str] = &["Chloe", "Daphne", "Phoebe", "Myrto", "Helen", "Lyra", "Melissa", "Zoe"];
/// What people do for a living.
const TRADES: &[&str] =
    &["potter", "shepherd", "baker", "sailor", "weaver", "cook", "farmer", "poet", "smith", "miller"];
/// How a man can be related to the speaker.
const HIS_KIN: &[&str] = &["uncle", "cousin", "brother", "grandfather", "neighbour"];
/// How a woman can be related to the speaker.
const HER_KIN: &[&str] = &["aunt", "cousin", "sister", "grandmother", "neighbour"];
/// Animals, one and many.
const ANIMALS: &[(&str, &str)] = &[
    ("goat", "goats"),
    ("donkey", "donkeys"),
    ("mule", "mules"),
    ("dog", "dogs"),
    ("cat", "cats"),
    ("pig", "pigs"),
    ("goose", "geese"),
    ("cow", "cows"),
    ("horse", "horses"),
    ("ox", "oxen"),
    ("owl", "owls"),
    ("hen", "hens"),
];
/// What an animal can be like.
const ANIMAL_LOOKS: &[&str] =
    &["white", "black", "brown", "grey", "old", "fat", "lame", "little", "clever", "stubborn", "hungry", "angry"];
/// Things a person can carry.
const THINGS: &[&str] = &[
    "jar", "cup", "bowl", "lamp", "basket", "cloak", "rope", "flute", "net", "ladder", "pot", "ring", "bench", "hat",
    "key", "drum", "blanket", "mirror",
];
/// What a thing can be like.
const THING_LOOKS: &[&str] =
    &["red", "blue", "green", "old", "new", "big", "little", "heavy", "painted", "fine", "ugly"];
/// Cities and islands.
const CITIES: &[&str] = &[
    "Athens", "Corinth", "Argos", "Thebes", "Delphi", "Samos", "Rhodes", "Pylos", "Naxos", "Crete", "Megara", "Chios",
];
/// Spots in and around a town, with the word that says one is there.
const SPOTS: &[(&str, &str)] = &[
    ("at", "market"),
    ("by", "well"),
    ("at", "harbour"),
    ("behind", "temple"),
    ("on", "hill"),
    ("under", "bridge"),
    ("by", "river"),
    ("at", "gate"),
    ("under", "olive tree"),
    ("behind", "mill"),
    ("on", "beach"),
    ("in", "theatre"),
];
/// Things to eat.
const FOODS: &[&str] =
    &["bread", "cheese", "honey", "fish", "soup", "figs", "olives", "onions", "beans", "cakes", "grapes"];
/// Small numbers.
const NUMBERS: &[&str] = &["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
/// Those who send messengers.
const LORDS: &[(&str, bool)] = &[
    ("our king", true),
    ("our queen", false),
    ("our general", true),
    ("our master", true),
    ("our lord", true),
    ("the great king", true),
];

/// Choices shared by all kinds of text.
const RULES: &[(&str, &[&str])] = &[
    (
        "aside",
        &[
            "as everybody knows",
            "as my mother used to say",
            "if I remember rightly",
            "as they say in {c9}",
            "and I do not say this lightly",
            "as the old people tell it",
            "or so I have heard",
            "believe it or not",
        ],
    ),
    ("then", &["and then", "and then", "and after that", "and moreover", "and what is more", "and so"]),
    ("next", &["and then", "and after that", "and moreover"]),
    ("soon", &["soon", "after a while", "before long", "in the end", "at last"]),
    ("atlast", &["in the end", "at last", "late at night", "after a long time"]),
    ("day", &["one morning", "one evening", "one day", "in the spring", "last summer", "on a hot day", "long ago"]),
    (
        "digress",
        &[
            "But that is another story, and a longer one.",
            "Now {p8} tells this story differently, but {p8} was not there, [aside].",
            "It was a hot day, [and the sea was very blue|and nobody wanted to work|and even the owls were asleep].",
            "The wind came from the sea that day, and it was a warm wind, [aside].",
            "I know this from {p8}, who knows it from a {p8.trade} in {c9}, who knows everything.",
            "You must know that the {p8.trade}s of {c9} are all like that.",
            "All this happened in the year of the great rain, or in the year after it.",
            "It was the day of the feast, or the day after it, and the whole of {c9} was out in the streets.",
            "My {p8.kin} {p8} was there too, and {p8.he} still talks about it, and {p8.he} talks even more than I do.",
            "You will say that such things do not happen, but they do, and in {c9} they happen every day.",
            "And here I must say a word about {f8}, but I have forgotten the word.",
        ],
    ),
];

/// One chosen person, animal, thing, ... with all the forms a template can ask for.
type Entity = BTreeMap<&'static str, String>;

/// The state of one text: its random stream, what its slots hold, and how much was chosen so far.
pub struct Scene<'a> {
    stream: &'a mut Stream,
    rules: &'a [(&'a str, &'a [&'a str])],
    slots: BTreeMap<String, Entity>,
    bits: f64,
}

impl<'a> Scene<'a> {
    /// A fresh scene that draws from `stream` and knows `rules` besides the shared ones.
    pub fn new(stream: &'a mut Stream, rules: &'a [(&'a str, &'a [&'a str])]) -> Self {
        Self { stream, rules, slots: BTreeMap::new(), bits: 0.0 }
    }

    /// How many bits of choice this text holds so far.
    pub fn bits(&self) -> f64 {
        self.bits
    }

    /// A number in `0..count`, each as likely as the others.
    pub fn choose(&mut self, count: usize) -> usize {
        self.bits += (count as f64).log2();
        self.stream.below(count as u64) as usize
    }

    /// One of `items`.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.choose(items.len())]
    }

    /// Puts a fixed word into slot `x`, the subject that a question asks about.
    pub fn set_subject(&mut self, word: &str) {
        self.slots.insert("x".to_string(), noun(word));
    }

    /// A finished text: the template with all marks replaced and all sentences begun with a capital letter.
    pub fn tell(&mut self, template: &str) -> String {
        capitalize(&self.expand(template))
    }

    /// The template with all marks replaced.
    pub fn expand(&mut self, template: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '[']) {
            text.push_str(&rest[..at]);
            let close = closing(&rest[at..]) + at;
            let inside = &rest[at + 1..close];
            let piece = if rest.as_bytes()[at] == b'{' { self.slot(inside) } else { self.choice(inside) };
            text.push_str(&piece);
            rest = &rest[close + 1..];
        }
        text.push_str(rest);
        text
    }

    /// What a `[...]` mark becomes.
    fn choice(&mut self, inside: &str) -> String {
        let parts = split_parts(inside);
        if parts.len() > 1 {
            let part = self.pick(&parts);
            return self.expand(part);
        }
        let rules = self.rules;
        let found = rules.iter().chain(RULES).find(|(name, _)| *name == inside);
        let (_, lines) = found.unwrap_or_else(|| panic!("no rule is called [{inside}]"));
        let line = self.pick(lines);
        self.expand(line)
    }

    /// What a `{...}` mark becomes; a slot used for the first time is filled here.
    fn slot(&mut self, inside: &str) -> String {
        let (name, form) = inside.split_once('.').unwrap_or((inside, ""));
        if !self.slots.contains_key(name) {
            let entity = self.fill(name);
            self.slots.insert(name.to_string(), entity);
        }
        let found = self.slots[name].get(form);
        found.unwrap_or_else(|| panic!("slot {{{name}}} has no form .{form}")).clone()
    }

    /// A new entity for the slot, unlike all others of its kind in this text.
    fn fill(&mut self, name: &str) -> Entity {
        loop {
            let entity = match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
                "p" => self.person(),
                "a" => {
                    let (one, many) = self.pick(ANIMALS);
                    let look = self.pick(ANIMAL_LOOKS);
                    with_look(one, many, look)
                }
                "t" => {
                    let one = self.pick(THINGS);
                    let look = self.pick(THING_LOOKS);
                    with_look(one, &format!("{one}s"), look)
                }
                "c" => noun(self.pick(CITIES)),
                "n" => noun(self.pick(NUMBERS)),
                "f" => noun(self.pick(FOODS)),
                "s" => {
                    let (at, spot) = self.pick(SPOTS);
                    Entity::from([("", format!("the {spot}")), ("at", format!("{at} the {spot}"))])
                }
                "l" => {
                    let (title, male) = self.pick(LORDS);
                    let mut entity = pronouns(male);
                    entity.insert("", title.to_string());
                    entity
                }
                other => panic!("no slot is called {{{other}}}"),
            };
            let kind = name.chars().next();
            let same = |(key, other): (&String, &Entity)| key.chars().next() == kind && other[""] == entity[""];
            if !self.slots.iter().any(same) {
                return entity;
            }
        }
    }

    /// A person: a name with its pronouns, a trade and a place in the speaker's family.
    fn person(&mut self) -> Entity {
        let male = self.choose(5) < 3;
        let mut entity = pronouns(male);
        let name = self.pick(if male { MEN } else { WOMEN });
        let trade = self.pick(TRADES);
        let kin = self.pick(if male { HIS_KIN } else { HER_KIN });
        entity.insert("", name.to_string());
        entity.insert("trade", trade.to_string());
        entity.insert("kin", kin.to_string());
        entity
    }
}

/// "a" or "an", as the next word wants it.
fn article(next: &str) -> &'static str {
    if next.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// The pronouns of a man or a woman.
fn pronouns(male: bool) -> Entity {
    let words = if male { ["he", "him", "his", "himself"] } else { ["she", "her", "her", "herself"] };
    ["he", "him", "his", "himself"].into_iter().zip(words.map(String::from)).collect()
}

/// A countable noun with the look that its first mention gives it.
fn with_look(one: &str, many: &str, look: &str) -> Entity {
    Entity::from([
        ("", one.to_string()),
        ("s", many.to_string()),
        ("a", format!("{} {look} {one}", article(look))),
        ("look", look.to_string()),
        ("one", format!("{} {one}", article(one))),
    ])
}

/// A plain noun with the words that must agree with its number.
fn noun(word: &str) -> Entity {
    let many = word.ends_with('s') && !CITIES.contains(&word) || word.ends_with("men");
    let forms = if many { ["are", "were", "them", "they", ""] } else { ["is", "was", "it", "it", "s"] };
    let mut entity: Entity = ["is", "was", "it", "they", "verb"].into_iter().zip(forms.map(String::from)).collect();
    entity.insert("", word.to_string());
    entity
}

/// Where the mark that opens `text` closes.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    panic!("a mark is not closed in: {text}");
}

/// The parts of a choice, split at the bars that are not inside another mark.
fn split_parts(inside: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'|' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    parts
}

/// Makes the first letter of the text, and of whatever follows a full stop, a question or a speaker's name, a capital.
fn capitalize(text: &str) -> String {
    let (mut result, mut wanted) = (String::with_capacity(text.len()), true);
    for letter in text.chars() {
        match letter {
            '.' | '?' | '!' | ':' | '\n' => wanted = true,
            _ if letter.is_alphabetic() && wanted => {
                wanted = false;
                result.extend(letter.to_uppercase());
                continue;
            }
            _ => {}
        }
        result.push(letter);
    }
    result
}
