//! Every kernel against its composed twin, on the WGSL path and on the CPU device, at ragged sizes.

use agoge::{
    device::ComputeDevice,
    kernel::{
        self, Activation, AdamW, Matrix, Strategy, dense_step, embedding_gather, masked_gather, scatter_write,
        sparse_step, squared_norm,
    },
    rng::Stream,
};
use burn::tensor::Tensor;

use crate::support::{assert_close, devices};

fn values(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn matrix(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn normals(stream: &mut Stream, count: usize) -> Vec<f32> {
    (0..count).map(|_| stream.normal() as f32).collect()
}

/// Sorted distinct indices: each of `len` with probability `density`, at least one.
fn mask(stream: &mut Stream, len: usize, density: f64) -> Vec<u32> {
    let mut mask: Vec<u32> = (0..len as u32).filter(|_| stream.unit() < density).collect();
    if mask.is_empty() {
        mask.push(stream.below(len as u64) as u32);
    }
    mask
}

fn settings(step: i32) -> AdamW {
    AdamW {
        learning_rate: 3e-3,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 1.0 - 0.9f32.powi(step),
        correction2: 1.0 - 0.99f32.powi(step),
        max_norm: 1.0,
    }
}

#[test]
fn masked_gather_equals_dense_gradient() {
    for device in devices() {
        let mut stream = Stream::new(1, "masked gather");
        for (tokens, inputs, outputs) in
            [(1, 1, 1), (5, 3, 7), (64, 64, 64), (33, 100, 65), (130, 67, 129), (257, 31, 200)]
        {
            for density in [0.001, 0.01, 0.1, 0.5, 1.0] {
                let x = device.floats(normals(&mut stream, tokens * inputs), [tokens, inputs]);
                let dy = device.floats(normals(&mut stream, tokens * outputs), [tokens, outputs]);
                let indices = device.indices(&mask(&mut stream, inputs * outputs, density));
                let expected = values(masked_gather::composed(x.clone(), dy.clone(), indices.clone()));
                for strategy in
                    [Strategy::Auto, Strategy::Direct, Strategy::DotProducts, Strategy::Transposed, Strategy::Tiled]
                {
                    let actual = values(kernel::masked_gather(x.clone(), dy.clone(), indices.clone(), strategy));
                    let what = format!("{} {tokens}x{inputs}x{outputs} {density} {strategy:?}", device.facts.backend);
                    assert_close(&what, &actual, &expected, 1e-4, 1e-4);
                }
            }
        }
    }
}

#[test]
fn masked_gather_reads_transposed_views() {
    for device in devices() {
        let mut stream = Stream::new(2, "views");
        let x = device.floats(normals(&mut stream, 9 * 20), [9, 20]).transpose();
        let dy = device.floats(normals(&mut stream, 11 * 20), [11, 20]).transpose();
        let indices = device.indices(&[0, 5, 50, 98]);
        let expected = values(masked_gather::composed(x.clone(), dy.clone(), indices.clone()));
        for strategy in [Strategy::Direct, Strategy::DotProducts, Strategy::Transposed, Strategy::Tiled] {
            let actual = values(kernel::masked_gather(x.clone(), dy.clone(), indices.clone(), strategy));
            assert_close(&device.facts.backend, &actual, &expected, 1e-4, 1e-4);
        }
    }
}

#[test]
fn embedding_gather_equals_dense_gradient() {
    for device in devices() {
        let mut stream = Stream::new(3, "embedding gather");
        // Ids that repeat, ids that no token has, and rows of which most tokens are padding.
        let cases = [
            (1, 1, 1, 0.0),
            (7, 5, 3, 0.0),
            (200, 67, 33, 0.0),
            (50, 300, 64, 0.0),
            (65, 2, 9, 0.5),
            (300, 40, 5, 0.9),
        ];
        for (tokens, vocabulary, width, padded) in cases {
            let mut id = || if stream.unit() < padded { 0 } else { stream.below(vocabulary as u64) as i32 };
            let ids = device.integers((0..tokens).map(|_| id()).collect());
            let dy = device.floats(normals(&mut stream, tokens * width), [tokens, width]);
            for density in [0.1, 1.0] {
                let indices = device.indices(&mask(&mut stream, vocabulary * width, density));
                let expected = values(embedding_gather::composed(ids.clone(), dy.clone(), indices.clone(), vocabulary));
                let actual = values(kernel::embedding_gather(ids.clone(), dy.clone(), indices.clone()));
                let what = format!("{} {tokens} tokens, density {density}", device.facts.backend);
                assert_close(&what, &actual, &expected, 1e-5, 2e-5);
                // The order of the sums is fixed.
                assert_eq!(values(kernel::embedding_gather(ids.clone(), dy.clone(), indices)), actual, "{what}");
            }
        }
    }
}

#[test]
fn squared_norm_equals_sum() {
    for device in devices() {
        let mut stream = Stream::new(4, "norm");
        for count in [1, 255, 256, 257, 4096, 4097, 100_001, 2_000_003] {
            let numbers = normals(&mut stream, count);
            let exact: f64 = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let tensor = device.floats(numbers, [count]);
            let actual = values(kernel::squared_norm(vec![tensor.clone()]));
            assert_close(&format!("{} {count}", device.facts.backend), &actual, &[exact as f32], 1e-5, 0.0);
            // The twin's single running sum loses digits on long inputs, so it only judges the shorter ones.
            if count < 10_000 {
                assert_close("twin", &values(squared_norm::composed(vec![tensor])), &[exact as f32], 1e-4, 0.0);
            }
        }
    }
}

#[test]
fn the_squared_norm_is_that_of_all_tensors_together() {
    for device in devices() {
        let mut stream = Stream::new(40, "norms");
        for counts in [&[3, 5000][..], &[1, 2, 3, 4, 5], &[700, 20_000, 1, 64, 9, 33, 8], &[10; 12]] {
            let numbers: Vec<Vec<f32>> = counts.iter().map(|&count| normals(&mut stream, count)).collect();
            let exact: f64 = numbers.iter().flatten().map(|&x| f64::from(x) * f64::from(x)).sum();
            let upload = |numbers: &Vec<f32>| device.floats(numbers.clone(), [numbers.len()]);
            let tensors: Vec<_> = numbers.iter().map(upload).collect();
            let what = format!("{} {counts:?}", device.facts.backend);
            assert_close(&what, &values(kernel::squared_norm(tensors.clone())), &[exact as f32], 1e-5, 0.0);
            assert_close(&what, &values(squared_norm::composed(tensors)), &[exact as f32], 1e-4, 0.0);
        }
    }
}

#[test]
fn linear_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(41, "linear");
        for (tokens, inputs, outputs) in [(1, 3, 2), (13, 22, 35), (40, 64, 48), (200, 130, 70), (600, 516, 512)] {
            for transposed in [false, true] {
                let shape = if transposed { [inputs, outputs] } else { [outputs, inputs] };
                let mut random = |dims: [usize; 2]| device.floats(normals(&mut stream, dims[0] * dims[1]), dims);
                let (x, weight, bias) = (random([tokens, inputs]), random(shape), random([1, outputs]));
                let dy = random([tokens, outputs]);
                for with_bias in [true, false] {
                    let run = |op: &dyn Fn(Tensor<2>, Tensor<2>, Option<Tensor<2>>, bool) -> Tensor<2>| {
                        let leaves = [&x, &weight, &bias].map(|leaf| Tensor::from_inner(leaf.clone()).require_grad());
                        let [x, weight, bias] = leaves.clone();
                        let y = op(x, weight, with_bias.then_some(bias), transposed);
                        let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                        let grads = leaves.map(|leaf| leaf.grad(&grads).map(matrix));
                        (matrix(y), grads)
                    };
                    let (y, grads) = run(&kernel::linear);
                    let (expected, expected_grads) = run(&kernel::linear::composed);
                    let what = format!("{} {tokens} x {inputs} x {outputs}", device.facts.backend);
                    assert_close(&what, &y, &expected, 1e-4, 1e-4);
                    for (grad, expected) in grads.into_iter().zip(expected_grads) {
                        assert_eq!(grad.is_some(), expected.is_some(), "{what}");
                        if let (Some(grad), Some(expected)) = (grad, expected) {
                            assert_close(&what, &grad, &expected, 1e-4, 1e-3);
                        }
                    }
                }
            }
        }
    }
}

