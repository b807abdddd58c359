//! Flags of `run` and `create`: how it is named, stopped, started again and removed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use crate::base::signal::Signal;
use crate::base::spec::RestartPolicy;
use crate::cli::container_flags::{BYTE_ORDER_MARK, pairs, read};
use crate::cli::labels::label;
use crate::cli::verbs::truth_value;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result, auto_update};

/// How it is named, stopped, started again and removed.
#[derive(Args, Debug)]
#[command(next_help_heading = "Life")]
pub(crate) struct LifecycleFlags {
    /// Add an annotation (KEY=VALUE; can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,

    /// Write the container's ID to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,

    /// Write the number of the monitor process to this file at each start
    #[arg(long, value_name = "FILE")]
    conmon_pidfile: Option<PathBuf>,

    /// Set a label (KEY=VALUE; can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    label: Vec<String>,

    /// Read labels from a file of KEY=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,

    /// Name of the container
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Write the number of process 1 to this file at each start
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,

    /// Remove the container that has this name already
    #[arg(long)]
    pub(crate) replace: bool,

    /// Start these containers first (can be repeated)
    #[arg(long, value_name = "CONTAINER", value_delimiter = ',')]
    requires: Vec<String>,

    /// When to start it again: no, always, unless-stopped, on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,

    /// Remove it, with its anonymous volumes, when it has ended
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth_value)]
    pub(crate) rm: Option<bool>,

    /// Signal that asks it to end
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<Signal>,

    /// Seconds between that signal and SIGKILL; -1 for no SIGKILL at all
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = stop_timeout)]
    stop_timeout: Option<u32>,

    /// Kill it when it has run for this many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
}

impl LifecycleFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        // Docker shows names with a slash before them, and takes them so. An empty one is none, as scripts have it that
        // pass a variable on.
        let name = self.name.as_deref().map(|name| name.strip_prefix('/').unwrap_or(name));
        request.name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        if self.replace && request.name.is_none() {
            return Err(Error::invalid("cannot replace container without --name being set"));
        }
        request.replace = self.replace;
        request.auto_remove = self.rm == Some(true);
        request.labels = self.labels()?;
        request.annotations = pairs(&self.annotation, "annotation")?;
        request.stop_signal = self.stop_signal.map(Signal::number);
        request.stop_timeout_s = self.stop_timeout;
        request.restart =
            self.restart.as_deref().map(|text| restart(text, request.auto_remove)).transpose()?;
        request.pid_file.clone_from(&self.pidfile);
        request.cid_file.clone_from(&self.cidfile);
        request.monitor_pid_file.clone_from(&self.conmon_pidfile);
        request.requires.clone_from(&self.requires);
        request.run_limit_s = self.timeout;
        Ok(())
    }

    fn labels(&self) -> Result<BTreeMap<String, String>> {
        let mut labels = labels(&self.label_file, &self.label)?;
        // Whose service it is.
        labels.extend(auto_update::unit_of_caller());
        Ok(labels)
    }
}

/// Labels of files, and single ones, which win.
pub(crate) fn labels(files: &[PathBuf], single: &[String]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for file in files {
        let text = read(file)?;
        let text = String::from_utf8_lossy(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text)).into_owned();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        labels.extend(lines.map(label));
    }
    labels.extend(single.iter().map(|text| label(text)));
    if labels.contains_key("") {
        return Err(Error::invalid("invalid label format: a label needs a name, like NAME=VALUE"));
    }
    Ok(labels)
}

/// Seconds; -1 is docker's word for ever.
fn stop_timeout(text: &str) -> std::result::Result<u32, String> {
    match text {
        "-1" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "a number of seconds, or -1 for no limit".to_owned()),
    }
}

pub(crate) fn restart(text: &str, auto_remove: bool) -> Result<RestartPolicy> {
    let bad = || {
        Error::invalid(format!("{text:?} is not a valid restart policy"))
            .hint("known are no, always, unless-stopped and on-failure[:TIMES]")
    };
    if let Some((policy, _)) = text.split_once(':')
        && policy != "on-failure"
        && RestartPolicy::parse(policy).is_some()
    {
        return Err(Error::invalid(
            "restart policy retries can only be specified with on-failure restart policy",
        ));
    }
    let policy = match text {
        "never" => RestartPolicy::No,
        text => RestartPolicy::parse(text).ok_or_else(bad)?,
    };
    if auto_remove && matches!(policy, RestartPolicy::Always | RestartPolicy::UnlessStopped) {
        return Err(Error::invalid(
            "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
        ));
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_timeouts() {
        for (text, want) in
            [("0", Some(0)), ("30", Some(30)), ("-1", Some(u32::MAX)), ("-2", None), ("x", None)]
        {
            assert_eq!(stop_timeout(text).ok(), want, "{text}");
        }
    }
}
