//! From a Dockerfile to the stages that have to be built. Pure.

use std::collections::BTreeMap;

use crate::base::dockerfile::error::Position;
use crate::base::dockerfile::expand::{Expander, unquoted};
use crate::base::dockerfile::flags::{RunMount, RunMountKind};
use crate::base::dockerfile::instruction::{From, Instruction, Line, Run, Transfer, Word};
use crate::base::dockerfile::{Dockerfile, DockerfileError, parse_trigger};
use crate::base::order::InOrder as _;
use crate::base::platform::Platform;
use crate::engine::build::request::BuildRequest;

type Result<T> = std::result::Result<T, DockerfileError>;

/// Variables of builders, which RUN has without an ARG and which do not count for the cache.
pub(super) const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What a stage begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Scratch,
    /// Another stage, by its number.
    Stage(usize),
    Image {
        name: String,
        platform: Option<Platform>,
    },
}

/// One stage.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) base: Base,
    /// The FROM.
    pub(super) from: Line,
    pub(super) lines: Vec<Line>,
}

/// All that is to be built.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    /// Which of them are needed, in an order in which each comes after those it uses.
    pub(super) needed: Vec<usize>,
    pub(super) target: usize,
    /// ARGs before the first FROM, with their values.
    pub(super) globals: BTreeMap<String, String>,
    pub(super) escape: char,
}

/// What decides beside the file.
#[derive(Clone, Debug)]
pub(super) struct Given<'a> {
    pub(super) args: &'a BTreeMap<String, String>,
    pub(super) target: Option<&'a str>,
    /// `--from`.
    pub(super) base: Option<&'a str>,
    /// Names of further contexts, which go before stages and images.
    pub(super) contexts: &'a [String],
    pub(super) platform: &'a Platform,
    pub(super) all_stages: bool,
}

impl<'a> Given<'a> {
    /// What a request says; `contexts` are the names of its further contexts.
    pub(super) fn of(request: &'a BuildRequest, contexts: &'a [String], platform: &'a Platform) -> Self {
        Self {
            args: &request.args,
            target: request.target.as_deref(),
            base: request.base.as_deref(),
            contexts,
            platform,
            all_stages: request.all_stages,
        }
    }
}

/// Values of the platform ARGs.
pub(super) fn platform_args(target: &Platform, stage: &str) -> BTreeMap<String, String> {
    let host = Platform::host();
    let mut args = BTreeMap::new();
    for (prefix, platform) in [("BUILD", &host), ("TARGET", target)] {
        args.insert(format!("{prefix}PLATFORM"), platform.to_string());
        args.insert(format!("{prefix}OS"), platform.os.clone());
        args.insert(format!("{prefix}ARCH"), platform.arch.clone());
        args.insert(format!("{prefix}VARIANT"), platform.variant.clone());
    }
    args.insert("TARGETSTAGE".to_owned(), if stage.is_empty() { "default" } else { stage }.to_owned());
    args
}

/// Puts variables into a word; a mistake in it gets its place in the file.
pub(super) fn expand(word: &Word, escape: char, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    Expander { lookup, escape }.word(&word.text).map_err(|err| at(word, &err))
}

