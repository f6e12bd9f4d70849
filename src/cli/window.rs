//! `agoge` alone, `agoge watch` and `--window`: the live window with its workers.

use std::{
    cell::RefCell,
    path::PathBuf,
    process::ExitCode,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use clap::Args;

use super::{format::seconds, signals};
use crate::{
    Error, Result, demo,
    event::{
        Event,
        messages::{Reply, RunState, Setup},
    },
    window::{self, Closing, Link, Options, Wake},
    workers::{self, Workers},
};

/// Arguments of `agoge watch`.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Folders of runs, running or over, or folders with such folders in them
    #[arg(value_name = "FOLDER", required = true)]
    folders: Vec<PathBuf>,
}

impl Watch {
    pub(super) fn run(self) -> Result<ExitCode> {
        let mut runs = Vec::new();
        for folder in &self.folders {
            if !folder.is_dir() {
                return Err(Error::input(format!("{}: there is no such folder", folder.display())));
            }
            let mut below = window::runs_in(folder)?;
            if below.is_empty() {
                // A run that is about to begin has no figures yet.
                below.push(folder.clone());
            }
            runs.extend(below);
        }
        open(None, runs)
    }
}

/// Opens the window, with a run to start at once and with runs to look at, and stays in it until it is closed.
///
/// # Errors
/// There is no display.
pub(super) fn open(start: Option<Setup>, watch: Vec<PathBuf>) -> Result<ExitCode> {
    let stop = signals::stop_flag();
    let options = Options {
        runs_folder: runs_folder(),
        demo: demo::config(),
        offers_resume: false,
        choices: workers::choices(),
        method_settings: workers::method_settings(),
        comparisons: workers::comparisons(),
        layouts: workers::layouts(),
        adapter_files: workers::adapter_files(),
        start,
        watch,
        stop: stop.clone(),
    };
    let (workers, line) = connect();
    let waiting = stop.clone();
    let closing = window::open(options, move |wake: Wake| {
        let woken = wake.clone();
        std::thread::spawn(move || {
            while !waiting.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
            }
            woken();
        });
        line(wake)
    })?;
    let Some(workers) = workers.take() else { return Ok(ExitCode::SUCCESS) };
    match closing {
        Closing::LeaveRunning => finish_without(workers, &stop),
        Closing::Stop => {
            if workers.busy() {
                eprintln!("stopping: the step is finished and saved (Ctrl-C to leave at once)");
            }
            workers.stop();
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Workers that are started as soon as there is a window to wake, and the line to them.
pub(super) fn connect() -> (Rc<RefCell<Option<Workers>>>, impl FnOnce(Wake) -> Link) {
    let workers: Rc<RefCell<Option<Workers>>> = Rc::default();
    let held = workers.clone();
    let connect = move |wake: Wake| {
        *held.borrow_mut() = Some(Workers::start(move || wake()));
        let (sender, receiver) = (held.clone(), held);
        Link {
            send: Box::new(move |request| {
                if let Some(workers) = &*sender.borrow() {
                    workers.send(request);
                }
            }),
            receive: Box::new(move || receiver.borrow().as_ref()?.receive()),
            download_folder: None,
        }
    };
    (workers, connect)
}

/// The run to its end, without a window.
fn finish_without(workers: Workers, stop: &AtomicBool) -> Result<ExitCode> {
    eprintln!("the run continues without a window; Ctrl-C stops and saves it");
    let last = workers.leave_running(stop, |reply| {
        if let Reply::Event { event } = reply
            && let Event::Finished { step, elapsed_secs, .. } = &**event
        {
            eprintln!("{step} steps in {}", seconds(*elapsed_secs));
        }
    });
    match last {
        RunState::Failed { message } => Err(Error::Run(message)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Where runs go unless a person says otherwise: `runs` here, or in the home folder where "here" is the root of the
/// disk, as it is for a program that was started from a desktop.
fn runs_folder() -> PathBuf {
    let here = std::env::current_dir().ok().filter(|here| here.parent().is_some());
    match (here, std::env::home_dir()) {
        (None, Some(home)) => home.join("agoge-runs"),
        _ => PathBuf::from("runs"),
    }
}
