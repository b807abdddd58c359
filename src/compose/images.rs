//! Which images a project needs are pulled, which are built, and which are here already.

use jiff::{SignedDuration, Timestamp};

use crate::compose::apply::{Compose, ToPull, UpOptions};
use crate::compose::scalars::duration_ns;
use crate::engine::{Error, Result};

/// Why an image could not be pulled: what ends a command for this reason has an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PullFailed(String);

impl PullFailed {
    /// Marks a failed pull of `image`; it says what it has said.
    fn mark(image: &str, err: Error) -> Error {
        let whole = err.whole();
        let (message, why) = match whole.split_once(": ") {
            Some((message, why)) => (message.to_owned(), why.to_owned()),
            None => (format!("pull {image}"), whole),
        };
        Error { message, source: Some(Box::new(Self(why))), ..err }
    }
}

/// When an image is got from its registry: `pull_policy` of a service, or `--pull`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Always,
    Missing,
    Never,
    Build,
    /// If its name was given to it longer ago than this.
    OlderThan(SignedDuration),
}

impl Policy {
    /// Reads what a file or the command line says.
    ///
    /// # Errors
    ///
    /// For anything else than the words of the Compose Specification; a plain sentence.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        const DAY: i64 = 24;
        match text {
            "always" => Ok(Self::Always),
            "missing" | "if_not_present" | "refresh" => Ok(Self::Missing),
            "never" => Ok(Self::Never),
            "build" => Ok(Self::Build),
            "daily" => Ok(Self::OlderThan(SignedDuration::from_hours(DAY))),
            "weekly" => Ok(Self::OlderThan(SignedDuration::from_hours(7 * DAY))),
            _ => {
                let age = text.strip_prefix("every_").and_then(duration_ns).filter(|age| *age >= 0);
                age.map(|age| Self::OlderThan(SignedDuration::from_nanos(age))).ok_or_else(|| {
                    "must be always, missing, if_not_present, never, build, daily, weekly or like every_12h".to_owned()
                })
            }
        }
    }
}

/// What is known of the image of one service.
#[derive(Clone, Copy, Debug)]
struct Wish {
    policy: Policy,
    /// It is here; and since when, if that was noted.
    here: Option<Option<Timestamp>>,
    /// The file says what it is called (`image:`), so that a registry may have it.
    named: bool,
    /// A service of the project builds it.
    buildable: bool,
    /// It is built whatever is here: `--build`, or the policy of that service.
    built_anyway: bool,
}

/// How an image is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Keep,
    Pull,
    PullOrBuild,
    Build,
    /// Not at all.
    Nowhere,
}

impl Wish {
    /// What is to be done now.
    fn way(self, now: Timestamp) -> Way {
        if self.built_anyway {
            return Way::Build;
        }
        let is_pulled = self.named
            && match self.policy {
                Policy::Always => true,
                Policy::Missing => self.here.is_none(),
                Policy::Never | Policy::Build => false,
                Policy::OlderThan(age) => {
                    self.here.flatten().is_none_or(|given| now.duration_since(given) > age)
                }
            };
        match (is_pulled, self.here.is_some(), self.buildable) {
            (true, _, true) => Way::PullOrBuild,
            (true, _, false) => Way::Pull,
            (false, true, _) => Way::Keep,
            (false, false, true) => Way::Build,
            (false, false, false) => Way::Nowhere,
        }
    }
}

