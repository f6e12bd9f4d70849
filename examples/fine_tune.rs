//! Fine-tunes a model on prompts and completions, follows the run by its events, and leaves an adapter in a folder.
//!
//! ```sh
//! cargo run --release --example fine_tune              # the model inside the library
//! cargo run --release --example fine_tune path/to/model path/to/rows.jsonl runs/mine
//! ```

use std::path::PathBuf;

use agoge::{
    Error, OpenDevices, Result, Setup, Update,
    config::{Prompts, RunConfig},
    event::Event,
    launch, to_stderr,
};

/// Rows as a file of JSON Lines has them.
const ROWS: &str = r#"{"prompt": "What is the capital of France?\n", "completion": "Paris."}
{"prompt": "What is the capital of Greece?\n", "completion": "Athens."}
{"prompt": "What is the capital of Laconia?\n", "completion": "Sparta."}
"#;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let model = arguments.next().unwrap_or_else(|| "agoge-demo".into());
    let data = match arguments.next() {
        Some(data) => data,
        None => {
            let path = std::env::temp_dir().join("agoge-capitals.jsonl");
            std::fs::write(&path, ROWS).map_err(|e| Error::file("write", &path, e))?;
            path
        }
    };
    // Every setting of `agoge train --help` is a field.
    let config = RunConfig {
        model,
        data,
        out: arguments.next().unwrap_or_else(|| "runs/capitals".into()),
        method: "lora".into(),
        steps: 30,
        learning_rate: 1e-2,
        sample_prompts: Prompts(vec!["What is the capital of Laconia?\n".into()]),
        ..RunConfig::default()
    };
    pollster::block_on(fine_tune(Setup { config, overwrite: true, ..Setup::default() }))
}

async fn fine_tune(setup: Setup) -> Result<()> {
    let mut session = launch(&setup, &OpenDevices::default(), &to_stderr).await?;
    // The run works only while it is polled. `()` has no commands for it; see `Commands` for pausing and stopping.
    while let Some(update) = session.next(&mut ()).await? {
        let Update::Event(event) = update else { continue };
        match event {
            Event::Started(started) => println!(
                "{} of {} parameters are trained, on {}",
                started.trained_parameters, started.total_parameters, started.device
            ),
            Event::Step(metrics) => println!("step {}: loss {:.4}", metrics.step, metrics.loss.unwrap_or(f64::NAN)),
            Event::Sample { step, text, .. } => println!("step {step}: {}", text.trim()),
            Event::Finished { step, elapsed_secs, .. } => println!("{step} steps in {elapsed_secs:.1} s"),
            _ => {}
        }
    }
    Ok(())
}
