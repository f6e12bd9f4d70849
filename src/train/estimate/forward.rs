//! The forward pass of a model in sizes: what each operation of `model` and `kernel` allocates, and what it keeps for the
//! backward pass. It mirrors those files function by function and has to follow them.

use std::collections::HashMap;

use super::{
    planned::{Means, Planned},
    step::{Work, factors},
    tape::{Extent, Grad, Input, Part, Tape, to},
};
use crate::{
    kernel::{
        Packing,
        masked_gather::{self, Machine},
        weight_gradient,
    },
    method::change::layer_dims,
    model::{
        Keeping, Parameter, Transformer,
        architecture::{FeedForwardKind, NormPlacement},
        block::FeedForward,
        head::Head,
        linear::{Linear, Norm},
    },
    train::objective::few,
};

/// The batch that is computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// `B`.
    pub rows: u64,
    /// `T`, padding included.
    pub width: u64,
    /// Predictions that count.
    pub predictions: u64,
}

impl Shape {
    /// `B * T`.
    pub(super) fn tokens(self) -> u64 {
        self.rows * self.width
    }
}

/// What a method has hooked into one parameter.
struct Hook {
    means: Means,
    /// The leaves that take the gradients: two of a low-rank product, else one.
    leaves: Vec<Extent>,
}

/// A model without values, computing one batch.
pub(super) struct Forward<'a> {
    pub(super) transformer: &'a Transformer,
    pub(super) tape: Tape,
    pub(super) shape: Shape,
    /// Whether this is Burn's CPU backend, where our kernels write over their operands.
    pub(super) cpu: bool,
    /// Whether the shaders run on the processor.
    software: bool,
    /// How the weights are kept.
    pub(super) keeping: Keeping,
    /// Bytes that the device binds at once, if there is a limit.
    pub(super) binding: Option<u64>,
    /// Whether the inputs of low-rank products are dropped.
    pub(super) dropout: bool,
    /// How many positions have their logits in one tensor at most.
    at_once: usize,
    planned: &'a [Planned],
    hooks: HashMap<&'a str, Hook>,
}

impl<'a> Forward<'a> {
    pub(super) fn new(transformer: &'a Transformer, tape: Tape, shape: Shape, work: &Work) -> Self {
        let Work { cpu, software, keeping, binding, dropout, at_once, .. } = *work;
        let hooks = HashMap::new();
        Self { transformer, tape, shape, cpu, software, keeping, binding, dropout, at_once, planned: &[], hooks }
    }

    /// Hooks in what is trained; with gradients only if `tracked`.
    pub(super) fn attach(&mut self, planned: &'a [Planned], tracked: bool) {
        self.planned = planned;
        for one in planned {
            let leaves = match one.means {
                Means::Sparse | Means::Whole => vec![one.tensor.trained as u64],
                Means::LowRank(rank) => factors(one, rank),
            };
            let leaves = leaves.into_iter().map(|numbers| self.tape.leaf(numbers, tracked)).collect();
            self.hooks.insert(&one.tensor.name, Hook { means: one.means, leaves });
        }
    }

    /// Every leaf, in the order of the plan.
    pub(super) fn leaves(&self) -> Vec<Extent> {
        self.planned.iter().flat_map(|planned| self.hooks[&planned.tensor.name[..]].leaves.clone()).collect()
    }

    /// What is uploaded of a batch, for as long as it is computed.
    pub(super) fn prepared(&self) -> Vec<Extent> {
        let Shape { width, predictions, .. } = self.shape;
        let (tokens, half) = (self.shape.tokens(), self.transformer.architecture.head_dim as u64 / 2);
        // Ids, tables of sines and cosines, types, the positions that count and what is right there.
        let mut all = vec![tokens];
        all.extend(vec![width * half; 2 * self.transformer.rotary_embeddings()]);
        all.extend([tokens, predictions, predictions]);
        all.into_iter().map(|numbers| self.tape.new_tensor(numbers, Part::Activations)).collect()
    }

