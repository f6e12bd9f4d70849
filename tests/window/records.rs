//! The window on folders of runs, read by the real workers: complete records, and damaged ones.

use std::{io::Write, path::Path, time::Duration};

use agoge::{event::Event, rng::Stream, window::Status};
use egui_kittest::kittest::Queryable;

use crate::{
    runs::open,
    scripted::{events, finished},
};

/// Writes the events of a run into `folder`, as the run itself does.
fn record(folder: &Path, events: &[Event]) {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut files = [String::new(), String::new()];
    for event in events {
        let (file, line) = match event {
            Event::Step(metrics) | Event::Evaluated { metrics, .. } => (0, serde_json::to_string(metrics)),
            other => (1, serde_json::to_string(other)),
        };
        files[file] += &(line.expect("JSON") + "\n");
    }
    std::fs::write(folder.join("metrics.jsonl"), &files[0]).expect("a file");
    std::fs::write(folder.join("events.jsonl"), &files[1]).expect("a file");
}

#[test]
fn recorded_runs_are_found_and_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("sparta"), folder.path().join("lora"));
    for (folder, method, low) in [(&first, "sparta", 1.1), (&second, "lora", 1.2)] {
        let mut events = events(method, 1_345_150, 200, (3.2, low));
        events.push(finished(200));
        record(folder, &events);
    }
    let mut window = open(&[], true, &[&first, &second]);
    window.until("both records", |harness| {
        let runs = harness.state().runs();
        runs.len() == 2
            && runs.iter().all(|run| matches!(run.status, Status::Over(_)) && run.steps.positions.len() == 200)
    });
    window.click("Compare");
    assert_eq!(window.harness.query_all_by_label("1,345,150 (1.00 %)").count(), 2);
    let top = |name: &str| {
        window
            .harness
            .query_all_by_label(name)
            .map(|node| node.rect())
            .filter(|rect| rect.left() > 250.0)
            .map(|rect| rect.top())
            .fold(f32::INFINITY, f32::min)
    };
    assert!(top("sparta") < top("lora"), "the better one comes first");
}

#[test]
fn random_bytes_in_a_record_never_stop_the_window() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = folder.path().join("damaged");
    let events = events("sparta", 1_345_150, 50, (3.2, 1.1));
    record(&run, &events);
    let mut window = open(&[], true, &[&run]);
    window.until("the record", |harness| harness.state().runs().iter().any(|run| run.steps.positions.len() == 50));
    let mut stream = Stream::new(7, "damage");
    let line = serde_json::to_string(&events[10]).expect("JSON");
    let append = |name: &str, bytes: &[u8]| {
        let mut file = std::fs::OpenOptions::new().append(true).open(run.join(name)).expect("the record");
        file.write_all(bytes).expect("written");
    };
    for round in 0..400 {
        let name = if round % 3 == 0 { "events.jsonl" } else { "metrics.jsonl" };
        let mut bytes: Vec<u8> = (0..25).map(|_| (stream.unit() * 256.0) as u8).collect();
        match round % 4 {
            // Half a line, a line with one wrong byte, an end of line in the middle.
            1 => bytes = line.as_bytes()[..(stream.unit() * line.len() as f64) as usize].to_vec(),
            2 => {
                bytes = line.clone().into_bytes();
                let at = (stream.unit() * bytes.len() as f64) as usize;
                bytes[at] = (stream.unit() * 256.0) as u8;
                bytes.push(b'\n');
            }
            3 => bytes.push(b'\n'),
            _ => {}
        }
        append(name, &bytes);
        window.harness.step();
        if round % 20 == 0 {
            std::thread::sleep(Duration::from_millis(60));
        }
    }
    // A complete line after all that is still read.
    let last = r#"{"step":9000,"loss":1.5,"tokens":1,"tokens_per_sec":1.0,"elapsed_secs":1.0,"remaining_secs":0.0,"memory_in_use_bytes":1,"memory_reserved_bytes":1}"#;
    append("metrics.jsonl", format!("\n{last}\n").as_bytes());
    window.until("the line after the damage", |harness| harness.state().runs()[0].step() >= 9000);
}
