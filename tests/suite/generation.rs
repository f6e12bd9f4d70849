//! Text from models: the known greedy text of a real one, repeatable draws, stop tokens, and streaming.

use std::path::Path;

use agoge::{
    data::Tokenizer,
    device::ComputeDevice,
    generate::{Generation, Sampling, TextEnd, TextSettings, TextStream},
    model::Pretrained,
};
use pollster::block_on;

use crate::{
    fixture::{TestFolder, agoge, shared, text},
    support::devices,
};

/// What stories260K says greedily after its start token, in 199 tokens; llama2.c's own test expects the same.
const STORY: &str = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One \
                     day, she saw a big, red ball. She wanted to play with it, but it was too high.\nLily's mom said, \
                     \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She said, \"I want to \
                     play with your ball, but I can't find it.\"\nLily was sad and didn't know what to do. She said, \
                     \"I'm sorry, Lily. I didn't know what to do.\"\nLily didn't want to help her mom, so";

fn load(folder: &Path, device: &ComputeDevice) -> (Pretrained, Tokenizer) {
    let model = Pretrained::load(folder, device).expect("a model");
    (model, Tokenizer::from_folder(folder).expect("a tokenizer"))
}

fn continued(
    model: &Pretrained,
    prompt: &[u32],
    sampling: &Sampling,
    stop: &[u32],
    seed: u64,
    most: usize,
) -> Vec<u32> {
    let mut generation = Generation::new(&model.transformer, prompt, sampling.clone(), stop, seed).expect("a prompt");
    let mut made = Vec::new();
    while made.len() < most {
        match block_on(generation.next()).expect("a device") {
            Some(id) => made.push(id),
            None => break,
        }
    }
    made
}

fn greedy(max_tokens: usize) -> TextSettings {
    TextSettings { max_tokens, ..TextSettings::default() }
}

/// All that a stream gives, without what is empty, and why it ended.
fn streamed(
    model: &Pretrained,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    settings: &TextSettings,
) -> (Vec<String>, Option<TextEnd>) {
    let mut stream = TextStream::new(&model.transformer, tokenizer, prompt, settings.clone()).expect("a prompt");
    let mut parts = Vec::new();
    while let Some(part) = block_on(stream.next(|| false)).expect("a device") {
        parts.push(part);
    }
    parts.retain(|part| !part.is_empty());
    (parts, stream.end())
}

#[test]
fn a_real_model_tells_its_known_story() {
    let Some(folder) = shared("models/stories260K") else { return };
    for device in devices() {
        let (model, tokenizer) = load(&folder, &device);
        let begin = tokenizer.bos_id().expect("a start token");
        let ids = continued(&model, &[begin], &Sampling::default(), &[], 0, 199);
        assert_eq!(tokenizer.decode(&ids, true).expect("text").trim_start(), STORY, "{}", device.facts.backend);

        // The same, streamed: the parts are the whole, and none ends inside a character.
        let (parts, end) = streamed(&model, &tokenizer, &[begin], &greedy(199));
        assert_eq!(end, Some(TextEnd::MaxTokens));
        assert_eq!(parts.concat().trim_start(), STORY);
        assert!(parts.len() > 150, "{} parts", parts.len());
    }
}

