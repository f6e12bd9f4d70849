//! The rambling side of the demo world: stories, conversations, and questions answered at great length.
//!
//! Every document is one run of the grammar: a question with a rambling answer, a story, or a conversation. A document
//! holds single line breaks only, so that blank lines can part documents.

use crate::grammar::Scene;
use crate::laconic::{FAMILIES, Family, SMALL_TALK};
use agoge::rng::Stream;

/// The grammar of the rambling texts.
const RULES: &[(&str, &[&str])] = &[
    // Answers: how they begin, the tale in the middle, how they end.
    (
        "well",
        &[
            "well now,",
            "ah,",
            "ah, what a question!",
            "sit down and listen.",
            "by the gods!",
            "let me think a little.",
            "I am glad that you ask.",
            "you have come to the right man.",
        ],
    ),
    (
        "recall",
        &[
            "that reminds me of my {p1.kin} {p1}, who had {a1.a}",
            "it was the same with my {p1.kin} {p1}, who had {a1.a}",
            "my {p1.kin} {p1}, who lived with {a1.a} in {c1}, used to talk about [topic] at every meal",
            "nobody knew more about [topic] than my {p1.kin} {p1}, who had {a1.a}",
        ],
    ),
    (
        "tale",
        &[
            "{p1.he} gave the {a1} a bath {s1.at}, [then] {p2} gave it another, and the {a1} was so clean that nobody in {c2} knew it",
            "the {a1} was afraid of {p2}, who had {t1.a} on {p2.his} head, [then] it ran to {s1} and stayed there for {n1} days",
            "{p1.he} lent the {a1} to {p2} for {n1} bowls of {f1}, [then] {p2} lent it to a {p3.trade} in {c2}, and the bowls were not even full",
            "{p1.he} and {p2} waited {s1.at} with the {a1} for {n1} hours, [then] they saw that they had waited for each other",
            "the {a1} ate {t1.a}, [then] it ate the {f1} of {p2}, and {p2} ran after it with a stick as far as {s1}",
            "the {a1} liked to sleep {s1.at}, and one night {p2} fell over it with {t1.a}, [then] they both fell into the water",
            "{p1.he} took the {a1} to {c2} to sell it, but there {p1.he} met {p2}, [then] they talked for {n1} days, and the {a1} went home alone",
            "every morning {p1.he} gave the {a1} some {f1}, and every evening the {a1} gave {p1.him} a look, [then] one day it simply left for {c2} with {p2}",
            "{p2}, who was {p1.his} neighbour, had {t1.a}, and the {a1} hated that {t1}, [then] there was a quarrel that went on for {n1} years",
            "{p1.he} put {t1.a} on the back of the {a1} and walked to {c2}, [then] it rained, and {p1.he} carried both of them home {p1.himself}, and {p2} saw it",
            "the {a1} fell in love with {t1.a} that stood {s1.at}, and {p1.he} had to buy the {t1} from {p2}, and it was not cheap",
            "{p1.he} said to {p2} that the {a1} could count to {n1}, [then] {p2} laughed, and the {a1} counted to {n2}, [aside]",
            "{p1.he} hid {n1} coins in {t1.a}, and the {a1} sat on the {t1} and let nobody come near, [then] {p1.he} had to ask {p2} for money",
            "the {a1} walked into the theatre once, in the middle of a play, [then] it sang, and {p2} gave it some {f1}",
            "{p1.he} lost {t1.a} {s1.at}, [then] {p2} found the {t1}, and lost it again {s2.at}, and the {a1} found it and ate it",
            "{p1.he} told {p2} a secret about {f1}, [then] {p2} told the whole of {c2}, and only the {a1} said nothing, [aside]",
        ],
    ),
    (
        "more",
        &[
            "and moreover {p2} was a {p2.trade} and had {t2.a}, which is a thing one does not forget.",
            "and the {t2} of {p2}, which was {t2.look}, was never seen again, [aside].",
            "and to this day nobody in {c3} likes to speak about it, but I do.",
            "and all the {p4.trade}s of {c3} laughed about it for {n2} years, [aside].",
            "and my {p3.kin} {p3}, who saw it all, had to sit down and eat {n3} figs.",
            "and that was the year when the {f3} {f3.was} so good, or perhaps the year after it.",
        ],
    ),
    (
        "close",
        &[
            "but what was I saying about [topic]? I have lost the thread, [aside].",
            "and that, my friend, is nearly all that I know about [topic].",
            "so you see that one can say [much|a great deal] about [topic], and I have not even begun.",
            "but about [topic] I could tell you much more, if you would only sit down.",
            "and so, when people speak of [topic], I always think of that {a1}.",
            "and I think of [topic] every time I see {a2.a}.",
        ],
    ),
    // Stories: each line is a whole one, told at leisure.
    (
        "story",
        &[
            "[day] {p1}, a {p1.trade} from {c1}, lost {a1.a}, and {p1.he} looked for it {s1.at}, [next] {s2.at}, [next] in the house of {p2}. {p2} had not seen the {a1}, but {p2.he} had seen {t1.a}, and {p2.he} talked about the {t1} until the evening. [digress] And when {p1} came home [atlast], tired and hungry, the {a1} was asleep in {p1.his} bed.",
            "[day] {p1} bought {t1.a} from {p2}, who was a {p2.trade}, and {p1.he} paid for the {t1} with some {f1}. On the way home {p1.he} stopped {s1.at} to rest, [then] {p1.he} fell asleep, and {a1.a} came and sat down on the {t1}. [digress] {p1} waited for {n1} hours, but the {a1} did not move, and so {p1} went back to {p2} and bought the {a1} too.",
            "There was once a {p1.trade} called {p1} who had {t1.a} and wanted {a1.a}. So {p1.he} gave the {t1} to {p2} for {n1} cakes, [then] {p1.he} gave the cakes to {p3} for the {a1}. [digress] But the {a1} was so [sad|lazy|loud] that {p1} gave it to {p2}, and {p2} was so happy that {p2.he} gave {p1.him} the {t1}.",
            "[day] the king of {c1} gave {p1} a message for the king of {c2}, and the message was short. But {p1} met {p2} {s1.at}, and they talked about {f1}, [then] {p1.he} met {p3} {s2.at}, and they talked about the {a1.s} of {c3}. [digress] And when {p1} stood before the king of {c2} [atlast], {p1.he} spoke for {n1} hours, but the message was not in it.",
            "{p1} and {p2} sailed from {c1} to {c2} with {n1} jars of {f1}, and the sea was quiet. [digress] [soon] a great wind came, and {p1} said that it was the fault of {p2}, and {p2} said that it was the fault of the {f1}. [then] they threw the {f1} into the sea, and the wind stopped, and the fish of {c2} were fat that year.",
            "{p1} and {p2} had a quarrel about {t1.a}, and each of them said that the {t1} was old and dear. They went to {p3}, who was wise, [aside], and {p1} spoke for {n1} hours, [next] {p2} spoke for {n2} hours. [digress] And when they were silent [atlast], they saw that {p3} was gone, and the {t1} was gone too.",
            "There was a feast in the house of {p1}, and everybody came with something good. {p2} came with {f1}, [then] {p3} came with {f2}, and my {p4.kin} {p4} came with a long poem. [digress] While {p4} spoke, {a1.a} walked in and ate the {f1} and the {f2}, but nobody saw it, for everybody was asleep.",
            "[day] {p1} made {t1.a} for the king of {c1}, and it was the best {t1} in the whole city. But the king did not know what a {t1} was for, [then] he wore it on his head. [digress] And [soon] all the people of {c1} wore a {t1} on their heads, [aside], and {p1}, the {p1.trade}, grew rich.",
            "A thief came to the house of {p1} at night and took {t1.a}, {n1} cakes and some {f1}. But the {a1} of {p1} woke up, and it followed the thief to {s1}, [next] to {s2}. [digress] The {a1} wanted only the {f1}, but the thief did not know that, [then] he gave everything back and became a {p1.trade} in {c1}.",
            "{p1} was a poet, and {p1.he} had made a poem about {f1}, and the poem was long. {p1.he} spoke it {s1.at}, and the people listened a little, [then] they went home, one after the other. [digress] Only {a1.a} stayed to the end, and {p1} loved that {a1} more than all the people of {c1}.",
            "[day] {p1} went to Delphi and asked the god how one could become rich. The god thought for {n1} days and said that {p1} should buy {a1.a}. [digress] So {p1} bought {a1.a}, and fed it with {f1}, and waited, [then] {p1.he} was poor, but the {a1} was very happy, [aside].",
            "{p1} put {p1.his} net into the sea [day], and there was no fish in it, but there was {t1.a}. [then] {p1.he} put it in again, and there was a {t2}, and it was {t2.look}. [digress] {p1} carried both of them to {s1} and sold them to {p2}, who is a {p2.trade}, and who had lost them in the sea {n1} days before.",
            "{p1} told {p2} a secret {s1.at}, and {p2} promised to be silent. But {p2} told {p3}, [then] {p3} told a {p4.trade} from {c1}, [then] the whole of {c1} knew it. [digress] And [soon] {p4} came to {p1} and said that there was a secret about {a1.a} and some {f1}, and {p1} had to hear it all.",
            "{p1} gave {t1.a} to {p2} for {n1} days, for they were good friends. But {p2} gave the {t1} to {p3}, who needed it {s1.at}, [then] {p3} gave it to a {p4.trade} called {p4}. [digress] And when {p1} wanted the {t1} back, {p4} was in {c1}, and the {t1} was in {c2}, and it hung around the neck of {a1.a}.",
            "It rained [one day|one morning|one evening], and {p1} ran to {s1}, and there stood {p2}, who was wet too. They talked about the rain, [next] about {f1}, and moreover about {a1.a} which {p2} had known in {c1}. [digress] The rain stopped [soon], but they did not see it, and the next morning they were still there.",
            "The wedding of {p1} was in the spring, and {p2} was to bring {t1.a}, and {p3} was to bring the {f1}. But {p2} thought that it was in {c1}, and {p3} thought that it was in {c2}, [then] they both walked for {n1} days. [digress] And they met {s1.at}, and ate the {f1} together, and it was a fine wedding, [aside].",
            "The king of {c1} had {a1.a}, and he wanted the {a1} to learn to speak. {p1}, a {p1.trade}, said that {p1.he} could teach it in {n1} years, and the king gave {p1.him} a house and much {f1}. [digress] And when the years were over the {a1} said nothing, and {p1} told the king that the {a1} was only polite.",
            "{p1} was a shepherd, and every night {p1.he} counted {p1.his} {a1.s}, for there were many. But when {p1.he} came to {n1} {p1.he} always fell asleep, [then] {p1.he} had to begin again. [digress] So nobody knows how many {a1.s} {p1} had, and {p2}, who bought them all {s1.at}, paid for {n1}.",
            "[day] {p1} led {a1.a} over a bridge, and on the bridge stood {p2} with {t1.a}. {p1} would not go back, and {p2} would not go back, [then] they told each other why not. [digress] And while they talked, the {a1} turned round and went home, and it had a good supper of {f1}.",
            "{p1} dropped a ring into the well, and {p2} went down to look for it with {t1.a} on {p2.his} head. [then] {p2} dropped the {t1}, and {p3} went down to look for {p2}, [aside]. [digress] And [soon] half of {c1} was in the well, and {p1} found the ring in {p1.his} own hat.",
            "{p1} played the flute, and {p1.he} played it badly, and {p1.he} played it all day {s1.at}. {p2}, a {p2.trade} with {a1.a}, gave {p1.him} {n1} coins to stop, [then] everybody gave {p1.him} coins to stop. [digress] And so {p1} became the richest flute player in {c1}, and {p1.he} has never learned to play.",
            "{p1} and {p2} wanted to see who could eat more {f1}, and all the people came to {s1}. {p1} ate {n1} bowls, [next] {p2} ate {n2} bowls, and {p1} began to look grey. [digress] But [soon] {a1.a} came and ate all the rest, and so the {a1} won the prize, which was {t1.a}.",
            "People said that a ghost lived behind the mill, and {p1}, who was brave, went there [day] with {t1.a}. {p1.he} heard a noise, [then] {p1.he} heard another, and {p1.he} threw the {t1} and ran to {c1}. [digress] But the ghost was only {a1.a}, [aside], and the {a1} was more afraid than {p1}.",
            "[day] {p1} had a dream about {t1.a} full of gold, and {p1.he} told the dream to {p2}. {p2} had dreamed of the same {t1}, but in {c1}, [then] they walked to {c1} and asked for it {s1.at}. [digress] There was no gold, but they met {p3}, the {p3.trade}, who had dreamed of {n1} people who brought {f1}.",
            "{p1} wanted to build a wall around {p1.his} {f1}, for the {a1} of {p2} came every night. So {p1.he} carried {n1} stones from {s1}, [next] {n2} stones from {s2}, and the wall was high. [digress] But when it was finished the {a1} was inside, and {p1} had to learn to share.",
            "{p1} and {p2} let their {a1.s} run a race from {s1} to {s2}, and everybody wanted to see it. The {a1} of {p1} ran well, but then it saw some {f1} and stopped, [then] the {a1} of {p2} saw {t1.a} and stopped too. [digress] The race is not over yet, [aside], and {p3} brings them water every day.",
        ],
    ),
    // Conversations: what the lines of two neighbours are made of.
    (
        "greet",
        &[
            "good morning, {p2}, you look [tired|well|hungry] today.",
            "ah, {p2}, I have been looking for you {s1.at}, [next] {s2.at}.",
            "{p2}, my friend, have you heard what happened {s1.at}?",
            "good evening, {p2}, and how is your {a1}?",
        ],
    ),
    (
        "grumble",
        &[
            "do not ask, {p1}, for my {a1} ate {t1.a} in the night, [then] it wanted {f1}.",
            "good day to you, {p1}, and I have such a story about {t1.a} and my {a1} that you must sit down.",
            "I have not slept, {p1}, because {p3} talked about {t1.a} until the morning, [then] my {a1} began to sing.",
            "all is well, {p1}, but my {a1} is {a1.look} and my {p3.kin} {p3} has lost {t1.a}, [aside].",
        ],
    ),
    (
        "advise",
        &[
            "in {c1} they give such {a1.one} some {f2}, [then] it sleeps for {n1} days, [aside].",
            "my {p4.kin} {p4} had the same trouble, and {p4.he} sold the {t1} and bought another {a1}, and then there were two of them.",
            "you should talk to {p4}, the {p4.trade}, who knows all about {t1.one}, and about {a1.one} too, [aside].",
            "I would take the {a1} to {s3} and leave the {t1} at home, or perhaps the other way round.",
        ],
    ),
    (
        "part",
        &[
            "that is a good thought, {p1}, and I will think about it while I eat my {f3}.",
            "I have tried it, {p1}, and the {a1} only laughed, [then] I laughed too.",
            "you are right, {p1}, and moreover it is late, and the {a1} is eating your {f3}.",
            "thank you, {p1}, and now let me tell you about {c2}, where I have never been.",
        ],
    ),
];