    pub(super) fn hook(&self, parameter: &Parameter) -> Option<(Means, Vec<Extent>)> {
        self.hooks.get(&parameter.name[..]).map(|hook| (hook.means, hook.leaves.clone()))
    }

    /// Where our own kernels put the gradient of their one input.
    pub(super) fn own(&self, numbers: u64) -> Grad {
        if self.cpu { Grad::Over(numbers) } else { Grad::New(numbers) }
    }

    /// Room for the output of one of our own kernels, which `keeps` its input or does not.
    pub(super) fn own_room(&self, x: Extent, keeps: bool) -> (Extent, Extent) {
        self.tape.room(x, self.cpu && !keeps)
    }

    /// `x W^T`, with what is hooked into the weight and what is added, of which the gradient is known.
    fn weight(&mut self, parameter: &Parameter, addend: Option<(Extent, Grad)>, x: Extent, part: Part) -> Extent {
        if let Some(y) = self.by_blocks(parameter, &x, part) {
            return y;
        }
        let [outputs, inputs] = layer_dims(parameter).expect("weights are matrices").map(|side| side as u64);
        let (width, tokens) = (inputs, x.numbers / inputs);
        let new = |this: &Self, width: u64| this.tape.new_tensor(tokens * width, part);
        let dx = |x: &Extent| Grad::New(x.numbers);
        let mut inputs: Vec<Input> = addend.iter().map(|(addend, grad)| to(addend, *grad)).collect();
        match self.hook(parameter) {
            None => {
                let y = new(self, outputs);
                inputs.push(to(&x, dx(&x)));
                self.tape.record(y, &inputs, &[])
            }
            Some((Means::Sparse, leaves)) => {
                let y = new(self, outputs);
                let packing = self.transformer.packing(parameter, self.keeping);
                inputs.push(to(&x, dx(&x)));
                let y = self.tape.record(y, &inputs, &[]);
                if packing.is_some_and(Packing::quantized) {
                    self.beside(y, &leaves[0], &x)
                } else {
                    self.watched(y, &leaves[0], &x, [outputs, width])
                }
            }
            Some((Means::Whole, leaves)) => {
                let y = new(self, outputs);
                let scratch = self.parts_of_a_gradient(tokens, [outputs, width]);
                inputs.push(Input { of: &leaves[0], grad: dx(&leaves[0]), scratch });
                inputs.push(to(&x, dx(&x)));
                // The input is kept only for the gradient of what is trained.
                let kept = if leaves[0].is_tracked() { &[&x][..] } else { &[] };
                self.tape.record(y, &inputs, kept)
            }
            Some((Means::LowRank(rank), leaves)) => {
                let frozen = new(self, outputs);
                inputs.push(to(&x, dx(&x)));
                let frozen = self.tape.record(frozen, &inputs, &[]);
                let x = if self.dropout && leaves[0].is_tracked() {
                    let (y, x) = self.own_room(x, false);
                    let grad = self.own(x.numbers);
                    self.tape.record(y, &[to(&x, grad)], &[])
                } else {
                    x
                };
                self.low_rank(frozen, &leaves, &x, [outputs, width, rank as u64], part)
            }
        }
    }

    /// The product with a low-rank matrix, added to `onto`: what lies between its two factors is kept, and its gradient is there
    /// while `A` and the input get theirs.
    pub(super) fn low_rank(
        &mut self,
        onto: Extent,
        leaves: &[Extent],
        x: &Extent,
        dims: [u64; 3],
        part: Part,
    ) -> Extent {
        let [outputs, inputs, rank] = dims;
        let tokens = x.numbers / inputs;
        let between = tokens * if self.cpu { rank } else { rank.next_multiple_of(4) };
        let narrow = self.tape.new_tensor(between, part);
        // A rank of whole fours is taken as it is.
        let filled = if between == tokens * rank { 0 } else { rank.next_multiple_of(4) };
        let b = self.tape.new_tensor(outputs * filled, part);
        let wide = self.tape.new_tensor(tokens * outputs, part);
        let [of_a, of_b] = [[rank, inputs], [outputs, rank]].map(|dims| self.parts_of_a_gradient(tokens, dims));
        let gradients = [
            Input { of: &leaves[1], grad: Grad::New(leaves[1].numbers), scratch: of_b },
            Input { of: &leaves[0], grad: Grad::New(leaves[0].numbers), scratch: between + of_a },
            Input { of: x, grad: Grad::New(x.numbers), scratch: between + filled * inputs },
            to(&onto, Grad::Same),
        ];
        let trained = leaves[0].is_tracked();
        let kept = if trained { &[x, &narrow, &b][..] } else { &[] };
        self.tape.record(wide, &gradients, kept)
    }

