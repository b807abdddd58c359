//! `buildx bake`: builds what a file lists.
//!
//! Each target becomes a command line of `build`: what that does stands in one place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches as _};
use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::hcl;
use crate::cli::build::bake_file::{Definitions, Plan, texts};
use crate::cli::build::{BuildArgs, run_one};
use crate::cli::session::{Exit, Session};
use crate::cli::together::{self, Job, Screen};
use crate::engine::build::{InlineFile, inline_file};
use crate::engine::{Error, config};
use crate::store::staging;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Files that are read if nobody names one, all of them that are there.
const FILES: [&str; 4] =
    ["docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"];

/// Compose files, the first of which is built if there is none of those.
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Build what a file lists
///
/// Reads docker-bake.hcl and docker-bake.json with their overrides; where there is none, builds the services of
/// the Compose file. Targets are built at the same time, but for those that use each other.
#[derive(Args, Debug)]
pub(crate) struct BakeArgs {
    /// Builder: default, or a name that `buildx create` has made; all are this program
    #[arg(long, value_name = "NAME", env = "BUILDX_BUILDER")]
    builder: Option<String>,

    /// Privileges that RUN may ask for, as for build
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    allow: Vec<String>,

    /// What to do with each target, as for build
    #[arg(long, value_name = "METHOD", conflicts_with = "check")]
    call: Option<String>,

    /// Look at the Dockerfiles, tell what could be better, and build nothing
    #[arg(long)]
    check: bool,

    /// A file: docker-bake.hcl, docker-bake.json or a Compose file (can be repeated)
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Put the images into the local store: ketch always does
    #[arg(long)]
    load: bool,

    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,

    /// Do every step anew
    #[arg(long)]
    no_cache: bool,

    /// Print what would be built, as JSON, and build nothing
    #[arg(long)]
    print: bool,

    /// How progress is shown, as for build
    #[arg(long, value_name = "FORM", env = "BUILDKIT_PROGRESS")]
    progress: Option<String>,

    /// Say where the images come from, as for build
    #[arg(long, value_name = "ATTESTATION", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,

    /// Ask the registry for base images
    #[arg(long)]
    pull: bool,

    /// Push the images to their registries afterwards
    #[arg(long)]
    push: bool,

    /// Set an attribute of targets: TARGET.ATTRIBUTE[.KEY]=VALUE, where TARGET may have wildcards (can be repeated)
    #[arg(long, value_name = "OVERRIDE")]
    set: Vec<String>,

    /// Bill of materials, as for build
    #[arg(long, value_name = "PRESET", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,

    /// Set a variable of the file (can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,

    /// Targets and groups; the group or target default if none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// `buildx bake`.
pub(crate) fn bake(session: &mut Session<'_>, args: BakeArgs) -> anyhow::Result<Exit> {
    session.engine()?.builders().find(args.builder.as_deref())?;
    let there = |names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).filter(|path| path.is_file()).collect()
    };
    let mut files = args.file.clone();
    if files.is_empty() {
        files = there(&FILES);
    }
    if files.is_empty() {
        files = there(&COMPOSE).into_iter().take(1).collect();
    }
    if files.is_empty() {
        let message = "couldn't find a bake definition";
        return Err(Error::invalid(message).hint("write docker-bake.hcl, or name a file: -f FILE").into());
    }
    let is_compose =
        |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    if files.iter().all(is_compose) {
        return compose(session, &args, &files);
    }
    let mut all = Definitions::default();
    for path in &files {
        let text = std::fs::read_to_string(path)
            .map_err(|err| Error::invalid(format!("read {}", path.display())).because(err))?;
        all.read(&path.display().to_string(), &text)?;
    }
    args.set.iter().try_for_each(|text| all.set(text))?;
    let set = |name: &str| {
        args.var.iter().rev().find_map(|text| text.split_once('=').filter(|(known, _)| *known == name))
    };
    let caller = |name: &str| match set(name) {
        Some((_, value)) => Some(value.to_owned()),
        None => config::variable_of_caller(name.as_ref())?.into_string().ok(),
    };
    let plan = all.plan(&args.targets, &caller)?;
    if args.print {
        return print(session, &plan);
    }
    build_all(session, &args, &plan)
}

