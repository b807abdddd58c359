//! Volumes as the user handles them: made, listed and removed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::id::ContainerId;
use crate::base::pattern::Regex;
use crate::base::time;
use crate::base::volume_options::{VolumeKind, VolumeOptionError, VolumeOptions};
use crate::engine::filter::{self, Filters, has_label};
use crate::engine::remove::Removing;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::StoreError;
use crate::store::volumes::VolumeRecord;

/// Keys of `volume ls --filter`.
pub(crate) const FILTERS: &[&str] = &[
    "after",
    "anonymous",
    "dangling",
    "driver",
    "label",
    "label!",
    "name",
    "opt",
    "scope",
    "since",
    "until",
];

/// What somebody wants of a new volume.
#[derive(Debug, Default)]
pub(crate) struct VolumeRequest {
    /// `None` makes up a name, and an anonymous volume.
    pub(crate) name: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// `type`, `device`, `o` …
    pub(crate) options: BTreeMap<String, String>,
    /// One that is there already will do.
    pub(crate) ignore: bool,
}

/// Volumes, and what cannot be told of others.
#[derive(Debug, Default)]
pub(crate) struct VolumeList {
    pub(crate) items: Vec<VolumeRecord>,
    pub(crate) damaged: Vec<Error>,
}

/// One filter of a listing, made ready.
enum Test {
    Created { after: bool, than: Timestamp },
    Anonymous(bool),
    Dangling(bool),
    Driver(String),
    Label(String),
    NotLabel(String),
    Name(Regex),
    Option(String),
    Scope(String),
}

impl Engine {
    /// Makes a volume and returns its name.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] if there is one of that name; [`Kind::Invalid`] for what is no name.
    pub(crate) fn create_volume(&self, request: VolumeRequest) -> Result<String> {
        let anonymous = request.name.is_none();
        let name = match request.name {
            Some(name) => name,
            None => {
                let mut bytes = [0; 32];
                getrandom::fill(&mut bytes)
                    .map_err(|err| Error::system("make up a name", err.to_string()))?;
                ContainerId::from_random(bytes).to_string()
            }
        };
        let mut record = VolumeRecord::new(&name, anonymous);
        record.labels = request.labels;
        record.options = checked_options(request.options)?;
        match self.store().volumes().create(&record) {
            Err(StoreError::Exists { .. }) if request.ignore => Ok(name),
            Err(StoreError::Exists { .. }) => {
                let message = format!("volume with name {name} already exists: volume already exists");
                Err(Error::new(Kind::Conflict, message))
            }
            other => {
                other?;
                self.record_volume("create", &name);
                Ok(name)
            }
        }
    }

    /// The volumes that pass `filters`, by name.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing; if the store cannot be read.
    pub(crate) fn volumes(&self, filters: &Filters) -> Result<VolumeList> {
        let tests = filters.tests(|key, value| self.volume_test(key, value))?;
        let used = if filters.values("dangling").next().is_some() {
            self.store().containers().uses()?.items.into_iter().flat_map(|user| user.volumes).collect()
        } else {
            Vec::new()
        };
        let listing = self.store().volumes().list()?;
        let mut list = VolumeList {
            damaged: listing.damaged.into_iter().map(Error::from).collect(),
            ..VolumeList::default()
        };
        for volume in listing.items {
            if tests.pass(|test| Ok(test.passes(&volume, &used)))? {
                list.items.push(volume);
            }
        }
        Ok(list)
    }

    fn volume_test(&self, key: &str, value: &str) -> Result<Test> {
        let owned = || value.to_owned();
        Ok(match key {
            "after" | "since" => {
                Test::Created { after: true, than: self.store().volumes().get(value)?.created }
            }
            "anonymous" => Test::Anonymous(filter::boolean(key, value)?),
            "dangling" => Test::Dangling(filter::boolean(key, value)?),
            "driver" => Test::Driver(owned()),
            "label" => Test::Label(owned()),
            "label!" => Test::NotLabel(owned()),
            "name" => Test::Name(Regex::new(value).map_err(|err| Error::invalid(err.to_string()))?),
            "opt" => Test::Option(owned()),
            "scope" => Test::Scope(owned()),
            "until" => {
                let when = time::parse_when(value, Timestamp::now(), &TimeZone::system());
                let than = when.map_err(|err| Error::invalid(err.to_string()))?;
                Test::Created { after: false, than }
            }
            _ => return Err(Error::invalid(format!("{key:?} is an invalid volume filter"))),
        })
    }