    /// Numbers of the sums that the gradient of a weight is made of on a GPU.
    fn parts_of_a_gradient(&self, tokens: u64, dims: [u64; 2]) -> u64 {
        if self.cpu {
            return 0;
        }
        weight_gradient::scratch(tokens as usize, dims.map(|side| side as usize), self.software) as u64
    }

    /// The watch on a product whose weight `[outputs, inputs]` is trained sparsely: it changes nothing and keeps the product's
    /// input.
    pub(super) fn watched(&mut self, y: Extent, leaf: &Extent, x: &Extent, dims: [u64; 2]) -> Extent {
        let machine = match (self.cpu, self.software) {
            (true, _) => Machine::Cpu,
            (_, true) => Machine::SoftwareGpu,
            _ => Machine::Gpu,
        };
        let [outputs, inputs] = dims.map(|side| side as usize);
        let tokens = x.numbers as usize / inputs;
        let scratch = masked_gather::scratch(machine, tokens, outputs, inputs, leaf.numbers as usize) as u64;
        let output = y.clone().inner();
        let kept = if leaf.is_tracked() { &[x][..] } else { &[] };
        let of_leaf = Input { of: leaf, grad: Grad::New(leaf.numbers), scratch };
        self.tape.record(output, &[of_leaf, to(&y, Grad::Same)], kept)
    }

    /// The changes beside a quantized weight, added to the product with it.
    fn beside(&mut self, y: Extent, leaf: &Extent, x: &Extent) -> Extent {
        let output = y.clone().inner();
        let inputs = [to(leaf, Grad::New(leaf.numbers)), to(x, Grad::New(x.numbers)), to(&y, Grad::Same)];
        self.tape.record(output, &inputs, &[x])
    }

    /// A norm's scale or a bias.
    fn small(&mut self, parameter: &Parameter) -> Extent {
        match self.hook(parameter) {
            Some((_, leaves)) => leaves[0].clone(),
            None => self.tape.leaf(parameter.len() as u64, false),
        }
    }

    /// Rows of a table, `numbers` in all.
    fn rows(&mut self, table: &Parameter, numbers: u64) -> Extent {
        let rows = self.tape.new_tensor(numbers, Part::Activations);
        match self.hook(table) {
            Some((_, leaves)) => self.tape.record(rows, &[to(&leaves[0], Grad::New(leaves[0].numbers))], &[]),
            None => rows,
        }
    }

    /// `y = x W^T + b`.
    pub(super) fn linear(&mut self, layer: &Linear, x: Extent) -> Extent {
        self.linear_to(layer, x, Part::Activations)
    }

    fn linear_to(&mut self, layer: &Linear, x: Extent, part: Part) -> Extent {
        let bias = layer.bias.as_ref().map(|bias| self.small(bias));
        self.weight(&layer.weight, bias.map(|bias| (bias.clone(), Grad::New(bias.numbers))), x, part)
    }

    /// `onto + x W^T + b`, or without what it is added to.
    pub(super) fn linear_onto(&mut self, layer: &Linear, x: Extent, onto: Option<Extent>) -> Extent {
        match (onto, &layer.bias) {
            (Some(onto), None) => self.weight(&layer.weight, Some((onto, Grad::Same)), x, Part::Activations),
            (Some(onto), Some(_)) => {
                let y = self.linear(layer, x);
                self.tape.add(onto, y)
            }
            (None, _) => self.linear(layer, x),
        }
    }

