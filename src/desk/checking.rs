//! The worker that checks settings and lists devices.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Shared, Voice,
    check::check,
    devices,
    known::Known,
    worker::{Ear, attempt},
};
use crate::{
    device,
    event::messages::{Fault, Reply, Setup},
};

/// What this worker is asked for.
pub(super) enum Wish {
    Devices,
    Check { order: u64, number: u64, setup: Box<Setup> },
}

pub(super) async fn work(wishes: Ear<Wish>, voice: Voice, shared: Arc<Shared>) {
    let mut known = Known::default();
    while let Some(wish) = wishes.next().await {
        match wish {
            Wish::Devices => {
                // Asked anew: devices come and go.
                let found = attempt(async { Ok(device::list().await) }).await.flatten().unwrap_or_default();
                voice.say(Reply::Devices { devices: devices::lines(&found) });
                known.devices = Some(found);
            }
            Wish::Check { order, number, setup } => {
                let superseded = || shared.checks.load(Ordering::SeqCst) > order;
                if let Some(reply) = checked(number, &setup, &mut known, &superseded).await {
                    voice.say(reply);
                }
            }
        }
    }
}

/// The answer to a check; `None` if a newer one was asked for before it was done.
async fn checked(number: u64, setup: &Setup, known: &mut Known, superseded: &dyn Fn() -> bool) -> Option<Reply> {
    match attempt(async { Ok(check(setup, known, superseded).await) }).await.flatten() {
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