fn sparse_state(
    device: &ComputeDevice,
    stream: &mut Stream,
    rows: usize,
    cols: usize,
    mask: &[u32],
) -> sparse_step::Stepped {
    let count = mask.len();
    let moments: Vec<f32> = (0..2 * count).map(|_| stream.unit() as f32).collect();
    sparse_step::Stepped {
        weight: device.floats(normals(stream, rows * cols), [rows, cols]),
        delta: device.floats(normals(stream, count), [count]),
        moments: device.floats(moments, [2, count]),
    }
}

#[test]
fn sparse_step_equals_composed_adamw() {
    for device in devices() {
        for (rows, cols, density) in [(1, 1, 1.0), (17, 9, 0.3), (64, 65, 0.01), (300, 301, 0.5)] {
            let mask = mask(&mut Stream::new(5, "mask"), rows * cols, density);
            let count = mask.len();
            let state = |purpose| sparse_state(&device, &mut Stream::new(5, purpose), rows, cols, &mask);
            let mut stream = Stream::new(6, "step");
            let (base, grad) = (normals(&mut stream, count), normals(&mut stream, count));
            let tensors =
                || (device.indices(&mask), device.floats(base.clone(), [count]), device.floats(grad.clone(), [count]));
            for squared_norm in [0.25, 30.0] {
                let norm = || device.floats(vec![squared_norm], [1]);
                let (indices, base, grad) = tensors();
                let actual = kernel::sparse_step(state("state"), indices, base, grad, norm(), settings(3));
                let (indices, base, grad) = tensors();
                let expected = sparse_step::composed(state("state"), indices, base, grad, norm(), settings(3));
                let what = format!("{} {rows}x{cols}", device.facts.backend);
                assert_close(&what, &values(actual.delta), &values(expected.delta), 1e-5, 1e-6);
                assert_close(&what, &matrix(actual.moments), &matrix(expected.moments), 1e-5, 1e-6);
                assert_close(&what, &matrix(actual.weight), &matrix(expected.weight), 1e-5, 1e-5);
            }
        }
    }
}

