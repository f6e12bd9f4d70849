//! The window with the real workers: runs of the built-in demo on the CPU device, controlled by clicks and keys.

use std::{
    cell::RefCell,
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use agoge::{
    demo,
    event::{Ending, messages::RunState},
    window::{App, Closing, Link, Options, RepaintInterval, RunView, SavedState, Status},
    workers::Workers,
};
use egui::accesskit::Role;
use egui_kittest::{Harness, kittest::Queryable};

use crate::scripted::options;

/// A window with the real workers.
pub struct Real {
    pub harness: Harness<'static, App>,
    pub closing: Arc<Mutex<Closing>>,
    workers: Rc<RefCell<Option<Workers>>>,
}

/// Opens it with `form` on its start page.
pub fn open(form: &[(&str, &str)], is_demo: bool, watch: &[&Path]) -> Real {
    let mut saved = SavedState { demo: is_demo, ..SavedState::default() };
    saved.form = form.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let options =
        Options { demo: demo::config(), watch: watch.iter().map(|path| path.to_path_buf()).collect(), ..options() };
    let workers = Rc::new(RefCell::new(Some(Workers::start(|| {}))));
    let closing = Arc::<Mutex<Closing>>::default();
    let (sender, receiver, decided) = (workers.clone(), workers.clone(), closing.clone());
    let link = Link {
        send: Box::new(move |request| {
            if let Some(workers) = &*sender.borrow() {
                workers.send(request);
            }
        }),
        receive: Box::new(move || receiver.borrow().as_ref()?.receive()),
        download_folder: None,
    };
    // Tall, so that nothing has to be scrolled to.
    let harness = Harness::builder().with_size(egui::vec2(1400.0, 2400.0)).wgpu().build_eframe(move |context| {
        App::new(&context.egui_ctx, link, options, saved, RepaintInterval::new(false), decided)
    });
    Real { harness, closing, workers }
}

impl Real {
    /// Draws until `is_so`; panics with what was waited for if that takes too long.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Harness<'static, App>) -> bool) {
        let started = Instant::now();
        while !is_so(&self.harness) {
            assert!(started.elapsed() < Duration::from_secs(120), "waited for: {what}; {:?}", self.state());
            self.harness.step();
            std::thread::sleep(Duration::from_millis(5));
        }
        (0..2).for_each(|_| self.harness.step());
    }

    fn state(&self) -> Option<(Status, u64)> {
        self.harness.state().selected().map(|run| (run.status.clone(), run.step()))
    }

    pub fn click(&mut self, label: &str) {
        self.harness.get_by_role_and_label(Role::Button, label).click();
        (0..2).for_each(|_| self.harness.step());
    }

    fn run(&self) -> &RunView {
        self.harness.state().selected().expect("a run is chosen")
    }

    fn until_started(&mut self) {
        self.until("the first steps", |harness| {
            harness
                .state()
                .selected()
                .is_some_and(|run| run.status == Status::Live(RunState::Running) && run.step() > 2)
        });
    }

    fn until_over(&mut self, ending: Ending) {
        self.until("the end of the run", |harness| {
            harness.state().selected().is_some_and(|run| run.status == Status::Over(ending))
        });
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn from_the_start_page_to_a_finished_run_and_its_adapter() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("first");
    let form = [("steps", "30"), ("eval_steps", "15"), ("sample_tokens", "12"), ("out", text(&out)), ("device", "cpu")];
    let mut window = open(&form, true, &[]);
    window.until("the check", |harness| harness.query_by_label_contains("844,928 parameters").is_some());
    window.click("Start");
    window.until_over(Ending::Completed);
    let run = window.run();
    let losses = run.steps.loss.values();
    assert_eq!(losses.len(), 30);
    assert!(losses[29] < losses[0] - 1.0, "{} to {}", losses[0], losses[29]);
    assert_eq!(run.evaluations.loss.values().len(), 3);
    assert!(run.samples.iter().all(|answers| answers.texts.len() == 3), "sampled at every evaluation");
    assert!(out.join("adapter.safetensors").exists());
    let screenshot = |window: &mut Real| {
        window.harness.remove_cursor();
        (0..3).for_each(|_| window.harness.step());
        window.harness.render().expect("a screenshot")
    };
    let live = screenshot(&mut window);

    // Another window on the record of the run shows the same.
    let mut replay = open(&form, true, &[&out]);
    replay.until_over(Ending::Completed);
    let replayed = screenshot(&mut replay);
    assert_eq!(live.dimensions(), replayed.dimensions());
    // Glyphs are in another order in the font texture, which changes the last bit of a blended edge.
    let alike = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= 2;
    let differing = live.pixels().zip(replayed.pixels()).filter(|(a, b)| !a.0.iter().zip(&b.0).all(alike)).count();
    assert_eq!(differing, 0, "pixels of the replay that are not those of the run");

    window.click("Use it");
    window.click("Generate");
    window.until("both answers", |harness| harness.query_by_label_contains("tokens/s").is_some());
    window.click("Merge");
    window.until("the merged model", |harness| harness.query_by_label_contains("merged model in").is_some());
    assert!(folder.path().join("first-merged/model.safetensors").exists());
    window.click("Export");
    window.until("the exported adapter", |harness| harness.query_by_label_contains("adapter in /").is_some());
}

#[test]
fn a_run_is_paused_resumed_controlled_stopped_and_resumed_from_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("steered");
    let form = [
        ("steps", "3000"),
        ("eval_steps", "0"),
        ("sample_prompts", ""),
        ("out", text(&out)),
        ("device", "cpu"),
        ("logging_steps", "1"),
    ];
    let mut window = open(&form, true, &[]);
    window.until("the check", |harness| harness.query_by_label_contains("844,928 parameters").is_some());
    window.click("Start");
    window.until_started();
    window.click("Pause");
    window.until("the pause", |harness| {
        harness.state().selected().is_some_and(|run| run.status == Status::Live(RunState::Paused))
    });
    // Events from before the pause are received.
    for _ in 0..10 {
        window.harness.step();
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = window.run().step();
    for _ in 0..15 {
        window.harness.step();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(window.run().step(), before, "a paused run takes no steps");
    window.click("Resume");
    window.until("further steps", |harness| harness.state().selected().is_some_and(|run| run.step() > before + 2));

    window.harness.get_by_role_and_label(Role::TextInput, "Learning rate").focus();
    window.harness.step();
    window.harness.get_by_role_and_label(Role::TextInput, "Learning rate").type_text("0.001");
    window.harness.step();
    window.click("Set");
    window.until("a lower learning rate", |harness| {
        let rate = harness.state().selected().and_then(|run| run.latest.as_ref()?.learning_rate);
        rate.is_some_and(|rate| rate <= 0.001)
    });
    window.click("Save now");
    window.until("a checkpoint", |harness| {
        harness.state().selected().is_some_and(|run| run.log.iter().any(|line| line.text.starts_with("checkpoint")))
    });
    window.click("Stop and save");
    window.until_over(Ending::Stopped);
    let stopped_at = window.run().step();
    window.click("Resume");
    window.until("steps after the checkpoint", |harness| {
        harness
            .state()
            .selected()
            .is_some_and(|run| run.status == Status::Live(RunState::Running) && run.step() > stopped_at)
    });
    let steps = &window.run().steps;
    assert_eq!(steps.positions.len() as u64, window.run().step(), "every step once");
    window.click("Stop and save");
    window.until_over(Ending::Stopped);
}

#[test]
fn a_run_that_fails_shows_why_and_the_next_one_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("diverging");
    let form = [
        ("steps", "40"),
        ("learning_rate", "1e30"),
        ("warmup_steps", "0"),
        ("max_grad_norm", "0"),
        ("sample_prompts", ""),
        ("out", text(&out)),
        ("device", "cpu"),
    ];
    let mut window = open(&form, true, &[]);
    window.until("the check", |harness| harness.query_by_label_contains("844,928 parameters").is_some());
    window.click("Start");
    window.until("the failure", |harness| {
        harness.state().selected().is_some_and(|run| matches!(run.status, Status::Failed(_)))
    });
    assert!(window.harness.query_all_by_label_contains("try a lower --learning-rate").next().is_some());
    assert!(!window.run().steps.not_finite.is_empty(), "the step is marked");
    window.click("New like this");
    window.until("the start page", |harness| harness.query_by_label("Equivalent command").is_some());
    window.click("Reset Learning rate");
    window.harness.get_by_label_contains("Training: more").click();
    window.until("the settings of the section", |harness| harness.query_by_label("Reset Warmup steps").is_some());
    window.click("Reset Warmup steps");
    window.until("a form without faults", |harness| harness.query_by_label_contains("844,928 parameters").is_some());
    window.click("Start");
    window.until_started();
}

#[test]
fn every_error_is_shown_beside_its_field() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("metrics.jsonl"), "").expect("a file");
    std::fs::write(folder.path().join("config.json"), "{}").expect("a file");
    let taken = text(folder.path());
    let no_model = folder.path().join("no-model");
    let bad_rows = folder.path().join("rows.jsonl");
    std::fs::write(&bad_rows, "{\"text\": 1}\n").expect("a file");
    let cases = [
        (true, "sparsity", "Sparsity", "2", "between 0 and 1"),
        (true, "density", "Density", "3", "between 0 and 1"),
        (true, "steps", "Steps", "many", "many is not a value"),
        (true, "batch_size", "Batch size", "0", "at least 1"),
        (true, "learning_rate", "Learning rate", "-1", "not negative"),
        (true, "beta1", "Beta1", "1.5", "below 1"),
        (true, "target_modules", "Target modules", "nothing_like_it", "nothing_like_it"),
        (true, "device", "Device", "a-card-that-is-not-here", "a-card-that-is-not-here"),
        (true, "max_seq_length", "Max seq length", "1000000", "positions"),
        (true, "out", "Out", taken, "there is a run in this folder"),
        (false, "model", "Model", text(&no_model), "no-model"),
        (false, "data", "Data", "nowhere/rows.jsonl", "nowhere/rows.jsonl"),
    ];
    for (is_demo, setting, title, value, words) in cases {
        let mut form = vec![(setting, value)];
        if !is_demo && setting == "data" {
            form.push(("model", "agoge-demo"));
        }
        let mut window = open(&form, is_demo, &[]);
        // Long texts are in the summary too: the one beside the field is the leftmost.
        let beside = |harness: &Harness<'static, App>| {
            let found = harness.query_all_by_label_contains(words).map(|node| node.rect());
            found.filter(|rect| rect.left() < 1000.0 && rect.left() > 300.0).min_by(|a, b| a.top().total_cmp(&b.top()))
        };
        window.until(&format!("the error of {setting}"), |harness| beside(harness).is_some());
        let fault = beside(&window.harness).expect("just seen");
        let labels = window.harness.query_all_by_label(title).map(|node| node.rect());
        let near = labels.filter(|rect| (fault.top() - rect.bottom()).abs() < 60.0).count();
        assert!(near > 0, "{setting}: {words} is at {fault:?}, its label does not");
    }
}

