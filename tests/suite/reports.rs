//! What a run reports of its time and its memory.

use std::{path::PathBuf, time::Instant};

use agoge::{
    config::RunConfig,
    device::ComputeDevice,
    event::{Event, Metrics},
    format::bytes,
    train::run::Turn,
};
use pollster::block_on;

use crate::{
    fixture::{TestFolder, agoge, metrics, start, text, train},
    support::{devices, gpu},
};

fn step_metrics(events: &[Event]) -> Vec<Metrics> {
    let of = |event: &Event| match event {
        Event::Step(metrics) => Some(metrics.clone()),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn each_step_has_its_own_time_and_the_speed_is_the_present_one() {
    let place = TestFolder::new();
    for device in devices() {
        let out = format!("out-{}", device.facts.backend);
        let config = RunConfig { steps: 14, logging_steps: 4, eval_steps: 7, ..place.config(&out) };
        let events = train(&config, &device).1;
        let figures = step_metrics(&events);
        assert_eq!(figures.len(), 14);
        let times: Vec<f64> = figures.iter().map(|metrics| metrics.elapsed_secs).collect();
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
        if device.is_cpu() {
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "each step ends at a time of its own: {times:?}");
        }
        // Read together: step 1, and then up to each fourth step, evaluation and the end.
        let (mut before, mut first) = ((0, 0.0), 0);
        for last in [1, 4, 7, 8, 12, 14] {
            let end = &figures[last - 1];
            let (tokens, secs) = (end.tokens - before.0, end.elapsed_secs - before.1);
            let count = last - first;
            for metrics in &figures[first..last] {
                let speed = tokens as f64 / secs;
                assert!((metrics.tokens_per_sec / speed - 1.0).abs() < 1e-9, "step {}", metrics.step);
                let left = secs / count as f64 * (14 - metrics.step) as f64;
                assert!((metrics.remaining_secs - left).abs() <= 1e-9 * left, "step {}", metrics.step);
            }
            (before, first) = ((end.tokens, end.elapsed_secs), last);
        }
        // Evaluations come at the time of the step before them, and do not count.
        let mut latest = 0.0;
        for event in &events {
            if let Event::Step(metrics) | Event::Evaluated { metrics, .. } = event {
                assert!(metrics.elapsed_secs >= latest, "step {}", metrics.step);
                latest = metrics.elapsed_secs;
            }
        }
    }
}

#[test]
fn assembling_the_batches_counts_as_training() {
    let place = TestFolder::new();
    // So many short rows that putting them in order takes longer than the steps.
    let data = place.write("many.txt", &"so many words in a row ".repeat(60_000));
    let config = RunConfig {
        data,
        out: PathBuf::new(),
        max_seq_length: 2,
        batch_size: 1,
        steps: 2,
        eval_steps: 0,
        ..place.config("")
    };
    let mut run = start(&config, &ComputeDevice::cpu(), false);
    let (mut wall, mut training) = (0.0, false);
    let elapsed = loop {
        let begun = Instant::now();
        let turn = block_on(run.turn()).expect("no failure");
        match turn {
            Turn::Worked if training => wall += begun.elapsed().as_secs_f64(),
            Turn::Event(Event::Data { .. }) => training = true,
            Turn::Event(Event::Finished { elapsed_secs, .. }) => break elapsed_secs,
            _ => {}
        }
    };
    assert!(elapsed > 0.8 * wall && elapsed <= wall, "{elapsed} s of {wall} s");
}

/// In a process of its own: the memory of a device is that of all its users.
#[test]
fn the_memory_of_a_gpu_run_is_that_inside_its_steps() {
    gpu();
    let place = TestFolder::new();
    let config = place.config("out");
    let settings = "--device gpu --steps 6 --logging-steps 3 --batch-size 16 --eval-steps 0 --method full";
    let paths = ["train", "--model", text(&config.model), "--data", text(&config.data), "--out", text(&config.out)];
    let output = agoge(&paths.into_iter().chain(settings.split_whitespace()).collect::<Vec<_>>());
    let shown = String::from_utf8(output.stderr).expect("UTF-8");
    let parameters = 4 * 17_664;
    let figures: Vec<Metrics> = metrics(&config.out).into_iter().filter(|metrics| metrics.loss.is_some()).collect();
    for metrics in &figures {
        let (used, held) = (metrics.memory_in_use_bytes, metrics.memory_reserved_bytes);
        // Weights, two moments and the gradients; between two steps there are no gradients.
        assert!(2 * used > 7 * parameters && held >= used, "step {}: {used} of {held} bytes", metrics.step);
    }
    // What a person sees is what the allocator holds.
    let first = format!("{} held", bytes(figures[0].memory_reserved_bytes));
    assert!(shown.lines().any(|line| line.contains("step ") && line.contains(&first)), "{first}: {shown}");
}