/// One document of the pretraining text, with the bits of choice it holds.
pub struct Document {
    /// The text: one line, or one line for each time somebody speaks.
    pub text: String,
    /// How many bits of choice the grammar made for it.
    pub bits: f64,
    /// Whether it is a question with its answer.
    pub exchange: bool,
}

/// Document number `number` of the part called `purpose`.
pub fn document(seed: u64, purpose: &str, number: u64) -> Document {
    let mut stream = Stream::new(seed, &format!("text/{purpose}/{number}"));
    let kind = stream.below(20);
    match kind {
        0..10 => exchange(&mut stream),
        10..17 => {
            let mut scene = Scene::new(&mut stream, RULES);
            let text = scene.tell("[story]");
            Document { text, bits: scene.bits(), exchange: false }
        }
        _ => {
            let mut scene = Scene::new(&mut stream, RULES);
            let text = scene.tell("{p1}: [greet]\n{p2}: [grumble]\n{p1}: [advise]\n{p2}: [part]");
            Document { text, bits: scene.bits(), exchange: false }
        }
    }
}

/// A question and its rambling answer.
fn exchange(stream: &mut Stream) -> Document {
    let official = stream.below(5) > 0;
    let families = if official { FAMILIES } else { SMALL_TALK };
    let family: &Family = &families[stream.below(families.len() as u64) as usize];
    let fillings = family.fillings();
    let fill = fillings[stream.below(fillings.len() as u64) as usize];
    let topic = [family.topic];
    let mut rules = RULES.to_vec();
    rules.push(("topic", &topic));
    let mut scene = Scene::new(stream, &rules);
    scene.set_subject(fill);
    let asker = scene.pick(family.askers);
    let others = if official { ["Athenian", "Guard", "Old man"] } else { ["Potter", "Shepherd", "Sailor"] };
    let answerer = if scene.choose(4) > 0 { "Spartan" } else { scene.pick(&others) };
    let ask = scene.pick(family.asks);
    let opening = scene.pick(&["[well] CRY.", "CRY."]).replace("CRY", family.cry);
    let middle = scene.pick(&[
        "[recall], and [tale]. [close]",
        "[recall], and [tale]. [close]",
        "[recall], and [tale].",
        "[recall], and [tale]. [more]",
        "[recall], and [tale], [more]",
        "[recall], and [tale]. [more] [close]",
    ]);
    let text = scene.tell(&format!("{asker}: {ask}\n{answerer}: {opening} {middle}"));
    let bits = scene.bits() + (families.len() as f64).log2() + (fillings.len() as f64).log2();
    Document { text, bits, exchange: true }
}
