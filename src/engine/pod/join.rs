//! A container that is to be of a pod: what it shares with the others, and what it may not ask for.

use crate::base::id::ContainerId;
use crate::base::pod::{Membership, PodId, Share};
use crate::base::spec::{ContainerSpec, Seccomp, UserNamespace};
use crate::engine::list::{Container, Query};
use crate::engine::request::ContainerRequest;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::pods::PodRecord;

impl Engine {
    /// Makes of `--pod` what it means: the namespaces of the infra container, and that this one starts first.
    ///
    /// # Errors
    ///
    /// NotFound without the pod; Invalid for what only the pod can have.
    pub(in crate::engine) fn join_pod(&self, request: &mut ContainerRequest) -> Result<()> {
        let Some(typed) = request.pod.take() else {
            return match request.init_container {
                Some(_) => Err(Error::invalid("must specify pod value with init-ctr")),
                None => Ok(()),
            };
        };
        let id = self.pod(&typed)?;
        let pod = self.store().pods().get(&id)?;
        if request.init_container.is_some() && self.pod_containers(&id)?.iter().any(Container::is_up) {
            return Err(Error::new(Kind::Conflict, "cannot add init-ctr to a running pod"));
        }
        request.membership = Some(Membership { init: request.init_container, ..Membership::of(id.clone()) });
        request.restart = request.restart.or(pod.restart.filter(|_| !request.auto_remove));
        request.systemd_size_bytes = request.systemd_size_bytes.or(pod.systemd_size_bytes);
        if pod.share_parent && request.cgroup.parent.is_empty() {
            request.cgroup.parent.clone_from(&pod.cgroup_parent);
            request.cgroup.group = pod.cgroup_group();
        }
        if !pod.infra {
            return Ok(());
        }
        let infra = self.infra_of(&id)?;
        let spec = self.container_spec(&infra)?;
        refuse_what_the_pod_has(request, &pod)?;
        share(request, &pod, &infra);
        request.userns = match spec.userns {
            UserNamespace::Default | UserNamespace::Host => "private".to_owned(),
            _ => format!("container:{infra}"),
        };
        let own = std::mem::take(&mut request.security_options);
        request.security_options = spec.security.options.iter().cloned().chain(own).collect();
        if let (None, Seccomp::Profile(text)) = (&request.seccomp_profile, &spec.security.seccomp) {
            request.seccomp_profile = Some(text.clone());
        }
        request.devices.extend(spec.devices.iter().cloned());
        request.requires.push(infra.to_string());
        request.inherits_from = Some(infra);
        Ok(())
    }

    /// The infra container of a pod that was made with one.
    fn infra_of(&self, id: &PodId) -> Result<ContainerId> {
        let infra = self.pod_containers(id)?.into_iter().find(Container::is_infra);
        infra.map(|container| container.id).ok_or_else(|| {
            Error::not_found(format!("pod {id} has lost its infra container"))
                .hint("remove the pod with --force, and make it anew")
        })
    }

    /// The containers of a pod, the oldest first.
    pub(in crate::engine) fn pod_containers(&self, id: &PodId) -> Result<Vec<Container>> {
        let mut containers = self.containers(&Query { all: true, ..Query::default() })?.items;
        containers.retain(|container| container.summary.pod.as_ref().is_some_and(|pod| pod.id == *id));
        Ok(containers)
    }

    /// The pod may have been removed since it was looked up; under the lock it stays.
    pub(in crate::engine) fn assert_pod(&self, spec: &ContainerSpec) -> Result<()> {
        match &spec.pod {
            Some(pod) => Ok(self.store().pods().get(&pod.id).map(drop)?),
            None => Ok(()),
        }
    }
}

/// Whoever shares a namespace has nothing to say about it.
fn refuse_what_the_pod_has(request: &ContainerRequest, pod: &PodRecord) -> Result<()> {
    const NETWORK: &str = "network cannot be configured when it is shared with a pod";
    let refuse =
        |what: &str, why: &str| Err(Error::invalid(format!("invalid config provided: {what}: {why}")));
    if !request.userns.is_empty() || !request.uid_maps.is_empty() || !request.gid_maps.is_empty() {
        return Err(Error::invalid("--userns and --pod cannot be set together"));
    }
    // One with a network of its own has that.
    if pod.share.contains(&Share::Net) && request.networks.is_empty() {
        if !request.publish.is_empty() || request.publish_all || !request.expose.is_empty() {
            return refuse("published or exposed ports must be defined when the pod is created", NETWORK);
        }
        let addresses = [&request.ip, &request.ip6, &request.mac].iter().any(|address| address.is_some());
        if addresses || !request.network_aliases.is_empty() || !request.link_local_ips.is_empty() {
            return refuse("networks must be defined when the pod is created", NETWORK);
        }
        if !request.add_hosts.is_empty() {
            return refuse("extra host entries must be specified on the pod", NETWORK);
        }
    }
    if pod.share.contains(&Share::Uts) && request.uts.is_empty() && request.hostname.is_some() {
        return refuse("cannot set hostname when joining the pod UTS namespace", "invalid configuration");
    }
    Ok(())
}

/// The namespaces of the infra container, as far as the pod shares them and the container has not asked for others.
fn share(request: &mut ContainerRequest, pod: &PodRecord, infra: &ContainerId) {
    let of_infra = format!("container:{infra}");
    for one in &pod.share {
        let asked = match one {
            Share::Net => {
                if request.networks.is_empty() {
                    request.networks.push(of_infra.clone());
                }
                continue;
            }
            Share::Ipc => &mut request.ipc,
            Share::Pid => &mut request.pid,
            Share::Uts => &mut request.uts,
            Share::Cgroup => &mut request.cgroupns,
        };
        if asked.is_empty() {
            asked.clone_from(&of_infra);
        }
    }
}
