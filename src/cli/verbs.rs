//! The table of all verbs, and finding one in it.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::base::truth;
use crate::cli::NAME;
use crate::cli::artifact;
use crate::cli::attach;
use crate::cli::auto_update;
use crate::cli::autostart;
use crate::cli::build;
use crate::cli::cleanup;
use crate::cli::clone;
use crate::cli::commit;
use crate::cli::completion;
use crate::cli::compose;
use crate::cli::container;
use crate::cli::container_mount;
use crate::cli::context;
use crate::cli::cp;
use crate::cli::diff;
use crate::cli::events;
use crate::cli::exec;
use crate::cli::generate;
use crate::cli::globals;
use crate::cli::healthcheck;
use crate::cli::history;
use crate::cli::image;
use crate::cli::image_mount;
use crate::cli::images;
use crate::cli::info;
use crate::cli::init;
use crate::cli::inspect;
use crate::cli::kill;
use crate::cli::kube;
use crate::cli::load;
use crate::cli::login;
use crate::cli::logs;
use crate::cli::manifest;
use crate::cli::network;
use crate::cli::pause;
use crate::cli::pod;
use crate::cli::ps;
use crate::cli::pull;
use crate::cli::push;
use crate::cli::quadlet;
use crate::cli::restart;
use crate::cli::rm;
use crate::cli::run;
use crate::cli::runlabel;
use crate::cli::save;
use crate::cli::search;
use crate::cli::secret;
use crate::cli::service;
use crate::cli::session::{Exit, Session};
use crate::cli::stats;
use crate::cli::stop;
use crate::cli::system;
use crate::cli::top;
use crate::cli::trust;
use crate::cli::unshare;
use crate::cli::update;
use crate::cli::version;
use crate::cli::volume;
use crate::cli::wait;

/// One verb: how it is called, what it takes, what it does.
#[derive(Debug)]
pub(crate) struct Verb {
    /// One word (`ps`) or two (`container ls`).
    pub(crate) path: &'static str,
    /// Other names for the last word.
    pub(crate) aliases: &'static [&'static str],
    /// Adds the arguments and the help to a command.
    pub(crate) build: fn(Command) -> Command,
    /// Does it.
    pub(crate) run: fn(&mut Session<'_>, &mut ArgMatches) -> anyhow::Result<Exit>,
}

impl Verb {
    /// Does it only look at what is there? Then it makes no store.
    pub(crate) fn only_looks(&self) -> bool {
        let (of, what) = self.path.split_once(' ').unwrap_or(("", self.path));
        matches!(what, "ls" | "exists" | "ps" | "images" | "port" | "logs") && of != "compose"
    }
}

