//! agoge: fine-tuning of small language models on any GPU by sparse random parameter adaptation.
//!
//! Modules in reading order:
//! - [`config`]: the one list of settings; [`event`]: everything a run tells and hears;
//! - [`data`]: bytes to rows to token ids to batches; knows no tensors;
//! - [`device`]: what there is to compute on;
//! - [`hub`]: models by name, fetched from the Hugging Face hub;
//! - [`demo`]: the model and the data inside this program;
//! - [`kernel`]: the host side of the WGSL shaders, forward and backward;
//! - [`model`]: transformers, weights in and out, generation; knows no training;
//! - [`method`]: what is trained;
//! - [`train`]: one step, evaluation, checkpoints, the run;
//! - [`desk`]: the threads behind a front end;
//! - [`window`]: the live window, a front end that knows only settings and events;
//! - [`cli`]: the program;
//! - [`storage`] is the disk, or in a browser the page's own files; [`files`] writes whole ones or none;
//! - [`error`], [`format`](mod@format), [`panics`] and [`rng`] serve them all.

#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
pub mod config;
pub mod data;
pub mod demo;
pub mod desk;
pub mod device;
pub mod error;
pub mod event;
pub mod files;
pub mod format;
#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
pub mod kernel;
pub mod method;
pub mod model;
pub mod panics;
pub mod rng;
pub mod storage;
pub mod train;
pub mod window;

pub use error::{Error, Result};
