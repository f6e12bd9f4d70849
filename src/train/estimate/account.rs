//! What was in use, and what for, at the fullest moment of a recorded run.

use std::collections::{HashMap, HashSet};

use crate::device::sizes_only::{Event, Pages};

/// The place in a step where all gradients are there and the optimizer has not begun.
pub(super) const GRADIENTS_ARE_THERE: &str = "all gradients are there";

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The model's tensors.
    Weights,
    /// Values, places and originals of the trainable parameters, where they are stored beside the weights.
    Trained,
    /// AdamW's moments.
    Moments,
    /// Gradients of the trainable parameters.
    Gradients,
    /// What the backward pass reads, gradients of activations, and what an operation needs meanwhile.
    Activations,
    /// Logits and their gradient.
    Logits,
    /// What the allocator holds beyond what is in use.
    Pages,
}

/// Every part, with its name for people, in the order of [`Part`].
pub(super) const PARTS: [&str; 7] = [
    "model weights",
    "trainable parameters",
    "optimizer moments",
    "gradients",
    "activations",
    "logits and loss",
    "allocator's pages",
];

/// Bytes of each of [`PARTS`].
pub(super) type Parts = [u64; PARTS.len()];

/// What a choice takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    /// Bytes of each part at the fullest moment.
    pub parts: Parts,
    /// Bytes of the largest tensor.
    pub largest: u64,
}

impl Demand {
    pub(super) fn total(&self) -> u64 {
        self.parts.iter().sum()
    }

    /// What `rows` rows take if this is what `more` rows take and `half` what `less` do: it grows evenly.
    pub(super) fn beyond(self, half: Self, [less, more, rows]: [usize; 3]) -> Self {
        let grown = |now: u64, before: u64| {
            let each = now.saturating_sub(before) as u128;
            let further = each * (rows - more) as u128 / (more - less).max(1) as u128;
            now.saturating_add(u64::try_from(further).unwrap_or(u64::MAX >> 4))
        };
        Self {
            parts: std::array::from_fn(|part| grown(self.parts[part], half.parts[part])),
            largest: grown(self.largest, half.largest),
        }
    }
}

/// A run in the order in which it happens, each part of it recorded by itself.
pub(super) struct Story<'a> {
    /// The model is loaded.
    pub load: &'a [Event],
    /// A gradient mask looks at the first batch, before it is there.
    pub calibrate: &'a [Event],
    /// The method starts.
    pub start: &'a [Event],
    /// A batch of an evaluation, and optimizer steps.
    pub work: &'a [Event],
}

/// What there is to know of a run besides.
pub(super) struct Known {
    /// Bytes of the weights once the method has started.
    pub weights: u64,
    /// Bytes of AdamW's moments.
    pub moments: u64,
    /// Bytes of logits that exist at one time.
    pub logits: HashSet<u64>,
    /// Largest page of the device's allocator; `None` for one that has none.
    pub largest_page: Option<u64>,
    /// Bytes at whose multiples buffers begin.
    pub alignment: u32,
}

/// A buffer that is in use.
#[derive(Clone, Copy)]
struct Held {
    bytes: u64,
    /// `None` for what lives from step to step.
    part: Option<Part>,
    tensor: bool,
}

