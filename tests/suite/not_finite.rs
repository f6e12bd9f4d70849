//! NaN and infinities are seen: what is computed from a NaN is NaN on every device, and so is a softmax that does not exist. A
//! device that made 0 of it would train on as if nothing had happened.

use agoge::{
    kernel::{self, Activation, AttentionRule},
    rng::Stream,
};
use burn::tensor::Tensor;

use crate::support::devices;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

/// Asserts that numbers are NaN where they should be, and else as they should be.
fn assert_same(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (at, (a, e)) in actual.iter().zip(expected).enumerate() {
        let close = (a - e).abs() <= 1e-4 + 1e-4 * e.abs();
        assert!(a.is_nan() && e.is_nan() || a == e || close, "{what}: number {at} is {a} and should be {e}");
    }
}

const WIDTH: usize = 40;

/// One head, computed one score after the other, of positions that see themselves and what is before them.
fn reference(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    padding: &[i32],
    head_dim: usize,
    cap: Option<f32>,
) -> Vec<f32> {
    let mut result = Vec::new();
    for (position, query) in queries.chunks(head_dim).enumerate() {
        let seen: Vec<usize> = (0..=position).filter(|&key| padding[key] != 0).collect();
        let score = |key: &usize| {
            let products = query.iter().zip(&keys[key * head_dim..]).map(|(q, k)| q * k);
            let score: f32 = products.sum();
            cap.map_or(score, |cap| cap * (score / cap).tanh())
        };
        let scores: Vec<f32> = seen.iter().map(score).collect();
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
        let sum: f32 = weights.iter().sum();
        for at in 0..head_dim {
            let mixed: f32 = seen.iter().zip(&weights).map(|(key, weight)| weight * values[key * head_dim + at]).sum();
            result.push(if seen.is_empty() { 0.0 } else { mixed / sum });
        }
    }
    result
}

#[test]
fn attention_passes_nan_and_infinities_on() {
    for device in devices() {
        for (head_dim, cap) in [(8, None), (8, Some(3.0)), (40, None), (40, Some(3.0))] {
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                // Which of queries and keys, and where. A position at which a block begins, and one within.
                for (operand, position) in [(0, 0), (0, 33), (1, 0), (1, 32), (1, 35)] {
                    for padded in [false, true] {
                        let mut stream = Stream::new(51, "not finite");
                        let mut random =
                            || -> Vec<f32> { (0..WIDTH * head_dim).map(|_| 0.5 * stream.normal() as f32).collect() };
                        let mut operands = [random(), random(), random()];
                        operands[operand][position * head_dim + 1] = broken;
                        // Padded keys are not seen, whatever they are.
                        let padding: Vec<i32> =
                            (0..WIDTH as i32).map(|at| i32::from(!padded || at % 35 != 0)).collect();
                        let [q, k, v] = &operands;
                        let expected = reference(q, k, v, &padding, head_dim, cap);
                        let [q, k, v] = operands.clone().map(|x| device.floats(x, [1, WIDTH, 1, head_dim]));
                        let rule = AttentionRule { scale: 1.0, softcap: cap, window: None, causal: true };
                        let flags = device.integers(padding);
                        let leaves = [q, k, v].map(|x| Tensor::from_inner(x).require_grad());
                        let [q, k, v] = leaves.clone();
                        let result = kernel::attention(q, k, v, flags, rule);
                        let what = format!(
                            "{} head of {head_dim}, cap {cap:?}, {broken} in {operand} at {position}, padded {padded}",
                            device.facts.backend
                        );
                        let grads = result.clone().sum().backward();
                        assert_same(&what, &values(result.inner()), &expected);
                        let dq = values(leaves[0].grad(&grads).expect("tracked"));
                        for (position, (dq, result)) in dq.chunks(head_dim).zip(expected.chunks(head_dim)).enumerate() {
                            if result[0].is_nan() {
                                assert!(dq.iter().any(|x| x.is_nan()), "{what}: the gradient of query {position}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn cross_entropy_passes_nan_and_infinities_on() {
    let (vocabulary, nan, infinite) = (70, f32::NAN, f32::INFINITY);
    for device in devices() {
        let mut stream = Stream::new(52, "not finite");
        let mut logits: Vec<f32> = (0..8 * vocabulary).map(|_| stream.normal() as f32).collect();
        let mut targets = vec![3; 8];
        logits[vocabulary + 69] = nan;
        logits[2 * vocabulary + 3] = nan;
        logits[3 * vocabulary + 5] = infinite;
        logits[4 * vocabulary..5 * vocabulary].fill(-infinite);
        logits[5 * vocabulary + 3] = -infinite;
        // Another one than the target's is as good as not there, and a row without a target counts nothing.
        logits[6 * vocabulary + 9] = -infinite;
        logits[7 * vocabulary + 9] = nan;
        targets[7] = -100;
        let expected: Vec<f32> = logits
            .chunks(vocabulary)
            .zip(&targets)
            .map(|(row, &target)| {
                let top = row.iter().copied().fold(-infinite, f32::max);
                let sum: f32 = row.iter().map(|logit| (logit - top).exp()).sum();
                if target < 0 { 0.0 } else { top + sum.ln() - row[target as usize] }
            })
            .collect();
        let broken = [false, true, true, true, true, false, false, false];
        assert_eq!(
            [0, 1, 2, 3, 4, 6, 7].map(|row| expected[row].is_nan()),
            [0, 1, 2, 3, 4, 6, 7].map(|row| broken[row])
        );
        assert_eq!(expected[5], infinite);
        let leaf = Tensor::from_inner(device.floats(logits, [8, vocabulary])).require_grad();
        let losses = kernel::cross_entropy(leaf.clone(), device.integers(targets));
        let grads = losses.clone().sum().backward();
        assert_same(&device.facts.backend, &values(losses.inner()), &expected);
        let dlogits = values(leaf.grad(&grads).expect("tracked"));
        for (row, (dlogits, broken)) in dlogits.chunks(vocabulary).zip(broken).enumerate() {
            let what = format!("{} row {row}: {dlogits:?}", device.facts.backend);
            assert!(dlogits.iter().all(|x| x.is_nan() == broken && !x.is_infinite()), "{what}");
        }
        assert!(dlogits[7 * vocabulary..].iter().all(|x| *x == 0.0));
    }
}

#[test]
fn activations_and_norms_pass_nan_on() {
    for device in devices() {
        let mut numbers: Vec<f32> = (0..3 * 70).map(|at| at as f32 / 70.0 - 1.0).collect();
        numbers[75] = f32::NAN;
        let x = || device.floats(numbers.clone(), [3, 70]);
        let ones = || device.floats(vec![1.0; 70], [1, 70]);
        let backend = &device.facts.backend;
        for f in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
            for y in [kernel::activate(x(), f), kernel::gated(x(), x(), f)] {
                let places: Vec<usize> =
                    values(y).iter().enumerate().filter(|(_, y)| y.is_nan()).map(|(at, _)| at).collect();
                assert_eq!(places, [75], "{f:?} on {backend}");
            }
        }
        for y in [kernel::rms_norm(x(), ones(), 1e-5), kernel::layer_norm(x(), ones(), ones(), 1e-5)] {
            for (at, y) in values(y).iter().enumerate() {
                assert_eq!(y.is_nan(), at / 70 == 1, "a norm on {backend}: number {at} is {y}");
            }
        }
    }
}
