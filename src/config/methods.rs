//! What methods have to do with settings, as plain values: a form or a command needs no more of them.

/// The setting that decides how much a method trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Any number of trainable parameters can be had.
    Exact {
        /// The setting that people choose by.
        shown: &'static str,
        /// The setting that takes the number itself.
        counted: &'static str,
    },
    /// Only some numbers can be had, by a rank or the like.
    Steps {
        /// The setting.
        shown: &'static str,
    },
}

impl Budget {
    /// The setting that people choose by.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Exact { shown, .. } | Self::Steps { shown } => shown,
        }
    }

    /// The setting that takes the number itself, where any number can be had.
    pub fn counted(self) -> Option<&'static str> {
        match self {
            Self::Exact { counted, .. } => Some(counted),
            Self::Steps { .. } => None,
        }
    }
}

/// A method and the settings that it reads beside those of every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodSettings {
    /// Name of the method.
    pub method: &'static str,
    /// Names of the settings.
    pub settings: &'static [&'static str],
    /// The one that decides how much it trains; `None` of a method that trains all there is.
    pub budget: Option<Budget>,
}

/// Whether a run by `method` reads `setting`: the method lists it, or none of all the `methods` does. Of a method that is not
/// among them nothing is known, and it may.
pub fn reads(methods: &[MethodSettings], method: &str, setting: &str) -> bool {
    let Some(this) = methods.iter().find(|known| known.method == method) else { return true };
    this.settings.contains(&setting) || methods.iter().all(|other| !other.settings.contains(&setting))
}
