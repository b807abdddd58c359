//! What is allowed and better written otherwise: `build --check`, and what a build says at its end.
//!
//! ```text
//! file ─┬─ as it is written: casing, names of stages, empty lines            (here)
//!       ├─ FROM with the ARGs before it: undeclared, empty, platforms        (bases.rs)
//!       ╰─ each stage from its base on: variables, WORKDIR, CMD, secrets …   (stages.rs)
//!                     all in the order of the lines ─▶ [Warning]
//! ```
//!
//! # Source
//!
//! docs.docker.com/reference/build-checks.

mod bases;
mod rules;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::base::dockerfile::check::rules::Rule;
use crate::base::dockerfile::error::Position;
use crate::base::dockerfile::instruction::{From, Instruction, Line};
use crate::base::dockerfile::{Dockerfile, lex};
use crate::base::order::InOrder as _;

/// One remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) rule: &'static Rule,
    pub(crate) message: String,
    /// The first and the last line of what it is about.
    pub(crate) lines: (usize, usize),
}

impl Warning {
    /// In one line, as it stands at the end of a build.
    pub(crate) fn short(&self) -> String {
        format!("{}: {} (line {})", self.rule.name, self.message, self.lines.0)
    }
}

/// What is known of a base image.
#[derive(Clone, Debug, Default)]
pub(crate) struct BaseFacts {
    /// Its ENV, as `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) has_shell: bool,
}

/// What the remarks depend on beside the file.
pub(crate) struct Around<'a> {
    /// `--build-arg`.
    pub(crate) args: &'a BTreeMap<String, String>,
    /// The platform ARGs of every FROM.
    pub(crate) platform: &'a BTreeMap<String, String>,
    /// Text of the ignore file.
    pub(crate) ignore: &'a [u8],
    /// A base image, if it is there to be looked at.
    pub(crate) base: &'a dyn Fn(&str) -> Option<BaseFacts>,
    /// Numbers of the stages that are built; the others are judged by their text alone. `None`: all.
    pub(crate) needed: Option<&'a [usize]>,
    pub(crate) options: &'a Options,
}

/// `# check=skip=RULE,…;error=true;experimental=…`, or the build argument `BUILDKIT_DOCKERFILE_CHECK`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    skip: Vec<String>,
    skip_all: bool,
    /// Remarks are errors.
    pub(crate) error: bool,
    experimental: Vec<String>,
    experimental_all: bool,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// The option that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("invalid check option {part:?}"))?;
            let value = value.trim();
            let names = || value.split(',').map(|name| name.trim().to_owned()).collect();
            match key.trim() {
                "skip" if value == "all" => options.skip_all = true,
                "skip" => options.skip = names(),
                "experimental" if value == "all" => options.experimental_all = true,
                "experimental" => options.experimental = names(),
                "error" => {
                    options.error = match value.to_ascii_lowercase().as_str() {
                        "1" | "t" | "true" => true,
                        "0" | "f" | "false" => false,
                        _ => {
                            return Err(format!(
                                "failed to parse check option {part:?}: write true or false"
                            ));
                        }
                    }
                }
                other => return Err(format!("invalid check option {other:?}")),
            }
        }
        Ok(options)
    }

    fn wants(&self, rule: &Rule) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == rule.name);
        if rule.experimental && !self.experimental_all && !named(&self.experimental) {
            return false;
        }
        !self.skip_all && !named(&self.skip)
    }
}

/// Remarks while they are collected.
struct Remarks<'a> {
    options: &'a Options,
    found: Vec<Warning>,
}

impl Remarks<'_> {
    fn add(&mut self, rule: &'static Rule, lines: (usize, usize), message: String) {
        if self.options.wants(rule) {
            self.found.push(Warning { rule, message, lines });
        }
    }
}

/// A stage: its FROM and what follows.
struct Stage<'a> {
    line: &'a Line,
    from: &'a From,
    lines: Vec<&'a Line>,
}

/// All remarks about a file, in the order of its lines.
pub(crate) fn check(file: &Dockerfile, text: &str, around: &Around<'_>) -> Vec<Warning> {
    let mut remarks = Remarks { options: around.options, found: vec![] };
    let raw: Vec<&str> = text.lines().collect();
    let stages = divide(file);
    for line in &file.lines {
        empty_continuation(line, &raw, file.directives.escape, &mut remarks);
        as_written(line, &raw, &mut remarks);
    }
    names(&stages, &mut remarks);
    casing(&stages, &raw, &mut remarks);
    let globals = bases::check(file, &stages, around, &mut remarks);
    stages::check(&stages, &raw, file.directives.escape, &globals, around, &mut remarks);
    remarks.found.order_by_key(|warning| warning.lines.0);
    remarks.found
}

fn divide(file: &Dockerfile) -> Vec<Stage<'_>> {
    let mut stages: Vec<Stage<'_>> = Vec::new();
    for line in &file.lines {
        match (&line.instruction, stages.last_mut()) {
            (Instruction::From(from), _) => stages.push(Stage { line, from, lines: vec![] }),
            (_, Some(stage)) => stage.lines.push(line),
            (_, None) => {}
        }
    }
    stages
}

