//! Paths as words, without looking at what lies there.

use std::path::{Component, Path, PathBuf};

/// A path without `.`, `..` and doubled slashes, by its words alone.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_by_their_words() {
        for (path, want) in [
            ("/a/./b//c/", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("/..", "/"),
            ("a/b/..", "a"),
            ("./a", "a"),
            ("../a", "a"),
            ("", ""),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(want), "{path}");
        }
    }
}
