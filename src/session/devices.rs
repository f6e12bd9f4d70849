//! Devices that are open, each once: what a driver gives for one is not given back until the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    Result,
    device::{self, ComputeDevice, DeviceChoice, DeviceFacts},
    event::messages::DeviceLine,
};

/// Opened devices by what was asked for.
#[derive(Clone, Default)]
pub struct OpenDevices(Arc<Mutex<BTreeMap<String, ComputeDevice>>>);

impl OpenDevices {
    /// The device that `choice` means, opened where it is not yet.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub async fn open(&self, choice: &DeviceChoice) -> Result<ComputeDevice> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&choice.to_string()).cloned();
        if let Some(device) = known {
            return Ok(device);
        }
        let device = device::open(choice).await?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(choice.to_string(), device.clone());
        Ok(device)
    }

    /// Forgets all of them: one has failed, and the next use opens it anew.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Devices as a person chooses among them.
pub fn lines(devices: &[DeviceFacts]) -> Vec<DeviceLine> {
    let line = |facts: &DeviceFacts| DeviceLine {
        choice: if facts.kind == device::Kind::Cpu { "cpu".into() } else { facts.index.to_string() },
        name: format!("{} ({}, {})", facts.name, facts.kind, facts.backend),
    };
    devices.iter().map(line).collect()
}
