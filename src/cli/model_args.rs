//! A base model, perhaps with adapters, as the command line names it.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;

use crate::{
    Error, Result,
    config::{Quantize, WeightsDtype},
    device::{self, ComputeDevice, DeviceChoice},
    kernel::Packing,
    method::{
        adapter::Adapter,
        stack::{Overlap, merge_for_good},
    },
    model::{Keeping, Pretrained, classifier::Purpose, pretrained::read_config},
    source::{Files, ModelSource, to_stderr},
    train::inputs::kept,
};

/// A base model, perhaps with an adapter, on a device.
#[derive(Clone, Debug, Args)]
pub(super) struct ModelArgs {
    /// Model folder in the Hugging Face layout, org/name on the Hugging Face hub, or agoge-demo (the model inside this program)
    #[arg(long, value_name = "MODEL")]
    pub(super) model: PathBuf,
    /// Branch, tag or commit of a model on the hub [default: main]
    #[arg(long, value_name = "REVISION", default_value_t, hide_default_value = true)]
    revision: String,
    /// Folder of a run, or of another program's adapter; with a weight behind a colon, 1 by default. Give it
    /// several times to add adapters up
    #[arg(long, value_name = "FOLDER[:WEIGHT]")]
    pub(super) adapter: Vec<AdapterArg>,
    /// auto, gpu, cpu, a number of `agoge devices`, or a part of an adapter's name
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Bits of the weights on a GPU: auto (as the checkpoint has them) or f32
    #[arg(long, value_enum, default_value_t)]
    weights_dtype: WeightsDtype,
    /// Quantize the weights of linear layers to q8 or q4 [default: as the adapter was trained]
    #[arg(long, value_enum)]
    quantize: Option<Quantize>,
}

impl ModelArgs {
    /// Where the model is, fetched from the hub if it has to be.
    pub(super) fn folder(&self) -> Result<PathBuf> {
        ModelSource::named(&self.model, &self.revision)?.folder(Files::All, &to_stderr)
    }

    /// The adapters and their weights, read but not applied.
    pub(super) fn adapters(&self) -> Result<Vec<(Adapter, f32)>> {
        self.adapter.iter().map(|arg| Ok((Adapter::read(&arg.folder)?, arg.weight))).collect()
    }

    /// How the weights are kept. An adapter changes the weights that it was trained on, so they are quantized as then.
    fn keeping(&self, adapters: &[(Adapter, f32)]) -> Result<Keeping> {
        let asked = kept(self.weights_dtype, self.quantize.unwrap_or_default());
        let mut trained = adapters.iter().map(|(adapter, _)| adapter.info.quantized);
        let first = trained.next().flatten();
        if trained.any(|other| other != first) && self.quantize.is_none() {
            return Err(Error::input(
                "--adapter: these adapters were trained on differently quantized weights; say with --quantize none, q8 or q4 \
                 which weights they are to change",
            ));
        }
        Ok(Keeping { quantized: if self.quantize.is_some() { asked.quantized } else { first }, ..asked })
    }

    /// Settles how the weights are quantized by adapters that are applied later.
    pub(super) fn follow(&mut self, adapters: &[(Adapter, f32)]) -> Result<()> {
        self.quantize = Some(match self.keeping(adapters)?.quantized {
            Some(Packing::Q8) => Quantize::Q8,
            Some(Packing::Q4) => Quantize::Q4,
            _ => Quantize::None,
        });
        Ok(())
    }

    /// The same arguments with weights in f32 on every device: sums of weight and change are rounded only where they are written.
    pub(super) fn in_f32(&self) -> Self {
        Self { weights_dtype: WeightsDtype::F32, ..self.clone() }
    }

    /// Opens the device, loads the model, applies the adapters.
    pub(super) async fn load(&self) -> Result<(Pretrained, ComputeDevice)> {
        self.load_reporting().await.map(|(base, device, _)| (base, device))
    }

    /// As [`Self::load`]; also reports how far the adapters change the same entries.
    pub(super) async fn load_reporting(&self) -> Result<(Pretrained, ComputeDevice, Vec<Overlap>)> {
        // The adapters are read first: they are small, and a wrong path should not cost the loading of a model.
        let adapters = self.adapters()?;
        let folder = self.folder()?;
        let config = read_config(&folder)?;
        // What an adapter was trained for counts, not what its base model was.
        let purpose = adapters.first().map_or_else(|| Purpose::of_checkpoint(&config), |(first, _)| first.purpose());
        if let Some((other, _)) = adapters.iter().find(|(other, _)| other.purpose() != purpose) {
            return Err(other.error("adapters of different tasks or classes cannot be added up"));
        }
        let device = device::open(&self.device).await?;
        let keeping = self.keeping(&adapters)?;
        let mut base = Pretrained::load_as(&folder, purpose, keeping, &device)?;
        let adapters: Vec<_> = adapters.iter().map(|(adapter, weight)| (adapter, *weight)).collect();
        let overlaps = merge_for_good(&adapters, &mut base, &device)?;
        Ok((base, device, overlaps))
    }
}

/// `FOLDER` or `FOLDER:WEIGHT`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AdapterArg {
    pub(super) folder: PathBuf,
    weight: f32,
}

impl FromStr for AdapterArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let whole = || Self { folder: text.into(), weight: 1.0 };
        // A path that is there as it stands is a path, whatever its colons.
        if Path::new(text).exists() {
            return Ok(whole());
        }
        let weighted = text.rsplit_once(':').and_then(|(folder, weight)| {
            let weight = weight.parse::<f32>().ok()?;
            (!folder.is_empty() && weight.is_finite()).then(|| Self { folder: folder.into(), weight })
        });
        Ok(weighted.unwrap_or_else(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_may_have_a_weight_and_a_path_may_have_colons() {
        let there = tempfile::Builder::new().prefix("a:0").suffix(":0.5").tempdir().expect("a folder");
        let read = |text: &str| text.parse::<AdapterArg>().map(|arg| (arg.folder, arg.weight));
        let path = there.path().to_str().expect("UTF-8");
        assert_eq!(read(path), Ok((path.into(), 1.0)));
        assert_eq!(read(&format!("{path}:-2")), Ok((path.into(), -2.0)));
        assert_eq!(read("runs/a:0.7"), Ok(("runs/a".into(), 0.7)));
        assert_eq!(read(r"C:\runs\a"), Ok((r"C:\runs\a".into(), 1.0)));
        assert_eq!(read(r"C:\runs\a:1e-1"), Ok((r"C:\runs\a".into(), 0.1)));
        for whole in ["a:b", ":0.5", "a:nan", "a:"] {
            assert_eq!(read(whole), Ok((whole.into(), 1.0)));
        }
    }
}
