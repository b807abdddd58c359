//! `ketch info`: what the machine is like and what the store holds, in podman's field names.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use crate::base::escape::Escaped;
use crate::base::size;
use crate::cli::format::{self, Format, Shape, docker, json, yaml};
use crate::cli::session::Session;
use crate::cli::version;
use crate::documents;
use crate::engine::Engine;

/// Print what the machine is like and what the store holds
#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// Print in this form: json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

const SHAPE: Shape = Shape {
    command: "info",
    type_name: "*define.Info",
    headers: &[],
    omit: &["runtimeInfo"],
    heading: false,
};

/// What docker prints where it is asked for no format: people and scripts look for its lines.
const DOCKERS_TEXT: &str = include_str!("info/docker.txt");

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: InfoArgs) -> anyhow::Result<()> {
    let format = args.format.as_deref().map(|text| Format::parse(text, &SHAPE)).transpose()?;
    let called = session.globals.called;
    let engine = session.engine()?;
    let mut document = documents::info::document(engine, &version::document(called))?;
    match format {
        Some(format) if called.is_docker() && format.is_whole() => {
            json::print(session, &json::compact(&dockers(&document, engine), &[]))
        }
        Some(Format::Json) => json::print(session, &json::pretty(&document, SHAPE.omit, "  ")),
        Some(template) => {
            let fields = dockers(&document, engine);
            match called.is_docker() {
                true => document = fields,
                false => documents::add(&mut document, fields),
            }
            format::print_rows(session, &SHAPE, &template, &[document])
        }
        None if called.is_docker() => {
            let mut fields = dockers(&document, engine);
            fields["TotalMemory"] = size::binary(fields["MemTotal"].as_u64().unwrap_or(0)).into();
            let template = Format::parse(DOCKERS_TEXT.trim_end(), &SHAPE)?;
            format::print_rows(session, &SHAPE, &template, &[fields])
        }
        None => {
            let text = yaml::print(&document);
            for line in text.lines() {
                match session.out_is_tty {
                    true => writeln!(session.out, "{}", Escaped(line))?,
                    false => writeln!(session.out, "{line}")?,
                }
            }
            Ok(())
        }
    }
}

/// `docker info`'s fields: those of the server, and what its command adds.
fn dockers(document: &Value, engine: &Engine) -> Value {
    let mut fields = documents::info::of_podman(engine, document);
    fields["ServerErrors"] = json!([]);
    fields["ClientInfo"] = json!({
        "Version": document["version"]["Version"],
        "Context": "default",
        "Debug": false,
        "Plugins": docker::own_plugins(&document["host"]["ociRuntime"]["path"]),
        "Warnings": Value::Null,
    });
    fields
}