#[test]
fn the_program_tells_it_too() {
    let Some(folder) = shared("models/stories260K") else { return };
    let model = text(&folder);
    let tell = |more: &[&str]| {
        let output = agoge(&[&["generate", "--device", "cpu", "--quiet", "--model", model], more].concat());
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(tell(&["--prompt", "", "--max-tokens", "199"]).trim(), STORY);
    // A prompt is repeated and joined without a seam.
    let prompt = "Once upon a time, there was a little girl";
    assert_eq!(
        tell(&["--prompt", prompt, "--max-tokens", "40"]).trim_end(),
        &STORY[..tell_length(&folder, prompt, 40)]
    );
    let drawn = ["--prompt", "The cat", "--temperature", "0.9", "--top-p", "0.95", "--max-tokens", "40", "--seed"];
    let seeded = |seed| tell(&[&drawn[..], &[seed]].concat());
    assert_eq!(seeded("5"), seeded("5"));
    assert_ne!(seeded("5"), seeded("6"));
}

/// Length in bytes of `prompt` and the `count` tokens after it, where both are a beginning of [`STORY`].
fn tell_length(folder: &Path, prompt: &str, count: usize) -> usize {
    let tokenizer = Tokenizer::from_folder(folder).expect("a tokenizer");
    let story = tokenizer.encode(STORY, true).expect("ids");
    let begun = tokenizer.encode(prompt, true).expect("ids");
    assert_eq!(story[..begun.len()], begun);
    tokenizer.decode(&story[..begun.len() + count], true).expect("text").trim_start().len()
}

#[test]
fn draws_follow_their_seed() {
    let place = TestFolder::new();
    for device in devices() {
        let (model, tokenizer) = load(&place.path("model"), &device);
        let prompt = tokenizer.encode("a round", true).expect("ids");
        let sampling = Sampling { temperature: 1.0, top_k: 20, ..Sampling::default() };
        let draw = |seed| continued(&model, &prompt, &sampling, &[], seed, 30);
        assert_eq!(draw(1), draw(1), "{}", device.facts.backend);
        assert_ne!(draw(1), draw(2), "{}", device.facts.backend);
        // The model's positions end a text that nothing else ends.
        assert_eq!(continued(&model, &prompt, &sampling, &[], 1, 1000).len(), 64 - prompt.len());
    }
}

#[test]
fn texts_end_where_they_must_and_say_why() {
    let place = TestFolder::new();
    let (model, tokenizer) = load(&place.path("model"), &ComputeDevice::cpu());
    let prompt = tokenizer.encode("a round", true).expect("ids");
    let end = |most| streamed(&model, &tokenizer, &prompt, &greedy(most)).1;
    assert_eq!(end(0), Some(TextEnd::MaxTokens));
    assert_eq!(end(3), Some(TextEnd::MaxTokens));
    let drawn =
        TextSettings { sampling: Sampling { temperature: 1.0, ..Sampling::default() }, max_tokens: 1000, seed: 1 };
    let mut ends: Vec<_> =
        (0..20).map(|seed| streamed(&model, &tokenizer, &prompt, &TextSettings { seed, ..drawn.clone() }).1).collect();
    ends.dedup();
    assert!(ends.contains(&Some(TextEnd::Positions)) || ends.contains(&Some(TextEnd::Model)), "{ends:?}");

    // Interrupted after two tokens it gives what it held back, and nothing more.
    let mut stream = TextStream::new(&model.transformer, &tokenizer, &prompt, greedy(9)).expect("a prompt");
    let mut calls = 0;
    while let Some(_part) = block_on(stream.next(|| calls >= 2)).expect("a device") {
        calls += 1;
    }
    assert_eq!((calls, stream.tokens(), stream.end()), (3, 2, Some(TextEnd::Interrupted)));
}

#[test]
fn stop_tokens_end_the_text() {
    let place = TestFolder::new();
    for device in devices() {
        let (model, tokenizer) = load(&place.path("model"), &device);
        let prompt = tokenizer.encode("bronze", true).expect("ids");
        let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        let all = continued(&model, &prompt, &sampling, &[], 3, 40);
        let end = all[10];
        let first = all.iter().position(|&id| id == end).expect("it is there");
        let ended = continued(&model, &prompt, &sampling, &[66, end], 3, 40);
        let first = all.iter().position(|&id| id == 66).map_or(first, |at| at.min(first));
        assert_eq!(ended, all[..first], "{}: the stop token itself is not given out", device.facts.backend);
    }
}

#[test]
fn streams_of_broken_characters_are_whole_in_the_end() {
    // The untrained model draws single bytes of `é` and `😀`; the program must still write valid text.
    let place = TestFolder::new();
    let model = place.path("model");
    let (tiny, tokenizer) = load(&model, &ComputeDevice::cpu());
    let prompt = tokenizer.encode("é 😀", true).expect("ids");
    assert_eq!(tokenizer.decode(&prompt, true).expect("text"), "é 😀");
    let sampling = Sampling { temperature: 2.0, ..Sampling::default() };
    let mut whole = 0;
    for seed in 0..40 {
        let ids = continued(&tiny, &prompt, &sampling, tokenizer.eos_ids(), seed, 12);
        let settings = TextSettings { sampling: sampling.clone(), max_tokens: 12, seed };
        let (parts, end) = streamed(&tiny, &tokenizer, &prompt, &settings);
        assert_eq!(end, Some(if ids.len() < 12 { TextEnd::Model } else { TextEnd::MaxTokens }));
        let stream = TextStream::new(&tiny.transformer, &tokenizer, &prompt, settings).expect("a prompt");
        assert_eq!(block_on(stream.whole()).expect("text"), tokenizer.decode(&ids, true).expect("text"));
        let all = tokenizer.decode(&[&prompt[..], &ids].concat(), true).expect("text");
        if !all.contains('\u{fffd}') {
            assert_eq!(format!("é 😀{}", parts.concat()), all);
            whole += 1;
        }
    }
    assert!(whole > 3, "only {whole} texts without a broken character");
    let output = agoge(&[
        "generate",
        "--device",
        "cpu",
        "--quiet",
        "--model",
        text(&model),
        "--prompt",
        "é 😀",
        "--temperature",
        "2",
    ]);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(said.starts_with("é 😀") && said.ends_with('\n'), "{said}");
}
