//! Products with frozen matrices against their composed twin: every storage type and every way to multiply, along and
//! across rows, forward and backward, at ragged sizes.

use agoge::{
    device::ComputeDevice,
    kernel::{
        Matrix, Packed, Packing, Pattern, add_sparse_product,
        matrix::{self, choice::VARIANTS},
        sparse_product,
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
        for (tokens, rows, cols) in
            [(1, 1, 1), (1, 33, 64), (3, 7, 5), (33, 66, 96), (70, 130, 63), (129, 67, 32), (150, 260, 160)]
        {
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
                        // One row for all, and a row for each.
                        for added in [1, tokens] {
                            let bias = device.floats(normals(&mut stream, added * outer), [added, outer]);
                            let actual = matrix.linear_by(x.clone(), Some(bias.clone()), along, variant);
                            let expected = matrix::composed(x.clone(), &matrix, along) + bias;
                            assert_close(&format!("{what} + {added}"), &values(actual), &values(expected), 1e-5, atol);
                        }
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
                let dense = Tensor::from_inner(matrix.dense());
                let dense = if along { dense.transpose() } else { dense };
                // Nothing added, one row to all, and a row to each.
                for added in [None, Some(1), Some(tokens)] {
                    let bias = added.map(|rows| device.floats(normals(&mut stream, rows * outer), [rows, outer]));
                    type Op<'a> = &'a dyn Fn(Tensor<2>, Option<Tensor<2>>) -> Tensor<2>;
                    let gradients = |op: Op| {
                        let leaf = |tensor: &Tensor<2>| Tensor::from_inner(tensor.clone()).require_grad();
                        let (x, bias) = (leaf(&x), bias.as_ref().map(leaf));
                        let y = op(x.clone(), bias.clone());
                        let gradients = (y * Tensor::from_inner(weights.clone())).sum().backward();
                        let of = |leaf: Tensor<2>| values(leaf.grad(&gradients).expect("a gradient"));
                        (of(x), bias.map(of).unwrap_or_default())
                    };
                    let actual = gradients(&|x, bias| matrix.linear(x, bias, along));
                    let expected = gradients(&|x, bias| {
                        let y = x.matmul(dense.clone());
                        bias.map_or(y.clone(), |bias| y + bias)
                    });
                    let what = format!("{name} along {along} plus {added:?}");
                    assert_close(&what, &actual.0, &expected.0, 1e-5, 2e-4);
                    assert_close(&what, &actual.1, &expected.1, 1e-5, 2e-4);
                }
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

#[test]
fn sparse_products_equal_dense_ones_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(4, "sparse products");
        for (tokens, rows, cols, density) in [(1, 1, 1, 1.0), (5, 3, 7, 0.3), (33, 66, 31, 0.05), (9, 17, 64, 0.9)] {
            let mut indices: Vec<u32> = (0..(rows * cols) as u32).filter(|_| stream.unit() < density).collect();
            if indices.is_empty() {
                indices.push(0);
            }
            let count = indices.len();
            let pattern = Pattern::new(&indices, device.indices(&indices), [rows, cols]);
            for along in [true, false] {
                let (inner, outer) = if along { (cols, rows) } else { (rows, cols) };
                let mut random = |a: usize, b: usize| device.floats(normals(&mut stream, a * b), [a, b]);
                let (x, y, scale) = (random(tokens, inner), random(tokens, outer), random(tokens, outer));
                let delta = random(1, count).reshape([count]);
                type Op<'a> = &'a dyn Fn(Tensor<2>, Tensor<2>, Tensor<1>) -> Tensor<2>;
                let run = |op: Op| {
                    let [y, x] = [y.clone(), x.clone()].map(|leaf| Tensor::from_inner(leaf).require_grad());
                    let delta = Tensor::from_inner(delta.clone()).require_grad();
                    let out = op(y.clone(), x.clone(), delta.clone());
                    let grads = (out.clone() * Tensor::from_inner(scale.clone())).sum().backward();
                    let [dy, dx] = [y, x].map(|leaf| values(leaf.grad(&grads).expect("tracked")));
                    (values(out), dy, dx, values(delta.grad(&grads).expect("tracked")))
                };
                let actual = run(&|y, x, delta| add_sparse_product(y, x, delta, &pattern, along));
                // Plain autodiff through the matrix made dense, of which the entries are then picked.
                let dense: Tensor<2> = Tensor::zeros([rows, cols], &device.handle);
                let mut numbers = values(dense);
                for (&index, value) in indices.iter().zip(values(delta.clone())) {
                    numbers[index as usize] = value;
                }
                let leaf = Tensor::from_inner(device.floats(numbers, [rows, cols])).require_grad();
                let [y_leaf, x_leaf] = [y.clone(), x.clone()].map(|leaf| Tensor::from_inner(leaf).require_grad());
                let factor = if along { leaf.clone().transpose() } else { leaf.clone() };
                let out = y_leaf.clone() + x_leaf.clone().matmul(factor);
                let grads = (out.clone() * Tensor::from_inner(scale.clone())).sum().backward();
                let all = values(leaf.grad(&grads).expect("tracked"));
                let picked: Vec<f32> = indices.iter().map(|&index| all[index as usize]).collect();
                let what = format!("{tokens} {rows}x{cols} along {along}");
                assert_close(&format!("{what} y"), &actual.0, &values(out), 1e-5, 1e-4);
                assert_close(
                    &format!("{what} dy"),
                    &actual.1,
                    &values(y_leaf.grad(&grads).expect("tracked")),
                    0.0,
                    1e-6,
                );
                assert_close(
                    &format!("{what} dx"),
                    &actual.2,
                    &values(x_leaf.grad(&grads).expect("tracked")),
                    1e-5,
                    1e-4,
                );
                assert_close(&format!("{what} delta"), &actual.3, &picked, 1e-5, 1e-4);
                let twin = sparse_product::composed(y.clone(), x.clone(), delta.clone(), &pattern, along);
                assert_close(&format!("{what} twin"), &actual.0, &values(twin), 1e-5, 1e-4);
                // Without a graph an operand that others hold is not written over.
                let kept = values(y.clone());
                let plain = add_sparse_product(y.clone(), x.clone(), delta.clone(), &pattern, along);
                assert_close(&format!("{what} untracked"), &values(plain), &actual.0, 1e-6, 1e-6);
                assert_eq!(values(y), kept, "{what}");
            }
        }
    }
}
