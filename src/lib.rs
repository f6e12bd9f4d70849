pub mod device;
pub mod error;
pub mod files;
pub mod kernel;
pub mod model;
pub mod rng;
pub use error::{Error, Result};
