//! Products with frozen matrices against their composed twin: every storage type and every way to multiply, along and
//! across rows, forward and backward, at ragged sizes.

use agoge::{
    device::ComputeDevice,
    kernel::{
        Matrix, Packed, Packing,
        matrix::{self, choice::VARIANTS},
    },
    rng::Stream,
};
use burn::tensor::Tensor;

use crate::support::{assert_close, devices};

const PACKINGS: [Packing; 4] = [Packing::Bf16, Packing::F16, Packing::Q8, Packing::Q4];

fn normals(stream: &mut Stream, count: usize) -> Vec<f32> {
    (0..count).map(|_| stream.normal() as f32).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// A random matrix in f32 and in every packing that its rows fit.
fn stored(stream: &mut Stream, dims: [usize; 2], device: &ComputeDevice) -> Vec<(String, Matrix)> {
    let numbers = normals(stream, dims[0] * dims[1]);
    let mut all: Vec<(String, Matrix)> = PACKINGS
        .into_iter()
        .filter(|packing| packing.fits(dims[1]))
        .map(|packing| {
            let packed = Packed::from_values(&numbers, packing, dims, &device.handle);
            (format!("{packing:?}"), Matrix::Packed(packed))
        })
        .collect();
    all.push(("f32".into(), Matrix::Dense(device.floats(numbers, dims))));
    all
}

#[test]
fn products_equal_those_of_unpacked_matrices() {
    for device in devices() {
        let mut stream = Stream::new(1, "matrix products");
        for (tokens, rows, cols) in [(1, 1, 1), (1, 33, 64), (3, 7, 5), (33, 66, 96), (70, 130, 63), (129, 67, 32)] {
            for (name, matrix) in stored(&mut stream, [rows, cols], &device) {
                for along in [true, false] {
                    let (inner, outer) = if along { (cols, rows) } else { (rows, cols) };
                    let x = device.floats(normals(&mut stream, tokens * inner), [tokens, inner]);
                    let expected = values(matrix::composed(x.clone(), &matrix, along));
                    let atol = 2e-5 * (inner as f32).sqrt();
                    for variant in VARIANTS.into_iter().map(Some).chain([None]) {
                        let what = format!("{tokens} {rows}x{cols} {name} along {along} {variant:?}");
                        let actual = matrix.product_by(x.clone(), along, variant);
                        assert_eq!(actual.dims(), [tokens, outer], "{what}");
                        assert_close(&what, &values(actual), &expected, 1e-5, atol);
                    }
                }
            }
        }
    }
}

#[test]
fn gradients_of_products_equal_those_of_unpacked_matrices() {
    for device in devices() {
        let mut stream = Stream::new(2, "matrix gradients");
        let (tokens, rows, cols) = (37, 50, 64);
        for (name, matrix) in stored(&mut stream, [rows, cols], &device) {
            for along in [true, false] {
                let (inner, outer) = if along { (cols, rows) } else { (rows, cols) };
                let x = device.floats(normals(&mut stream, tokens * inner), [tokens, inner]);
                let weights = device.floats(normals(&mut stream, tokens * outer), [tokens, outer]);
                let gradient = |product: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                    let x = Tensor::from_inner(x.clone()).require_grad();
                    let loss = (product(x.clone()) * Tensor::from_inner(weights.clone())).sum();
                    values(x.grad(&loss.backward()).expect("a gradient"))
                };
                let actual = gradient(&|x| matrix.product(x, along));
                let dense = Matrix::Dense(matrix.dense());
                let expected = gradient(&|x| {
                    let Matrix::Dense(w) = &dense else { unreachable!("it is dense") };
                    let w = Tensor::from_inner(w.clone());
                    x.matmul(if along { w.transpose() } else { w })
                });
                assert_close(&format!("{name} along {along}"), &actual, &expected, 1e-5, 2e-4);
            }
        }
    }
}

#[test]
fn rows_and_numbers_of_packed_matrices_are_read_exactly() {
    for device in devices() {
        let mut stream = Stream::new(3, "matrix rows");
        for dims in [[5, 7], [9, 32], [33, 64], [1, 1]] {
            let [rows, cols] = dims;
            for (name, matrix) in stored(&mut stream, dims, &device) {
                let what = format!("{rows}x{cols} {name}");
                let Matrix::Packed(packed) = &matrix else { continue };
                let all = packed.values();
                assert_eq!(values(matrix.dense()), all, "{what}");
                let ids: Vec<u32> = (0..11).map(|_| stream.below(rows as u64) as u32).collect();
                let expected: Vec<f32> =
                    ids.iter().flat_map(|&id| &all[id as usize * cols..][..cols]).copied().collect();
                assert_eq!(values(matrix.rows(device.indices(&ids))), expected, "{what}");
                let indices: Vec<u32> = (0..all.len() as u32).rev().step_by(3).collect();
                let expected: Vec<f32> = indices.iter().map(|&index| all[index as usize]).collect();
                assert_eq!(values(matrix.at(device.indices(&indices))), expected, "{what}");
            }
        }
    }
}
