//! Signals as events in a loop: blocked, and read from a descriptor.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A set of signal numbers.
#[derive(Clone, Copy)]
pub(crate) struct SignalSet(libc::sigset_t);

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((1..=libc::SIGRTMAX()).filter(|&signal| self.contains(signal))).finish()
    }
}

impl SignalSet {
    /// No signal.
    pub(crate) fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset writes the whole set it is given a valid pointer to.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: initialised by the line above, which cannot fail for a valid pointer.
        Self(unsafe { set.assume_init() })
    }

    /// These signals; numbers that are no signals are left out.
    pub(crate) fn of(signals: &[i32]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            // SAFETY: the set is initialised; a bad number is answered with EINVAL and changes nothing.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    /// True if `signal` is in the set.
    pub(crate) fn contains(&self, signal: i32) -> bool {
        // SAFETY: the set is initialised; a bad number is answered with -1.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }
}

/// Blocks the signals of `set` in this thread, beside those already blocked, and returns the mask
/// from before.
///
/// # Errors
///
/// None that valid arguments could cause.
pub(crate) fn block(set: &SignalSet) -> io::Result<SignalSet> {
    change_mask(libc::SIG_BLOCK, set)
}

/// Sets the mask of this thread to exactly `set`: what [`block`] returned, or nothing before an exec.
///
/// # Errors
///
/// None that valid arguments could cause.
pub(crate) fn set_mask(set: &SignalSet) -> io::Result<SignalSet> {
    change_mask(libc::SIG_SETMASK, set)
}

fn change_mask(how: i32, set: &SignalSet) -> io::Result<SignalSet> {
    let mut before = SignalSet::empty();
    // SAFETY: both pointers are to initialised sets that outlive the call.
    let errno = unsafe { libc::pthread_sigmask(how, &raw const set.0, &raw mut before.0) };
    if errno == 0 { Ok(before) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// Gives `signal` its default action again. Rust's runtime ignores SIGPIPE, and an ignored signal
/// stays ignored across an exec.
///
/// # Errors
///
/// EINVAL for SIGKILL, SIGSTOP and what is no signal.
pub(crate) fn set_default(signal: i32) -> io::Result<()> {
    set_action(signal, libc::SIG_DFL)?;
    Ok(())
}

/// Ignores `signal`.
///
/// # Errors
///
/// As [`set_default`].
pub(crate) fn set_ignored(signal: i32) -> io::Result<()> {
    set_action(signal, libc::SIG_IGN)?;
    Ok(())
}

/// As long as this is held, a write into a pipe that nobody reads is an error (EPIPE), and not this process's end.
#[derive(Debug)]
pub(crate) struct BrokenPipesAreErrors(libc::sighandler_t);

impl BrokenPipesAreErrors {
    /// Ignores SIGPIPE from now on.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub(crate) fn begin() -> io::Result<Self> {
        set_action(libc::SIGPIPE, libc::SIG_IGN).map(Self)
    }
}

impl Drop for BrokenPipesAreErrors {
    fn drop(&mut self) {
        set_action(libc::SIGPIPE, self.0).ok();
    }
}

/// Gives `signal` an action, and answers with the one from before.
fn set_action(signal: i32, action: libc::sighandler_t) -> io::Result<libc::sighandler_t> {
    // SAFETY: of the actions that callers pass, SIG_DFL and SIG_IGN run no code of this process; `end_cancelled` does
    // nothing but end it, and needs no state; and what was the action before may be it again.
    let before = unsafe { libc::signal(signal, action) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(before) }
}

/// The exit code of a command that the user has cancelled: 128 + SIGINT.
const CANCELLED: i32 = 130;

extern "C" fn end_cancelled(_: libc::c_int) {
    // SAFETY: _exit(2) takes a number, and may be called within a signal handler (signal-safety(7)).
    unsafe { libc::_exit(CANCELLED) }
}

/// Has SIGINT and SIGTERM end this process at once with the exit code 130, until somebody else wants them. A program
/// that it executes has their default actions again. One that is ignored stays ignored.
///
/// # Errors
///
/// None in practice.
pub(crate) fn end_when_cancelled() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = end_cancelled;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        if set_action(signal, handler as libc::sighandler_t)? == libc::SIG_IGN {
            set_ignored(signal)?;
        }
    }
    Ok(())
}

