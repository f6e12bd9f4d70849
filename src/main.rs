//! The program: parse the command line, hand over, and turn every failure into one sentence.

use std::process::ExitCode;

use agoge::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::panics::install();
    match std::panic::catch_unwind(|| cli::dispatch(cli)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("error: {}", cli::panics::sentence());
            ExitCode::from(70)
        }
    }
}
