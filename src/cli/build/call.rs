//! `build --call`: what a Dockerfile says of itself, as buildx shows it.

use std::fmt::Write as _;
use std::io::Write as _;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::base::dockerfile::check::Warning;
use crate::base::dockerfile::error::excerpt;
use crate::cli::build::BuildArgs;
use crate::cli::error::{AlreadyReported, shown};
use crate::cli::format::table::Table;
use crate::cli::session::{Exit, Session};
use crate::engine::build::fault::Fault;
use crate::engine::build::look::{self, Checked, Looked, Outline, Target};

/// What to do instead of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

/// `--call METHOD[,format=json][,ignorestatus=true]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    json: bool,
    /// Remarks are no failure.
    ignore_status: bool,
}

/// Reads the value of `--call`.
pub(super) fn parse(text: &str) -> Result<Call, String> {
    let mut fields = text.split(',');
    let method = match fields.next().unwrap_or_default().trim_start_matches("method=") {
        "build" | "" => Method::Build,
        "check" | "lint" => Method::Check,
        "outline" => Method::Outline,
        "targets" => Method::Targets,
        _ => return Err("choose from: build, check, outline, targets".to_owned()),
    };
    let mut call = Call { method, json: false, ignore_status: false };
    for field in fields {
        match field.split_once('=') {
            Some(("format", "json")) => call.json = true,
            Some(("format", "text" | "")) => call.json = false,
            Some(("ignorestatus", value @ ("true" | "false" | "1" | "0"))) => {
                call.ignore_status = matches!(value, "true" | "1");
            }
            _ => return Err(format!("{field:?} is not known: write format=json or ignorestatus=true")),
        }
    }
    Ok(call)
}

impl Call {
    /// What is to be done in place of a build; `check` is `--check`.
    pub(super) fn instead(self, check: bool) -> Option<Self> {
        match self.method {
            Method::Build if check => Some(Self { method: Method::Check, ..self }),
            Method::Build => None,
            _ => Some(self),
        }
    }
}

/// Does it.
pub(super) fn run(session: &mut Session<'_>, args: &BuildArgs, call: Call) -> anyhow::Result<Exit> {
    let (request, _) = args.request(session.name_rule())?;
    let engine = session.engine()?;
    let outcome = match call.method {
        Method::Outline => look::outline(engine, &request).map(Answer::Outline),
        Method::Targets => look::targets(engine, &request).map(Answer::Targets),
        Method::Check | Method::Build => look::check(engine, &request).map(Answer::Check),
    };
    match outcome {
        Ok(Answer::Check(looked)) => tell_remarks(session, looked, call),
        Ok(Answer::Outline(looked)) => tell_outline(session, &looked, call.json),
        Ok(Answer::Targets(looked)) => tell_targets(session, &looked, call.json),
        Err(fault) => fail(session, fault),
    }
}

fn fail(session: &mut Session<'_>, fault: Fault) -> anyhow::Result<Exit> {
    session.out.flush()?;
    if let Some(picture) = &fault.picture {
        writeln!(std::io::stderr(), "{}", shown(picture))?;
    }
    session.report(fault.error);
    Err(AlreadyReported { code: 1 }.into())
}

/// What was looked at.
enum Answer {
    Check(Looked<Checked>),
    Outline(Looked<Outline>),
    Targets(Looked<Vec<Target>>),
}

/// The remarks, and 1 if there are any.
fn tell_remarks(session: &mut Session<'_>, looked: Looked<Checked>, call: Call) -> anyhow::Result<Exit> {
    let warnings = &looked.found.warnings;
    let mut text = String::new();
    if call.json {
        let remark = |warning: &Warning| {
            let mut document = json!({
                "ruleName": warning.rule.name,
                "description": warning.rule.description,
                "detail": warning.message,
                "location": location(warning.lines),
            });
            if let Some(url) = warning.rule.url() {
                document["url"] = url.into();
            }
            document
        };
        let warnings: Vec<Value> = warnings.iter().map(remark).collect();
        let source =
            json!({"filename": looked.name, "language": "Dockerfile", "data": encoded(&looked.text)});
        writeln!(text, "{:#}", json!({"warnings": warnings, "sources": [source]}))?;
    } else {
        match warnings.len() {
            0 if looked.found.fault.is_some() => {}
            0 => text.push_str("Check complete, no warnings found.\n"),
            1 => text.push_str("Check complete, 1 warning has been found!\n"),
            count => writeln!(text, "Check complete, {count} warnings have been found!")?,
        }
        for warning in warnings {
            let url = warning.rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
            let picture = excerpt(&looked.name, &looked.text, warning.lines);
            let (rule, message) = (warning.rule.name, &warning.message);
            writeln!(text, "\nWARNING: {rule}{url}\n{}\n{}", shown(message), shown(&picture))?;
        }
    }
    session.out.write_all(text.as_bytes())?;
    let failed = !warnings.is_empty() && !call.ignore_status;
    if let Some(fault) = looked.found.fault {
        return fail(session, fault);
    }
    Ok(if failed { Exit(1) } else { Exit::OK })
}

