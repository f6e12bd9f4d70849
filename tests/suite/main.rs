//! The integration tests, in one binary because linking is what costs time.

mod adapters;
mod attention;
mod bad_input;
mod bad_tasks;
mod chat;
mod desk;
mod embedded;
mod fake_hub;
mod fixture;
mod formats;
mod generation;
mod gguf;
mod golden;
mod hub;
mod kernels;
mod layout;
mod matrix;
mod memory;
mod packed;
mod program;
mod quantized;
mod runs;
mod steady;
mod support;
mod tasks;
mod watch;