/// Builds the services of Compose files.
fn compose(session: &mut Session<'_>, args: &BakeArgs, files: &[PathBuf]) -> anyhow::Result<Exit> {
    if args.print || !args.set.is_empty() || args.metadata_file.is_some() {
        let message = "--print, --set and --metadata-file: of a Compose file nothing but its images is known";
        return Err(Error::invalid(message).hint("write the targets down in docker-bake.hcl").into());
    }
    let mut words: Vec<OsString> = vec!["compose".into()];
    files.iter().for_each(|file| words.extend([OsString::from("--file"), file.into()]));
    words.push("build".into());
    for (flag, wanted) in [("--no-cache", args.no_cache), ("--pull", args.pull), ("--push", args.push)] {
        words.extend(wanted.then(|| flag.into()));
    }
    words.extend(args.targets.iter().filter(|name| *name != "default").map(OsString::from));
    session.out.flush()?;
    let mut globals = session.globals.clone();
    crate::cli::dispatch(&words, &mut globals)
}

fn print(session: &mut Session<'_>, plan: &Plan) -> anyhow::Result<Exit> {
    let groups: Map<String, Value> =
        plan.groups.iter().map(|(name, targets)| (name.clone(), json!({ "targets": targets }))).collect();
    let mut targets = Map::new();
    for (name, target) in &plan.targets {
        let mut target = target.clone();
        // What `build` takes if nothing is said.
        for (key, default) in [("context", "."), ("dockerfile", "Dockerfile")] {
            target.entry(key).or_insert_with(|| default.into());
        }
        targets.insert(name.clone(), target.into());
    }
    writeln!(session.out, "{:#}", json!({ "group": groups, "target": targets }))?;
    Ok(Exit::OK)
}

/// The words of a target's command line that do not depend on others.
fn with_flags(args: &BakeArgs, target: &Map<String, Value>, file: Option<&str>, words: &mut Vec<String>) {
    words.extend(file.into_iter().flat_map(|file| ["--file".to_owned(), file.to_owned()]));
    for (flag, wanted) in [("--no-cache", args.no_cache), ("--push", args.push), ("--pull", args.pull)] {
        words.extend(wanted.then(|| flag.to_owned()));
    }
    words.extend(args.check.then(|| "--check".to_owned()));
    for (flag, value) in [("--call", &args.call), ("--provenance", &args.provenance), ("--sbom", &args.sbom)]
    {
        words.extend(value.iter().map(|value| format!("{flag}={value}")));
    }
    // What bake itself may read and write is not asked for here.
    let entitlements = args.allow.iter().filter(|allowed| !allowed.starts_with("fs"));
    words.extend(entitlements.map(|allowed| format!("--allow={allowed}")));
    words.extend(args.progress.iter().map(|form| format!("--progress={form}")));
    words.extend(["--".to_owned(), context(target)]);
}

/// A command line, read; mistakes in it are those of the target.
fn read(name: &str, words: &[String]) -> anyhow::Result<BuildArgs> {
    let matches = BuildArgs::augment_args(Command::new("build").no_binary_name(true))
        .args_override_self(true)
        .try_get_matches_from(words)
        .map_err(|err| {
            let message = err.to_string().lines().next().unwrap_or_default().to_owned();
            Error::invalid(format!("target {name}: {message}"))
        })?;
    Ok(BuildArgs::from_arg_matches(&matches)?)
}

fn wrong(name: &str) -> impl Fn(String) -> Error + '_ {
    move |message| Error::invalid(format!("target {name}: {message}"))
}

/// Builds a lone target in this process, with its progress.
fn build_one(
    session: &mut Session<'_>,
    args: &BakeArgs,
    (name, target): &(String, Map<String, Value>),
    metadata: &mut Map<String, Value>,
) -> anyhow::Result<Exit> {
    // A Dockerfile that stands in the file is read through its descriptor.
    let inline = target.get("dockerfile-inline").and_then(Value::as_str).map(inline_file).transpose()?;
    let mut words = words(target, &BTreeMap::new()).map_err(wrong(name))?;
    with_flags(args, target, inline.as_ref().map(InlineFile::path).as_deref(), &mut words);
    let (exit, built) = run_one(session, read(name, &words)?)?;
    if let Some(built) = built {
        metadata.insert(name.clone(), built.metadata);
    }
    Ok(exit)
}

