//! Blockwise attention against its composed twin, on the WGSL path and on the CPU device, at ragged sizes.

use agoge::{
    device::{ComputeDevice, DeviceChoice, open},
    kernel::{self, AttentionRule, attention},
    rng::Stream,
};
use burn::tensor::Tensor;

use crate::support::{assert_close, devices};

/// One call: sizes, rule, and whether some keys are padding.
#[derive(Clone, Copy, Debug)]
struct Case {
    sequences: usize,
    width: usize,
    /// Positions before the queries.
    start: usize,
    heads: [usize; 2],
    head_dim: usize,
    window: Option<usize>,
    causal: bool,
    padded: bool,
    softcap: Option<f32>,
}

/// A decoder's heads without anything special.
const PLAIN: Case = Case {
    sequences: 1,
    width: 1,
    start: 0,
    heads: [1, 1],
    head_dim: 8,
    window: None,
    causal: true,
    padded: false,
    softcap: None,
};

fn normals(stream: &mut Stream, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|_| scale * stream.normal() as f32).collect()
}

fn numbers(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

impl Case {
    fn keys(&self) -> usize {
        self.start + self.width
    }

    fn rule(&self) -> AttentionRule {
        let scale = 1.5 / (self.head_dim as f32).sqrt();
        AttentionRule { scale, softcap: self.softcap, window: self.window, causal: self.causal }
    }

    /// Right padding of a different length in each sequence, and all of the last one.
    fn padding(&self) -> Vec<i32> {
        let (keys, last) = (self.keys(), self.sequences - 1);
        let kept = |at: usize| at % keys < keys / 2 + 1 + at / keys && (last == 0 || at / keys < last);
        (0..self.sequences * keys).map(|at| i32::from(kept(at))).collect()
    }

    /// Queries, keys, values and a gradient of the result.
    fn operands(&self, device: &ComputeDevice, stream: &mut Stream) -> [Tensor<4>; 4] {
        let [heads, kv_heads] = self.heads;
        [(self.width, heads), (self.keys(), kv_heads), (self.keys(), kv_heads), (self.width, heads)].map(
            |(positions, heads)| {
                let dims = [self.sequences, positions, heads, self.head_dim];
                device.floats(normals(stream, dims.iter().product(), 1.0), dims)
            },
        )
    }

    /// The result and the gradients of queries, keys and values.
    fn run(operands: &[Tensor<4>; 4], op: &dyn Fn([Tensor<4>; 3]) -> Tensor<4>) -> [Vec<f32>; 4] {
        let [queries, keys, values, grad] = operands.clone();
        let leaves = [queries, keys, values].map(|x| Tensor::from_inner(x).require_grad());
        let result = op(leaves.clone());
        let grads = (result.clone() * Tensor::from_inner(grad)).sum().backward();
        let [dq, dk, dv] = leaves.map(|leaf| numbers(leaf.grad(&grads).expect("tracked")));
        [numbers(result), dq, dk, dv]
    }

    fn check(&self) {
        for device in devices() {
            let mut stream = Stream::new(21, "attention");
            let operands = self.operands(&device, &mut stream);
            let padding = self.padding();
            let (rule, padded) = (self.rule(), self.padded.then_some(&padding[..]));
            let flags = device.integers(padded.map_or_else(|| vec![1], <[i32]>::to_vec));
            let visible = attention::visible(&operands[0], &operands[1], padded, rule);
            let actual = Self::run(&operands, &|[q, k, v]| kernel::attention(q, k, v, flags.clone(), rule));
            let expected = Self::run(&operands, &|[q, k, v]| {
                attention::composed(q, k, v, Tensor::from_inner(visible.clone()), rule)
            });
            for (what, (actual, expected)) in ["result", "dq", "dk", "dv"].iter().zip(actual.iter().zip(&expected)) {
                let what = format!("{} {what} of {self:?}", device.facts.backend);
                assert!(actual.iter().all(|x| x.is_finite()), "{what}: a number is not finite");
                assert_close(&what, actual, expected, 1e-4, 2e-5);
            }
        }
    }
}

#[test]
fn heads_of_every_size_equal_composed() {
    // Also more numbers than any shader sums up at once, and sizes that are no multiple of four.
    for head_dim in [2, 6, 8, 12, 16, 32, 36, 64, 80, 96, 128, 160, 256, 288] {
        Case { sequences: 2, width: 37, heads: [2, 1], head_dim, ..PLAIN }.check();
    }
}

#[test]
fn every_width_equals_composed() {
    for width in [1, 2, 3, 5, 16, 31, 32, 33, 64, 65, 130] {
        for causal in [true, false] {
            Case { sequences: 2, width, heads: [2, 2], causal, ..PLAIN }.check();
        }
    }
}

#[test]
fn grouped_heads_equal_composed() {
    for heads in [[3, 1], [4, 2], [6, 2], [7, 7], [5, 1], [36, 4]] {
        Case { sequences: 2, width: 21, heads, ..PLAIN }.check();
        Case { sequences: 2, width: 21, heads, causal: false, padded: true, ..PLAIN }.check();
    }
    // So many key/value heads that those of a group stay in one task of the CPU.
    Case { sequences: 5, width: 35, heads: [8, 4], head_dim: 12, window: Some(9), ..PLAIN }.check();
}

#[test]
fn cached_keys_equal_composed() {
    for (width, start) in [(1, 1), (1, 70), (3, 30), (2, 200), (40, 9), (33, 64)] {
        Case { width, start, heads: [4, 2], head_dim: 12, ..PLAIN }.check();
        Case { width, start, heads: [4, 2], head_dim: 12, window: Some(17), ..PLAIN }.check();
        Case { width, start, heads: [1, 1], head_dim: 32, softcap: Some(2.0), ..PLAIN }.check();
    }
}

#[test]
fn windows_equal_composed() {
    for window in [1, 4, 31, 32, 33, 80, 1000] {
        for causal in [true, false] {
            let case = Case { sequences: 2, width: 131, heads: [2, 1], head_dim: 16, window: Some(window), ..PLAIN };
            Case { causal, ..case }.check();
        }
        Case { sequences: 3, width: 50, window: Some(window), causal: false, padded: true, ..PLAIN }.check();
    }
}

#[test]
fn padding_equals_composed() {
    for causal in [true, false] {
        for (sequences, width) in [(1, 9), (3, 37), (2, 130)] {
            let case = Case { sequences, width, heads: [2, 2], head_dim: 32, causal, padded: true, ..PLAIN };
            case.check();
            Case { softcap: Some(1.5), ..case }.check();
            Case { window: causal.then_some(12), ..case }.check();
        }
    }
}

#[test]
fn soft_caps_equal_composed() {
    for softcap in [0.5, 2.0, 50.0] {
        Case { sequences: 2, width: 45, heads: [4, 2], head_dim: 64, softcap: Some(softcap), ..PLAIN }.check();
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    for device in devices() {
        let case = Case { width: 70, heads: [2, 1], head_dim: 16, ..PLAIN };
        let mut stream = Stream::new(22, "large");
        let mut operands = case.operands(&device, &mut stream);
        // Scores of some hundreds, so that most weights are 0 or 1.
        operands[0] = operands[0].clone() * 30.0;
        operands[1] = operands[1].clone() * 10.0;
        let visible = attention::visible(&operands[0], &operands[1], None, case.rule());
        let flags = device.integers(vec![1]);
        let actual = Case::run(&operands, &|[q, k, v]| kernel::attention(q, k, v, flags.clone(), case.rule()));
        let expected = Case::run(&operands, &|[q, k, v]| {
            attention::composed(q, k, v, Tensor::from_inner(visible.clone()), case.rule())
        });
        // A score of 1,000 carries an error of 1e-4 itself.
        for (actual, expected) in actual.iter().zip(&expected) {
            assert_close(&device.facts.backend, actual, expected, 2e-3, 2e-3);
        }
    }
}

#[test]
fn queries_that_see_no_key_are_zero_and_have_no_gradient() {
    for device in devices() {
        for causal in [true, false] {
            let case = Case { sequences: 2, width: 70, heads: [2, 1], causal, padded: true, ..PLAIN };
            // The first sequence is padding throughout, the second up to its middle.
            let padding: Vec<i32> = (0..140).map(|at| i32::from(at >= 105)).collect();
            let operands = case.operands(&device, &mut Stream::new(18, "hidden"));
            let flags = device.integers(padding.clone());
            let [result, dq, dk, dv] =
                Case::run(&operands, &|[q, k, v]| kernel::attention(q, k, v, flags.clone(), case.rule()));
            for (row, (result, dq)) in result.chunks(2 * 8).zip(dq.chunks(2 * 8)).enumerate() {
                let sees = (0..70).any(|key| padding[row / 70 * 70 + key] == 1 && (!causal || key <= row % 70));
                assert_eq!(result.iter().any(|x| *x != 0.0), sees, "row {row}");
                assert!(dq.iter().all(|x| x.is_finite() && (sees || *x == 0.0)), "row {row}");
            }
            for (key, (dk, dv)) in dk.chunks(8).zip(dv.chunks(8)).enumerate() {
                assert_eq!(dv.iter().any(|x| *x != 0.0), padding[key] == 1, "key {key}");
                assert!(dk.iter().all(|x| x.is_finite() && (padding[key] == 1 || *x == 0.0)), "key {key}");
            }
        }
    }
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    for device in devices() {
        let case = Case { width: 20, heads: [2, 1], ..PLAIN };
        let operands = case.operands(&device, &mut Stream::new(23, "tracked"));
        let all = Case::run(&operands, &|[q, k, v]| kernel::attention(q, k, v, device.integers(vec![1]), case.rule()));
        for tracked in 0..3 {
            let inner = [0, 1, 2].map(|at| Tensor::from_inner(operands[at].clone()));
            let leaf = inner[tracked].clone().require_grad();
            let [q, k, v] = [0, 1, 2].map(|at| if at == tracked { leaf.clone() } else { inner[at].clone() });
            let result = kernel::attention(q, k, v, device.integers(vec![1]), case.rule());
            let grads = (result * Tensor::from_inner(operands[3].clone())).sum().backward();
            assert_eq!(numbers(leaf.grad(&grads).expect("tracked")), all[1 + tracked]);
        }
    }
}

#[test]
fn memory_grows_with_the_tokens_and_not_with_their_square() {
    // Opened once more: the memory of tests beside this one must not count.
    let device = &pollster::block_on(open(&DeviceChoice::Gpu)).expect("an adapter");
    let in_use = || {
        device.handle.sync().expect("the device works");
        device.handle.memory_cleanup();
        device.memory()
    };
    for sequences in [8, 1] {
        let case = Case { sequences, width: 2048 / sequences, heads: [4, 2], ..PLAIN };
        let operands = case.operands(device, &mut Stream::new(24, "memory"));
        let [queries, keys, values] = [0, 1, 2].map(|at| Tensor::from_inner(operands[at].clone()).require_grad());
        let flags = device.integers(vec![1]);
        let before = in_use();
        let result = kernel::attention(queries, keys, values, flags, case.rule());
        let between = in_use();
        drop(result.sum().backward());
        let after = in_use();
        // The result and a number for each query.
        let expected = 4 * 2048 * 4 * (8 + 1);
        let kept = between.in_use_bytes - before.in_use_bytes;
        assert!(kept < expected + expected / 10, "{sequences} sequences: {kept} bytes are kept, not {expected}");
        // One matrix of scores of the longest sequence would have 64 MB.
        let grown = after.reserved_bytes.saturating_sub(before.reserved_bytes);
        assert!(grown < 16 << 20, "{sequences} sequences: both passes took {grown} bytes");
    }
}
