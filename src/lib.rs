//! agoge fine-tunes small language models on any GPU, by sparse random parameter adaptation (SpaRTA) and other methods.
//!
//! # What a program may use
//!
//! - [`config`]: the settings of a run, [`config::RunConfig`];
//! - [`Inputs`], [`Run`]: model and data loaded as the settings say, and the run, which is polled for its events;
//! - [`event`]: what a run reports ([`event::Event`]) and what it can be told ([`event::Command`]);
//! - [`Adapter`]: an adapter folder, of this program or another; [`apply`] merges adapters into a model;
//! - [`Pretrained`], [`Tokenizer`], [`Generation`], [`StreamDecoder`]: a model on a device, and text from it;
//! - [`open_device`], [`devices`]: what there is to compute on;
//! - [`Error`]: what went wrong, as one sentence.
//!
//! Everything else that is public serves the program `agoge`, its page and its tests. It is hidden here and may change at
//! any time.
//!
//! # Features
//!
//! `cli` (the program), `window` (the live window), `hub` (models by name from the Hugging Face hub) and `parquet` (data in
//! Parquet files) are on by default. A library needs none of them: `default-features = false`. What asks for a feature that
//! is not there is refused with a sentence that names it.
//!
//! # Fine-tune a model and follow the run
//!
//! ```ignore
#![doc = include_str!("../examples/fine_tune.rs")]
//! ```
//!
//! # Load an adapter and generate
//!
//! ```ignore
#![doc = include_str!("../examples/generate.rs")]
//! ```

#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
#[doc(hidden)]
pub mod cli;
pub mod config;
#[doc(hidden)]
pub mod data;
#[doc(hidden)]
pub mod demo;
#[doc(hidden)]
pub mod desk;
#[doc(hidden)]
pub mod device;
#[doc(hidden)]
pub mod error;
pub mod event;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod format;
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub mod hub;
#[doc(hidden)]
pub mod kernel;
#[doc(hidden)]
pub mod method;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod panics;
#[doc(hidden)]
pub mod rng;
#[doc(hidden)]
pub mod storage;
#[doc(hidden)]
pub mod train;
#[cfg(feature = "window")]
#[doc(hidden)]
pub mod window;

#[doc(inline)]
pub use {
    data::{Message, StreamDecoder, Tokenizer},
    device::{ComputeDevice, DeviceChoice, DeviceFacts, list as devices, open as open_device},
    error::{Error, Result},
    method::{adapter::Adapter, stack::fold_for_good as apply},
    model::{Pretrained, generate::Generation, sample::Sampling},
    train::{Inputs, Run},
};