/// Builds several targets, each in a process of its own, which leaves what it has to tell in a file.
fn build_together(
    session: &mut Session<'_>,
    args: &BakeArgs,
    plan: &Plan,
    metadata: &mut Map<String, Value>,
) -> anyhow::Result<Exit> {
    let directory = staging::dir(session.engine()?.store()).map_err(Error::from)?;
    let file = |place: usize, ending: &str| directory.path().join(format!("{place}.{ending}"));
    let told = |place: usize| -> Option<Value> {
        serde_json::from_slice(&std::fs::read(file(place, "json")).ok()?).ok()
    };
    let place_of = |name: &str| plan.targets.iter().position(|(known, _)| known == name);
    let jobs: Vec<Job> = plan
        .targets
        .iter()
        .map(|(name, target)| {
            let used = target.get("contexts").and_then(Value::as_object).into_iter().flat_map(Map::values);
            let used = used.filter_map(|used| used.as_str()?.strip_prefix("target:"));
            Job { name: name.clone(), after: used.filter_map(place_of).collect() }
        })
        .collect();
    let mut line = |place: usize| -> anyhow::Result<Vec<OsString>> {
        let (name, target) = &plan.targets[place];
        let mut made: BTreeMap<&str, Digest> = BTreeMap::new();
        for used in &jobs[place].after {
            let id = told(*used).and_then(|told| told["containerimage.config.digest"].as_str()?.parse().ok());
            made.extend(id.map(|id| (plan.targets[*used].0.as_str(), id)));
        }
        let mut words = words(target, &made).map_err(wrong(name))?;
        let mut dockerfile = None;
        if let Some(text) = target.get("dockerfile-inline").and_then(Value::as_str) {
            directory.write(&format!("{place}.Dockerfile"), text.as_bytes(), false).map_err(Error::from)?;
            dockerfile = Some(file(place, "Dockerfile").display().to_string());
        }
        with_flags(args, target, dockerfile.as_deref(), &mut words);
        read(name, &words)?;
        let own = [OsString::from("build"), "--metadata-file".into(), file(place, "json").into()];
        Ok(own.into_iter().chain(words.into_iter().map(OsString::from)).collect())
    };
    let exit = together::run(&mut Screen::of(session), &jobs, together::limit(), &mut line)?;
    for (place, (name, _)) in plan.targets.iter().enumerate() {
        metadata.extend(told(place).map(|told| (name.clone(), told)));
    }
    Ok(exit)
}

fn build_all(session: &mut Session<'_>, args: &BakeArgs, plan: &Plan) -> anyhow::Result<Exit> {
    let mut metadata = Map::new();
    let exit = match &plan.targets[..] {
        [target] => build_one(session, args, target, &mut metadata)?,
        _ => build_together(session, args, plan, &mut metadata)?,
    };
    if exit != Exit::OK {
        return Ok(exit);
    }
    if let Some(path) = &args.metadata_file {
        std::fs::write(path, format!("{:#}\n", Value::Object(metadata)))
            .map_err(|err| Error::system(format!("write {}", path.display()), err))?;
    }
    Ok(Exit::OK)
}

fn context(target: &Map<String, Value>) -> String {
    target.get("context").and_then(Value::as_str).unwrap_or(".").to_owned()
}

/// Attributes that are flags of `build` with one value, and with several.
const ONE: [(&str, &str); 4] =
    [("target", "--target"), ("network", "--network"), ("shm-size", "--shm-size"), ("call", "--call")];
