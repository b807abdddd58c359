//! ketch as process 1 (`--init`): forwards signals to the command and reaps what it leaves behind. The infra container of
//! a pod has nothing else.
//!
//! No further program is needed: init simply stays, as the read-only, undumpable clone of ketch that
//! it is, with the rights of the container's user, and the command becomes process 2.

use std::os::fd::AsFd;

use rustix::process::{Pid, WaitOptions};

use crate::runtime::failure::Failure;
use crate::sys::caps::{self, CapPlan};
use crate::sys::clone::{self, Cloned};
use crate::sys::signal::{self, SignalSet};
use crate::sys::{pidfd, process};

use super::Result;

/// Signals that say something about the receiver itself and are not passed on.
const OWN: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Signals by which it is asked to end where there is no command that they are for.
const ENDING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

/// Where the command's pidfd is kept; everything above is closed.
const KEPT: i32 = 3;

/// Forks. The child returns, to become the command; the parent never does.
pub(super) fn stay(terminal: bool, rights: &CapPlan) -> Result<()> {
    let all: Vec<i32> =
        (1..=libc::SIGRTMAX()).filter(|&s| s != libc::SIGKILL && s != libc::SIGSTOP).collect();
    let before = signal::block(&SignalSet::of(&all)).map_err(|err| Failure::errno("block signals", err))?;
    match clone::clone3(0).map_err(|errno| Failure::errno("start the command", errno))? {
        Cloned::Child => {
            if terminal {
                // A group of its own in the foreground, so that ctrl-C reaches it once and not twice.
                rustix::process::setpgid(None, None).ok();
                rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpid()).ok();
            }
            signal::set_mask(&before).map(drop).map_err(|err| Failure::errno("unblock signals", err))
        }
        Cloned::Parent { pid, pidfd } => {
            caps::settle(rights).map_err(|err| Failure::system("give up capabilities", &err))?;
            // The report socket must close here as well, or the monitor would wait for ever. This
            // process never returns to the owners of the other descriptors.
            process::place_at(pidfd.as_fd(), KEPT).map_err(|errno| Failure::errno("keep a pidfd", errno))?;
            process::close_from(KEPT.cast_unsigned() + 1);
            let kept = process::inherited(KEPT).map_err(|errno| Failure::errno("keep a pidfd", errno))?;
            std::mem::forget(pidfd);
            serve(pid, kept.as_fd(), &SignalSet::of(&all))
        }
    }
}

/// Stays as process 1 without a command, which holds the namespaces of a pod: reaps whatever becomes its child, and ends
/// by a signal that asks for it. Returns only what went wrong before.
pub(super) fn pause(rights: &CapPlan) -> Result<()> {
    let watched = SignalSet::of(&[&[libc::SIGCHLD][..], &ENDING].concat());
    signal::block(&watched).map_err(|err| Failure::errno("block signals", err))?;
    // What listings of processes show; that it cannot be said changes nothing.
    nix::sys::prctl::set_name(c"pause").ok();
    caps::settle(rights).map_err(|err| Failure::system("give up capabilities", &err))?;
    // The report socket closes here, too: that says that all went well.
    process::close_from(KEPT.cast_unsigned());
    loop {
        match signal::wait_for(&watched) {
            Ok(number) if ENDING.contains(&number) => process::exit_now(0),
            Ok(_) => while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {},
            Err(_) => process::exit_now(125),
        }
    }
}

fn serve(child: i32, pidfd: std::os::fd::BorrowedFd<'_>, watched: &SignalSet) -> ! {
    loop {
        let Ok(number) = signal::wait_for(watched) else { process::exit_now(125) };
        if number == libc::SIGCHLD {
            reap(child);
        } else if !OWN.contains(&number) {
            pidfd::send_signal(pidfd, number).ok();
        }
    }
}

/// Reaps every dead child; ends with the command's status once that is among them.
fn reap(child: i32) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(pid) == Pid::from_raw(child) {
            let signal = status.terminating_signal().map(|signal| 128 + signal);
            process::exit_now(status.exit_status().or(signal).unwrap_or(125));
        }
    }
}
