//! What a resumed run takes over from its folder, and what it notices there.

use agoge::{
    config::RunConfig,
    device::ComputeDevice,
    event::{Ending, Event},
    session::load_inputs,
    source::silent,
    train::{Run, checkpoint, folder::stored_config},
};
use pollster::block_on;
use serde_json::Value;

use crate::fixture::{TestFolder, drive, read_text, rows, start, steps, train};

const DATED: &str = "{% for m in messages %}{{ strftime_now('%d %b %Y') }} {{ m.content }}{% endfor %}";
const TALKS: &str = r#"{"messages": [{"role": "user", "content": "who"}, {"role": "assistant", "content": "a friend"}]}
{"messages": [{"role": "user", "content": "where"}, {"role": "assistant", "content": "here"}]}
"#;

/// Half a run in the folder `out`.
fn begun(config: &RunConfig) -> Run {
    let mut run = start(config, &ComputeDevice::cpu(), false);
    let events = drive(&mut run, Some(4));
    assert!(matches!(events.last(), Some(Event::Finished { ending: Ending::Stopped, step: 4, .. })), "{events:?}");
    run
}

/// What resuming with the settings in the folder fails with.
fn refusal(config: &RunConfig) -> String {
    let stored = stored_config(&config.out).expect("settings");
    let inputs = load_inputs(&stored, ComputeDevice::cpu(), false, &silent).expect("inputs");
    match block_on(Run::new(stored, inputs, true)) {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn data_that_have_changed_are_refused_by_name() {
    let place = TestFolder::new();
    place.write("model/chat_template.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    let config = place.config("out");
    drop(begun(&config));
    let tokenizer = read_text(&place.path("model/tokenizer.json"));
    let other_tokenizer = tokenizer.replacen("\"id\":\"<s>\",\"type_id\":0", "\"id\":\"<s>\",\"type_id\":1", 1);
    let template = read_text(&place.path("model/chat_template.jinja"));
    for (file, before, now, what) in [
        ("data/train.jsonl", rows(0, 23), rows(1, 23), "the training rows changed"),
        ("data/valid.jsonl", rows(40, 6), rows(41, 6), "the validation rows changed"),
        ("model/tokenizer.json", tokenizer.clone(), other_tokenizer, "the tokenizer changed"),
        ("model/chat_template.jinja", template.clone(), format!("{template} "), "the chat template changed"),
    ] {
        assert_ne!(before, now, "{file}");
        place.write(file, &now);
        let told = refusal(&config);
        assert!(told.contains(what) && told.contains("put the original files back"), "{file}: {told}");
        place.write(file, &before);
    }
    place.write("data/train.jsonl", &rows(1, 23));
    place.write("data/valid.jsonl", &rows(41, 6));
    let told = refusal(&config);
    assert!(told.contains("the training rows and the validation rows changed"), "{told}");

    // A checkpoint of an earlier version says nothing of the data, and is resumed as before.
    let (_, newest) = checkpoint::list(&config.out.join("checkpoints")).pop().expect("a checkpoint");
    let state = newest.join("state.json");
    let mut progress: Value = serde_json::from_str(&read_text(&state)).expect("JSON");
    assert!(progress.as_object_mut().expect("an object").remove("data").is_some());
    std::fs::write(&state, progress.to_string()).expect("written");
    let events = drive(&mut start(&config, &ComputeDevice::cpu(), true), None);
    assert_eq!(steps(&events).len(), 4);
}

#[test]
fn a_run_that_is_resumed_on_another_day_has_the_same_rows() {
    let place = TestFolder::new();
    place.write("model/chat_template.jinja", DATED);
    place.write("talks/train.jsonl", TALKS);
    let config = |out: &str| RunConfig { data: place.path("talks"), batch_size: 2, eval_steps: 0, ..place.config(out) };

    // Today's date is written where none is given.
    let today = config("today");
    let run = begun(&today);
    let stored = stored_config(&today.out).expect("settings");
    assert!(stored.chat_date.len() == 10 && stored.chat_date.as_str() > "2024-01-01", "{}", stored.chat_date);
    assert_eq!(run.config().chat_date, stored.chat_date);

    // A run of another day: resumed now, it still has the rows of that day.
    let whole = RunConfig { chat_date: "2021-07-03".into(), ..config("whole") };
    let (run, straight) = train(&whole, &ComputeDevice::cpu());
    let first_row = |run: &Run| {
        let inputs = run.inputs();
        inputs.tokenizer.decode(&inputs.dataset.train.row(0).ids, false).expect("text")
    };
    assert!(first_row(&run).starts_with("03 Jul 2021"), "{}", first_row(&run));
    let halves = RunConfig { chat_date: "2021-07-03".into(), ..config("halves") };
    drop(begun(&halves));
    let stored = stored_config(&halves.out).expect("settings");
    let mut resumed = start(&stored, &ComputeDevice::cpu(), true);
    assert_eq!(first_row(&resumed), first_row(&run));
    let events = drive(&mut resumed, None);
    assert_eq!(steps(&events), steps(&straight)[4..]);
}
