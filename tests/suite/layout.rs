//! The map of the source as a test: which module may use which, that files do not use each other in a circle, where tensors
//! and the command line are known, and how long a file may be.

mod graph;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Each module and the modules it may use, from the bottom up. Nothing may use `cli`; `main` uses only that.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("rng", &[]),
    ("storage", &[]),
    ("panics", &["error"]),
    ("files", &["error", "storage"]),
    ("device", &["error", "panics"]),
    ("data", &["error", "panics", "storage", "rng"]),
    ("hub", &["error"]),
    // Only what a person can ask for as a device.
    ("config", &["error", "storage", "device"]),
    // Only how an amount of memory is written.
    ("format", &["config"]),
    // Only the report on the data and the settings of a run.
    ("event", &["data", "config"]),
    ("kernel", &["error", "storage", "files", "device"]),
    ("model", &["error", "storage", "rng", "files", "device", "kernel"]),
    ("method", &["error", "storage", "rng", "files", "device", "kernel", "model", "config", "event"]),
    ("generate", &["error", "rng", "device", "data", "model"]),
    ("source", &["error", "storage", "files", "config", "hub", "model"]),
    ("demo", &["config", "source"]),
    (
        "train",
        &[
            "error", "rng", "storage", "files", "panics", "device", "kernel", "model", "method", "config", "event",
            "data", "generate", "source",
        ],
    ),
    // From settings to a run that is polled: no tensors of its own.
    ("session", &["error", "device", "model", "method", "config", "event", "data", "source", "demo", "train"]),
    (
        "workers",
        &[
            "error", "storage", "files", "panics", "format", "device", "model", "method", "config", "event", "data",
            "generate", "source", "train", "session",
        ],
    ),
    // A front end knows what a run is told and tells, and nothing of how it is done.
    ("window", &["error", "storage", "files", "format", "config", "event"]),
    (
        "cli",
        &[
            "error", "rng", "files", "panics", "format", "device", "kernel", "model", "method", "config", "event",
            "data", "generate", "source", "demo", "train", "session", "workers", "window",
        ],
    ),
];

/// Narrow passes: the one thing that a module may use of another.
const ONLY: &[(&str, &str, &str)] = &[
    ("config", "device", "DeviceChoice"),
    ("format", "config", "bytes"),
    ("event", "data", "DataReport"),
    ("event", "config", "RunConfig"),
];

/// Outside crates that only some modules know.
const CRATES: &[(&str, &[&str])] = &[
    ("burn", &["device", "kernel", "model", "method", "generate", "train", "cli"]),
    ("wgpu", &["device"]),
    ("tokenizers", &["data"]),
    ("minijinja", &["data"]),
    ("csv", &["data"]),
    ("parquet", &["data"]),
    ("clap", &["config", "cli", "main"]),
    ("indicatif", &["cli", "hub"]),
    ("hf_hub", &["hub"]),
    ("ureq", &["hub"]),
    ("rustyline", &["cli"]),
    ("ctrlc", &["cli"]),
    ("eframe", &["window"]),
    ("egui_plot", &["window"]),
    ("rfd", &["window"]),
    ("image", &["window"]),
    ("sysinfo", &["device"]),
    ("memmap2", &["data", "storage"]),
    ("httparse", &["cli"]),
    ("web_sys", &["session", "storage"]),
    ("js_sys", &["device", "session", "storage"]),
];

/// Folders in which files still use each other in a circle. The list only gets shorter.
const CIRCULAR: &[&str] = &[];

/// Most lines of a file, and the files that have more, with the reason.
const MOST_LINES: usize = 500;
const LONGER: &[(&str, &str)] = &[("data/language.rs", "half of it are its tests")];
const MOST_LINES_OF_MAIN: usize = 60;

use graph::Graph;

struct Source {
    /// Below `src`, with slashes.
    name: String,
    lines: usize,
    /// Without comments and without the test module at its end.
    code: String,
}

impl Source {
    /// The top module that the file belongs to.
    fn module(&self) -> &str {
        self.name.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// How many modules deep it is: 1 for `config.rs` and `data/mod.rs`, 2 for `data/batch.rs`.
    fn depth(&self) -> usize {
        let folders = self.name.split('/').count();
        if self.name.ends_with("/mod.rs") { folders - 1 } else { folders }
    }

    /// The paths below `crate::` that the code names, each as far as its first two parts: `device::DeviceChoice`.
    fn uses(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            collect(&self.code[at + "crate::".len()..], "", 2, &mut found);
        }
        found
    }
}

