//! `ketch image trust`: shows and changes which images may be pulled.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::format::{json, table::Table};
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::Error;
use crate::engine::trust::{self, TrustChange};

/// Show or change which images may be pulled
///
/// `image trust show` prints the policy; `image trust set --type TYPE REGISTRY` changes what holds for a
/// registry, a path on it, or `default`. The policy is in ~/.config/containers/policy.json, or where
/// that does not exist in /etc/containers/policy.json.
#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// What to do
    #[arg(value_name = "show|set")]
    action: Action,

    /// Registry, or a path on it; `default` for all others
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,

    /// With show: print as JSON
    #[arg(short, long)]
    json: bool,

    /// With show: print the file as it is
    #[arg(long)]
    raw: bool,

    /// With set: file with a public key (can be repeated)
    #[arg(short = 'f', long, value_name = "FILE")]
    pubkeysfile: Vec<PathBuf>,

    /// With set: accept, reject or sigstoreSigned, which it is without
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    kind: Option<String>,
}

impl TrustArgs {
    /// A flag that was given and is for the other action.
    fn idle_flag(&self) -> Option<&'static str> {
        let (show, set) = (self.action == Action::Show, self.action == Action::Set);
        let idle = [
            ("--json", self.json && set),
            ("--raw", self.raw && set),
            ("--pubkeysfile", !self.pubkeysfile.is_empty() && show),
            ("--type", self.kind.is_some() && show),
        ];
        idle.into_iter().find_map(|(flag, is_idle)| is_idle.then_some(flag))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    Show,
    Set,
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: TrustArgs) -> anyhow::Result<()> {
    if let Some(flag) = args.idle_flag() {
        let action = if args.action == Action::Show { "show" } else { "set" };
        bail!(UsageError::new(format!("{flag} means nothing to image trust {action}")));
    }
    match args.action {
        Action::Show => show(session, &args),
        Action::Set => set(&args),
    }
}

fn show(session: &mut Session<'_>, args: &TrustArgs) -> anyhow::Result<()> {
    let policy = match trust::document()? {
        Some((_, policy)) => policy,
        None => json!({"default": [{"type": "insecureAcceptAnything"}]}),
    };
    if args.raw {
        return json::print(session, &json::pretty(&policy, &[], "    "));
    }
    let mut rows = trust::rows(&policy);
    if let Some(name) = &args.registry {
        rows.retain(|row| row.name == *name);
    }
    if args.json {
        let documents: Vec<Value> = rows
            .iter()
            .map(|row| {
                let name = if row.transport == "all" { "* (default)" } else { &row.name };
                let mut document =
                    json!({"transport": row.transport, "name": name, "repo_name": row.name, "type": row.kind});
                if !row.keys.is_empty() {
                    document["keys"] = json!(row.keys);
                }
                document
            })
            .collect();
        return json::print_list(session, &documents, &[], "    ");
    }
    let mut table = Table::new(session, &["TRANSPORT", "NAME", "TYPE", "ID", "STORE"]);
    for row in rows {
        table.push([row.transport, row.name, row.kind, row.keys.join(", "), String::new()]);
    }
    table.print(session)
}

fn set(args: &TrustArgs) -> anyhow::Result<()> {
    let Some(scope) = &args.registry else {
        bail!(Error::invalid("set needs a registry").hint("image trust set --type reject docker.io"));
    };
    let change = match args.kind.as_deref().unwrap_or("sigstoreSigned") {
        "accept" | "insecureAcceptAnything" => TrustChange::Accept,
        "reject" => TrustChange::Reject,
        "sigstoreSigned" if args.pubkeysfile.is_empty() => {
            bail!(Error::invalid("sigstoreSigned needs a public key").hint("--pubkeysfile FILE"))
        }
        "sigstoreSigned" => TrustChange::Sigstore(args.pubkeysfile.clone()),
        "signedBy" | "signBy" => {
            bail!(Error::invalid("signatures by GPG keys cannot be checked").hint("--type sigstoreSigned"))
        }
        other => bail!(Error::invalid(format!(
            "trust type {other:?} is not known, choose from: accept, reject, sigstoreSigned"
        ))),
    };
    trust::set(scope, &change)?;
    Ok(())
}
