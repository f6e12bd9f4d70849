//! The live window, driven by clicks and keys: the real application on a software adapter, with the real workers behind it
//! or with scripted replies.

mod records;
mod runs;
mod scripted;
mod views;
