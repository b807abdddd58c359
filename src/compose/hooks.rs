//! Commands that run in a container: `post_start` right after its start, `pre_stop` right before it is
//! asked to end. Their order against the container's own command is not defined.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsFd as _;

use crate::attach::client::{self, End, Local};
use crate::attach::detach::DetachKeys;
use crate::attach::packet::Hello;
use crate::base::bytes::Bytes;
use crate::compose::apply::Compose;
use crate::compose::node::Node;
use crate::compose::plan::Actual;
use crate::compose::translate;
use crate::engine::exec::ExecRequest;
use crate::engine::start::Start;
use crate::engine::{Error, Kind, Result};
use crate::sys::socket;

/// Most of a hook's output that is shown, in bytes.
const MAX_OUTPUT: u64 = 1 << 20;

impl Compose<'_> {
    /// Runs the hooks of one key, one after the other, in a container that runs.
    ///
    /// # Errors
    ///
    /// If one cannot be run, or ends with another code than 0: the rest is not run then.
    pub(super) fn run_hooks(&self, container: &Actual, key: &str) -> Result<()> {
        let Ok(service) = self.project.service(&container.service) else { return Ok(()) };
        if self.dry_run {
            return Ok(());
        }
        let hooks = service.get(key).and_then(Node::as_list).unwrap_or_default();
        hooks.iter().try_for_each(|hook| self.run_hook(container, key, hook))
    }

    /// Runs the hooks before a stop; a container that has ended by itself needs none.
    ///
    /// # Errors
    ///
    /// As [`Compose::run_hooks`].
    pub(crate) fn before_stop(&self, container: &Actual) -> Result<()> {
        match self.run_hooks(container, "pre_stop") {
            Err(err) if matches!(err.kind, Kind::NotFound | Kind::Conflict) => Ok(()),
            other => other,
        }
    }

    /// Runs one hook in a container that runs. `key` is what it is called when it fails.
    ///
    /// # Errors
    ///
    /// If it cannot be run, or ends with another code than 0.
    pub(super) fn run_hook(&self, container: &Actual, key: &str, hook: &Node) -> Result<()> {
        let (code, output) = self.exec_in(container, &format!("run the {key} hook"), &request(hook))?;
        if code != 0 {
            let message = format!("{}: {key} hook exited with status {code}", container.service);
            return Err(match output.lines().last() {
                Some(last) => Error::system(message, last.to_owned()),
                None => Error::new(Kind::System, message),
            });
        }
        output.lines().for_each(|line| (self.hook_output)(&container.name, line));
        Ok(())
    }

    /// Runs a command in a container; answers its exit code and what it has written, without blanks at the end.
    ///
    /// # Errors
    ///
    /// As for exec; if it is interrupted by a signal of the user.
    pub(super) fn exec_in(
        &self,
        container: &Actual,
        what: &str,
        request: &ExecRequest,
    ) -> Result<(i32, String)> {
        let failed = |err: io::Error| Error::system(format!("{}: {what}", container.name), err);
        let mut output = memory_file().map_err(failed)?;
        let (socket, theirs) = socket::pair(socket::Kind::Packet).map_err(failed)?;
        client::greet(socket.as_fd(), Hello { stdout: true, stderr: true, stdin: false, ..Hello::default() })
            .map_err(failed)?;
        let start = Start { client: Some(theirs), ..Start::default() };
        let session = self.engine.exec(&container.id, request, start)?.session;
        let local = Local {
            stdin: None,
            stdout: output.as_fd(),
            stderr: output.as_fd(),
            terminal: false,
            detach_keys: DetachKeys::default(),
            on_signal: None,
        };
        let End::Exited(code) = client::pump(socket, local).map_err(failed)? else {
            return Err(Error::new(Kind::System, format!("{}: {what}: interrupted", container.name)));
        };
        self.engine.exec_ended(&container.id, &session, code);
        let mut text = Vec::new();
        output.rewind().and_then(|()| output.take(MAX_OUTPUT).read_to_end(&mut text)).map_err(failed)?;
        Ok((code, String::from_utf8_lossy(&text).trim_end().to_owned()))
    }
}

/// A file that is nowhere but in memory.
pub(super) fn memory_file() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("compose", rustix::fs::MemfdFlags::CLOEXEC)?))
}

/// What to run.
fn request(hook: &Node) -> ExecRequest {
    ExecRequest {
        command: translate::words(hook.get("command")),
        env: translate::environment(hook.get("environment")),
        user: hook.str_at("user").map(str::to_owned),
        workdir: hook.str_at("working_dir").map(Bytes::from),
        privileged: hook.flag("privileged"),
        ..ExecRequest::default()
    }
}
