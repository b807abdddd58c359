//! Runs the hooks of a container: programs that get its state as JSON on standard input.
//!
//! # Source
//!
//! OCI runtime specification, runtime.md, "State" and "Lifecycle".

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::base::bytes::Bytes;
use crate::base::spec::{ContainerSpec, Hook, HookStage, Root};
use crate::runtime::failure::{Failure, FailureKind};
use crate::sys::waiting;

/// Of the specification.
const VERSION: &str = "1.2.0";

/// How often is looked whether a hook with a time limit has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The hooks of one stage, with what they are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HookPlan {
    pub(crate) hooks: Vec<Hook>,
    /// The container's state.
    pub(crate) state: String,
}

impl HookPlan {
    /// Those of `spec` for a stage. `bundle` is the container's directory, `pid` its process 1 out here, 0 for nobody.
    pub(crate) fn new(spec: &ContainerSpec, stage: HookStage, pid: i32, bundle: &Path) -> Self {
        let hooks: Vec<Hook> = spec.hooks.iter().filter(|hook| hook.stage == stage).cloned().collect();
        let state = if hooks.is_empty() { String::new() } else { state(spec, stage, pid, bundle) };
        Self { hooks, state }
    }

    /// Runs them one after the other.
    ///
    /// # Errors
    ///
    /// The first that cannot be run, fails, or takes too long; those behind it are not run.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.hooks.iter().try_for_each(|hook| run(hook, &self.state))
    }
}

fn state(spec: &ContainerSpec, stage: HookStage, pid: i32, bundle: &Path) -> String {
    let status = match stage {
        HookStage::Poststart => "running",
        HookStage::Poststop => "stopped",
        _ => "created",
    };
    let mut state = json!({
        "ociVersion": VERSION,
        "id": spec.id.as_str(),
        "status": status,
        "bundle": bundle.to_string_lossy(),
        "annotations": spec.annotations,
    });
    if stage != HookStage::Poststop {
        state["pid"] = pid.into();
        state["root"] = root(spec, bundle).to_string_lossy().into();
    }
    state.to_string()
}

/// Where the container's root is mounted before it is `/`, in its own mount namespace.
fn root(spec: &ContainerSpec, bundle: &Path) -> PathBuf {
    match &spec.root {
        Root::Directory(path) => path.clone(),
        Root::Layers(_) | Root::DirectoryOverlay(_) => bundle.join("work"),
    }
}

/// Writes what hooks look for in the container's directory: as much of a runtime's configuration as there is here.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write_bundle(spec: &ContainerSpec, bundle: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let texts =
        |list: &[Bytes]| list.iter().map(Bytes::to_string_lossy).map(String::from).collect::<Vec<_>>();
    let process = &spec.process;
    let config = json!({
        "ociVersion": VERSION,
        "process": {
            "terminal": process.terminal,
            "cwd": process.cwd.to_string_lossy(),
            "args": texts(&process.args),
            "env": texts(&process.env),
        },
        "root": {"path": root(spec, bundle).to_string_lossy(), "readonly": spec.read_only},
        "hostname": spec.hostname,
        "annotations": spec.annotations,
    });
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(bundle.join("config.json"))?;
    file.write_all(config.to_string().as_bytes())
}

fn run(hook: &Hook, state: &str) -> Result<(), Failure> {
    let failed = |why: String| {
        let message = format!("error executing hook `{}` ({why})", hook.path.display());
        Failure::new(FailureKind::NotExecutable, message)
    };
    let ended = begin_and_wait(hook, state).map_err(|err| failed(err.to_string()))?;
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            Err(failed(status.code().map_or_else(|| status.to_string(), |code| format!("exit code: {code}"))))
        }
        None => Err(failed("timeout expired".to_owned())),
    }
}

/// How it ended; `None` if it has been killed because it took too long.
fn begin_and_wait(hook: &Hook, state: &str) -> io::Result<Option<ExitStatus>> {
    // No pipe: who does not read it does not hurt us.
    let mut input = File::from(rustix::fs::memfd_create("state", rustix::fs::MemfdFlags::CLOEXEC)?);
    input.write_all(state.as_bytes())?;
    input.rewind()?;
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    if let Some(env) = &hook.env {
        command.env_clear().envs(env.iter().filter_map(|entry| entry.split_once('=')));
    }
    let mut child = command.stdin(input).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let Some(seconds) = hook.timeout_s else { return child.wait().map(Some) };
    let ended = waiting::until(Duration::from_secs(seconds.into()), LOOK, || child.try_wait())?;
    if ended.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(ended)
}
