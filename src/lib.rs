//! agoge: fine-tuning of small language models on any GPU by sparse random parameter adaptation.
//!
//! Modules in reading order:
//! - [`config`]: the one list of settings; [`event`]: everything a run tells and hears;
//! - [`data`]: bytes to rows to token ids to batches; knows no tensors;
//! - [`device`]: what there is to compute on;
//! - [`hub`]: models by name, fetched from the Hugging Face hub;
//! - [`kernel`]: the host side of the WGSL shaders, forward and backward;
//! - [`model`]: transformers, weights in and out; knows no training;
//! - [`generate`]: text from a model, streamed;
//! - [`source`]: where a model comes from: a folder, the hub, inside this program;
//! - [`demo`]: the settings with which the program shows itself;
//! - [`method`]: what is trained;
//! - [`train`]: one step, evaluation, checkpoints, the run;
//! - [`session`]: a run from its settings to its end, the same for every front end;
//! - [`workers`]: the threads behind a window;
//! - [`window`]: the live window, a front end that knows only settings and events;
//! - [`cli`]: the program;
//! - [`storage`] is the disk, or in a browser the page's own files; [`files`] writes whole ones or none;
//! - [`error`], [`format`](mod@format), [`panics`] and [`rng`] serve them all.

#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
pub mod config;
pub mod data;
pub mod demo;
pub mod device;
pub mod error;
pub mod event;
pub mod files;
pub mod format;
pub mod generate;
#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
pub mod kernel;
pub mod method;
pub mod model;
pub mod panics;
pub mod rng;
pub mod session;
pub mod source;
pub mod storage;
pub mod train;
pub mod window;
pub mod workers;

pub use error::{Error, Result};
