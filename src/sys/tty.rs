//! Terminals: pseudo-terminal pairs, window sizes, raw mode.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, Winsize};

/// Rows and columns of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct WindowSize {
    pub(crate) rows: u16,
    pub(crate) cols: u16,
}

/// True if `fd` is a terminal.
pub(crate) fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// The size of the window that a terminal is shown in.
///
/// # Errors
///
/// ENOTTY if it is not a terminal.
pub(crate) fn window_size(fd: BorrowedFd<'_>) -> io::Result<WindowSize> {
    let size = rustix::termios::tcgetwinsize(fd)?;
    Ok(WindowSize { rows: size.ws_row, cols: size.ws_col })
}

/// Sets the size; the kernel sends SIGWINCH to the terminal's foreground group if it changed.
///
/// # Errors
///
/// ENOTTY if it is not a terminal.
pub(crate) fn set_window_size(fd: BorrowedFd<'_>, size: WindowSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(fd, size)?)
}

/// Makes the terminal pair whose master is `ptmx`, a freshly opened `ptmx` of any devpts instance,
/// usable, and opens its other end without looking at a path (TIOCGPTPEER, Linux 4.13).
///
/// The result is close-on-exec and not the controlling terminal.
///
/// # Errors
///
/// ENOTTY if `ptmx` is something else.
pub(crate) fn open_peer(ptmx: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int through the pointer, which lives until the call returns.
    let ret = unsafe { libc::ioctl(ptmx.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) };
    if ret != 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value.
    let fd = unsafe { libc::ioctl(ptmx.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just created this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `terminal` the controlling terminal of this process, which must lead a session without one.
///
/// # Errors
///
/// EPERM if it is not a session leader or the terminal belongs to another session.
pub(crate) fn take_as_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes a number; 0 means not to steal it from another session.
    let ret = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A terminal in raw mode: every byte passes unchanged. Dropping this puts the old mode back.
#[derive(Debug)]
pub(crate) struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
    raw: Termios,
}

impl<'fd> RawMode<'fd> {
    /// Switches to raw mode once what was written so far is shown.
    ///
    /// # Errors
    ///
    /// ENOTTY if it is not a terminal; EIO from a background process of an orphaned session.
    pub(crate) fn enter(terminal: BorrowedFd<'fd>) -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        Ok(Self { terminal, before, raw })
    }

    /// Switches to raw mode again, after somebody else has changed the mode.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub(crate) fn renew(&self) -> io::Result<()> {
        Ok(rustix::termios::tcsetattr(self.terminal, OptionalActions::Drain, &self.raw)?)
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // If the terminal is gone there is no mode to restore, and nobody to tell.
        rustix::termios::tcsetattr(self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}

/// A terminal that does not show what is typed. Dropping this puts the old mode back.
#[derive(Debug)]
pub(crate) struct NoEcho<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> NoEcho<'fd> {
    /// Switches the echo off, as a password needs it.
    ///
    /// # Errors
    ///
    /// ENOTTY if it is not a terminal.
    pub(crate) fn enter(terminal: BorrowedFd<'fd>) -> io::Result<Self> {
        use rustix::termios::LocalModes;
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown, so that what follows begins on a new one.
        silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        rustix::termios::tcsetattr(terminal, OptionalActions::Drain, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for NoEcho<'_> {
    fn drop(&mut self) {
        // If the terminal is gone there is no mode to restore, and nobody to tell.
        rustix::termios::tcsetattr(self.terminal, OptionalActions::Drain, &self.before).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_carries_bytes_size_and_mode() {
        let master = std::fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap();
        let peer = open_peer(master.as_fd()).unwrap();
        let size = WindowSize { rows: 31, cols: 99 };

        set_window_size(master.as_fd(), size).unwrap();
        assert_eq!(window_size(peer.as_fd()).unwrap(), size);
        assert!(is_terminal(&peer));

        let cooked = rustix::termios::tcgetattr(&peer).unwrap().local_modes;
        let raw = RawMode::enter(peer.as_fd()).unwrap();
        assert_ne!(rustix::termios::tcgetattr(&peer).unwrap().local_modes, cooked);
        drop(raw);
        assert_eq!(rustix::termios::tcgetattr(&peer).unwrap().local_modes, cooked);
        let silent = NoEcho::enter(peer.as_fd()).unwrap();
        let echo = rustix::termios::LocalModes::ECHO;
        assert!(!rustix::termios::tcgetattr(&peer).unwrap().local_modes.contains(echo));
        drop(silent);
        assert_eq!(rustix::termios::tcgetattr(&peer).unwrap().local_modes, cooked);
    }
}
