//! The real program: interrupted by SIGTERM and by SIGKILL, and what it writes to its standard streams.

use std::{
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use agoge::{
    device::ComputeDevice,
    event::{Ending, Event},
    method::adapter::Adapter,
    model::Pretrained,
    train::checkpoint,
};

use crate::fixture::{TestFolder, agoge, assert_each_step_once, assert_same, metrics, program, read, read_text, text};

const STEPS: u64 = 400;

/// Arguments of a run of [`STEPS`] short steps.
fn arguments<'a>(model: &'a Path, data: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let settings = "--device cpu --target-modules all-linear --density 0.1 --steps 400 --batch-size 2 --save-steps 10 \
                    --eval-steps 25 --logging-steps 1 --learning-rate 5e-3 --seed 4";
    let paths = ["train", "--model", text(model), "--data", text(data), "--out", text(out)];
    paths.into_iter().chain(settings.split_whitespace()).collect()
}

/// Waits until `metrics.jsonl` has at least `lines` lines. The program must not end before.
fn wait_for_lines(child: &mut Child, out: &Path, lines: usize) {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
        if text.lines().count() >= lines {
            return;
        }
        if let Some(status) = child.try_wait().expect("a child") {
            panic!("the program ended with {status} after {} lines", text.lines().count());
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no {lines} steps in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Every file of a run that was killed can be read.
fn assert_whole(out: &Path, model: &Path) {
    let device = ComputeDevice::cpu();
    for (step, folder) in checkpoint::list(&out.join("checkpoints")) {
        let (progress, state) = checkpoint::read(&folder).expect("a whole checkpoint");
        assert_eq!(progress.step, step);
        assert_eq!(state.names().count(), 28, "deltas and moments of 14 tensors");
    }
    if out.join("adapter.json").exists() {
        let mut base = Pretrained::load(model, &device).expect("a model");
        Adapter::read(out).expect("a whole adapter").apply(&mut base, &device).expect("its own model");
    }
    serde_json::from_str::<agoge::config::RunConfig>(&read_text(&out.join("config.json"))).expect("settings");
    // Only the last line may be cut off.
    let text = read_text(&out.join("metrics.jsonl"));
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    for line in whole.lines() {
        serde_json::from_str::<agoge::event::Metrics>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[cfg(unix)]
#[test]
fn interrupted_runs_end_as_if_nothing_had_happened() {
    let place = TestFolder::new();
    let (model, data) = (place.path("model"), place.path("data"));
    let (straight, stopped, killed) = (place.path("straight"), place.path("stopped"), place.path("killed"));
    agoge(&arguments(&model, &data, &straight));
    let same = |out: &Path| {
        for file in ["adapter.safetensors", "adapter.json", "checkpoints/step-00000400/state.safetensors"] {
            assert!(read(&out.join(file)) == read(&straight.join(file)), "{}: {file}", out.display());
        }
        assert_each_step_once(out, STEPS);
        let figures = |out: &Path| -> Vec<_> {
            metrics(out).into_iter().map(|m| (m.step, m.loss, m.eval_loss, m.grad_norm, m.tokens)).collect()
        };
        assert_eq!(figures(out), figures(&straight));
    };

    // SIGTERM: the step is finished and saved, the program ends well and says how to go on.
    let mut child = program(&arguments(&model, &data, &stopped)).spawn().expect("the program");
    wait_for_lines(&mut child, &stopped, 15);
    let signal = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(signal.expect("kill").success());
    let output = child.wait_with_output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("--resume"), "{} {said}", output.status);
    let done = metrics(&stopped).last().expect("lines").step;
    let (saved, _) = checkpoint::list(&stopped.join("checkpoints")).pop().expect("a checkpoint");
    assert!(saved == done && done < STEPS, "saved at {saved}, stopped at {done}");
    assert_whole(&stopped, &model);
    agoge(&["train", "--quiet", "--resume", text(&stopped)]);
    same(&stopped);

    // SIGKILL, twice: whatever is there is whole, and the run goes on from its last checkpoint.
    for (resumed, lines) in [(false, 27), (true, 190)] {
        let resume = ["train", "--quiet", "--resume", text(&killed)];
        let first = arguments(&model, &data, &killed);
        let mut child = program(if resumed { &resume } else { &first }).spawn().expect("the program");
        wait_for_lines(&mut child, &killed, lines);
        child.kill().expect("SIGKILL");
        assert!(!child.wait().expect("the program").success(), "it was killed before its end");
        assert_whole(&killed, &model);
    }
    agoge(&["train", "--quiet", "--resume", text(&killed)]);
    same(&killed);
}

#[test]
fn json_output_is_the_events() {
    let place = TestFolder::new();
    let (model, data, out) = (place.path("model"), place.path("data"), place.path("out"));
    let mut all = arguments(&model, &data, &out);
    let at = all.iter().position(|argument| *argument == "400").expect("the steps");
    all[at] = "12";
    all.extend(["--json", "--sample-prompts", "a round|bronze", "--sample-tokens", "5"]);
    let output = agoge(&all);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let events: Vec<Event> = said
        .lines()
        .map(|line| {
            let event = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            assert_same(&serde_json::to_value(&event).expect("JSON"), &serde_json::from_str(line).expect("JSON"));
            event
        })
        .collect();
    assert!(matches!(&events[0], Event::Started(started) if started.trained_parameters == 1536 && started.steps == 12));
    assert!(matches!(&events[1], Event::Data { report } if report.train.rows == 23));
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Step(_))).count(), 12);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Evaluated { .. })).count(), 2);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Sample { .. })).count(), 4);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Saved { .. })).count(), 2);
    assert!(matches!(events.last(), Some(Event::Finished { ending: Ending::Completed, step: 12, .. })));
}

