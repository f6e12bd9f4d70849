//! `agoge` alone, `agoge watch` and `--window`: the live window with a desk behind it.

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
    desk::{self, Desk},
    event::{
        Event,
        messages::{Reply, RunState, Setup},
    },
    window::{self, Closing, Link, Options, Wake},
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
        offers_to_go_on: false,
        choices: desk::choices(),
        layouts: desk::layouts(),
        adapter_files: desk::adapter_files(),
        start,
        watch,
        stop: stop.clone(),
    };
    let (desk, line) = connect();
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
    let Some(desk) = desk.take() else { return Ok(ExitCode::SUCCESS) };
    match closing {
        Closing::LeaveRunning => rest(desk, &stop),
        Closing::Stop => {
            if desk.busy() {
                eprintln!("stopping: the step is finished and saved (Ctrl-C to leave at once)");
            }
            desk.stop();
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A desk that is opened as soon as there is a window to wake, and the line to it.
pub(super) fn connect() -> (Rc<RefCell<Option<Desk>>>, impl FnOnce(Wake) -> Link) {
    let desk: Rc<RefCell<Option<Desk>>> = Rc::default();
    let held = desk.clone();
    let connect = move |wake: Wake| {
        *held.borrow_mut() = Some(Desk::open(move || wake()));
        let (asks, hears) = (held.clone(), held);
        Link {
            ask: Box::new(move |request| {
                if let Some(desk) = &*asks.borrow() {
                    desk.ask(request);
                }
            }),
            hear: Box::new(move || hears.borrow().as_ref()?.hear()),
            download: None,
        }
    };
    (desk, connect)
}

/// The run to its end, without a window.
fn rest(desk: Desk, stop: &AtomicBool) -> Result<ExitCode> {
    eprintln!("the run goes on without a window; Ctrl-C stops and saves it");
    let last = desk.leave_running(stop, |reply| {
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
