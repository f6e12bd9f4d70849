//! What the checks have read already: a person changes one setting at a time, and model and data stay the same.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::SystemTime,
};

use crate::{
    Result,
    data::{DataFiles, DataReport, DataSettings, Tokenizer},
    device::{self, DeviceFacts},
    model::{Architecture, pretrained::read_architecture},
    storage,
    train::estimate::Rows,
};

/// Length and time of change of a file; nothing where there is none.
pub(super) type Stamp = Option<(u64, SystemTime)>;

/// What was read last.
#[derive(Default)]
pub(super) struct Cache {
    /// The devices of this machine.
    pub devices: Option<Vec<DeviceFacts>>,
    model: Option<CachedModel>,
    data: Option<CachedData>,
}

/// A model folder without its weights.
#[derive(Clone)]
pub(super) struct CachedModel {
    folder: PathBuf,
    stamps: Vec<Stamp>,
    /// What `config.json` describes.
    pub architecture: Architecture,
    /// Its tokenizer.
    pub tokenizer: Rc<Tokenizer>,
}

/// How data was understood.
#[derive(Clone, PartialEq)]
struct DataKey {
    settings: DataSettings,
    files: DataFiles,
    stamps: Vec<Stamp>,
    model: (PathBuf, Vec<Stamp>),
}

struct CachedData {
    key: DataKey,
    summary: DataSummary,
}

/// What a look at the data found.
#[derive(Clone)]
pub(super) struct DataSummary {
    /// The report, and the share of the training file that it is about (1: of all of it, and of the validation file).
    pub report: Option<(DataReport, f64)>,
    /// The rows, as far as memory is concerned.
    pub rows: Option<Rows>,
    /// Bytes of the training file.
    pub bytes: u64,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The largest token id.
    pub max_id: u32,
}

impl Cache {
    /// The devices of this machine.
    pub(super) async fn devices(&mut self) -> &[DeviceFacts] {
        if self.devices.is_none() {
            self.devices = Some(device::list().await);
        }
        self.devices.as_deref().unwrap_or_default()
    }

    /// The model in a folder.
    pub(super) fn model(&mut self, folder: &Path) -> Result<CachedModel> {
        let names = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
        let stamps: Vec<Stamp> = names.iter().map(|name| stamp(&folder.join(name))).collect();
        if let Some(known) = self.model.as_ref().filter(|known| known.folder == folder && known.stamps == stamps) {
            return Ok(known.clone());
        }
        let (_, architecture) = read_architecture(folder)?;
        let tokenizer = Rc::new(Tokenizer::from_folder(folder)?);
        let model = CachedModel { folder: folder.to_path_buf(), stamps, architecture, tokenizer };
        self.model = Some(model.clone());
        Ok(model)
    }

    /// What `look` finds in the data, which is only asked where it may have changed.
    pub(super) fn data(
        &mut self,
        settings: &DataSettings,
        files: &DataFiles,
        model: &CachedModel,
        look: impl FnOnce() -> Result<DataSummary>,
    ) -> Result<DataSummary> {
        let paths = [Some(&files.train), files.valid.as_ref()];
        let key = DataKey {
            settings: settings.clone(),
            files: files.clone(),
            stamps: paths.into_iter().flatten().map(|path| stamp(path)).collect(),
            model: (model.folder.clone(), model.stamps.clone()),
        };
        if let Some(known) = self.data.as_ref().filter(|known| known.key == key) {
            return Ok(known.summary.clone());
        }
        let summary = look()?;
        self.data = Some(CachedData { key, summary: summary.clone() });
        Ok(summary)
    }
}

fn stamp(path: &Path) -> Stamp {
    storage::stamp(path).ok()
}