#[test]
fn sparse_step_leaves_other_numbers_alone_bit_for_bit() {
    for device in devices() {
        let (rows, cols) = (40, 50);
        let mask = mask(&mut Stream::new(7, "mask"), rows * cols, 0.05);
        let count = mask.len();
        let state = || sparse_state(&device, &mut Stream::new(7, "state"), rows, cols, &mask);
        let before = matrix(state().weight);
        let stepped = kernel::sparse_step(
            state(),
            device.indices(&mask),
            device.floats(vec![1.0; count], [count]),
            device.floats(vec![0.5; count], [count]),
            device.floats(vec![1.0], [1]),
            settings(1),
        );
        let (weight, delta) = (matrix(stepped.weight), values(stepped.delta));
        let mut selected = 0;
        for (at, (new, old)) in weight.iter().zip(&before).enumerate() {
            if mask.get(selected) == Some(&(at as u32)) {
                assert_eq!(new.to_bits(), (1.0 + delta[selected]).to_bits());
                selected += 1;
            } else {
                assert_eq!(new.to_bits(), old.to_bits());
            }
        }
    }
}

#[test]
fn dense_step_equals_composed_adamw() {
    for device in devices() {
        for (rows, cols) in [(1, 1), (3, 129), (257, 130)] {
            let tensors = || {
                let mut stream = Stream::new(8, "dense");
                let count = rows * cols;
                let moments = (0..2 * count).map(|_| stream.unit() as f32).collect();
                (
                    device.floats(normals(&mut stream, count), [rows, cols]),
                    device.floats(moments, [2, count]),
                    device.floats(normals(&mut stream, count), [rows, cols]),
                    device.floats(vec![7.0], [1]),
                )
            };
            let (weight, moments, grad, norm) = tensors();
            let actual = kernel::dense_step(weight, moments, grad, norm, settings(2));
            let (weight, moments, grad, norm) = tensors();
            let expected = dense_step::composed(weight, moments, grad, norm, settings(2));
            assert_close("weight", &matrix(actual.0), &matrix(expected.0), 1e-5, 1e-6);
            assert_close("moments", &matrix(actual.1), &matrix(expected.1), 1e-5, 1e-6);
        }
    }
}

