//! A project's files as an artifact in a registry: what `publish` sends, and where `-f oci://…` finds it again.
//!
//! ```text
//! compose.yaml ─▶ layer ┐                      ┌▶ compose.yaml   the files, one document after the other
//! override     ─▶ layer ┼▶ artifact ─ oci://… ─┤
//! .env files   ─▶ layer ┘                      └▶ .env files     beside it, in compose/.published/<digest>
//! ```
//!
//! # Source
//!
//! Media types and annotations: docker compose 2.36, `internal/oci`.

use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::base::order;
use crate::compose::node::{Files, Node};
use crate::engine::artifact::documents::{Document, Documents, DocumentsKind};
use crate::engine::{Engine, Error, Result};

/// What the name of a published project begins with, as a file of `-f`.
pub(crate) const SCHEME: &str = "oci://";

const PROJECT_TYPE: &str = "application/vnd.docker.compose.project";
const EMPTY_CONFIG_TYPE: &str = "application/vnd.docker.compose.config.empty.v1+json";
const FILE_TYPE: &str = "application/vnd.docker.compose.file+yaml";
const ENV_FILE_TYPE: &str = "application/vnd.docker.compose.envfile";
const FILE_NAME: &str = "com.docker.compose.file";
const ENV_FILE_NAME: &str = "com.docker.compose.envfile";
/// Marks a file that another one extends: it is no part of the project by itself.
const EXTENDED: &str = "com.docker.compose.extends";
const VERSION: &str = "com.docker.compose.version";

/// How the artifact is marked for a version of OCI's image specification.
///
/// # Errors
///
/// For versions that there are not.
pub(crate) fn kind(oci_version: Option<&str>) -> Result<DocumentsKind> {
    match oci_version {
        None | Some("1.1") => Ok(DocumentsKind::Artifact(PROJECT_TYPE.to_owned())),
        Some("1.0") => Ok(DocumentsKind::Configuration(EMPTY_CONFIG_TYPE.to_owned())),
        Some(other) => {
            Err(Error::invalid(format!("invalid OCI version {other:?}")).hint("choose 1.0 or 1.1"))
        }
    }
}

/// One Compose file as a layer.
pub(crate) fn compose_file(name: &str, content: Vec<u8>) -> Document {
    document(FILE_TYPE, FILE_NAME, name, content)
}

/// A file that another one extends as a layer; `name` is its path in the project.
pub(crate) fn extended_file(name: &str, content: Vec<u8>) -> Document {
    let mut document = document(FILE_TYPE, FILE_NAME, name, content);
    document.annotations.insert(EXTENDED.to_owned(), "true".to_owned());
    document
}

/// One file of variables as a layer; `name` is what the Compose file calls it.
pub(crate) fn env_file(name: &str, content: Vec<u8>) -> Document {
    document(ENV_FILE_TYPE, ENV_FILE_NAME, name, content)
}

fn document(media_type: &str, annotation: &str, name: &str, content: Vec<u8>) -> Document {
    let annotations = order::map([
        (annotation.to_owned(), name.to_owned()),
        (VERSION.to_owned(), super::project::COMPATIBLE.to_owned()),
    ]);
    Document { media_type: media_type.to_owned(), annotations, content }
}

/// Whether a file of `-f` is a published project: its name in the registry.
pub(crate) fn name_of(file: &Path) -> Option<&str> {
    file.to_str()?.strip_prefix(SCHEME)
}

/// The files that a file extends, as it names them: they are published with it.
///
/// # Errors
///
/// If it includes another file, which stays on this machine; if it cannot be read.
pub(crate) fn extended_by(path: &Path, text: &str) -> Result<Vec<String>> {
    let mut extended = Vec::new();
    let mut files = Files::default();
    let file = files.add(path.display().to_string());
    for document in files.documents(text, file)? {
        if let Some(include) = document.get("include") {
            return Err(files.error(include.at, "cannot publish a file that includes others".to_owned()));
        }
        let services = document.get("services").and_then(Node::as_map).into_iter().flatten();
        let named = services.filter_map(|(_, service)| service.get("extends")?.str_at("file"));
        extended.extend(named.map(str::to_owned));
    }
    Ok(extended)
}

/// Writes what was read from a registry where the project is loaded from, and returns the Compose file.
///
/// # Errors
///
/// If it is no project; if a name in it leads out of the directory; if a file cannot be written.
pub(crate) fn unpack(engine: &Engine, name: &str, artifact: &Documents) -> Result<PathBuf> {
    if ![PROJECT_TYPE, EMPTY_CONFIG_TYPE].contains(&artifact.kind.as_str()) {
        let message = format!("{name} is not a compose project OCI artifact, but {}", artifact.kind);
        return Err(Error::invalid(message));
    }
    let directory = engine.store().root().join("compose/.published").join(artifact.digest.hex());
    let mut whole = Vec::new();
    for document in &artifact.documents {
        let is_extended = document.annotations.contains_key(EXTENDED);
        let beside = document.annotations.get(if is_extended { FILE_NAME } else { ENV_FILE_NAME });
        match beside {
            Some(path) => write(&directory, path, &document.content)?,
            None if document.media_type == FILE_TYPE => {
                if !whole.is_empty() {
                    whole.extend(b"\n---\n");
                }
                whole.extend(&document.content);
            }
            // Of a later version: what is not known is not needed.
            None => {}
        }
    }
    write(&directory, "compose.yaml", &whole)?;
    Ok(directory.join("compose.yaml"))
}

/// Writes a file below `directory`; whoever reads it meanwhile sees the old or the new one.
fn write(directory: &Path, path: &str, content: &[u8]) -> Result<()> {
    let is_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !is_inside {
        return Err(Error::invalid(format!("the artifact holds a file that is outside of it: {path:?}")));
    }
    let path = directory.join(path);
    let new = directory.join(format!(".new-{}", std::process::id()));
    let write = || {
        let parent = path.parent().unwrap_or(directory);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        std::io::Write::write_all(&mut file, content)?;
        std::fs::rename(&new, &path)
    };
    write().map_err(|err| Error::system(format!("write {}", path.display()), err))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_registry_are_told_from_files() {
        for (file, want) in [
            ("oci://r.example/a:1", Some("r.example/a:1")),
            ("oci:/a", None),
            ("compose.yaml", None),
            ("-", None),
        ] {
            assert_eq!(name_of(Path::new(file)), want, "{file}");
        }
    }

    #[test]
    fn files_that_need_others_name_them() {
        for (text, want) in [
            ("services: {a: {image: x, extends: {service: b}}, b: {image: y}}\n", Ok(vec![])),
            ("include: [b.yaml]\n", Err("includes others")),
            ("services:\n  a:\n    extends: {file: b.yaml, service: b}\n", Ok(vec!["b.yaml".to_owned()])),
        ] {
            match (extended_by(Path::new("f"), text), want) {
                (Ok(found), Ok(want)) => assert_eq!(found, want, "{text}"),
                (Err(err), Err(want)) => assert!(err.to_string().contains(want), "{text}: {err}"),
                (found, want) => panic!("{text}: {found:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn what_is_read_stays_in_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        for (path, well) in [("a", true), ("b/c.env", true), ("../x", false), ("/etc/x", false), ("", false)]
        {
            assert_eq!(write(dir.path(), path, b"1").is_ok(), well, "{path}");
        }
        assert_eq!(std::fs::read(dir.path().join("b/c.env")).unwrap(), b"1");
    }
}
