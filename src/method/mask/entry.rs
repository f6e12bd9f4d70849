//! What a way of choosing a mask says of itself, and what those by a score share.

use crate::{
    method::description::{Pending, Setup},
    model::Transformer,
};

/// Chooses sorted flat indices for each `(parameter, count)`.
type Choose = for<'a> fn(&'a [(String, usize)], &'a mut Transformer, &'a Setup<'_>) -> Pending<'a, Vec<Vec<u32>>>;

/// One way of choosing a mask.
#[derive(Debug)]
pub struct MaskEntry {
    /// Name for `--mask`.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Chooses by looking at the model; `None` where the seed alone decides ([`draw`](super::drawn::draw)).
    pub choose: Option<Choose>,
}

/// The indices of the `count` largest scores, sorted; of equal scores those that come first.
pub(super) fn largest(scores: &[f32], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    let rank = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if count < order.len() {
        order.select_nth_unstable_by(count, rank);
        order.truncate(count);
    }
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_scores_are_found_wherever_they_are() {
        assert_eq!(largest(&[0.5, 3.0, -1.0, 3.0, 2.0], 3), [1, 3, 4]);
        assert_eq!(largest(&[1.0; 5], 2), [0, 1]);
        assert_eq!(largest(&[1.0, 2.0], 2), [0, 1]);
        assert!(largest(&[1.0, 2.0], 0).is_empty());
    }
}
