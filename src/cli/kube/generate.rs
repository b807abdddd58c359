//! `ketch kube generate`: a manifest of what there is.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use crate::base::id::ContainerId;
use crate::base::pod::Share;
use crate::base::spec::UserNamespace;
use crate::base::version::VERSION;
use crate::cli::session::Session;
use crate::engine::{Engine, Error, Kind, Result};
pub(super) use crate::kube::generate::Form;
use crate::kube::generate::{self, Group, HostKinds, How, Member, NodePorts};

/// Write a Kubernetes manifest of containers, pods or volumes
///
/// Containers that are named become one pod, each pod a pod, volumes PersistentVolumeClaims.
#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    /// Write it to this file, which must not exist
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,

    /// Add annotations that only podman and ketch know
    #[arg(long)]
    podman_only: bool,

    /// How many pods a Deployment is to have
    #[arg(short, long, value_name = "NUMBER")]
    replicas: Option<i32>,

    /// Add a Service for the published ports
    #[arg(short, long)]
    service: bool,

    /// Kind: pod, deployment, daemonset or job (default: containers.conf's, or pod)
    #[arg(short = 't', long = "type", value_name = "KIND")]
    form: Option<String>,

    /// Containers, pods or volumes, by name or ID (can be repeated)
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// `kube generate`.
pub(crate) fn run(session: &mut Session<'_>, args: GenerateArgs) -> anyhow::Result<()> {
    let engine = session.engine()?;
    let form = form(&args, engine.conf().engine.kube_generate_type.as_deref())?;
    let text = manifest(engine, &args.names, form, args.service, args.podman_only)?;
    match &args.filename {
        None => writeln!(session.out, "{text}")?,
        Some(path) => {
            let failed = |err: std::io::Error| match err.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Error::invalid(format!("cannot write to {:?}; file exists", path.display().to_string()))
                }
                _ => Error::system(format!("write {}", path.display()), err),
            };
            let mut file = std::fs::File::create_new(path).map_err(failed)?;
            file.write_all(text.as_bytes()).map_err(failed)?;
        }
    }
    Ok(())
}

/// A manifest of containers, pods and volumes, by name or ID.
pub(super) fn manifest(
    engine: &Engine,
    names: &[String],
    form: Form,
    service: bool,
    podman_only: bool,
) -> Result<String> {
    let now = Timestamp::now();
    let mut documents = Vec::new();
    let mut loose = Vec::new();
    let mut groups = Vec::new();
    for name in names {
        match engine.container(name) {
            Ok(id) => {
                loose.push(member(engine, &id)?);
                continue;
            }
            Err(err) if err.kind == Kind::NotFound => {}
            Err(err) => return Err(err),
        }
        match engine.pod(name) {
            Ok(id) => {
                groups.push(group(engine, &id)?);
                continue;
            }
            Err(err) if err.kind == Kind::NotFound => {}
            Err(err) => return Err(err),
        }
        match engine.store().volumes().find(name) {
            Ok(name) => {
                let volume = engine.store().volumes().get(&name).map_err(Error::from)?;
                documents.push(generate::claim(&name, &volume.labels, &volume.options, now));
            }
            Err(err) if err.is_not_found() => {
                return Err(Error::not_found(format!("name or ID {name:?} not found")));
            }
            Err(err) => return Err(Error::from(err)),
        }
    }
    if let Some(first) = loose.first() {
        let name = format!("{}-pod", first.name);
        groups.push(Group {
            name,
            labels: std::collections::BTreeMap::new(),
            infra: None,
            members: loose,
            restart: None,
            share_pid: false,
        });
    }
    let ports = RandomPorts;
    let how = How { form, service: service.then_some(&ports), podman_only, now, host_kind: &Host(engine) };
    for group in &groups {
        documents.extend(generate::documents(group, how)?);
    }
    Ok(generate::text(&documents, VERSION))
}

fn form(args: &GenerateArgs, configured: Option<&str>) -> Result<Form> {
    let form = match args.form.as_deref().or(configured).unwrap_or_default() {
        "" | "pod" => Form::Pod,
        "deployment" => Form::Deployment { replicas: args.replicas.unwrap_or(1) },
        "daemonset" => Form::DaemonSet,
        "job" => Form::Job,
        other => {
            return Err(Error::invalid(format!(
                "invalid generation type - only pods, deployments, jobs, and daemonsets are currently supported: {other}"
            )));
        }
    };
    if args.replicas.is_some() && !matches!(form, Form::Deployment { .. }) {
        return Err(Error::invalid("--replicas can only be set when --type is set to deployment"));
    }
    Ok(form)
}

/// A container that is of no pod.
fn member(engine: &Engine, id: &ContainerId) -> Result<Member> {
    let found = described(engine, id)?;
    match &found.spec.pod {
        Some(pod) => Err(Error::invalid(format!(
            "container {id} is associated with pod {}: use generate on the pod itself",
            pod.id
        ))),
        None => Ok(found),
    }
}

fn described(engine: &Engine, id: &ContainerId) -> Result<Member> {
    let spec = engine.container_spec(id)?;
    // What an image that is gone has said is not known: everything counts as asked for.
    let facts = spec.image.as_ref().map(|image| engine.image_facts(&image.id.hex(), &UserNamespace::Default));
    let image = facts.and_then(Result::ok).map(|facts| facts.defaults).unwrap_or_default();
    let init = spec.pod.as_ref().is_some_and(|pod| pod.init.is_some());
    Ok(Member { name: engine.container_name(id)?, spec, image, init })
}

fn group(engine: &Engine, id: &crate::base::pod::PodId) -> Result<Group> {
    let pod = engine.pod_details(id)?;
    let infra = pod.infra().map(|infra| engine.container_spec(&infra.id)).transpose()?;
    let others = pod.containers.iter().filter(|container| !container.is_infra());
    let members: Vec<Member> =
        others.map(|container| described(engine, &container.id)).collect::<Result<_>>()?;
    if members.is_empty() {
        return Err(Error::invalid(format!("pod {id} only has an infra container")));
    }
    Ok(Group {
        name: pod.record.name,
        labels: pod.record.labels,
        infra,
        members,
        restart: pod.record.restart,
        share_pid: pod.record.share.contains(&Share::Pid),
    })
}

/// Any port that nodes use for services.
#[derive(Debug)]
struct RandomPorts;

impl NodePorts for RandomPorts {
    fn next(&self) -> u16 {
        let mut bytes = [0; 2];
        // Without randomness the first one will do.
        getrandom::fill(&mut bytes).ok();
        30000 + u16::from_le_bytes(bytes) % 2768
    }
}

/// This machine.
#[derive(Debug)]
struct Host<'a>(&'a Engine);

impl HostKinds for Host<'_> {
    fn volume_options(&self, name: &str) -> BTreeMap<String, String> {
        self.0.store().volumes().get(name).map(|volume| volume.options).unwrap_or_default()
    }

    fn of(&self, path: &Path) -> Option<&'static str> {
        let kind = path.metadata().ok()?.file_type();
        Some(match kind {
            kind if kind.is_dir() => "Directory",
            kind if kind.is_socket() => "Socket",
            kind if kind.is_char_device() => "CharDevice",
            kind if kind.is_block_device() => "BlockDevice",
            _ => "File",
        })
    }
}
