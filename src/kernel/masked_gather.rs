//! The gradient of the selected entries of a linear weight, without the dense gradient.
//!
//! For `y = x W^T` the dense gradient of W is `dy^T x`; only the entries in the mask are wanted:
//! `g[n] = sum over t of dy[t, row(n)] * x[t, col(n)]`.

use std::cell::Cell;

use burn::backend::{
    Backend, Dispatch, backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{Device, Int, Shape, Tensor};
use burn_cubecl::{CubeBackend, tensor::CubeTensor};
use burn_flex::Flex;
use rayon::prelude::*;

use crate::device::{self, ComputeDevice};

use super::{
    flex, launch,
    pad::padded,
    product::{Operand, Sizes, product},
    transpose::transpose,
    vector::{dot, wide},
};

/// A shader that works on the pieces of a grid.
macro_rules! on_grid {
    ($file:literal) => {
        concat!(include_str!("../../shaders/shared/grid.wgsl"), include_str!(concat!("../../shaders/", $file, ".wgsl")))
    };
}

const DIRECT: &str = include_str!("../../shaders/masked_gather_direct.wgsl");
const TILED: &str = on_grid!("masked_gather_tiled");
const TRANSPOSED: &str = include_str!("../../shaders/masked_gather_transposed.wgsl");
const DOT_PRODUCTS: &str = include_str!("../../shaders/masked_gather_dot_products.wgsl");
const TRANSPOSE: &str = on_grid!("transpose");
const TRANSPOSE_BLOCK: &str = on_grid!("transpose_block");

/// Every shader of this module with its name.
pub(super) const SHADERS: super::Named = &[
    ("masked_gather_direct", DIRECT),
    ("masked_gather_tiled", TILED),
    ("masked_gather_transposed", TRANSPOSED),
    ("masked_gather_dot_products", DOT_PRODUCTS),
    ("transpose", TRANSPOSE),
    ("transpose_block", TRANSPOSE_BLOCK),
];

/// Rows and columns of the weight that one workgroup of the tiled shader covers.
const TILE: usize = 64;
/// Rows and columns that one workgroup transposes.
const TRANSPOSE_TILE: usize = 32;
/// Rows, and columns, of the shader that does so without workgroup memory.
const TRANSPOSE_BLOCK_SIZE: [usize; 2] = [4, 256];
/// Numbers of activations and gradients that are transposed at once on a software adapter at most: 64 MB.
const MOST_TRANSPOSED: usize = 1 << 24;
/// Lanes that share an entry in the shader of transposed activations.
const SHARERS: usize = 8;
/// Rows of the weight whose dense gradient exists at one time on the CPU.
const CPU_ROWS: usize = 192;
/// Tokens whose columns are transposed together on the CPU: those of a few hundred inputs fit a second-level cache.
const CPU_TOKENS: usize = 256;
/// Numbers of activations and gradients below which one thread gathers on the CPU.
const GATHER_ALONE: usize = 1 << 17;

/// How the gather is computed; the result is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Whichever is expected to be faster for the shape and density.
    #[default]
    Auto,
    /// Dot products of columns for the selected entries only; work grows with their number.
    Direct,
    /// The same on transposed activations, whose numbers are then neighbours in memory; one invocation an entry.
    DotProducts,
    /// The same with several lanes an entry, which read side by side.
    Transposed,
    /// Dense tiles formed in registers and discarded; work is that of the dense gradient.
    Tiled,
}

/// What computes: each wants another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Plain Rust on the processor.
    Cpu,
    /// Shaders on the processor.
    SoftwareGpu,
    /// Shaders on a GPU.
    Gpu,
}

impl Machine {
    /// What computes on a device.
    pub fn of(device: &ComputeDevice) -> Self {
        if device.is_cpu() { Self::Cpu } else { Self::behind(&device.handle) }
    }

    /// What computes the shaders of a device.
    fn behind(device: &Device) -> Self {
        if device::is_software(device) { Self::SoftwareGpu } else { Self::Gpu }
    }
}

impl Strategy {
    /// What `Auto` means for `count` selected entries of an `[outputs, inputs]` weight and `tokens` rows of activations.
    ///
    /// The crossovers were measured with `agoge bench kernels`, which prints them.
    pub fn resolve(self, machine: Machine, tokens: usize, outputs: usize, inputs: usize, count: usize) -> Self {
        if self != Self::Auto {
            return self;
        }
        let density = count as f64 / (outputs * inputs) as f64;
        let crossover = match machine {
            Machine::Cpu => 0.10,
            Machine::SoftwareGpu => 0.12,
            // Measured on an NVIDIA H100.
            Machine::Gpu => 0.20,
        };
        // Few entries: transposing all columns would cost more than it gives. Very many columns: it would take as much memory as
        // the logits of a large vocabulary, which a computer without a GPU has less of.
        let few = match machine {
            Machine::SoftwareGpu => 2 * count < 5 * (outputs + inputs) || tokens * (outputs + inputs) > MOST_TRANSPOSED,
            _ => 4 * count < outputs + inputs,
        };
        match machine {
            _ if density > crossover => Self::Tiled,
            _ if few => Self::Direct,
            Machine::Gpu => Self::Transposed,
            _ => Self::DotProducts,
        }
    }
}