impl Compose<'_> {
    /// Builds and pulls what the services need. What cannot be pulled is built, if a service of the project does.
    pub(super) fn obtain_images(&self, order: &[String], options: &UpOptions) -> Result<()> {
        let now = Timestamp::now();
        let mut to_pull: Vec<ToPull> = Vec::new();
        let mut to_build: Vec<String> = Vec::new();
        for name in order {
            let service = self.project.service(name)?;
            if self.project.provider(name).is_some() {
                continue;
            }
            let image = self.project.image(name);
            if !self.dry_run && self.engine.obtain_builtin(&image)? {
                continue;
            }
            let builder = self.builder(name, order).filter(|_| !options.no_build);
            let is_built = |builder: &String| -> Result<bool> {
                let policy = self.policy(builder, options)?;
                Ok(order.contains(builder) && (options.build || policy == Policy::Build))
            };
            let wish = Wish {
                policy: self.policy(name, options)?,
                here: self.given(&image),
                named: service.get("image").is_some(),
                buildable: builder.is_some(),
                built_anyway: builder.as_ref().map_or(Ok(false), is_built)?,
            };
            match wish.way(now) {
                Way::Keep => {}
                Way::Build => to_build.extend(builder),
                Way::Pull | Way::PullOrBuild => {
                    let platform = service.str_at("platform").map(str::to_owned);
                    let wanted = ToPull { service: name.clone(), image, platform, builder };
                    let is_known =
                        |known: &ToPull| (&known.image, &known.platform) == (&wanted.image, &wanted.platform);
                    if !to_pull.iter().any(is_known) {
                        to_pull.push(wanted);
                    }
                }
                Way::Nowhere => {
                    let why = match wish.named {
                        true => "the pull policy keeps it from being pulled",
                        false => "the project builds it: leave --no-build away",
                    };
                    return Err(Error::not_found(format!("no such image: {image}")).hint(why));
                }
            }
        }
        self.pull(&to_pull, &mut |wanted, result| match (result, &wanted.builder) {
            (Err(_), Some(builder)) => {
                // What is here already will do.
                to_build.extend(self.given(&wanted.image).is_none().then(|| builder.clone()));
                Ok(())
            }
            (result, _) => result,
        })?;
        let mut seen = std::collections::BTreeSet::new();
        to_build.retain(|name| seen.insert(name.clone()));
        if self.dry_run {
            to_build.iter().for_each(|name| self.event("Image", &self.project.image(name), "Building"));
            return Ok(());
        }
        if to_build.is_empty() { Ok(()) } else { self.images.build(self.project, &to_build) }
    }

    fn policy(&self, service: &str, options: &UpOptions) -> Result<Policy> {
        let service = self.project.service(service)?;
        let said = options.pull.as_deref().or_else(|| service.str_at("pull_policy"));
        said.map_or(Ok(Policy::Missing), |text| {
            Policy::parse(text).map_err(|why| Error::invalid(format!("pull policy {text:?} {why}")))
        })
    }

    /// The service that builds the image of another one, or its own: one of those in `order` if it can be.
    fn builder(&self, service: &str, order: &[String]) -> Option<String> {
        let builds = |name: &str| self.project.service(name).is_ok_and(|node| node.get("build").is_some());
        if builds(service) {
            return Some(service.to_owned());
        }
        let image = self.project.image(service);
        let all = order.iter().chain(self.project.services().map(|(name, _)| name));
        let mut others = all.filter(|name| builds(name) && self.project.image(name) == image);
        others.next().cloned()
    }

    /// Since when a name has meant the image that it means here, if that was noted; `None` if there is no such image.
    fn given(&self, image: &str) -> Option<Option<Timestamp>> {
        let found = self.engine.image(image).ok()?;
        let record = found.name.and_then(|name| self.engine.store().refs().get(&name).ok());
        Some(record.and_then(|record| record.given))
    }

    /// Pulls images, several at once, and tells of each. `done` decides whether a failure ends it.
    ///
    /// # Errors
    ///
    /// What `done` gives back.
    pub(crate) fn pull(
        &self,
        images: &[ToPull],
        done: &mut dyn FnMut(&ToPull, Result<()>) -> Result<()>,
    ) -> Result<()> {
        images.iter().for_each(|wanted| self.event("", &wanted.service, "Pulling"));
        let mut told = |wanted: &ToPull, result: Result<()>| {
            match (&result, &wanted.builder) {
                (Ok(()), _) => self.event("", &wanted.service, "Pulled"),
                (Err(err), Some(_)) => self.event("", &wanted.service, &format!("Warning {}", err.whole())),
                (Err(err), None) => self.event("", &wanted.service, &format!("Error {}", err.whole())),
            }
            done(wanted, result.map_err(|err| PullFailed::mark(&wanted.image, err)))
        };
        match self.dry_run {
            true => images.iter().try_for_each(|wanted| told(wanted, Ok(()))),
            false => self.images.pull(images, self.parallel, &mut told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_words_or_durations() {
        let hours = |hours| Ok(Policy::OlderThan(SignedDuration::from_hours(hours)));
        for (text, want) in [
            ("always", Ok(Policy::Always)),
            ("if_not_present", Ok(Policy::Missing)),
            ("daily", hours(24)),
            ("weekly", hours(168)),
            ("every_12h", hours(12)),
            ("every_1w2d", hours(216)),
            ("alwyas", Err(())),
            ("every_", Err(())),
            ("every_-1h", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(Policy::parse(text).map_err(drop), want, "{text}");
        }
    }

    #[test]
    fn an_image_is_pulled_or_built_or_here() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1000);
        let given = |hours| Some(Some(now - SignedDuration::from_hours(hours)));
        let daily = Policy::parse("daily").unwrap();
        let base =
            Wish { policy: Policy::Missing, here: None, named: true, buildable: false, built_anyway: false };
        let buildable = Wish { buildable: true, ..base };
        for (wish, want) in [
            (base, Way::Pull),
            (Wish { here: given(9), ..base }, Way::Keep),
            (Wish { policy: Policy::Never, ..base }, Way::Nowhere),
            (Wish { policy: Policy::Always, here: given(0), ..base }, Way::Pull),
            (Wish { policy: daily, here: given(23), ..base }, Way::Keep),
            (Wish { policy: daily, here: given(25), ..base }, Way::Pull),
            (Wish { policy: daily, here: Some(None), ..base }, Way::Pull),
            (buildable, Way::PullOrBuild),
            (Wish { named: false, ..buildable }, Way::Build),
            (Wish { policy: Policy::Never, ..buildable }, Way::Build),
            (Wish { policy: Policy::Always, here: given(0), ..buildable }, Way::PullOrBuild),
            (Wish { policy: Policy::Always, here: given(0), named: false, ..buildable }, Way::Keep),
            (Wish { here: given(0), ..buildable }, Way::Keep),
            (Wish { here: given(0), built_anyway: true, ..buildable }, Way::Build),
        ] {
            assert_eq!(wish.way(now), want, "{wish:?}");
        }
    }
}
