//! One file read for a task: the one place where formats, rows and the report meet.

use super::classify;
use super::format::Format;
use super::labels::Classes;
use super::language;
use super::report::{ClassCount, SplitReport};
use super::rows::{Refusals, RowCollector};
use super::settings::{DataSettings, DataTask};
use super::source::Source;
use super::split::Split;
use super::text;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// What a file gave.
struct ReadSplit {
    split: Split,
    format: String,
    documents: Option<usize>,
    cut_rows: usize,
    refusals: Refusals,
    notes: Vec<String>,
}

/// Reads one source by its format, for the task of `settings`. `classes` is added to by the training source; `notes`
/// takes what is not there yet.
pub(crate) fn read(
    source: &Source,
    settings: &DataSettings,
    tokenizer: &Tokenizer,
    classes: &mut Classes,
    notes: &mut Vec<String>,
) -> Result<(Split, SplitReport)> {
    let read = match &settings.task {
        DataTask::Classify(task) => {
            let template = task.template.as_deref();
            let (length, skip) = (settings.max_seq_length, settings.skip_bad_rows);
            let rows = classify::read(source, tokenizer, template, length, skip, classes)?;
            ReadSplit {
                split: rows.split,
                format: rows.format,
                documents: None,
                cut_rows: rows.cut,
                refusals: rows.refusals,
                notes: rows.notes,
            }
        }
        DataTask::LanguageModel if source.format()? == Format::PlainText => read_text(source, settings, tokenizer)?,
        DataTask::LanguageModel => read_rows(source, settings, tokenizer)?,
    };
    let split = read.split;
    if split.is_empty() {
        return Err(nothing_left(source, &read.refusals, read.documents.is_some()));
    }
    for note in read.notes {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    let longest_row = (0..split.len()).map(|index| split.row_length(index)).max().unwrap_or(0);
    let count = |(name, &rows): (&String, &usize)| ClassCount { name: name.clone(), rows };
    let report = SplitReport {
        file: source.name().to_string(),
        format: read.format,
        rows: split.len(),
        documents: read.documents,
        tokens: split.tokens(),
        target_tokens: split.target_tokens(),
        unknown_tokens: split.unknown_tokens(),
        longest_row,
        cut_rows: read.cut_rows,
        max_seq_length: settings.max_seq_length,
        skipped_rows: read.refusals.count,
        skipped_reasons: read.refusals.reasons,
        classes: classes.names().iter().zip(split.class_counts()).map(count).collect(),
    };
    Ok((split, report))
}

/// Plain text as blocks.
fn read_text(source: &Source, settings: &DataSettings, tokenizer: &Tokenizer) -> Result<ReadSplit> {
    let mut notes = Vec::new();
    if settings.mask_prompt == Some(true) {
        notes.push(format!("mask_prompt changes nothing in {}: plain text has no prompts", source.name()));
    }
    let text = text::read(source, tokenizer, settings.append_eos, settings.skip_bad_rows)?;
    Ok(ReadSplit {
        split: Split::blocks(text.ids, settings.max_seq_length),
        format: "plain text".into(),
        documents: Some(text.documents),
        cut_rows: 0,
        refusals: text.refusals,
        notes,
    })
}

/// Rows with named columns, for language modelling.
fn read_rows(source: &Source, settings: &DataSettings, tokenizer: &Tokenizer) -> Result<ReadSplit> {
    let mut rows = RowCollector::new(tokenizer, source, settings.max_seq_length, settings.skip_bad_rows);
    let findings = language::read(source, tokenizer, settings.mask_prompt.unwrap_or(true), &mut rows)?;
    let (split, cut_rows, refusals) = rows.finish()?;
    let mut notes = Vec::new();
    let has_template = tokenizer.chat_template().is_some();
    match findings.kind {
        Some(language::Kind::Text) if settings.mask_prompt == Some(true) => {
            notes.push(format!("mask_prompt changes nothing in {}: {{text}} rows have no prompt", source.name()));
        }
        Some(language::Kind::Messages | language::Kind::Conversations) if !has_template => {
            notes
                .push("the model has no chat template: conversations are written as ### User: / ### Assistant:".into());
        }
        Some(language::Kind::Instruction) if !has_template => {
            notes
                .push("the model has no chat template: instructions are written as Stanford Alpaca writes them".into());
        }
        _ => {}
    }
    if findings.last_answer_only > 0 {
        notes.push(format!(
            "{} conversations of {} are trained on with their last answer only: the chat template rewrites earlier turns",
            findings.last_answer_only,
            source.name()
        ));
    }
    let format = findings.kind.map_or("no rows", language::Kind::name).to_string();
    Ok(ReadSplit { split, format, documents: None, cut_rows, refusals, notes })
}

fn nothing_left(source: &Source, refusals: &Refusals, is_text: bool) -> Error {
    match refusals.reasons.first() {
        Some(reason) => Error::input(format!(
            "no row of {} can be used: all {} were skipped; the first because {reason}",
            source.name(),
            refusals.count
        )),
        None if !is_text => Error::input(format!("{} has no rows: there is nothing to train on in it", source.name())),
        None => Error::input(format!("{} has fewer than two tokens: there is nothing to predict", source.name())),
    }
}
