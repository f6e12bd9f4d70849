//! The thread that checks settings and lists devices.

use std::sync::{atomic::Ordering, mpsc::Receiver};

use pollster::block_on;

use super::{Shared, Voice, check::check, devices, known::Known};
use crate::{
    device,
    event::messages::{Fault, Reply, Setup},
    panics,
};

/// What this thread is asked for.
pub(super) enum Wish {
    Devices,
    Check { order: u64, number: u64, setup: Box<Setup> },
}

pub(super) fn work(wishes: &Receiver<Wish>, voice: &Voice, shared: &Shared) {
    let mut known = Known::default();
    while let Ok(wish) = wishes.recv() {
        match wish {
            Wish::Devices => {
                // Asked anew: devices come and go.
                let found = panics::guard(|| Ok(block_on(device::list()))).unwrap_or_default();
                voice.say(Reply::Devices { devices: devices::lines(&found) });
                known.devices = Some(found);
            }
            Wish::Check { order, number, setup } => {
                let superseded = || shared.checks.load(Ordering::SeqCst) > order;
                if let Some(reply) = checked(number, &setup, &mut known, &superseded) {
                    voice.say(reply);
                }
            }
        }
    }
}

/// The answer to a check; `None` if a newer one was asked for before it was done.
fn checked(number: u64, setup: &Setup, known: &mut Known, superseded: &dyn Fn() -> bool) -> Option<Reply> {
    match panics::guard(|| Ok(check(setup, known, superseded))) {
        Ok(None) => None,
        Ok(Some(found)) => {
            Some(Reply::Checked { number, faults: found.faults, facts: found.facts, estimate: found.estimate })
        }
        Err(error) => {
            let fault = Fault { setting: String::new(), message: error.to_string() };
            Some(Reply::Checked { number, faults: vec![fault], facts: Vec::new(), estimate: None })
        }
    }
}