#[test]
fn scatter_write_is_exact_and_reversible() {
    for device in devices() {
        let mut stream = Stream::new(9, "scatter");
        let original = normals(&mut stream, 30 * 41);
        let mask = mask(&mut stream, 30 * 41, 0.2);
        let count = mask.len();
        let new = normals(&mut stream, count);
        let old: Vec<f32> = mask.iter().map(|&i| original[i as usize]).collect();
        let write = |weight, values: &[f32]| {
            kernel::scatter_write(weight, device.indices(&mask), device.floats(values.to_vec(), [count]))
        };
        let twin = matrix(scatter_write::composed(
            device.floats(original.clone(), [30, 41]),
            device.indices(&mask),
            device.floats(new.clone(), [count]),
        ));
        let applied = write(device.floats(original.clone(), [30, 41]), &new);
        assert_close("applied", &matrix(applied.clone()), &twin, 1e-5, 1e-6);
        let restored = matrix(write(applied, &old));
        assert!(restored.iter().zip(&original).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn sparse_linear_gives_the_dense_gradients_at_the_selected_entries() {
    for device in devices() {
        let mut stream = Stream::new(10, "layers");
        let (tokens, inputs, outputs) = (13, 22, 35);
        let mask = mask(&mut stream, inputs * outputs, 0.2);
        let indices = device.indices(&mask);
        let x = device.floats(normals(&mut stream, tokens * inputs), [tokens, inputs]);
        let scale = device.floats(normals(&mut stream, tokens * outputs), [tokens, outputs]);
        let on_graph = |tensor: Tensor<2>| Tensor::from_inner(tensor);
        for (transposed, shape) in [(false, [outputs, inputs]), (true, [inputs, outputs])] {
            let weight = device.floats(normals(&mut stream, inputs * outputs), shape);

            // Dense reference: the weight itself is the leaf.
            let leaf = on_graph(weight.clone()).require_grad();
            let x_leaf = on_graph(x.clone()).require_grad();
            let factor = if transposed { leaf.clone() } else { leaf.clone().transpose() };
            let dense_y = x_leaf.clone().matmul(factor);
            let grads = (dense_y.clone() * on_graph(scale.clone())).sum().backward();
            let dense = matrix(leaf.grad(&grads).expect("tracked"));
            let dense_x = matrix(x_leaf.grad(&grads).expect("tracked"));

            let delta = Tensor::<1>::from_inner(device.floats(vec![0.0; mask.len()], [mask.len()])).require_grad();
            let x_leaf = on_graph(x.clone()).require_grad();
            let y = kernel::sparse_linear(
                x_leaf.clone(),
                &Matrix::Dense(weight),
                delta.clone(),
                indices.clone(),
                None,
                transposed,
            );
            assert_close("y", &matrix(y.clone()), &matrix(dense_y), 1e-4, 1e-4);
            let grads = (y * on_graph(scale.clone())).sum().backward();
            let selected: Vec<f32> = mask.iter().map(|&i| dense[i as usize]).collect();
            assert_close("delta", &values(delta.grad(&grads).expect("tracked")), &selected, 1e-4, 1e-4);
            assert_close("x", &matrix(x_leaf.grad(&grads).expect("tracked")), &dense_x, 1e-4, 1e-4);
        }
    }
}

#[test]
fn rope_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(11, "rope");
        // Also on the first part of a head alone.
        let sizes = [(1, 1, 1, 1, 2), (3, 7, 2, 5, 10), (2, 33, 4, 16, 32), (3, 7, 2, 2, 10), (2, 33, 3, 4, 34)];
        for (rows, positions, heads, half, head_dim) in sizes {
            let (tokens, width) = (rows * positions, heads * head_dim);
            let mut random = |r: usize, c: usize| device.floats(normals(&mut stream, r * c), [r, c]);
            let (x, dy) = (random(tokens, width), random(tokens, width));
            let (cos, sin) = (random(positions, half), random(positions, half));
            let run = |op: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                let leaf = Tensor::from_inner(x.clone()).require_grad();
                let y = op(leaf.clone());
                let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                (matrix(y), matrix(leaf.grad(&grads).expect("tracked")))
            };
            let actual = run(&|x| kernel::rope(x, cos.clone(), sin.clone(), head_dim));
            let on_graph = |table: &Tensor<2>| Tensor::from_inner(table.clone());
            let expected = run(&|x| kernel::rope::composed(x, on_graph(&cos), on_graph(&sin), head_dim));
            assert_close("rope", &actual.0, &expected.0, 1e-5, 1e-5);
            assert_close("rope backward", &actual.1, &expected.1, 1e-5, 1e-5);
        }
    }
}

