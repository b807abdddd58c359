//! Programs as the tests run them: with a deadline, with pipes or a terminal, all output kept.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use rustix::process::{Pid, Signal};
use rustix::termios::Winsize;

use super::deadline;

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code; minus the signal's number if a signal ended it.
    pub(crate) code: i32,
    /// Standard output, with U+FFFD for what is not UTF-8.
    pub(crate) stdout: String,
    /// Standard error, likewise.
    pub(crate) stderr: String,
    /// Standard output as it was.
    pub(crate) bytes: Vec<u8>,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Output {
    /// Standard output without its last newline, of a program that has to have succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout)
    }

    /// Standard error of a program that has to have ended with `code`.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        &self.stderr
    }
}

/// A program about to be run.
#[derive(Debug)]
pub(crate) struct Invocation {
    program: Vec<OsString>,
    args: Vec<OsString>,
    command: Command,
    stdin: Vec<u8>,
    deadline: Duration,
}

impl Invocation {
    /// `program` with `args`, no environment but what [`Invocation::env`] adds, and nothing on standard input.
    pub(crate) fn new<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Invocation {
            program: vec![program.as_ref().to_owned()],
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            command: {
                let mut command = Command::new("/");
                command.env_clear();
                command
            },
            stdin: Vec::new(),
            deadline: deadline(),
        }
    }

    /// Runs it through `wrapper`, which takes a command at its end (`prlimit --nofile=12`).
    pub(crate) fn through<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        let mut program: Vec<OsString> = wrapper.into_iter().map(|word| word.as_ref().to_owned()).collect();
        program.append(&mut self.program);
        self.program = program;
        self
    }

    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub(crate) fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(key);
        self
    }

    pub(crate) fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it can read, and then the end of file.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end. A program that outlives its deadline is killed and the test fails.
    #[track_caller]
    pub(crate) fn run(mut self) -> Output {
        let stdin = std::mem::take(&mut self.stdin);
        let mut running = self.spawn();
        let pipe = running.stdin.take();
        // A program need not read what it is given: a broken pipe is none of the test's business.
        let feeder = std::thread::spawn(move || pipe.is_some_and(|mut pipe| pipe.write_all(&stdin).is_ok()));
        let output = running.wait();
        feeder.join().expect("the thread that feeds standard input");
        output
    }

    /// Starts it with pipes and lets it run.
    #[track_caller]
    pub(crate) fn spawn(self) -> Running {
        let (mut command, words, deadline) = self.into_command();
        // A process group of its own: a signal to one test's group is no signal to the harness.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|err| panic!("start {words}: {err}"));
        let stdin = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let stdout = child.stdout.take().map(|pipe| Collected::from(OwnedFd::from(pipe)));
        let stderr = child.stderr.take().map(|pipe| Collected::from(OwnedFd::from(pipe)));
        let started = Instant::now();
        Running { child, words, stdin, terminal: None, stdout, stderr, started, deadline, ended: None }
    }

    /// Starts it with a terminal of `rows` × `columns` as its controlling one, on all three standard streams.
    #[track_caller]
    pub(crate) fn on_terminal(mut self, rows: u16, columns: u16) -> Running {
        let (master, slave) = terminal().expect("make a terminal");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).expect("set the window size");
        // setsid --ctty: the terminal becomes the controlling one, so that ctrl-c and SIGWINCH arrive. It must not lead
        // a process group already, or it would fork.
        self = self.through(["setsid", "--ctty"]);
        let (mut command, words, deadline) = self.into_command();
        let handle = || Stdio::from(slave.try_clone().expect("duplicate the terminal"));
        command.stdin(handle()).stdout(handle()).stderr(handle());
        let child = command.spawn().unwrap_or_else(|err| panic!("start {words}: {err}"));
        drop(command);
        drop(slave);
        let stdin = Some(master.try_clone().expect("duplicate the terminal"));
        let stdout =
            Some(Collected::from(OwnedFd::from(master.try_clone().expect("duplicate the terminal"))));
        let started = Instant::now();
        Running {
            child,
            words,
            stdin,
            terminal: Some(master),
            stdout,
            stderr: None,
            started,
            deadline,
            ended: None,
        }
    }

    fn into_command(self) -> (Command, String, Duration) {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(&self.args).env_clear();
        for (key, value) in self.command.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        if let Some(dir) = self.command.get_current_dir() {
            command.current_dir(dir);
        }
        let words = self.program.iter().chain(&self.args).map(|word| word.to_string_lossy().into_owned());
        (command, words.collect::<Vec<_>>().join(" "), self.deadline)
    }
}

