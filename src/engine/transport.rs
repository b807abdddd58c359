//! Where images come from and go to, as podman and skopeo write it: `transport:rest`.
//!
//! # Source
//!
//! containers-transports(5).

use std::path::{Path, PathBuf};

use crate::engine::error::{Error, Kind, Result};

/// A place for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `docker://` or nothing: a name on a registry.
    Registry(String),
    /// `oci:PATH[:NAME]`: a directory in OCI's image layout.
    OciDir { path: PathBuf, name: Option<String> },
    /// `oci-archive:PATH[:NAME]`: such a directory as a tar file.
    OciArchive { path: PathBuf, name: Option<String> },
    /// `docker-archive:PATH[:NAME]`: what `docker save` writes.
    DockerArchive { path: PathBuf, name: Option<String> },
    /// `dir:PATH`: manifest and blobs in one directory.
    Dir(PathBuf),
    /// `containers-storage:NAME`: the local store.
    Storage(String),
}

impl Place {
    /// Reads what a user typed.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for `docker-daemon:` and the like, [`Kind::Invalid`] for a missing path.
    pub(crate) fn parse(typed: &str) -> Result<Self> {
        if let Some(name) = typed.strip_prefix("docker://") {
            return Ok(Self::Registry(name.to_owned()));
        }
        let Some((transport, rest)) = typed.split_once(':') else {
            return Ok(Self::Registry(typed.to_owned()));
        };
        let with_name = || {
            let (path, name) = rest.split_once(':').unwrap_or((rest, ""));
            if path.is_empty() {
                return Err(Error::invalid(format!("{typed}: it needs a path, like {transport}:/tmp/image")));
            }
            Ok((PathBuf::from(path), Some(name.to_owned()).filter(|name| !name.is_empty())))
        };
        match transport {
            "oci" => with_name().map(|(path, name)| Self::OciDir { path, name }),
            "oci-archive" => with_name().map(|(path, name)| Self::OciArchive { path, name }),
            "docker-archive" => with_name().map(|(path, name)| Self::DockerArchive { path, name }),
            "dir" if rest.is_empty() => with_name().map(|(path, _)| Self::Dir(path)),
            "dir" => Ok(Self::Dir(PathBuf::from(rest))),
            "containers-storage" => Ok(Self::Storage(rest.to_owned())),
            "docker-daemon" | "ostree" | "sif" | "tarball" | "atomic" => {
                let message = format!("{transport}: images of this kind are not supported");
                let error = Error::new(Kind::Unsupported, message);
                Err(if transport == "docker-daemon" {
                    error.hint("docker save writes an archive: docker-archive:FILE")
                } else {
                    error
                })
            }
            // A tag, or the port of a registry.
            _ => Ok(Self::Registry(typed.to_owned())),
        }
    }
}

impl Place {
    /// True if it names one image of several.
    pub(in crate::engine) fn selects(&self) -> bool {
        match self {
            Self::OciDir { name, .. } | Self::OciArchive { name, .. } | Self::DockerArchive { name, .. } => {
                name.is_some()
            }
            _ => false,
        }
    }

    /// What policy.json calls its transport, and the path its scopes are made of; `None` for registries, which
    /// have scopes of their own, and for the store, which is trusted.
    pub(in crate::engine) fn in_policy(&self) -> Option<(&'static str, &Path)> {
        match self {
            Self::OciDir { path, .. } => Some(("oci", path)),
            Self::OciArchive { path, .. } => Some(("oci-archive", path)),
            Self::DockerArchive { path, .. } => Some(("docker-archive", path)),
            Self::Dir(path) => Some(("dir", path)),
            Self::Registry(_) | Self::Storage(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_users_write_them() {
        let some = |text: &str| Some(text.to_owned());
        for (typed, want) in [
            ("nginx:1", Place::Registry("nginx:1".into())),
            ("docker://quay.io/a:1", Place::Registry("quay.io/a:1".into())),
            ("localhost:5000/a", Place::Registry("localhost:5000/a".into())),
            ("oci:/a/b", Place::OciDir { path: "/a/b".into(), name: None }),
            ("oci:b:r.io/x:1", Place::OciDir { path: "b".into(), name: some("r.io/x:1") }),
            ("oci-archive:a.tar:x", Place::OciArchive { path: "a.tar".into(), name: some("x") }),
            ("docker-archive:a.tar", Place::DockerArchive { path: "a.tar".into(), name: None }),
            ("dir:/a:b", Place::Dir("/a:b".into())),
            ("containers-storage:x:1", Place::Storage("x:1".into())),
        ] {
            assert_eq!(Place::parse(typed).unwrap(), want, "{typed}");
        }
        for (typed, kind) in [
            ("docker-daemon:x", Kind::Unsupported),
            ("oci:", Kind::Invalid),
            ("dir:", Kind::Invalid),
            ("oci-archive::x", Kind::Invalid),
        ] {
            assert_eq!(Place::parse(typed).unwrap_err().kind, kind, "{typed}");
        }
    }
}
