//! Choosing the next token from logits. No tensors.

use serde::{Deserialize, Serialize};

use crate::rng::Stream;

/// How the next token is drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the most likely token; larger values flatten the distribution.
    pub temperature: f32,
    /// Only the `k` most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability (Holtzman et al. 2020); 1 for all.
    pub top_p: f32,
    /// Divides positive and multiplies negative logits of tokens already seen (Keskar et al. 2019); 1 for none.
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 }
    }
}

/// Draws a token from `logits` `[V]`, given the tokens so far.
pub fn draw(logits: &[f32], seen: &[u32], sampling: &Sampling, stream: &mut Stream) -> u32 {
    let mut logits = logits.to_vec();
    if sampling.repetition_penalty != 1.0 {
        let mut tokens: Vec<usize> = seen.iter().map(|&id| id as usize).filter(|&id| id < logits.len()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        for token in tokens {
            let logit = &mut logits[token];
            *logit =
                if *logit > 0.0 { *logit / sampling.repetition_penalty } else { *logit * sampling.repetition_penalty };
        }
    }
    if sampling.temperature <= 0.0 {
        return largest(&logits);
    }
    // Most likely first; equal logits in order of their ids, so that the draw is reproducible.
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    let top = f64::from(logits[order[0] as usize]);
    let temperature = f64::from(sampling.temperature);
    let weights: Vec<f64> =
        order.iter().map(|&id| ((f64::from(logits[id as usize]) - top) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut kept = 0.0;
    let mut count = 0;
    for weight in &weights {
        kept += weight;
        count += 1;
        if kept >= f64::from(sampling.top_p) * total {
            break;
        }
    }
    let mut point = stream.unit() * kept;
    for (id, weight) in order.iter().zip(&weights).take(count) {
        point -= weight;
        if point < 0.0 {
            return *id;
        }
    }
    order[count - 1]
}

/// Index of the largest value, the first of equals.
fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (at, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = at;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sampling: &Sampling) -> [usize; 4] {
        let logits = [2.0, 1.0, 0.0, -1.0];
        let mut stream = Stream::new(1, "sample");
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[draw(&logits, &[], sampling, &mut stream) as usize] += 1;
        }
        counts
    }

    #[test]
    fn zero_temperature_takes_the_largest() {
        assert_eq!(counts(&Sampling::default()), [10_000, 0, 0, 0]);
    }

    #[test]
    fn temperature_one_follows_the_softmax() {
        let counts = counts(&Sampling { temperature: 1.0, ..Sampling::default() });
        for (count, expected) in counts.iter().zip([6439.0, 2369.0, 871.0, 321.0]) {
            assert!((*count as f64 - expected).abs() < 200.0, "{counts:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let top_k = counts(&Sampling { temperature: 1.0, top_k: 2, ..Sampling::default() });
        assert!(top_k[2] == 0 && top_k[3] == 0 && top_k[1] > 2000, "{top_k:?}");
        let top_p = counts(&Sampling { temperature: 1.0, top_p: 0.8, ..Sampling::default() });
        assert!(top_p[2] == 0 && top_p[3] == 0 && top_p[1] > 2000, "{top_p:?}");
    }

    #[test]
    fn repetition_penalty_lowers_seen_tokens() {
        let sampling = Sampling { repetition_penalty: 3.0, ..Sampling::default() };
        assert_eq!(draw(&[2.0, 1.0, -1.0], &[0], &sampling, &mut Stream::new(1, "")), 1);
        assert_eq!(draw(&[-1.0, -2.0], &[0], &sampling, &mut Stream::new(1, "")), 1);
    }
}