#[test]
fn rms_norm_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(12, "rms norm");
        for (rows, width) in [(1, 1), (5, 63), (7, 64), (3, 130)] {
            let mut random = |r: usize, c: usize| device.floats(normals(&mut stream, r * c), [r, c]);
            let (x, dy, scale) = (random(rows, width), random(rows, width), random(1, width));
            let run = |op: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
                let leaf = Tensor::from_inner(x.clone()).require_grad();
                let scale = Tensor::from_inner(scale.clone()).require_grad();
                let y = op(leaf.clone(), scale.clone());
                let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                let [dx, dscale] = [leaf, scale].map(|leaf| matrix(leaf.grad(&grads).expect("tracked")));
                (matrix(y), dx, dscale)
            };
            let actual = run(&|x, scale| kernel::rms_norm(x, scale, 1e-5));
            let expected = run(&|x, scale| kernel::rms_norm::composed(x, scale, 1e-5));
            assert_close("rms norm", &actual.0, &expected.0, 1e-4, 1e-5);
            assert_close("rms norm dx", &actual.1, &expected.1, 1e-4, 1e-4);
            assert_close("rms norm dscale", &actual.2, &expected.2, 1e-4, 1e-4);
        }
    }
}

#[test]
fn layer_norm_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(17, "layer norm");
        for (rows, width) in [(1, 1), (5, 63), (67, 64), (3, 130)] {
            let mut random = |r: usize, c: usize, mean: f32| {
                device.floats(normals(&mut stream, r * c).into_iter().map(|x| x + mean).collect(), [r, c])
            };
            let (x, dy) = (random(rows, width, 5.0), random(rows, width, 0.0));
            let (scale, bias) = (random(1, width, 1.0), random(1, width, 0.0));
            // Which of x, scale and bias are tracked.
            for tracked in [[true; 3], [true, false, false], [false, true, false], [false, false, true]] {
                let run = |op: &dyn Fn(Tensor<2>, Tensor<2>, Tensor<2>) -> Tensor<2>| {
                    let mut leaves = [&x, &scale, &bias].map(|tensor| Tensor::from_inner(tensor.clone()));
                    for (leaf, tracked) in leaves.iter_mut().zip(tracked) {
                        *leaf = leaf.clone().set_require_grad(tracked);
                    }
                    let y = op(leaves[0].clone(), leaves[1].clone(), leaves[2].clone());
                    let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                    (matrix(y), leaves.map(|leaf| leaf.grad(&grads).map(matrix)))
                };
                let actual = run(&|x, scale, bias| kernel::layer_norm(x, scale, bias, 1e-5));
                let expected = run(&|x, scale, bias| kernel::layer_norm::composed(x, scale, bias, 1e-5));
                assert_close("layer norm", &actual.0, &expected.0, 1e-4, 1e-4);
                assert_eq!(expected.1.each_ref().map(Option::is_some), tracked);
                for (at, (actual, expected)) in actual.1.iter().zip(&expected.1).enumerate() {
                    let what = format!("layer norm {rows}x{width}: gradient {at}");
                    assert_eq!(actual.is_some(), expected.is_some(), "{what}");
                    if let (Some(actual), Some(expected)) = (actual, expected) {
                        assert_close(&what, actual, expected, 1e-4, 1e-4);
                    }
                }
            }
        }
    }
}

