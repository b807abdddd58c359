//! FROM, with the ARGs before the first of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::dockerfile::Dockerfile;
use crate::base::dockerfile::check::{Around, Remarks, Stage, rules};
use crate::base::dockerfile::error::nearest;
use crate::base::dockerfile::expand::Expander;
use crate::base::dockerfile::instruction::{Instruction, Word};
use crate::base::image_ref::ImageRef;
use crate::base::platform::Platform;

/// A word with variables put in, and which those were.
pub(super) struct Expanded {
    pub(super) text: String,
    pub(super) set: BTreeSet<String>,
    pub(super) unset: BTreeSet<String>,
}

/// Puts variables into a word; `None` where that fails, which is for the build to say.
pub(super) fn expand(word: &Word, escape: char, lookup: &dyn Fn(&str) -> Option<String>) -> Option<Expanded> {
    let (set, unset) = (RefCell::new(BTreeSet::new()), RefCell::new(BTreeSet::new()));
    let noted = |name: &str| {
        let value = lookup(name);
        let names = if value.is_some() { &set } else { &unset };
        names.borrow_mut().insert(name.to_owned());
        value
    };
    let text = Expander { lookup: &noted, escape }.word(&word.text).ok()?;
    Some(Expanded { text, set: set.into_inner(), unset: unset.into_inner() })
}

/// Looks at every FROM. Returns the ARGs before the first of them, with their values.
pub(super) fn check(
    file: &Dockerfile,
    stages: &[Stage<'_>],
    around: &Around<'_>,
    remarks: &mut Remarks<'_>,
) -> BTreeMap<String, String> {
    let escape = file.directives.escape;
    let nothing = BTreeMap::new();
    let (defaults, _) = globals(file, around.platform, &nothing);
    let (values, mut names) = globals(file, around.platform, around.args);
    names.extend(values.keys().cloned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for stage in stages {
        let image = &stage.from.image;
        let by_default = expand(image, escape, &|name| defaults.get(name).cloned());
        if image.text.contains('$') && by_default.is_some_and(|e| e.text.parse::<ImageRef>().is_err()) {
            let message =
                format!("Default value for ARG {} results in empty or invalid base image name", image.text);
            remarks.add(&rules::INVALID_DEFAULT_ARG_IN_FROM, stage.line.lines, message);
        }
        let lookup = |name: &str| values.get(name).cloned();
        if let Some(expanded) = expand(image, escape, &lookup) {
            undeclared(&expanded, &names, stage, remarks);
        }
        if let Some(word) = &stage.from.platform
            && let Some(expanded) = expand(word, escape, &lookup)
        {
            undeclared(&expanded, &names, stage, remarks);
            platform(word, &expanded, around, stage, remarks);
        }
    }
    values
}

/// The ARGs before the first FROM: those that have a value, and the names of all.
fn globals(
    file: &Dockerfile,
    platform: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let (mut values, mut names) = (platform.clone(), BTreeSet::new());
    let before = file.lines.iter().take_while(|line| !matches!(line.instruction, Instruction::From(_)));
    for line in before {
        let Instruction::Arg(args) = &line.instruction else { continue };
        for (name, default) in args {
            let expanded = default.as_ref().and_then(|word| {
                expand(word, file.directives.escape, &|name| values.get(name).cloned()).map(|e| e.text)
            });
            if let Some(value) = given.get(name).cloned().or(expanded) {
                values.insert(name.clone(), value);
            }
            names.insert(name.clone());
        }
    }
    (values, names)
}

fn undeclared(expanded: &Expanded, names: &[&str], stage: &Stage<'_>, remarks: &mut Remarks<'_>) {
    for name in expanded.unset.iter().filter(|name| !names.contains(&name.as_str())) {
        let meant = nearest(name, names).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        let message = format!("FROM argument '{name}' is not declared{meant}");
        remarks.add(&rules::UNDEFINED_ARG_IN_FROM, stage.line.lines, message);
    }
}

fn platform(
    word: &Word,
    expanded: &Expanded,
    around: &Around<'_>,
    stage: &Stage<'_>,
    remarks: &mut Remarks<'_>,
) {
    let wished = "TARGETPLATFORM";
    if expanded.unset.is_empty()
        && expanded.set.iter().eq([wished])
        && around.platform.get(wished) == Some(&expanded.text)
    {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.text
        );
        remarks.add(&rules::REDUNDANT_TARGET_PLATFORM, stage.line.lines, message);
    }
    if !expanded.set.is_empty() || !expanded.unset.is_empty() {
        return;
    }
    let Ok(platform) = expanded.text.parse::<Platform>() else { return };
    let name = stage.from.name.as_deref().unwrap_or_default();
    // A stage that is called after its platform is meant for it.
    if !name.contains(&platform.os) && !name.contains(&platform.arch) {
        let message = format!("FROM --platform flag should not use constant value {:?}", expanded.text);
        remarks.add(&rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage.line.lines, message);
    }
}