/// Reads one path, or a list of paths in braces, after `prefix`; returns the length of what it has read.
fn collect(text: &str, prefix: &str, depth: usize, found: &mut BTreeSet<String>) -> usize {
    if let Some(list) = text.strip_prefix('{') {
        let mut at = 1;
        while !text[at..].starts_with('}') {
            let skipped = list[at - 1..].find(|c: char| !c.is_whitespace() && c != ',').expect("a closing brace");
            at += skipped;
            if !text[at..].starts_with('}') {
                at += collect(&text[at..], prefix, depth, found);
            }
        }
        return at + 1;
    }
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(text.len());
    assert!(word > 0, "a path in {:?}", &text[..text.len().min(60)]);
    let path = if prefix.is_empty() { text[..word].to_owned() } else { format!("{prefix}::{}", &text[..word]) };
    let more = text[word..].strip_prefix("::").filter(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '{'));
    match more {
        Some(rest) if depth > 1 => word + 2 + collect(rest, path.trim_end_matches("::self"), depth - 1, found),
        Some(rest) => {
            found.insert(path);
            // Deeper parts are read only to be stepped over.
            word + 2 + collect(rest, "", 1, &mut BTreeSet::new())
        }
        None => {
            // `device::{self}` is `device`; `as name` behind a path names nothing new.
            found.insert(path.trim_end_matches("::self").to_owned());
            let alias = text[word..]
                .strip_prefix(" as ")
                .map_or(0, |rest| 4 + rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()));
            word + alias
        }
    }
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("src").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let mut code = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.ends_with(" {"));
            if tests {
                break;
            }
            if !line.trim_start().starts_with("//") {
                code += line;
                code += "\n";
            }
        }
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        Source { name, lines: text.lines().count(), code }
    };
    let all: Vec<Source> = paths.into_iter().map(read).collect();
    assert!(all.len() > 50, "only {} files below src", all.len());
    all
}

/// `Error` and `Result` stand at the root but are those of `error`.
fn target(path: &str) -> &str {
    match path.split("::").next().unwrap_or_default() {
        "Error" | "Result" => "error",
        module => module,
    }
}

#[test]
fn modules_use_only_what_is_below_them() {
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources() {
        let module = source.module();
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let Some(below) = allowed.get(module) else {
            faults.push(format!("{}: the module {module} has no line in the table", source.name));
            continue;
        };
        seen.insert(module.to_owned());
        for path in source.uses() {
            let used = target(&path);
            if used != module && !below.contains(&used) {
                faults.push(format!("{}: {module} must not use {used} ({path})", source.name));
            }
            for (_, _, thing) in ONLY.iter().filter(|(from, to, _)| *from == module && *to == used) {
                if path != format!("{used}::{thing}") {
                    faults.push(format!("{}: {module} may use only {thing} of {used}, not {path}", source.name));
                }
            }
        }
        // `super` must not climb out of the module: such a path would escape the rule.
        if source.code.contains(&"super::".repeat(source.depth())) {
            faults.push(format!("{}: write paths to other modules with crate::", source.name));
        }
    }
    let listed: BTreeSet<String> = MAY_USE.iter().map(|(module, _)| module.to_string()).collect();
    assert_eq!(seen, listed, "every module of the table is there");
    let run = sources().into_iter().find(|source| source.name == "train/run.rs").expect("the run");
    let used: BTreeSet<String> = run.uses().iter().map(|path| target(path).to_owned()).collect();
    assert!(used.contains("method") && used.contains("generate") && used.contains("data"), "paths are found: {used:?}");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    // Its lines are in order: each module may use only modules of earlier lines.
    for (at, (module, below)) in MAY_USE.iter().enumerate() {
        for used in *below {
            assert!(
                MAY_USE[..at].iter().any(|(earlier, _)| earlier == used),
                "{module} may use {used}, which comes later"
            );
        }
    }
}

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let sources: Vec<(String, String)> = sources().into_iter().map(|source| (source.name, source.code)).collect();
    let graph = Graph::new(&sources);
    let uses = graph.uses("session/launch.rs");
    assert!(uses.contains("session/checked.rs") && uses.contains("train/run.rs"), "uses are found: {uses:?}");
    let below = |folder: &str, name: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with(['/', '.']));
    let listed =
        |circle: &Vec<String>| CIRCULAR.iter().position(|folder| circle.iter().all(|name| below(folder, name)));
    let circles = graph.circles();
    let new: Vec<String> =
        circles.iter().filter(|circle| listed(circle).is_none()).map(|circle| circle.join(" -> ")).collect();
    assert!(new.is_empty(), "files that use each other in a circle:\n{}", new.join("\n"));
    let seen: BTreeSet<usize> = circles.iter().filter_map(listed).collect();
    let straight: Vec<_> = (0..CIRCULAR.len()).filter(|at| !seen.contains(at)).map(|at| CIRCULAR[at]).collect();
    assert!(straight.is_empty(), "nothing is circular there any more, take them off the list: {straight:?}");
}