#[test]
fn quiet_says_nothing() {
    let place = TestFolder::new();
    let (model, data, out) = (place.path("model"), place.path("data"), place.path("out"));
    let mut all = arguments(&model, &data, &out);
    let at = all.iter().position(|argument| *argument == "400").expect("the steps");
    all[at] = "3";
    all.push("--quiet");
    let output = agoge(&all);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    assert_each_step_once(&out, 3);
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn without_a_display_the_window_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().to_str().expect("UTF-8");
    for arguments in [&[][..], &["watch", folder][..]] {
        let mut command = program(arguments);
        ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"].into_iter().for_each(|name| {
            command.env_remove(name);
        });
        let output = command.output().expect("the program");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.starts_with("error: there is no display"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// Files are as private, or as shared, as the user asks all programs to make them.
#[cfg(unix)]
#[test]
fn files_are_made_under_the_umask() {
    use std::os::unix::fs::PermissionsExt;

    fn below(folder: &Path, found: &mut Vec<(std::path::PathBuf, u32)>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let metadata = std::fs::metadata(&path).expect("metadata");
            found.push((path.clone(), metadata.permissions().mode() & 0o777));
            if metadata.is_dir() {
                below(&path, found);
            }
        }
    }

    let place = TestFolder::new();
    for (umask, file, folder) in [("077", 0o600, 0o700), ("002", 0o664, 0o775)] {
        let config = place.config(&format!("out-{umask}"));
        let script = format!(
            "umask {umask}; exec {} train --quiet --device cpu --steps 2 --model {} --data {} --out {}",
            env!("CARGO_BIN_EXE_agoge"),
            text(&config.model),
            text(&config.data),
            text(&config.out)
        );
        let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut found = Vec::new();
        below(&config.out, &mut found);
        assert!(found.len() >= 8, "{found:?}");
        for (path, mode) in found {
            let expected = if path.is_dir() { folder } else { file };
            assert_eq!(mode, expected, "{:o} of {} under {umask}", mode, path.display());
        }
    }
}
