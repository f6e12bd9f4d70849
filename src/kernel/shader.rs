//! The text of shaders and their names.

/// A shader as it is given to the driver.
#[derive(Clone, Debug)]
pub struct Shader {
    /// The name of its file in `shaders/`, and behind it what tells variants of one file apart.
    pub name: String,
    /// All of its text.
    pub source: String,
    /// Whether it multiplies cooperative matrices: such a shader is only chosen for a device of which
    /// [`cooperative`](crate::device::cooperative) has checked what it needs.
    pub cooperative: bool,
}

/// Shaders of a module with their names.
pub(super) type Named = &'static [(&'static str, &'static str)];

/// The text of a WGSL program, in two parts of which the second may be empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text(pub &'static str, pub &'static str);

impl From<&'static str> for Text {
    fn from(whole: &'static str) -> Self {
        Self(whole, "")
    }
}