const SEVERAL: [(&str, &str); 11] = [
    ("tags", "--tag"),
    ("platforms", "--platform"),
    ("cache-from", "--cache-from"),
    ("cache-to", "--cache-to"),
    ("output", "--output"),
    ("secret", "--secret"),
    ("ssh", "--ssh"),
    ("no-cache-filter", "--no-cache-filter"),
    ("annotations", "--annotation"),
    ("ulimits", "--ulimit"),
    ("attest", "--attest"),
];

/// Attributes that are read elsewhere, or that say nothing to a build.
const ELSEWHERE: [&str; 4] = ["context", "dockerfile-inline", "description", "entitlements"];

/// The command line that builds a target, without its context.
fn words(target: &Map<String, Value>, made: &BTreeMap<&str, Digest>) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    for (key, value) in target {
        let mut add = |flag: &str, value: String| words.push(format!("{flag}={value}"));
        if ELSEWHERE.contains(&key.as_str()) || value.is_null() {
            continue;
        }
        if let Some((_, flag)) = ONE.iter().find(|(name, _)| name == key) {
            add(flag, hcl::text(value)?);
        } else if let Some((_, flag)) = SEVERAL.iter().find(|(name, _)| name == key) {
            texts(value)?.into_iter().filter(|text| !text.is_empty()).for_each(|text| add(flag, text));
        } else {
            let pairs = value.as_object().cloned().unwrap_or_default();
            let pairs = pairs.iter().filter(|(_, value)| !value.is_null());
            let pairs = pairs.map(|(name, value)| Ok((name.as_str(), hcl::text(value)?)));
            let pairs = pairs.collect::<Result<Vec<_>, String>>()?;
            match key.as_str() {
                "args" => {
                    pairs.iter().for_each(|(name, value)| add("--build-arg", format!("{name}={value}")));
                }
                "labels" => {
                    pairs.iter().for_each(|(name, value)| add("--label", format!("{name}={value}")));
                }
                "extra-hosts" => {
                    pairs.iter().for_each(|(name, ip)| add("--add-host", format!("{name}:{ip}")));
                }
                "contexts" => {
                    for (name, source) in &pairs {
                        let source = match source.strip_prefix("target:") {
                            Some(used) => match made.get(used) {
                                Some(id) => format!("docker-image://{id}"),
                                None => return Err(format!("contexts: {used} makes no image")),
                            },
                            None => source.clone(),
                        };
                        add("--build-context", format!("{name}={source}"));
                    }
                }
                "dockerfile" => {
                    let (context, file) = (context(target), hcl::text(value)?);
                    // It lies in the context, unless that is elsewhere.
                    let path = if Path::new(&context).is_dir() {
                        Path::new(&context).join(&file).display().to_string()
                    } else {
                        file
                    };
                    add("--file", path);
                }
                "no-cache" | "pull" => {
                    if *value == Value::Bool(true) {
                        words.push(format!("--{key}"));
                    }
                }
                _ => return Err(format!("the attribute {key} is not known")),
            }
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_become_command_lines() {
        let target = json!({
            "args": {"A": "1", "N": 2, "none": null}, "tags": ["a:1", ""], "output": [{"type": "local", "dest": "o"}],
            "contexts": {"lib": "target:lib"}, "no-cache": true, "pull": false, "target": "t", "context": "https://x",
            "dockerfile": "D", "description": "says nothing",
        });
        let made = BTreeMap::from([("lib", Digest::of(b"x"))]);
        let got = words(target.as_object().unwrap(), &made).unwrap();
        for want in
            ["--build-arg=A=1", "--build-arg=N=2", "--tag=a:1", "--no-cache", "--target=t", "--file=D"]
        {
            assert!(got.iter().any(|word| word == want), "{want}: {got:?}");
        }
        assert!(got.contains(&format!("--build-context=lib=docker-image://{}", Digest::of(b"x"))), "{got:?}");
        assert!(
            got.iter().any(|word| word.starts_with("--output=") && word.contains("type=local")),
            "{got:?}"
        );
        assert_eq!(got.len(), 8, "{got:?}");
        for wrong in [json!({"other": "x"}), json!({"contexts": {"a": "target:b"}}), json!({"target": []})] {
            assert!(words(wrong.as_object().unwrap(), &made).is_err(), "{wrong}");
        }
    }
}
