//! Screenshots of the main views, rendered on a software adapter and compared with those in `tests/snapshots`.

use agoge::{
    event::messages::{DeviceLine, Estimate, Reply, Request},
    window::{App, SavedState, Status},
};
use egui::Theme;
use egui_kittest::{Harness, SnapshotOptions, kittest::Queryable};

use crate::scripted::{Script, events, finished, options, recorded, window, window_with};

/// Draws until all replies are shown.
pub fn settle(harness: &mut Harness<'_, App>) {
    (0..4).for_each(|_| harness.step());
}

/// Compares with the stored screenshot. Software adapters differ in the last bit of a blended edge, so a few pixels may
/// differ.
fn same(harness: &mut Harness<'_, App>, name: &str) {
    harness.remove_cursor();
    settle(harness);
    harness.snapshot_options(name, &SnapshotOptions::new().threshold(1.0).max_failed_pixels(40));
}

/// The number of the last check that was requested.
pub fn last_check(script: &Script) -> Option<u64> {
    let number = |request: Request| match request {
        Request::Check { number, .. } => Some(number),
        _ => None,
    };
    script.requests().into_iter().rev().find_map(number)
}

fn answer_check(script: &Script, harness: &mut Harness<'_, App>) {
    settle(harness);
    let number = last_check(script).expect("the form requests a check");
    script.reply(Reply::Devices {
        devices: vec![DeviceLine { choice: "0".into(), name: "AMD Radeon 780M (Vulkan)".into() }],
    });
    script.reply(Reply::Checked {
        number,
        faults: Vec::new(),
        facts: vec!["llama, 844,928 parameters, 4 layers".into(), "900 rows, 22,817 tokens".into()],
        estimate: Some(Estimate {
            parts: vec![
                ("weights".into(), 3_400_000),
                ("activations".into(), 61_000_000),
                ("trainable parameters".into(), 203_000),
            ],
            total_bytes: 64_603_000,
            limit_bytes: Some(400_000_000),
            advice: Vec::new(),
        }),
    });
}

#[test]
fn the_start_page() {
    let script = Script::default();
    let mut harness = window(1280.0, 720.0, Theme::Dark, SavedState::first(), &script);
    answer_check(&script, &mut harness);
    same(&mut harness, "start");
}

#[test]
fn the_start_page_shows_the_settings_that_the_method_reads() {
    for (method, shown, hidden) in [("sparta", "Sparsity", "Lora rank"), ("lora", "Lora rank", "Sparsity")] {
        let form = vec![("method".to_owned(), method.to_owned())];
        let saved = SavedState { form, ..SavedState::first() };
        let mut harness = window(1280.0, 720.0, Theme::Dark, saved, &Script::default());
        settle(&mut harness);
        assert!(harness.query_all_by_label(shown).next().is_some(), "{method} reads {shown}");
        assert!(harness.query_all_by_label(hidden).next().is_none(), "{method} does not read {hidden}");
        assert!(harness.query_by_label("Compare lora with sparta").is_some());
    }
}

/// Three recorded runs.
fn three(theme: Theme) -> (Script, Harness<'static, App>) {
    let script = Script::default();
    let mut options = options();
    options.watch = ["runs/sparta", "runs/lora", "runs/full"].map(Into::into).to_vec();
    let mut harness = window_with(1280.0, 720.0, theme, SavedState::first(), options, &script);
    for (method, trained, low) in [("sparta", 1_345_150, 1.1), ("lora", 1_345_150, 1.2), ("full", 134_515_008, 1.05)] {
        let mut events = events(method, trained, 400, (3.2, low));
        events.push(finished(400));
        script.reply(recorded(&format!("runs/{method}"), events));
    }
    settle(&mut harness);
    (script, harness)
}

/// The charts of one run.
fn charts(theme: Theme, name: &str) {
    let (_, mut harness) = three(theme);
    for run in ["Show lora", "Show full"] {
        harness.get_by_label(run).click();
        harness.step();
    }
    same(&mut harness, name);
}

#[test]
fn charts_in_the_dark() {
    charts(Theme::Dark, "charts-dark");
}

#[test]
fn charts_in_the_light() {
    charts(Theme::Light, "charts-light");
}

