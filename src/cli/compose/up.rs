//! `ketch compose up`, `create` and `scale`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use crate::base::order;
use crate::cli::compose::follow::{self, Abort, Attached};
use crate::cli::compose::open::{self, Shown};
use crate::cli::compose::project::ProjectFlags;
use crate::cli::session::{Exit, Session};
use crate::cli::usage::UsageError;
use crate::compose::apply::UpOptions;
use crate::compose::plan::Recreate;
use crate::compose::project::Project;
use crate::engine::lifecycle::Grace;
use crate::engine::{Error, Kind};

/// Make the containers of a project as its files want them
#[derive(Args, Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(crate) struct MakeFlags {
    /// Build images before
    #[arg(long)]
    build: bool,

    /// Make containers anew even if nothing about them has changed
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,

    /// Do not build images, not even missing ones
    #[arg(long, conflicts_with = "build")]
    no_build: bool,

    /// Leave containers as they are, whatever has changed
    #[arg(long)]
    no_recreate: bool,

    /// When to pull images: always, missing, never, build
    #[arg(long, value_name = "POLICY")]
    pull: Option<String>,

    /// Do not show how images are built
    #[arg(long)]
    quiet_build: bool,

    /// Do not show how images are pulled
    #[arg(long)]
    quiet_pull: bool,

    /// Remove containers of services that the files do not have any more
    #[arg(long)]
    remove_orphans: bool,

    /// Have so many containers of a service (SERVICE=NUMBER; can be repeated)
    #[arg(long, value_name = "SERVICE=NUMBER")]
    scale: Vec<String>,
}

impl MakeFlags {
    fn shown(&self) -> Shown {
        Shown { quiet_pull: self.quiet_pull, quiet_build: self.quiet_build, ..Shown::default() }
    }

    fn options(&self, services: &[String], flags: &ProjectFlags) -> anyhow::Result<UpOptions> {
        if let Some(policy) = self.pull.as_deref()
            && !["always", "missing", "never", "build", "if_not_present", "policy"].contains(&policy)
        {
            return Err(UsageError::new(format!("invalid --pull option {policy:?}"))
                .see("compose up")
                .into());
        }
        Ok(UpOptions {
            services: services.to_vec(),
            recreate: match (self.force_recreate, self.no_recreate) {
                (true, _) => Recreate::Always,
                (_, true) => Recreate::Never,
                _ => Recreate::Changed,
            },
            remove_orphans: self.remove_orphans || flags.truth("COMPOSE_REMOVE_ORPHANS"),
            ignore_orphans: flags.truth("COMPOSE_IGNORE_ORPHANS"),
            scale: scales(&self.scale)?,
            build: self.build,
            no_build: self.no_build,
            pull: self.pull.clone().filter(|policy| policy != "policy"),
            ..UpOptions::default()
        })
    }
}

fn scales(texts: &[String]) -> Result<BTreeMap<String, u32>, UsageError> {
    let one = |text: &String| {
        let (service, number) = text.split_once('=')?;
        Some((service.to_owned(), number.parse().ok()?))
    };
    order::try_map(texts.iter().map(|text| {
        one(text)
            .ok_or_else(|| UsageError::new(format!("invalid scale specifier: {text}: write SERVICE=NUMBER")))
    }))
}

/// Create and start the containers of a project
///
/// Networks, volumes and images come first. Only containers whose configuration or image has changed are made
/// anew. Without --detach their output is shown until ctrl-C, which stops them; a second one kills them.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "docker compose's flags")]
pub(crate) struct UpArgs {
    #[command(flatten)]
    make: MakeFlags,

    /// Stop all containers as soon as one has ended
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_exit: bool,

    /// Stop all containers as soon as one has failed
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_failure: bool,

    /// Make the containers of dependencies anew as well
    #[arg(long, conflicts_with = "no_recreate")]
    always_recreate_deps: bool,

    /// Show the output of these services only (can be repeated)
    #[arg(long, value_name = "SERVICE")]
    attach: Vec<String>,

    /// Show the output of dependencies too
    #[arg(long)]
    attach_dependencies: bool,

    /// Return once everything runs
    #[arg(short, long)]
    detach: bool,

    /// End with the exit code of this service's container; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE")]
    exit_code_from: Option<String>,

    /// Do not show the output of these services (can be repeated)
    #[arg(long, value_name = "SERVICE")]
    no_attach: Vec<String>,

    /// Print without colours
    #[arg(long)]
    no_color: bool,

    /// Do not start what the named services depend on
    #[arg(long)]
    no_deps: bool,

    /// Print without the names of containers
    #[arg(long)]
    no_log_prefix: bool,

    /// Create, and do not start
    #[arg(long)]
    no_start: bool,

    /// New anonymous volumes for containers that are made anew
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,

    /// Seconds to wait before SIGKILL
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<i64>,

