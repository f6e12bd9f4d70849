//! Reverse-mode differentiation in sizes: tensors without numbers that keep account of the bytes they would hold.
//!
//! The rules are those of Burn's autodiff without its own checkpointing: a recorded operation keeps what its backward pass
//! reads; backward passes run by depth, deepest first; a gradient lives until the operation that made its tensor has
//! read it; elementwise operations write over an operand that nothing else holds.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use super::arena::{Arena, Place};

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The model's tensors.
    Weights,
    /// Values, places and originals of the trained numbers, where they are stored beside the weights.
    Trained,
    /// AdamW's moments.
    Moments,
    /// Gradients of the trained numbers.
    Gradients,
    /// What the backward pass reads, gradients of activations, and what an operation needs meanwhile.
    Activations,
    /// Logits, their gradient and the loss.
    Logits,
    /// What the allocator holds beyond what is in use.
    Pages,
}

/// Every part, with its name for people, in the order of [`Part`].
pub(super) const PARTS: [&str; 7] = [
    "model weights",
    "trained numbers",
    "optimizer moments",
    "gradients",
    "activations",
    "logits and loss",
    "allocator's pages",
];

#[derive(Default)]
struct Account {
    live: [u64; PARTS.len()],
    peak: [u64; PARTS.len()],
    largest: u64,
    /// Of a GPU, and the most that it held.
    arena: Option<(Arena, u64)>,
}

/// Bytes that are held, and the most that were.
#[derive(Clone, Default)]
pub(super) struct Ledger(Rc<RefCell<Account>>);

impl Ledger {
    /// The account of a GPU whose allocator has pages of at most `largest_page` bytes.
    pub(super) fn of_gpu(largest_page: u64) -> Self {
        let arena = Some((Arena::new(largest_page), 0));
        Self(Rc::new(RefCell::new(Account { arena, ..Account::default() })))
    }

    /// A buffer of `numbers` 32-bit numbers.
    pub(super) fn hold(&self, numbers: u64, part: Part) -> Buffer {
        let bytes = numbers.saturating_mul(4);
        let mut account = self.0.borrow_mut();
        account.live[part as usize] += bytes;
        account.largest = account.largest.max(bytes);
        if account.live.iter().sum::<u64>() > account.peak.iter().sum() {
            account.peak = account.live;
        }
        let place = account.arena.as_mut().filter(|_| bytes > 0).map(|(arena, most)| {
            let place = arena.reserve(bytes);
            *most = arena.held.max(*most);
            place
        });
        Buffer(Rc::new(Held { bytes, part, place, ledger: self.clone() }))
    }

    /// Bytes of each part at the moment when most were in use, and what the allocator held beyond that at most.
    pub(super) fn peak(&self) -> [u64; PARTS.len()] {
        let account = self.0.borrow();
        let mut parts = account.peak;
        if let Some((_, most)) = &account.arena {
            parts[Part::Pages as usize] = most.saturating_sub(parts.iter().sum());
        }
        parts
    }

    /// Bytes of the largest buffer.
    pub(super) fn largest(&self) -> u64 {
        self.0.borrow().largest
    }
}

struct Held {
    bytes: u64,
    part: Part,
    place: Option<Place>,
    ledger: Ledger,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut account = self.ledger.0.borrow_mut();
        account.live[self.part as usize] -= self.bytes;
        if let (Some((arena, _)), Some(place)) = (&mut account.arena, self.place) {
            arena.release(place);
        }
    }
}

/// A piece of memory, held as long as a clone of this lives.
#[derive(Clone)]
pub(super) struct Buffer(Rc<Held>);

impl Buffer {
    /// Whether this is the only handle.
    fn is_alone(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

/// A tensor, as far as memory knows it.
#[derive(Clone)]
pub(super) struct Extent {
    buffer: Buffer,
    /// How many numbers it has.
    pub numbers: u64,
    /// Its place in the graph; `None` where it is not tracked.
    node: Option<usize>,
}

impl Extent {
    /// Whether gradients flow back to it.
    pub(super) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// The same without its history.
    pub(super) fn inner(self) -> Self {
        Self { node: None, ..self }
    }
}

/// Where the backward pass of an operation puts the gradient of an input.
#[derive(Clone, Copy)]
pub(super) enum Grad {
    /// It is the gradient of the output, perhaps seen in another shape.
    Same,
    /// A new buffer of this many numbers.
    New(u64),
    /// Over the gradient of the output, where this is the last to read it and nothing else holds it; else a new buffer.
    Over(u64),
    /// Over the n-th kept tensor, where nothing else holds it; else a new buffer.
    OverKept(usize, u64),
}

/// An input of an operation: its gradient, and the numbers that forming it needs meanwhile.
pub(super) struct Input<'a> {
    pub of: &'a Extent,
    pub grad: Grad,
    pub scratch: u64,
}

/// An input whose gradient needs nothing besides.
pub(super) fn to(of: &Extent, grad: Grad) -> Input<'_> {
    Input { of, grad, scratch: 0 }
}