/// A row of the table: path, other names for its last word, argument struct, function.
///
/// The function takes `(&mut Session<'_>, Args)` and returns `anyhow::Result` of `()` or [`Exit`].
/// The struct's doc comment becomes the help of the verb.
macro_rules! verb {
    ($path:literal $(| $alias:literal)*, $args:ty, $run:expr) => {
        Verb {
            path: $path,
            aliases: &[$($alias),*],
            build: <$args as clap::Args>::augment_args,
            run: |session, matches| {
                let args = <$args as clap::FromArgMatches>::from_arg_matches_mut(matches)?;
                let run: fn(&mut Session<'_>, $args) -> _ = $run;
                run(session, args).map(Exit::from)
            },
        }
    };
}

/// Every verb there is, in the order in which help lists them.
#[rustfmt::skip]
pub(crate) const VERBS: &[Verb] = &[
    verb!("artifact add", artifact::AddArgs, artifact::add),
    verb!("artifact inspect", artifact::InspectArgs, artifact::inspect),
    verb!("artifact ls" | "list", artifact::LsArgs, artifact::ls),
    verb!("artifact pull", artifact::PullArgs, artifact::pull),
    verb!("artifact push", artifact::PushArgs, artifact::push),
    verb!("artifact rm" | "remove", artifact::RmArgs, artifact::rm),
    verb!("attach", attach::AttachArgs, attach::run),
    verb!("auto-update", auto_update::AutoUpdateArgs, auto_update::run),
    verb!("build", build::BuildArgs, build::run),
    verb!("builder build", build::BuildArgs, build::run),
    verb!("builder prune", build::PruneArgs, build::prune),
    verb!("buildx bake" | "f", build::BakeArgs, build::bake),
    verb!("buildx build" | "b", build::BuildArgs, build::run),
    verb!("buildx create", build::BuildxCreateArgs, build::create),
    verb!("buildx du", build::BuildxDuArgs, build::du),
    verb!("buildx imagetools", build::ImagetoolsArgs, build::imagetools),
    verb!("buildx inspect", build::BuildxInspectArgs, build::inspect),
    verb!("buildx ls", build::BuildxLsArgs, build::ls),
    verb!("buildx prune", build::PruneArgs, build::prune),
    verb!("buildx rm", build::BuildxRmArgs, build::rm),
    verb!("buildx stop", build::BuildxStopArgs, build::stop),
    verb!("buildx use", build::BuildxUseArgs, build::choose),
    verb!("buildx version", build::BuildxVersionArgs, build::version),
    verb!("commit", commit::CommitArgs, commit::run),
    verb!("completion", completion::CompletionArgs, completion::run),
    verb!("compose attach", compose::within::AttachArgs, compose::within::attach),
    verb!("compose build", compose::build::BuildArgs, compose::build::build),
    verb!("compose commit", compose::take::CommitArgs, compose::take::commit),
    verb!("compose config" | "convert", compose::config::ConfigArgs, compose::config::run),
    verb!("compose cp", compose::take::CpArgs, compose::take::cp),
    verb!("compose create", compose::up::CreateArgs, compose::up::create),
    verb!("compose down", compose::down::DownArgs, compose::down::down),
    verb!("compose events", compose::look::EventsArgs, compose::look::events),
    verb!("compose exec", compose::within::ExecArgs, compose::within::exec),
    verb!("compose export", compose::take::ExportArgs, compose::take::export),
    verb!("compose images", compose::list::ImagesArgs, compose::list::images),
    verb!("compose kill", compose::lifecycle::KillArgs, compose::lifecycle::kill),
    verb!("compose logs", compose::logs::LogsArgs, compose::logs::run),
    verb!("compose ls", compose::list::LsArgs, compose::list::ls),
    verb!("compose pause", compose::lifecycle::PauseArgs, compose::lifecycle::pause),
    verb!("compose port", compose::list::PortArgs, compose::list::port),
    verb!("compose ps", compose::list::PsArgs, compose::list::ps),
    verb!("compose publish", compose::publish::PublishArgs, compose::publish::publish),
    verb!("compose pull", compose::within::PullArgs, compose::within::pull),
    verb!("compose push", compose::build::PushArgs, compose::build::push),
    verb!("compose restart", compose::lifecycle::RestartArgs, compose::lifecycle::restart),
    verb!("compose rm", compose::lifecycle::RmArgs, compose::lifecycle::rm),
    verb!("compose run", compose::within::RunArgs, compose::within::run),
    verb!("compose scale", compose::up::ScaleArgs, compose::up::scale),
    verb!("compose start", compose::lifecycle::StartArgs, compose::lifecycle::start),
    verb!("compose stats", compose::look::StatsArgs, compose::look::stats),
    verb!("compose stop", compose::lifecycle::StopArgs, compose::lifecycle::stop),
    verb!("compose top", compose::look::TopArgs, compose::look::top),
    verb!("compose unpause", compose::lifecycle::UnpauseArgs, compose::lifecycle::unpause),
    verb!("compose up", compose::up::UpArgs, compose::up::up),
    verb!("compose version", compose::version::VersionArgs, compose::version::run),
    verb!("compose volumes", compose::volumes::VolumesArgs, compose::volumes::volumes),
    verb!("compose wait", compose::lifecycle::WaitArgs, compose::lifecycle::wait),
    verb!("compose watch", compose::watch::WatchArgs, compose::watch::watch),
    verb!("container attach", attach::AttachArgs, attach::run),
    verb!("container cleanup", cleanup::CleanupArgs, cleanup::run),
    verb!("container clone", clone::CloneArgs, clone::run),
    verb!("container commit", commit::CommitArgs, commit::run),
    verb!("container cp", cp::CpArgs, cp::cp),
    verb!("container create", run::CreateArgs, run::create),
    verb!("container diff", diff::ContainerDiffArgs, diff::container),
    verb!("container exec", exec::ExecArgs, exec::run),
    verb!("container export", cp::ExportArgs, cp::export),
    verb!("container exists", container::ExistsArgs, container::exists),
    verb!("container init", init::InitArgs, init::run),
    verb!("container inspect", inspect::ContainerArgs, inspect::run_container),
    verb!("container kill", kill::KillArgs, kill::run),
    verb!("container logs", logs::LogsArgs, logs::run),
    verb!("container ls" | "list" | "ps", ps::PsArgs, ps::run),
    verb!("container mount", container_mount::MountArgs, container_mount::mount),
    verb!("container pause", pause::PauseArgs, pause::pause),
    verb!("container port", container::PortArgs, container::port),
    verb!("container prune", container::PruneArgs, container::prune),
    verb!("container rename", container::RenameArgs, container::rename),
    verb!("container restart", restart::RestartArgs, restart::run),
    verb!("container rm" | "remove", rm::RmArgs, rm::run),
    verb!("container run", run::RunArgs, run::run),
    verb!("container runlabel", runlabel::RunlabelArgs, runlabel::run),
    verb!("container start", run::StartArgs, run::start),
    verb!("container stats", stats::StatsArgs, stats::run),
    verb!("container stop", stop::StopArgs, stop::run),
    verb!("container top", top::TopArgs, top::run),
    verb!("container unmount" | "umount", container_mount::UnmountArgs, container_mount::unmount),
    verb!("container unpause", pause::UnpauseArgs, pause::unpause),
    verb!("container update", update::UpdateArgs, update::run),
    verb!("container wait", wait::WaitArgs, wait::run),
    verb!("context create", context::RefusedArgs, context::refuse),
    verb!("context export", context::RefusedArgs, context::refuse),
    verb!("context import", context::RefusedArgs, context::refuse),
    verb!("context inspect", context::InspectArgs, context::inspect),
    verb!("context ls" | "list", context::LsArgs, context::ls),
    verb!("context rm" | "remove", context::RmArgs, context::rm),
    verb!("context show", context::ShowArgs, context::show),
    verb!("context update", context::RefusedArgs, context::refuse),
    verb!("context use", context::UseArgs, context::choose),
    verb!("cp", cp::CpArgs, cp::cp),
    verb!("create", run::CreateArgs, run::create),
    verb!("diff", diff::DiffArgs, diff::run),
    verb!("events", events::EventsArgs, events::run),
    verb!("exec", exec::ExecArgs, exec::run),
    verb!("export", cp::ExportArgs, cp::export),
    verb!("farm", system::FarmArgs, system::farm),
    verb!("generate kube", kube::GenerateArgs, kube::generate),
    verb!("generate spec", generate::SpecArgs, generate::spec),
    verb!("generate systemd", generate::SystemdArgs, generate::systemd),
    verb!("healthcheck run", healthcheck::RunArgs, healthcheck::run),
    verb!("history", history::HistoryArgs, history::run),
    verb!("image build", build::BuildArgs, build::run),
    verb!("image diff", diff::ImageDiffArgs, diff::image),
    verb!("image exists", image::ExistsArgs, image::exists),
    verb!("image history", history::HistoryArgs, history::run),
    verb!("image import", load::ImportArgs, load::import),
    verb!("image inspect", inspect::ImageArgs, inspect::run_image),
    verb!("image load", load::LoadArgs, load::load),
    verb!("image ls" | "list", images::ImagesArgs, images::run),
    verb!("image mount", image_mount::MountArgs, image_mount::mount),
    verb!("image prune", image::PruneArgs, image::prune),
    verb!("image pull", pull::PullArgs, pull::run),
    verb!("image push", push::PushArgs, push::run),
    verb!("image rm" | "remove", image::RmiArgs, image::rm),
    verb!("image save", save::SaveArgs, save::run),
    verb!("image scp", image_mount::ScpArgs, image_mount::scp),
    verb!("image search", search::SearchArgs, search::run),
    verb!("image tag", image::TagArgs, image::tag),
    verb!("image tree", image::TreeArgs, image::tree),
    verb!("image trust", trust::TrustArgs, trust::run),
    verb!("image unmount" | "umount", image_mount::UnmountArgs, image_mount::unmount),
    verb!("image untag", image::UntagArgs, image::untag),
    verb!("images", images::ImagesArgs, images::run),
    verb!("import", load::ImportArgs, load::import),
    verb!("info", info::InfoArgs, info::run),
    verb!("init", init::InitArgs, init::run),
    verb!("inspect", inspect::InspectArgs, inspect::run),
    verb!("kill", kill::KillArgs, kill::run),
    verb!("kube apply", kube::ApplyArgs, kube::apply),
    verb!("kube down", kube::DownArgs, kube::down),
    verb!("kube generate", kube::GenerateArgs, kube::generate),
    verb!("kube play", kube::PlayArgs, kube::play),
    verb!("login", login::LoginArgs, login::login),
    verb!("logout", login::LogoutArgs, login::logout),
    verb!("load", load::LoadArgs, load::load),
    verb!("logs", logs::LogsArgs, logs::run),
    verb!("machine", system::MachineArgs, system::machine),
    verb!("manifest add", manifest::AddArgs, manifest::add),
    verb!("manifest annotate", manifest::AnnotateArgs, manifest::annotate),
    verb!("manifest create", manifest::CreateArgs, manifest::create),
    verb!("manifest exists", manifest::ExistsArgs, manifest::exists),
    verb!("manifest inspect", manifest::InspectArgs, manifest::inspect),
    verb!("manifest push", manifest::PushArgs, manifest::push),
    verb!("manifest remove", manifest::RemoveArgs, manifest::remove),
    verb!("manifest rm", manifest::RmArgs, manifest::rm),
    verb!("mount", container_mount::MountArgs, container_mount::mount),
    verb!("network check", network::CheckArgs, network::check),
    verb!("network connect", network::ConnectArgs, network::connect),
    verb!("network create", network::CreateArgs, network::create),
    verb!("network disconnect", network::DisconnectArgs, network::disconnect),
    verb!("network exists", network::ExistsArgs, network::exists),
    verb!("network inspect", network::InspectArgs, network::inspect),
    verb!("network ls" | "list", network::LsArgs, network::ls),
    verb!("network prune", network::PruneArgs, network::prune),
    verb!("network reload", network::ReloadArgs, network::reload),
    verb!("network rm" | "remove", network::RmArgs, network::rm),
    verb!("network update", network::UpdateArgs, network::update),
    verb!("pause", pause::PauseArgs, pause::pause),
    verb!("play kube", kube::PlayArgs, kube::play),
    verb!("pod clone", pod::clone::CloneArgs, pod::clone::clone),
    verb!("pod create", pod::create::CreateArgs, pod::create::create),
    verb!("pod exists", pod::ExistsArgs, pod::exists),
    verb!("pod inspect", pod::inspect::InspectArgs, pod::inspect::inspect),
    verb!("pod kill", pod::act::KillArgs, pod::act::kill),
    verb!("pod logs", pod::logs::LogsArgs, pod::logs::run),
    verb!("pod pause", pod::act::PauseArgs, pod::act::pause),
    verb!("pod prune", pod::act::PruneArgs, pod::act::prune),
    verb!("pod ps" | "ls" | "list", pod::ps::PsArgs, pod::ps::ps),
    verb!("pod restart", pod::act::RestartArgs, pod::act::restart),
    verb!("pod rm" | "remove", pod::act::RmArgs, pod::act::rm),
    verb!("pod start", pod::act::StartArgs, pod::act::start),
    verb!("pod stats", pod::stats::StatsArgs, pod::stats::run),
    verb!("pod stop", pod::act::StopArgs, pod::act::stop),
    verb!("pod top", pod::top::TopArgs, pod::top::run),
    verb!("pod unpause", pod::act::UnpauseArgs, pod::act::unpause),
    verb!("port", container::PortArgs, container::port),
    verb!("ps", ps::PsArgs, ps::run),
    verb!("pull", pull::PullArgs, pull::run),
    verb!("push", push::PushArgs, push::run),
    verb!("rename", container::RenameArgs, container::rename),
    verb!("restart", restart::RestartArgs, restart::run),
    verb!("rm", rm::RmArgs, rm::run),
    verb!("rmi", image::RmiArgs, image::rm),
    verb!("run", run::RunArgs, run::run),
    verb!("save", save::SaveArgs, save::run),
    verb!("search", search::SearchArgs, search::run),
    verb!("secret create", secret::CreateArgs, secret::create),
    verb!("secret exists", secret::ExistsArgs, secret::exists),
    verb!("secret inspect", secret::InspectArgs, secret::inspect),
    verb!("secret ls" | "list", secret::LsArgs, secret::ls),
    verb!("secret rm" | "remove", secret::RmArgs, secret::rm),
    verb!("start", run::StartArgs, run::start),
    verb!("stats", stats::StatsArgs, stats::run),
    verb!("stop", stop::StopArgs, stop::run),
    verb!("system autostart", autostart::AutostartArgs, autostart::run),
    verb!("system quadlet", quadlet::QuadletArgs, quadlet::run),
    verb!("system check", system::CheckArgs, system::check),
    verb!("system connection", system::ConnectionArgs, system::connection),
    verb!("system df", system::DfArgs, system::df),
    verb!("system events", events::EventsArgs, events::run),
    verb!("system info", info::InfoArgs, info::run),
    verb!("system migrate", system::MigrateArgs, system::migrate),
    verb!("system prune", system::PruneArgs, system::prune),
    verb!("system renumber", system::RenumberArgs, system::renumber),
    verb!("system service", service::ServiceArgs, service::run),
    verb!("system reset", system::ResetArgs, system::reset),
    verb!("tag", image::TagArgs, image::tag),
    verb!("top", top::TopArgs, top::run),
    verb!("unmount" | "umount", container_mount::UnmountArgs, container_mount::unmount),
    verb!("unpause", pause::UnpauseArgs, pause::unpause),
    verb!("update", update::UpdateArgs, update::run),
    verb!("unshare", unshare::UnshareArgs, unshare::run),
    verb!("untag", image::UntagArgs, image::untag),
    verb!("version", version::VersionArgs, version::run),
    verb!("volume create", volume::CreateArgs, volume::create),
    verb!("volume exists", volume::ExistsArgs, volume::exists),
    verb!("volume export", cp::VolumeExportArgs, cp::export_volume),
    verb!("volume import", cp::VolumeImportArgs, cp::import_volume),
    verb!("volume inspect", inspect::VolumeArgs, inspect::run_volume),
    verb!("volume ls" | "list", volume::LsArgs, volume::ls),
    verb!("volume mount", volume::MountArgs, volume::mount),
    verb!("volume prune", volume::PruneArgs, volume::prune),
    verb!("volume reload", volume::ReloadArgs, volume::reload),
    verb!("volume rm" | "remove", volume::RmArgs, volume::rm),
    verb!("volume unmount", volume::UnmountArgs, volume::unmount),
    verb!("wait", wait::WaitArgs, wait::run),
];

/// First words of two-word verbs, and what help says about them.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("artifact", "Manage artifacts: files in registries"),
    ("builder", "Manage builds"),
    ("buildx", "Build images, as Docker's plug-in does"),
    ("compose", "Run several containers as one project"),
    ("container", "Manage containers"),
    ("context", "Show the one context there is, for scripts made for Docker"),
    ("generate", "Describe what there is in other tools' forms"),
    ("healthcheck", "Check the health of containers"),
    ("image", "Manage images"),
    ("manifest", "Manage manifest lists: images of several platforms"),
    ("kube", "Run pods of Kubernetes manifests, and write such"),
    ("network", "Manage networks"),
    ("play", "Run pods of Kubernetes manifests"),
    ("pod", "Manage pods: containers that share namespaces"),
    ("secret", "Manage secrets"),
    ("system", "Manage ketch itself"),
    ("volume", "Manage volumes"),
];

