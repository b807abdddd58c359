//! What a Dockerfile says of itself, without a build: `--call=check`, `outline` and `targets`.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::dockerfile::check::{self, Around, BaseFacts, Options, Warning, comments_above};
use crate::base::dockerfile::expand::{Expander, unquoted};
use crate::base::dockerfile::flags::{RunMount, RunMountKind};
use crate::base::dockerfile::instruction::{Instruction, Line, Word};
use crate::base::dockerfile::{Dockerfile, parse};
use crate::base::image_document::ConfigDocument;
use crate::base::order::InOrder as _;
use crate::base::platform::Platform;
use crate::engine::Engine;
use crate::engine::build::plan::{self, Plan};
use crate::engine::build::request::BuildRequest;
use crate::engine::build::{Fault, Result, sources};
use crate::engine::register::MAX_DOCUMENT;

/// The build argument that goes before the directive `# check=`.
const CHECK_ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// A Dockerfile that was looked at.
#[derive(Debug)]
pub(crate) struct Looked<T> {
    /// What it is called in messages.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) found: T,
}

/// A stage that can be built by its name.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: Option<String>,
    /// What the comment above it says.
    pub(crate) description: String,
    pub(crate) base: String,
    pub(crate) platform: Option<String>,
    pub(crate) is_default: bool,
    pub(crate) lines: (usize, usize),
}

/// What a target takes.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    pub(crate) name: String,
    pub(crate) description: String,
    /// ARGs: name, value, description.
    pub(crate) args: Vec<(String, String, String, (usize, usize))>,
    /// Secrets by their IDs, and whether they must be there.
    pub(crate) secrets: Vec<(String, bool, (usize, usize))>,
    pub(crate) agents: Vec<(String, bool, (usize, usize))>,
}

/// The options of the file's checks.
pub(super) fn options(file: &Dockerfile, request: &BuildRequest) -> Result<Options> {
    let given = request.args.get(CHECK_ARGUMENT).or(file.directives.check.as_ref());
    Options::parse(given.map_or("", String::as_str)).map_err(Fault::plain)
}

/// What the store knows of a base image.
pub(super) fn local_base(engine: &Engine, name: &str) -> Option<BaseFacts> {
    let image = engine.image(name).ok()?.image;
    let text = engine.store().blobs().read_small(&image.id, MAX_DOCUMENT).ok()?;
    let config = ConfigDocument::parse(&text).ok()?.config;
    Some(BaseFacts { env: config.env, has_shell: !config.shell.is_empty() })
}

/// The remarks about a file; `base` knows images.
pub(super) fn remarks(
    (file, text): (&Dockerfile, &str),
    request: &BuildRequest,
    ignore: &[u8],
    base: &dyn Fn(&str) -> Option<BaseFacts>,
    needed: Option<&[usize]>,
) -> Result<Vec<Warning>> {
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let platform = plan::platform_args(&platform, request.target.as_deref().unwrap_or_default());
    let options = options(file, request)?;
    let around = Around { args: &request.args, platform: &platform, ignore, base, needed, options: &options };
    Ok(check::check(file, text, &around))
}

/// Refuses a file whose remarks are errors (`# check=error=true`).
pub(super) fn refuse(warnings: &[Warning]) -> Result<()> {
    let rules: BTreeSet<&str> = warnings.iter().map(|warning| warning.rule.name).collect();
    if rules.is_empty() {
        return Ok(());
    }
    let rules: Vec<&str> = rules.into_iter().collect();
    let message = format!("lint violation found for rules: {}", rules.join(", "));
    Err(Fault::plain(message).hint("build --check shows where"))
}

/// Reads the Dockerfile, and the stages of it that a build needs.
fn read<T>(
    engine: &Engine,
    request: &BuildRequest,
    look: impl FnOnce(&Dockerfile, &str, Result<Plan>, &[u8]) -> Result<T>,
) -> Result<Looked<T>> {
    let read = sources::read(engine, request)?;
    let looked = || {
        let file = parse(&read.text)?;
        let names: Vec<String> = request.contexts.keys().cloned().collect();
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let given = plan::Given::of(request, &names, &platform);
        let plan = plan::plan(&file, &given).map_err(Fault::from);
        look(&file, &read.text, plan, read.context.ignore.as_bytes())
    };
    match looked() {
        Ok(found) => Ok(Looked { found, name: read.name, text: read.text }),
        Err(fault) => Err(fault.drawn(&read.name, &read.text, engine.name_rule())),
    }
}

/// What is to be said of a Dockerfile.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) warnings: Vec<Warning>,
    /// Why it can nevertheless not be built.
    pub(crate) fault: Option<Fault>,
}

/// All remarks about the Dockerfile of a build.
///
/// # Errors
///
/// If it cannot be read, or is none.
pub(crate) fn check(engine: &Engine, request: &BuildRequest) -> Result<Looked<Checked>> {
    let mut looked = read(engine, request, |file, text, plan, ignore| {
        let needed = plan.as_ref().ok().filter(|_| request.target.is_some()).map(|plan| &plan.needed[..]);
        let base = |name: &str| local_base(engine, name);
        let warnings = remarks((file, text), request, ignore, &base, needed)?;
        Ok(Checked { warnings, fault: plan.err() })
    })?;
    let rule = engine.name_rule();
    looked.found.fault = looked.found.fault.map(|fault| fault.drawn(&looked.name, &looked.text, rule));
    Ok(looked)
}

