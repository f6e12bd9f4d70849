//! The live window, driven as a person would: the real application on a software adapter, with the real desk behind it or
//! with scripted replies.

mod records;
mod runs;
mod scripted;
mod views;