/// Verbs that work and that help does not list.
const HIDDEN: &[&str] = &["completion"];

impl Verb {
    /// The last word of the path.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit(' ').next().unwrap_or(self.path)
    }

    /// The first of two words, or nothing.
    pub(crate) fn group(&self) -> &'static str {
        self.path.split_once(' ').map_or("", |(group, _)| group)
    }

    /// True if `word` names this verb within its group.
    fn is_called(&self, word: &str) -> bool {
        self.name() == word || self.aliases.contains(&word)
    }

    /// The definition for help and the manual.
    pub(crate) fn definition(&self) -> Command {
        (self.build)(Command::new(self.name()))
            .aliases(self.aliases)
            .hide(HIDDEN.contains(&self.path))
            .disable_version_flag(true)
            .args_override_self(true)
    }

    /// The parser for the arguments after the verb, which was called by the words `called`.
    pub(crate) fn command(&self, called: &str) -> Command {
        let definition = match self.group() {
            "compose" => compose::project::add_to(self.definition()),
            _ => self.definition(),
        };
        let definition = definition.mut_args(|arg| takes_any_value(takes_truth_value(arg)));
        globals::add_to(definition).bin_name(format!("{NAME} {called}")).no_binary_name(true)
    }

    /// The help page, for a verb that was called by the words `called`.
    pub(crate) fn help(&self, called: &str) -> String {
        self.definition().bin_name(format!("{NAME} {called}")).render_long_help().to_string()
    }
}