/// The stages that can be built.
///
/// # Errors
///
/// As [`check()`].
pub(crate) fn targets(engine: &Engine, request: &BuildRequest) -> Result<Looked<Vec<Target>>> {
    read(engine, request, |file, text, _, _| {
        let raw: Vec<&str> = text.lines().collect();
        let target = |line: &Line| {
            let Instruction::From(from) = &line.instruction else { return None };
            Some(Target {
                name: from.name.clone(),
                description: described(&raw, line, from.name.as_deref().unwrap_or_default()),
                base: from.image.text.clone(),
                platform: from.platform.as_ref().map(|word| word.text.clone()),
                is_default: false,
                lines: line.lines,
            })
        };
        let mut targets: Vec<Target> = file.lines.iter().filter_map(target).collect();
        if let Some(last) = targets.last_mut() {
            last.is_default = true;
        }
        Ok(targets)
    })
}

/// What the comments above a line say of `name`: `# NAME what it is`.
fn described(raw: &[&str], line: &Line, name: &str) -> String {
    let comments = comments_above(raw, line.lines.0).into_iter();
    let said = comments.filter_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '));
    if name.is_empty() { String::new() } else { said.map(str::to_owned).next().unwrap_or_default() }
}

/// What the target of a build takes: arguments, secrets, agents.
///
/// # Errors
///
/// As [`check()`].
pub(crate) fn outline(engine: &Engine, request: &BuildRequest) -> Result<Looked<Outline>> {
    read(engine, request, |file, text, plan, _| Ok(outlined(file, text, &plan?, request)))
}

fn outlined(file: &Dockerfile, text: &str, plan: &Plan, request: &BuildRequest) -> Outline {
    let raw: Vec<&str> = text.lines().collect();
    let target = &plan.stages[plan.target];
    let mut outline = Outline {
        name: target.name.clone(),
        description: described(&raw, &target.from, &target.name),
        ..Outline::default()
    };
    let globals: Vec<&Line> =
        file.lines.iter().take_while(|line| !matches!(line.instruction, Instruction::From(_))).collect();
    let mut wanted = BTreeSet::new();
    let mut known = BTreeSet::new();
    for stage in plan.needed.iter().map(|number| &plan.stages[*number]) {
        if let Instruction::From(from) = &stage.from.instruction {
            wanted.extend(variables(&from.image, plan.escape));
            wanted.extend(from.platform.iter().flat_map(|word| variables(word, plan.escape)));
        }
        for line in &stage.lines {
            note(&mut outline, line, &raw, plan, request, &mut wanted, &mut known);
        }
    }
    // What a wanted one is made of is wanted, too: those stand above it.
    for line in globals.into_iter().rev() {
        let Instruction::Arg(args) = &line.instruction else { continue };
        for (name, default) in args.iter().rev() {
            if !wanted.contains(name) {
                continue;
            }
            let value = plan.globals.get(name).cloned().unwrap_or_default();
            wanted.extend(default.iter().flat_map(|word| variables(word, plan.escape)));
            if outline.args.iter().any(|(known, ..)| known == name) {
                continue;
            }
            outline.args.push((name.clone(), value, described(&raw, line, name), line.lines));
        }
    }
    outline.args.order_by_key(|(_, _, _, lines)| lines.0);
    outline
}

/// Notes what a line takes.
fn note(
    outline: &mut Outline,
    line: &Line,
    raw: &[&str],
    plan: &Plan,
    request: &BuildRequest,
    wanted: &mut BTreeSet<String>,
    known: &mut BTreeSet<String>,
) {
    match &line.instruction {
        Instruction::Arg(args) => {
            for (name, default) in args {
                let inherited = default.is_none() && !request.args.contains_key(name);
                if inherited && plan.globals.contains_key(name) {
                    wanted.insert(name.clone());
                    continue;
                }
                let lookup = |name: &str| plan.globals.get(name).cloned();
                let default = default.as_ref().and_then(|word| plan::expand(word, plan.escape, &lookup).ok());
                let value = request.args.get(name).cloned().or(default).unwrap_or_default();
                if known.insert(name.clone()) {
                    outline.args.push((name.clone(), value, described(raw, line, name), line.lines));
                }
            }
        }
        Instruction::Run(run) => {
            let parse = |word: &Word| RunMount::parse(&unquoted(&word.text, plan.escape)).ok();
            for mount in run.flags.mounts.iter().filter_map(parse) {
                let (list, id, required) = match mount.kind {
                    RunMountKind::Secret { id, required, .. } => (&mut outline.secrets, id, required),
                    RunMountKind::Ssh { id, required, .. } => (&mut outline.agents, id, required),
                    _ => continue,
                };
                if !list.iter().any(|(known, ..)| *known == id) {
                    list.push((id, required, line.lines));
                }
            }
        }
        _ => {}
    }
}

/// The variables in a word.
fn variables(word: &Word, escape: char) -> Vec<String> {
    let found = std::cell::RefCell::new(Vec::new());
    let lookup = |name: &str| {
        found.borrow_mut().push(name.to_owned());
        Some(String::new())
    };
    Expander { lookup: &lookup, escape }.word(&word.text).ok();
    found.into_inner()
}

/// What is known of the images that a build has used, by the names that the Dockerfile has for them.
pub(super) fn used_base(images: &BTreeMap<String, super::state::State>, name: &str) -> Option<BaseFacts> {
    let state = images.iter().find(|(known, _)| known.split(' ').next() == Some(name))?.1;
    let config = state.config();
    Some(BaseFacts { env: config.env.clone(), has_shell: !config.shell.is_empty() })
}
