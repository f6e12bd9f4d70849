//! One model with and without its adapters: merged into its weights in place, and unmerged again bit for bit.

use std::path::Path;

use super::{adapter::Adapter, stack::AdapterStack};
use crate::{Result, device::ComputeDevice, model::Pretrained};

/// Adapters that are on or off.
#[derive(Debug)]
pub struct SwitchableAdapters {
    adapters: Vec<(Adapter, f32)>,
    /// What it takes to unmerge them, while the model answers with them.
    stack: Option<AdapterStack>,
    device: ComputeDevice,
}

impl SwitchableAdapters {
    /// Merges the adapters into the model.
    ///
    /// # Errors
    /// Another base model, or values that do not fit.
    pub fn apply(adapters: Vec<(Adapter, f32)>, base: &mut Pretrained, device: ComputeDevice) -> Result<Self> {
        let mut switchable = Self { adapters, stack: None, device };
        if !switchable.is_empty() {
            switchable.toggle(base)?;
        }
        Ok(switchable)
    }

    /// The adapters, with their weights.
    pub fn adapters(&self) -> &[(Adapter, f32)] {
        &self.adapters
    }

    /// Whether there are no adapters at all.
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty()
    }

    /// Whether the model answers with the adapters.
    pub fn on(&self) -> bool {
        self.stack.is_some()
    }

    /// Names of the adapters' folders, with their weights where these are not 1.
    pub fn name(&self) -> String {
        let name = |(adapter, weight): &(Adapter, f32)| {
            let folder = adapter.folder.file_name().map_or_else(|| "adapter".into(), |name| name.to_string_lossy());
            if *weight == 1.0 { folder.into_owned() } else { format!("{folder}:{weight}") }
        };
        self.adapters.iter().map(name).collect::<Vec<_>>().join(" + ")
    }

    /// Unmerges the adapters, or merges them again.
    ///
    /// # Errors
    /// Values that do not fit; the model is then without adapters.
    pub fn toggle(&mut self, base: &mut Pretrained) -> Result<()> {
        match self.stack.take() {
            Some(stack) => stack.unmerge(&mut base.transformer),
            None => {
                let adapters: Vec<_> = self.adapters.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
                self.stack = Some(AdapterStack::merge(&adapters, base, &self.device)?);
            }
        }
        Ok(())
    }

    /// Has the model answer with the adapters, or without them.
    ///
    /// # Errors
    /// As [`Self::toggle`].
    pub fn turn(&mut self, on: bool, base: &mut Pretrained) -> Result<()> {
        if self.on() == on { Ok(()) } else { self.toggle(base) }
    }

    /// Puts the adapter in `folder` in the place of those there are. If it does not fit, nothing changes.
    ///
    /// # Errors
    /// No adapter there, or one that does not fit.
    pub fn switch(&mut self, folder: &Path, base: &mut Pretrained) -> Result<()> {
        let adapter = Adapter::read(folder)?;
        adapter.check_base(base)?;
        adapter.changes(&base.transformer)?;
        self.turn(false, base)?;
        self.adapters = vec![(adapter, 1.0)];
        self.toggle(base)
    }
}
