//! `pod create`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::base::pod::{ExitPolicy, Share};
use crate::cli::container_flags::{InfraFlags, bytes, infra_command, labels, obtain_missing, restart_policy};
use crate::cli::resource_flags::ResourceFlags;
use crate::cli::session::Session;
use crate::engine::pod::PodRequest;
use crate::engine::request::{AccountsRequest, ContainerRequest};
use crate::engine::{Error, Result};

/// Make a pod
///
/// Its containers come later, by `create` and `run --pod`. They share namespaces, which the infra container holds: with
/// them the network, its addresses and ports, and the host name. Prints the pod's ID.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct CreateArgs {
    /// Name of the pod
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    /// Make the cgroups of the containers below this one: a path, or with systemd the name of a slice
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// What becomes of the infra container when the last of the others has ended: continue or stop
    #[arg(long, value_name = "POLICY")]
    exit_policy: Option<String>,

    /// Make an infra container; without one nothing is shared
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    infra: bool,

    /// Set a label (KEY=VALUE; can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Read labels from a file of KEY=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,

    /// Name of the pod
    #[arg(short, long = "name", value_name = "NAME")]
    named: Option<String>,

    /// Write the pod's ID to this file
    #[arg(long, value_name = "FILE")]
    pod_id_file: Option<PathBuf>,

    /// Remove the pod that has this name already, with its containers
    #[arg(long)]
    replace: bool,

    /// When to start containers again that ask for nothing else: no, always, unless-stopped, on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,

    /// Namespaces that the containers share: of cgroup, ipc, net, pid and uts, or none; after a + besides the usual ones
    #[arg(long, value_name = "LIST", default_value = "ipc,net,uts")]
    share: String,

    /// Have the containers below the pod's cgroup, and not the infra container alone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    share_parent: bool,

    /// Size of the tmpfs that containers get with systemd as process 1, like 64m
    #[arg(long, value_name = "SIZE")]
    shm_size_systemd: Option<String>,

    #[command(flatten)]
    infra_flags: InfraFlags,

    #[command(flatten)]
    resources: ResourceFlags,
}

/// `pod create`.
pub(crate) fn create(session: &mut Session<'_>, args: CreateArgs) -> anyhow::Result<()> {
    let mut request = request(&args)?;
    let engine = session.engine()?;
    let conf = &engine.conf().engine;
    if let Some(infra) = &mut request.infra {
        if infra.image.is_empty()
            && let Some(image) = conf.infra_image.as_ref().filter(|image| !image.is_empty())
        {
            infra.image.clone_from(image);
            let command = conf.infra_command.as_deref().filter(|command| !command.is_empty());
            infra.entrypoint = command.map(infra_command);
        }
        if !infra.image.is_empty()
            && let Some(name) = obtain_missing(engine, &infra.image)?
        {
            infra.image = name;
        }
    }
    let id = engine.create_pod(&request)?;
    if let Some(file) = &args.pod_id_file {
        std::fs::write(file, id.as_str())
            .map_err(|err| Error::system(format!("write pod ID to file {}", file.display()), err))?;
    }
    writeln!(session.out, "{id}")?;
    Ok(())
}

/// The request that the flags make.
fn request(args: &CreateArgs) -> Result<PodRequest> {
    let name = match (&args.name, &args.named) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("cannot specify --name and a name as an argument at the same time"));
        }
        (name, named) => name.clone().or_else(|| named.clone()).filter(|name| !name.is_empty()),
    };
    if args.replace && name.is_none() {
        return Err(Error::invalid("cannot replace pod without --name being set"));
    }
    let share = Share::parse_list(&args.share).map_err(|bad| {
        let known = "cgroup, ipc, net, pid, uts or none";
        Error::invalid(format!("invalid kernel namespace to share: {bad}. Options are: {known}"))
    })?;
    let limits = args.resources.limits()?;
    let infra = args.infra_flags.request()?;
    let has_infra = args.infra && !share.is_empty();
    if !has_infra {
        refuse_without_infra(args, &infra, &share)?;
    }
    let own = |mode: &String| !matches!(mode.split(':').next(), Some("host" | "none" | "container" | "ns"));
    if !infra.publish.is_empty() && !infra.networks.iter().all(own) {
        return Err(Error::invalid(
            "PortMappings can only be used with Bridge, slirp4netns, or pasta networking",
        ));
    }
    let exit_policy = args.exit_policy.as_deref().map(|text| {
        ExitPolicy::named(text).ok_or_else(|| {
            Error::invalid(format!("running pod create option: invalid pod exit policy: {text:?}"))
        })
    });
    Ok(PodRequest {
        name,
        replace: args.replace,
        labels: labels(&args.label_file, &args.label)?,
        share: if has_infra { share } else { Vec::new() },
        hostname: infra.hostname.clone(),
        create_command: infra.create_command.clone(),
        infra: has_infra.then_some(infra),
        exit_policy: exit_policy.transpose()?,
        restart: args.restart.as_deref().map(|text| restart_policy(text, false)).transpose()?,
        cgroup_parent: args.cgroup_parent.clone().unwrap_or_default(),
        share_parent: args.share_parent,
        limits,
        systemd_size_bytes: args.shm_size_systemd.as_deref().map(bytes).transpose()?,
    })
}

/// What only an infra container could have.
fn refuse_without_infra(args: &CreateArgs, infra: &ContainerRequest, share: &[Share]) -> Result<()> {
    if !infra.publish.is_empty() || infra.publish_all {
        return Err(Error::invalid("you must have an infra container to publish port bindings to the host"));
    }
    // The usual ones are not asked for.
    if !share.is_empty() && share != Share::USUAL {
        let words: Vec<_> = share.iter().map(|one| one.word()).collect();
        let message = format!("cannot set share({}) namespaces without an infra container", words.join(","));
        return Err(Error::invalid(message));
    }
    if infra.name.is_some() {
        return Err(Error::invalid(
            "NoInfra and InfraName are mutually exclusive pod options: invalid pod spec",
        ));
    }
    if !infra.networks.is_empty() {
        return Err(Error::invalid("NoInfra and network modes cannot be used together"));
    }
    let bare =
        ContainerRequest { create_command: infra.create_command.clone(), ..ContainerRequest::default() };
    let bare = ContainerRequest { read_only_tmpfs: infra.read_only_tmpfs, ..bare };
    let accounts = AccountsRequest::default();
    let given = ContainerRequest { accounts, ..infra.clone() };
    if given != bare || args.infra_flags.infra_image.is_some() {
        return Err(Error::invalid(
            "without an infra container nothing can be set that the containers share",
        )
        .hint("leave out --infra=false or --share=none, or give these flags to the containers"));
    }
    Ok(())
}
