//! Points at which a test makes this process fail or die: what a power cut, a full disk or kill -9 would do there.
//!
//! ```text
//! KETCH_FAILPOINTS="staging.publish=kill"     kill -9 of this process, the first time it comes there
//! KETCH_FAILPOINTS="blob.append=err:28"       the operation fails with this errno, each time
//! ```
//!
//! Without the feature `failpoints` [`reach`] is an empty function that the compiler removes. Processes that ketch starts for a
//! container or for unpacking have no environment, so points act in the command itself.

#[cfg(not(feature = "failpoints"))]
use std::io;

/// Says that the process has come to the point `name`, which stands before what is to fail.
///
/// # Errors
///
/// What the test has asked for at this point.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reach(_name: &'static str) -> io::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::{arm, reach};

#[cfg(feature = "failpoints")]
mod armed {
    use std::io;
    use std::sync::OnceLock;

    /// What happens at the one point that is armed.
    #[derive(Debug)]
    enum Action {
        Kill,
        Fail(i32),
    }

    static ARMED: OnceLock<(String, Action)> = OnceLock::new();

    /// Arms the point that `text` names: `point=kill` or `point=err:ERRNO`. Anything else arms nothing.
    pub(crate) fn arm(text: &str) {
        let Some((point, action)) = text.split_once('=') else { return };
        let action = match action.strip_prefix("err:").and_then(|errno| errno.parse().ok()) {
            Some(errno) => Action::Fail(errno),
            None if action == "kill" => Action::Kill,
            None => return,
        };
        ARMED.set((point.to_owned(), action)).ok();
    }

    pub(crate) fn reach(name: &'static str) -> io::Result<()> {
        match ARMED.get() {
            Some((point, Action::Fail(errno))) if point == name => Err(io::Error::from_raw_os_error(*errno)),
            Some((point, Action::Kill)) if point == name => {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
                // The signal comes before this returns to user space; nothing is done after it.
                loop {
                    std::thread::park();
                }
            }
            _ => Ok(()),
        }
    }
}