#[test]
fn the_comparison_and_its_order() {
    let (_, mut harness) = three(Theme::Dark);
    harness.get_by_label("Compare").click();
    settle(&mut harness);
    let names: Vec<_> = harness.state().runs().iter().map(|run| run.name.clone()).collect();
    assert_eq!(names, ["sparta", "lora", "full"]);
    let down = |harness: &Harness<'_, App>, text: &str| {
        harness.get_all_by_label(text).map(|node| node.rect().top()).fold(f32::NEG_INFINITY, f32::max)
    };
    assert!(down(&harness, "1.3094") < down(&harness, "1.3585"), "the lowest validation loss comes first");
    harness.get_by_label("Trainable").click();
    settle(&mut harness);
    harness.get_by_label("Show the curves of lora").click();
    settle(&mut harness);
    assert!(!harness.state().runs()[1].visible);
    same(&mut harness, "compare");
}

#[test]
fn the_pages_beside_the_charts() {
    let (_, mut harness) = three(Theme::Light);
    for side in ["Samples", "Data", "Log"] {
        harness.get_by_label(side).click();
        same(&mut harness, &side.to_lowercase());
    }
    assert!(harness.query_all_by_label_contains("the best so far").count() > 1, "the log marks the best evaluations");
}

#[test]
fn the_page_that_uses_an_adapter() {
    let (script, mut harness) = three(Theme::Dark);
    harness.get_by_label("Use").click();
    settle(&mut harness);
    harness.get_by_label("Generate").click();
    settle(&mut harness);
    let number = script.requests().into_iter().find_map(|request| match request {
        Request::Generate { number, folder, prompt, .. } => {
            assert_eq!(folder.to_str(), Some("runs/full"));
            assert!(prompt.contains("envoy"), "the run's own first prompt");
            Some(number)
        }
        _ => None,
    });
    let number = number.expect("a generation was requested");
    for (adapted, text) in [(true, " If."), (false, " Once upon a time there was an envoy who liked to talk.")] {
        script.reply(Reply::Text { number, adapted, text: text.into(), done: true });
    }
    same(&mut harness, "use");
    assert!(harness.query_by_label("If.").is_some());
}

#[test]
fn an_adapter_without_a_run_can_be_used() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("given");
    std::fs::create_dir(&folder).expect("a folder");
    let script = Script::default();
    let mut harness = window(1000.0, 700.0, Theme::Dark, SavedState::first(), &script);
    harness.state_mut().dropped(&folder);
    assert!(harness.state().runs().is_empty(), "an empty folder is no adapter");
    std::fs::write(folder.join("adapter_config.json"), "{}").expect("a file");
    harness.state_mut().dropped(&folder);
    settle(&mut harness);
    assert!(harness.query_by_label("Use given").is_some());
    assert_eq!(harness.state().runs()[0].status, Status::AdapterOnly);
    assert!(!script.requests().iter().any(|request| matches!(request, Request::Watch { .. })), "there is no record");
}

/// A replay of a record draws what the run itself drew.
#[test]
fn a_replay_draws_the_same_as_the_run() {
    let mut all = events("sparta", 1_345_150, 300, (3.2, 1.1));
    all.push(finished(300));
    let screenshot = |pieces: usize, by_line: bool| {
        let script = Script::default();
        let mut options = options();
        options.watch = vec!["runs/sparta".into()];
        let mut harness = window_with(1000.0, 700.0, Theme::Dark, SavedState::first(), options, &script);
        for piece in all.chunks(all.len().div_ceil(pieces)) {
            let mut piece = piece.to_vec();
            if by_line {
                // Through the text of the record.
                for event in &mut piece {
                    let line = serde_json::to_string(event).expect("JSON");
                    *event = serde_json::from_str(&line).expect("an event");
                }
            }
            let folder = "runs/sparta".into();
            script.reply(Reply::Watched { folder, events: piece, anew: false, running: true, problem: None });
            harness.step();
        }
        let folder = "runs/sparta".into();
        script.reply(Reply::Watched { folder, events: Vec::new(), anew: false, running: false, problem: None });
        settle(&mut harness);
        harness.render().expect("a screenshot")
    };
    let live = screenshot(all.len(), false);
    let replayed = screenshot(1, true);
    assert_eq!(live.dimensions(), replayed.dimensions());
    // Glyphs that were drawn in another order lie elsewhere in the font's texture, which moves some of their edges a little.
    let alike = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 2;
    let differing = live.pixels().zip(replayed.pixels()).filter(|(a, b)| !a.0.iter().zip(&b.0).all(alike)).count();
    assert_eq!(differing, 0, "pixels differ");
}
