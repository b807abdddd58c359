//! Use case: get an image from a registry into the store.
//!
//! ```text
//! name ─registries.conf─▶ full names ─▶ endpoints ─fetch─▶ manifest, configuration
//!                                                              │ layers that are not unpacked yet
//!                      ┌───────────────────────────────────────┘
//!                      ▼
//!   this process: download ──▶ blobs/partial ◀── reads as it grows ── worker in U: inflate, verify, unpack
//!                      │ length and digest                                  │ diff ID
//!                      ▼                                                    ▼
//!                  blobs/sha256                                          layers/
//!                      └──────────────── both: images/, refs/ ──────────────┘
//! ```

mod download;
mod fetch;
mod local;
mod register;
mod unpacking;

use std::time::Duration;

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageName, ImageRef, NameRule, Purpose, RefError};
use crate::base::platform::Platform;
use crate::engine::Engine;
use crate::engine::config::registries as files;
use crate::engine::error::Error;
use crate::engine::pull::fetch::Found;
use crate::engine::remote::error::{from_store, of_short_name, unresolved};
use crate::engine::remote::{Remote, RemoteOptions, Trouble};
use crate::engine::transport::Place;
use crate::engine::trust::{self, Trust};
use crate::registry::client::{Client, Notice};
use crate::registry::config::remember_alias;
use crate::store::Store;

type Result<T, E = Error> = std::result::Result<T, E>;

/// When to ask the registry at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    /// Always.
    #[default]
    Always,
    /// If there is no such image here.
    Missing,
    /// Not at all.
    Never,
    /// Always, but what is here is good enough if the registry cannot be reached.
    Newer,
}

/// What to pull, and how to talk to registries on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct PullRequest {
    pub(crate) policy: PullPolicy,
    /// A platform that was asked for; `None` is this machine's, without insisting on it.
    pub(crate) platform: Option<Platform>,
    pub(crate) remote: RemoteOptions,
    /// Asks the user which of these images a short name means; `None` is no answer.
    pub(crate) choose: Option<Chooser>,
}

/// Asks which of several images `name` means; gives its position.
pub(crate) type Chooser = fn(name: &str, images: &[ImageRef]) -> Option<usize>;

