//! The model and the data inside this program, wherever a model folder or data can be named.

use agoge::{
    config::{Overrides, RunConfig},
    demo,
    device::ComputeDevice,
    model::Pretrained,
};
use clap::{Args, FromArgMatches};
use tempfile::TempDir;

use crate::fixture::{agoge, program, text};

fn says(arguments: &[&str]) -> String {
    String::from_utf8(agoge(arguments).stdout).expect("UTF-8")
}

#[test]
fn every_command_knows_them_by_their_name() {
    let place = TempDir::new().expect("a folder");
    let (run, merged, exported) = (place.path().join("run"), place.path().join("merged"), place.path().join("peft"));
    let (run, merged, exported) = (text(&run), text(&merged), text(&exported));
    let cpu = ["--device", "cpu", "--quiet", "--batch-size", "2", "--steps", "3", "--eval-batches", "1"];
    let train = ["train", "--model", "agoge-demo", "--data", "agoge-demo", "--out", run, "--method", "lora"];
    agoge(&[&train[..], &cpu].concat());
    agoge(&["train", "--quiet", "--resume", run, "--steps", "4"]);
    assert!(says(&["inspect", run]).contains("progress     4 steps"));
    assert!(says(&["inspect", "agoge-demo"]).contains("parameters   844,928"));
    let model = ["--model", "agoge-demo", "--adapter", run];
    agoge(&[&["merge", "--device", "cpu", "--out", merged][..], &model].concat());
    Pretrained::load(merged.as_ref(), &ComputeDevice::cpu()).expect("a whole model");
    agoge(&[&["export", "--format", "peft", "--out", exported][..], &model].concat());
    let told = says(&[&["evaluate", "--device", "cpu", "--data", "agoge-demo"][..], &model].concat());
    assert!(told.contains("perplexity"), "{told}");

    for (arguments, words) in [
        (&["generate", "--prompt", "x", "--model", "agoge-demo", "--revision", "main"][..], "has no revisions"),
        (&["demo", "--model", "other"], "a model and data of its own"),
        (&["generate", "--prompt", "x", "--model", "./agoge-demo"], "no such folder"),
    ] {
        let output = program(arguments).current_dir(place.path()).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
    }
}

/// The command that a front end shows is the run that it would start.
#[cfg(unix)]
#[test]
fn commands_start_the_same_run() {
    let changed = demo::config().with("sample_prompts", "").and_then(|config| config.with("method", "lora"));
    let changed = changed.and_then(|config| config.with("out", "runs/it's")).expect("settings");
    for config in [demo::config(), changed] {
        let script = format!(r"printf '%s\0' {}", config.command_line(true));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
        let words = String::from_utf8(output.stdout).expect("UTF-8");
        let mut words = words.split_terminator('\0');
        assert_eq!((words.next(), words.next()), (Some("agoge"), Some("demo")));
        let matches = Overrides::augment_args(clap::Command::new("demo").no_binary_name(true))
            .try_get_matches_from(words)
            .expect("flags");
        let mut again: RunConfig = demo::config();
        Overrides::from_arg_matches(&matches).expect("settings").apply(&mut again);
        assert_eq!(again, config);
    }
}
