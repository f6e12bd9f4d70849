//! Frozen matrices, in f32 or packed, and what a model does with them: products along and across their rows, rows of
//! them, single numbers of them.
//!
//! In reading order: [`packing`] says how numbers lie in words; [`Matrix`] is what a model keeps, [`split`] by rows where it
//! is too large for one buffer; [`choice`] decides between the shaders by what was measured ([`prepare`]).

pub mod choice;
pub mod packing;
pub mod split;
pub mod write;

mod cpu;
pub(super) mod shaders;
mod tune;
mod wgsl;

use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, TensorMetadata,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    tensor::{FloatTensor, IntTensor},
};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::{Error, Result, device};

pub use choice::Variant;
pub use packing::Packing;
pub use split::Split;
pub use tune::prepare;

/// How a packed matrix lies in its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How its numbers are stored.
    pub packing: Packing,
    /// Stored rows.
    pub rows: usize,
    /// Numbers in a row.
    pub cols: usize,
}

/// Backend dispatch of products with frozen matrices. The matrix is never tracked.
#[backend_extension(Cube, Flex, Autodiff)]
pub trait MatrixOps: Backend {
    /// See [`Matrix::product`]; `along` the rows of `w`, or across them. Without a variant the best one is chosen.
    fn dense_product_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self>;

    /// See [`Matrix::linear`]: the same, and `bias` `[1 or T, rows or cols]` added to it.
    fn dense_product_plus_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self>;

    /// [`Self::dense_product_op`] for a packed matrix.
    fn packed_product_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self>;

    /// [`Self::dense_product_plus_op`] for a packed matrix.
    fn packed_product_plus_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        bias: FloatTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self>;

    /// Rows `ids` `[N]` of a packed matrix in f32, `[N, cols]`.
    fn packed_rows_op(ids: IntTensor<Self>, words: IntTensor<Self>, layout: Layout) -> FloatTensor<Self>;
}

/// A matrix of 16-bit or quantized numbers on a device.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Words of the numbers, then of the scales, as [`packing`] says.
    pub(super) words: Tensor<1, Int>,
    pub(super) layout: Layout,
}

/// A frozen matrix `[rows, cols]` as a model keeps it.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// In f32.
    Dense(Tensor<2>),
    /// In fewer bits.
    Packed(Packed),
    /// In blocks of rows, for a device that cannot bind all of it at once.
    Split(Split),
}

/// Bits of u32 on a device, as Burn keeps them.
pub(super) fn upload(words: Vec<u32>, device: &Device) -> Tensor<1, Int> {
    let words: Vec<i32> = bytemuck::cast_vec(words);
    let len = words.len();
    Tensor::from_data(TensorData::new(words, [len]), (device, DType::I32))
}

impl Packed {
    /// The little-endian bytes of a checkpoint's 16-bit tensor, as they are.
    pub fn from_bytes(bytes: &[u8], packing: Packing, [rows, cols]: [usize; 2], device: &Device) -> Self {
        assert_eq!(bytes.len(), 2 * rows * cols, "bytes of a 16-bit matrix");
        Self { words: upload(packing.words_of_bytes(bytes), device), layout: Layout { packing, rows, cols } }
    }

    /// `values` in row-major order, rounded to the nearest number that can be stored. Rows of quantized matrices are whole
    /// groups ([`Packing::fits`]).
    pub fn from_values(values: &[f32], packing: Packing, [rows, cols]: [usize; 2], device: &Device) -> Self {
        assert!(values.len() == rows * cols && packing.fits(cols), "rows of whole groups");
        Self { words: upload(packing.encode(values), device), layout: Layout { packing, rows, cols } }
    }

    /// One of which nobody cares what its numbers are.
    pub fn empty(packing: Packing, [rows, cols]: [usize; 2], device: &Device) -> Self {
        let words = Tensor::empty([packing.words(rows * cols)], (device, DType::I32));
        Self { words, layout: Layout { packing, rows, cols } }
    }

    /// How it is stored.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The composed twin of unpacking: all numbers, decoded in plain Rust. Waits for the device.
    pub fn values(&self) -> Vec<f32> {
        self.decode(&self.words.to_data())
    }

    /// The same without blocking a browser. Nothing is allocated on the device.
    ///
    /// # Errors
    /// The device failed.
    pub async fn read(&self) -> Result<Vec<f32>> {
        let data = self.words.clone().into_data_async().await;
        Ok(self.decode(&data.map_err(|e| Error::Device(format!("reading a weight failed: {e:?}")))?))
    }

    fn decode(&self, data: &TensorData) -> Vec<f32> {
        let words: Vec<i32> = data.iter::<i32>().collect();
        self.layout.packing.decode(bytemuck::cast_slice(&words), self.layout.rows * self.layout.cols)
    }
}

