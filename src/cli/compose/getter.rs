//! How `compose` gets images: one with its progress shown, several at once in processes of their own, because
//! only a process that has one thread makes others (the workers that unpack).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use crate::base::platform::Platform;
use crate::cli::compose::build::BuildFailed;
use crate::cli::error::AlreadyReported;
use crate::cli::globals::Globals;
use crate::cli::progress::Progress;
use crate::cli::session::Exit;
use crate::cli::together::{self, Screen};
use crate::compose::apply::{Images, ToPull};
use crate::compose::project::Project;
use crate::engine::pull::{self, PullEvent, PullPolicy, PullRequest};
use crate::engine::{Engine, Error, Kind, Result};

/// Gets images for a project.
pub(super) struct Getter<'a> {
    pub(super) engine: &'a Engine,
    pub(super) globals: &'a Globals,
    /// How images are built is not shown.
    pub(super) quiet_build: bool,
    pub(super) progress: RefCell<Progress>,
}

impl Images for Getter<'_> {
    fn pull(
        &self,
        images: &[ToPull],
        limit: usize,
        done: &mut dyn FnMut(&ToPull, Result<()>) -> Result<()>,
    ) -> Result<()> {
        if images.len() < 2 || limit < 2 {
            return images.iter().try_for_each(|image| done(image, self.pull_here(image)));
        }
        let mut under_way: VecDeque<(&ToPull, Child)> = VecDeque::new();
        let mut result = Ok(());
        for image in images {
            if under_way.len() >= limit
                && let Some((first, child)) = under_way.pop_front()
            {
                result = result.and(done(first, end_of(child, &first.image)));
            }
            if result.is_err() {
                break;
            }
            match self.begin(image) {
                Ok(child) => under_way.push_back((image, child)),
                Err(err) => result = done(image, Err(err)),
            }
        }
        for (image, child) in under_way {
            result = result.and(done(image, end_of(child, &image.image)));
        }
        result
    }

    fn build(&self, project: &Project, services: &[String]) -> Result<()> {
        let mut lines = Vec::new();
        for name in services {
            let Some(build) = project.service(name)?.get("build") else { continue };
            let mut words = super::build::words(self.engine, project, name, build, true)?;
            if self.quiet_build {
                words.insert(1, "--quiet".into());
            }
            words.splice(1..1, super::build::shown_as(self.globals.project.progress.as_ref()));
            lines.push((name.clone(), words));
        }
        let limit = self.globals.project.parallel.unwrap_or_else(together::limit);
        if lines.len() < 2 || limit < 2 {
            return lines.iter().try_for_each(|(name, words)| self.build_here(name, words));
        }
        // Standard output is the command's of `run`.
        let stderr = std::io::stderr();
        let is_tty = stderr.is_terminal();
        let mut screen = Screen { out: &mut stderr.lock(), is_tty, globals: self.globals };
        let ended = super::build::side_by_side(&mut screen, project, &lines, limit);
        must_be_ok(ended, || "build the images of the services".to_owned())
    }
}

impl Getter<'_> {
    fn build_here(&self, service: &str, words: &[OsString]) -> Result<()> {
        let ended = printing_to(std::io::stderr().as_fd(), || {
            crate::cli::dispatch(words, &mut self.globals.clone())
        })?;
        must_be_ok(ended, || format!("build the image of service {service}"))
    }

    fn pull_here(&self, image: &ToPull) -> Result<()> {
        let platform = image.platform.as_deref().map(str::parse::<Platform>).transpose();
        let platform = platform.map_err(|err| Error::invalid(err.to_string()))?;
        let request = PullRequest { policy: PullPolicy::Always, platform, ..PullRequest::default() };
        let progress = self.progress.borrow();
        let events = |event: &PullEvent<'_>| progress.show(event);
        pull::pull(self.engine, &image.image, &request, &events).map(drop)
    }

    /// Starts a pull in a process of its own.
    fn begin(&self, image: &ToPull) -> Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(self.globals.called.name());
        command.args(self.globals.words()).args(["pull", "--quiet"]);
        if let Some(platform) = &image.platform {
            command.args(["--platform", platform]);
        }
        command.arg(&image.image).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map_err(|err| Error::system(format!("start the pull of {}", image.image), err))
    }
}

/// Makes an error of a command that did not end well; `action` is what it was to do.
fn must_be_ok(ended: anyhow::Result<Exit>, action: impl FnOnce() -> String) -> Result<()> {
    match ended {
        Ok(Exit::OK) => Ok(()),
        Ok(_) => Err(Error::new(Kind::System, action()).because(BuildFailed)),
        Err(err) if err.is::<AlreadyReported>() => {
            Err(Error::new(Kind::System, action()).because(BuildFailed))
        }
        Err(err) => Err(Error::new(Kind::System, action()).because(format!("{err:#}"))),
    }
}

/// Does something whose standard output goes elsewhere meanwhile.
///
/// # Errors
///
/// If that cannot be.
pub(super) fn printing_to<T>(to: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T> {
    let failed = |err: std::io::Error| Error::system("redirect the standard output", err);
    let own = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    let redirect = |to: BorrowedFd<'_>| {
        std::io::stdout().flush().and_then(|()| Ok(nix::unistd::dup2_stdout(to)?)).map_err(failed)
    };
    redirect(to)?;
    let result = work();
    redirect(own.as_fd())?;
    Ok(result)
}

/// Waits for a pull; what it has said is why it has failed.
fn end_of(child: Child, image: &str) -> Result<()> {
    let output = child
        .wait_with_output()
        .map_err(|err| Error::system(format!("wait for the pull of {image}"), err))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let beginnings = ["Error: ", "Error response from daemon: "];
    let said = beginnings.iter().find_map(|beginning| said.strip_prefix(beginning)).unwrap_or(said);
    Err(Error::new(Kind::System, said))
}
