//! Operations that write in place never change what another handle holds, on the WGSL path as on the CPU device; and where there
//! is no other handle, nothing is copied.

use agoge::{
    device::ComputeDevice,
    kernel::{
        self, AdamW, Matrix, Packed, Packing, copies_before_writing,
        matrix::write::Step,
        sparse_step::{self, Stepped},
    },
};
use burn::tensor::Tensor;

use crate::support::devices;

const SETTINGS: AdamW = AdamW {
    learning_rate: 0.1,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.0,
    correction1: 0.1,
    correction2: 0.01,
    max_norm: 0.0,
};
const COUNT: usize = 12;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn row(device: &ComputeDevice, first: f32) -> Tensor<1> {
    device.floats((0..COUNT).map(|at| first + at as f32).collect(), [COUNT])
}

fn moments(device: &ComputeDevice) -> Tensor<2> {
    device.floats(vec![0.5; 2 * COUNT], [2, COUNT])
}

fn weight(device: &ComputeDevice) -> Tensor<2> {
    row(device, 1.0).reshape([3, 4])
}

fn indices(device: &ComputeDevice) -> Tensor<1, burn::tensor::Int> {
    device.indices(&(0..COUNT as u32).collect::<Vec<_>>())
}

/// Runs `op` on what `fresh` makes, with and without a second handle of it, of which `read` tells the numbers.
fn check<T: Clone>(
    what: &str,
    device: &ComputeDevice,
    fresh: impl Fn() -> T,
    op: impl Fn(T) -> T,
    read: impl Fn(T) -> Vec<Vec<f32>>,
) {
    let what = format!("{what} on {}", device.facts.backend);
    let before = copies_before_writing();
    let alone = read(op(fresh()));
    assert_eq!(copies_before_writing(), before, "{what}: copied although nothing else holds it");
    let first = fresh();
    let second = first.clone();
    let changed = read(op(first));
    assert_eq!(changed, alone, "{what}");
    let (kept, original) = (read(second), read(fresh()));
    assert_eq!(kept, original, "{what}: the second handle was written to");
    for (changed, original) in changed.iter().zip(&original) {
        assert_ne!(changed, original, "{what}: nothing was written");
    }
}

#[test]
fn a_second_handle_is_never_changed() {
    for device in &devices() {
        let norm = || device.floats(vec![1.0], [1]);
        check(
            "scatter_write",
            device,
            || weight(device),
            |w| kernel::scatter_write(w, indices(device), row(device, 100.0)),
            |w| vec![values(w)],
        );
        check(
            "sparse_step",
            device,
            || (weight(device), row(device, 2.0), moments(device)),
            |(weight, delta, moments)| {
                let state = Stepped { weight, delta, moments };
                let (base, grad) = (row(device, 50.0), row(device, 3.0));
                let sparse_step::Stepped { weight, delta, moments } =
                    kernel::sparse_step(state, indices(device), base, grad, norm(), SETTINGS);
                (weight, delta, moments)
            },
            |(weight, delta, moments)| vec![values(weight), values(delta), values(moments)],
        );
        check(
            "dense_step",
            device,
            || (weight(device), moments(device)),
            |(weight, moments)| kernel::dense_step(weight, moments, row(device, 3.0).reshape([3, 4]), norm(), SETTINGS),
            |(weight, moments)| vec![values(weight), values(moments)],
        );
        for packing in [Packing::Bf16, Packing::F16] {
            let packed = || {
                let numbers: Vec<f32> = (0..COUNT).map(|at| at as f32).collect();
                Matrix::Packed(Packed::from_values(&numbers, packing, [3, 4], &device.handle))
            };
            check(
                &format!("a write into {packing:?}"),
                device,
                packed,
                |matrix| matrix.write(indices(device), row(device, 100.0)),
                |matrix| vec![values(matrix.dense())],
            );
            check(
                &format!("a step of {packing:?}"),
                device,
                || (packed(), row(device, 2.0), moments(device)),
                |(matrix, delta, moments)| {
                    let step = Step {
                        indices: indices(device),
                        base: row(device, 50.0),
                        grad: row(device, 3.0),
                        squared_norm: norm(),
                        settings: SETTINGS,
                    };
                    matrix.step(delta, moments, step)
                },
                |(matrix, delta, moments)| vec![values(matrix.dense()), values(delta), values(moments)],
            );
        }
    }
}