    /// A norm over rows of any width.
    pub(super) fn norm(&mut self, norm: &Norm, x: Extent) -> Extent {
        let numbers = x.numbers;
        let scale = self.small(&norm.scale);
        let bias = norm.bias.as_ref().map(|bias| self.small(bias));
        let mut inputs = vec![to(&scale, Grad::New(scale.numbers))];
        inputs.extend(bias.iter().map(|bias| to(bias, Grad::New(bias.numbers))));
        let keeps = x.is_tracked() || inputs.iter().any(|input| input.of.is_tracked());
        let (y, x) = self.own_room(x, keeps);
        // The products whose column sums are the gradient of the scale.
        let scratch = if scale.is_tracked() { numbers } else { 0 };
        inputs.push(Input { of: &x, grad: self.own(numbers), scratch });
        self.tape.record(y, &inputs, &[&x])
    }

    /// Embeddings `[B * T, D]`.
    pub(super) fn embed(&mut self) -> Extent {
        let tables = &self.transformer.embeddings;
        let (a, tokens) = (&self.transformer.architecture, self.shape.tokens());
        let d = a.hidden_size as u64;
        let mut x = self.rows(&tables.tokens, tokens * d);
        if a.embedding_scale != 1.0 {
            x = self.tape.scale(x);
        }
        if let Some(table) = &tables.token_types {
            let types = self.rows(table, tokens * d);
            x = self.tape.add(x, types);
        }
        if let Some(table) = &tables.positions {
            let positions = self.rows(table, self.shape.width * d);
            let (sum, y) = self.tape.room(x, true);
            let inputs = [to(&positions, Grad::New(positions.numbers)), to(&y, Grad::Same)];
            x = self.tape.record(sum, &inputs, &[]);
        }
        match &tables.norm {
            Some(norm) => self.norm(norm, x),
            None => x,
        }
    }

    fn feed_forward(&mut self, layer: &FeedForward, x: Extent, onto: Option<Extent>) -> Extent {
        let gate = layer.gate.as_ref().map(|gate| self.linear(gate, x.clone()));
        let up = self.linear(&layer.up, x);
        let (gate, up) = match gate {
            Some(gate) => (Some(gate), up),
            None if layer.kind == FeedForwardKind::GatedFused => {
                let half = up.numbers / 2;
                (Some(self.tape.part_of(&up, half, false)), self.tape.part_of(&up, half, false))
            }
            None => (None, up),
        };
        let hidden = match gate {
            Some(gate) => {
                let numbers = gate.numbers;
                let (y, gate) = self.own_room(gate, up.is_tracked());
                let grad = if self.cpu { Grad::OverKept(1, numbers) } else { Grad::New(numbers) };
                let inputs = [to(&gate, grad), to(&up, self.own(numbers))];
                self.tape.record(y, &inputs, &[&gate, &up])
            }
            None => {
                let keeps = up.is_tracked();
                let (y, up) = self.own_room(up, keeps);
                let grad = self.own(up.numbers);
                self.tape.record(y, &[to(&up, grad)], &[&up])
            }
        };
        self.linear_onto(&layer.down, hidden, onto)
    }

    /// One block, `[B * T, D]` to `[B * T, D]`.
    pub(super) fn block(&mut self, index: usize, x: Extent) -> Extent {
        let block = &self.transformer.blocks[index];
        let (attention_norms, feed_forward_norms) = (block.facts.attention_norms, block.facts.feed_forward_norms);
        let onto = |placed: NormPlacement, x: &Extent| (!placed.after).then(|| x.clone());
        let normed = self.before(&block.attention_norm, x.clone());
        let attended = self.attention(&block.attention, normed, onto(attention_norms, &x));
        let x = self.join(&block.attention_output_norm, attention_norms, x, attended);
        let normed = self.before(&block.feed_forward_norm, x.clone());
        let fed = self.feed_forward(&block.feed_forward, normed, onto(feed_forward_norms, &x));
        let x = self.join(&block.feed_forward_output_norm, feed_forward_norms, x, fed);
        self.before(&block.final_norm, x)
    }

