//! The last step: take on the identity of the container's user and become the command.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use nix::errno::Errno;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};

use crate::base::bytes::Bytes;
use crate::base::rlimit;
use crate::base::spec::{Personality, Process, Rlimit};
use crate::runtime::failure::{Failure, FailureKind};
use crate::runtime::identity::Identity;
use crate::runtime::rootfs::{RootDir, Shape};
use crate::runtime::step::{RunPlan, Stays};
use crate::sys::{caps, process, signal};

use super::{Init, Result, identity_of, invalid, kept, reaper};

/// `PER_LINUX32` of personality(2), which libc does not name.
const PER_LINUX32: i32 = 8;

/// So many descriptors ketch may have in use until the command is executed: streams, and all that can be passed on.
const OWN_FILES: u64 = 256;

/// Where commands are looked for if the environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Init {
    /// Runs the command. Returns only what went wrong.
    pub(super) fn run(&mut self, plan: &RunPlan) -> Failure {
        become_command(plan, 3).unwrap_or_else(|failure| failure)
    }
}

/// Takes on the identity that `plan` describes, in the root that is `/` now, and becomes its command.
///
/// Descriptors from `first_closed` on do not reach the command. Returns only what went wrong.
pub(crate) fn become_command(plan: &RunPlan, first_closed: u32) -> Result<Failure> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::errno("open the root", errno))?;
    let root = RootDir::new(root);
    let identity = identity_of(&root, &plan.process.user, &plan.process.groups)?;
    let command = Command::of(&plan.process, &identity)?;
    hand_over_streams(&identity);
    rustix::process::umask(Mode::from_raw_mode(plan.process.umask));
    let entered = enter_directory(&root, plan)?;
    signal::reset_all().map_err(|err| Failure::errno("reset signals", err))?;
    set_limits(&plan.process)?;
    let rights = confine(plan, &identity)?;
    if plan.tied {
        // After the change of users, which the kernel forgets it at.
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
            .map_err(|errno| Failure::errno("die with the monitor", errno))?;
    }
    if !entered {
        // Container root may not search it, but its user may.
        rustix::process::chdir(plan.process.cwd.as_os_str())
            .map_err(|errno| cwd_failure(plan, std::io::Error::from(errno)))?;
    }
    assert_inside(&plan.process)?;
    process::close_on_exec_from(first_closed).map_err(|errno| Failure::errno("mark descriptors", errno))?;
    plan.hooks.run()?;
    kept::place(&plan.kept)?;
    match plan.stays {
        Stays::No => {}
        Stays::WithCommand => reaper::stay(plan.process.terminal, &rights)?,
        Stays::Alone => reaper::pause(&rights)?,
    }
    lower_open_files(&plan.process)?;
    Ok(command.execute())
}

/// How podman ends what it says of a command that cannot be executed; scripts look for it.
const DENIED: &str = "OCI permission denied";

/// A command that is not there, in words that scripts look for.
fn not_found(what: &str) -> Failure {
    let message = format!(
        "{what}: No such file or directory: OCI runtime attempted to invoke a command that was not found"
    );
    Failure::new(FailureKind::CommandNotFound, message)
}

/// Resource limits and the place in the OOM killer's list.
fn set_limits(process: &Process) -> Result<()> {
    if let Some(personality) = process.personality {
        use nix::sys::personality::{self, Persona};
        let persona = match personality {
            Personality::Linux => Persona::empty(),
            Personality::Linux32 => Persona::from_bits_retain(PER_LINUX32),
        };
        personality::set(persona).map_err(|errno| Failure::errno("set the personality", errno))?;
    }
    if let Some(score) = process.oom_score_adj {
        set_oom_score(score).map_err(|err| Failure::errno(format!("set oom_score_adj to {score}"), err))?;
    }
    process.rlimits.iter().try_for_each(|limit| {
        let least = if is_few_files(limit) { own_limit(libc::RLIMIT_NOFILE) } else { (0, 0) };
        set_limit(limit, least)
    })
}

/// Lowers the number of descriptors to what the command is to have, if ketch itself could not work with so few.
fn lower_open_files(process: &Process) -> Result<()> {
    let last = process.rlimits.iter().rfind(|limit| limit.name == "nofile");
    last.filter(|limit| is_few_files(limit)).map_or(Ok(()), |limit| set_limit(limit, (0, 0)))
}

/// True if this limit leaves fewer descriptors than ketch may need before the command is executed.
fn is_few_files(limit: &Rlimit) -> bool {
    limit.name == "nofile" && limit.soft < OWN_FILES
}

/// Soft and hard limit of this process.
fn own_limit(resource: u32) -> (u64, u64) {
    crate::sys::rlimit::get(resource).unwrap_or((u64::MAX, u64::MAX))
}

