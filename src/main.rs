//! The program: parse the command line, hand over, and turn every failure into one sentence.

use std::process::ExitCode;

use agoge::cli::{self, Cli};

fn main() -> ExitCode {
    quiet_graphics_loader();
    cli::keep_freed_memory();
    let cli = Cli::read();
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

/// Without a desktop session Mesa writes an "error" about a missing runtime folder, which computing does not need.
fn quiet_graphics_loader() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}