/// Backend dispatch of [`masked_gather`].
#[backend_extension(Cube, Flex)]
pub trait MaskedGatherOps: Backend {
    /// See [`masked_gather`].
    fn masked_gather_op(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        indices: IntTensor<Self>,
        strategy: Strategy,
    ) -> FloatTensor<Self>;
}

/// Gradient `[N]` of the entries `indices` `[N]` (flat into `[outputs, inputs]`, sorted, unique) of a linear weight,
/// from its input `x` `[T, inputs]` and the gradient of its output `dy` `[T, outputs]`.
pub fn masked_gather(x: Tensor<2>, dy: Tensor<2>, indices: Tensor<1, Int>, strategy: Strategy) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::masked_gather_op(
        x.into_dispatch(),
        dy.into_dispatch(),
        indices.into_dispatch(),
        strategy,
    ))
}

/// The composed twin of [`masked_gather`]: the dense gradient, then a gather.
pub fn composed(x: Tensor<2>, dy: Tensor<2>, indices: Tensor<1, Int>) -> Tensor<1> {
    let dense = dy.transpose().matmul(x);
    let len = dense.shape().num_elements();
    dense.reshape([len]).select(0, indices)
}

impl MaskedGatherOps for CubeBackend {
    fn masked_gather_op(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        indices: IntTensor<Self>,
        strategy: Strategy,
    ) -> FloatTensor<Self> {
        let (x, dy, indices) = (launch::contiguous(x), launch::contiguous(dy), launch::contiguous(indices));
        let [tokens, inputs] = x.meta.shape().dims();
        let [_, outputs] = dy.meta.shape().dims();
        let [count] = indices.meta.shape().dims();
        let grad = launch::empty(&x, Shape::new([count]));
        let dims = launch::words(&[tokens, inputs, outputs, count]);
        let machine = Machine::behind(&Device::from(x.device.clone()));
        match strategy.resolve(machine, tokens, outputs, inputs, count) {
            Strategy::Tiled => {
                let (x, dy) = (padded(x), padded(dy));
                let groups = launch::grid(inputs.div_ceil(TILE), outputs.div_ceil(TILE));
                let buffers = [&x.handle, &dy.handle, &indices.handle, &grad.handle];
                launch::launch(&x, TILED, 64, groups, &buffers, &dims);
            }
            Strategy::Transposed => {
                let (x, dy) = (transposed_on_device(&x), transposed_on_device(&dy));
                let buffers = [&x.handle, &dy.handle, &indices.handle, &grad.handle];
                launch::launch(&x, TRANSPOSED, 64, launch::groups_for(SHARERS * count, 64), &buffers, &dims);
            }
            Strategy::DotProducts => {
                let (x, dy) = (transposed_in_blocks(&x), transposed_in_blocks(&dy));
                let buffers = [&x.handle, &dy.handle, &indices.handle, &grad.handle];
                launch::launch(&x, DOT_PRODUCTS, 64, launch::groups_for(count, 64), &buffers, &dims);
            }
            _ => {
                let buffers = [&x.handle, &dy.handle, &indices.handle, &grad.handle];
                launch::launch(&x, DIRECT, 64, launch::groups_for(count, 64), &buffers, &dims);
            }
        }
        grad
    }
}

/// The columns `[width, rows]` of a tensor `[rows, width]`, each filled up to whole vectors with zeros.
fn transposed_on_device(tensor: &CubeTensor) -> CubeTensor {
    launch_transpose(tensor, TRANSPOSE, 256, [TRANSPOSE_TILE, TRANSPOSE_TILE])
}

/// The same on a software adapter.
fn transposed_in_blocks(tensor: &CubeTensor) -> CubeTensor {
    launch_transpose(tensor, TRANSPOSE_BLOCK, 64, TRANSPOSE_BLOCK_SIZE)
}

fn launch_transpose(tensor: &CubeTensor, text: &'static str, lanes: u32, [down, across]: [usize; 2]) -> CubeTensor {
    let [rows, width] = tensor.meta.shape().dims();
    let transposed = launch::empty(tensor, Shape::new([width, rows.next_multiple_of(4)]));
    let groups = launch::grid(width.div_ceil(across), rows.div_ceil(down));
    let dims = launch::words(&[rows, width]);
    launch::launch(tensor, text, lanes, groups, &[&tensor.handle, &transposed.handle], &dims);
    transposed
}

