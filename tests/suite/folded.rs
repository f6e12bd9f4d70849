//! Launches of more than 65,535 workgroups, which a dimension of a launch may not have: they are folded into two. Sizes are such
//! that each shader just needs more; what comes out is that of the CPU device, whose kernels have tests of their own.

use agoge::{
    device::ComputeDevice,
    kernel::{
        self, Activation, AdamW, AttentionRule, Matrix, Packed, Packing, Pattern, Strategy,
        matrix::Variant,
        pad::pad,
        sparse_step::Stepped,
        weight_gradient::{FORMS, Form},
    },
};
use burn::tensor::{Int, Tensor};

use crate::support::{assert_close, gpu};

/// The most workgroups of one dimension.
const MOST: usize = 65_535;
/// More numbers than so many workgroups of 64 invocations have.
const MANY: usize = 64 * MOST + 9;

/// Numbers from -0.5 to 0.5 whose pattern repeats late and at no power of two.
fn floats(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 31 + seed * 17) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// Runs `op` on the GPU and on the CPU, and compares all that it gives.
fn check(what: &str, op: impl Fn(&ComputeDevice) -> Vec<Vec<f32>>) {
    let (actual, expected) = (op(gpu()), op(&ComputeDevice::cpu()));
    for (at, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        assert_close(&format!("{what}, result {at}"), actual, expected, 1e-4, 1e-5);
    }
}

/// What `op` gives for tracked inputs, and the gradients of those.
fn both_ways<const N: usize>(inputs: [Tensor<2>; N], op: impl Fn([Tensor<2>; N]) -> Tensor<2>) -> Vec<Vec<f32>> {
    let leaves = inputs.map(|x| Tensor::from_inner(x).require_grad());
    let y = op(leaves.clone());
    let grads = y.clone().sum().backward();
    let mut all = vec![values(y)];
    all.extend(leaves.map(|leaf| values(leaf.grad(&grads).expect("tracked"))));
    all
}

#[test]
fn activations_and_dropout() {
    let (rows, cols) = (MANY.div_ceil(7), 7);
    let x = |device: &ComputeDevice, seed| device.floats(floats(rows * cols, seed), [rows, cols]);
    check("activate", |device| both_ways([x(device, 1)], |[x]| kernel::activate(x, Activation::Silu)));
    check("gated", |device| both_ways([x(device, 1), x(device, 2)], |[a, b]| kernel::gated(a, b, Activation::Silu)));
    check("dropout", |device| both_ways([x(device, 1)], |[x]| kernel::dropout(x, 0.3, 5)));
}

#[test]
fn norms_and_cross_entropy() {
    let (rows, width) = (MOST + 5, 3);
    let x = |device: &ComputeDevice, rows, seed| device.floats(floats(rows * width, seed), [rows, width]);
    let y = |device: &ComputeDevice| Tensor::from_inner(x(device, rows, 9));
    check("rms norm", |device| {
        let mut all =
            both_ways([x(device, rows, 1), x(device, 1, 2)], |[a, b]| kernel::rms_norm(a, b, 1e-3) * y(device));
        // A sum over all rows in f32, of which each device has its own.
        all.truncate(2);
        all
    });
    check("layer norm", |device| {
        let inputs = [x(device, rows, 1), x(device, 1, 2), x(device, 1, 3)];
        let mut all = both_ways(inputs, |[a, b, c]| kernel::layer_norm(a, b, c, 1e-3) * y(device));
        all.truncate(2);
        all
    });
    check("cross entropy", |device| {
        let targets = device.integers((0..rows as i32).map(|row| row % 4 - 1).collect());
        both_ways([x(device, rows, 1)], |[x]| kernel::cross_entropy(x, targets.clone()).reshape([rows, 1]))
    });
}

