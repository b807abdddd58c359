//! Flags of `run` and `create`: the first process: words, environment, terminal.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;

use crate::base::bytes::Bytes;
use crate::base::spec::Personality;
use crate::cli::container_flags::{BYTE_ORDER_MARK, bytes, read};
use crate::cli::verbs::truth_value;
use crate::engine::request::{ContainerRequest, Systemd};
use crate::engine::{Error, Result, config};

/// The first process: words, environment, terminal.
#[derive(Args, Debug)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessFlags {
    /// Replace the image's entrypoint: a program, or a JSON list
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    entrypoint: Option<OsString>,

    /// Set a variable: NAME=VALUE, NAME to take it from here, NAME* for all that begin so (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,

    /// Set a variable from the image's ones: NAME=VALUE with ${NAME} in it (can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    env_merge: Vec<String>,

    /// Read variables from a file of NAME=VALUE lines (can be repeated)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Pass the whole environment of the caller
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth_value)]
    env_host: Option<bool>,

    /// Pass the caller's proxy variables, of proxies without a password, where the configuration does not say no
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    http_proxy: Option<bool>,

    /// Run a small init as process 1 that forwards signals and reaps
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth_value)]
    init: Option<bool>,

    /// With --init, run this program of the host as process 1, and the command below it
    #[arg(long, value_name = "FILE")]
    init_path: Option<PathBuf>,

    /// Keep standard input open, and pass it on if attached
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// What the kernel says of itself: LINUX or LINUX32
    #[arg(long, value_name = "PERSONALITY")]
    personality: Option<String>,

    /// Size of the tmpfs mounts that systemd gets, like 64m
    #[arg(long, value_name = "SIZE")]
    shm_size_systemd: Option<String>,

    /// Prepare it for systemd as process 1: true (if the command is systemd or init), always or false
    #[arg(long, value_name = "WHEN", default_value = "true")]
    systemd: String,

    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Time zone, as /usr/share/zoneinfo names it, or `local` for the host's
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,

    /// File mode creation mask, in octal
    #[arg(long, value_name = "MASK")]
    umask: Option<String>,

    /// Leave out a variable of the image (can be repeated)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    unsetenv: Vec<String>,

    /// Leave out all variables of the image
    #[arg(long)]
    unsetenv_all: bool,

    /// Working directory
    #[arg(short, long, value_name = "DIRECTORY")]
    workdir: Option<OsString>,
}

impl ProcessFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.entrypoint = self.entrypoint.as_deref().map(entrypoint);
        request.env = environment(self.env_host == Some(true), &self.env_file, &self.env)?;
        request.unset_env.clone_from(&self.unsetenv);
        request.unset_all_env = self.unsetenv_all;
        // An empty one is none, as with podman and docker.
        request.workdir = self.workdir.as_deref().filter(|path| !path.is_empty()).map(Bytes::from);
        request.terminal = self.tty;
        request.interactive = self.interactive;
        request.init = self.init == Some(true);
        request.denied.init = self.init == Some(false);
        request.denied.env_host = self.env_host == Some(false);
        request.init_program.clone_from(&self.init_path);
        if let Some(bad) = self.env_merge.iter().find(|text| !text.contains('=')) {
            return Err(Error::invalid(format!("missing `=` for --env-merge substitution {bad}")));
        }
        request.env_merge.clone_from(&self.env_merge);
        request.personality = self.personality.as_deref().map(personality).transpose()?;
        request.systemd = systemd(&self.systemd)?;
        request.systemd_size_bytes = self.shm_size_systemd.as_deref().map(bytes).transpose()?;
        request.timezone = self.tz.clone().filter(|zone| !zone.is_empty());
        request.umask = self.umask.as_deref().map(umask).transpose()?;
        request.proxies = if self.http_proxy == Some(false) { Vec::new() } else { config::proxies() };
        request.http_proxy_asked = self.http_proxy.is_some();
        Ok(())
    }
}

/// The variables that flags ask for: the caller's environment, then files, then single variables; later
/// ones win.
pub(crate) fn environment(env_host: bool, files: &[PathBuf], single: &[OsString]) -> Result<Vec<Bytes>> {
    let mut env = if env_host { config::environment_of_caller() } else { Vec::new() };
    for file in files {
        let text = read(file)?;
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
        for line in text.split(|&b| b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let start = line.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(line.len());
            let line = &line[start..];
            if !line.is_empty() && line[0] != b'#' {
                let name = line.split(|&b| b == b'=').next().unwrap_or(line);
                if name.iter().any(u8::is_ascii_whitespace) {
                    let name = String::from_utf8_lossy(name);
                    return Err(Error::invalid(format!(
                        "name {name:?} has white spaces, poorly formatted name"
                    )));
                }
                variable(OsStr::from_bytes(line), &mut env)?;
            }
        }
    }
    for text in single {
        variable(text, &mut env)?;
    }
    Ok(env)
}

/// `NAME=VALUE` as it is; `NAME` and `NAME*` from the caller's environment, if they are there.
fn variable(text: &OsStr, env: &mut Vec<Bytes>) -> Result<()> {
    let bytes = text.as_bytes().trim_ascii_start();
    // As podman: an empty text asks for nothing.
    if bytes.is_empty() {
        return Ok(());
    }
    if bytes[0] == b'=' {
        return Err(Error::invalid(format!("invalid variable: {text:?}")));
    }
    if bytes.contains(&b'=') {
        env.push(OsStr::from_bytes(bytes).into());
    } else if let Some(prefix) = bytes.strip_suffix(b"*") {
        env.extend(config::environment_of_caller().into_iter().filter(|e| e.as_bytes().starts_with(prefix)));
    } else if let Some(value) = config::variable_of_caller(text) {
        env.push([bytes, b"=", value.as_bytes()].concat().into());
    }
    Ok(())
}

/// A JSON list of words, or one word; an empty text is no entrypoint.
fn entrypoint(text: &OsStr) -> Vec<Bytes> {
    let list = text.to_str().and_then(|text| serde_json::from_str::<Vec<String>>(text).ok());
    match list {
        Some(words) => words.into_iter().map(Bytes::from).collect(),
        None if text.is_empty() => Vec::new(),
        None => vec![text.into()],
    }
}

fn personality(text: &str) -> Result<Personality> {
    match text.to_ascii_uppercase().as_str() {
        "LINUX" => Ok(Personality::Linux),
        "LINUX32" => Ok(Personality::Linux32),
        _ => {
            Err(Error::invalid(format!("invalid --personality {text:?}")).hint("known are LINUX and LINUX32"))
        }
    }
}

fn systemd(text: &str) -> Result<Systemd> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(Systemd::Auto),
        "always" => Ok(Systemd::Always),
        "false" => Ok(Systemd::Never),
        _ => Err(Error::invalid(format!("invalid value {text:?} for --systemd"))
            .hint("known are true, false and always")),
    }
}

fn umask(text: &str) -> Result<u32> {
    let is_octal = (1..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    // As podman: the bits that no mask has are passed over.
    let mask = u32::from_str_radix(text, 8).ok().filter(|_| is_octal).map(|mask| mask & 0o777);
    mask.ok_or_else(|| {
        Error::invalid(format!("invalid umask string {text}: write up to four octal digits, like 0022"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "\u{feff}FIRST=1\n# none\n SECOND=\u{feff}\n").unwrap();
        let env = environment(false, &[file], &[]).unwrap();
        assert_eq!(env, [Bytes::from("FIRST=1"), Bytes::from("SECOND=\u{feff}")]);
    }
}