/// Lets a flag without a value take one all the same, as podman's do: `--all=false`, `--rm=true`; and reads all
/// of them alike: ansible writes `True`.
fn takes_truth_value(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        let is_truth = arg.get_value_parser().type_id() == std::any::TypeId::of::<bool>();
        return if is_truth { arg.value_parser(truth_value) } else { arg };
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_value("false")
        .default_missing_value("true")
        .value_parser(truth_value)
}

/// Lets a flag that needs a value take the next word, whatever that looks like, as podman's do: `--name -x`.
fn takes_any_value(arg: Arg) -> Arg {
    let needs_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
        && !arg.is_positional()
        && arg.get_num_args().is_none_or(|count| count.min_values() > 0);
    if needs_value { arg.allow_hyphen_values(true) } else { arg }
}

/// Reads a truth value as Go does.
pub(crate) fn truth_value(text: &str) -> Result<bool, String> {
    truth::parse(text).ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
}

/// What the words after the global flags ask for.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A verb, the words it was called by, and its arguments.
    Verb { verb: &'static Verb, called: String, rest: &'a [OsString] },
    /// The help page of a command, given by its words.
    Help(Vec<String>),
    /// Nothing, or a group without a verb (empty: not even a group).
    Missing(String),
    /// A word that names nothing (in this group; empty: at the top).
    Unknown { group: String, word: String },
}

