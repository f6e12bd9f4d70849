//! The window's line to the desk behind it: requests go out, replies come in, nobody waits.

use std::sync::Arc;

use crate::event::messages::{Reply, Request};

/// Both ends of the line, as the window holds them.
pub struct Link {
    /// Sends a request; returns at once.
    pub ask: Box<dyn Fn(Request)>,
    /// The next thing that the desk says, if there is one.
    pub hear: Box<dyn Fn() -> Option<Reply>>,
}

/// Makes the window look for replies soon. May be called from any thread, at any rate.
pub type Wake = Arc<dyn Fn() + Send + Sync>;