    fn before(&mut self, norm: &Option<Norm>, x: Extent) -> Extent {
        match norm {
            Some(norm) => self.norm(norm, x),
            None => x,
        }
    }

    fn join(&mut self, norm: &Option<Norm>, placed: NormPlacement, x: Extent, part: Extent) -> Extent {
        match (placed.after, norm) {
            (true, Some(norm)) => {
                let part = self.norm(norm, part);
                self.tape.add(x, part)
            }
            (_, Some(norm)) => self.norm(norm, part),
            _ => part,
        }
    }

    /// Logits of `positions` hidden states.
    fn head(&mut self, x: Extent) -> Extent {
        let transformer = self.transformer;
        let x = self.before(&transformer.norm, x);
        let logits = match &transformer.head {
            Head::Tied => self.weight(&transformer.embeddings.tokens, None, x, Part::Logits),
            Head::Vocabulary(weight) => self.weight(weight, None, x, Part::Logits),
            Head::Classifier(classifier) => {
                let x = match &classifier.pooler {
                    Some(pooler) => {
                        let pooled = self.linear(pooler, x);
                        self.tanh(pooled)
                    }
                    None => x,
                };
                return self.linear_to(&classifier.output, x, Part::Logits);
            }
        };
        match transformer.architecture.logit_softcap {
            Some(_) => self.softcap(logits),
            None => logits,
        }
    }

    /// `tanh`, whose backward pass forms its value again.
    fn tanh(&mut self, x: Extent) -> Extent {
        let keeps = x.is_tracked();
        let (y, x) = self.tape.room(x, !keeps);
        self.tape.record(y, &[to(&x, Grad::Over(x.numbers))], &[&x])
    }

    pub(super) fn softcap(&mut self, x: Extent) -> Extent {
        let x = self.tape.scale(x);
        let x = self.tanh(x);
        self.tape.scale(x)
    }

    /// Hidden states at the positions that count.
    pub(super) fn counted(&mut self, hidden: Extent) -> Extent {
        let (tokens, d) = (self.shape.tokens(), self.transformer.architecture.hidden_size as u64);
        let select = matches!(self.transformer.head, Head::Classifier(_))
            || few(self.shape.predictions as usize, tokens as usize);
        if select { self.tape.part_of(&hidden, self.shape.predictions * d, false) } else { hidden }
    }

    /// Logits at the positions that count, as an evaluation of a classifier reads them.
    pub(super) fn logits(&mut self, hidden: Extent) -> Extent {
        let hidden = self.counted(hidden);
        self.head(hidden)
    }

    /// The summed loss from the hidden states after the last block, in one graph.
    pub(super) fn loss_sum(&mut self, hidden: Extent) -> Extent {
        let d = self.transformer.architecture.hidden_size as u64;
        let hidden = self.counted(hidden);
        let rows = hidden.numbers / d;
        let mut sum = None;
        for count in self.pieces(rows) {
            let piece = if rows > count { self.tape.part_of(&hidden, count * d, true) } else { hidden.clone() };
            let part = self.loss_of(piece, count);
            sum = Some(match sum {
                Some(sum) => self.tape.add(sum, part),
                None => part,
            });
        }
        sum.expect("a batch has rows")
    }

    /// How many positions each piece of `rows` has whose logits exist at one time.
    pub(super) fn pieces(&self, rows: u64) -> Vec<u64> {
        let at_once = self.at_once as u64;
        (0..rows).step_by(at_once as usize).map(|start| at_once.min(rows - start)).collect()
    }

    /// The summed loss of the `count` positions that `hidden` has.
    pub(super) fn loss_of(&mut self, hidden: Extent, count: u64) -> Extent {
        let logits = self.head(hidden);
        let losses = self.tape.new_tensor(count, Part::Logits);
        let grad = if self.cpu { Grad::OverKept(0, logits.numbers) } else { Grad::New(logits.numbers) };
        let losses = self.tape.record(losses, &[to(&logits, grad)], &[&logits]);
        drop(logits);
        self.tape.total(losses)
    }
}
