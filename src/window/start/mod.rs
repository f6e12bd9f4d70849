//! The start page: every setting with its explanation, what is wrong beside it, what the run will take, and the command
//! that does the same.

mod field;
mod form;
mod page;

pub use form::Form;
