//! The start page: every setting with its explanation, errors beside the fields, the memory estimate, and the equivalent
//! command.

mod field;
mod form;
mod method_settings;
mod page;

pub use form::Form;
pub use method_settings::COMPARED_METHODS;