/// Finds the verb that `words` begin with.
pub(crate) fn find(words: &[OsString]) -> Found<'_> {
    let text = |at: usize| words.get(at).map(|word| word.to_string_lossy().into_owned());
    let Some(first) = text(0) else { return Found::Missing(String::new()) };
    if first == "help" {
        return Found::Help(words[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect());
    }
    // `build prune` is what `builder prune` is, unless there is a context of that name.
    let prunes = first == "build" && words.get(1).is_some_and(|word| word == "prune");
    let first = if prunes && !std::path::Path::new("prune").exists() { "builder".to_owned() } else { first };
    if let Some(verb) = lookup("", &first) {
        return Found::Verb { verb, called: first, rest: &words[1..] };
    }
    if !is_group(&first) {
        return Found::Unknown { group: String::new(), word: first };
    }
    match text(1) {
        None => Found::Missing(first),
        Some(second) if matches!(second.as_str(), "--help" | "-h" | "help") => Found::Help(vec![first]),
        Some(second) => match lookup(&first, &second) {
            Some(verb) => Found::Verb { verb, called: format!("{first} {second}"), rest: &words[2..] },
            None => Found::Unknown { group: first, word: second },
        },
    }
}

/// `buildx --builder NAME VERB …`, as Docker's plug-in takes it, with the flag behind the verb; a verb that does not
/// know it goes without. `None` for anything else.
pub(crate) fn builder_behind_verb(words: &[OsString]) -> Option<Vec<OsString>> {
    let [group, flag, rest @ ..] = words else { return None };
    let flag = flag.to_str().filter(|_| group == "buildx")?.strip_prefix("--builder")?;
    let (name, rest) = match flag.strip_prefix('=') {
        Some(name) => (OsString::from(name), rest),
        None if flag.is_empty() => rest.split_first().map(|(name, rest)| (name.clone(), rest))?,
        None => return None,
    };
    let (word, rest) = rest.split_first()?;
    let command = lookup("buildx", &word.to_string_lossy())?.command("");
    let is_known = command.get_arguments().any(|known| known.get_long() == Some("builder"));
    let flag = is_known.then(|| ["--builder".into(), name]);
    Some(
        [group.clone(), word.clone()]
            .into_iter()
            .chain(flag.into_iter().flatten())
            .chain(rest.iter().cloned())
            .collect(),
    )
}