    /// Print times
    #[arg(long)]
    timestamps: bool,

    /// Wait until all containers run and are healthy; implies --detach
    #[arg(long)]
    wait: bool,

    /// At most so many seconds for --wait
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u64>,

    /// Rebuild or refresh containers when files of develop.watch change
    #[arg(short, long, conflicts_with = "detach")]
    watch: bool,

    /// Shortcuts while the output is shown: there are none, so only --menu=false is possible
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    menu: bool,

    /// Confirm every question
    #[arg(short, long)]
    yes: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// The project, which has something to be made.
fn project_to_make(session: &Session<'_>, services: &[String]) -> anyhow::Result<Project> {
    let project = open::project(session, services)?;
    if project.services().next().is_none() {
        return Err(Error::invalid("no service selected").into());
    }
    Ok(project)
}

pub(crate) fn up(session: &mut Session<'_>, args: UpArgs) -> anyhow::Result<Exit> {
    let project = project_to_make(session, &args.services)?;
    let grace = args.timeout.map(Grace::from_seconds);
    let options = UpOptions {
        no_dependencies: args.no_deps,
        recreate_dependencies: args.always_recreate_deps,
        renew_volumes: args.renew_anon_volumes,
        no_start: args.no_start,
        yes: args.yes,
        grace,
        ..args.make.options(&args.services, &session.globals.project)?
    };
    if let Some(service) = &args.exit_code_from {
        project.service(service)?;
    }
    if args.menu {
        return Err(Error::new(Kind::Unsupported, "there is no menu")
            .hint("leave --menu away; ctrl-c stops, a second one kills")
            .into());
    }
    if args.detach || args.wait || args.no_start || session.globals.project.dry_run {
        let shown = args.make.shown();
        return open::with_shown(session, &project, shown, |compose| {
            let order = compose.up(&options)?;
            if args.wait {
                compose.wait_until_ready(&order, args.wait_timeout.map(Duration::from_secs))?;
            }
            Ok(Exit::OK)
        });
    }
    let order = project.select(&args.services, !args.no_deps)?;
    let attached = Attached {
        no_color: args.no_color,
        no_log_prefix: args.no_log_prefix,
        timestamps: args.timestamps,
        making: args.make.shown(),
        watch: args.watch,
        abort: match () {
            () if args.abort_on_container_exit || args.exit_code_from.is_some() => Abort::OnExit,
            () if args.abort_on_container_failure => Abort::OnFailure,
            () => Abort::Never,
        },
        exit_code_from: args.exit_code_from.clone(),
        shown: shown_services(&project, &args, &order),
        order,
    };
    follow::up(session, &project, &attached, &options)
}

/// The services whose output is shown.
fn shown_services(project: &Project, args: &UpArgs, order: &[String]) -> Vec<String> {
    let is_shown = |service: &&String| {
        let wants = |list: &[String]| list.contains(service);
        let attach = project.service(service).ok().and_then(|node| node.get("attach"));
        let is_off = attach.is_some_and(|node| node.to_json() == serde_json::Value::Bool(false));
        let is_named = args.services.is_empty() || args.attach_dependencies || wants(&args.services);
        if args.attach.is_empty() {
            is_named && !wants(&args.no_attach) && !is_off
        } else {
            wants(&args.attach)
        }
    };
    order.iter().filter(is_shown).cloned().collect()
}

/// Create the containers of a project without starting them
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    make: MakeFlags,

    /// Confirm every question
    #[arg(short, long)]
    yes: bool,

    /// Services; all if none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

pub(crate) fn create(session: &mut Session<'_>, args: CreateArgs) -> anyhow::Result<()> {
    let project = project_to_make(session, &args.services)?;
    let options = UpOptions {
        no_start: true,
        yes: args.yes,
        ..args.make.options(&args.services, &session.globals.project)?
    };
    open::with_shown(session, &project, args.make.shown(), |compose| Ok(compose.up(&options).map(drop)?))
}

/// Change how many containers services have
#[derive(Args, Debug)]
pub(crate) struct ScaleArgs {
    /// Do not start what the services depend on
    #[arg(long)]
    no_deps: bool,

    /// Services and numbers
    #[arg(required = true, value_name = "SERVICE=NUMBER")]
    scales: Vec<String>,
}

pub(crate) fn scale(session: &mut Session<'_>, args: ScaleArgs) -> anyhow::Result<()> {
    let scale = scales(&args.scales)?;
    let services: Vec<String> = scale.keys().cloned().collect();
    let project = open::project(session, &services)?;
    let options = UpOptions {
        services,
        scale,
        no_dependencies: args.no_deps,
        recreate: Recreate::Never,
        ..UpOptions::default()
    };
    open::with(session, &project, false, |compose| Ok(compose.up(&options).map(drop)?))
}
