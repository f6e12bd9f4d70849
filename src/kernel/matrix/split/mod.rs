//! Matrices of more bytes than a device binds at once, as blocks of whole rows: tables and heads of large vocabularies.
//!
//! Blocks are matrices in f32 or in 16 bits. They are not joined to compute with them. Each puts what it has into the result:
//! its columns of a product along the rows ([`mod@columns`]), its rows of those that are asked for ([`mod@pick`]).

pub mod columns;
pub mod pick;

use std::ops::Range;

use burn::tensor::{Int, Tensor};

use super::{Matrix, Packed, Packing, upload, write::Step};
use crate::{Result, device::ComputeDevice};

use columns::columns;
pub(in crate::kernel) use pick::SHADERS;
use pick::pick;

/// Blocks have whole multiples of this many rows where there is room, so that columns of products begin where they are read
/// and written fastest.
const ROWS: usize = 64;

/// The rows of each block of a matrix `[rows, cols]`, of which none takes more than `limit` bytes (or one row); all rows
/// where it need not be split. Blocks are about equally large.
pub fn row_blocks([rows, cols]: [usize; 2], packing: Option<Packing>, limit: Option<u64>) -> Vec<Range<usize>> {
    let bytes = |rows: usize| 4 * packing.map_or(rows * cols, |packing| packing.words(rows * cols)) as u64;
    let Some(limit) = limit.filter(|limit| bytes(rows) > *limit && rows > 0) else {
        return std::iter::once(0..rows).collect();
    };
    // Between `most` rows, which fit, and `fewest`, which do not.
    let (mut most, mut fewest) = (0, rows);
    while fewest - most > 1 {
        let middle = most.midpoint(fewest);
        *(if bytes(middle) > limit { &mut fewest } else { &mut most }) = middle;
    }
    let most = most.max(1);
    let each = rows.div_ceil(rows.div_ceil(most)).next_multiple_of(ROWS).min(most);
    (0..rows).step_by(each).map(|first| first..rows.min(first + each)).collect()
}

/// A matrix as blocks of its rows, one below the other.
#[derive(Clone, Debug)]
pub struct Split {
    /// All stored alike, and none of them split.
    blocks: Vec<Matrix>,
    dims: [usize; 2],
}

impl Matrix {
    /// A matrix `[rows, cols]` of the blocks that `block` makes of ranges of its rows, as [`row_blocks`] has them; of one
    /// block it is that block.
    pub fn by_rows(
        dims: [usize; 2],
        packing: Option<Packing>,
        limit: Option<u64>,
        block: impl FnMut(Range<usize>) -> Self,
    ) -> Self {
        let mut blocks: Vec<Self> = row_blocks(dims, packing, limit).into_iter().map(block).collect();
        match blocks.pop() {
            Some(only) if blocks.is_empty() => only,
            last => {
                blocks.extend(last);
                Self::Split(Split { blocks, dims })
            }
        }
    }

    /// `values` in row-major order, in f32 or packed ([`Packed::from_values`]), in blocks of at most `limit` bytes.
    pub fn from_values(
        values: Vec<f32>,
        packing: Option<Packing>,
        dims: [usize; 2],
        device: &ComputeDevice,
        limit: Option<u64>,
    ) -> Self {
        let [rows, cols] = dims;
        let block = |values: Vec<f32>, rows: usize| match packing {
            None => Self::Dense(device.floats(values, [rows, cols])),
            Some(packing) => Self::Packed(Packed::from_values(&values, packing, [rows, cols], &device.handle)),
        };
        if row_blocks(dims, packing, limit).len() == 1 {
            return block(values, rows);
        }
        Self::by_rows(dims, packing, limit, |rows| {
            block(values[rows.start * cols..rows.end * cols].to_vec(), rows.len())
        })
    }

    /// The bytes of a checkpoint's 16-bit tensor ([`Packed::from_bytes`]), in blocks of at most `limit` bytes.
    pub fn from_bytes(
        bytes: &[u8],
        packing: Packing,
        dims: [usize; 2],
        device: &ComputeDevice,
        limit: Option<u64>,
    ) -> Self {
        let cols = dims[1];
        Self::by_rows(dims, Some(packing), limit, |rows| {
            let part = &bytes[2 * rows.start * cols..2 * rows.end * cols];
            Self::Packed(Packed::from_bytes(part, packing, [rows.len(), cols], &device.handle))
        })
    }

    /// A matrix of which nobody cares what its numbers are, in blocks of at most `limit` bytes.
    pub fn empty(packing: Option<Packing>, dims: [usize; 2], device: &ComputeDevice, limit: Option<u64>) -> Self {
        Self::by_rows(dims, packing, limit, |rows| match packing {
            None => Self::Dense(Tensor::empty([rows.len(), dims[1]], &device.handle)),
            Some(packing) => Self::Packed(Packed::empty(packing, [rows.len(), dims[1]], &device.handle)),
        })
    }

    /// The blocks of its rows, in order: itself where it is not split.
    pub fn blocks(&self) -> &[Self] {
        match self {
            Self::Split(split) => &split.blocks,
            whole => std::slice::from_ref(whole),
        }
    }

