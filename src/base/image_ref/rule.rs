//! Whose rule names follow, and what they are looked up for.

use super::{DOCKER_HUB, ImageRef, LOCALHOST};

/// Whose rule says what a name without a registry means here, and how names are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// podman's: what is made here lives on `localhost`, the end of a repository will do, names are shown in full.
    #[default]
    Podman,
    /// Docker's: `app` is `docker.io/library/app` and nothing else, and is shown as `app`.
    Docker,
}

impl NameRule {
    /// The registry of what is made here under a short name.
    pub(crate) fn home(self) -> &'static str {
        match self {
            Self::Podman => LOCALHOST,
            Self::Docker => DOCKER_HUB,
        }
    }

    /// The registries on which a name without one is looked for here, the best first.
    pub(super) fn homes(self, purpose: Purpose) -> &'static [&'static str] {
        match (self, purpose) {
            (Self::Podman, _) => &[LOCALHOST, DOCKER_HUB],
            // What was made here under another name of ketch is better than none.
            (Self::Docker, Purpose::Read) => &[DOCKER_HUB, LOCALHOST],
            (Self::Docker, Purpose::Act) => &[DOCKER_HUB],
        }
    }

    /// A name as it is shown.
    pub(crate) fn shown(self, name: &ImageRef) -> String {
        match self {
            Self::Podman => name.to_string(),
            Self::Docker => name.familiar(),
        }
    }

    /// The same for a text that may be a full name.
    pub(crate) fn shown_text(self, text: &str) -> String {
        match (self, text.parse::<ImageRef>()) {
            (Self::Docker, Ok(name)) => name.familiar(),
            _ => text.to_owned(),
        }
    }
}

/// What a name is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To read what it means: the next best will do.
    Read,
    /// To remove it, take it off, push it or list by it: nobody is to lose or give away what was not named.
    Act,
}