fn tell_targets(session: &mut Session<'_>, looked: &Looked<Vec<Target>>, json: bool) -> anyhow::Result<Exit> {
    if json {
        let target = |target: &Target| {
            let mut document = json!({ "location": location(target.lines), "base": target.base });
            for (key, value) in [
                ("name", target.name.clone().unwrap_or_default()),
                ("description", target.description.clone()),
                ("platform", target.platform.clone().unwrap_or_default()),
            ] {
                if !value.is_empty() {
                    document[key] = value.into();
                }
            }
            if target.is_default {
                document["default"] = true.into();
            }
            document
        };
        let targets: Vec<Value> = looked.found.iter().map(target).collect();
        let document = json!({"targets": targets, "sources": [encoded(&looked.text)]});
        writeln!(session.out, "{document:#}")?;
        return Ok(Exit::OK);
    }
    let mut table = Table::new(session, &["TARGET", "DESCRIPTION"]).columns(0, 3);
    for target in &looked.found {
        let name = match (target.name.as_deref().unwrap_or_default(), target.is_default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        table.push([name, target.description.clone()]);
    }
    table.print(session)?;
    Ok(Exit::OK)
}

fn tell_outline(session: &mut Session<'_>, looked: &Looked<Outline>, json: bool) -> anyhow::Result<Exit> {
    let outline = &looked.found;
    if json {
        let document = outline_document(outline, &looked.text);
        writeln!(session.out, "{document:#}")?;
        return Ok(Exit::OK);
    }
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let mut table = Table::new(session, &[]).columns(0, 3);
        table.push(["TARGET:".to_owned(), outline.name.clone()]);
        if !outline.description.is_empty() {
            table.push(["DESCRIPTION:".to_owned(), outline.description.clone()]);
        }
        table.print(session)?;
        writeln!(session.out)?;
    }
    if !outline.args.is_empty() {
        let mut table = Table::new(session, &["BUILD ARG", "VALUE", "DESCRIPTION"]).columns(0, 3);
        for (name, value, description, _) in &outline.args {
            table.push([name.clone(), value.clone(), description.clone()]);
        }
        table.print(session)?;
        writeln!(session.out)?;
    }
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        if list.is_empty() {
            continue;
        }
        let mut table = Table::new(session, &[title, "REQUIRED"]).columns(0, 3);
        for (id, required, _) in list {
            table.push([id.clone(), if *required { "true" } else { "" }.to_owned()]);
        }
        table.print(session)?;
        writeln!(session.out)?;
    }
    Ok(Exit::OK)
}

fn outline_document(outline: &Outline, text: &str) -> Value {
    let mut document = json!({ "sources": [encoded(text)] });
    for (key, value) in [("name", &outline.name), ("description", &outline.description)] {
        if !value.is_empty() {
            document[key] = value.as_str().into();
        }
    }
    let args = outline.args.iter().map(|(name, value, description, lines)| {
        let mut arg = json!({"name": name, "value": value, "location": location(*lines)});
        if !description.is_empty() {
            arg["description"] = description.as_str().into();
        }
        arg
    });
    let args: Vec<Value> = args.collect();
    if !args.is_empty() {
        document["args"] = args.into();
    }
    for (key, list) in [("secrets", &outline.secrets), ("ssh", &outline.agents)] {
        let entry = |(name, required, lines): &(String, bool, (usize, usize))| {
            let mut entry = json!({"name": name, "location": location(*lines)});
            if *required {
                entry["required"] = true.into();
            }
            entry
        };
        if !list.is_empty() {
            document[key] = list.iter().map(entry).collect::<Vec<_>>().into();
        }
    }
    document
}

fn location((first, last): (usize, usize)) -> Value {
    json!({"ranges": [{"start": {"line": first}, "end": {"line": last}}]})
}

fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        let call = parse("lint,format=json,ignorestatus=true").unwrap();
        assert_eq!(call, Call { method: Method::Check, json: true, ignore_status: true });
        assert_eq!(parse("build").unwrap().instead(false), None);
        assert_eq!(parse("build").unwrap().instead(true).unwrap().method, Method::Check);
        assert_eq!(parse("outline").unwrap().instead(true).unwrap().method, Method::Outline);
        for bad in ["nothing", "check,what=1", "check,format=xml"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
