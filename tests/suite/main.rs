//! The integration tests, in one binary because linking is what costs time.

mod bad_input;
mod golden;
mod kernels;
mod support;