    /// Removes a volume; with `how`, first the containers that use it.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if a container uses it and `how` is `None`.
    pub(crate) fn remove_volume(&self, typed: &str, how: Option<&Removing>) -> Result<()> {
        let name = self.store().volumes().find(typed).map_err(|err| missing(typed, err))?;
        if let Some(how) = how {
            for user in self.users_of_volume(&name)? {
                self.remove_container(&user, how)?;
            }
        }
        self.remove_unused_volume(&name)
    }

    /// Removes the volume of this very name, not one whose name only begins so.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if a container uses it.
    pub(crate) fn remove_volume_named(&self, name: &str) -> Result<()> {
        if !self.store().volumes().exists(name) {
            return Err(missing(name, StoreError::NotFound { what: "volume", name: name.to_owned() }));
        }
        self.remove_unused_volume(name)
    }

    fn remove_unused_volume(&self, name: &str) -> Result<()> {
        let taken = {
            // No container can come to use it between the look and the removal.
            let _lock = self.lock()?;
            let users = self.users_of_volume(name)?;
            if !users.is_empty() {
                let ids: Vec<_> = users.iter().map(ContainerId::as_str).collect();
                let message = format!(
                    "volume {name} is being used by the following container(s): {}: volume is being used",
                    ids.join(", ")
                );
                return Err(Error::new(Kind::Conflict, message)
                    .hint("remove these containers, or use --force to remove them too"));
            }
            self.store().with_reserve(|| self.store().volumes().take(name))?
        };
        if taken.is_some() {
            self.record_volume("remove", name);
        }
        self.discard(taken.into_iter().collect())
    }

    /// The containers that mount a volume. One that cannot be read may be one of them.
    fn users_of_volume(&self, name: &str) -> Result<Vec<ContainerId>> {
        let uses = self.store().containers().uses()?;
        if let Some(damage) = uses.damaged.into_iter().next() {
            return Err(Error::from(damage));
        }
        let is_user = |volumes: &[String]| volumes.iter().any(|used| used == name);
        Ok(uses.items.into_iter().filter(|user| is_user(&user.volumes)).map(|user| user.container).collect())
    }
}

/// Why the volume that `typed` means cannot be found.
pub(super) fn missing(typed: &str, err: StoreError) -> Error {
    match err {
        StoreError::NotFound { .. } => {
            Error::not_found(format!("no volume with name {typed:?} found: no such volume"))
        }
        other => other.into(),
    }
}

/// The options of a new volume, with whom it belongs to on their own, as podman shows them.
///
/// # Errors
///
/// For what means nothing, and for what only root of the host could mount.
pub(super) fn checked_options(mut options: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let read = VolumeOptions::parse(&options).map_err(|err| match err {
        VolumeOptionError::Type(_) => Error::new(Kind::Unsupported, err.to_string())
            .hint("mount it on the host, and use -o type=none -o o=bind -o device=DIRECTORY"),
        VolumeOptionError::Quota => Error::new(Kind::Unsupported, err.to_string()),
        _ => Error::invalid(err.to_string()),
    })?;
    if let VolumeKind::Bind { source, .. } = &read.kind
        && let Err(err) = std::fs::metadata(source)
    {
        let what = format!("invalid volume option device for driver 'local': {}", source.display());
        return Err(Error::new(Kind::Invalid, what).because(err));
    }
    for (key, id) in [("UID", read.uid), ("GID", read.gid)] {
        if let Some(id) = id {
            options.insert(key.to_owned(), id.to_string());
        }
    }
    Ok(options)
}

impl Test {
    fn passes(&self, volume: &VolumeRecord, used: &[String]) -> bool {
        match self {
            Self::Created { after: true, than } => volume.created > *than,
            Self::Created { after: false, than } => volume.created < *than,
            Self::Anonymous(wanted) => volume.anonymous == *wanted,
            Self::Dangling(wanted) => used.contains(&volume.name) != *wanted,
            Self::Driver(driver) => volume.driver == *driver,
            Self::Label(label) => has_label(&volume.labels, label),
            Self::NotLabel(label) => !has_label(&volume.labels, label),
            Self::Name(name) => name.is_match(&volume.name),
            Self::Option(option) => has_label(&volume.options, option),
            Self::Scope(scope) => scope == "local",
        }
    }
}
