//! The desk from its front end's side: whole runs of the embedded model on the CPU device, and what follows them.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use agoge::{
    config::{List, RunConfig, Schedule},
    demo,
    desk::Desk,
    device::{ComputeDevice, DeviceChoice},
    event::{
        Command, Ending, Event,
        messages::{Reply, Request, RunState, Setup, TaskEnding},
    },
    method::adapter::Adapter,
    model::Pretrained,
    train::{event_log, folder::stored_config, lock},
};
use tempfile::TempDir;

use crate::fixture::{
    Workplace, adapter_tensors, agoge, assert_each_step_once, assert_same, metrics, program, read, read_text, text,
};

/// Longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A front end that keeps what it hears.
struct Front {
    desk: Desk,
    woken: Arc<AtomicUsize>,
    heard: Vec<Reply>,
}

impl Front {
    fn open() -> Self {
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = woken.clone();
        let desk = Desk::open(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        Self { desk, woken, heard: Vec::new() }
    }

    /// Waits for the first reply from now on that `wanted` takes, and gives what it makes of it.
    fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Reply) -> Option<T>) -> T {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let Some(reply) = self.desk.hear_within(Duration::from_millis(100)) else { continue };
            let found = wanted(&reply);
            self.heard.push(reply);
            if let Some(found) = found {
                return found;
            }
        }
        panic!("no {what}; heard {:?}", self.heard.iter().rev().take(5).collect::<Vec<_>>());
    }

    fn state(&mut self, what: &str, wanted: impl Fn(&RunState) -> bool) -> RunState {
        self.until(what, |reply| match reply {
            Reply::State { state } if wanted(state) => Some(state.clone()),
            _ => None,
        })
    }

    fn over(&mut self) -> RunState {
        self.state("end of the run", |state| matches!(state, RunState::Ended | RunState::Failed { .. }))
    }

    /// Waits for the figures of this step or a later one.
    fn step(&mut self, least: u64) -> u64 {
        self.until("step", |reply| match reply {
            Reply::Event { event } => match **event {
                Event::Step(ref metrics) if metrics.step >= least => Some(metrics.step),
                _ => None,
            },
            _ => None,
        })
    }

    /// How a task ended, and what it said.
    fn task(&mut self, wanted: u64) -> (TaskEnding, String) {
        self.until("end of the task", |reply| match reply {
            Reply::Task { number, text, ending: Some(ending) } if *number == wanted => Some((*ending, text.clone())),
            _ => None,
        })
    }

    fn start(&self, config: &RunConfig) {
        self.desk.ask(Request::Start { setup: Box::new(demo_of(config)) });
    }

    /// The events of runs that were heard so far.
    fn events(&self) -> Vec<Event> {
        let event = |reply: &Reply| match reply {
            Reply::Event { event } => Some((**event).clone()),
            _ => None,
        };
        self.heard.iter().filter_map(event).collect()
    }
}

fn demo_of(config: &RunConfig) -> Setup {
    Setup { config: config.clone(), demo: true, ..Setup::default() }
}

/// The embedded demo, made short.
fn short(out: &Path, steps: u64) -> RunConfig {
    let mut config = demo::config();
    config.sample_prompts.0.truncate(1);
    RunConfig {
        out: out.to_path_buf(),
        device: DeviceChoice::Cpu,
        steps,
        batch_size: 2,
        warmup_steps: 0,
        eval_steps: 0,
        eval_batches: 1,
        logging_steps: 1,
        sample_tokens: 4,
        schedule: Schedule::Constant,
        ..config
    }
}

fn ending(events: &[Event]) -> Option<(Ending, u64)> {
    events.iter().rev().find_map(|event| match event {
        Event::Finished { ending, step, .. } => Some((*ending, *step)),
        _ => None,
    })
}

/// The events are the same, up to the last digit of figures that were written and read.
fn assert_same_events(one: &[Event], other: &[Event]) {
    assert_eq!(one.len(), other.len(), "{one:?}\n{other:?}");
    for (one, other) in one.iter().zip(other) {
        let json = |event: &Event| serde_json::to_value(event).expect("JSON");
        assert_same(&json(one), &json(other));
    }
}

