//! Use case: running containers whose image has become a newer one (`auto-update`).

use std::path::PathBuf;

use crate::base::digest::Digest;
use crate::base::id::ContainerId;
use crate::base::image_ref::ImageRef;
use crate::base::order::InOrder as _;
use crate::engine::error::{Error, Result};
use crate::engine::list::{Container, Query};
use crate::engine::pull::{self, PullEvent, PullPolicy, PullRequest};
use crate::engine::{Engine, config};

/// The label with the policy.
const POLICY: &str = "io.containers.autoupdate";

/// The label with a file of credentials.
const AUTH_FILE: &str = "io.containers.autoupdate.authfile";

/// The label with the unit of systemd that a container runs in, and the variable that tells it.
const UNIT: &str = "PODMAN_SYSTEMD_UNIT";

/// Labels that count from whoever starts a container only: an image must not say which unit is started anew, nor with
/// whose credentials its registry is asked.
pub(in crate::engine) const NOT_THE_IMAGES: [&str; 2] = [UNIT, AUTH_FILE];

/// The label with the caller's unit, if it is one: units that Quadlet and `podman generate systemd` write say so.
pub(crate) fn unit_of_caller() -> Option<(String, String)> {
    let unit = config::variable_of_caller(UNIT.as_ref())?;
    Some((UNIT.to_owned(), unit.to_string_lossy().into_owned()))
}

/// Where newer images come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// The registry of the image's name.
    Registry,
    /// The local store: the name has moved to another image.
    Local,
}

impl Policy {
    /// By the label's value; nothing if it says that there is to be none.
    fn parse(text: &str) -> Result<Option<Self>> {
        match text.to_ascii_lowercase().as_str() {
            "" | "disabled" => Ok(None),
            "registry" | "image" => Ok(Some(Self::Registry)),
            "local" => Ok(Some(Self::Local)),
            _ => Err(Error::invalid(format!(
                "invalid auto-update policy {text:?}: valid policies are [\"disabled\" \"image\" \"local\" \"registry\"]"
            ))),
        }
    }

    /// podman's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Local => "local",
        }
    }
}

/// A running container that is to be updated.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    /// Its unit of systemd.
    pub(crate) unit: String,
    pub(crate) policy: Policy,
    /// The image's full name.
    pub(crate) image: String,
    /// The image that it runs.
    image_id: Digest,
    auth_file: Option<PathBuf>,
}

impl Candidate {
    /// What a container's labels make of it; nothing where they ask for no updates.
    fn of(container: Container) -> Result<Option<Self>> {
        let label = |key: &str| container.summary.labels.get(key).map(ToString::to_string);
        let Some(policy) = Policy::parse(&label(POLICY).unwrap_or_default())? else { return Ok(None) };
        let id = container.id;
        let Some(unit) = label(UNIT).filter(|unit| !unit.is_empty()) else {
            return Err(Error::invalid(format!("auto-updating container \"{id}\": no {UNIT} label found")));
        };
        let Some(origin) = container.summary.image else { return Ok(None) };
        if policy == Policy::Registry && origin.name.parse::<ImageRef>().is_err() {
            return Err(Error::invalid(format!(
                "auto-updating container \"{id}\": auto updates require fully-qualified image reference: {:?}",
                origin.name
            )));
        }
        Ok(Some(Self {
            id,
            name: container.name,
            unit,
            policy,
            image: origin.name,
            image_id: origin.id,
            auth_file: label(AUTH_FILE).map(PathBuf::from),
        }))
    }

    /// A request for its image. The label's credentials come before those of the command.
    fn request(&self, request: &PullRequest) -> PullRequest {
        let mut request = PullRequest { policy: PullPolicy::Always, ..request.clone() };
        request.remote.auth_file = self.auth_file.clone().or(request.remote.auth_file);
        request
    }
}

impl Engine {
    /// The running containers that ask for updates, by their units, and what is wrong with some.
    ///
    /// # Errors
    ///
    /// If containers cannot be listed.
    pub(crate) fn update_candidates(&self) -> Result<(Vec<Candidate>, Vec<Error>)> {
        let mut found = Vec::new();
        let mut wrong = Vec::new();
        for container in self.containers(&Query::default())?.items {
            match Candidate::of(container) {
                Ok(candidate) => found.extend(candidate),
                Err(err) => wrong.push(err),
            }
        }
        found.order_by(|a, b| a.unit.cmp(&b.unit));
        Ok((found, wrong))
    }

    /// Whether there is a newer image than the one that a container runs; nothing is fetched but its description.
    ///
    /// # Errors
    ///
    /// Those of [`pull::newest`]; [`Kind::NotFound`](crate::engine::Kind::NotFound) where the name is gone from the store.
    pub(crate) fn has_update(
        &self,
        candidate: &Candidate,
        request: &PullRequest,
        events: &dyn Fn(&PullEvent<'_>),
    ) -> Result<bool> {
        let newest = match candidate.policy {
            Policy::Local => self.image(&candidate.image)?.image.id,
            Policy::Registry => pull::newest(self, &candidate.image, &candidate.request(request), events)?,
        };
        Ok(newest != candidate.image_id)
    }

    /// Fetches the newer image.
    ///
    /// # Errors
    ///
    /// Those of [`pull::pull`].
    pub(crate) fn update_image(
        &self,
        candidate: &Candidate,
        request: &PullRequest,
        events: &dyn Fn(&PullEvent<'_>),
    ) -> Result<()> {
        match candidate.policy {
            Policy::Local => Ok(()),
            Policy::Registry => {
                pull::pull(self, &candidate.image, &candidate.request(request), events).map(drop)
            }
        }
    }

    /// Gives the image's name back to the one that the container ran.
    ///
    /// # Errors
    ///
    /// If that image is gone.
    pub(crate) fn roll_image_back(&self, candidate: &Candidate) -> Result<()> {
        self.tag_image(&candidate.image_id.hex(), &candidate.image).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kind;

    #[test]
    fn policies() {
        for (text, want) in [
            ("", None),
            ("disabled", None),
            ("registry", Some(Policy::Registry)),
            ("image", Some(Policy::Registry)),
            ("local", Some(Policy::Local)),
        ] {
            assert_eq!(Policy::parse(text).unwrap(), want, "{text}");
        }
        assert_eq!(Policy::parse("x").unwrap_err().kind, Kind::Invalid);
    }
}
