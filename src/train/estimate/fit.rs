//! Making a run fit: what to advise a person, and what to choose for one who gave a budget.

use super::{
    Rows,
    account::Demand,
    estimator::{Choice, Estimator},
};
use crate::{
    Error, Result,
    config::{GradCheckpointing, RunConfig, bytes},
    device::{DeviceFacts, sizes_only::SizesOnly},
    model::Architecture,
};

/// What a device, or a budget, has room for.
pub(super) struct Room {
    /// Bytes of everything together.
    limit: Option<u64>,
    /// Bytes of one tensor.
    binding: Option<u64>,
}

impl Room {
    pub(super) fn holds(&self, demand: &Demand) -> bool {
        self.limit.is_none_or(|limit| demand.total() <= limit)
            && self.binding.is_none_or(|binding| demand.largest <= binding)
    }

    /// Whether the settings do not fit as they are, and take less with gradient checkpointing.
    pub(super) fn wants_checkpointing(&self, estimator: &Estimator) -> Result<bool> {
        let plain = estimator.demand(estimator.as_set(false))?.total();
        Ok(self.limit.is_some_and(|limit| plain > limit) && estimator.demand(estimator.as_set(true))?.total() < plain)
    }

    /// The first of some choices that fits.
    fn first(
        &self,
        estimator: &Estimator,
        choices: impl IntoIterator<Item = Choice>,
    ) -> Result<Option<(Choice, Demand)>> {
        for choice in choices {
            let demand = estimator.demand(choice)?;
            if self.holds(&demand) {
                return Ok(Some((choice, demand)));
            }
        }
        Ok(None)
    }

    /// The choice closest to `choice` that fits, among those of the same effective batch that `allowed` yields.
    fn largest_batch(&self, estimator: &Estimator, choice: Choice) -> Result<Option<(Choice, Demand)>> {
        let rows = choice.batch_size.saturating_mul(choice.accumulation);
        let sizes = divisors(rows).into_iter().filter(|size| *size <= choice.batch_size);
        let choices = sizes.map(|batch_size| Choice { batch_size, accumulation: rows / batch_size, ..choice });
        self.first(estimator, choices)
    }

    /// The longest rows that fit, in steps of an eighth of the longest there are.
    fn longest_rows(&self, estimator: &Estimator, choice: Choice) -> Result<Option<(Choice, Demand)>> {
        let longest = estimator.rows.longest;
        let cuts = (1..8).rev().map(|eighths| longest * eighths / 8 / 8 * 8).filter(|cut| *cut >= 8);
        self.first(estimator, cuts.map(|cut| Choice { cut, ..choice }))
    }

    /// Sentences that say what would make the run fit, or that nothing does.
    pub(super) fn advice(&self, estimator: &Estimator, choice: Choice, demand: &Demand) -> Result<Vec<String>> {
        let found = self.remedies(estimator, choice)?;
        let mut all = Vec::new();
        if let Some(binding) = &self.binding.filter(|binding| demand.largest > *binding) {
            all.push(format!(
                "the largest tensor takes {}, but {} can bind only {} at once{}",
                bytes::show(demand.largest),
                estimator.device().name,
                bytes::show(*binding),
                match estimator.trained_whole(*binding) {
                    Some(name) =>
                        format!("; leave {name} out with --frozen-modules, or use --device cpu or another device"),
                    None if found.is_empty() => "; use --device cpu or another device".into(),
                    None => String::new(),
                }
            ));
        }
        if found.is_empty() && self.limit.is_some_and(|limit| demand.total() > limit) {
            let least = smallest(estimator, choice)?;
            all.push(format!(
                "no batch size makes it fit: with {} it takes {} still; use a smaller model, or a method that trains fewer \
                 numbers",
                flags(choice, least),
                bytes::show(estimator.demand(least)?.total())
            ));
        }
        all.extend(found.iter().map(|(fitting, demand)| sentence(choice, *fitting, demand)));
        Ok(all)
    }

    /// Choices that fit: each of the three ways by itself, or else some of them together.
    fn remedies(&self, estimator: &Estimator, choice: Choice) -> Result<Vec<(Choice, Demand)>> {
        let checkpointed = Choice { checkpointing: true, ..choice };
        let mut found: Vec<(Choice, Demand)> = Vec::new();
        found.extend(self.largest_batch(estimator, choice)?);
        if !choice.checkpointing {
            found.extend(self.first(estimator, [checkpointed])?);
        }
        found.extend(self.longest_rows(estimator, choice)?);
        if found.is_empty() && !choice.checkpointing {
            found.extend(self.largest_batch(estimator, checkpointed)?);
        }
        if found.is_empty() && !choice.checkpointing {
            found.extend(self.longest_rows(estimator, checkpointed)?);
        }
        if found.is_empty() {
            found.extend(self.longest_rows(estimator, smallest(estimator, choice)?)?);
        }
        Ok(found)
    }
}

impl Estimator<'_> {
    /// The room that this device has within `limit` bytes.
    pub(super) fn room(&self, limit: Option<u64>) -> Room {
        Room { limit, binding: self.device().max_binding_bytes }
    }
}

