//! From bytes to batches: files are found and mapped, rows read, text tokenised, ids stored compactly, batches planned.
//!
//! This module knows no tensors and no configuration file. Its way is one direction: [`Source`] (bytes) to records (`json`,
//! `table`, `columnar`: named columns) to rows (`language`, `classify`; plain text: `text`) to [`Split`] (token ids and their targets
//! or classes) to [`Batch`] (padded integers ready for a device).

mod batch;
mod chat;
mod classify;
mod clock;
#[cfg(not(target_arch = "wasm32"))]
mod columnar;
#[cfg(target_arch = "wasm32")]
#[path = "columnar_page.rs"]
mod columnar;
mod conversation;
mod dataset;
mod decode;
mod digest;
mod format;
mod id_store;
mod json;
mod labels;
mod language;
mod python_json;
mod record;
mod records;
mod report;
mod rows;
mod settings;
mod source;
mod split;
mod split_reader;
mod table;
mod text;
mod text_pair;
mod text_template;
mod tokenizer;
mod tokenizer_files;

#[cfg(test)]
mod testing;

pub use batch::{Batch, BatchPlan, IGNORED_LABEL, sequential};
pub use chat::{ChatTemplate, Message};
pub use classify::{ClassifySettings, encode_for_classification};
pub use dataset::Dataset;
pub use decode::StreamDecoder;
pub use digest::Digests;
pub use format::Format;
pub use report::{ClassCount, DataReport, Piece, SplitReport};
pub use settings::{DataSettings, DataTask};
pub use source::{DataFiles, Source};
pub use split::{Row, Split};
pub use tokenizer::Tokenizer;
