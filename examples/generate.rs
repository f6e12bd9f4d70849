//! Loads a model with an adapter and continues a prompt.
//!
//!     cargo run --release --example generate      # what the example `fine_tune` leaves
//!     cargo run --release --example generate path/to/model path/to/adapter "Once upon a time"

use std::{io::Write, path::Path};

use agoge::{
    Result,
    data::{StreamDecoder, Tokenizer},
    demo,
    device::{self, DeviceChoice},
    hub::Wanted,
    method::{adapter::Adapter, stack::fold_for_good},
    model::{Pretrained, generate::Generation, sample::Sampling},
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
    let folder = demo::locate(&Wanted::whole(model))?.folder;
    let device = device::open(&DeviceChoice::Auto).await?;
    let mut base = Pretrained::load(&folder, &device)?;
    fold_for_good(&[(&adapter, 1.0)], &mut base, &device)?;

    let tokenizer = Tokenizer::from_folder(&folder)?;
    let prompt = tokenizer.encode_prompt(prompt)?;
    let mut generation = Generation::new(&base.transformer, &prompt, Sampling::default(), tokenizer.eos_ids(), 0)?;
    let mut decoder = StreamDecoder::new(&tokenizer, &prompt, true);
    for _ in 0..100 {
        let Some(id) = generation.next().await? else { break };
        print!("{}", decoder.push(id)?.unwrap_or_default());
        let _ = std::io::stdout().flush();
    }
    println!("{}", decoder.finish()?.unwrap_or_default());
    Ok(())
}
