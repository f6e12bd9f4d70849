//! What the hub allows as names of repositories and revisions.

/// The hub's rule for the names of owners and of repositories.
pub(super) fn is_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.len() <= 96
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && !text.contains("--")
        && !text.contains("..")
}

/// A revision becomes part of addresses and of file names in the cache.
pub(super) fn is_revision(text: &str) -> bool {
    let parts_are_plain = text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    parts_are_plain && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+/".contains(c)) && !text.contains("..")
}

/// A whole commit hash, which never means anything else later.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_cannot_leave_their_folder() {
        for good in ["main", "v1.0", "refs/pr/1", "0123456789abcdef0123456789abcdef01234567", "feature/x-1"] {
            assert!(is_revision(good), "{good}");
        }
        for bad in ["", "/", "../main", "a/../b", "a//b", "a b", "a?b", "a#b", "a%2Fb", "a\\b", ".hidden", "a/"] {
            assert!(!is_revision(bad), "{bad}");
        }
        assert!(is_commit("0123456789abcdef0123456789abcdef01234567") && !is_commit("0123456") && !is_commit("main"));
    }
}
