//! registries.d: whether signatures that lie beside images are read and written.
//!
//! ```text
//! docker: "r.io/team/app:1" │ "r.io/team/app" │ "r.io/team" │ "r.io" ─▶ default-docker ─▶ yes
//! ```
//!
//! Only `use-sigstore-attachments` matters here. `lookaside` is where signatures by GPG keys lie, which ketch
//! does not check. Where nothing is said, ketch reads attachments: what counts is that a key of policy.json
//! has signed, not where the signature came from.
//!
//! # Source
//!
//! containers-registries.d(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::image_ref::ImageRef;
use crate::base::order::InOrder as _;
use crate::base::yaml::read as yaml;
use crate::registry::error::{Error, Result};
use crate::registry::policy;

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What all files of a directory say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attachments {
    default: Option<bool>,
    scopes: BTreeMap<String, bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Document {
    default_docker: Option<Scope>,
    docker: BTreeMap<String, Scope>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Scope {
    use_sigstore_attachments: Option<bool>,
}

impl Attachments {
    /// Reads the `*.yaml` files of the first of `directories` that exists.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a file that cannot be read or understood.
    pub(crate) fn load(directories: &[PathBuf]) -> Result<Self> {
        let mut all = Self::default();
        let Some(entries) = directories.iter().find_map(|directory| std::fs::read_dir(directory).ok()) else {
            return Ok(all);
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
        files.order();
        for file in files {
            all.add(read(&file)?);
        }
        Ok(all)
    }

    fn add(&mut self, document: Document) {
        let said = |scope: Scope| scope.use_sigstore_attachments;
        self.default = document.default_docker.and_then(said).or(self.default);
        for (name, scope) in document.docker {
            if let Some(used) = said(scope) {
                self.scopes.insert(name, used);
            }
        }
    }

    /// Whether they are used for an image.
    pub(crate) fn are_used(&self, image: &ImageRef) -> bool {
        let said = policy::scopes_of(image).into_iter().find_map(|scope| self.scopes.get(&scope).copied());
        said.or(self.default).unwrap_or(true)
    }
}

fn read(path: &Path) -> Result<Document> {
    let bad = |reason: String| Error::Config { path: path.to_owned(), reason };
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_BYTES) {
        return Err(bad("it is too large".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|err| bad(err.to_string()))?;
    // A file of comments alone is no document.
    let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if empty { Ok(Document::default()) } else { yaml::value_of(&text).map_err(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_scope_counts() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("default.yaml", "# nothing\n");
        write(
            "a.yaml",
            "default-docker:\n  lookaside: file:///x\n  use-sigstore-attachments: false\ndocker:\n  r.io/team:\n    use-sigstore-attachments: true\n",
        );
        write(
            "b.yaml",
            "docker:\n  r.io/team/app:1:\n    use-sigstore-attachments: false\n  s.io: {lookaside: 'http://x'}\n",
        );
        write("c.txt", "nonsense: [");
        let all = Attachments::load(&["/nonexistent".into(), dir.path().to_owned()]).unwrap();
        for (image, want) in
            [("r.io/team/app:1", false), ("r.io/team/app:2", true), ("r.io/other", false), ("s.io/x", false)]
        {
            assert_eq!(all.are_used(&image.parse().unwrap()), want, "{image}");
        }
        assert!(Attachments::load(&["/nonexistent".into()]).unwrap().are_used(&"r.io/x".parse().unwrap()));
        write("d.yaml", "docker: [");
        assert!(Attachments::load(&[dir.path().to_owned()]).unwrap_err().to_string().contains("d.yaml"));
    }
}
