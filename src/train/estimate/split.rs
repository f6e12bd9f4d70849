//! Tables and heads that are kept in blocks of their rows, in sizes. It mirrors `kernel::matrix::split`.

use super::{
    forward::Forward,
    planned::Means,
    tape::{Extent, Grad, Input, Part, to},
};
use crate::{
    kernel::{Packing, matrix::split::row_blocks},
    model::Parameter,
};

/// Numbers of each block in which a tensor is kept on a device that binds so many bytes at once.
pub(super) fn blocks(parameter: &Parameter, packing: Option<Packing>, binding: Option<u64>) -> Vec<usize> {
    let dims = parameter.matrix_dims();
    let binding = binding.filter(|_| parameter.role.by_rows());
    row_blocks(dims, packing, binding).into_iter().map(|rows| rows.len() * dims[1]).collect()
}

impl Forward<'_> {
    /// `x W^T` with a weight that is kept in several blocks; `None` where it is kept in one, or trained as a whole.
    pub(super) fn by_blocks(&mut self, parameter: &Parameter, x: &Extent, part: Part) -> Option<Extent> {
        let packing = self.transformer.packing(parameter, self.keeping);
        let blocks = blocks(parameter, packing, self.binding);
        let hook = self.hook(parameter);
        if blocks.len() == 1 || matches!(hook, Some((Means::Whole, _))) {
            return None;
        }
        let [outputs, inputs] = parameter.matrix_dims().map(|side| side as u64);
        let tokens = x.numbers / inputs;
        let mut y = self.tape.new_tensor(tokens * outputs, part);
        for numbers in blocks {
            // The columns of one block, which are then put to their place; on the way back, their gradients.
            let columns = tokens * (numbers as u64 / inputs);
            drop(self.tape.new_tensor(columns, part));
            let inputs = [Input { of: x, grad: Grad::New(x.numbers), scratch: columns }, to(&y, Grad::Same)];
            let output = y.clone().inner();
            y = self.tape.record(output, &inputs, &[]);
        }
        Some(match hook {
            Some((Means::LowRank(rank), leaves)) => {
                let mut x = x.clone();
                if self.dropout && leaves[0].is_tracked() {
                    let (dropped, from) = self.own_room(x, false);
                    let grad = self.own(from.numbers);
                    x = self.tape.record(dropped, &[to(&from, grad)], &[]);
                }
                self.low_rank(y, &leaves, &x, [outputs, inputs, rank as u64], part)
            }
            Some((_, leaves)) => self.watched(y, &leaves[0], x, [outputs, inputs]),
            None => y,
        })
    }
}