#[test]
fn cross_entropy_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(13, "cross entropy");
        for (count, vocabulary) in [(1, 1), (3, 63), (9, 64), (20, 517)] {
            let logits = normals(&mut stream, count * vocabulary).into_iter().map(|x| 4.0 * x).collect();
            let logits = device.floats(logits, [count, vocabulary]);
            let grad = device.floats(normals(&mut stream, count), [count]);
            let ids = (0..count).map(|n| if n % 5 == 4 { -100 } else { stream.below(vocabulary as u64) as i32 });
            let targets = device.integers(ids.collect());
            let run = |op: &dyn Fn(Tensor<2>) -> Tensor<1>| {
                let leaf = Tensor::from_inner(logits.clone()).require_grad();
                let losses = op(leaf.clone());
                let grads = (losses.clone() * Tensor::from_inner(grad.clone())).sum().backward();
                (values(losses), matrix(leaf.grad(&grads).expect("tracked")))
            };
            let actual = run(&|logits| kernel::cross_entropy(logits, targets.clone()));
            let expected = run(&|logits| kernel::cross_entropy::composed(logits, targets.clone()));
            assert_close("losses", &actual.0, &expected.0, 1e-4, 1e-5);
            assert_close("dlogits", &actual.1, &expected.1, 1e-4, 1e-5);
        }
    }
}

#[test]
fn dropout_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(19, "dropout");
        for (rows, cols) in [(1, 1), (7, 65), (130, 257)] {
            let x = device.floats(normals(&mut stream, rows * cols), [rows, cols]);
            let dy = device.floats(normals(&mut stream, rows * cols), [rows, cols]);
            for (rate, seed) in [(0.0, 1), (0.1, 2), (0.5, u64::MAX - 3), (0.9, 1 << 40)] {
                let run = |op: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                    let leaf = Tensor::from_inner(x.clone()).require_grad();
                    let y = op(leaf.clone());
                    let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                    (matrix(y), matrix(leaf.grad(&grads).expect("tracked")))
                };
                let actual = run(&|x| kernel::dropout(x, rate, seed));
                let expected = run(&|x| kernel::dropout::composed(x, rate, seed));
                // The same numbers are dropped, so nothing but a rounding of the factor may differ.
                assert_close("dropout", &actual.0, &expected.0, 1e-6, 1e-12);
                assert_close("dropout backward", &actual.1, &expected.1, 1e-6, 1e-12);
            }
        }
    }
}

