//! Which settings a method reads. A setting that no method lists is read by every run.

use super::{METHODS, MethodEntry};
use crate::{Error, Result};

impl MethodEntry {
    /// Whether the method, or every run, reads this setting of [`RunConfig`](crate::config::RunConfig).
    pub fn reads(&self, setting: &str) -> bool {
        self.settings.contains(&setting) || readers(setting).is_empty()
    }
}

/// Names of the methods that list this setting; none of one that every run reads.
pub fn readers(setting: &str) -> Vec<&'static str> {
    METHODS.iter().filter(|entry| entry.settings.contains(&setting)).map(|entry| entry.name).collect()
}

/// Refuses settings that a person typed and none of `methods` reads.
///
/// # Errors
/// The first such setting, with the methods that do read it.
pub fn check_typed(methods: &[&MethodEntry], typed: &[&str]) -> Result<()> {
    let unread = |setting: &&&str| methods.iter().all(|entry| !entry.reads(setting));
    let Some(setting) = typed.iter().find(unread) else { return Ok(()) };
    let chosen: Vec<_> = methods.iter().map(|entry| entry.name).collect();
    let (chosen, do_not) = match &chosen[..] {
        [one] => (format!("--method {one}"), "does"),
        all => (format!("--methods {}", all.join(",")), "do"),
    };
    Err(Error::input(format!(
        "--{}: {chosen} {do_not} not read this setting; leave it out, or take a method that reads it: {}",
        setting.replace('_', "-"),
        readers(setting).join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::settings, method::find};

    #[test]
    fn methods_list_settings_that_there_are() {
        let all: Vec<String> = settings().into_iter().map(|setting| setting.name).collect();
        for entry in METHODS {
            for setting in entry.settings {
                assert!(all.iter().any(|known| known == setting), "{}: {setting}", entry.name);
            }
            assert!(entry.budget.is_none_or(|budget| entry.settings.contains(&budget.shown())), "{}", entry.name);
        }
    }

    #[test]
    fn typed_settings_that_nobody_reads_are_refused() {
        for entry in METHODS {
            check_typed(&[entry], entry.settings).expect(entry.name);
            check_typed(&[entry], &["learning_rate", "steps"]).expect(entry.name);
            for other in METHODS {
                for setting in other.settings.iter().filter(|setting| !entry.settings.contains(setting)) {
                    let said = check_typed(&[entry], &["steps", setting]).expect_err(setting).to_string();
                    let flag = format!("--{}", setting.replace('_', "-"));
                    assert!(said.contains(&flag) && said.contains(entry.name) && said.contains(other.name), "{said}");
                    check_typed(&[entry, other], &[setting]).expect("one of them reads it");
                }
            }
        }
        assert!(find("").is_err());
    }
}
