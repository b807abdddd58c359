//! What is allowed and better written otherwise (`build --check`). The names of the rules are BuildKit's.

use crate::base::dockerfile::error::Position;
use crate::base::dockerfile::{Command, Dockerfile, Instruction};

/// One remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) at: Position,
}

/// Words that make a variable's name look like that of a secret.
const SECRETS: [&str; 8] = ["apikey", "auth", "credential", "key", "password", "pword", "secret", "token"];

/// All remarks about a file, but those that its `# check=skip=…` line or `skip` leaves out.
#[allow(clippy::too_many_lines, reason = "one arm per instruction: a table")]
pub(crate) fn check(file: &Dockerfile, text: &str) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut stages: Vec<String> = Vec::new();
    let (mut cmds, mut entrypoints, mut absolute) = (0, 0, false);
    let mut casing: Option<bool> = None;
    for line in &file.lines {
        let mut warn = |rule, message: String| found.push(Warning { rule, message, at: line.at });
        let typed = word_at(text, line.at);
        let upper = typed.chars().all(|c| c.is_ascii_uppercase());
        let lower = typed.chars().all(|c| c.is_ascii_lowercase());
        match casing {
            _ if !upper && !lower => {
                warn(
                    "ConsistentInstructionCasing",
                    format!("instruction {typed:?} mixes upper and lower case"),
                );
            }
            Some(wanted) if wanted != upper => {
                let want = if wanted { "upper" } else { "lower" };
                warn(
                    "ConsistentInstructionCasing",
                    format!("instruction {typed:?} should be in {want} case like the first one"),
                );
            }
            Some(_) => {}
            None => casing = Some(upper),
        }
        match &line.instruction {
            Instruction::From(from) => {
                (cmds, entrypoints, absolute) = (0, 0, false);
                let Some(name) = &from.name else { continue };
                if stages.contains(name) {
                    warn("DuplicateStageName", format!("stage name {name:?} is used twice"));
                }
                if name == "scratch" || name == "context" {
                    warn("ReservedStageName", format!("stage name {name:?} is reserved"));
                }
                if !line.shown.ends_with(name.as_str()) {
                    warn("StageNameCasing", format!("stage name {name:?} should be written in lower case"));
                }
                stages.push(name.clone());
            }
            Instruction::Cmd(command) | Instruction::Entrypoint(command) => {
                let is_cmd = matches!(line.instruction, Instruction::Cmd(_));
                let (word, count) =
                    if is_cmd { ("CMD", &mut cmds) } else { ("ENTRYPOINT", &mut entrypoints) };
                *count += 1;
                if *count > 1 {
                    warn("MultipleInstructionsDisallowed", format!("only the last {word} of a stage counts"));
                }
                if matches!(command, Command::Shell(_)) {
                    warn(
                        "JSONArgsRecommended",
                        format!("{word} as a JSON array passes signals on to the command"),
                    );
                }
            }
            Instruction::Maintainer(_) => {
                warn(
                    "MaintainerDeprecated",
                    "MAINTAINER is deprecated: use LABEL org.opencontainers.image.authors".to_owned(),
                );
            }
            Instruction::Workdir(path) => {
                if !path.text.starts_with(['/', '$', '"']) && !absolute {
                    warn(
                        "WorkdirRelativePath",
                        format!("relative WORKDIR {:?} depends on the base image", path.text),
                    );
                }
                absolute |= path.text.starts_with('/');
            }
            Instruction::Env(pairs) => {
                for (key, _) in pairs.iter().filter(|(key, _)| looks_secret(&key.text)) {
                    warn(
                        "SecretsUsedInArgOrEnv",
                        format!("ENV {:?} stays in the image: use RUN --mount=type=secret", key.text),
                    );
                }
                if let [(key, value)] = &pairs[..]
                    && value.at.column > key.at.column + key.text.chars().count()
                    && !line.shown.contains(&format!("{}=", key.text))
                {
                    warn("LegacyKeyValueFormat", format!("write ENV {}=value", key.text));
                }
            }
            Instruction::Arg(args) => {
                for (name, _) in args.iter().filter(|(name, _)| looks_secret(name)) {
                    warn(
                        "SecretsUsedInArgOrEnv",
                        format!("ARG {name:?} stays in the history: use RUN --mount=type=secret"),
                    );
                }
            }
            Instruction::Expose(ports) => {
                for port in ports.iter().filter(|port| {
                    port.text.contains(|c: char| c.is_ascii_uppercase()) && !port.text.contains('$')
                }) {
                    warn("ExposeProtoCasing", format!("protocol of {:?} should be in lower case", port.text));
                }
            }
            _ => {}
        }
    }
    let skipped = file.directives.check.as_deref().unwrap_or_default();
    let skipped: Vec<&str> = skipped
        .split(';')
        .filter_map(|part| part.trim().strip_prefix("skip="))
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    found.retain(|warning| !skipped.contains(&"all") && !skipped.contains(&warning.rule));
    found
}

/// True if the file asks for remarks to be errors (`# check=error=true`).
pub(crate) fn remarks_are_errors(file: &Dockerfile) -> bool {
    file.directives
        .check
        .as_deref()
        .is_some_and(|check| check.split(';').any(|part| part.trim() == "error=true"))
}

fn word_at(text: &str, at: Position) -> String {
    let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
    line.chars().skip(at.column.saturating_sub(1)).take_while(|c| !c.is_whitespace()).collect()
}

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.contains("public") && name.split('_').any(|part| SECRETS.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::dockerfile::parse;

    #[test]
    fn rules() {
        let rules = |text: &str| {
            let file = parse(text).unwrap();
            check(&file, text).into_iter().map(|w| (w.rule, w.at.line)).collect::<Vec<_>>()
        };
        for (text, want) in [
            ("FROM a\nRUN b\nCMD [\"c\"]", vec![]),
            ("FROM a AS x\nFROM b AS x", vec![("DuplicateStageName", 2)]),
            ("FROM a AS X\n", vec![("StageNameCasing", 1)]),
            ("FROM a\nrun b", vec![("ConsistentInstructionCasing", 2)]),
            ("FROM a\nCMD b", vec![("JSONArgsRecommended", 2)]),
            ("FROM a\nCMD [\"b\"]\nCMD [\"c\"]", vec![("MultipleInstructionsDisallowed", 3)]),
            ("FROM a\nMAINTAINER me", vec![("MaintainerDeprecated", 2)]),
            ("FROM a\nWORKDIR b", vec![("WorkdirRelativePath", 2)]),
            ("FROM a\nWORKDIR /a\nWORKDIR b", vec![]),
            ("FROM a\nENV DB_PASSWORD=x", vec![("SecretsUsedInArgOrEnv", 2)]),
            ("FROM a\nENV a b", vec![("LegacyKeyValueFormat", 2)]),
            ("FROM a\nEXPOSE 80/TCP", vec![("ExposeProtoCasing", 2)]),
            ("# check=skip=JSONArgsRecommended\nFROM a\nCMD b", vec![]),
            ("# check=skip=all\nFROM a\nrun b\nCMD c", vec![]),
        ] {
            assert_eq!(rules(text), want, "{text}");
        }
    }
}
