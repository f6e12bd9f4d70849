pub mod device;
pub mod error;
pub mod kernel;
pub mod rng;
pub use error::{Error, Result};