/// Everything that comes of a watched folder, until it has ended and the last of it was heard.
fn watched(front: &mut Front, folder: &Path) -> Vec<Event> {
    let mut all = Vec::new();
    front.until("end of the record", |reply| match reply {
        Reply::Watched { folder: of, events, anew, running, problem } if of == folder => {
            assert!(!anew && (problem.is_none() || events.is_empty()), "{problem:?}");
            all.extend(events.iter().cloned());
            (!running && ending(&all).is_some()).then_some(())
        }
        _ => None,
    });
    all
}

#[test]
fn a_run_is_told_in_order_and_recorded_as_it_is_told() {
    let place = TempDir::new().expect("a folder");
    let out = place.path().join("run");
    let mut front = Front::open();
    front.desk.ask(Request::Watch { folder: out.clone() });
    let nothing = front.until("news", |reply| match reply {
        Reply::Watched { problem, running, .. } => Some((problem.clone(), *running)),
        _ => None,
    });
    assert!(nothing.0.is_some_and(|problem| problem.contains("no record of a run")) && !nothing.1);

    let config = RunConfig { eval_steps: 2, save_steps: 2, ..short(&out, 4) };
    front.start(&config);
    assert!(front.desk.busy());
    assert_eq!(front.over(), RunState::Ended);
    let events = front.events();
    let kinds: Vec<String> = events
        .iter()
        .map(|event| {
            let name = serde_json::to_value(event).expect("JSON")["event"].as_str().expect("a name").to_owned();
            event.step().map_or(name.clone(), |step| format!("{name} {step}"))
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "started 0",
            "data",
            "evaluated 0",
            "sample 0",
            "step 1",
            "step 2",
            "evaluated 2",
            "sample 2",
            "saved 2",
            "step 3",
            "step 4",
            "evaluated 4",
            "sample 4",
            "saved 4",
            "finished 4"
        ]
    );
    let states: Vec<&RunState> = front
        .heard
        .iter()
        .filter_map(|reply| if let Reply::State { state } = reply { Some(state) } else { None })
        .collect();
    assert!(matches!(states[0], RunState::Preparing { what } if what.contains("device")), "{states:?}");
    assert_eq!(states[states.len() - 2..], [&RunState::Running, &RunState::Ended]);
    // Every reply wakes the front end; the call comes behind the reply.
    let begun = Instant::now();
    while front.desk.busy() || front.woken.load(Ordering::SeqCst) < front.heard.len() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }

    // Watched while it ran, and now that it is over.
    let mut live = Vec::new();
    for reply in &front.heard {
        if let Reply::Watched { events, anew, .. } = reply {
            assert!(!anew);
            live.extend(events.iter().cloned());
        }
    }
    if ending(&live).is_none() {
        live.extend(watched(&mut front, &out));
    }
    assert_same_events(&live, &events);
    let mut other = Front::open();
    other.desk.ask(Request::Watch { folder: out.clone() });
    assert_same_events(&watched(&mut other, &out), &events);
    assert!(other.heard.iter().all(|reply| matches!(reply, Reply::Watched { running: false, .. })));
    // Asked for again it comes again.
    other.desk.ask(Request::Watch { folder: out.clone() });
    let again = other.until("news", |reply| match reply {
        Reply::Watched { events, anew, .. } => Some((events.len(), *anew)),
        _ => None,
    });
    assert_eq!(again, (events.len(), true));
}