/// A new terminal: the side of the one who types, and the side of the programs.
///
/// Not openpty(3): its descriptors survive an exec, so whatever another test starts meanwhile would hold them open.
fn terminal() -> io::Result<(File, File)> {
    let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    nix::pty::grantpt(&master)?;
    nix::pty::unlockpt(&master)?;
    let name = nix::pty::ptsname_r(&master)?;
    let slave = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(name)?;
    Ok((File::from(OwnedFd::from(master)), slave))
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    words: String,
    stdin: Option<File>,
    terminal: Option<File>,
    stdout: Option<Collected>,
    stderr: Option<Collected>,
    started: Instant,
    deadline: Duration,
    ended: Option<ExitStatus>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types `bytes`.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stdin
            .as_mut()
            .expect("standard input is open")
            .write_all(bytes.as_ref())
            .expect("write to the program");
    }

    /// Ends its standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until standard output (or the terminal) shows `text`; gives all that has been shown.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) -> String {
        let stdout = self.stdout.as_ref().expect("standard output is collected");
        match stdout.wait_for(text, self.deadline) {
            Ok(seen) => seen,
            Err(seen) => panic!(
                "{}: never wrote {text:?}, but: {seen:?}\nstderr: {}",
                self.words,
                self.stderr_so_far()
            ),
        }
    }

    /// What standard output (or the terminal) has shown by now.
    pub(crate) fn stdout_so_far(&self) -> String {
        self.stdout.as_ref().map_or_else(String::new, Collected::text)
    }

    /// What standard error holds by now.
    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr.as_ref().map_or_else(String::new, Collected::text)
    }

    /// Changes the size of the terminal, of which the kernel tells the foreground process group.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(self.terminal.as_ref().expect("it has a terminal"), size)
            .expect("set the window size");
    }

    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        // It is a child not yet waited for, so the number is still its own.
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("signal a child");
    }

    /// Waits for its end, and for the end of its streams: a program whose descendant keeps them open has not ended.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Output {
        let end = self.started.max(Instant::now()) + self.deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                break status;
            }
            if Instant::now() > end {
                let (out, err) = (self.stdout.as_ref().map(Collected::text), self.stderr_so_far());
                panic!("{} still runs after {:?}\nstdout: {out:?}\nstderr: {err}", self.words, self.deadline);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        self.ended = Some(status);
        self.stdin = None;
        let finish = |stream: Option<Collected>| stream.map_or_else(Vec::new, |s| s.finish(&self.words, end));
        let bytes = finish(self.stdout.take());
        let stderr = finish(self.stderr.take());
        Output {
            code: status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&bytes).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            bytes,
            took,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Gone already or killed now; either way it is reaped.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// What a descriptor has yielded, read by a thread.
#[derive(Debug)]
struct Collected {
    shared: Arc<(Mutex<Stream>, Condvar)>,
    reader: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    closed: bool,
}

impl Collected {
    fn from(fd: OwnedFd) -> Self {
        let shared = Arc::new((Mutex::new(Stream::default()), Condvar::new()));
        let (for_reader, mut file) = (Arc::clone(&shared), File::from(fd));
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            let (stream, changed) = &*for_reader;
            loop {
                let got = match file.read(&mut buffer) {
                    // EIO is how a terminal says that its last user has gone.
                    Ok(0) => break,
                    Ok(got) => got,
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                stream.lock().expect("no reader panics").bytes.extend_from_slice(&buffer[..got]);
                changed.notify_all();
            }
            stream.lock().expect("no reader panics").closed = true;
            changed.notify_all();
        });
        Collected { shared, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.0.lock().expect("no reader panics").bytes).into_owned()
    }

    /// Waits until `done` of what has been read, or the end of the stream.
    fn wait_while(&self, limit: Duration, waiting: impl Fn(&Stream) -> bool) -> bool {
        let (stream, changed) = &*self.shared;
        let guard = stream.lock().expect("no reader panics");
        let (_guard, timeout) = changed
            .wait_timeout_while(guard, limit, |stream| !stream.closed && waiting(stream))
            .expect("no reader panics");
        !timeout.timed_out()
    }

    fn wait_for(&self, text: &str, limit: Duration) -> Result<String, String> {
        self.wait_while(limit, |stream| !String::from_utf8_lossy(&stream.bytes).contains(text));
        let seen = self.text();
        if seen.contains(text) { Ok(seen) } else { Err(seen) }
    }

    fn finish(self, words: &str, end: Instant) -> Vec<u8> {
        // A moment more at least: what is in the pipe already can always be read.
        let limit = end.saturating_duration_since(Instant::now()).max(Duration::from_secs(5));
        assert!(
            self.wait_while(limit, |_| true),
            "{words} has ended, but something keeps its output open; so far: {}",
            self.text()
        );
        self.reader.join().expect("the thread that reads output");
        std::mem::take(&mut self.shared.0.lock().expect("no reader panics").bytes)
    }
}

/// Whether a process still works. One that has ended and that its parent has not taken note of yet does not.
pub(crate) fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything, stands the state.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// KiB of memory that a process has to itself.
pub(crate) fn private_dirty(pid: i32) -> u64 {
    let memory = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("look at a process");
    let dirty = memory.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).expect("a line of it");
    dirty.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// Has a shell run `script` with `argument` as `$1` once this process has ended, however it ends.
#[allow(clippy::zombie_processes, reason = "it outlives this process, by design")]
pub(crate) fn when_this_process_ends(script: &str, argument: &Path) {
    let mut janitor = Command::new("sh")
        .args(["-c", &format!("cat > /dev/null\n{script}"), "sh"])
        .arg(argument)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("start the janitor");
    // Kept open until the kernel closes it with all else.
    std::mem::forget(janitor.stdin.take());
}