#[test]
fn uses_are_followed_to_the_file_that_defines_them() {
    let graph = |files: &[(&str, &str)]| {
        let owned: Vec<_> = files.iter().map(|(name, code)| (name.to_string(), code.to_string())).collect();
        Graph::new(&owned)
    };
    let root = ("lib.rs", "pub mod a; pub mod b; pub use a::x::Thing;");
    // Handing out a child is no use of it, so the child may use its parent's items.
    let handed_out = ("a/mod.rs", "mod x; mod y; pub use x::Thing; pub struct Own;");
    let child = ("a/x.rs", "use super::{Own, y::helper}; pub struct Thing(Own);");
    let sibling = ("a/y.rs", "pub fn helper() { let c = '\\''; \"crate::b::B\"; }");
    let other =
        ("b.rs", "use crate::Thing; use crate::a; fn f(x: a::Own) { mod inner { use super::super::a::y::helper; } }");
    let straight = graph(&[root, handed_out, child, sibling, other]);
    let uses = |name: &str| straight.uses(name).into_iter().collect::<Vec<_>>();
    assert_eq!(uses("a/mod.rs"), Vec::<String>::new());
    assert_eq!(uses("a/x.rs"), ["a/mod.rs", "a/y.rs"]);
    assert_eq!(uses("a/y.rs"), Vec::<String>::new());
    assert_eq!(uses("b.rs"), ["a/mod.rs", "a/x.rs", "a/y.rs"]);
    assert_eq!(straight.circles(), Vec::<Vec<String>>::new());
    // A method of the name of such an item is not that item.
    let called = graph(&[root, ("a/mod.rs", "mod x; pub use x::Thing; fn f() { own.Thing::<u32>() }"), child]);
    assert_eq!(called.uses("a/mod.rs"), BTreeSet::new());
    // Anything else that it does with the child closes a circle.
    for parent in ["mod x; mod y; pub struct Own; fn f() { x::make() }", "mod x; mod y; use x::make; pub struct Own;"] {
        let child = ("a/x.rs", "use super::Own; pub fn make() -> Own { Own } pub struct Thing;");
        let circle = graph(&[root, ("a/mod.rs", parent), child, sibling, other]).circles();
        assert_eq!(circle, [["a/mod.rs", "a/x.rs", "a/mod.rs"]]);
    }
}

#[test]
fn outside_crates_stay_where_they_belong() {
    for source in sources() {
        for (outside, modules) in CRATES {
            let named = source.code.match_indices(&format!("{outside}::")).any(|(at, _)| {
                let before = source.code[..at].chars().next_back().unwrap_or(' ');
                !before.is_alphanumeric() && before != '_' && before != ':'
            });
            let known = modules.contains(&source.module());
            assert!(known || !named, "{}: {outside} is known only to {}", source.name, modules.join(", "));
        }
    }
}

#[test]
fn files_are_short() {
    for source in sources() {
        let most = if source.name == "main.rs" { MOST_LINES_OF_MAIN } else { MOST_LINES };
        match LONGER.iter().find(|(name, _)| *name == source.name) {
            Some((name, _)) => assert!(source.lines > most, "{name} is short enough now: take it off the list"),
            None => assert!(source.lines <= most, "{} has {} lines, more than {most}", source.name, source.lines),
        }
    }
    for (name, _) in LONGER {
        assert!(sources().iter().any(|source| source.name == *name), "{name} is no longer there");
    }
}

#[test]
fn main_only_hands_over() {
    let all = sources();
    let main = all.iter().find(|source| source.name == "main.rs").expect("main.rs");
    let used: BTreeSet<&str> = main
        .code
        .match_indices("agoge::")
        .filter_map(|(at, _)| main.code[at + 7..].split([':', ';', ',']).next())
        .collect();
    assert_eq!(used, BTreeSet::from(["cli"]));
}

#[test]
fn paths_are_read_as_they_are_written() {
    let source = |code: &str| Source { name: "a/b.rs".into(), lines: 1, code: code.into() };
    let uses = |code: &str| source(code).uses().into_iter().collect::<Vec<_>>();
    assert_eq!(uses("use crate::error::Result;"), ["error::Result"]);
    assert_eq!(
        uses(
            "use crate::{\n    Error, Result,\n    device::{self, Memory as M},\n    model::{save::{cast, x}, Transformer},\n};"
        ),
        ["Error", "Result", "device", "device::Memory", "model::Transformer", "model::save"]
    );
    assert_eq!(uses("fn f(x: crate::config::Overrides) -> Vec<crate::Error> {"), ["Error", "config::Overrides"]);
}