impl MaskedGatherOps for Flex {
    fn masked_gather_op(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        indices: IntTensor<Self>,
        strategy: Strategy,
    ) -> FloatTensor<Self> {
        let indices = flex::contiguous(indices);
        let indices = flex::indices(&indices);
        let [tokens, inputs] = x.layout().shape().dims();
        let [_, outputs] = dy.layout().shape().dims();
        let (x, dy) = (flex::contiguous(x), flex::contiguous(dy));
        let (x, dy) = (flex::floats(&x), flex::floats(&dy));
        let grad = match strategy.resolve(Machine::Cpu, tokens, outputs, inputs, indices.len()) {
            Strategy::Tiled => gather_rows(x, dy, &indices, outputs, inputs),
            Strategy::DotProducts | Strategy::Transposed => gather_dot_products(x, dy, &indices, outputs, inputs),
            Strategy::Direct | Strategy::Auto => gather_streaming(x, dy, &indices, outputs, inputs),
        };
        flex::tensor(grad, [indices.len()])
    }
}

/// Adds up all entries token by token; `x` is `[tokens, inputs]`, `dy` `[tokens, outputs]`.
fn gather_streaming(x: &[f32], dy: &[f32], indices: &[u32], outputs: usize, inputs: usize) -> Vec<f32> {
    let places: Vec<[usize; 2]> =
        indices.iter().map(|&index| [index as usize / inputs, index as usize % inputs]).collect();
    let mut grad = vec![0.0; indices.len()];
    for (x, dy) in x.chunks_exact(inputs).zip(dy.chunks_exact(outputs)) {
        for (grad, &[row, col]) in grad.iter_mut().zip(&places) {
            *grad += dy[row] * x[col];
        }
    }
    grad
}

thread_local! {
    /// Transposed activations and gradients, kept from call to call.
    static COLUMNS: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// The columns of some rows, one behind the other, `stride` apart, each filled up to whole vectors with zeros.
fn transposed<'a>(to: &'a mut Vec<f32>, values: &[f32], [rows, width]: [usize; 2], stride: usize) -> &'a [f32] {
    to.resize(width * stride, 0.0);
    transpose(to, stride, values, width, [rows, width]);
    if !rows.is_multiple_of(16) {
        to.chunks_exact_mut(stride).for_each(|column| column[rows..].fill(0.0));
    }
    to
}

/// The same with one dot product for each entry, over some tokens at a time whose columns have been made contiguous.
fn gather_dot_products(x: &[f32], dy: &[f32], indices: &[u32], outputs: usize, inputs: usize) -> Vec<f32> {
    let tokens = x.len() / inputs;
    let alone = tokens * (inputs + outputs) < GATHER_ALONE;
    let threads = if alone { 1 } else { rayon::current_num_threads() };
    let step = tokens.div_ceil(tokens.div_ceil(CPU_TOKENS).next_multiple_of(threads)).next_multiple_of(16);
    let part = |(x, dy): (&[f32], &[f32])| {
        let rows = x.len() / inputs;
        // Whole vectors, and columns that are no power of two apart: those would fight for a few lines of the cache.
        let stride = rows.next_multiple_of(32) + 16;
        let [mut columns_of_x, mut columns_of_dy] = COLUMNS.take();
        let x = transposed(&mut columns_of_x, x, [rows, inputs], stride);
        let dy = transposed(&mut columns_of_dy, dy, [rows, outputs], stride);
        let len = rows.next_multiple_of(16);
        let mut grad = vec![0.0; indices.len()];
        wide!({
            for (grad, &index) in grad.iter_mut().zip(indices) {
                let (row, col) = (index as usize / inputs, index as usize % inputs);
                *grad = dot(&dy[row * stride..][..len], &x[col * stride..][..len]);
            }
        });
        COLUMNS.set([columns_of_x, columns_of_dy]);
        grad
    };
    let parts: Vec<Vec<f32>> = if alone {
        x.chunks(step * inputs).zip(dy.chunks(step * outputs)).map(part).collect()
    } else {
        x.par_chunks(step * inputs).zip(dy.par_chunks(step * outputs)).map(part).collect()
    };
    let mut parts = parts.into_iter();
    let mut grad = parts.next().unwrap_or_else(|| vec![0.0; indices.len()]);
    for part in parts {
        grad.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    grad
}

/// The dense gradient of a few rows at a time, of which the selected entries are kept.
fn gather_rows(x: &[f32], dy: &[f32], indices: &[u32], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut grad = Vec::with_capacity(indices.len());
    for start in (0..outputs).step_by(CPU_ROWS) {
        let rows = CPU_ROWS.min(outputs - start);
        let (first, last) = (start * inputs, (start + rows) * inputs);
        let selected = &indices[grad.len()..];
        let selected = &selected[..selected.partition_point(|&index| (index as usize) < last)];
        if selected.is_empty() {
            continue;
        }
        let sizes = Sizes { rows, columns: inputs, depth: x.len() / inputs };
        let left = Operand { values: &dy[start..], row: 1, step: outputs };
        let tile = product(left, Operand::stored(x, inputs), sizes, None);
        grad.extend(selected.iter().map(|&index| tile[index as usize - first]));
    }
    assert_eq!(grad.len(), indices.len(), "mask indices are sorted and inside the weight");
    grad
}
