//! Bad input of classification, methods and comparisons: one sentence each, exit status not zero, nothing written.

use std::process::Command;

use crate::fixture::{TestFolder, agoge, text};

/// Runs what must fail in the workplace, with one message that holds all `words`; nothing may be left behind.
fn refuse(place: &TestFolder, line: &str, words: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_agoge"))
        .args(line.split_whitespace().map(|word| word.replace('~', " ")))
        .current_dir(place.path(""))
        .env("XDG_RUNTIME_DIR", place.path(""))
        .output()
        .expect("the program runs");
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    let told = format!("agoge {line}\n{:?}\n{message}", output.status.code());
    assert!(matches!(output.status.code(), Some(1 | 2)) && message.starts_with("error: "), "{told}");
    assert!(output.stdout.is_empty() && !message.contains("panicked"), "{told}");
    for word in words {
        assert!(message.contains(word), "'{word}' is not in: {told}");
    }
    let made = std::fs::read_dir(place.path("out")).map_or(0, Iterator::count);
    assert_eq!(made, 0, "{told}\nfiles in out/");
    let _ = std::fs::remove_dir(place.path("out"));
}

const CLASSIFY: &str = "train --model bert --data classes --out out --device cpu --task classify --steps 1";
const GENERATE: &str = "train --model model --data data --out out --device cpu --steps 1";

#[test]
fn tasks_and_heads() {
    let place = TestFolder::labelled();
    let with = |base: &str, extra: &str, words: &[&str]| refuse(&place, &format!("{base} {extra}"), words);
    refuse(
        &place,
        "train --model bert --data data --out out --device cpu --steps 1",
        &["bert", "encoder", "--task classify"],
    );
    refuse(
        &place,
        "train --model bert --data data --out out --device cpu --steps 1 --task classify",
        &["train.jsonl", "label"],
    );
    with(CLASSIFY, "--classes plain", &["plain", "at least two"]);
    with(CLASSIFY, "--classes plain,gold", &["train.jsonl:1", "rich", "plain"]);
    with(CLASSIFY, "--template Text:~{nope}", &["nope", "text"]);
    with(CLASSIFY, "--template {text", &["{text"]);
    with(CLASSIFY, "--head-start from-vocabulary", &["bert has no language-model head", "random"]);
    with(CLASSIFY, "--sample-prompts a", &["--sample-prompts", "classifier"]);
    let decoder = CLASSIFY.replace("bert", "model");
    with(&decoder, "--head-start from-vocabulary --response-words a", &["1 words", "2 classes", "plain, rich"]);
    with(&decoder, "--head-start from-vocabulary --response-words aa,ab", &["aa", "ab", "same token"]);
    with(&decoder, "--head-start from-vocabulary --init random", &["pretrained model"]);
    place.write("classes/valid.jsonl", "{\"text\": \"a\", \"label\": \"green\"}\n");
    with(CLASSIFY, "", &["valid.jsonl:1", "green", "plain", "rich"]);
}

#[test]
fn methods_and_masks() {
    let place = TestFolder::labelled();
    let with = |extra: &str, words: &[&str]| refuse(&place, &format!("{GENERATE} {extra}"), words);
    with("--method loro", &["loro", "sparta", "lora", "full", "head"]);
    with("--method lora --lora-rank 0", &["--lora-rank 0", "at least 1"]);
    with("--method lora --lora-rank 33", &["--lora-rank 33", "q_proj", "at most 32"]);
    with("--method lora --lora-dropout 1", &["--lora-dropout 1", "below 1"]);
    with("--method lora --lora-alpha 0", &["--lora-alpha 0", "positive"]);
    with("--method lora --target-modules norm", &["linear"]);
    with("--method lora --sparsity 0.9", &["--sparsity", "--method lora does not read", ": sparta"]);
    with("--method sparta --lora-alpha 4", &["--lora-alpha", "--method sparta does not read", "lora, dora"]);
    with("--method full --density 0.1", &["--density", "--method full does not read", ": sparta"]);
    with("--method head", &["embedding table", "--task classify"]);
    with("--mask nope", &["--mask nope", "random", "magnitude-low", "magnitude-high", "gradient"]);
    with("--mask gradient --trainable-tokens 3", &["--trainable-tokens", "--mask random"]);
    with("--trainable-parameters 999999", &["--trainable-parameters 999999", "parameters"]);
    with("--init-adapter data", &["data", "adapter"]);
}

#[test]
fn comparisons() {
    let place = TestFolder::labelled();
    let line = "compare --model model --data data --out out --device cpu --steps 1";
    let with = |extra: &str, words: &[&str]| refuse(&place, &format!("{line} {extra}"), words);
    with("--methods sparta,nope", &["nope", "sparta"]);
    with("--methods sparta --match-trainable", &["--match-trainable", "sparta and lora"]);
    with("--methods sparta --set lora.steps=3", &["lora", "--methods"]);
    with("--methods sparta --set steps=3", &["METHOD.SETTING=VALUE"]);
    with("--methods sparta --set sparta.stepz=3", &["stepz"]);
    with("--methods sparta --set sparta.steps=many", &["many", "steps"]);
    with("--methods sparta --seeds one", &["one"]);
    with("--methods lora,full --mask gradient", &["--mask", "--methods lora,full do not read", ": sparta"]);
    refuse(&place, "compare --data data --out out", &["--model is missing"]);
}

#[test]
fn classifiers_where_a_language_model_is_wanted_and_the_other_way_round() {
    let place = TestFolder::labelled();
    let (model, run) = (place.path("model"), place.path("run"));
    agoge(&[
        "train",
        "--model",
        text(&model),
        "--data",
        text(&place.path("classes")),
        "--out",
        text(&run),
        "--device",
        "cpu",
        "--task",
        "classify",
        "--steps",
        "1",
        "--method",
        "head",
    ]);
    refuse(&place, "classify --model model --device cpu a", &["language model", "--task classify"]);
    refuse(&place, "classify --model model --adapter run --device cpu --max-seq-length 65 a", &["64 positions"]);
    refuse(&place, "generate --model model --adapter run --device cpu --prompt a", &["classifier", "agoge classify"]);
    refuse(&place, "evaluate --model model --adapter run --device cpu --data data", &["valid.jsonl", "label"]);
    refuse(&place, "evaluate --model model --adapter run --device cpu --data data --split test", &["no test file"]);
    refuse(
        &place,
        "train --model model --data data --out out --device cpu --steps 1 --init-adapter run",
        &["score.weight"],
    );
}
