//! When to look for events: asleep, awake, or a little later.
//!
//! ```text
//! streaming (pages are moved)  ─▶ sleep a moment, then take more at once: fewer wake-ups per byte
//! question and answer          ─▶ look again and again for a moment: the answer is not delayed by a wake-up
//! anything else                ─▶ sleep until something happens
//! ```
//!
//! A wake-up costs several microseconds on the machine that wakes and on the one that is woken, more than what netd does
//! with a packet. Whether to look instead of to sleep is learnt from the last sleep: if it was short, the next
//! one is expected to be so too, and one time in vain ends that (as halt polling of KVM does it).

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::reactor::{Event, Reactor};

/// How long to let bytes gather while streaming. What comes in that time at 25 Gbit/s (600 kB) fits a socket's buffer and a pipe.
const GATHER: Duration = Duration::from_micros(200);
/// How long to look for events before sleeping, and the longest sleep after which to do so.
const LOOK: Duration = Duration::from_micros(60);

/// How the loop waits.
#[derive(Debug)]
pub(super) struct Pace {
    /// The last sleep was a short one.
    lively: bool,
    /// There is a processor for somebody else while this thread looks.
    may_look: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        // Sleeps of microseconds are meant as such. Otherwise they are longer, and all the same.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).ok();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { lively: false, may_look: processors > 1 }
    }

    /// Waits at most `timeout` and appends what happened to `into`.
    pub(super) fn wait(
        &mut self,
        reactor: &mut Reactor,
        streaming: bool,
        timeout: Option<Duration>,
        into: &mut Vec<Event>,
    ) -> Result<(), Errno> {
        if timeout == Some(Duration::ZERO) {
            return reactor.wait(timeout, into);
        }
        if streaming {
            self.lively = false;
            std::thread::sleep(GATHER);
            return reactor.wait(timeout, into);
        }
        if self.lively {
            let begun = Instant::now();
            while begun.elapsed() < LOOK {
                reactor.wait(Some(Duration::ZERO), into)?;
                if !into.is_empty() {
                    return Ok(());
                }
                // Whoever shall answer may be waiting for this very processor.
                rustix::thread::sched_yield();
            }
        }
        let asleep = Instant::now();
        reactor.wait(timeout, into)?;
        self.lively = self.may_look && asleep.elapsed() < LOOK;
        Ok(())
    }
}
