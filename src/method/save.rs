//! The adapter folder of a method in training.

use std::path::Path;

use safetensors::Dtype;

use super::{
    adapter::{BaseModel, Classify, Info, NAME, TensorShape, VERSION, dtype_name, folder_files},
    training::Training,
};
use crate::{
    Error, Result, device, files,
    model::{Pretrained, classifier::Purpose, save::cast},
    storage,
};

/// The files of an adapter, as (name, bytes), not yet written.
///
/// # Errors
/// The device failed while reading the values.
pub async fn files(
    training: &Training,
    name: &str,
    base: &Pretrained,
    dtype: Dtype,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let saved = training.save(&base.transformer);
    let mut tensors = Vec::new();
    for (name, values) in saved.tensors.values {
        let values = device::read(values).await?;
        tensors.push((name, dtype, values.len(), cast(&values, dtype)?));
    }
    for (name, indices) in saved.tensors.indices {
        let indices = device::read_indices(indices).await?;
        let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        tensors.push((name, Dtype::U32, indices.len(), bytes));
    }
    let info = Info {
        format: NAME.into(),
        version: VERSION,
        method: name.into(),
        base_model: BaseModel {
            name: base.name(),
            model_type: base.transformer.architecture.model_type.clone(),
            parameters: base.transformer.parameter_count(),
            fingerprint: base.fingerprint.clone(),
        },
        trained_parameters: training.trained_parameters(),
        dtype: dtype_name(dtype).into(),
        settings: saved.settings,
        dense: saved.whole.into_iter().map(|tensor| TensorShape { name: tensor.name, shape: tensor.shape }).collect(),
        classify: match &base.purpose {
            Purpose::LanguageModel => None,
            Purpose::Classify(head) => {
                Some(Classify { classes: head.classes.clone(), template: head.template.clone() })
            }
        },
        quantized: base.keeping.quantized,
    };
    folder_files(&info, &tensors)
}

/// Writes an adapter folder.
///
/// # Errors
/// The device failed, or the folder cannot be written.
pub async fn write(training: &Training, name: &str, base: &Pretrained, dtype: Dtype, folder: &Path) -> Result<()> {
    storage::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
    for (file, bytes) in files(training, name, base, dtype).await? {
        files::write(&folder.join(file), &bytes)?;
    }
    Ok(())
}