/// The same, split at blanks.
pub(super) fn expand_words(
    word: &Word,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>> {
    Expander { lookup, escape }.words(&word.text).map_err(|err| at(word, &err))
}

fn at(word: &Word, err: &crate::base::dockerfile::expand::ExpandError) -> DockerfileError {
    let mut at = word.at;
    at.column += err.offset;
    DockerfileError::new(at, err.message.clone())
}

/// Reads the stages, and finds those that are needed.
pub(super) fn plan(file: &Dockerfile, given: &Given<'_>) -> Result<Plan> {
    let escape = file.directives.escape;
    let mut globals = BTreeMap::new();
    let mut stages: Vec<Stage> = Vec::new();
    for line in &file.lines {
        match (&line.instruction, stages.last_mut()) {
            (Instruction::From(from), _) => {
                let stage = begin(from, line, &stages, &globals, given, escape)?;
                stages.push(stage);
            }
            (_, Some(stage)) => stage.lines.push(line.clone()),
            (Instruction::Arg(args), None) => {
                for (name, default) in args {
                    let value = match (given.args.get(name), default) {
                        (Some(value), _) => Some(value.clone()),
                        (None, Some(word)) => {
                            let lookup = |name: &str| global(name, &globals, given);
                            Some(expand(word, escape, &lookup)?)
                        }
                        (None, None) => None,
                    };
                    if let Some(value) = value {
                        globals.insert(name.clone(), value);
                    }
                }
            }
            _ => {}
        }
    }
    let target = target(&stages, given)?;
    let mut plan = Plan { stages, needed: vec![], target, globals, escape };
    let wanted: Vec<usize> = if given.all_stages { (0..=target).collect() } else { vec![target] };
    for stage in wanted {
        visit(&mut plan, stage, given.contexts);
    }
    Ok(plan)
}

fn global(name: &str, globals: &BTreeMap<String, String>, given: &Given<'_>) -> Option<String> {
    globals.get(name).cloned().or_else(|| {
        let value = given.args.get(name).filter(|_| PREDEFINED.contains(&name));
        value.cloned().or_else(|| platform_args(given.platform, "").remove(name))
    })
}

fn begin(
    from: &From,
    line: &Line,
    stages: &[Stage],
    globals: &BTreeMap<String, String>,
    given: &Given<'_>,
    escape: char,
) -> Result<Stage> {
    let lookup = |name: &str| global(name, globals, given);
    let mut image = expand(&from.image, escape, &lookup)?;
    if image.is_empty() {
        let message = format!("base name ({}) should not be blank", from.image.text);
        return Err(DockerfileError::new(from.image.at, message)
            .hint("give the ARG a default, or set it with --build-arg"));
    }
    if stages.is_empty()
        && let Some(base) = given.base
    {
        base.clone_into(&mut image);
    }
    let platform = match &from.platform {
        None => None,
        Some(word) => {
            let text = expand(word, escape, &lookup)?;
            Some(
                text.parse()
                    .map_err(|err| DockerfileError::new(word.at, format!("platform {text:?}: {err}")))?,
            )
        }
    };
    let base = if given.contexts.contains(&image) {
        Base::Image { name: image, platform }
    } else if let Some(stage) =
        stages.iter().rev().find(|stage| stage.name == image.to_ascii_lowercase() && !stage.name.is_empty())
    {
        Base::Stage(stage.number)
    } else if image == "scratch" {
        Base::Scratch
    } else {
        Base::Image { name: image, platform }
    };
    let name = from.name.clone().unwrap_or_default();
    Ok(Stage { number: stages.len(), name, base, from: line.clone(), lines: vec![] })
}

fn target(stages: &[Stage], given: &Given<'_>) -> Result<usize> {
    let last = stages.len().saturating_sub(1);
    let Some(wanted) = given.target.filter(|target| !target.is_empty()) else { return Ok(last) };
    let named = stages.iter().rposition(|stage| stage.name == wanted.to_ascii_lowercase());
    let numbered = wanted.parse().ok().filter(|number| *number <= last);
    named.or(numbered).ok_or_else(|| {
        let names: Vec<&str> =
            stages.iter().map(|stage| stage.name.as_str()).filter(|n| !n.is_empty()).collect();
        // No line says so.
        let message = format!("the target {wanted:?} was not found in the provided Dockerfile");
        let err = DockerfileError::new(Position::default(), message);
        if names.is_empty() { err } else { err.hint(format!("the stages are {}", names.join(", "))) }
    })
}

/// Puts a stage behind all that it uses, among those that are needed.
pub(super) fn visit(plan: &mut Plan, number: usize, contexts: &[String]) {
    if plan.needed.contains(&number) {
        return;
    }
    for used in uses(plan, number, contexts) {
        visit(plan, used, contexts);
    }
    if !plan.needed.contains(&number) {
        plan.needed.push(number);
    }
}

/// The stages that a stage uses: only earlier ones can be meant.
pub(super) fn uses(plan: &Plan, number: usize, contexts: &[String]) -> Vec<usize> {
    let stage = &plan.stages[number];
    let mut found: Vec<usize> =
        stage.lines.iter().flat_map(|line| meant(plan, number, &line.instruction, contexts)).collect();
    if let Base::Stage(base) = stage.base {
        found.push(base);
        for line in &plan.stages[base].lines {
            // What is wrong with a trigger is told when it is carried out.
            if let Instruction::Onbuild(text) = &line.instruction
                && let Ok(trigger) = parse_trigger(text)
            {
                found.extend(meant(plan, number, &trigger.instruction, contexts));
            }
        }
    }
    found.order();
    found.dedup();
    found
}

/// The stages that an instruction of a stage means by `--from` and `from=`.
pub(super) fn meant(
    plan: &Plan,
    number: usize,
    instruction: &Instruction,
    contexts: &[String],
) -> Vec<usize> {
    let mut found = Vec::new();
    for name in froms(instruction, plan.escape) {
        // A name with a variable in it may mean any of them.
        if name.contains('$') {
            found.extend(0..number);
        } else if !contexts.contains(&name) {
            found.extend(find(&plan.stages, number, &name));
        }
    }
    found
}

/// The earlier stage that `name` means: by name, or by number.
pub(super) fn find(stages: &[Stage], before: usize, name: &str) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    let named = stages[..before].iter().rposition(|stage| !stage.name.is_empty() && stage.name == lower);
    named.or_else(|| name.parse().ok().filter(|number| *number < before))
}

