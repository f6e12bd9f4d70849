//! The worker that checks settings and lists devices.

use std::sync::{Arc, atomic::Ordering};

use super::{
    cache::Cache,
    check::{Found, check},
    shared::Shared,
    worker::{Replies, Requests, attempt},
};
use crate::{
    device,
    event::messages::{Reply, Setup},
    session::lines,
};

/// What this worker is asked for.
pub(super) enum CheckRequest {
    Devices,
    Check { order: u64, number: u64, setup: Box<Setup> },
}

pub(super) async fn work(requests: Requests<CheckRequest>, replies: Replies, shared: Arc<Shared>) {
    let mut cache = Cache::default();
    while let Some(request) = requests.next().await {
        match request {
            CheckRequest::Devices => {
                // Asked anew: devices come and go.
                let found = attempt(async { Ok(device::list().await) }).await.flatten().unwrap_or_default();
                replies.send(Reply::Devices { devices: lines(&found) });
                cache.devices = Some(found);
            }
            CheckRequest::Check { order, number, setup } => {
                let superseded = || shared.checks.load(Ordering::SeqCst) > order;
                let found = match attempt(async { Ok(check(&setup, &mut cache, &superseded).await) }).await.flatten() {
                    Ok(None) => continue,
                    Ok(Some(found)) => found,
                    Err(error) => {
                        let mut found = Found::default();
                        found.faults.blame("", &error);
                        found
                    }
                };
                let Found { faults, facts, estimate } = found;
                replies.send(Reply::Checked { number, faults: faults.0, facts, estimate });
            }
        }
    }
}