/// Signals that the C library keeps for its threads and refuses to touch. Its posix_spawn leaves the first ignored
/// in what it starts, so a caller may hand that on to ketch.
const KEPT_BY_LIBC_FIRST: i32 = 32;
const KEPT_BY_LIBC_LAST: i32 = 33;

/// Gives a signal its default action without asking the C library.
fn set_default_unknown_to_libc(signal: i32) -> io::Result<()> {
    // The kernel's `struct sigaction`: handler (0 is SIG_DFL), flags, restorer, mask.
    let action = [0u64; 4];
    let nothing = std::ptr::null_mut::<u64>();
    // SAFETY: the kernel reads the 32 bytes of `action`, which outlive the call, and writes nothing.
    let done =
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), nothing, size_of::<u64>()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every signal its default action and unblocks all: the state a new program expects.
///
/// # Errors
///
/// None in practice; the two signals that cannot be changed are left out.
pub(crate) fn reset_all() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        match signal {
            libc::SIGKILL | libc::SIGSTOP => {}
            KEPT_BY_LIBC_FIRST | KEPT_BY_LIBC_LAST => set_default_unknown_to_libc(signal)?,
            _ => set_default(signal)?,
        }
    }
    set_mask(&SignalSet::empty())?;
    Ok(())
}

/// Ends this process by `signal`, as if it had never been caught: for a command that passes on how
/// its child died.
pub(crate) fn raise(signal: i32) {
    // SAFETY: a plain system call on numbers.
    unsafe { libc::raise(signal) };
}

/// Waits for one of the blocked signals of `set` and returns its number.
///
/// # Errors
///
/// None in practice: interruptions are waited through.
pub(crate) fn wait_for(set: &SignalSet) -> io::Result<i32> {
    loop {
        // SAFETY: the set is initialised and outlives the call; no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const set.0, std::ptr::null_mut()) };
        if signal > 0 {
            return Ok(signal);
        }
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

/// Blocked signals, readable from a descriptor (signalfd(2)), non-blocking and close-on-exec.
#[derive(Debug)]
pub(crate) struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks the signals of `set` in this thread and opens a descriptor that reads them.
    ///
    /// # Errors
    ///
    /// EMFILE, ENFILE.
    pub(crate) fn new(set: &SignalSet) -> io::Result<Self> {
        block(set)?;
        // SAFETY: the set is initialised and outlives the call; the kernel copies it.
        let fd = unsafe { libc::signalfd(-1, &raw const set.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just created this descriptor; nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal's number, or `None` if none is pending.
    ///
    /// # Errors
    ///
    /// None beyond those of a broken descriptor.
    pub(crate) fn read(&self) -> io::Result<Option<i32>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as large as the length says and writable.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read < 0 {
            let err = io::Error::last_os_error();
            return if err.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(err) };
        }
        // SAFETY: a signalfd yields whole structures only, so a read that did not fail filled it.
        let info = unsafe { info.assume_init() };
        Ok(i32::try_from(info.ssi_signo).ok())
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_are_read_from_the_descriptor() {
        let set = SignalSet::of(&[libc::SIGUSR2, 4711]);
        let signals = SignalFd::new(&set).unwrap();
        assert_eq!(signals.read().unwrap(), None);
        raise(libc::SIGUSR2);
        assert_eq!(signals.read().unwrap(), Some(libc::SIGUSR2));
        assert_eq!(signals.read().unwrap(), None);
        assert_eq!(format!("{set:?}"), "{12}");
    }
}
