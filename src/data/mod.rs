//! From bytes to batches: files are found and mapped, rows read, text tokenised, ids stored compactly, batches planned.
//!
//! This module knows no tensors and no configuration file. Its way is one direction: [`Source`] (bytes) to rows
//! (`jsonl`, `text`) to [`Split`] (token ids and their targets) to [`Batch`] (padded integers ready for a device).

mod batch;
mod chat;
mod clock;
mod dataset;
mod decode;
mod id_store;
mod jsonl;
mod python_json;
mod report;
mod rows;
mod source;
mod split;
mod text;
mod tokenizer;

#[cfg(test)]
mod testing;

pub use batch::{Batch, BatchPlan, IGNORED_LABEL, sequential};
pub use chat::{ChatTemplate, Message};
pub use dataset::{DataSettings, Dataset};
pub use decode::StreamDecoder;
pub use report::{DataReport, Piece, SplitReport};
pub use source::{DataFiles, Format, Source};
pub use split::{Row, Split};
pub use tokenizer::Tokenizer;