/// What happens while an image is pulled or pushed.
#[derive(Debug)]
pub(crate) enum PullEvent<'a> {
    /// The image goes out.
    Pushing,
    /// What a short name means, and which file says so.
    Resolved(&'a str),
    /// A registry is asked for this image.
    Trying(&'a ImageRef),
    /// Manifest and configuration are known; the layers come.
    Layers { count: usize },
    /// A layer of this many bytes is needed.
    Layer { digest: &'a Digest, size: u64, present: bool },
    /// So much of a blob is there.
    Progress { digest: &'a Digest, bytes: u64 },
    /// A layer is complete: downloaded, verified and unpacked.
    Unpacked { digest: &'a Digest },
    /// All is there; the image gets its name.
    Registering { config: &'a Digest },
    /// An attempt failed and another follows after `left`. Comes each second; `first` marks a new wait.
    Waiting { what: &'a str, reason: &'a str, left: Duration, first: bool },
    /// Another process downloads this blob; it is waited for.
    Busy { digest: &'a Digest },
    /// Something that is no failure.
    Warning(&'a str),
}

impl<'a> From<&Notice<'a>> for PullEvent<'a> {
    fn from(notice: &Notice<'a>) -> Self {
        match *notice {
            Notice::Waiting { what, reason, left, first } => Self::Waiting { what, reason, left, first },
            Notice::Busy { digest } => Self::Busy { digest },
        }
    }
}

/// One command's worth of pulling.
struct Puller<'a> {
    engine: &'a Engine,
    remote: Remote,
    trust: Trust,
    request: &'a PullRequest,
    events: &'a dyn Fn(&PullEvent<'_>),
}

/// An image that is here now.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    /// The image ID.
    pub(crate) id: Digest,
    /// The full name it has here, if it was found or pulled by a name. An alias of registries.conf
    /// leads to one that has nothing in common with what was typed.
    pub(crate) name: Option<ImageRef>,
    /// What the registry has under that name: the digest of an index, or of a manifest.
    pub(crate) digest: Option<Digest>,
    /// Of an archive: for each further name in it, the image ID that has it.
    pub(crate) further: Vec<Digest>,
}

impl Pulled {
    /// The digest that docker tells of it: the registry's, as far as that is known.
    ///
    /// # Errors
    ///
    /// If the image cannot be read.
    pub(crate) fn digest_of(&self, engine: &Engine, name: &ImageRef) -> Result<Option<Digest>> {
        let told = self.digest.or(name.digest().copied());
        if told.is_some() {
            return Ok(told);
        }
        let repository = name.without_reference();
        let digests = engine.image_details(&self.id.to_string())?.repo_digests(NameRule::Docker);
        let mut here = digests.iter().filter(|other| other.without_reference() == repository);
        Ok(here.find_map(ImageRef::digest).copied())
    }
}

/// Gets the image that `typed` names, if [`PullPolicy`] wants it from a registry.
///
/// # Errors
///
/// [`Kind::Invalid`](crate::engine::Kind::Invalid) for a name that is none or leads nowhere, [`Kind::NotFound`](crate::engine::Kind::NotFound),
/// [`Kind::Unauthorized`](crate::engine::Kind::Unauthorized), [`Kind::System`](crate::engine::Kind::System) for network and disk.
pub(crate) fn pull(
    engine: &Engine,
    typed: &str,
    request: &PullRequest,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<Pulled> {
    let local_will_do = matches!(request.policy, PullPolicy::Missing | PullPolicy::Never);
    if local_will_do && let Some(local) = find_local(engine.store(), typed, request.platform.as_ref()) {
        return Ok(local);
    }
    match Place::parse(typed)? {
        Place::Registry(name) => pull_remote(engine, &name, request, events),
        place => {
            if let Some((transport, path)) = place.in_policy() {
                trust::check_place(transport, Some(path), None)?;
            }
            local::pull(engine, &place, request.platform.as_ref())
        }
    }
}

/// The ID of the image that a registry has by a full name now. Nothing is stored.
///
/// # Errors
///
/// As [`pull`].
pub(crate) fn newest(
    engine: &Engine,
    typed: &str,
    request: &PullRequest,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<Digest> {
    let name: ImageRef = typed.parse().map_err(|err: RefError| Error::invalid(err.to_string()))?;
    let puller = Puller::new(engine, request, events)?;
    puller.first_endpoint(&name, |client| {
        Ok(fetch::fetch(engine.store(), client, &name, request.platform.as_ref(), events)?.id())
    })
}

fn pull_remote(
    engine: &Engine,
    typed: &str,
    request: &PullRequest,
    events: &dyn Fn(&PullEvent<'_>),
) -> Result<Pulled> {
    let name = parse_name(typed)?;
    let puller = Puller::new(engine, request, events)?;
    let local = if request.policy == PullPolicy::Always { None } else { puller.find_local(&name) };
    match (request.policy, local) {
        (PullPolicy::Missing | PullPolicy::Never, Some(local)) => Ok(local),
        (PullPolicy::Never, None) => Err(Error::not_found(format!("{typed}: image not known"))
            .hint("it may be pulled with --pull=missing")),
        (PullPolicy::Newer, Some(local)) => puller.pull(&name).or_else(|err| {
            events(&PullEvent::Warning(&format!("{err}; the image that is here is used")));
            Ok(local)
        }),
        _ => puller.pull(&name),
    }
}

/// Gets every tag of the repository that `typed` names; `done` hears of each.
///
/// # Errors
///
/// As [`pull`]; [`Kind::Invalid`](crate::engine::Kind::Invalid) for a name with a tag or a digest.
pub(crate) fn pull_all_tags(
    engine: &Engine,
    typed: &str,
    request: &PullRequest,
    events: &dyn Fn(&PullEvent<'_>),
    done: &mut dyn FnMut(Pulled),
) -> Result<()> {
    let name = parse_name(typed)?;
    if name.tag().is_some() || name.digest().is_some() {
        return Err(Error::invalid(format!("{name}: a tag cannot be used with --all-tags")));
    }
    let puller = Puller::new(engine, request, events)?;
    for candidate in puller.remote.registries.resolve(&name).map_err(unresolved)? {
        let tags = puller
            .first_endpoint(&candidate, |client| Ok(client.tags()?))
            .map_err(|err| of_short_name(&puller.remote.registries, &name, err))?;
        for tag in tags {
            let tagged = candidate.with_tag(&tag).map_err(|err| Error::invalid(err.to_string()))?;
            done(puller.pull_image(&tagged)?);
        }
    }
    Ok(())
}

/// Reads a name as podman takes it: `docker://` may stand before it.
fn parse_name(typed: &str) -> Result<ImageName> {
    let text = typed.strip_prefix("docker://").unwrap_or(typed);
    text.parse().map_err(|err: RefError| {
        let source = std::error::Error::source(&err).map(ToString::to_string);
        Error::invalid(source.map_or_else(|| format!("{err}"), |source| format!("{err}: {source}")))
    })
}

/// The local image, if it is whole and for the platform that was asked for.
fn find_local(store: &Store, name: &str, wanted: Option<&Platform>) -> Option<Pulled> {
    // A damaged or ambiguous one is not found either: pulling makes it right.
    let found = store.resolve_image(name, Purpose::Read).ok()?;
    let fits = wanted.is_none_or(|wanted| wanted.runs(&found.image.platform));
    let whole = found.image.layers.iter().all(|layer| store.layers().has(&layer.chain_id));
    (fits && whole).then_some(Pulled { id: found.image.id, name: found.name, digest: None, further: vec![] })
}

/// One failure for those of all images that `name` may have meant.
fn of_all(name: &ImageName, mut failures: Vec<Error>) -> Error {
    let Some(last) = failures.pop() else { return Error::invalid(format!("{name} leads to no registry")) };
    if failures.is_empty() {
        return last;
    }
    let kind = last.kind;
    let lines: Vec<String> =
        failures.iter().chain([&last]).map(|err| format!("\n * {}", err.whole())).collect();
    Error::new(kind, format!("{} errors occurred while pulling:{}", lines.len(), lines.concat()))
}

impl<'a> Puller<'a> {
    fn new(engine: &'a Engine, request: &'a PullRequest, events: &'a dyn Fn(&PullEvent<'_>)) -> Result<Self> {
        let remote = Remote::new(&request.remote, engine.conf())?;
        let trust = Trust::load()?;
        engine.sweep();
        Ok(Self { engine, remote, trust, request, events })
    }

    /// The local image by its name, or by one that the configuration makes of it.
    fn find_local(&self, name: &ImageName) -> Option<Pulled> {
        let candidates = self.remote.registries.resolve(name).unwrap_or_default();
        let names = std::iter::once(name.to_string()).chain(candidates.iter().map(ToString::to_string));
        let (store, wanted) = (self.engine.store(), self.request.platform.as_ref());
        names.into_iter().find_map(|name| find_local(store, &name, wanted))
    }

    /// Pulls the image that the user chooses, or the first of those that a name may mean.
    fn pull(&self, name: &ImageName) -> Result<Pulled> {
        if let Some(chosen) = self.chosen(name)? {
            let pulled = self.pull_image(&chosen)?;
            if let Some(file) = files::registries(self.engine.conf()).alias_cache
                && let Err(err) = remember_alias(&file, name, &chosen)
            {
                (self.events)(&PullEvent::Warning(&format!("the choice is not remembered: {err}")));
            }
            return Ok(pulled);
        }
        let candidates = self.remote.registries.resolve(name).map_err(unresolved)?;
        if let Some(text) = self.remote.registries.resolution(name) {
            (self.events)(&PullEvent::Resolved(&text));
        }
        let mut failures = Vec::new();
        for candidate in &candidates {
            match self.pull_image(candidate) {
                Ok(pulled) => return Ok(pulled),
                Err(err) => failures.push(err),
            }
        }
        Err(of_short_name(&self.remote.registries, name, of_all(name, failures)))
    }

    /// What the user says a short name means, where they are to be asked and are there.
    fn chosen(&self, name: &ImageName) -> Result<Option<ImageRef>> {
        let Some(choose) = self.request.choose else { return Ok(None) };
        let Some(choices) = self.remote.registries.choices(name).map_err(unresolved)? else {
            return Ok(None);
        };
        let at = choose(&name.to_string(), &choices);
        let chosen = at.and_then(|at| choices.get(at)).cloned();
        chosen.map(Some).ok_or_else(|| Error::invalid(format!("none of the images for {name} was chosen")))
    }

    /// Pulls one image by its full name.
    fn pull_image(&self, image: &ImageRef) -> Result<Pulled> {
        let (store, wanted) = (self.engine.store(), self.request.platform.as_ref());
        self.first_endpoint(image, |client| {
            let found = fetch::fetch(store, client, image, wanted, self.events)?;
            self.trust.check(client, image, &[found.top, found.manifest_digest])?;
            let pulled = Pulled {
                id: found.id(),
                name: Some(image.clone()),
                digest: Some(found.top),
                further: vec![],
            };
            if register::already_here(store, image, &found) {
                self.report_present(&found);
                return Ok(pulled);
            }
            let _pins = register::pin(store, &found).map_err(|err| from_store("pull", image, err))?;
            download::layers(self, client, image, &found)?;
            (self.events)(&PullEvent::Registering { config: &found.id() });
            register::register(self.engine, image, &found)?;
            self.engine.record_image("pull", &pulled.id.hex(), &image.to_string());
            Ok(pulled)
        })
    }

    /// Does `work` with the first server that can; its notices become events.
    fn first_endpoint<T>(
        &self,
        image: &ImageRef,
        work: impl Fn(&Client<'_>) -> Result<T, Trouble>,
    ) -> Result<T> {
        let notices = |notice: &Notice<'_>| (self.events)(&PullEvent::from(notice));
        let trying = |image: &ImageRef| (self.events)(&PullEvent::Trying(image));
        self.remote.reading("pull", image, &notices, &trying, work)
    }

    /// Tells of an image of which nothing was missing.
    fn report_present(&self, found: &Found) {
        (self.events)(&PullEvent::Layers { count: found.manifest.layers.len() });
        for layer in &found.manifest.layers {
            (self.events)(&PullEvent::Layer { digest: &layer.digest, size: layer.size, present: true });
        }
        (self.events)(&PullEvent::Registering { config: &found.id() });
    }
}