impl Matrix {
    /// `[rows, cols]`, as it is stored.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Dense(values) => values.dims(),
            Self::Packed(Packed { layout, .. }) => [layout.rows, layout.cols],
            Self::Split(split) => split.dims(),
        }
    }

    /// How its numbers are stored; `None` is f32.
    pub fn packing(&self) -> Option<Packing> {
        match self {
            Self::Dense(_) => None,
            Self::Packed(packed) => Some(packed.layout.packing),
            Self::Split(split) => split.packing(),
        }
    }

    /// Whether its numbers are quantized, so that single ones cannot be changed.
    pub fn is_quantized(&self) -> bool {
        self.packing().is_some_and(Packing::quantized)
    }

    /// `x W^T` `[T, rows]` for `x` `[T, cols]` (`along` the rows of this matrix `W`), or `x W` `[T, cols]` for `x`
    /// `[T, rows]`. Differentiable in `x`.
    pub fn product(&self, x: Tensor<2>, along: bool) -> Tensor<2> {
        self.product_by(x, along, None)
    }

    /// [`Self::product`] in a given way, where the shape allows it and the matrix is not split.
    pub fn product_by(&self, x: Tensor<2>, along: bool, variant: Option<Variant>) -> Tensor<2> {
        Tensor::from_dispatch(match self {
            Self::Dense(values) => {
                Dispatch::dense_product_op(x.into_dispatch(), values.clone().into_dispatch(), along, variant)
            }
            Self::Packed(Packed { words, layout }) => {
                Dispatch::packed_product_op(x.into_dispatch(), words.clone().into_dispatch(), *layout, along, variant)
            }
            Self::Split(split) => return split.product(x, along),
        })
    }

    /// [`Self::product`], and `bias` added to it, in which it is differentiable too: `[1, outer]` to each row (a bias), or
    /// `[T, outer]` (what a layer adds its output to), where `outer` are the columns of the product.
    pub fn linear(&self, x: Tensor<2>, bias: Option<Tensor<2>>, along: bool) -> Tensor<2> {
        self.linear_by(x, bias, along, None)
    }

    /// [`Self::linear`] in a given way, where the shape allows it.
    pub fn linear_by(&self, x: Tensor<2>, bias: Option<Tensor<2>>, along: bool, by: Option<Variant>) -> Tensor<2> {
        let Some(bias) = bias else { return self.product_by(x, along, by) };
        let (x, added) = (x.into_dispatch(), bias.clone().into_dispatch());
        Tensor::from_dispatch(match self {
            Self::Dense(values) => Dispatch::dense_product_plus_op(x, values.clone().into_dispatch(), added, along, by),
            Self::Packed(Packed { words, layout }) => {
                Dispatch::packed_product_plus_op(x, words.clone().into_dispatch(), added, *layout, along, by)
            }
            split @ Self::Split(_) => return split.product(Tensor::from_dispatch(x), along) + bias,
        })
    }

    /// Rows `ids` `[N]` in f32, `[N, cols]`.
    pub fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Dense(values) => values.clone().select(0, ids),
            Self::Packed(packed) => packed.rows(ids, packed.layout),
            Self::Split(split) => split.rows(ids),
        }
    }

    /// The numbers at the flat indices `[N]` in f32, `[N]`.
    pub fn at(&self, indices: Tensor<1, Int>) -> Tensor<1> {
        let [rows, cols] = self.dims();
        match self {
            Self::Dense(values) => values.clone().reshape([rows * cols]).select(0, indices),
            Self::Packed(packed) => {
                let [count] = indices.dims();
                let layout = Layout { rows: rows * cols, cols: 1, ..packed.layout };
                packed.rows(indices, layout).reshape([count])
            }
            Self::Split(split) => split.at(indices),
        }
    }

    /// All numbers in row-major order, without blocking a browser.
    ///
    /// # Errors
    /// The device failed.
    pub async fn read(&self) -> Result<Vec<f32>> {
        match self {
            Self::Dense(values) => device::read(values.clone()).await,
            Self::Packed(packed) => packed.read().await,
            Self::Split(split) => split.read().await,
        }
    }

    /// The whole matrix in f32; one that is kept so stays the only handle of it.
    pub fn into_dense(self) -> Tensor<2> {
        match self {
            Self::Dense(values) => values,
            packed => packed.dense(),
        }
    }

    /// The whole matrix in f32.
    pub fn dense(&self) -> Tensor<2> {
        match self {
            Self::Dense(values) => values.clone(),
            Self::Packed(packed) => {
                let rows = 0..packed.layout.rows as u32;
                packed.rows(upload(rows.collect(), &packed.words.device()), packed.layout)
            }
            Self::Split(split) => split.dense(),
        }
    }
}

impl Packed {
    fn rows(&self, ids: Tensor<1, Int>, layout: Layout) -> Tensor<2> {
        let words = self.words.clone().into_dispatch();
        Tensor::from_dispatch(Dispatch::packed_rows_op(ids.into_dispatch(), words, layout))
    }
}

