//! Row 5: the use cases, independent of who asks.
//!
//! No function here prints, reads the command line or knows a Docker JSON type.

mod adopt;
pub(crate) mod artifact;
pub(crate) mod attach;
pub(crate) mod auto_update;
pub(crate) mod build;
pub(crate) mod cdi;
pub(crate) mod changes;
pub(crate) mod check;
mod cleanup;
pub(crate) mod clone;
pub(crate) mod commit;
mod condition;
pub(crate) mod config;
mod container_mount;
pub(crate) mod copy;
pub(crate) mod create;
pub(crate) mod df;
pub(crate) mod error;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod exec_sessions;
pub(crate) mod expand;
pub(crate) mod filter;
pub(crate) mod first_clients;
pub(crate) mod half_made;
pub(crate) mod health;
pub(crate) mod history;
mod hooks;
pub(crate) mod image;
pub(crate) mod image_mount;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod layer;
pub(crate) mod lifecycle;
pub(crate) mod lineage;
pub(crate) mod list;
mod list_names;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod manifest_list;
mod manifest_show;
pub(crate) mod mapped;
pub(crate) mod network;
pub(crate) mod next_end;
pub(crate) mod pause;
pub(crate) mod pod;
pub(crate) mod processes;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod register;
pub(crate) mod remote;
pub(crate) mod remove;
mod remove_image;
pub(crate) mod request;
pub(crate) mod reset;
pub(crate) mod resolve;
mod restart;
pub(crate) mod save;
pub(crate) mod search;
pub(crate) mod secret;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod stats;
mod still;
pub(crate) mod top;
pub(crate) mod transport;
pub(crate) mod trust;
pub(crate) mod unpack;
pub(crate) mod unshare;
pub(crate) mod update;
pub(crate) mod userns;
pub(crate) mod variants;
pub(crate) mod volume;
mod volume_mount;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;

use crate::base::id::ContainerId;
use crate::base::image_ref::{NameRule, Purpose};
use crate::cgroup::unit::{ManagerChoice, Surroundings};
use crate::engine::config::Config;
use crate::engine::config::containers_conf::ContainersConf;
pub(crate) use crate::engine::error::{Error, Kind, Result};
use crate::engine::remove::Dependents;
use crate::runtime::launch::{Caller, Forerunner};
use crate::store::lock::Exclusive;
use crate::store::resolve::Resolved;
use crate::store::{Store, StoreError};

/// Tells the user something while a use case goes on: that it waits for another command, say.
pub(crate) type Tell = fn(&str);

/// One user's store and all that can be done with it.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Store,
    tell: Tell,
    dependents: OnceCell<Dependents>,
    /// What containers.conf says.
    conf: ContainersConf,
    /// Where events go.
    events: events::Backend,
    /// Whom to ask for cgroups.
    cgroup_manager: ManagerChoice,
    /// Names of containers, as far as they were looked up for events.
    names: RefCell<HashMap<ContainerId, String>>,
    /// The monitor-to-be of a container that is created to be started at once; the disk need not have that one's entry before.
    forerunner: RefCell<Option<Forerunner>>,
    /// Who calls, once that was looked up.
    caller: OnceCell<Caller>,
    /// Files in layers whose owners are not mapped belong to nobody.
    squash_ids: Cell<bool>,
}

impl Engine {
    /// Opens the store that `config` names, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// If there is no place for a store, or what is there is none that this ketch can read.
    pub(crate) fn open(config: &Config, tell: Tell) -> Result<Self> {
        Self::with_conf(config, config.containers_conf(tell)?, tell)
    }

    /// As [`open`](Self::open), where containers.conf was read already.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) fn with_conf(config: &Config, conf: ContainersConf, tell: Tell) -> Result<Self> {
        conf.engine.set_environment()?;
        Ok(Self {
            store: Store::open(&config.data_root()?)?.with_name_rule(config.name_rule),
            tell,
            dependents: OnceCell::new(),
            events: config.events_backend(&conf)?,
            cgroup_manager: config.cgroup_manager(&conf)?,
            conf,
            names: RefCell::default(),
            forerunner: RefCell::default(),
            caller: OnceCell::new(),
            squash_ids: Cell::new(false),
        })
    }

    /// What containers.conf says.
    pub(crate) fn conf(&self) -> &ContainersConf {
        &self.conf
    }

    /// What short names of images mean, and how names are shown.
    pub(crate) fn name_rule(&self) -> NameRule {
        self.store.name_rule()
    }

    /// The store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// How cgroups are come by.
    pub(crate) fn cgroups(&self, caller: &Caller) -> Surroundings {
        config::cgroups(caller, self.cgroup_manager)
    }

    /// Who calls, and which IDs they may map.
    pub(crate) fn caller(&self) -> Caller {
        let caller = self.caller.get_or_init(|| Caller::current(config::search_path().as_deref()));
        Caller { squash_ids: self.squash_ids.get(), ..caller.clone() }
    }

    /// The caller is root of the machine, and needs no user namespace.
    pub(crate) fn is_rootful(&self) -> bool {
        self.caller().mapping.is_none()
    }

    /// From now on files in layers whose owners are not mapped belong to nobody instead of being an error.
    pub(crate) fn squash_ids(&self, squash: bool) {
        self.squash_ids.set(squash);
    }

    /// Tells the user something that cannot wait for the end.
    pub(crate) fn tell(&self, text: &str) {
        (self.tell)(text);
    }

    /// Takes the store's lock alone; says so if that takes long.
    ///
    /// # Errors
    ///
    /// If the lock file cannot be made.
    pub(crate) fn lock(&self) -> Result<Exclusive> {
        let lock = self.store.lock(&mut |path, holders| {
            let by: Vec<_> = holders.iter().map(|h| format!("{} ({})", h.pid, h.command)).collect();
            let by = if by.is_empty() { "another process".to_owned() } else { by.join(", ") };
            (self.tell)(&format!("waiting for the lock {}, held by {by}", path.display()));
            // Others may start theirs meanwhile, which it keeps waiting.
            self.forerunner.take();
        });
        Ok(lock?)
    }

    /// Finds a container by name, ID or the beginning of its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if several IDs begin so.
    pub(crate) fn container(&self, typed: &str) -> Result<ContainerId> {
        state::find(&self.store, typed)
    }

    /// Finds a local image by name, ID or the beginning of its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Invalid`] if it could be several.
    pub(crate) fn image(&self, typed: &str) -> Result<Resolved> {
        self.image_for(typed, Purpose::Read)
    }

    /// As [`Engine::image`], for what is to be done with it.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn image_for(&self, typed: &str, purpose: Purpose) -> Result<Resolved> {
        self.store.resolve_image(typed, purpose).map_err(|err| match err {
            StoreError::NotFound { .. } => Error::not_found(format!("{typed}: image not known")),
            other => other.into(),
        })
    }
}
