//! agoge fine-tunes small language models on any GPU, by sparse random parameter adaptation (SpaRTA) and other methods.
//!
//! # What a program may use
//!
//! - [`config`]: the settings of a run, [`RunConfig`](config::RunConfig), with defaults and checks;
//! - [`launch`]: takes a [`Setup`] (settings, and whether to resume or to overwrite), loads model and data, and begins the
//!   run. The stages on the way are types as well, from [`Checked`] on. [`Preflight`] is what is known without weights;
//! - [`Session`]: the run, which is polled for [`Update`]s and receives [`Commands`];
//! - [`event`]: what a run reports ([`Event`](event::Event)) and what it can be told ([`Command`](event::Command));
//! - [`ModelSource`]: where a model is: a folder, the Hugging Face hub, or inside this library;
//! - [`Pretrained`], [`Tokenizer`]: a model on a device, and its tokenizer;
//! - [`Adapter`], [`AdapterStack`]: adapter folders, of this program or another, merged into a model and unmerged again;
//! - [`TextStream`]: text from a model;
//! - [`open_device`], [`list_devices`]: what there is to compute on;
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
pub mod device;
#[doc(hidden)]
pub mod error;
pub mod event;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod generate;
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
pub mod session;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod storage;
#[doc(hidden)]
pub mod train;
#[cfg(feature = "window")]
#[doc(hidden)]
pub mod window;
#[doc(hidden)]
pub mod workers;

#[doc(inline)]
pub use {
    data::{Message, Tokenizer},
    device::{ComputeDevice, DeviceChoice, DeviceFacts, list as list_devices, open as open_device},
    error::{Error, Result},
    event::messages::Setup,
    generate::{Sampling, TextEnd, TextSettings, TextStream},
    method::{adapter::Adapter, stack::AdapterStack},
    model::Pretrained,
    session::{Checked, Commands, Loaded, OpenDevices, Pinned, Preflight, Prepared, Session, Update, launch},
    source::{Files, ModelSource, Progress, Report, silent, to_stderr},
};