/// The composed twin of [`Matrix::product`]: everything in f32, and Burn's product.
pub fn composed(x: Tensor<2>, matrix: &Matrix, along: bool) -> Tensor<2> {
    let values = match matrix {
        Matrix::Dense(values) => values.clone(),
        Matrix::Packed(packed) => {
            let dims = [packed.layout.rows, packed.layout.cols];
            Tensor::from_data(TensorData::new(packed.values(), dims), &packed.words.device())
        }
        Matrix::Split(split) => split.dense(),
    };
    x.matmul(if along { values.transpose() } else { values })
}

impl<B: MatrixOps, C: CheckpointStrategy> MatrixOps for Autodiff<B, C> {
    fn dense_product_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        let w = w.into_primitive();
        let prepared = Product.prepare::<C>([x.node()]).compute_bound().stateful();
        let state = ProductState { factor: Factor::Dense(w.clone(), along), adds_one_row: false };
        recorded(prepared, state, B::dense_product_op(x.into_primitive(), w, along, variant))
    }

    fn dense_product_plus_op(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        let w = w.into_primitive();
        let prepared = Product.prepare::<C>([x.node(), bias.node()]).compute_bound().stateful();
        let state = ProductState { factor: Factor::Dense(w.clone(), along), adds_one_row: bias.shape()[0] == 1 };
        let [x, bias] = [x, bias].map(FloatTensor::<Self>::into_primitive);
        recorded(prepared, state, B::dense_product_plus_op(x, w, bias, along, variant))
    }

    fn packed_product_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        let prepared = Product.prepare::<C>([x.node()]).compute_bound().stateful();
        let state = ProductState { factor: Factor::Packed(words.clone(), layout, along), adds_one_row: false };
        recorded(prepared, state, B::packed_product_op(x.into_primitive(), words, layout, along, variant))
    }

    fn packed_product_plus_op(
        x: FloatTensor<Self>,
        words: IntTensor<Self>,
        bias: FloatTensor<Self>,
        layout: Layout,
        along: bool,
        variant: Option<Variant>,
    ) -> FloatTensor<Self> {
        let prepared = Product.prepare::<C>([x.node(), bias.node()]).compute_bound().stateful();
        let state =
            ProductState { factor: Factor::Packed(words.clone(), layout, along), adds_one_row: bias.shape()[0] == 1 };
        let [x, bias] = [x, bias].map(FloatTensor::<Self>::into_primitive);
        recorded(prepared, state, B::packed_product_plus_op(x, words, bias, layout, along, variant))
    }

    fn packed_rows_op(ids: IntTensor<Self>, words: IntTensor<Self>, layout: Layout) -> FloatTensor<Self> {
        Self::from_inner(B::packed_rows_op(ids, words, layout))
    }
}

/// An operation's place in the graph, if it has one.
fn recorded<B: Backend, C: CheckpointStrategy, O: Backward<B, N>, const N: usize>(
    prepared: OpsKind<O, B, O::State, C, N>,
    state: O::State,
    output: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    match prepared {
        OpsKind::Tracked(prep) => prep.finish(state, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

#[derive(Debug)]
struct Product;

/// What the backward pass of a product reads.
#[derive(Clone, Debug)]
struct ProductState<B: Backend> {
    factor: Factor<B>,
    /// Whether one row was added to all of the product's.
    adds_one_row: bool,
}

/// The frozen factor of a product, and whether the product goes along its rows.
#[derive(Clone, Debug)]
enum Factor<B: Backend> {
    Dense(FloatTensor<B>, bool),
    Packed(IntTensor<B>, Layout, bool),
}

impl<B: MatrixOps> Factor<B> {
    /// Gradient of the other factor from that of the product.
    fn input_gradient(self, dy: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Dense(w, along) => B::dense_product_op(dy, w, !along, None),
            Self::Packed(words, layout, along) => B::packed_product_op(dy, words, layout, !along, None),
        }
    }
}

/// Gradient of what was added to a product, one row or each, from that of the sum.
pub(super) fn bias_gradient<B: Backend>(dy: FloatTensor<B>, one_row: bool) -> FloatTensor<B> {
    if one_row { B::float_sum_dim(dy, 0) } else { dy }
}

/// With `N = 2` the last parent is what was added.
impl<B: MatrixOps, const N: usize> Backward<B, N> for Product {
    type State = ProductState<B>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let mut parents = ops.parents.into_iter();
        let (x_node, bias_node) = (parents.next().flatten(), parents.next().flatten());
        if let Some(node) = bias_node {
            grads.register::<B>(node.id, bias_gradient::<B>(dy.clone(), ops.state.adds_one_row));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, ops.state.factor.input_gradient(dy));
        }
    }
}
