//! `agoge chat`, driven through its standard input on the embedded model.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Output,
};

use tempfile::TempDir;

use crate::fixture::{agoge, program, text};

/// The exported embedded model, and an adapter from a few steps of training.
struct Room {
    folder: TempDir,
}

impl Room {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        agoge(&["demo", "--export", text(folder.path())]);
        let room = Self { folder };
        let (model, data, run) = (room.path("model"), room.path("data"), room.path("laconic"));
        let settings = "--quiet --device cpu --steps 20 --batch-size 4 --learning-rate 1e-2 --density 0.1 --target-modules all-linear";
        let paths = ["train", "--model", text(&model), "--data", text(&data), "--out", text(&run)];
        agoge(&paths.into_iter().chain(settings.split_whitespace()).collect::<Vec<_>>());
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A conversation of these lines; answers are on standard output.
    fn talk(&self, more: &[&str], lines: &[&str]) -> Output {
        let model = self.path("model");
        let mut command = program(&[&["chat", "--device", "cpu", "--model", text(&model)], more].concat());
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("the program");
        let mut input = child.stdin.take().expect("standard input");
        for line in lines {
            writeln!(input, "{line}").expect("a line");
        }
        drop(input);
        let output = child.wait_with_output().expect("the program");
        assert!(output.status.success(), "{lines:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The answers of a conversation whose answers are all one line long, and what was told beside them.
    fn answers(&self, more: &[&str], lines: &[&str]) -> (Vec<String>, String) {
        let output = self.talk(&[&["--max-tokens", "12"], more].concat(), lines);
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        (said.lines().map(str::to_owned).collect(), String::from_utf8(output.stderr).expect("UTF-8"))
    }
}

/// A template that gives each turn a line of its own, so that the embedded model has something like its own data.
fn write_template(model: &Path) {
    let template = "{% for m in messages %}{{ {'user': 'Messenger', 'assistant': 'Spartan', 'system': 'Herald'}[m.role] }}: \
                    {{ m.content | trim }}\n{% endfor %}{% if add_generation_prompt %}Spartan:{% endif %}";
    std::fs::write(model.join("chat_template.jinja"), template).expect("a template");
}

const QUESTION: &str = "Our arrows will hide the sun.";

#[test]
fn the_adapter_is_taken_off_and_put_on_again() {
    let room = Room::new();
    write_template(&room.path("model"));
    let run = room.path("laconic");
    let with = ["--adapter", text(&run)];
    let (said, told) = room.answers(
        &with,
        &[
            QUESTION, "/undo", "/base", QUESTION, "/undo", "/base", QUESTION, "/undo", "/base", "/base", QUESTION,
            "/base", "/again",
        ],
    );
    assert_eq!(said.len(), 5, "{said:?} {told}");
    assert_ne!(said[0], said[1], "the adapter makes a difference");
    assert_eq!((&said[2], &said[3], &said[4]), (&said[0], &said[0], &said[1]), "and comes off without a trace");
    // Each side is the one that `generate` knows.
    let (plain, _) = room.answers(&[], &[QUESTION]);
    assert_eq!(plain[0], said[1]);
    let model = room.path("model");
    let generated = |adapter: &[&str]| {
        let command =
            ["generate", "--device", "cpu", "--quiet", "--chat", "--max-tokens", "12", "--model", text(&model)];
        let output = agoge(&[&command, adapter, &["--prompt", QUESTION]].concat());
        String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
    };
    assert_eq!((generated(&with), generated(&[])), (said[0].trim_end().into(), said[1].trim_end().into()));
    assert!(
        told.contains("adapter off: the base model answers") && told.contains("adapter on: laconic answers"),
        "{told}"
    );
}

#[test]
fn what_was_said_counts_until_it_is_forgotten() {
    let room = Room::new();
    write_template(&room.path("model"));
    let (first, second) = ("Who are you?", "What shall I tell our lord?");
    let (said, told) = room.answers(&[], &[first, second, "/reset", second, "/reset", first, second]);
    assert_eq!(said.len(), 5, "{said:?} {told}");
    assert_ne!(said[1], said[2], "the first exchange was heard, and then it was not");
    assert_eq!((&said[3], &said[4]), (&said[0], &said[1]), "the same conversation again");
    assert!(told.contains("forgotten"), "{told}");
    // Undo takes back one exchange, not more.
    let (undone, _) = room.answers(&[], &[first, "Go away.", "/undo", second]);
    assert_eq!((&undone[0], &undone[2]), (&said[0], &said[1]));
    // A system message is heard, stays over a reset, and can be taken away.
    let lines =
        ["/system Tell me about your cousin and the pig.", second, "/reset", second, "/system", "/reset", second];
    let (system, _) = room.answers(&[], &lines);
    assert_ne!(system[0], said[2]);
    assert_eq!((&system[1], &system[2]), (&system[0], &said[2]));
    assert_eq!(room.answers(&["--system", "Tell me about your cousin and the pig."], &[second]).0[0], system[0]);
}

#[test]
fn mistakes_are_told_and_cost_nothing() {
    let room = Room::new();
    // Without a template the turns are written in the plain format of training.
    let (said, told) =
        room.answers(&["--verbose"], &["/bsae", "/again", "/undo", "/base", "/reset now", "", "/help", QUESTION]);
    assert_eq!(said.len(), 1, "{said:?}");
    for words in [
        "there is no command /bsae; /help",
        "/again: nothing",
        "/undo: nothing",
        "/base: there is no adapter",
        "/reset takes no text",
        "/system TEXT",
        "### User:",
        "tokens/s",
        "cut off after 12 tokens",
    ] {
        assert!(told.contains(words), "{words:?} is not in: {told}");
    }
    let (plain, told) = room.answers(&[], &[QUESTION, "/exit", QUESTION]);
    assert_eq!(plain, said, "nothing of it was heard by the model, and nothing is heard after /exit");
    assert!(!told.contains("tokens/s"), "{told}");
    assert_eq!(room.answers(&[], &["//base"]).0.len(), 1, "a message that begins with a slash");

    // A message that is too long is refused, and the conversation goes on without it.
    let long = "no ".repeat(400);
    let (said, told) = room.answers(&[], &[&long, QUESTION]);
    assert_eq!(said, plain);
    assert!(told.contains("error: this message needs") && told.contains("only 256 positions"), "{told}");

    // Where the template refuses something, its words are told.
    std::fs::write(
        room.path("model").join("chat_template.jinja"),
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}{{ messages[0].content }}",
    )
    .expect("a template");
    let (said, told) = room.answers(&["--system", "Be brief."], &[QUESTION, "/system", QUESTION]);
    assert_eq!(said.len(), 1);
    assert!(told.contains("no system here"), "{told}");
}

#[test]
fn long_conversations_forget_their_beginning() {
    let room = Room::new();
    let lines: Vec<String> =
        (0..9).map(|at| format!("Messenger {at}: our king has many ships and more men.")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (said, told) = room.answers(&[], &lines);
    assert_eq!(said.len(), 9, "{said:?} {told}");
    assert!(told.contains("256 positions") && told.contains("forgotten"), "{told}");
    // Room for an answer is kept, whatever is asked for.
    let output = room.talk(&["--max-tokens", "100000"], &lines[..3]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!told.contains("error:"), "{told}");
}

#[test]
fn draws_differ_and_follow_their_seed() {
    let room = Room::new();
    let talk = |seed: &str| room.answers(&["--temperature", "1.5", "--seed", seed], &[QUESTION, "/again", "/again"]).0;
    let said = talk("1");
    assert_eq!(said, talk("1"));
    assert_ne!(said, talk("2"));
    assert!(said[0] != said[1] || said[1] != said[2], "{said:?}");
}