#[test]
fn dropout_drops_the_share_it_is_told_and_is_reproducible() {
    let (rows, cols) = (300, 1000);
    let count = (rows * cols) as f64;
    for device in devices() {
        let kept = |rate, seed| -> Vec<bool> {
            let ones = device.floats(vec![1.0; rows * cols], [rows, cols]);
            matrix(kernel::dropout(ones, rate, seed)).into_iter().map(|x| x != 0.0).collect()
        };
        let share = |matches: &mut dyn Iterator<Item = bool>| matches.filter(|x| *x).count() as f64 / count;
        for rate in [0.1, 0.5] {
            let keep = f64::from(1.0 - rate);
            let within = |what: &str, actual: f64, expected: f64| {
                // Five standard deviations of a binomial share.
                let bound = 5.0 * (expected * (1.0 - expected) / count).sqrt();
                assert!((actual - expected).abs() < bound, "{what}: {actual}, not {expected}");
            };
            let first = kept(rate, 7);
            assert_eq!(first, kept(rate, 7));
            within("kept", share(&mut first.iter().copied()), keep);
            // Independent of its neighbours, of the next row, and of the masks of other seeds.
            for distance in [1, 2, cols] {
                let shifted = first.iter().zip(first.iter().cycle().skip(distance));
                within("both of two kept", share(&mut shifted.map(|(a, b)| *a && *b)), keep * keep);
            }
            for seed in [8, 7 + (1 << 32), 7 << 32, 0] {
                let other = kept(rate, seed);
                within("kept", share(&mut other.iter().copied()), keep);
                within("kept by both seeds", share(&mut first.iter().zip(&other).map(|(a, b)| *a && *b)), keep * keep);
            }
        }
    }
}

const ACTIVATIONS: [Activation; 3] = [Activation::Silu, Activation::GeluTanh, Activation::Gelu];

#[test]
fn gated_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(15, "gated");
        for (rows, cols) in [(1, 1), (7, 65), (130, 257)] {
            let mut random = |size: f32| {
                let values = normals(&mut stream, rows * cols).into_iter().map(|x| size * x).collect();
                device.floats(values, [rows, cols])
            };
            let (gate, up, dy) = (random(3.0), random(1.0), random(1.0));
            let run = |op: &dyn Fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
                let leaves = [gate.clone(), up.clone()].map(|x| Tensor::from_inner(x).require_grad());
                let y = op(leaves[0].clone(), leaves[1].clone());
                let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                let [dgate, dup] = leaves.map(|leaf| matrix(leaf.grad(&grads).expect("tracked")));
                (matrix(y), dgate, dup)
            };
            for f in ACTIVATIONS {
                let actual = run(&|gate, up| kernel::gated(gate, up, f));
                let expected = run(&|gate, up| kernel::gated::composed(gate, up, f));
                assert_close(&format!("{f:?} gate"), &actual.0, &expected.0, 1e-4, 2e-5);
                assert_close(&format!("{f:?} dgate"), &actual.1, &expected.1, 1e-4, 2e-5);
                assert_close(&format!("{f:?} dup"), &actual.2, &expected.2, 1e-4, 2e-5);
            }
        }
    }
}

#[test]
fn activate_equals_composed_forward_and_backward() {
    for device in devices() {
        let mut stream = Stream::new(16, "activate");
        for (rows, cols) in [(1, 1), (7, 65), (130, 257)] {
            let mut numbers: Vec<f32> = normals(&mut stream, rows * cols).into_iter().map(|x| 3.0 * x).collect();
            // Far out, where exponentials under- and overflow.
            let far = [-300.0, 300.0, -20.0, 20.0, -1.415, 1.414, 0.0];
            numbers.iter_mut().zip(far).skip(1).for_each(|(number, far)| *number = far);
            let x = device.floats(numbers, [rows, cols]);
            let dy = device.floats(normals(&mut stream, rows * cols), [rows, cols]);
            let run = |op: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                let leaf = Tensor::from_inner(x.clone()).require_grad();
                let y = op(leaf.clone());
                let grads = (y.clone() * Tensor::from_inner(dy.clone())).sum().backward();
                (matrix(y), matrix(leaf.grad(&grads).expect("tracked")))
            };
            for f in ACTIVATIONS {
                let actual = run(&|x| kernel::activate(x, f));
                let expected = run(&|x| f.composed(x));
                assert_close(&format!("{f:?}"), &actual.0, &expected.0, 1e-5, 1e-5);
                assert_close(&format!("{f:?} backward"), &actual.1, &expected.1, 1e-5, 1e-5);
            }
        }
    }
}