/// Sets a limit, but none that is lower than `least`.
fn set_limit(limit: &Rlimit, least: (u64, u64)) -> Result<()> {
    let what = || format!("set limit {} to {}:{}", limit.name, limit.soft, limit.hard);
    let resource =
        rlimit::resource(&limit.name).ok_or_else(|| invalid(format!("{}: unknown limit", limit.name)))?;
    // No core file is what `core=0` says; whether one could be asked for later is up to the caller's own limit.
    let most = match (limit.is_default, limit.name.as_str(), limit.soft) {
        (true, ..) | (_, "core", 0) => own_limit(resource).1,
        _ => u64::MAX,
    };
    let (soft, hard) = (limit.soft.min(most).max(least.0), limit.hard.min(most).max(least.1));
    crate::sys::rlimit::set(resource, soft, hard).map_err(|errno| {
        // What the caller may not have is no fault of ketch: 126, as with podman.
        let kind = if errno == Errno::EPERM { FailureKind::NotExecutable } else { FailureKind::System };
        Failure { kind, ..Failure::errno(what(), errno) }
    })
}

/// How soon the kernel takes this process when memory runs out. Who is no root of the host cannot go below what it has,
/// and keeps that then, as with podman.
fn set_oom_score(score: i32) -> std::io::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let Err(err) = std::fs::write(FILE, score.to_string()) else { return Ok(()) };
    let own = std::fs::read_to_string(FILE)?.trim().parse::<i32>();
    let is_lower = err.kind() == std::io::ErrorKind::PermissionDenied && own.is_ok_and(|own| score < own);
    if is_lower { Ok(()) } else { Err(err) }
}

/// Lets the user open /dev/stdout and friends: pipes and terminals belong to their maker otherwise.
fn hand_over_streams(identity: &Identity) {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let ours = rustix::fs::fstat(stream).is_ok_and(|stat| {
            matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::CharacterDevice)
                && stat.st_uid != identity.uid
                && stat.st_rdev != rustix::fs::makedev(1, 3)
        });
        if ours {
            // A stream that is not ours to give stays as it is: it can still be read and written.
            rustix::fs::fchown(stream, Some(Uid::from_raw(identity.uid)), None::<Gid>).ok();
        }
    }
}

/// Goes to the working directory; false if only the user may enter it.
fn enter_directory(root: &RootDir, plan: &RunPlan) -> Result<bool> {
    let process = &plan.process;
    let path = process.cwd.as_bytes();
    let open = || root.open(path, OFlags::PATH | OFlags::DIRECTORY);
    let directory = match open() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound && process.create_cwd => {
            root.target(path, Shape::Directory, false).and_then(|_| open())
        }
        other => other,
    };
    match directory {
        Ok(directory) => {
            rustix::process::fchdir(&directory).map_err(|errno| cwd_failure(plan, errno.into()))?;
            Ok(true)
        }
        Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        Err(err) => Err(cwd_failure(plan, err)),
    }
}

/// In the words and with the codes of podman: of process 1, a directory that is missing or none is not
/// executable (126); of a further command, a missing one is what a missing command is (127).
fn cwd_failure(plan: &RunPlan, err: std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let cwd = plan.process.cwd.to_string_lossy();
    // An image's directory would have been made.
    let asked = plan.first_of.as_ref().filter(|_| !plan.process.create_cwd);
    let (kind, message) = match (asked, err.kind()) {
        (Some(id), ErrorKind::NotFound) => {
            let message = format!("workdir \"{cwd}\" does not exist on container {id}");
            return Failure::new(FailureKind::NotExecutable, message);
        }
        (Some(id), ErrorKind::NotADirectory) => {
            let message = format!("workdir \"{cwd}\" exists on container {id}, but is not a directory");
            return Failure::new(FailureKind::NotExecutable, message);
        }
        _ if plan.first_of.is_some() => {
            (FailureKind::NotExecutable, format!("change to the working directory {cwd:?}"))
        }
        (None, ErrorKind::NotFound) => return not_found(&format!("chdir to `{cwd}`")),
        _ => (FailureKind::NotExecutable, format!("chdir to `{cwd}`")),
    };
    Failure { kind, ..Failure::errno(message, err) }
}

/// A working directory outside of the root would be a way out of the container (security.md C2).
fn assert_inside(process: &Process) -> Result<()> {
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
        _ => Err(invalid(format!("the working directory {:?} is not inside the container", process.cwd))),
    }
}

