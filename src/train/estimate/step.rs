//! One optimizer step in sizes: what [`train::step`](crate::train::step), an evaluation and the look of a gradient mask at
//! the first batches hold at once. It mirrors those files and has to follow them.

use super::{
    forward::{Forward, Shape},
    planned::{Means, Planned},
    split,
    tape::{self, Buffer, Extent, Gradients, Ledger, Part, Tape},
};
use crate::{
    event::TrainedTensor,
    kernel::Packing,
    model::{Keeping, Parameter, Transformer, head::Head},
};

/// What is trained of which model on which kind of device.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub transformer: &'a Transformer,
    pub planned: &'a [Planned],
    /// Whether it runs on Burn's CPU backend.
    pub cpu: bool,
    /// Whether it runs on a software adapter.
    pub software: bool,
    /// How the weights are kept.
    pub keeping: Keeping,
    /// Whether the inputs of low-rank products are dropped.
    pub dropout: bool,
    /// How many positions have their logits in one tensor at most.
    pub at_once: usize,
    /// Bytes that the device binds at once, if there is a limit.
    pub binding: Option<u64>,
}

/// The batches of a run.
#[derive(Clone, Copy)]
pub(super) struct Batches {
    /// The fullest to train on.
    pub train: Shape,
    /// How many of them a step has.
    pub accumulation: usize,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// The fullest to evaluate, if there are any.
    pub evaluate: Option<Shape>,
    /// Whether the first batches are looked at before training.
    pub calibrate: bool,
}

impl<'a> Work<'a> {
    /// Everything from the loading of the model to the second step. With the third nothing changes any more.
    pub(super) fn play(&self, ledger: &Ledger, batches: Batches) {
        let parameters = self.transformer.parameters();
        let hold = |numbers: u64| ledger.hold(numbers, Part::Weights);
        let mut weights: Vec<Vec<Buffer>> =
            parameters.iter().map(|p| self.words(p).into_iter().map(hold).collect()).collect();
        if batches.calibrate {
            self.calibrate(ledger, batches.train);
        }
        for (parameter, weight) in parameters.iter().zip(&mut weights) {
            if self.trains_whole(parameter) && self.words(parameter) != [parameter.len() as u64] {
                *weight = vec![hold(parameter.len() as u64)];
            }
        }
        let _trained: Vec<Buffer> = self.planned.iter().flat_map(|planned| trained(ledger, planned)).collect();
        let _beside: Vec<Buffer> = self.planned.iter().flat_map(|planned| self.beside(ledger, planned)).collect();
        if let Some(shape) = batches.evaluate {
            self.evaluate(ledger, shape);
        }
        for _ in 0..2 {
            self.step(ledger, batches);
        }
    }

    /// 32-bit words of a tensor as it is loaded, of each of its blocks.
    fn words(&self, parameter: &Parameter) -> Vec<u64> {
        let packing = self.transformer.packing(parameter, self.keeping);
        let numbers = split::blocks(parameter, packing, self.binding).into_iter();
        numbers.map(|numbers| packing.map_or(numbers, |packing| packing.words(numbers)) as u64).collect()
    }

    /// What tells where the trained numbers of a quantized weight are, row by row and column by column.
    fn beside(&self, ledger: &Ledger, planned: &Planned) -> Vec<Buffer> {
        let parameters = self.transformer.parameters();
        let parameter = parameters.iter().find(|parameter| parameter.name == planned.tensor.name);
        let quantized = |p: &&&Parameter| self.transformer.packing(p, self.keeping).is_some_and(Packing::quantized);
        let Some(parameter) = parameter.filter(quantized).filter(|_| planned.means == Means::Sparse) else {
            return Vec::new();
        };
        let lines = parameter.dims.iter().map(|side| *side as u64 + 1);
        lines.chain([planned.tensor.trained as u64]).map(|numbers| ledger.hold(numbers, Part::Trained)).collect()
    }

    /// Whether the tensor is trained as a whole, and so kept in f32.
    fn trains_whole(&self, parameter: &Parameter) -> bool {
        self.planned.iter().any(|planned| planned.tensor.name == parameter.name && planned.means == Means::Whole)
    }

    fn forward(&self, ledger: &Ledger, shape: Shape) -> Forward<'a> {
        Forward::new(self.transformer, Tape::new(ledger.clone()), shape, self)
    }

    fn step(&self, ledger: &Ledger, batches: Batches) {
        let mut sums: Vec<Option<Buffer>> = Vec::new();
        // With the second batch there is a sum of gradients already; further ones add nothing.
        for _ in 0..batches.accumulation.min(2) {
            let mut forward = self.forward(ledger, batches.train);
            let _prepared = forward.prepared();
            forward.attach(self.planned, !batches.recompute);
            let collect = |leaves: &[Extent], gradients: &mut Gradients| {
                sums.resize_with(leaves.len(), || None);
                for (sum, leaf) in sums.iter_mut().zip(leaves) {
                    if let Some(new) = gradients.take(leaf) {
                        *sum = Some(match sum.take() {
                            Some(old) => tape::sum(new, old),
                            None => new,
                        });
                    }
                }
            };
            if batches.recompute { recomputed(forward, self.planned, collect) } else { whole(forward, collect) }
        }
    }

    /// A batch of an evaluation.
    fn evaluate(&self, ledger: &Ledger, shape: Shape) {
        let mut forward = self.forward(ledger, shape);
        let _prepared = forward.prepared();
        forward.attach(self.planned, false);
        let hidden = hidden(&mut forward);
        match self.transformer.head {
            Head::Classifier(_) => drop(forward.logits(hidden)),
            _ => drop(forward.loss_sum(hidden)),
        }
    }

    /// Dense gradients of the tensors that a gradient mask may choose from.
    fn calibrate(&self, ledger: &Ledger, shape: Shape) {
        let whole_tensor = |planned: &Planned| {
            let TrainedTensor { name, shape, .. } = planned.tensor.clone();
            let trained = shape.iter().product();
            Planned { tensor: TrainedTensor { name, shape, trained }, means: Means::Whole }
        };
        let planned: Vec<Planned> = self.planned.iter().map(whole_tensor).collect();
        // What is packed is looked at in f32.
        let parameters = self.transformer.parameters().into_iter();
        let looked_at = parameters.filter(|p| planned.iter().any(|planned| planned.tensor.name == p.name));
        let unpacked = looked_at.filter(|p| self.words(p) != [p.len() as u64]);
        let _unpacked: Vec<Buffer> = unpacked.map(|p| ledger.hold(p.len() as u64, Part::Weights)).collect();
        let _trained: Vec<Buffer> = planned.iter().flat_map(|planned| trained(ledger, planned)).collect();
        let mut forward = Work { planned: &planned, ..*self }.forward(ledger, shape);
        let _prepared = forward.prepared();
        forward.attach(&planned, true);
        let hidden = hidden(&mut forward);
        let loss = forward.loss_sum(hidden);
        drop(forward.tape.backward(&loss));
    }
}