/// All divisors of a number, largest first.
fn divisors(number: usize) -> Vec<usize> {
    let small: Vec<usize> = (1..=number.isqrt()).filter(|small| number.is_multiple_of(*small)).collect();
    let large = small.iter().map(|small| number / small);
    let mut all: Vec<usize> = large.chain(small.iter().rev().copied()).collect();
    all.dedup();
    all
}

/// The choice of the least memory with the same rows in a step.
fn smallest(estimator: &Estimator, choice: Choice) -> Result<Choice> {
    let one = Choice { batch_size: 1, accumulation: choice.batch_size.saturating_mul(choice.accumulation), ..choice };
    let checkpointed = Choice { checkpointing: true, ..one };
    // With one block, checkpointing saves nothing.
    let less = estimator.demand(checkpointed)?.total() < estimator.demand(one)?.total();
    Ok(if less { checkpointed } else { one })
}

/// The flags that lead from one choice to another.
fn flags(from: Choice, to: Choice) -> String {
    let mut all = Vec::new();
    if to.batch_size != from.batch_size {
        all.push(format!("--batch-size {} --grad-accumulation-steps {}", to.batch_size, to.accumulation));
    }
    if to.checkpointing != from.checkpointing {
        all.push("--grad-checkpointing".to_owned());
    }
    if to.cut != from.cut {
        all.push(format!("--max-seq-length {}", to.cut));
    }
    if all.is_empty() { "these settings".into() } else { all.join(" ") }
}

fn sentence(from: Choice, to: Choice, demand: &Demand) -> String {
    format!("{}: {}", flags(from, to), bytes::show(demand.total()))
}

/// Settles how a run that has not begun uses memory: with `--memory-budget` its batch size, accumulation (of the same rows
/// in a step) and gradient checkpointing; without, only gradient checkpointing, where that is left open. Returns what
/// there is to tell, as a sentence; `None` where nothing was chosen.
///
/// # Errors
/// Nothing fits the budget; settings and model that do not fit together.
pub fn settle(
    config: &mut RunConfig,
    architecture: &Architecture,
    classes: usize,
    rows: &Rows,
    device: &DeviceFacts,
) -> Result<Option<String>> {
    let budget = config.memory_budget_bytes()?;
    if budget.is_none() && config.grad_checkpointing != GradCheckpointing::Auto {
        return Ok(None);
    }
    config.check()?;
    let (choice, told) = SizesOnly::with(device, |here| {
        let estimator = Estimator::new(config, architecture, classes, rows, here)?;
        match budget {
            Some(budget) => within(budget, config, &estimator),
            None => only_checkpointing(&estimator),
        }
    })?;
    (config.batch_size, config.grad_accumulation_steps) = (choice.batch_size, choice.accumulation);
    config.grad_checkpointing = if choice.checkpointing { GradCheckpointing::On } else { GradCheckpointing::Off };
    Ok(told)
}

/// The settings as they are, with gradient checkpointing where that is needed, and a sentence about it.
fn only_checkpointing(estimator: &Estimator) -> Result<(Choice, Option<String>)> {
    let checkpointing = estimator.room(estimator.device().memory_bytes).wants_checkpointing(estimator)?;
    let (plain, now) = (estimator.as_set(false), estimator.as_set(checkpointing));
    if !checkpointing {
        return Ok((now, None));
    }
    let told = format!(
        "gradient checkpointing is on: {} instead of {}",
        bytes::show(estimator.demand(now)?.total()),
        bytes::show(estimator.demand(plain)?.total())
    );
    Ok((now, Some(told)))
}

/// The choice closest to the settings that takes no more than `budget` bytes, and what there is to tell.
fn within(budget: u64, config: &RunConfig, estimator: &Estimator) -> Result<(Choice, Option<String>)> {
    let room = estimator.room(Some(budget));
    let tries = match config.grad_checkpointing {
        GradCheckpointing::Auto => &[false, true][..],
        GradCheckpointing::On => &[true],
        GradCheckpointing::Off => &[false],
    };
    for &checkpointing in tries {
        if let Some((choice, demand)) = room.largest_batch(estimator, estimator.as_set(checkpointing))? {
            let told = format!(
                "{} of {}: batches of {}, {} a step, gradient checkpointing {}",
                bytes::show(demand.total()),
                bytes::show(budget),
                choice.batch_size,
                choice.accumulation,
                if choice.checkpointing { "on" } else { "off" }
            );
            return Ok((choice, Some(told)));
        }
    }
    let least = smallest(estimator, estimator.as_set(false))?;
    Err(Error::input(format!(
        "--memory-budget {}: this run takes at least {} (with {}); give it more memory, shorter rows (--max-seq-length) or \
         a smaller model",
        config.memory_budget,
        bytes::show(estimator.demand(least)?.total()),
        flags(estimator.as_set(false), least)
    )))
}

#[cfg(test)]
mod tests {
    use super::divisors;

    #[test]
    fn divisors_fall() {
        assert_eq!(divisors(12), [12, 6, 4, 3, 2, 1]);
        assert_eq!(divisors(9), [9, 3, 1]);
        assert_eq!([divisors(1), divisors(7)], [vec![1], vec![7, 1]]);
    }
}
