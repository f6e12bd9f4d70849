//! Masks: which numbers of a tensor are trained. One file a way of choosing, one line in [`MASKS`].

mod gradient;
mod magnitude;

use super::{Pending, Setup};
use crate::{Error, Result, model::Transformer, rng::Stream};

/// Chooses sorted flat indices for each `(parameter, count)`.
type Choose = for<'a> fn(&'a [(String, usize)], &'a mut Transformer, &'a Setup<'_>) -> Pending<'a, Vec<Vec<u32>>>;

/// One way of choosing a mask.
pub struct Entry {
    /// Name for `--mask`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Chooses by looking at the model; `None` where the seed alone decides ([`draw`]).
    pub choose: Option<Choose>,
}

/// Every way of choosing a mask.
pub const MASKS: &[Entry] = &[
    Entry { name: "random", about: "at random, by the seed (SpaRTA)", choose: None },
    magnitude::LOW,
    magnitude::HIGH,
    gradient::ENTRY,
];

/// The mask that looks at the gradients of whole tensors.
pub(super) const GRADIENT: &str = gradient::ENTRY.name;

/// The mask of this name.
///
/// # Errors
/// No such mask; the message lists those there are.
pub fn find(name: &str) -> Result<&'static Entry> {
    MASKS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<_> = MASKS.iter().map(|entry| entry.name).collect();
        Error::input(format!("--mask {name}: there is no such mask; there are {}", names.join(", ")))
    })
}

/// The indices of the `count` largest scores, sorted; of equal scores those that come first.
fn largest(scores: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    let rank = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, rank);
        order.truncate(count);
    }
    order.sort_unstable();
    order
}

/// Exactly `count` distinct indices below `len`, sorted, drawn without replacement and all equally likely.
///
/// The draw depends on nothing but its arguments: same seed and tensor name, same mask on every platform.
pub fn draw(seed: u64, tensor: &str, len: usize, count: usize) -> Vec<u32> {
    assert!(count <= len && len as u64 <= 1 << 32, "a mask fits its tensor");
    let mut stream = Stream::new(seed, &format!("mask/{tensor}"));
    // Draw the smaller of the set and its complement; marking bits keeps the result sorted without sorting.
    let complement = count > len / 2;
    let mut wanted = if complement { len - count } else { count };
    let mut marks = vec![0u64; len.div_ceil(64)];
    while wanted > 0 {
        let index = stream.below(len as u64) as usize;
        let (word, bit) = (&mut marks[index / 64], 1u64 << (index % 64));
        if *word & bit == 0 {
            *word |= bit;
            wanted -= 1;
        }
    }
    let mut mask = Vec::with_capacity(count);
    mask.extend((0..len).filter(|i| (marks[i / 64] >> (i % 64) & 1 == 1) != complement).map(|i| i as u32));
    mask
}

/// Spreads `total` over tensors in proportion to their lengths, exactly (largest remainders; ties to the earlier
/// tensor). No tensor gets more than its length.
///
/// `total` must not exceed the sum of `lengths`.
pub fn spread(total: usize, lengths: &[usize]) -> Vec<usize> {
    let available: usize = lengths.iter().sum();
    assert!(total <= available, "cannot train more numbers than there are");
    let share = |len: usize| total as u128 * len as u128;
    let mut counts: Vec<usize> = lengths.iter().map(|&len| (share(len) / available as u128) as usize).collect();
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(share(lengths[i]) % available as u128));
    let missing = total - counts.iter().sum::<usize>();
    for &i in order.iter().take(missing) {
        counts[i] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_exactly_the_asked_count_sorted_and_distinct() {
        for (len, count) in
            [(1, 0), (1, 1), (10, 3), (1000, 10), (1000, 500), (1000, 501), (1000, 999), (65_537, 65_537)]
        {
            let mask = draw(3, "t", len, count);
            assert_eq!(mask.len(), count);
            assert!(mask.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(mask.iter().all(|&index| (index as usize) < len));
        }
    }

    #[test]
    fn masks_depend_on_seed_and_name_only() {
        assert_eq!(draw(1, "a", 1000, 50), draw(1, "a", 1000, 50));
        assert_ne!(draw(1, "a", 1000, 50), draw(2, "a", 1000, 50));
        assert_ne!(draw(1, "a", 1000, 50), draw(1, "b", 1000, 50));
        // Written down so that no change of platform or library can move the masks of saved adapters.
        assert_eq!(draw(1, "model.layers.0.self_attn.v_proj.weight", 100, 5), PINNED);
    }

    const PINNED: [u32; 5] = [46, 53, 83, 87, 96];

    #[test]
    fn every_index_is_equally_likely() {
        let mut hits = [0u32; 40];
        for seed in 0..4000 {
            draw(seed, "t", 40, 10).iter().for_each(|&index| hits[index as usize] += 1);
        }
        assert!(hits.iter().all(|&count| (870..1130).contains(&count)), "{hits:?}");
    }

    #[test]
    fn the_largest_scores_are_found_wherever_they_are() {
        assert_eq!(largest(&[0.5, 3.0, -1.0, 3.0, 2.0], 3), [1, 3, 4]);
        assert_eq!(largest(&[1.0; 5], 2), [0, 1]);
        assert_eq!(largest(&[1.0, 2.0], 2), [0, 1]);
        assert!(largest(&[1.0, 2.0], 0).is_empty());
    }

    #[test]
    fn spread_is_exact_and_proportional() {
        assert_eq!(spread(10, &[100, 100, 100]), [4, 3, 3]);
        assert_eq!(spread(300, &[100, 100, 100]), [100, 100, 100]);
        assert_eq!(spread(2600, &[4096, 2048, 4096]), [1040, 520, 1040]);
        for total in [0, 1, 7, 1234] {
            assert_eq!(spread(total, &[5, 1000, 333, 17]).iter().sum::<usize>(), total);
        }
    }
}