#[test]
fn the_keyboard_controls_the_run_and_switches_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("keys");
    let form = [("steps", "3000"), ("eval_steps", "0"), ("sample_prompts", ""), ("out", text(&out)), ("device", "cpu")];
    let mut window = open(&form, true, &[]);
    window.until("the check", |harness| harness.query_by_label_contains("844,928 parameters").is_some());
    window.click("Start");
    window.until_started();
    let status = |wanted: RunState| {
        move |harness: &Harness<'static, App>| {
            harness.state().selected().is_some_and(|run| run.status == Status::Live(wanted.clone()))
        }
    };
    // The widget that was clicked last has the focus.
    window.harness.key_press(egui::Key::Escape);
    window.harness.step();
    window.harness.key_press(egui::Key::Space);
    window.until("the pause", status(RunState::Paused));
    window.harness.key_press(egui::Key::Space);
    window.until("the resumed run", status(RunState::Running));
    for (key, words) in
        [(egui::Key::Num3, "Best validation"), (egui::Key::Num4, "Use keys"), (egui::Key::Num1, "Equivalent command")]
    {
        window.harness.key_press_modifiers(egui::Modifiers::COMMAND, key);
        window.until(words, |harness| harness.query_all_by_label_contains(words).next().is_some());
    }
    window.harness.key_press(egui::Key::F1);
    window.until("the list of shortcuts", |harness| harness.query_by_label("write a checkpoint").is_some());
    window.harness.key_press(egui::Key::Escape);
    window.harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Period);
    window.until_over(Ending::Stopped);
}

#[test]
fn closing_asks_what_becomes_of_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("left");
    let form = [("steps", "3000"), ("eval_steps", "0"), ("sample_prompts", ""), ("out", text(&out)), ("device", "cpu")];
    let mut window = open(&form, true, &[]);
    window.until("the check", |harness| harness.query_by_label_contains("844,928 parameters").is_some());
    window.click("Start");
    window.until_started();
    let close = |window: &mut Real| {
        let root = window.harness.input_mut().viewports.entry(egui::ViewportId::ROOT).or_default();
        root.events.push(egui::ViewportEvent::Close);
        window.harness.step();
        let root = window.harness.input_mut().viewports.entry(egui::ViewportId::ROOT).or_default();
        root.events.clear();
        (0..3).for_each(|_| window.harness.step());
    };
    close(&mut window);
    assert!(window.harness.query_by_label("A run is in progress").is_some());
    window.click("Cancel");
    assert!(window.harness.query_by_label("A run is in progress").is_none());
    assert_eq!(*window.closing.lock().expect("a decision"), Closing::Stop);
    close(&mut window);
    window.click("Leave it running");
    assert_eq!(*window.closing.lock().expect("a decision"), Closing::LeaveRunning);
}
