//! How the matrices of a product lie in memory.

/// Columns that are computed together.
pub(in crate::kernel) const PANEL: usize = 16;

/// A left matrix `[rows, depth]`: the number `(i, p)` stands at `i * row + p * step`, and one of the two is 1.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Left<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// From row to row.
    pub row: usize,
    /// From column to column.
    pub step: usize,
}

/// A right matrix `[depth, columns]`: the number `(p, j)` stands at `j / PANEL * panel + p * row + j % PANEL`.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Right<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// From row to row.
    pub row: usize,
    /// From panel to panel: [`PANEL`] in a matrix that is stored by rows.
    pub panel: usize,
}

/// `rows` and `columns` of a product, and the `depth` of its sums.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Sizes {
    /// Rows of the left matrix.
    pub rows: usize,
    /// Columns of the right matrix.
    pub columns: usize,
    /// Columns of the left matrix, rows of the right one.
    pub depth: usize,
}

/// Where a product goes: `rows` of `stride` numbers, of which the first `columns` are written.
#[derive(Debug)]
pub(in crate::kernel) struct Out<'a> {
    /// The numbers.
    pub values: &'a mut [f32],
    /// From row to row.
    pub stride: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}
