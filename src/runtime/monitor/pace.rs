//! Reading a fast writer in larger pieces.
//!
//! A program that prints in small writes wakes its reader for each of them. Once that happens many times
//! within a moment, the reader sleeps a little before each read, so that a read, a write to the log, and a packet to each client hold
//! many writes of the program (measured with base64, which writes 4 KiB at a time). A slow writer is never waited for.
//!
//! The pieces stay small: what has gathered is still in the caches, and the processor does not fall into a sleep out of which
//! the program's own helpers (`dd | base64`) would have to wake it. With pieces of 112 KiB, read every half millisecond, a virtual
//! machine passed on a fifth less.

use std::time::{Duration, Instant};

/// Reads that follow each other faster than this are quick.
const QUICK: Duration = Duration::from_micros(150);
/// So many quick reads in a row are a flood.
const FLOOD: u32 = 16;
/// How long a flood gathers at first: less than a pipe of 1 MiB takes to fill, at 2 GB/s.
const GATHER: Duration = Duration::from_micros(50);
/// The longest that a flood gathers.
const LONGEST: Duration = Duration::from_millis(4);
/// How much is to gather: far less than the pipe holds, so that its writer is never stopped.
const WANTED: usize = 32 << 10;
/// Less than this after gathering is no flood any more.
const LITTLE: usize = 8 << 10;

/// The pace at which a container's output comes.
#[derive(Debug)]
pub(super) struct Pace {
    last: Instant,
    quick: u32,
    /// What is read now has gathered.
    gathered: bool,
    /// How much of it was read.
    bytes: usize,
    /// How long the next is to gather.
    gather: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), quick: 0, gathered: false, bytes: 0, gather: GATHER }
    }

    /// Notes a read of `length` bytes into a buffer of `room`.
    pub(super) fn note(&mut self, length: usize, room: usize) {
        self.bytes += length;
        if length >= room && self.gathered {
            // The rest of what has gathered is there already.
            return;
        }
        let now = Instant::now();
        let is_quick = match std::mem::take(&mut self.gathered) {
            true => {
                self.gather = longer_or_shorter(self.gather, self.bytes);
                self.bytes >= LITTLE
            }
            false => length >= room || now.duration_since(self.last) < QUICK,
        };
        self.quick = if is_quick { self.quick + 1 } else { 0 };
        if !self.is_flood() {
            self.gather = GATHER;
        }
        self.last = now;
    }

    /// True if more is likely to come at once.
    fn is_flood(&self) -> bool {
        self.quick >= FLOOD
    }

    /// Waits for a flood to gather; not for anything else.
    pub(super) fn settle(&mut self) {
        if self.is_flood() && !self.gathered {
            (self.gathered, self.bytes) = (true, 0);
            std::thread::sleep(self.gather);
        }
    }
}

/// How long to gather next, where `bytes` came in the time `last`; never much longer at once.
fn longer_or_shorter(last: Duration, bytes: usize) -> Duration {
    let wanted = last.mul_f64(WANTED as f64 / bytes.max(1) as f64);
    wanted.min(last * 2).clamp(GATHER, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flood_is_waited_for() {
        let mut pace = Pace::new();
        pace.last = Instant::now() - Duration::from_secs(1);
        pace.note(4096, 65535);
        assert_eq!(pace.quick, 0, "the first after a second");
        pace.quick = FLOOD;
        (pace.gathered, pace.bytes) = (true, 0);
        pace.note(65535, 65535);
        pace.note(100, 65535);
        assert!(pace.is_flood() && !pace.gathered, "it goes on");
        (pace.gathered, pace.bytes) = (true, 0);
        pace.note(100, 65535);
        assert!(!pace.is_flood(), "it has ended");
    }

    #[test]
    fn a_flood_gathers_what_is_read_at_once() {
        let ms = Duration::from_millis;
        for (last, bytes, next) in [
            (ms(1), WANTED, ms(1)),
            (ms(1), WANTED / 2, ms(2)),
            (ms(1), 1, ms(2)),
            (ms(1), 0, ms(2)),
            (ms(3), WANTED / 3, LONGEST),
            (ms(2), WANTED * 2, ms(1)),
            (ms(1), WANTED * 100, GATHER),
        ] {
            assert_eq!(longer_or_shorter(last, bytes), next, "{last:?} {bytes}");
        }
    }
}
