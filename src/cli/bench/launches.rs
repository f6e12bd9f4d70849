//! How many shaders a step launches, as the layer below logs them. The log is switched on for a whole process, so a child of
//! this program counts; what is timed stays without it.

use std::{process::Command, time::Duration};

use crate::{Error, Result};

/// Where the child logs, in its working folder.
const LOG: &str = "launches.log";
/// What a launch's line begins with.
const LINE: &str = "Executing ";
/// The log is written by a thread of its own: it is whole once it has not grown for this long.
const SETTLED: Duration = Duration::from_millis(300);

/// Runs this program with `arguments` in a folder where launches are logged, and returns the number that it prints.
pub(super) fn counted_by_child(arguments: &[String]) -> Result<usize> {
    let failed = |why: String| Error::Run(format!("counting launches: {why}"));
    let folder = tempfile::tempdir().map_err(|e| failed(e.to_string()))?;
    let settings = format!("[profiling.logger]\nlevel = \"minimal\"\nfile = \"{LOG}\"\n");
    std::fs::write(folder.path().join("cubecl.toml"), settings).map_err(|e| failed(e.to_string()))?;
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let output = Command::new(program).args(arguments).current_dir(folder.path()).output();
    let output = output.map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().map_err(|_| failed(format!("the child printed {:?}", printed.trim())))
}

/// Launches so far, in the child.
pub(super) fn so_far() -> Result<usize> {
    let read = || std::fs::read_to_string(LOG).map_err(|e| Error::Run(format!("{LOG}: {e}")));
    let mut log = read()?;
    loop {
        std::thread::sleep(SETTLED);
        let now = read()?;
        if now.len() == log.len() {
            return Ok(now.lines().filter(|line| line.starts_with(LINE)).count());
        }
        log = now;
    }
}