/// Goes through a run.
pub(super) fn walk(story: &Story, known: &Known) -> Demand {
    let gradients = gradients(story.work);
    let mut pages = known.largest_page.map(|largest| Pages::new(largest, known.alignment));
    let mut held: HashMap<u64, Held> = HashMap::new();
    // Lasting bytes, and those of each part.
    let (mut lasting, mut parts): (u64, Parts) = (0, Parts::default());
    let (mut uniforms, mut largest) = (0u64, 0u64);
    let mut fullest = (0u64, 0u64, Parts::default());
    let mut most_pages = 0;
    for (events, lasts) in [(story.load, true), (story.calibrate, false), (story.start, true), (story.work, false)] {
        for event in events {
            match *event {
                Event::Allocated { buffer, bytes, tensor } => {
                    let part = match () {
                        () if lasts => None,
                        () if gradients.contains(&buffer) => Some(Part::Gradients),
                        () if known.logits.contains(&bytes) => Some(Part::Logits),
                        () => Some(Part::Activations),
                    };
                    held.insert(buffer, Held { bytes, part, tensor });
                    if !tensor {
                        uniforms += bytes;
                    } else {
                        *part.map_or(&mut lasting, |part| &mut parts[part as usize]) += bytes;
                        largest = largest.max(bytes);
                        if let Some(pages) = &mut pages {
                            pages.allocate(buffer, bytes);
                        }
                        let total = lasting + parts.iter().sum::<u64>();
                        if total > fullest.0 {
                            fullest = (total, lasting, parts);
                        }
                    }
                    most_pages = most_pages.max(pages.as_ref().map_or(0, |pages| pages.held() + uniforms));
                }
                Event::Freed { buffer } => {
                    let Some(Held { bytes, part, tensor }) = held.remove(&buffer) else { continue };
                    if !tensor {
                        uniforms -= bytes;
                        continue;
                    }
                    *part.map_or(&mut lasting, |part| &mut parts[part as usize]) -= bytes;
                    if let Some(pages) = &mut pages {
                        pages.free(buffer);
                    }
                }
                Event::Reached(_) => {}
            }
        }
    }
    let (total, lasting, mut parts) = fullest;
    parts[Part::Weights as usize] = lasting.min(known.weights);
    let beside = lasting - parts[Part::Weights as usize];
    parts[Part::Moments as usize] = beside.min(known.moments);
    parts[Part::Trained as usize] = beside - parts[Part::Moments as usize];
    parts[Part::Pages as usize] = most_pages.saturating_sub(total);
    Demand { parts, largest }
}

/// The buffers of gradients: those that a step has taken and gives back after all gradients were there.
fn gradients(work: &[Event]) -> HashSet<u64> {
    let mut taken: HashSet<u64> = HashSet::new();
    let (mut waiting, mut found) = (taken.clone(), taken.clone());
    for event in work {
        match *event {
            Event::Allocated { buffer, tensor: true, .. } => drop(taken.insert(buffer)),
            Event::Freed { buffer } => {
                taken.remove(&buffer);
                if waiting.remove(&buffer) {
                    found.insert(buffer);
                }
            }
            Event::Reached(GRADIENTS_ARE_THERE) => waiting.extend(&taken),
            Event::Allocated { .. } | Event::Reached(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(buffer: u64, bytes: u64) -> Event {
        Event::Allocated { buffer, bytes, tensor: true }
    }

    fn given_back(buffer: u64) -> Event {
        Event::Freed { buffer }
    }

    #[test]
    fn the_fullest_moment_is_told_apart() {
        let there = Event::Reached(GRADIENTS_ARE_THERE);
        let work = [
            taken(10, 70),
            taken(11, 40),
            taken(12, 8),
            given_back(11),
            given_back(10),
            there,
            taken(13, 1),
            given_back(12),
        ];
        let story = Story {
            load: &[taken(0, 100), taken(1, 50)],
            calibrate: &[taken(5, 60), given_back(5)],
            start: &[given_back(1), taken(2, 50), taken(3, 16), taken(4, 6)],
            work: &work,
        };
        let known = Known { weights: 150, moments: 16, logits: [40].into(), largest_page: None, alignment: 256 };
        let demand = walk(&story, &known);
        assert_eq!(demand.parts, [150, 6, 16, 8, 70, 40, 0]);
        assert_eq!((demand.total(), demand.largest), (290, 100));
        let paged = walk(&story, &Known { largest_page: Some(1 << 27), ..known });
        assert_eq!(paged.parts[..6], demand.parts[..6]);
        assert!(paged.total() >= 1 << 20, "an allocator's pages are large: {paged:?}");
    }

    #[test]
    fn larger_batches_grow_evenly() {
        let of = |bytes: u64| Demand { parts: [100, 0, 0, 0, bytes, 0, 0], largest: bytes };
        assert_eq!(of(40).beyond(of(20), [2, 4, 10]), of(100));
    }
}
