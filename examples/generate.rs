//! Loads a model with an adapter and continues a prompt.
//!
//! ```sh
//! cargo run --release --example generate      # what the example `fine_tune` leaves
//! cargo run --release --example generate path/to/model path/to/adapter "Once upon a time"
//! ```

use std::{io::Write, path::Path};

use agoge::{
    Adapter, DeviceChoice, Files, ModelSource, Pretrained, Result, TextSettings, TextStream, Tokenizer, open_device,
    to_stderr,
};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let (model, adapter) = (argument("agoge-demo"), argument("runs/capitals"));
    let prompt = argument("What is the capital of Laconia?\n");
    pollster::block_on(generate(Path::new(&model), Path::new(&adapter), &prompt))
}

async fn generate(model: &Path, adapter: &Path, prompt: &str) -> Result<()> {
    let adapter = Adapter::read(adapter)?;
    // A folder, the embedded model, or one of the Hugging Face hub, where the library has the feature `hub`.
    let folder = ModelSource::named(model, "")?.folder(Files::All, &to_stderr)?;
    let device = open_device(&DeviceChoice::Auto).await?;
    let mut base = Pretrained::load(&folder, &device)?;
    adapter.apply(&mut base, &device)?;

    let tokenizer = Tokenizer::from_folder(&folder)?;
    let prompt = tokenizer.encode_prompt(prompt)?;
    let settings = TextSettings { max_tokens: 100, ..TextSettings::default() };
    let mut stream = TextStream::new(&base.transformer, &tokenizer, &prompt, settings)?;
    while let Some(text) = stream.next(|| false).await? {
        print!("{text}");
        let _ = std::io::stdout().flush();
    }
    println!();
    Ok(())
}
