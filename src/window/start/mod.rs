//! The start page: every setting with its explanation, errors beside the fields, the memory estimate, and the equivalent
//! command.

mod field;
mod form;
mod page;

pub use form::Form;