#[test]
fn a_run_pauses_hears_and_goes_on_in_another_desk() {
    let place = TempDir::new().expect("a folder");
    let (out, straight) = (place.path().join("parts"), place.path().join("straight"));
    let steps = 60;
    let mut front = Front::open();
    front.start(&short(&out, steps));
    front.step(3);
    front.desk.ask(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    let paused_at = metrics(&out).last().expect("steps").step;
    assert!(paused_at < steps, "too late to see a pause");
    std::thread::sleep(Duration::from_millis(400));
    assert!(front.desk.hear().is_none(), "a paused run says nothing");
    assert_eq!(metrics(&out).last().expect("steps").step, paused_at, "and does nothing");
    front.desk.ask(Request::Resume);
    front.state("going on", |state| *state == RunState::Running);
    front.step(paused_at + 2);
    front.desk.ask(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    // It can be stopped where it stands, and is saved there.
    front.desk.ask(Request::Tell { command: Command::Stop });
    assert_eq!(front.over(), RunState::Ended);
    let (how, stopped_at) = ending(&front.events()).expect("an ending");
    assert!(how == Ending::Stopped && stopped_at < steps, "{how:?} at {stopped_at}");
    front.desk.stop();

    let stored = stored_config(&out).expect("settings");
    assert!(demo::is_embedded(&stored.model) && demo::is_embedded(&stored.data));
    let mut front = Front::open();
    let setup = Setup { config: stored, demo: true, resume: true, overwrite: false };
    let changed = RunConfig { seed: 9, ..setup.config.clone() };
    front.desk.ask(Request::Start { setup: Box::new(Setup { config: changed, ..setup.clone() }) });
    assert!(matches!(front.over(), RunState::Failed { message } if message.contains("--seed cannot be changed")));
    front.desk.ask(Request::Start { setup: Box::new(setup) });
    assert_eq!(front.over(), RunState::Ended);
    assert_eq!(ending(&front.events()), Some((Ending::Completed, steps)));

    // As if nothing had happened.
    front.start(&short(&straight, steps));
    assert_eq!(front.over(), RunState::Ended);
    assert_each_step_once(&out, steps);
    for file in ["adapter.safetensors", "adapter.json"] {
        assert!(read(&out.join(file)) == read(&straight.join(file)), "{file}");
    }
    let figures = |out: &Path| -> Vec<_> { metrics(out).into_iter().map(|m| (m.step, m.loss, m.eval_loss)).collect() };
    assert_eq!(figures(&out), figures(&straight));
}

#[test]
fn the_learning_rate_is_changed_between_two_reports() {
    let place = TempDir::new().expect("a folder");
    let out = place.path().join("run");
    let mut front = Front::open();
    // After the first step nothing is reported: commands are heard all the same.
    front.start(&RunConfig { logging_steps: 1_000_000, ..short(&out, 1_000_000) });
    front.step(1);
    front.desk.ask(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    front.desk.ask(Request::Tell { command: Command::SetLearningRate(3e-4) });
    front.desk.ask(Request::Tell { command: Command::SetLearningRate(f64::NAN) });
    front.desk.ask(Request::Resume);
    front.state("going on", |state| *state == RunState::Running);
    front.desk.ask(Request::Tell { command: Command::Save });
    let saved = |reply: &Reply| match reply {
        Reply::Event { event } => matches!(**event, Event::Saved { .. }).then_some(()),
        _ => None,
    };
    front.until("checkpoint", saved);
    // Another start while it runs changes nothing.
    front.start(&short(&place.path().join("other"), 1));
    front.state("the same state", |state| *state == RunState::Running);
    front.desk.stop();
    let rates: Vec<f64> = metrics(&out).iter().filter_map(|metrics| metrics.learning_rate).collect();
    assert_eq!((rates[0], *rates.last().expect("steps")), (1e-2, 3e-4));
    assert!(!place.path().join("other").exists());
    assert!(read_text(&out.join(event_log::EVENTS)).contains(r#""ending":"stopped""#), "it was stopped and saved");
}

#[test]
fn a_failed_run_is_told_recorded_and_followed_by_a_good_one() {
    let place = TempDir::new().expect("a folder");
    let out = place.path().join("bad");
    let mut front = Front::open();
    let wild = RunConfig { learning_rate: 1e30, max_grad_norm: 0.0, ..short(&out, 50) };
    front.start(&wild);
    let RunState::Failed { message } = front.over() else { panic!("it diverges") };
    assert!(message.contains("the run has stopped") && message.contains("--learning-rate"), "{message}");
    let events = front.events();
    let last = events.iter().rev().find_map(|event| match event {
        Event::Step(metrics) => Some(metrics.clone()),
        _ => None,
    });
    let last = last.expect("steps");
    let finite = |figure: Option<f64>| figure.is_some_and(f64::is_finite);
    assert!(!finite(last.loss) || !finite(last.grad_norm), "the bad step is told: {last:?}");
    assert_eq!(metrics(&out).last().expect("steps").step, last.step, "and recorded");
    assert!(read_text(&out.join("metrics.jsonl")).contains(r#":"NaN""#) || !finite(last.grad_norm));
    assert!(!lock::is_held(&out));
    front.desk.ask(Request::Watch { folder: out.clone() });
    let told = front.until("the failure", |reply| match reply {
        Reply::Watched { events, problem, .. } => {
            assert_eq!(*problem, None);
            events.iter().find_map(|event| match event {
                Event::Failed { message } => Some(message.clone()),
                _ => None,
            })
        }
        _ => None,
    });
    assert_eq!(told, message);

    // Settings that cannot be, and a place that is taken.
    for (config, words) in [
        (RunConfig { batch_size: 0, ..short(&place.path().join("x"), 1) }, "--batch-size 0"),
        (RunConfig { method: "magic".into(), ..short(&place.path().join("x"), 1) }, "no method \"magic\""),
        (short(&out, 1), "there is a run in this folder already"),
    ] {
        front.start(&config);
        assert!(matches!(front.over(), RunState::Failed { message } if message.contains(words)), "{words}");
    }
    front.start(&short(&place.path().join("good"), 2));
    assert_eq!(front.over(), RunState::Ended);
    assert!(!place.path().join("x").exists());
}

#[test]
fn text_is_written_with_and_without_the_adapter_and_the_run_is_merged_and_exported() {
    let place = TempDir::new().expect("a folder");
    let (out, merged, exported) =
        (place.path().join("run"), place.path().join("merged"), place.path().join("exported"));
    let mut front = Front::open();
    front.start(&RunConfig { batch_size: 8, learning_rate: 3e-2, ..short(&out, 25) });
    assert_eq!(front.over(), RunState::Ended);
    let prompt = demo::examples()[1].prompt.clone();
    let generate_in = |folder: &Path, number, max_tokens| Request::Generate {
        number,
        folder: folder.to_path_buf(),
        prompt: prompt.clone(),
        temperature: 0.0,
        max_tokens,
        seed: 0,
    };
    let generate = |number, max_tokens| generate_in(&out, number, max_tokens);
    front.desk.ask(generate(1, 12));
    let (how, said) = front.task(1);
    assert!(how == TaskEnding::Done && said.contains("tokens/s"), "{said}");
    let side = |front: &Front, wanted: u64, with: bool| -> String {
        let pieces = front.heard.iter().filter_map(|reply| match reply {
            Reply::Text { number, adapted, text, .. } if *number == wanted && *adapted == with => Some(text.as_str()),
            _ => None,
        });
        pieces.collect()
    };
    let done = |front: &Front, wanted: u64| {
        let done = |reply: &&Reply| matches!(reply, Reply::Text { number, done: true, .. } if *number == wanted);
        front.heard.iter().filter(done).count()
    };
    assert_eq!(done(&front, 1), 2);
    assert_ne!(side(&front, 1, true), side(&front, 1, false));
    // Each side is what the program itself says.
    let says = |more: &[&str]| {
        let all = ["generate", "--device", "cpu", "--quiet", "--max-tokens", "12", "--prompt", &prompt];
        let output = agoge(&[&all[..], more].concat());
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let adapted = format!("{prompt}{}\n", side(&front, 1, true));
    assert_eq!(adapted, says(&["--model", "agoge-demo", "--adapter", text(&out)]));
    assert_eq!(format!("{prompt}{}\n", side(&front, 1, false)), says(&["--model", "agoge-demo"]));

    // The model stays for the next prompt. A text that nobody wants any more ends before its last token.
    let heard = front.heard.len();
    front.desk.ask(generate(2, 200));
    front.desk.ask(generate(3, 200));
    front.desk.ask(Request::StopGenerating);
    assert_eq!((front.task(2).1, front.task(3).1), ("stopped".into(), "stopped".into()));
    assert_eq!((done(&front, 2), done(&front, 3)), (2, 2));
    assert!(
        !front.heard[heard..].iter().any(|reply| matches!(reply, Reply::Task { ending: None, .. })),
        "loaded again"
    );

    front.desk.ask(Request::Merge { number: 4, folder: out.clone(), out: merged.clone() });
    let (how, said) = front.task(4);
    assert!(how == TaskEnding::Done && said.contains("844,928 parameters"), "{said}");
    assert_eq!(adapted, says(&["--model", text(&merged)]), "a merged model needs no adapter");
    front.desk.ask(Request::Export { number: 5, folder: out.clone(), format: "sparta".into(), out: exported.clone() });
    let (how, said) = front.task(5);
    assert_eq!(how, TaskEnding::Done, "{said}");
    let trained = |folder: &Path| Adapter::read(folder).expect("an adapter").info.trained_parameters;
    assert_eq!(trained(&exported), trained(&out));
    // What is there already stays as it is, and the folder of a run is no place for a model.
    for (number, to, words) in [(6, &merged, "there is a model in this folder already"), (7, &out, "there is a run")] {
        front.desk.ask(Request::Merge { number, folder: out.clone(), out: to.clone() });
        let (how, said) = front.task(number);
        assert!(how == TaskEnding::Failed && said.contains(words), "{said}");
    }
    // An adapter without its run is used on the model that it names: the program's own, and one that stands beside the
    // config.json of a model.
    let alone = place.path().join("alone");
    std::fs::create_dir(&alone).expect("a folder");
    for name in ["adapter.json", "adapter.safetensors"] {
        std::fs::copy(out.join(name), alone.join(name)).expect("a file");
    }
    for (number, folder) in [(9, &alone), (10, &exported)] {
        front.desk.ask(generate_in(folder, number, 12));
        let (how, said) = front.task(number);
        assert_eq!(how, TaskEnding::Done, "{said}");
        for with in [true, false] {
            assert_eq!(side(&front, number, with), side(&front, 1, with), "{}", folder.display());
        }
    }
    let nowhere = place.path().join("nowhere");
    front.desk.ask(Request::Export { number: 8, folder: nowhere.clone(), format: "peft".into(), out: nowhere });
    assert!(front.task(8).1.contains("not an adapter folder"));
    // The program knows the run as well.
    let told = String::from_utf8(agoge(&["inspect", text(&out)]).stdout).expect("UTF-8");
    assert!(told.contains("base model   agoge-demo"), "{told}");
    let mut base = Pretrained::load(&merged, &ComputeDevice::cpu()).expect("a model");
    assert!(Adapter::read(&out).expect("an adapter").apply(&mut base, &ComputeDevice::cpu()).is_err());
}

#[test]
fn a_run_that_stands_still_is_heard_with_its_best_adapter() {
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let place = TempDir::new().expect("a folder");
        let out = place.path().join("run");
        let mut front = Front::open();
        front.start(&RunConfig { device, eval_steps: 2, ..short(&out, 1_000_000) });
        front.until("a best adapter", |reply| match reply {
            Reply::Event { event } => matches!(**event, Event::Evaluated { best: true, .. }).then_some(()),
            _ => None,
        });
        front.desk.ask(Request::Pause);
        front.state("pause", |state| *state == RunState::Paused);
        // On the same device, by another thread.
        let prompt = "Messenger: Who are you?\nSpartan:".to_owned();
        let (folder, temperature) = (out.clone(), 0.7);
        front.desk.ask(Request::Generate { number: 1, folder, prompt, temperature, max_tokens: 3, seed: 1 });
        let (how, said) = front.task(1);
        assert!(how == TaskEnding::Done && said.starts_with("6 tokens"), "{said}");
        front.desk.ask(Request::Resume);
        front.step(4);
        front.desk.stop();
        assert!(!lock::is_held(&out));
    }
}

#[test]
fn faults_are_found_setting_by_setting() {
    let place = Workplace::new();
    let mut front = Front::open();
    let mut number = 0;
    let mut check = |setup: Setup| {
        number += 1;
        front.desk.ask(Request::Check { number, setup: Box::new(setup) });
        front.until("answer", |reply| match reply {
            Reply::Checked { number: of, faults, facts, .. } if *of == number => Some((faults.clone(), facts.clone())),
            _ => None,
        })
    };
    let plain = |config: RunConfig| Setup { config, ..Setup::default() };
    let good = place.config("out");
    let (faults, facts) = check(plain(good.clone()));
    assert_eq!(faults, []);
    assert_eq!(facts[0], "llama, 17,664 parameters, 2 layers");
    assert!(facts[1].starts_with("23 rows, ") && facts[2].starts_with("validation: 6 rows, "), "{facts:?}");
    assert!(!place.path("out").exists(), "nothing is created");

    place.write("empty/train.jsonl", "");
    place.write("broken/train.jsonl", "{\"text\": \"a b\"}\n{\"text\": ");
    place.write("taken/config.json", "{}");
    place.write("gpt/config.json", "{\"model_type\": \"mamba\"}");
    place.write("file", "x");
    std::fs::create_dir_all(place.path("nomodel")).expect("a folder");
    let list = |items: &[&str]| List(items.iter().map(|&item| item.to_owned()).collect());
    let cases: Vec<(&str, &str, RunConfig)> = vec![
        ("model", "no such folder", RunConfig { model: place.path("nothing"), ..good.clone() }),
        ("model", "no config.json", RunConfig { model: place.path("nomodel"), ..good.clone() }),
        ("model", "mamba", RunConfig { model: place.path("gpt"), ..good.clone() }),
        ("model", "--model is missing", RunConfig { model: PathBuf::new(), ..good.clone() }),
        ("revision", "no revisions", RunConfig { revision: "main".into(), ..good.clone() }),
        ("data", "no file or folder", RunConfig { data: place.path("nothing"), ..good.clone() }),
        ("data", "is empty", RunConfig { data: place.path("empty"), ..good.clone() }),
        ("data", "not valid JSON", RunConfig { data: place.path("broken"), ..good.clone() }),
        ("data", "--data is missing", RunConfig { data: PathBuf::new(), ..good.clone() }),
        ("valid_data", "no file or folder", RunConfig { valid_data: place.path("nothing"), ..good.clone() }),
        ("valid_data", "not valid JSON", RunConfig { valid_data: place.path("broken/train.jsonl"), ..good.clone() }),
        ("out", "a run in this folder", RunConfig { out: place.path("taken"), ..good.clone() }),
        ("out", "there is a model", RunConfig { out: place.path("model"), ..good.clone() }),
        ("out", "is a file", RunConfig { out: place.path("file/out"), ..good.clone() }),
        ("out", "--out is missing", RunConfig { out: PathBuf::new(), ..good.clone() }),
        ("method", "no method", RunConfig { method: "magic".into(), ..good.clone() }),
        ("mask", "no such mask", RunConfig { mask: "magic".into(), ..good.clone() }),
        ("target_modules", "no parameter", RunConfig { target_modules: list(&["x_proj"]), ..good.clone() }),
        ("frozen_modules", "no parameter", RunConfig { frozen_modules: list(&["x_proj"]), ..good.clone() }),
        ("device", "no such device", RunConfig { device: DeviceChoice::Index(99), ..good.clone() }),
        ("max_seq_length", "only 64 positions", RunConfig { max_seq_length: 65, ..good.clone() }),
        ("sample_prompts", "positions", good.with("sample_prompts", &"a".repeat(64)).expect("a setting")),
        ("init_adapter", "", RunConfig { init_adapter: place.path("model"), ..good.clone() }),
        ("batch_size", "at least 1", RunConfig { batch_size: 0, ..good.clone() }),
        ("classes", "", RunConfig { task: agoge::config::Task::Classify, classes: list(&["a"]), ..good.clone() }),
    ];
    for (setting, words, config) in cases {
        let (faults, _) = check(plain(config));
        let found = faults.iter().find(|fault| fault.setting == setting && fault.message.contains(words));
        if setting == "classes" {
            // Rows without labels: whatever is blamed, it is said.
            assert!(!faults.is_empty());
            continue;
        }
        assert!(found.is_some() && faults.len() == 1, "{setting} {words}: {faults:?}");
    }
    // All at once.
    let (faults, _) =
        check(plain(RunConfig { batch_size: 0, beta1: 2.0, data: place.path("nothing"), ..good.clone() }));
    let settings: Vec<&str> = faults.iter().map(|fault| fault.setting.as_str()).collect();
    assert_eq!(settings, ["beta1", "batch_size", "data"]);
    let resumed = Setup { config: good.clone(), resume: true, ..Setup::default() };
    let (faults, _) = check(resumed);
    assert!(faults.iter().all(|fault| fault.setting == "out") && faults.len() == 2, "{faults:?}");
    // The demo needs no paths, and may leave nothing behind.
    let (faults, facts) = check(Setup { config: RunConfig::default(), demo: true, ..Setup::default() });
    assert_eq!(faults, []);
    assert_eq!(facts[0], "llama, 844,928 parameters, 4 layers");
    // A repository that no cache has is no fault: it is fetched when the run starts.
    let (faults, facts) = check(plain(RunConfig { model: "no-such-owner/no-such-name".into(), ..good.clone() }));
    assert!(faults.is_empty() && facts[0].contains("fetched when the run starts"), "{faults:?} {facts:?}");

    // Of many that wait the last one is answered.
    for number in 1000..1050 {
        front.desk.ask(Request::Check { number, setup: Box::new(plain(good.clone())) });
    }
    let before = front.heard.len();
    front.until("the last answer", |reply| matches!(reply, Reply::Checked { number: 1049, .. }).then_some(()));
    assert!(front.heard.len() - before < 40, "{} of 50 were answered", front.heard.len() - before);
    front.desk.ask(Request::Devices);
    let devices = front.until("devices", |reply| match reply {
        Reply::Devices { devices } => Some(devices.clone()),
        _ => None,
    });
    assert_eq!(devices.last().expect("the CPU").choice, "cpu");
}

#[test]
fn large_data_is_known_by_its_first_part() {
    let place = Workplace::new();
    let row = "{\"prompt\": \"a round shield of bronze\", \"completion\": \"is a hoplon\"}\n";
    place.write("large/train.jsonl", &row.repeat(21_000_000 / row.len()));
    let mut front = Front::open();
    let setup = Setup { config: RunConfig { data: place.path("large"), ..place.config("out") }, ..Setup::default() };
    front.desk.ask(Request::Check { number: 1, setup: Box::new(setup) });
    let (faults, facts) = front.until("answer", |reply| match reply {
        Reply::Checked { faults, facts, .. } => Some((faults.clone(), facts.clone())),
        _ => None,
    });
    assert_eq!(faults, []);
    assert!(facts[1].contains(" rows, ") && facts[1].contains("in the first 9.5 % of 21 MB"), "{facts:?}");
}

/// Arguments of a run of another process that does not end by itself.
fn endless(out: &Path) -> Vec<&str> {
    let settings = "--device cpu --batch-size 1 --eval-steps 0 --eval-batches 1 --logging-steps 1 --save-steps 0 \
                    --steps 1000000 --sample-tokens 1 --schedule constant --quiet";
    ["demo", "--out", text(out)].into_iter().chain(settings.split_whitespace()).collect()
}

#[test]
fn a_run_of_another_process_is_followed_told_and_left_alone() {
    let place = TempDir::new().expect("a folder");
    let out = place.path().join("run");
    let mut child = program(&endless(&out)).spawn().expect("the program");
    let mut front = Front::open();
    let tell = |front: &Front, command| front.desk.ask(Request::TellFolder { folder: out.clone(), command });
    tell(&front, Command::Save);
    front.until("a problem, or nobody there to have one", |reply| match reply {
        Reply::Watched { problem: Some(problem), .. } => problem.contains("no process is training").then_some(()),
        _ => None,
    });
    front.desk.ask(Request::Watch { folder: out.clone() });
    let steps = |front: &mut Front, more: usize| {
        let mut seen = 0;
        front.until("steps", |reply| match reply {
            Reply::Watched { events, running: true, .. } => {
                seen += events.iter().filter(|event| matches!(event, Event::Step(_))).count();
                (seen >= more).then_some(())
            }
            _ => None,
        });
    };
    steps(&mut front, 2);

    // Nobody else may write there, this process neither.
    assert!(lock::is_held(&out));
    front.start(&RunConfig { steps: 1, ..short(&out, 1) });
    assert!(matches!(front.over(), RunState::Failed { message } if message.contains("written by another process")));
    let refused = program(&["train", "--resume", text(&out)]).output().expect("the program");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is being written by another process"), "{said}");

    tell(&front, Command::SetLearningRate(5e-5));
    let rate = |event: &Event| matches!(event, Event::Step(metrics) if metrics.learning_rate == Some(5e-5));
    front.until("the new rate", |reply| match reply {
        Reply::Watched { events, .. } => events.iter().any(rate).then_some(()),
        _ => None,
    });
    tell(&front, Command::Pause);
    let begun = Instant::now();
    let last = || metrics_so_far(&out);
    while last() != {
        std::thread::sleep(Duration::from_millis(300));
        last()
    } {
        assert!(begun.elapsed() < PATIENCE, "it does not pause");
    }
    assert!(child.try_wait().expect("a child").is_none());
    tell(&front, Command::Resume);
    let paused_at = last();
    while last() == paused_at {
        assert!(begun.elapsed() < PATIENCE, "it does not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    tell(&front, Command::Stop);
    assert!(child.wait().expect("the program").success());
    front.until("its end", |reply| match reply {
        Reply::Watched { events, running, .. } => {
            (!running || ending(events).is_some_and(|(how, _)| how == Ending::Stopped)).then_some(())
        }
        _ => None,
    });
    let names = std::fs::read_dir(&out).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().starts_with("command")), "commands are read once");

    // A process that is killed leaves no lock, and what it was told last is not read by the next one.
    let mut child = program(&["train", "--quiet", "--resume", text(&out)]).spawn().expect("the program");
    let begun = Instant::now();
    while !lock::is_held(&out) {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("the program");
    assert!(!lock::is_held(&out));
    std::fs::write(out.join("command-1.json"), "{\"command\":\"stop\"}").expect("a command");
    let setup = Setup { config: stored_config(&out).expect("settings"), demo: true, resume: true, overwrite: false };
    let done = metrics_so_far(&out);
    front.desk.ask(Request::Start { setup: Box::new(setup) });
    front.step(done + 3);
    front.desk.stop();
}

/// The last step on disk, where the last line may be half written.
fn metrics_so_far(out: &Path) -> u64 {
    agoge::train::metrics::read(&out.join("metrics.jsonl")).expect("figures").last().map_or(0, |metrics| metrics.step)
}

#[test]
fn a_run_goes_on_without_its_window() {
    let place = TempDir::new().expect("a folder");
    let out = place.path().join("short");
    let front = Front::open();
    front.start(&short(&out, 4));
    let mut last = None;
    let stop = AtomicBool::new(false);
    let state = front.desk.leave_running(&stop, |reply| last = Some(reply.clone()));
    assert_eq!((state, last), (RunState::Ended, Some(Reply::State { state: RunState::Ended })));
    assert_each_step_once(&out, 4);

    // A signal stops and saves it, and a run that stood still does not stand still for ever.
    let out = place.path().join("long");
    let mut front = Front::open();
    front.start(&short(&out, 1_000_000));
    front.step(1);
    front.desk.ask(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    let paused_at = metrics_so_far(&out);
    let state = front.desk.leave_running(&stop, |reply| {
        if matches!(reply, Reply::Event { event } if event.step() > Some(paused_at)) {
            stop.store(true, Ordering::SeqCst);
        }
    });
    assert_eq!(state, RunState::Ended);
    assert!(adapter_tensors(&out).names().count() > 0 && metrics_so_far(&out) > paused_at);
    // Without a run there is nothing to stay for.
    assert_eq!(Front::open().desk.leave_running(&AtomicBool::new(false), |_| {}), RunState::Idle);
}
