//! Making a pod: its record, and its infra container.

use jiff::Timestamp;

use crate::base::limits::Cgroup;
use crate::base::names;
use crate::base::pod::{ExitPolicy, Membership, PodId};
use crate::engine::create::random;
use crate::engine::pod::PodRequest;
use crate::engine::remove::Removing;
use crate::engine::request::ContainerRequest;
use crate::engine::resolve::limits;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::StoreError;
use crate::store::pods::PodRecord;

/// How often a random name is tried.
const NAME_ATTEMPTS: u32 = 8;

/// What `inspect` calls the program of an infra container that has no files.
const PAUSE: &str = "/pause";

impl Engine {
    /// Makes a pod, and its infra container if it is to have one. Nothing of it runs yet.
    ///
    /// Once this returns, it survives a power cut.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] for a name in use, [`Kind::Invalid`] for what is no name; those of the infra container. Nothing
    /// is left behind then.
    pub(crate) fn create_pod(&self, request: &PodRequest) -> Result<PodId> {
        self.sweep();
        if let (Some(name), true) = (&request.name, request.replace) {
            match self.pod(name) {
                Ok(id) => {
                    let how = Removing { force: true, ..Removing::default() };
                    // What is in the way shows up when the name is taken.
                    self.remove_pod(&id, &how)?.into_iter().next().map_or(Ok(()), Err)?;
                }
                Err(err) if err.kind == Kind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        let id = PodId::from_random(random()?);
        let record = self.write_pod(&id, request)?;
        if let Some(infra) = &request.infra {
            let made = self.create_container(&infra_of(infra, &record));
            made.map(drop).inspect_err(|_| drop(self.forget_pod(&id)))?;
        }
        self.record_pod("create", &record);
        Ok(id)
    }

    /// Writes the record of a new pod.
    fn write_pod(&self, id: &PodId, request: &PodRequest) -> Result<PodRecord> {
        let number = u64::from_le_bytes(random::<8>()?);
        let configured = self.conf().engine.pod_exit_policy.as_deref();
        let exit_policy = match (request.exit_policy, configured) {
            (Some(policy), _) => policy,
            (None, None) => ExitPolicy::default(),
            (None, Some(text)) => ExitPolicy::named(text).ok_or_else(|| {
                Error::invalid(format!("containers.conf: pod_exit_policy: {text:?} means nothing"))
            })?,
        };
        let record = PodRecord {
            version: 1,
            id: id.clone(),
            name: String::new(),
            created: Timestamp::now(),
            labels: request.labels.clone(),
            share: request.share.clone(),
            hostname: request.hostname.clone().unwrap_or_default(),
            infra: request.infra.is_some(),
            exit_policy,
            restart: request.restart,
            cgroup_parent: request.cgroup_parent.clone(),
            share_parent: request.share_parent,
            systemd_size_bytes: request.systemd_size_bytes,
            limits: limits::updated(&Cgroup::default(), &request.limits)?,
            create_command: request.create_command.clone(),
            rest: serde_json::Map::new(),
        };
        let random = (0..NAME_ATTEMPTS).map(|attempt| names::from_random(number, attempt));
        match &request.name {
            Some(name) => self.write_pod_record(record, [name.clone()].into_iter()),
            None => self.write_pod_record(record, random),
        }
    }

    /// Writes the record of a new pod under the first of these names that is free.
    pub(super) fn write_pod_record(
        &self,
        record: PodRecord,
        mut names: impl Iterator<Item = String>,
    ) -> Result<PodRecord> {
        let mut taken = String::new();
        loop {
            let Some(name) = names.next() else {
                let message = format!("adding pod to state: name {taken:?} is in use: pod already exists");
                return Err(Error::new(Kind::Conflict, message).hint("use another, or --replace"));
            };
            let record = PodRecord { name, ..record.clone() };
            let lock = self.lock()?;
            match self.store().pods().create(&record, &lock) {
                Ok(()) => return Ok(record),
                Err(StoreError::Exists { name, .. }) => taken = name,
                Err(StoreError::InvalidName { .. }) => {
                    return Err(Error::invalid(
                        "running pod create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
                    ));
                }
                Err(err) => return Err(err.into()),
            }
        }
    }
}

/// The name of an infra container that was given none.
pub(super) fn usual_infra_name(pod: &PodId) -> String {
    format!("{}-infra", pod.short())
}

/// The infra container of a pod, as it was asked for.
pub(super) fn infra_of(wanted: &ContainerRequest, pod: &PodRecord) -> ContainerRequest {
    let mut request = wanted.clone();
    request.membership = Some(Membership { infra: true, ..Membership::of(pod.id.clone()) });
    request.name.get_or_insert_with(|| usual_infra_name(&pod.id));
    let has_uts = matches!(request.uts.as_str(), "" | "private");
    if request.hostname.is_none() && has_uts && !request.networks.iter().any(|network| network == "host") {
        request.hostname = Some(if pod.hostname.is_empty() { &pod.name } else { &pod.hostname }.clone());
    }
    // Others know the pod by its name.
    request.network_aliases.extend(named_network(&request).then(|| pod.name.clone()));
    if request.labels.is_empty() {
        request.labels.clone_from(&pod.labels);
    }
    request.cgroup.parent.clone_from(&pod.cgroup_parent);
    request.cgroup.group = pod.cgroup_group();
    if request.is_pause() {
        request.entrypoint = Some(vec![PAUSE.into()]);
        request.command.clear();
        request.read_only = true;
        request.read_only_tmpfs = true;
        request.accounts.untouched = true;
        request.user = Some("0:0".to_owned());
        // It does nothing, and needs nothing for it.
        request.cap_drop = vec!["all".to_owned()];
        request.init = false;
        request.denied.init = true;
        request.health.disabled = true;
        // Not that of the caller's configuration, which may be its terminal.
        request.log_driver = Some("k8s-file".to_owned());
    }
    request
}

/// Whether it is on networks that know names.
fn named_network(request: &ContainerRequest) -> bool {
    let is_named = |text: &String| {
        let word = text.split(':').next().unwrap_or_default();
        !matches!(word, "none" | "host" | "container" | "ns" | "private" | "pasta" | "slirp4netns")
    };
    // The default network knows no names.
    !request.networks.is_empty() && request.networks.iter().all(is_named)
}
