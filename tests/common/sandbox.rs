//! One test's world: its own home, runtime directory and store, and nothing left of them afterwards.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Invocation, Output};
use super::{bb, ketch_binary, new_directory, wait_for};

/// A hermetic place to run ketch in. Dropping it removes its containers and everything below it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    dir: PathBuf,
}

impl Sandbox {
    /// A sandbox whose store holds the image `bb` (busybox).
    #[track_caller]
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::empty();
        bb::copy_store_to(&sandbox.store());
        sandbox
    }

    /// A sandbox whose store does not exist yet.
    pub(crate) fn empty() -> Self {
        // What tests expect of modes must not depend on who runs them.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let dir = new_directory("box");
        for below in ["home", "run", "tmp"] {
            fs::DirBuilder::new().mode(0o700).create(dir.join(below)).expect("make the sandbox");
        }
        Sandbox { dir }
    }

    /// A path below the sandbox.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.join(below)
    }

    /// The store's directory.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file below the sandbox, with its directories, and gives its path.
    pub(crate) fn write(&self, below: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("below the sandbox")).expect("make a directory");
        fs::write(&path, contents).expect("write a file");
        path
    }

    /// Writes an executable file below the sandbox.
    pub(crate) fn write_program(&self, below: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(below, contents);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
        path
    }

    /// The text of a file below the sandbox.
    #[track_caller]
    pub(crate) fn read(&self, below: impl AsRef<Path>) -> String {
        let path = self.path(below);
        fs::read_to_string(&path).unwrap_or_else(|err| panic!("read {}: {err}", path.display()))
    }

    /// Runs ketch to its end.
    #[track_caller]
    pub(crate) fn ketch<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).run()
    }

    /// Runs ketch, which has to succeed, and gives its standard output without the last newline.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        self.ketch(args).ok().to_owned()
    }

    /// Runs the shell script `script` in a container of `bb` with the further `options` of `run`, without a network
    /// unless they name one.
    #[track_caller]
    pub(crate) fn sh(&self, options: &[&str], script: &str) -> Output {
        let mut args = vec!["run", "--rm"];
        args.extend(without_network(options));
        args.extend(options);
        args.extend(["bb", "sh", "-c", script]);
        self.ketch(args)
    }

    /// Starts a container named `name` that runs `script` in the background, and gives its ID.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, options: &[&str], script: &str) -> String {
        let name = format!("--name={name}");
        let mut args = vec!["run", "-d", &name];
        args.extend(without_network(options));
        args.extend(options);
        args.extend(["bb", "sh", "-c", script]);
        self.ok(args)
    }

    /// ketch with `args` in this world, to be given more before it runs.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        self.program(ketch_binary(), args)
    }

    /// Any program in this world; its PATH finds ketch.
    pub(crate) fn program<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Invocation {
        let binary = ketch_binary();
        let bin = binary.parent().expect("a file has a directory").display();
        Invocation::new(program, args)
            .current_dir(&self.dir)
            .env("PATH", format!("{bin}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"))
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("KETCH_ROOT", self.store())
            // The network helper of a sandbox ends with it.
            .env("KETCH_NETWORK_LINGER", "1")
    }

    /// Calls ketch until it succeeds and its output holds `text`; gives that output.
    #[track_caller]
    pub(crate) fn wait_until(&self, args: &[&str], text: &str) -> String {
        wait_for(&format!("{text:?} from ketch {}", args.join(" ")), || {
            let output = self.ketch(args);
            let all = format!("{}{}", output.stdout, output.stderr);
            if output.code == 0 && all.contains(text) {
                Ok(all)
            } else {
                Err(format!("{}: {all}", output.code))
            }
        })
    }

    /// A field of a container, as `inspect --format` prints it.
    #[track_caller]
    pub(crate) fn inspect(&self, container: &str, field: &str) -> String {
        self.ok(["container", "inspect", &format!("--format={{{{{field}}}}}"), container])
    }

    /// All container names, also of those that do not run.
    #[track_caller]
    pub(crate) fn names(&self) -> Vec<String> {
        self.ok(["ps", "-a", "--format={{.Names}}"]).lines().map(str::to_owned).collect()
    }

    /// The process that holds the lock of this store's netd, as the kernel lists it.
    #[track_caller]
    pub(crate) fn netd(&self) -> i32 {
        let inode = fs::metadata(self.path("store/net/netd.lock")).expect("netd has a lock").ino();
        let locks = fs::read_to_string("/proc/locks").expect("list locks");
        let line = locks.lines().find(|line| line.contains(&format!(":{inode} "))).expect("the lock is held");
        line.split_whitespace().nth(4).and_then(|pid| pid.parse().ok()).expect("a process")
    }

    /// Removes containers and files. An error is the test's, unless it has failed already.
    fn clean(&self) -> Result<(), String> {
        if self.store().join("containers").read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            let removed = self.ketch(["rm", "--force", "--all", "--time=0"]);
            if removed.code != 0 {
                return Err(format!("rm --force --all: {}: {}", removed.code, removed.stderr));
            }
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Another panic inside a panic would abort the whole binary.
        let cleaned = if std::thread::panicking() {
            std::panic::catch_unwind(|| self.clean()).unwrap_or(Ok(()))
        } else {
            self.clean()
        };
        remove_tree(&self.dir);
        if !std::thread::panicking() {
            cleaned.expect("clean up after the test");
        }
    }
}

/// The option that spares a test the making of a network, unless `options` are about one.
fn without_network(options: &[&str]) -> Option<&'static str> {
    options.iter().all(|option| !option.starts_with("--net")).then_some("--net=none")
}

/// Removes a tree that may hold files of a container's users, whatever their modes.
pub(crate) fn remove_tree(dir: &Path) {
    if fs::remove_dir_all(dir).is_ok() {
        return;
    }
    let script = "chmod -R u+rwX \"$1\" 2> /dev/null; rm -rf \"$1\"";
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--map-auto", "sh", "-c", script, "sh"])
        .arg(dir)
        .status()
        .expect("start unshare");
    assert!(status.success() || std::thread::panicking(), "remove {}", dir.display());
}