/// The verb called `word` in `group`.
pub(crate) fn lookup(group: &str, word: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.group() == group && verb.is_called(word))
}

/// How many words without flags a verb takes: at least, and at most if there is an end. Of a verb by its path in the table.
pub(crate) fn arguments(path: &str) -> Option<(usize, Option<usize>)> {
    let verb = VERBS.iter().find(|verb| verb.path == path)?;
    // What an argument takes is settled when the command is built.
    let mut command = verb.command(path);
    command.build();
    let (mut least, mut most) = (0, Some(0));
    for argument in command.get_positionals() {
        let range = argument.get_num_args().unwrap_or_else(|| 1.into());
        least += if argument.is_required_set() { range.min_values().max(1) } else { 0 };
        let bounded = range.max_values() < usize::MAX && !matches!(argument.get_action(), ArgAction::Append);
        most = most.filter(|_| bounded).map(|most| most + range.max_values());
    }
    // Container and command are one positional to clap.
    let least = if matches!(path, "exec" | "container exec") { 2 } else { least };
    Some((least, most))
}

/// True if `word` is the first of some two-word verb.
pub(crate) fn is_group(word: &str) -> bool {
    VERBS.iter().any(|verb| !verb.group().is_empty() && verb.group() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_given_twice_and_every_group_is_described() {
        let mut seen = std::collections::BTreeSet::new();
        for verb in VERBS {
            for name in std::iter::once(&verb.name()).chain(verb.aliases) {
                assert!(seen.insert((verb.group(), *name)), "{} is there twice", verb.path);
            }
            assert!(
                verb.group().is_empty() || GROUPS.iter().any(|(group, _)| *group == verb.group()),
                "{}",
                verb.path
            );
        }
    }

    #[test]
    fn a_builder_may_stand_before_the_verb() {
        let words = |text: &str| -> Vec<OsString> { text.split(' ').map(OsString::from).collect() };
        for (typed, want) in [
            ("buildx --builder b build .", Some("buildx build --builder b .")),
            ("buildx --builder=b du", Some("buildx du --builder b")),
            ("buildx --builder b ls", Some("buildx ls")),
            ("buildx build --builder b .", None),
            ("buildx --builder", None),
            ("buildx --builders b ls", None),
            ("build --builder b .", None),
        ] {
            assert_eq!(builder_behind_verb(&words(typed)), want.map(words), "{typed}");
        }
    }

    #[test]
    fn definitions_are_sound() {
        // clap checks a definition (clashing flags and the like) when it is built in a debug build.
        for verb in VERBS {
            verb.command(verb.path).debug_assert();
        }
    }

    #[test]
    fn nothing_stands_under_the_heading_of_a_group_that_it_is_not_of() {
        // A flag that is declared behind a group of flags takes the group's heading.
        let own = ["jobs", "progress", "push", "quiet", "rm", "authfile", "skip_unused_stages"];
        for verb in VERBS {
            let command = verb.command(verb.path);
            for arg in command.get_arguments() {
                let is_own =
                    arg.is_positional() || verb.path == "build" && own.contains(&arg.get_id().as_str());
                assert!(!is_own || arg.get_help_heading().is_none(), "{}: {arg}", verb.path);
            }
        }
    }
}
