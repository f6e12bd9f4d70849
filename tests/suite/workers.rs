//! The workers from their front end's side: whole runs of the embedded model on the CPU device, and runs of other processes.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use agoge::{
    config::RunConfig,
    event::{
        Command, Ending, Event,
        messages::{Reply, Request, RunState, Setup},
    },
    source::embedded,
    train::{event_log, folder::stored_config, lock},
};
use tempfile::TempDir;

use crate::{
    fixture::{adapter_tensors, assert_each_step_once, metrics, program, read, read_text, text},
    front_end::{Front, PATIENCE, assert_same_events, ending, short, watched},
};

#[test]
fn a_run_is_told_in_order_and_recorded_as_it_is_told() {
    let place = TempDir::new().expect("a folder");
    let out = place.path().join("run");
    let mut front = Front::open();
    front.workers.send(Request::Watch { folder: out.clone() });
    let nothing = front.until("news", |reply| match reply {
        Reply::Watched { problem, running, .. } => Some((problem.clone(), *running)),
        _ => None,
    });
    assert!(nothing.0.is_some_and(|problem| problem.contains("no record of a run")) && !nothing.1);

    let config = RunConfig { eval_steps: 2, save_steps: 2, ..short(&out, 4) };
    front.start(&config);
    assert!(front.workers.busy());
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
        .replies
        .iter()
        .filter_map(|reply| if let Reply::State { state } = reply { Some(state) } else { None })
        .collect();
    assert!(matches!(states[0], RunState::Preparing { what } if what.contains("device")), "{states:?}");
    assert_eq!(states[states.len() - 2..], [&RunState::Running, &RunState::Ended]);
    // Every reply wakes the front end; the call comes behind the reply.
    let begun = Instant::now();
    while front.workers.busy() || front.woken.load(Ordering::SeqCst) < front.replies.len() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }

    // Watched while it ran, and now that it is over.
    let mut live = Vec::new();
    for reply in &front.replies {
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
    other.workers.send(Request::Watch { folder: out.clone() });
    assert_same_events(&watched(&mut other, &out), &events);
    assert!(other.replies.iter().all(|reply| matches!(reply, Reply::Watched { running: false, .. })));
    // Asked for again it comes again.
    other.workers.send(Request::Watch { folder: out.clone() });
    let again = other.until("news", |reply| match reply {
        Reply::Watched { events, anew, .. } => Some((events.len(), *anew)),
        _ => None,
    });
    assert_eq!(again, (events.len(), true));
}

#[test]
fn a_run_pauses_is_told_things_and_continues_in_other_workers() {
    let place = TempDir::new().expect("a folder");
    let (out, straight) = (place.path().join("parts"), place.path().join("straight"));
    let steps = 60;
    let mut front = Front::open();
    front.start(&short(&out, steps));
    front.step(3);
    front.workers.send(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    let paused_at = metrics(&out).last().expect("steps").step;
    assert!(paused_at < steps, "too late to see a pause");
    std::thread::sleep(Duration::from_millis(400));
    assert!(front.workers.receive().is_none(), "a paused run says nothing");
    assert_eq!(metrics(&out).last().expect("steps").step, paused_at, "and does nothing");
    front.workers.send(Request::Resume);
    front.state("going on", |state| *state == RunState::Running);
    front.step(paused_at + 2);
    front.workers.send(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    // It can be stopped where it stands, and is saved there.
    front.workers.send(Request::Tell { command: Command::Stop });
    assert_eq!(front.over(), RunState::Ended);
    let (how, stopped_at) = ending(&front.events()).expect("an ending");
    assert!(how == Ending::Stopped && stopped_at < steps, "{how:?} at {stopped_at}");
    front.workers.stop();

    let stored = stored_config(&out).expect("settings");
    assert!(embedded::is_embedded(&stored.model) && embedded::is_embedded(&stored.data));
    let mut front = Front::open();
    let setup = Setup { config: stored, demo: true, resume: true, overwrite: false };
    let changed = RunConfig { seed: 9, ..setup.config.clone() };
    front.workers.send(Request::Start { setup: Box::new(Setup { config: changed, ..setup.clone() }) });
    assert!(matches!(front.over(), RunState::Failed { message } if message.contains("--seed cannot be changed")));
    front.workers.send(Request::Start { setup: Box::new(setup) });
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
    // After the first step nothing is reported: commands are received all the same.
    front.start(&RunConfig { logging_steps: 1_000_000, ..short(&out, 1_000_000) });
    front.step(1);
    front.workers.send(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    front.workers.send(Request::Tell { command: Command::SetLearningRate(3e-4) });
    front.workers.send(Request::Tell { command: Command::SetLearningRate(f64::NAN) });
    front.workers.send(Request::Resume);
    front.state("going on", |state| *state == RunState::Running);
    front.workers.send(Request::Tell { command: Command::Save });
    let saved = |reply: &Reply| match reply {
        Reply::Event { event } => matches!(**event, Event::Saved { .. }).then_some(()),
        _ => None,
    };
    front.until("checkpoint", saved);
    // Another start while it runs changes nothing.
    front.start(&short(&place.path().join("other"), 1));
    front.state("the same state", |state| *state == RunState::Running);
    front.workers.stop();
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
    front.workers.send(Request::Watch { folder: out.clone() });
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
    let tell = |front: &Front, command| front.workers.send(Request::TellFolder { folder: out.clone(), command });
    tell(&front, Command::Save);
    front.until("a problem, or nobody there to have one", |reply| match reply {
        Reply::Watched { problem: Some(problem), .. } => problem.contains("no process is training").then_some(()),
        _ => None,
    });
    front.workers.send(Request::Watch { folder: out.clone() });
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

    // A process that is killed leaves no lock, and a command that it left unread is not obeyed by the next one.
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
    front.workers.send(Request::Start { setup: Box::new(setup) });
    front.step(done + 3);
    front.workers.stop();
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
    let state = front.workers.leave_running(&stop, |reply| last = Some(reply.clone()));
    assert_eq!((state, last), (RunState::Ended, Some(Reply::State { state: RunState::Ended })));
    assert_each_step_once(&out, 4);

    // A signal stops and saves it, and a run that stood still does not stand still for ever.
    let out = place.path().join("long");
    let mut front = Front::open();
    front.start(&short(&out, 1_000_000));
    front.step(1);
    front.workers.send(Request::Pause);
    front.state("pause", |state| *state == RunState::Paused);
    let paused_at = metrics_so_far(&out);
    let state = front.workers.leave_running(&stop, |reply| {
        if matches!(reply, Reply::Event { event } if event.step() > Some(paused_at)) {
            stop.store(true, Ordering::SeqCst);
        }
    });
    assert_eq!(state, RunState::Ended);
    assert!(adapter_tensors(&out).names().count() > 0 && metrics_so_far(&out) > paused_at);
    // Without a run there is nothing to stay for.
    assert_eq!(Front::open().workers.leave_running(&AtomicBool::new(false), |_| {}), RunState::Idle);
}