/// What `--from` of an instruction, or `from=` of its mounts, names.
fn froms(instruction: &Instruction, escape: char) -> Vec<String> {
    let unquoted = |word: &Word| unquoted(&word.text, escape);
    match instruction {
        Instruction::Transfer(Transfer { flags, .. }) => flags.from.iter().map(unquoted).collect(),
        Instruction::Run(Run { flags, .. }) => {
            let from = |word: &Word| match RunMount::parse(&unquoted(word)).ok()?.kind {
                RunMountKind::Bind { from, .. } | RunMountKind::Cache { from, .. } if !from.is_empty() => {
                    Some(from)
                }
                _ => None,
            };
            flags.mounts.iter().filter_map(from).collect()
        }
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::dockerfile::parse;

    fn planned(text: &str, target: Option<&str>, args: &[(&str, &str)]) -> Result<Plan> {
        let args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let platform = Platform::host();
        let given =
            Given { args: &args, target, base: None, contexts: &[], platform: &platform, all_stages: false };
        plan(&parse(text).unwrap(), &given)
    }

    #[test]
    fn only_what_is_used_is_needed() {
        let text = "FROM a AS one\nFROM b AS two\nRUN x\nFROM one AS three\nCOPY --from=two /x /y\nFROM c AS four\n\
                    RUN --mount=type=bind,from=one,target=/m y\nFROM scratch\nCOPY --from=3 / /";
        for (target, want) in [
            (None, vec![0, 3, 4]),
            (Some("three"), vec![0, 1, 2]),
            (Some("THREE"), vec![0, 1, 2]),
            (Some("1"), vec![1]),
            (Some("one"), vec![0]),
        ] {
            assert_eq!(planned(text, target, &[]).unwrap().needed, want, "{target:?}");
        }
        assert!(planned(text, Some("five"), &[]).unwrap_err().hint.unwrap().contains("three"));
    }

    #[test]
    fn stages_are_found_behind_quotes_and_in_triggers() {
        for (user, want) in [
            ("FROM x\nRUN --mount='type=bind,from=one,target=/m' y", vec![0, 2]),
            ("FROM x\nRUN --mount=\"type=cache,from=one,target=/m\" y", vec![0, 2]),
            ("FROM x\nRUN --mount=type=bind,from=${S:-one},target=/m y", vec![0, 1, 2]),
            ("FROM x\nCOPY --from='one' / /", vec![0, 2]),
            ("FROM x AS base\nONBUILD COPY --from=one / /\nFROM base", vec![0, 2, 3]),
            ("FROM x AS base\nONBUILD COPY --from=one / /\nONBUILD RUN true", vec![2]),
        ] {
            let text = format!("FROM a AS one\nFROM b AS two\n{user}");
            let mut needed = planned(&text, None, &[]).unwrap().needed;
            needed.sort_unstable();
            assert_eq!(needed, want, "{user}");
        }
    }

    #[test]
    fn bases_and_variables() {
        let text =
            "ARG V=1\nARG IMAGE=a:$V\nFROM ${IMAGE} AS base\nFROM Base\nFROM --platform=$BUILDPLATFORM x";
        let plan = planned(text, None, &[]).unwrap();
        assert_eq!(plan.stages[0].base, Base::Image { name: "a:1".into(), platform: None });
        assert_eq!(plan.stages[1].base, Base::Stage(0));
        assert!(
            matches!(&plan.stages[2].base, Base::Image { platform: Some(p), .. } if *p == Platform::host())
        );
        let plan = planned(text, None, &[("V", "2")]).unwrap();
        assert_eq!(plan.stages[0].base, Base::Image { name: "a:2".into(), platform: None });
        let err = planned("ARG X\nFROM $X", None, &[]).unwrap_err();
        assert_eq!((err.at.line, err.at.column), (2, 6));
        // Such an ARG is not seen inside a stage: that is the state's business.
        assert_eq!(planned("ARG A=1\nFROM a", None, &[("A", "3")]).unwrap().globals["A"], "3");
    }
}
