//! The integration tests, in one binary because linking is what costs time.

mod adapters;
mod bad_input;
mod fixture;
mod formats;
mod generation;
mod gguf;
mod golden;
mod kernels;
mod layout;
mod program;
mod runs;
mod support;
