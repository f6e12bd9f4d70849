//! Masks that a seed gives: entries drawn at random, and whole rows.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, rng::Stream};

/// The mask of one tensor, as an adapter describes it: drawn again from the seed, or stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSettings {
    /// Name of the parameter.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Entries drawn at random.
    pub drawn: usize,
    /// Rows trained as a whole (`--trainable-tokens`), sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<u32>,
}

impl MaskSettings {
    /// Entries of the tensor.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries of a row.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    /// Sorted flat indices: whole rows, and the drawn entries outside of them.
    pub fn indices(&self, seed: u64) -> Vec<u32> {
        let width = self.width();
        let drawn = draw(seed, &self.name, self.len() - self.rows.len() * width, self.drawn);
        if self.rows.is_empty() {
            return drawn;
        }
        // Drawn indices count the entries outside the whole rows; shift each past the rows before it.
        let mut indices: Vec<u32> =
            self.rows.iter().flat_map(|&row| row * width as u32..(row + 1) * width as u32).collect();
        let mut passed = 0;
        for index in drawn {
            while self.rows.get(passed).is_some_and(|&row| row as usize * width <= index as usize + passed * width) {
                passed += 1;
            }
            indices.push(index + (passed * width) as u32);
        }
        indices.sort_unstable();
        indices
    }

    /// How many entries are trained.
    pub fn trained(&self) -> usize {
        self.drawn + self.rows.len() * self.width()
    }
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
    assert!(total <= available, "cannot train more entries than there are");
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

/// Checks that mask indices are below `len`, in ascending order and distinct.
///
/// # Errors
/// The first index that is not.
pub(in crate::method) fn check_indices(name: &str, indices: &[u32], len: usize) -> Result<()> {
    if let Some(index) = indices.iter().find(|&&index| index as usize >= len) {
        return Err(Error::input(format!("{name}: mask index {index} is out of range, the tensor has {len} entries")));
    }
    if let Some(pair) = indices.windows(2).find(|pair| pair[0] >= pair[1]) {
        let what = if pair[0] == pair[1] { "appears twice" } else { "is not in ascending order" };
        return Err(Error::input(format!("{name}: mask index {} {what}", pair[1])));
    }
    Ok(())
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
    fn spread_is_exact_and_proportional() {
        assert_eq!(spread(10, &[100, 100, 100]), [4, 3, 3]);
        assert_eq!(spread(300, &[100, 100, 100]), [100, 100, 100]);
        assert_eq!(spread(2600, &[4096, 2048, 4096]), [1040, 520, 1040]);
        for total in [0, 1, 7, 1234] {
            assert_eq!(spread(total, &[5, 1000, 333, 17]).iter().sum::<usize>(), total);
        }
    }

    #[test]
    fn whole_rows_and_drawn_entries_do_not_overlap() {
        let mask = MaskSettings { name: "t".into(), shape: vec![10, 4], drawn: 20, rows: vec![0, 3, 4, 9] };
        let indices = mask.indices(5);
        assert_eq!(indices.len(), mask.trained());
        assert!(indices.windows(2).all(|pair| pair[0] < pair[1]) && indices[35] < 40);
        for row in [0, 3, 4, 9] {
            assert!((row * 4..row * 4 + 4).all(|index| indices.contains(&index)), "row {row} of {indices:?}");
        }
        let all = MaskSettings { drawn: 24, ..mask };
        assert_eq!(all.indices(5), (0..40).collect::<Vec<u32>>());
    }
}
