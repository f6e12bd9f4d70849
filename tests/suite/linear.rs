//! Products of trained weights against their composed twins: gradients of weights in every form, narrow products, and low-rank
//! products forward and backward, at ragged sizes.

use agoge::{
    device::ComputeDevice,
    kernel::{
        self, low_rank, narrow_product, pad,
        weight_gradient::{self, FORMS},
    },
    rng::Stream,
};
use burn::tensor::Tensor;

use crate::support::{assert_close, devices};

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn random(stream: &mut Stream, dims: [usize; 2], device: &ComputeDevice) -> Tensor<2> {
    device.floats((0..dims[0] * dims[1]).map(|_| stream.normal() as f32).collect(), dims)
}

/// Tokens, rows and columns.
const SIZES: [[usize; 3]; 13] = [
    [1, 1, 1],
    [7, 3, 5],
    [7, 200, 2],
    [64, 64, 64],
    [64, 1, 130],
    [64, 4, 200],
    [513, 8, 100],
    [513, 131, 16],
    [513, 67, 129],
    [513, 16, 7],
    [1, 199, 200],
    [130, 24, 40],
    [512, 384, 1536],
];

#[test]
fn gradients_of_weights_equal_the_composed_ones_in_every_form() {
    for device in devices() {
        let mut stream = Stream::new(1, "weight gradients");
        for [tokens, rows, cols] in SIZES {
            let x = random(&mut stream, [tokens, cols], &device);
            let dy = random(&mut stream, [tokens, rows], &device);
            let expected = values(weight_gradient::composed(x.clone(), dy.clone()));
            for form in FORMS.into_iter().map(Some).chain([None]) {
                let actual = kernel::weight_gradient(x.clone(), dy.clone(), form);
                let what = format!("{} {tokens} {rows}x{cols} {form:?}", device.facts.backend);
                assert_eq!(actual.dims(), [rows, cols], "{what}");
                assert_close(&what, &values(actual), &expected, 1e-5, 2e-5 * (tokens as f32).sqrt());
            }
        }
    }
}

#[test]
fn gradients_of_weights_read_transposed_views() {
    for device in devices() {
        let mut stream = Stream::new(2, "views");
        let x = random(&mut stream, [9, 40], &device).transpose();
        let dy = random(&mut stream, [21, 40], &device).transpose();
        let expected = values(weight_gradient::composed(x.clone(), dy.clone()));
        for form in FORMS.into_iter().map(Some).chain([None]) {
            let actual = values(kernel::weight_gradient(x.clone(), dy.clone(), form));
            assert_close(&format!("{form:?}"), &actual, &expected, 1e-5, 1e-4);
        }
    }
}

#[test]
fn matrices_are_filled_up_with_zeros() {
    for device in devices() {
        let mut stream = Stream::new(7, "filled up");
        for (dims, wanted) in [([1, 1], [1, 4]), ([5, 7], [8, 8]), ([300, 257], [300, 260]), ([2, 4], [3, 4])] {
            let x = random(&mut stream, dims, &device);
            let actual = pad::pad(x.clone(), wanted);
            assert_eq!(actual.dims(), wanted);
            assert_eq!(values(actual), values(pad::composed(x, wanted)), "{dims:?}");
        }
    }
}

#[test]
fn narrow_products_equal_the_composed_ones() {
    for device in devices() {
        let mut stream = Stream::new(3, "narrow products");
        for [tokens, outer, inner] in SIZES {
            let x = random(&mut stream, [tokens, inner], &device);
            for along in [true, false] {
                let dims = if along { [outer, inner] } else { [inner, outer] };
                let w = random(&mut stream, dims, &device);
                let expected = values(narrow_product::composed(x.clone(), w.clone(), along, -0.75));
                let actual = kernel::narrow_product(x.clone(), w, along, -0.75);
                let what = format!("{} {tokens} {outer}x{inner} along {along}", device.facts.backend);
                assert_eq!(actual.dims(), [tokens, outer], "{what}");
                assert_close(&what, &values(actual), &expected, 1e-5, 2e-5 * (inner as f32).sqrt());
            }
        }
    }
}

#[test]
fn low_rank_products_equal_the_composed_ones_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(4, "low rank");
        for rank in [1, 4, 6, 16, 33, 64] {
            for [tokens, outputs, inputs] in [[1, 5, 7], [7, 64, 32], [513, 100, 67], [64, 31, 200]] {
                let x = random(&mut stream, [tokens, inputs], &device);
                let a = random(&mut stream, [rank, inputs], &device);
                let b = random(&mut stream, [outputs, rank], &device);
                let dy = random(&mut stream, [tokens, outputs], &device);
                let residual = random(&mut stream, [tokens, outputs], &device);
                type Op<'a> = &'a dyn Fn([Tensor<2>; 4]) -> Tensor<2>;
                let run = |op: Op| {
                    let leaves = [&residual, &x, &a, &b].map(|leaf| Tensor::from_inner(leaf.clone()).require_grad());
                    let y = op(leaves.clone());
                    let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                    let [dresidual, dx, da, db] = leaves.map(|leaf| leaf.grad(&grads).expect("tracked"));
                    [("y", y.inner()), ("dresidual", dresidual), ("dx", dx), ("da", da), ("db", db)]
                };
                let actual = run(&|[residual, x, a, b]| kernel::low_rank(residual, x, a, b, 0.5));
                let expected = run(&|[residual, x, a, b]| low_rank::composed(residual, x, a, b, 0.5));
                // Sums of sums: errors grow with the longest of each.
                let atol = 2e-5 * ((rank * tokens.max(inputs).max(outputs)) as f32).sqrt();
                for ((name, actual), (_, expected)) in actual.into_iter().zip(expected) {
                    let what = format!("{} rank {rank}, {tokens} {outputs}x{inputs}, {name}", device.facts.backend);
                    assert_eq!(actual.dims(), expected.dims(), "{what}");
                    assert_close(&what, &values(actual), &values(expected), 1e-5, atol);
                }
                let plain = values(kernel::low_rank(residual.clone(), x.clone(), a.clone(), b.clone(), 0.5));
                let twin = values(low_rank::composed(residual, x, a, b, 0.5));
                assert_close("without gradients", &plain, &twin, 1e-5, atol);
            }
        }
    }
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    for device in devices() {
        let mut stream = Stream::new(5, "tracked");
        let mut leaf = |dims| Tensor::from_inner(random(&mut stream, dims, &device));
        let (x, a, b, residual) = (leaf([9, 12]), leaf([4, 12]), leaf([8, 4]), leaf([9, 8]));
        let tracked = x.clone().require_grad();
        let grads = kernel::low_rank(residual.clone(), tracked.clone(), a.clone(), b.clone(), 2.0).sum().backward();
        let ones = Tensor::from_inner(Tensor::ones([9, 8], &device.handle));
        let expected: Tensor<2> = ones.matmul(b.clone()).matmul(a.clone()) * 2.0;
        let actual = values(tracked.grad(&grads).expect("tracked"));
        assert_close("dx alone", &actual, &values(expected.inner()), 1e-5, 1e-4);
        let tracked = b.require_grad();
        let grads = kernel::low_rank(residual, x.clone(), a.clone(), tracked.clone(), 2.0).sum().backward();
        assert_eq!(tracked.grad(&grads).expect("tracked").dims(), [8, 4]);
    }
}