/// The word of the file that begins at `at`.
fn word_at<'t>(raw: &[&'t str], at: Position) -> &'t str {
    let line = raw.get(at.line.saturating_sub(1)).copied().unwrap_or_default();
    let start = line.char_indices().nth(at.column.saturating_sub(1)).map_or(line.len(), |(start, _)| start);
    line[start..].split(char::is_whitespace).next().unwrap_or_default()
}

/// The comments right above a line, the topmost first, without their `#`.
pub(crate) fn comments_above<'t>(raw: &[&'t str], line: usize) -> Vec<&'t str> {
    let above = raw[..line.saturating_sub(1).min(raw.len())].iter().rev();
    let comments = above.map_while(|text| text.trim().strip_prefix('#').map(str::trim));
    let mut found: Vec<&str> = comments.take_while(|comment| !comment.is_empty()).collect();
    found.reverse();
    found
}

fn empty_continuation(line: &Line, raw: &[&str], escape: char, remarks: &mut Remarks<'_>) {
    let (mut at, mut found) = (line.lines.0 - 1, false);
    while let Some(text) = raw.get(at) {
        let text = text.trim_start();
        let passed_over = at + 1 > line.lines.0 && (text.is_empty() || text.starts_with('#'));
        found |= passed_over && text.is_empty();
        if !passed_over && lex::continued(text, escape).is_none() {
            break;
        }
        at += 1;
    }
    if found && at < raw.len() {
        remarks.add(&rules::NO_EMPTY_CONTINUATION, (at + 1, at + 1), "Empty continuation line".to_owned());
    }
}

fn as_written(line: &Line, raw: &[&str], remarks: &mut Remarks<'_>) {
    match &line.instruction {
        Instruction::From(from) => {
            let mut words = line.shown.split_whitespace().rev();
            let (Some(_), Some(name), Some(keyword)) = (&from.name, words.next(), words.next()) else {
                return;
            };
            if name.contains(|c: char| c.is_ascii_uppercase()) {
                let message = format!("Stage name '{name}' should be lowercase");
                remarks.add(&rules::STAGE_NAME_CASING, line.lines, message);
            }
            let typed = word_at(raw, line.at);
            let wrong = match typed {
                _ if is_lower(typed) => !is_lower(keyword),
                _ if is_upper(typed) => !is_upper(keyword),
                _ => false,
            };
            if wrong {
                let message = format!("'{keyword}' and '{typed}' keywords' casing do not match");
                remarks.add(&rules::FROM_AS_CASING, line.lines, message);
            }
            describe("FROM", from.name.as_slice(), line, raw, remarks);
        }
        Instruction::Arg(args) => {
            let names: Vec<String> = args.iter().map(|(name, _)| name.clone()).collect();
            describe("ARG", &names, line, raw, remarks);
        }
        Instruction::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
            remarks.add(&rules::MAINTAINER_DEPRECATED, line.lines, message);
        }
        _ => {}
    }
}

fn describe(keyword: &str, names: &[String], line: &Line, raw: &[&str], remarks: &mut Remarks<'_>) {
    let comments = comments_above(raw, line.lines.0);
    let (Some(last), Some(first)) = (comments.last(), names.first()) else { return };
    let word = last.split(' ').next().unwrap_or_default();
    if !names.iter().any(|name| name == word) {
        let example = if names.len() > 1 { "<arg_key>" } else { first };
        let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
        remarks.add(&rules::INVALID_DEFINITION_DESCRIPTION, line.lines, message);
    }
}

fn is_lower(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_uppercase())
}

fn is_upper(word: &str) -> bool {
    !word.contains(|c: char| c.is_ascii_lowercase())
}

fn names(stages: &[Stage<'_>], remarks: &mut Remarks<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for stage in stages {
        let Some(name) = stage.from.name.as_deref() else { continue };
        if matches!(name, "scratch" | "context") {
            let message = format!("Stage name should not use the same name as reserved stage {name:?}");
            remarks.add(&rules::RESERVED_STAGE_NAME, stage.line.lines, message);
        }
        if seen.contains(&name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            remarks.add(&rules::DUPLICATE_STAGE_NAME, stage.line.lines, message);
        }
        seen.push(name);
    }
}

/// The casing of most instructions is the casing of all.
fn casing(stages: &[Stage<'_>], raw: &[&str], remarks: &mut Remarks<'_>) {
    let lines =
        || stages.iter().flat_map(|stage| std::iter::once(stage.line).chain(stage.lines.iter().copied()));
    let typed: Vec<(&Line, &str)> = lines().map(|line| (line, word_at(raw, line.at))).collect();
    let lower = typed.iter().filter(|(_, word)| is_lower(word)).count();
    let upper = typed.iter().filter(|(_, word)| is_upper(word)).count();
    let want = if lower > upper { "lowercase" } else { "uppercase" };
    for (line, word) in typed {
        if !(if lower > upper { is_lower(word) } else { is_upper(word) }) {
            let message = format!("Command '{word}' should match the case of the command majority ({want})");
            remarks.add(&rules::CONSISTENT_INSTRUCTION_CASING, line.lines, message);
        }
    }
}
