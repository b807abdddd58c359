//! `ketch history`: prints how an image was made.

use std::io::Write;

use clap::{ArgAction, Args};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::base::image_ref::{NameRule, Purpose};
use crate::base::platform::Platform;
use crate::base::size;
use crate::base::time;
use crate::cli::format::{self, Format, Shape, docker, json, table::Table};
use crate::cli::session::Session;
use crate::engine::history::Step;

/// Print how an image was made, the last step first
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// The image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print sizes and times for people to read
    #[arg(
        short = 'H',
        long,
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set,
        value_name = "BOOL"
    )]
    human: bool,

    /// Do not shorten IDs and commands
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,

    /// Of an image for several platforms, the one for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Print only IDs
    #[arg(short, long)]
    quiet: bool,
}

const SHAPE: Shape = Shape {
    command: "history",
    type_name: "images.historyReporter",
    headers: &[("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT"), ("CreatedBy", "CREATED BY")],
    omit: &["tags"],
    heading: true,
};

/// Longest command in a table, its three dots included.
const COMMAND_WIDTH: usize = 45;

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: HistoryArgs) -> anyhow::Result<()> {
    let format = session.format(args.format.as_deref(), &SHAPE)?;
    let image = session.engine()?.on_platform(&args.image, args.platform.as_ref(), Purpose::Read)?;
    let steps = session.engine()?.image_history(&image)?;
    let now = Timestamp::now();
    let rule = session.name_rule();
    if session.lists_as_docker(format.as_ref())? {
        let rows = steps.iter().map(|step| {
            let mut row = row(step, &args, now, rule);
            row["CreatedAt"] = row["CreatedAtText"].take();
            row
        });
        return json::print_dockers_lines(session, rows, docker::STEP);
    }
    if let Some(Format::Json) = format {
        let documents = steps.iter().map(document).collect();
        return json::print(session, &json::compact(&Value::Array(documents), SHAPE.omit));
    }
    if args.quiet {
        for step in &steps {
            writeln!(session.out, "{}", id(step, args.no_trunc, rule))?;
        }
        return Ok(());
    }
    if let Some(template) = format {
        let rows: Vec<Value> = steps.iter().map(|step| row(step, &args, now, rule)).collect();
        return format::print_rows(session, &SHAPE, &template, &rows);
    }
    let first = if session.globals.called.is_docker() { "IMAGE" } else { "ID" };
    let mut table = Table::new(session, &[first, "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    for step in &steps {
        table.push([
            id(step, args.no_trunc, rule),
            created(step, args.human, now),
            command(step, args.no_trunc, rule),
            bytes(step, args.human),
            step.comment.clone(),
        ]);
    }
    table.print(session)
}

fn id(step: &Step, no_trunc: bool, rule: NameRule) -> String {
    match &step.id {
        None => "<missing>".to_owned(),
        Some(id) if no_trunc && rule == NameRule::Docker => id.to_string(),
        Some(id) if no_trunc => id.hex(),
        Some(id) => id.hex()[..12].to_owned(),
    }
}

fn created(step: &Step, human: bool, now: Timestamp) -> String {
    match (step.created, human) {
        (None, _) => String::new(),
        (Some(time), true) => time::human_ago(time, now),
        (Some(time), false) => whole_seconds(time).to_string(),
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn command(step: &Step, no_trunc: bool, rule: NameRule) -> String {
    let text = &step.created_by;
    if no_trunc || text.chars().count() <= COMMAND_WIDTH {
        return text.clone();
    }
    let dots = if rule == NameRule::Docker { "…" } else { "..." };
    let start: String = text.chars().take(COMMAND_WIDTH - dots.chars().count()).collect();
    start + dots
}

fn bytes(step: &Step, human: bool) -> String {
    if human { size::human(step.bytes, 3) } else { step.bytes.to_string() }
}

/// What `--format json` prints.
fn document(step: &Step) -> Value {
    json!({
        "id": step.id.map_or("<missing>".to_owned(), |id| id.hex()),
        "created": step.created.map(|time| time.to_string()),
        "CreatedBy": step.created_by,
        "tags": step.tags,
        "size": step.bytes,
        "comment": step.comment,
        "Created": step.created.map(|time| whole_seconds(time).to_string()),
    })
}

/// What a template sees.
fn row(step: &Step, args: &HistoryArgs, now: Timestamp, rule: NameRule) -> Value {
    json!({
        "ID": id(step, args.no_trunc, rule),
        "Created": created(step, args.human, now),
        "CreatedAtText": created(step, false, now),
        "CreatedSince": created(step, true, now),
        "CreatedBy": command(step, args.no_trunc, rule),
        "Size": bytes(step, args.human),
        "Comment": step.comment,
        "Tags": step.tags,
    })
}