struct Parent {
    node: usize,
    grad: Grad,
    scratch: u64,
}

struct Step {
    output: usize,
    parents: Vec<Parent>,
    kept: Vec<Buffer>,
}

struct Node {
    depth: usize,
    part: Part,
}

/// Records operations and plays their backward passes.
pub(super) struct Tape {
    /// The account.
    pub ledger: Ledger,
    nodes: Vec<Node>,
    steps: Vec<Step>,
}

/// Operations that wait for their backward pass.
pub(super) struct Recorded(Vec<Step>);

/// Gradients of the leaves of one backward pass.
pub(super) struct Gradients(HashMap<usize, Buffer>);

impl Gradients {
    /// Takes out the gradient of a leaf.
    pub(super) fn take(&mut self, leaf: &Extent) -> Option<Buffer> {
        self.0.remove(&leaf.node?)
    }

    /// The gradient of a leaf as a tensor, which stays in here as well.
    pub(super) fn get(&self, leaf: &Extent) -> Option<Extent> {
        let buffer = self.0.get(&leaf.node?)?.clone();
        Some(Extent { buffer, numbers: leaf.numbers, node: None })
    }
}

/// A sum takes the place of an operand that nothing else holds.
pub(super) fn sum(old: Buffer, new: Buffer) -> Buffer {
    if new.is_alone() {
        return new;
    }
    if old.is_alone() {
        return old;
    }
    new.0.ledger.hold(new.0.bytes / 4, new.0.part)
}

