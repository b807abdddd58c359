//! Failures of registry and store, in the words of the use case, with what to type next.

use crate::base::image_ref::{ImageName, ImageRef};
use crate::base::manifest::ManifestError;
use crate::engine::error::{Error, Kind};
use crate::registry::config::Registries;
use crate::registry::error::Error as RegistryError;
use crate::registry::transport::{host_of, is_loopback};
use crate::runtime::failure::Failure;
use crate::store::StoreError;

/// A name that led to no registry.
pub(in crate::engine) fn unresolved(err: RegistryError) -> Error {
    let hint = match &err {
        RegistryError::ShortName { name, .. } => {
            Some(format!("type the full name, like docker.io/library/{name}"))
        }
        RegistryError::Ambiguous { candidates, .. } => {
            candidates.first().map(|first| format!("type the full name, like {first}"))
        }
        _ => None,
    };
    let error = Error::invalid(err.to_string());
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A failure to find what `name` may mean, with what led to the registry that was asked if only a default did.
pub(in crate::engine) fn of_short_name(registries: &Registries, name: &ImageName, err: Error) -> Error {
    let Some(assumed) = registries.assumed(name) else { return err };
    let hint = match &err.hint {
        Some(hint) => format!("{assumed}; {hint}"),
        None => assumed,
    };
    err.hint(hint)
}

/// A failure of what `verb` says (pull, push …) about `image` on a registry.
pub(in crate::engine) fn from_registry(verb: &str, image: &ImageRef, err: RegistryError) -> Error {
    // What the engine itself could not do with a blob has gone through the registry's hands.
    let err = match err {
        RegistryError::Sink { digest, source } => match source.downcast::<Error>() {
            Ok(error) => return error,
            Err(source) => RegistryError::Sink { digest, source },
        },
        err => err,
    };
    let kind = match &err {
        RegistryError::NotFound { .. } => Kind::NotFound,
        RegistryError::Unauthorized { .. }
        | RegistryError::HostileRealm { .. }
        | RegistryError::ForeignRealm { .. } => Kind::Unauthorized,
        RegistryError::Blocked { .. } => Kind::Invalid,
        _ => Kind::System,
    };
    let hint = hint(verb, image, &err);
    let error = Error::new(kind, format!("{verb} {image}")).because(err);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn hint(verb: &str, image: &ImageRef, err: &RegistryError) -> Option<String> {
    let registry = image.registry();
    match err {
        RegistryError::Unauthorized { .. } if verb == "push" => {
            Some(format!("check the name, and `ketch login {registry}` as somebody who may write there"))
        }
        RegistryError::Unauthorized { .. } => Some(format!(
            "check the name; if the image is not public, `ketch login {registry}` or pass --creds NAME:PASSWORD"
        )),
        RegistryError::ForeignRealm { host, .. } => Some(format!(
            "if {host} is the right place for it, store the same name and password for {host} too, in auth.json"
        )),
        RegistryError::NotFound { .. } if verb == "pull" => Some("check the name and the tag".to_owned()),
        RegistryError::Transport { reason, .. } if reason.contains("certificate") => Some(format!(
            "put the CA's certificate into ~/.config/containers/certs.d/{registry}/ca.crt, or use --tls-verify=false"
        )),
        RegistryError::Transport { reason, .. }
            if reason.contains("HTTP response to HTTPS client") && !is_loopback(host_of(registry)) =>
        {
            Some("--tls-verify=false allows plain http".to_owned())
        }
        _ => None,
    }
}

/// What to do when there is no room.
pub(in crate::engine) const DISK_FULL: &str =
    "the disk is full: `ketch system prune` frees what no container uses";

/// A failure of the store while `verb` (pull, push …) is done to `image`.
pub(in crate::engine) fn from_store(verb: &str, image: &ImageRef, err: StoreError) -> Error {
    let full = err.is_disk_full();
    let error = Error::system(format!("{verb} {image}"), err);
    if full { error.hint(DISK_FULL) } else { error }
}

/// A failure of the worker or of starting it.
pub(in crate::engine) fn from_failure(image: &ImageRef, failure: Failure) -> Error {
    let error = Error::new(Kind::System, format!("pull {image}: {}", failure.message));
    match failure.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// A document of the registry that makes no image.
pub(in crate::engine) fn from_manifest(image: &ImageRef, err: ManifestError) -> Error {
    let kind = match err {
        ManifestError::Schema1 | ManifestError::Artifact(_) | ManifestError::TooManyLayers(_) => {
            Kind::Unsupported
        }
        _ => Kind::System,
    };
    Error::new(kind, format!("pull {image}")).because(err)
}