/// Gives up rights: user, groups, capabilities, and last the system call filter.
fn confine(plan: &RunPlan, identity: &Identity) -> Result<caps::CapPlan> {
    let wanted = caps::CapPlan {
        uid: identity.uid,
        gid: identity.gid,
        groups: (!plan.process.keep_groups).then(|| identity.groups.clone()),
        bounding: plan.security.capabilities,
        // Root has them without, and what it runs as another user is not to inherit them.
        ambient: if identity.uid == 0 { 0 } else { plan.security.ambient & plan.security.capabilities },
        no_new_privileges: plan.security.no_new_privileges,
        filter: plan.seccomp.clone().unwrap_or_default(),
    };
    let applied = caps::apply(&wanted);
    applied.map(|()| wanted).map_err(|err| {
        let mut failure = Failure::system(format!("become user {}:{}", identity.uid, identity.gid), &err);
        if matches!(&err, caps::CapError::Call { source: Errno::EINVAL, .. }) {
            failure.kind = FailureKind::Invalid;
            failure.hint =
                Some("this ID is not mapped into the container: see /etc/subuid and /etc/subgid".into());
        }
        failure
    })
}

/// A command that is ready to execute.
struct Command {
    args: Vec<CString>,
    env: Vec<CString>,
    /// Files to try, in order.
    candidates: Vec<CString>,
    /// The command was a bare name, looked for in PATH.
    searched: bool,
}

impl Command {
    fn of(process: &Process, identity: &Identity) -> Result<Self> {
        let strings = |list: &[Bytes]| -> Result<Vec<CString>> {
            list.iter()
                .map(|s| s.to_c_string().map_err(|_| invalid(format!("a NUL byte in {s:?}"))))
                .collect()
        };
        let args = strings(&process.args)?;
        let mut env = strings(&process.env)?;
        if variable(&process.env, b"HOME=").is_none() {
            let home = [b"HOME=", identity.home.as_slice()].concat();
            env.push(CString::new(home).map_err(|_| invalid("a NUL byte in the home directory"))?);
        }
        let name = process
            .args
            .first()
            .ok_or_else(|| invalid("no command: the image has none, so give one after the image's name"))?;
        if name.is_empty() {
            return Err(not_found("executable file `` not found in $PATH"));
        }
        let searched = !name.as_bytes().contains(&b'/');
        let candidates = if searched {
            let path = variable(&process.env, b"PATH=").unwrap_or(DEFAULT_PATH);
            path.split(|&b| b == b':')
                .map(|dir| if dir.is_empty() { &b"."[..] } else { dir })
                .filter_map(|dir| CString::new([dir, b"/", name.as_bytes()].concat()).ok())
                .collect()
        } else {
            vec![args[0].clone()]
        };
        Ok(Self { args, env, candidates, searched })
    }

    /// Executes the first candidate that works; says what went wrong if none does.
    fn execute(&self) -> Failure {
        let args: Vec<&CStr> = self.args.iter().map(CString::as_c_str).collect();
        let env: Vec<&CStr> = self.env.iter().map(CString::as_c_str).collect();
        let mut denied = None;
        for candidate in &self.candidates {
            match process::execve(candidate, &args, &env) {
                Errno::ENOENT | Errno::ENOTDIR if self.searched => {}
                Errno::EACCES | Errno::EISDIR if self.searched => denied = Some(Errno::EACCES),
                errno => return self.failure(candidate, errno),
            }
        }
        let name = self.args[0].to_string_lossy();
        match denied {
            Some(errno) => self.failure(&self.args[0], errno),
            None => not_found(&format!("executable file `{name}` not found in $PATH")),
        }
    }

    fn failure(&self, file: &CStr, errno: Errno) -> Failure {
        let name = file.to_string_lossy();
        let exists = rustix::fs::stat(file).ok();
        let is_file =
            exists.is_none_or(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let message = match errno {
            Errno::ENOENT | Errno::ENOTDIR if exists.is_none() => {
                return not_found(&format!("executable file `{name}` not found"));
            }
            Errno::ENOENT => return not_found(&format!("execute `{name}`: its interpreter does not exist")),
            Errno::E2BIG => format!(
                "execute `{name}`: Argument list too long: {} of arguments and environment",
                self.weight()
            ),
            _ if !is_file => {
                format!("the path `{name}` is not a regular file: Permission denied: {DENIED}")
            }
            Errno::EACCES | Errno::EPERM => format!("execute `{name}`: {}: {DENIED}", errno.desc()),
            errno => format!("execute `{name}`: {}", errno.desc()),
        };
        Failure::new(FailureKind::NotExecutable, message)
    }

    /// What the kernel weighs against its limit, as a text.
    fn weight(&self) -> String {
        let bytes: usize = self.args.iter().chain(&self.env).map(|s| s.as_bytes_with_nul().len() + 8).sum();
        format!("{} KiB", bytes >> 10)
    }
}

/// The value of the last variable with this `KEY=` prefix.
fn variable<'a>(env: &'a [Bytes], prefix: &[u8]) -> Option<&'a [u8]> {
    env.iter().rev().find_map(|entry| entry.as_bytes().strip_prefix(prefix))
}