/// What lives from step to step beside a tensor that is trained.
fn trained(ledger: &Ledger, planned: &Planned) -> Vec<Buffer> {
    let count = planned.tensor.trained as u64;
    let stored = match planned.means {
        // Places, original values and deltas.
        Means::Sparse => vec![count; 3],
        Means::LowRank(rank) => factors(planned, rank),
        Means::Whole => Vec::new(),
    };
    let moments = match planned.means {
        Means::LowRank(rank) => factors(planned, rank),
        Means::Sparse | Means::Whole => vec![count],
    };
    let stored = stored.into_iter().map(|numbers| ledger.hold(numbers, Part::Trained));
    let moments = moments.into_iter().map(|numbers| ledger.hold(2 * numbers, Part::Moments));
    stored.chain(moments).collect()
}

/// Numbers of the two matrices of a low-rank product.
pub(super) fn factors(planned: &Planned, rank: usize) -> Vec<u64> {
    planned.tensor.shape.iter().rev().map(|&side| (side * rank) as u64).collect()
}

fn hidden(forward: &mut Forward) -> Extent {
    let mut x = forward.embed();
    for index in 0..forward.transformer.blocks.len() {
        x = forward.block(index, x);
    }
    x
}

/// Forward and backward over the whole graph at once.
fn whole(mut forward: Forward, mut collect: impl FnMut(&[Extent], &mut Gradients)) {
    let hidden = hidden(&mut forward);
    let mut gradients = from_the_loss(&mut forward, hidden, &mut collect);
    collect(&forward.leaves(), &mut gradients);
}

/// The loss, and the backward pass from it through what `hidden` comes from.
fn from_the_loss(
    forward: &mut Forward,
    hidden: Extent,
    collect: &mut impl FnMut(&[Extent], &mut Gradients),
) -> Gradients {
    let d = forward.transformer.architecture.hidden_size as u64;
    let counted = forward.counted(hidden);
    let pieces = forward.pieces(counted.numbers / d);
    if let [all] = pieces[..] {
        let loss = forward.loss_of(counted, all);
        let loss = forward.tape.scale(loss);
        return forward.tape.backward(&loss);
    }
    let before = forward.tape.put_aside();
    let leaves = forward.leaves();
    let kept = counted.clone().inner();
    let mut parts = Vec::new();
    for count in pieces {
        let piece = forward.tape.part_of(&kept, count * d, true);
        let x = forward.tape.restart(piece);
        let loss = forward.loss_of(x.clone(), count);
        let loss = forward.tape.scale(loss);
        let mut gradients = forward.tape.backward(&loss);
        parts.push(gradients.get(&x));
        collect(&leaves, &mut gradients);
    }
    let dx = forward.tape.new_tensor(counted.numbers, Part::Activations);
    drop((kept, parts));
    forward.tape.take_up(before);
    forward.tape.backward_from(counted, dx)
}

/// The same with only the inputs of blocks kept.
fn recomputed<'a>(
    mut forward: Forward<'a>,
    planned: &'a [Planned],
    mut collect: impl FnMut(&[Extent], &mut Gradients),
) {
    let mut inputs = vec![forward.embed()];
    for index in 0..forward.transformer.blocks.len() {
        let x = inputs[index].clone();
        inputs.push(forward.block(index, x));
    }
    forward.attach(planned, true);
    let leaves = forward.leaves();
    let x = forward.tape.restart(inputs.pop().expect("one input a block and one for the head"));
    let mut gradients = from_the_loss(&mut forward, x.clone(), &mut collect);
    let mut dx = gradients.get(&x).expect("the head depends on its input");
    collect(&leaves, &mut gradients);
    drop((x, gradients));
    for index in (0..forward.transformer.blocks.len()).rev() {
        let x = forward.tape.restart(inputs.pop().expect("one input a block"));
        let y = forward.block(index, x.clone());
        let mut gradients = forward.tape.backward_from(y, dx);
        dx = gradients.get(&x).expect("a block depends on its input");
        collect(&leaves, &mut gradients);
    }
    let x = forward.embed();
    if x.is_tracked() {
        collect(&leaves, &mut forward.tape.backward_from(x, dx));
    }
}