impl Tape {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger, nodes: Vec::new(), steps: Vec::new() }
    }

    fn node(&mut self, depth: usize, part: Part) -> usize {
        self.nodes.push(Node { depth, part });
        self.nodes.len() - 1
    }

    /// A new tensor without history.
    pub(super) fn new_tensor(&self, numbers: u64, part: Part) -> Extent {
        Extent { buffer: self.ledger.hold(numbers, part), numbers, node: None }
    }

    /// A second handle of trained numbers that are accounted for elsewhere; tracked if asked for.
    pub(super) fn leaf(&mut self, numbers: u64, tracked: bool) -> Extent {
        let node = tracked.then(|| self.node(0, Part::Gradients));
        Extent { buffer: self.ledger.hold(0, Part::Trained), numbers, node }
    }

    /// A kept tensor as the start of a new graph.
    pub(super) fn restart(&mut self, kept: Extent) -> Extent {
        let node = Some(self.node(0, kept.buffer.0.part));
        Extent { node, ..kept }
    }

    /// Room for the result of an operation on `x`, over `x` itself if that is allowed and nothing else holds it; and `x` as
    /// [`Self::record`] wants it.
    pub(super) fn room(&self, x: Extent, in_place: bool) -> (Extent, Extent) {
        if in_place && x.buffer.is_alone() {
            return (x.clone().inner(), x);
        }
        (self.new_tensor(x.numbers, x.buffer.0.part), x)
    }

    /// Makes `output` the result of an operation: of its inputs, those that are tracked get gradients in this order, and
    /// if there are any, `kept` lives until its backward pass.
    pub(super) fn record(&mut self, output: Extent, inputs: &[Input], kept: &[&Extent]) -> Extent {
        let parents: Vec<Parent> = inputs
            .iter()
            .filter_map(|input| {
                let node = input.of.node?;
                Some(Parent { node, grad: input.grad, scratch: input.scratch })
            })
            .collect();
        let Some(depth) = parents.iter().map(|parent| self.nodes[parent.node].depth + 1).max() else {
            return output.inner();
        };
        let node = self.node(depth, output.buffer.0.part);
        let kept = kept.iter().map(|extent| extent.buffer.clone()).collect();
        self.steps.push(Step { output: node, parents, kept });
        Extent { node: Some(node), ..output }
    }

    /// `x + y`, of one size.
    pub(super) fn add(&mut self, x: Extent, y: Extent) -> Extent {
        let (numbers, x_node, y_node) = (x.numbers, x.node, y.node);
        let buffer = sum(y.buffer, x.buffer);
        let input = |node| Extent { buffer: buffer.clone(), numbers, node };
        let (x, y) = (input(x_node), input(y_node));
        self.record(Extent { buffer, numbers, node: None }, &[to(&x, Grad::Same), to(&y, Grad::Same)], &[])
    }

    /// A product with a number, or another map whose gradient needs only the output's.
    pub(super) fn scale(&mut self, x: Extent) -> Extent {
        let (output, x) = self.room(x, true);
        self.record(output, &[to(&x, Grad::Over(x.numbers))], &[])
    }

    /// A part of `x`: a view or a copy of it, whose gradient is zero elsewhere.
    pub(super) fn part_of(&mut self, x: &Extent, numbers: u64, view: bool) -> Extent {
        let output =
            if view { Extent { numbers, ..x.clone().inner() } } else { self.new_tensor(numbers, x.buffer.0.part) };
        self.record(output, &[to(x, Grad::New(x.numbers))], &[])
    }

    /// Takes what was recorded so far out of the way of a backward pass that does not reach it.
    pub(super) fn put_aside(&mut self) -> Recorded {
        Recorded(std::mem::take(&mut self.steps))
    }

    /// Puts it back.
    pub(super) fn take_up(&mut self, recorded: Recorded) {
        self.steps = recorded.0;
    }

    /// The sum of all numbers.
    pub(super) fn total(&mut self, x: Extent) -> Extent {
        let output = self.new_tensor(1, Part::Logits);
        self.record(output, &[to(&x, Grad::New(x.numbers))], &[])
    }

    /// Plays the backward pass from a loss; the tape is empty then.
    pub(super) fn backward(&mut self, loss: &Extent) -> Gradients {
        let mut gradients = Gradients(HashMap::new());
        let Some(root) = loss.node else { return gradients };
        gradients.0.insert(root, self.ledger.hold(1, Part::Logits));
        let mut steps = std::mem::take(&mut self.steps);
        // A stable sort: of one depth, what was recorded last comes first.
        steps.reverse();
        steps.sort_by_key(|step| std::cmp::Reverse(self.nodes[step.output].depth));
        for step in steps {
            if let Some(dy) = gradients.0.remove(&step.output) {
                self.play(step, dy, &mut gradients);
            }
        }
        gradients
    }

    /// The backward pass from a tensor whose gradient `dy` is known, as the sum of their products.
    pub(super) fn backward_from(&mut self, y: Extent, dy: Extent) -> Gradients {
        let (product, y) = self.room(y, true);
        let product = self.record(product, &[to(&y, Grad::Over(y.numbers))], &[&dy]);
        drop((y, dy));
        let total = self.total(product);
        self.backward(&total)
    }

    fn play(&self, step: Step, dy: Buffer, gradients: &mut Gradients) {
        let Step { parents, kept, .. } = step;
        let mut kept: Vec<Option<Buffer>> = kept.into_iter().map(Some).collect();
        let last = parents.len() - 1;
        let mut dy = Some(dy);
        for (at, parent) in parents.into_iter().enumerate() {
            let part = self.nodes[parent.node].part;
            let _scratch = self.ledger.hold(parent.scratch, part);
            let mine = if at == last { dy.take() } else { dy.clone() }.expect("taken by the last input only");
            let new = match parent.grad {
                Grad::Same => mine,
                Grad::Over(_) if mine.is_alone() => mine,
                Grad::OverKept(n, _) if kept[n].as_ref().is_some_and(Buffer::is_alone) => {
                    kept[n].take().expect("looked at above")
                }
                Grad::New(numbers) | Grad::Over(numbers) | Grad::OverKept(_, numbers) => {
                    self.ledger.hold(numbers, part)
                }
            };
            let new = match gradients.0.remove(&parent.node) {
                Some(old) => sum(old, new),
                None => new,
            };
            gradients.0.insert(parent.node, new);
        }
    }
}
