//! A model without its numbers: names, shapes and roles of all its tensors, for whatever needs to know no more.

use burn::tensor::{Device, Tensor};

use super::{
    architecture::Architecture,
    classifier::Purpose,
    parameter::{Parameter, ParameterSource, Role},
    transformer::Transformer,
};

/// Gives every tensor one number that nobody reads.
struct Hollow(Device);

impl ParameterSource for Hollow {
    fn parameter(&mut self, name: &str, dims: &[usize], role: Role) -> Parameter {
        Parameter::new(name, dims.to_vec(), role, Tensor::zeros([1, 1], &self.0))
    }
}

/// A model of this description for this purpose, to be asked for its parameters and never to be computed with.
pub fn skeleton(architecture: Architecture, purpose: &Purpose) -> Transformer {
    let device = Device::flex();
    Transformer::new(architecture, purpose.head(), &device, &mut Hollow(device.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family::describe;

    #[test]
    fn a_skeleton_has_the_parameters_of_its_model() {
        let config = serde_json::from_str(include_str!("../../assets/model/config.json")).expect("JSON");
        let model = skeleton(describe(&config).expect("a model"), &Purpose::LanguageModel);
        assert_eq!(model.parameter_count(), 844_928);
        assert!(model.parameters().iter().any(|p| p.name == "model.layers.3.mlp.down_proj.weight" && p.is_linear()));
    }
}
