//! `ketch auto-update`: newer images for the containers of systemd's units.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::{ArgAction, Args};
use serde_json::{Value, json};

use crate::cli::error::{AlreadyReported, FAILED};
use crate::cli::format::{self, Format, Shape, table::Table};
use crate::cli::session::Session;
use crate::engine::auto_update::Candidate;
use crate::engine::pull::{PullEvent, PullRequest};
use crate::engine::remote::RemoteOptions;
use crate::engine::{Engine, Error, Kind};

/// Update the containers of systemd's units that ask for it
///
/// Running containers with the label io.containers.autoupdate (Quadlet's `AutoUpdate=`) get newer images: with `registry` what
/// the registry has by their image's name, with `local` what has that name here. Then their unit (the label PODMAN_SYSTEMD_UNIT,
/// which Quadlet sets) is restarted by systemctl. If that fails, the image's name goes back to the one before, and the
/// unit is restarted once more.
#[derive(Args, Debug)]
pub(crate) struct AutoUpdateArgs {
    /// File with stored credentials, instead of the usual ones; the label io.containers.autoupdate.authfile comes before it
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// Only say for which containers there is a newer image: `pending`
    #[arg(long)]
    dry_run: bool,

    /// Print in this form: json, or a Go template, after the word "table" with headings
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Go back to the image before if the unit does not start
    #[arg(
        long,
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set,
        value_name = "BOOL"
    )]
    rollback: bool,

    /// Insist on TLS with a valid certificate; `=false` takes any certificate, and plain http too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    tls_verify: Option<bool>,
}

const SHAPE: Shape = Shape {
    command: "auto-update",
    type_name: "main.autoUpdateOutput",
    headers: &[("ContainerName", "CONTAINER NAME"), ("ContainerID", "CONTAINER ID")],
    omit: &[],
    heading: true,
};

/// What has become of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Current,
    Pending,
    Fetched,
    Updated,
    Failed,
    RolledBack,
}

impl Outcome {
    /// podman's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::Current => "false",
            Self::Pending => "pending",
            Self::Updated => "true",
            Self::Fetched | Self::Failed => "failed",
            Self::RolledBack => "rolled back",
        }
    }
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: AutoUpdateArgs) -> anyhow::Result<()> {
    let format = args.format.as_deref().map(|text| Format::parse(text, &SHAPE)).transpose()?;
    let engine = session.engine()?;
    let (candidates, mut failures) = engine.update_candidates()?;
    let remote = RemoteOptions {
        tls_verify: args.tls_verify,
        auth_file: args.authfile.clone(),
        ..RemoteOptions::default()
    };
    let request = PullRequest { remote, ..PullRequest::default() };
    let update = Update { engine, request, dry_run: args.dry_run, rollback: args.rollback };
    if !args.dry_run && !candidates.is_empty() {
        engine.record_system("auto-update");
    }
    let units: BTreeSet<&str> = candidates.iter().map(|candidate| candidate.unit.as_str()).collect();
    let mut rows = Vec::new();
    for unit in units {
        let of_unit: Vec<_> = candidates.iter().filter(|candidate| candidate.unit == unit).collect();
        let outcomes = update.unit(unit, &of_unit, &mut failures);
        rows.extend(of_unit.iter().zip(outcomes).map(|(candidate, outcome)| row(candidate, outcome)));
    }
    print(session, format.as_ref(), &rows)?;
    let failed = !failures.is_empty();
    failures.into_iter().for_each(|failure| session.report(failure));
    if failed { Err(AlreadyReported { code: FAILED }.into()) } else { Ok(()) }
}

/// How updates are made.
struct Update<'a> {
    engine: &'a Engine,
    request: PullRequest,
    dry_run: bool,
    rollback: bool,
}

impl Update<'_> {
    /// One unit with its containers; an outcome for each.
    fn unit(&self, unit: &str, containers: &[&Candidate], failures: &mut Vec<Error>) -> Vec<Outcome> {
        let mut outcomes: Vec<_> = containers
            .iter()
            .map(|candidate| {
                self.image(candidate).unwrap_or_else(|err| {
                    failures.push(while_doing(
                        err,
                        &format!("checking image updates for container {}", candidate.id),
                    ));
                    Outcome::Failed
                })
            })
            .collect();
        let fetched = |outcome: &Outcome| *outcome == Outcome::Fetched;
        if !outcomes.iter().any(fetched) {
            return outcomes;
        }
        let end = match self.restart(unit) {
            Ok(()) => Outcome::Updated,
            Err(err) if !self.rollback => {
                failures.push(while_doing(err, &format!("restarting unit {unit} during update")));
                Outcome::Failed
            }
            Err(_) => {
                let changed = containers.iter().zip(&outcomes).filter(|(_, outcome)| fetched(outcome));
                let back = changed.map(|(candidate, _)| self.engine.roll_image_back(candidate));
                match back.collect::<Result<Vec<()>, _>>().and_then(|_| self.restart(unit)) {
                    Ok(()) => Outcome::RolledBack,
                    Err(err) => {
                        failures.push(while_doing(err, &format!("restarting unit {unit} during rollback")));
                        Outcome::Failed
                    }
                }
            }
        };
        outcomes.iter_mut().filter(|outcome| fetched(outcome)).for_each(|outcome| *outcome = end);
        outcomes
    }

    /// The image of one container.
    fn image(&self, candidate: &Candidate) -> Result<Outcome, Error> {
        let events = |event: &PullEvent<'_>| {
            if let PullEvent::Warning(text) = event {
                self.engine.tell(text);
            }
        };
        if !self.engine.has_update(candidate, &self.request, &events)? {
            return Ok(Outcome::Current);
        }
        if self.dry_run {
            return Ok(Outcome::Pending);
        }
        self.engine.update_image(candidate, &self.request, &events)?;
        Ok(Outcome::Fetched)
    }

    /// Restarts a unit, and waits until it has started.
    fn restart(&self, unit: &str) -> Result<(), Error> {
        let mut systemctl = Command::new("systemctl");
        if !self.engine.is_rootful() {
            systemctl.arg("--user");
        }
        systemctl.args(["restart", "--", unit]).stdin(Stdio::null()).stdout(Stdio::null());
        let done = systemctl.output().map_err(|err| Error::system("run systemctl".to_owned(), err))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let why = said.lines().next().map_or_else(|| format!("systemctl: {}", done.status), str::to_owned);
        Err(Error::new(Kind::System, why))
    }
}

/// An error with what failed by it.
fn while_doing(err: Error, what: &str) -> Error {
    Error { message: format!("{what}: {}", err.message), ..err }
}

fn row(candidate: &Candidate, outcome: Outcome) -> Value {
    let id = candidate.id.short();
    json!({
        "Unit": candidate.unit,
        "Container": format!("{id} ({})", candidate.name),
        "ContainerName": candidate.name,
        "ContainerID": candidate.id.as_str(),
        "Image": candidate.image,
        "Policy": candidate.policy.word(),
        "Updated": outcome.word(),
    })
}

fn print(session: &mut Session<'_>, format: Option<&Format>, rows: &[Value]) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    if let Some(format) = format {
        return format::print_rows(session, &SHAPE, format, rows);
    }
    let mut table = Table::new(session, &["UNIT", "CONTAINER", "IMAGE", "POLICY", "UPDATED"]);
    for row in rows {
        let cell = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        table.push(["Unit", "Container", "Image", "Policy", "Updated"].map(cell));
    }
    table.print(session)
}