    /// Some neighbouring rows in f32, `[rows.len(), cols]`.
    pub fn part(&self, rows: Range<usize>) -> Tensor<2> {
        if rows == (0..self.dims()[0]) {
            return self.dense();
        }
        let device = match &self.blocks()[0] {
            Self::Packed(packed) => packed.words.device(),
            Self::Dense(values) => values.device(),
            Self::Split(_) => unreachable!("blocks are not split"),
        };
        self.rows(upload((rows.start as u32..rows.end as u32).collect(), &device))
    }
}

impl Split {
    /// `[rows, cols]`.
    pub(super) fn dims(&self) -> [usize; 2] {
        self.dims
    }

    pub(super) fn packing(&self) -> Option<Packing> {
        self.blocks[0].packing()
    }

    /// Each block with the number of its first row.
    fn placed(&self) -> impl Iterator<Item = (usize, &Matrix)> {
        self.blocks.iter().scan(0, |next, block| {
            let first = *next;
            *next += block.dims()[0];
            Some((first, block))
        })
    }

    /// See [`Matrix::product`]. Along the rows, the columns of the product are those of the blocks side by side; across them,
    /// it is a sum of the blocks' products.
    pub(super) fn product(&self, x: Tensor<2>, along: bool) -> Tensor<2> {
        let [tokens, _] = x.dims();
        if along {
            let y = Tensor::empty([tokens, self.dims[0]], &x.device());
            return self.placed().fold(y, |y, (first, block)| columns(y, x.clone(), block, first));
        }
        let of_block = |(first, block): (usize, &Matrix)| {
            block.product(x.clone().slice_dim(1, first..first + block.dims()[0]), false)
        };
        self.placed().map(of_block).reduce(|sum, part| sum + part).expect("a split matrix has blocks")
    }

    /// See [`Matrix::rows`].
    pub(super) fn rows(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        let out = Tensor::zeros([ids.dims()[0], self.dims[1]], &ids.device());
        self.placed().fold(out, |out, (first, block)| pick(out, ids.clone(), block, first, false))
    }

    /// See [`Matrix::at`].
    pub(super) fn at(&self, indices: Tensor<1, Int>) -> Tensor<1> {
        let ([count], [_, cols]) = (indices.dims(), self.dims);
        let out = Tensor::zeros([count, 1], &indices.device());
        let out = self.placed().fold(out, |out, (first, block)| pick(out, indices.clone(), block, first * cols, true));
        out.reshape([count])
    }

    /// See [`Matrix::read`].
    pub(super) async fn read(&self) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(self.dims[0] * self.dims[1]);
        for block in &self.blocks {
            // Blocks do not contain blocks; a future of one size says so to the compiler.
            all.extend(Box::pin(block.read()).await?);
        }
        Ok(all)
    }

    /// See [`Matrix::dense`]: all of it in one tensor, for a device that can bind that.
    pub(super) fn dense(&self) -> Tensor<2> {
        Tensor::cat(self.blocks.iter().map(Matrix::dense).collect(), 0)
    }

    /// Changes every block in place; `change` also gets the flat index of its first number.
    fn changed(self, mut change: impl FnMut(Matrix, usize) -> Matrix) -> Self {
        let mut next = 0;
        let blocks = self.blocks.into_iter().map(|block| {
            let first = next;
            next += block.dims()[0] * self.dims[1];
            change(block, first)
        });
        Self { blocks: blocks.collect(), ..self }
    }

    /// See [`Matrix::write`].
    pub(super) fn write(self, indices: Tensor<1, Int>, values: Tensor<1>) -> Self {
        self.changed(|block, first| block.write_from(first, indices.clone(), values.clone()))
    }

    /// See [`Matrix::step`]: the first block's step is the one that trains, and writes what is its own; the others are
    /// written what has come of it.
    pub(super) fn step(self, delta: Tensor<1>, moments: Tensor<2>, step: Step) -> (Self, Tensor<1>, Tensor<2>) {
        let (indices, base) = (step.indices.clone(), step.base.clone());
        let mut state = Some((delta, moments, step));
        let mut trained = None;
        let mut values = None;
        let split = self.changed(|block, first| match state.take() {
            Some((delta, moments, step)) => {
                let (block, delta, moments) = block.step(delta, moments, step);
                values = Some(base.clone() + delta.clone());
                trained = Some((delta, moments));
                block
            }
            None => block.write_from(first, indices.clone(), values.clone().expect("the first block was stepped")),
        });
        let (delta, moments) = trained.expect("a split matrix has blocks");
        (split, delta, moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_and_cover_all_rows() {
        for packing in [None, Some(Packing::Bf16)] {
            for (rows, cols, limit) in [(1, 5, 1), (7, 5, 20), (67, 32, 1000), (1000, 64, 40_000), (300, 7, 1 << 20)] {
                let blocks = row_blocks([rows, cols], packing, Some(limit));
                assert_eq!((blocks[0].start, blocks[blocks.len() - 1].end), (0, rows));
                assert!(blocks.windows(2).all(|pair| pair[0].end == pair[1].start), "{blocks:?}");
                for block in &blocks {
                    let numbers = block.len() * cols;
                    let bytes = 4 * packing.map_or(numbers, |packing| packing.words(numbers)) as u64;
                    assert!(!block.is_empty() && (bytes <= limit || block.len() == 1), "{blocks:?}");
                }
            }
        }
        assert_eq!(row_blocks([262_144, 256], None, Some(128 << 20)), [0..131_072, 131_072..262_144]);
        let [one] = &row_blocks([5, 8], None, None)[..] else { panic!("it need not be split") };
        assert_eq!(*one, 0..5);
    }
}