#[test]
fn rotary_embedding_and_padding() {
    let (positions, half) = (11, 2);
    let (rows, width) = ((2 * MANY).div_ceil(8).next_multiple_of(positions), 8);
    check("rope", |device| {
        let x = device.floats(floats(rows * width, 1), [rows, width]);
        let table = |seed| device.floats(floats(positions * half, seed), [positions, half]);
        vec![values(kernel::rope(x, table(2), table(3), 2 * half))]
    });
    let rows = MANY.div_ceil(4);
    check("pad", |device| vec![values(pad(device.floats(floats(rows * 3, 1), [rows, 3]), [rows, 4]))]);
}

#[test]
fn attention() {
    let (sequences, width, head_dim) = (MOST + 4, 2, 4);
    let rule = AttentionRule { scale: 1.0, softcap: None, window: None, causal: true };
    check("attention", |device| {
        let x = |seed| device.floats(floats(sequences * width * head_dim, seed), [sequences, width, 1, head_dim]);
        let leaves = [1, 2, 3].map(|seed| Tensor::from_inner(x(seed)).require_grad());
        let [q, k, v] = leaves.clone();
        let y = kernel::attention(q, k, v, device.integers(vec![1]), rule);
        let grads = (y.clone() * Tensor::from_inner(x(4))).sum().backward();
        let mut all = vec![values(y)];
        all.extend(leaves.map(|leaf| values(leaf.grad(&grads).expect("tracked"))));
        all
    });
}

#[test]
fn products_with_matrices() {
    // Rows of the result that one workgroup computes.
    for (variant, rows) in [(Variant::Rows, 1), (Variant::Block, 32), (Variant::Tiled, 64), (Variant::Wide, 128)] {
        let tokens = rows * MOST + 1;
        let (x, w) = (floats(tokens * 4, 1), floats(4, 2));
        let matrix = Matrix::Dense(gpu().floats(w.clone(), [1, 4]));
        let y = values(matrix.product_by(gpu().floats(x.clone(), [tokens, 4]), true, Some(variant)));
        let expected: Vec<f32> = x.chunks_exact(4).map(|x| x.iter().zip(&w).map(|(x, w)| x * w).sum()).collect();
        assert_close(&format!("{variant:?}"), &y, &expected, 1e-5, 1e-6);
    }
    check("narrow product", |device| {
        let (tokens, inner) = (8 * MOST + 3, 4);
        let x = || device.floats(floats(tokens * inner, 1), [tokens, inner]);
        let w = |dims: [usize; 2]| device.floats(floats(8, 2), dims);
        vec![
            values(kernel::narrow_product(x(), w([2, 4]), true, 0.5)),
            values(kernel::narrow_product(x(), w([4, 2]), false, 0.5)),
        ]
    });
    check("sparse product", |device| {
        let (tokens, dims, indices) = (MANY.div_ceil(4), [4, 2], [1, 2, 5]);
        let pattern = Pattern::new(&indices, device.indices(&indices), dims);
        let x = |width| device.floats(floats(tokens * width, width), [tokens, width]);
        let delta = || device.floats(floats(3, 1), [3]);
        let product = |along| {
            let (inner, outer) = if along { (2, 4) } else { (4, 2) };
            values(kernel::add_sparse_product(x(outer), x(inner), delta(), &pattern, along))
        };
        vec![product(true), product(false)]
    });
}

#[test]
fn gradients_of_weights() {
    for form in FORMS {
        // Rows of the weight that one workgroup has.
        let of_group = match form {
            Form::Block | Form::Tiled => 64,
            Form::Wide => 128,
            Form::Narrow => 256,
        };
        let rows = of_group * MOST + 1;
        let (left, right) = (floats(rows, 1), 0.75);
        let (x, dy) = (gpu().floats(vec![right], [1, 1]), gpu().floats(left.clone(), [1, rows]));
        let grad = values(kernel::weight_gradient(x, dy, Some(form)));
        let expected: Vec<f32> = left.iter().map(|x| x * right).collect();
        assert_close(&format!("{form:?}"), &grad, &expected, 1e-6, 1e-7);
    }
}

