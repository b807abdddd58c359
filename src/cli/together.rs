//! Several commands of ketch at once, each in a process of its own, because only a process that has one thread makes
//! others (containers, workers). What they write appears line by line, with the name of the command before it.
//!
//! ```text
//! words(0) ─▶ child ─pipe─╮
//! words(1) ─▶ child ─pipe─┴─▶ [name] line      a command begins when those it comes after have ended well
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use crate::cli::error::shown;
use crate::cli::globals::Globals;
use crate::cli::session::{Exit, Session};
use crate::engine::Error;
use crate::sys::poll::{Interest, PollSet};

/// One of the commands.
#[derive(Debug)]
pub(crate) struct Job {
    /// What its lines begin with.
    pub(crate) name: String,
    /// Those that have to end well before it begins, by their place.
    pub(crate) after: Vec<usize>,
}

/// A command that is under way.
struct Running {
    job: usize,
    child: Child,
    output: File,
    /// The beginning of a line.
    rest: Vec<u8>,
}

/// Where the lines go, and what all commands are told.
pub(crate) struct Screen<'a> {
    pub(crate) out: &'a mut dyn Write,
    /// A terminal: text from elsewhere is escaped.
    pub(crate) is_tty: bool,
    pub(crate) globals: &'a Globals,
}

impl std::fmt::Debug for Screen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("is_tty", &self.is_tty).finish_non_exhaustive()
    }
}

impl<'a> Screen<'a> {
    /// The session's standard output.
    pub(crate) fn of(session: &'a mut Session<'_>) -> Self {
        Self { out: &mut session.out, is_tty: session.out_is_tty, globals: session.globals }
    }
}

/// How many are best done at once on this machine.
pub(crate) fn limit() -> usize {
    std::thread::available_parallelism().map_or(2, |processors| processors.get().max(2))
}

/// Carries out all jobs, up to `limit` at once. `words` makes the command line of one when it begins. After a failure
/// those that run may end, and no other begins; its code is the answer.
///
/// # Errors
///
/// If a process cannot be started or listened to; those of `words`.
pub(crate) fn run(
    screen: &mut Screen<'_>,
    jobs: &[Job],
    limit: usize,
    words: &mut dyn FnMut(usize) -> anyhow::Result<Vec<OsString>>,
) -> anyhow::Result<Exit> {
    screen.out.flush()?;
    let mut waiting: Vec<usize> = (0..jobs.len()).collect();
    let mut well = vec![false; jobs.len()];
    let mut exit = Exit::OK;
    let mut running: Vec<Running> = Vec::new();
    let mut poll = PollSet::default();
    loop {
        let is_ready = |job: &usize| jobs[*job].after.iter().all(|before| well[*before]);
        while exit == Exit::OK
            && running.len() < limit.max(1)
            && let Some(at) = waiting.iter().position(is_ready)
        {
            let job = waiting.remove(at);
            running.push(begin(screen.globals, job, &words(job)?)?);
        }
        if running.is_empty() {
            return Ok(exit);
        }
        poll.clear();
        for one in &running {
            poll.add(Some(one.output.as_fd()), Interest::READ);
        }
        poll.wait(None).map_err(|err| Error::system("wait for the commands", err))?;
        let mut ended = Vec::new();
        for (place, one) in running.iter_mut().enumerate() {
            let ready = poll.ready(place);
            if (ready.read || ready.hung_up) && !listen(screen, one, &jobs[one.job].name)? {
                ended.push(place);
            }
        }
        for place in ended.into_iter().rev() {
            let mut one = running.remove(place);
            let status = one.child.wait().map_err(|err| Error::system("wait for a command", err))?;
            well[one.job] = status.success();
            if !status.success() && exit == Exit::OK {
                exit = Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
            }
        }
        screen.out.flush()?;
    }
}

fn begin(globals: &Globals, job: usize, words: &[OsString]) -> anyhow::Result<Running> {
    let failed = |err: std::io::Error| Error::system("start a command", err);
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let other: OwnedFd = writer.try_clone().map_err(failed)?;
    // The command keeps its copies of the pipe until it is dropped.
    let child = Command::new("/proc/self/exe")
        .arg0(globals.called.name())
        .args(globals.words())
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::from(writer))
        .stderr(Stdio::from(other))
        .spawn()
        .map_err(failed)?;
    Ok(Running { job, child, output: reader.into(), rest: Vec::new() })
}

/// Shows the lines that a command has written; false at the end.
fn listen(screen: &mut Screen<'_>, one: &mut Running, name: &str) -> anyhow::Result<bool> {
    let mut buffer = [0; 16 << 10];
    let count = one.output.read(&mut buffer).map_err(|err| Error::system("listen to a command", err))?;
    one.rest.extend(&buffer[..count]);
    if count == 0 && !one.rest.is_empty() {
        one.rest.push(b'\n');
    }
    while let Some(end) = one.rest.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = one.rest.drain(..=end).collect();
        write!(screen.out, "[{name}] ")?;
        if screen.is_tty {
            writeln!(screen.out, "{}", shown(&String::from_utf8_lossy(&line[..end])))?;
        } else {
            screen.out.write_all(&line)?;
        }
    }
    Ok(count > 0)
}