#[test]
fn gradients_of_selected_entries() {
    let all = [Strategy::Direct, Strategy::DotProducts, Strategy::Transposed, Strategy::Tiled];
    // Many outputs, all of them selected; and so many tokens that transposing them in blocks is folded. Lavapipe ends a loop after
    // 65,535 rounds, so of the ways it is the one whose rounds are few enough (but for the last).
    for (tokens, outputs, ways) in [(1, 64 * MOST + 1, &all[..]), (4 * MOST + 1, 1, &[Strategy::DotProducts])] {
        let (x, dy) = (floats(tokens, 1), floats(tokens * outputs, 2));
        let indices: Vec<u32> = (0..outputs as u32).collect();
        let expected: Vec<f32> = (0..outputs)
            .map(|n| (0..tokens).map(|t| f64::from(x[t]) * f64::from(dy[t * outputs + n])).sum::<f64>() as f32)
            .collect();
        for &way in ways {
            let (x, dy) = (gpu().floats(x.clone(), [tokens, 1]), gpu().floats(dy.clone(), [tokens, outputs]));
            let grad = values(kernel::masked_gather(x, dy, gpu().indices(&indices), way));
            assert_close(&format!("{way:?} {tokens} x {outputs}"), &grad, &expected, 1e-3, 1e-4);
        }
    }
    check("embedding gather", |device| {
        let width = MANY.div_ceil(3);
        let dy = device.floats(floats(3 * width, 1), [3, width]);
        let indices = device.indices(&(0..3 * width as u32).collect::<Vec<_>>());
        vec![values(kernel::embedding_gather(device.integers(vec![2, 0, 2]), dy, indices))]
    });
}

#[test]
fn steps_and_writes_in_place() {
    let settings = AdamW {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.0,
        correction1: 0.1,
        correction2: 0.01,
        max_norm: 0.0,
    };
    let row = |device: &ComputeDevice, seed| device.floats(floats(MANY, seed), [MANY]);
    let moments = |device: &ComputeDevice| device.floats(vec![0.25; 2 * MANY], [2, MANY]);
    let all = |device: &ComputeDevice| -> Tensor<1, Int> { device.indices(&(0..MANY as u32).collect::<Vec<_>>()) };
    check("sparse step", |device| {
        let weight = device.floats(floats(MANY, 1), [1, MANY]);
        let state = Stepped { weight, delta: row(device, 2), moments: moments(device) };
        let norm = device.floats(vec![1.0], [1]);
        let stepped = kernel::sparse_step(state, all(device), row(device, 1), row(device, 3), norm, settings);
        vec![values(stepped.weight), values(stepped.delta), values(stepped.moments)]
    });
    check("dense step", |device| {
        let [weight, grad] = [1, 2].map(|seed| device.floats(floats(MANY, seed), [1, MANY]));
        let (weight, moments) =
            kernel::dense_step(weight, moments(device), grad, device.floats(vec![1.0], [1]), settings);
        vec![values(weight), values(moments)]
    });
    let packed = |device: &ComputeDevice, packing| {
        Matrix::Packed(Packed::from_values(&floats(MANY, 1), packing, [1, MANY], &device.handle))
    };
    for packing in [Packing::Bf16, Packing::F16] {
        check(&format!("writes and rows of {packing:?}"), |device| {
            let matrix = packed(device, packing).write(all(device), row(device, 5));
            vec![values(matrix.at(all(device)))]
        });
    }
    check("writes and rows of a split matrix in f32", |device| {
        let dims = [MANY, 1];
        let matrix = Matrix::from_values(floats(MANY, 1), None, dims, device, Some(3 * MANY as u64));
        assert!(matrix.blocks().len() > 1);
        vec![values(matrix.write(all(device), row(device, 5)).at(all(device)))]
    });
}
