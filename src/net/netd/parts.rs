//! ICMP messages that come in several packets, put together again: packet sockets see them before the kernel does that.
//!
//! Links here keep the order, so a part that is not the next one means that one was lost: the rest is of no use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::count::Count;
use super::slab::Key;
use crate::net::packet::Place;

/// Messages of one container that are under way.
const OWN_MESSAGES: usize = 16;
const LONGEST: usize = 65_535;
/// How long the next part is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which container, from which of its addresses, to whom, which.
type Message = (Key, IpAddr, IpAddr, u32);

/// What has come of messages so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    begun: HashMap<Message, (Vec<u8>, Instant)>,
    own: Count,
}

impl Parts {
    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// Takes up a part of what a container sends; returns the message if that was the last.
    pub(super) fn add(
        &mut self,
        container: Key,
        (source, destination): (IpAddr, IpAddr),
        place: Place,
        bytes: &[u8],
        now: Instant,
    ) -> Option<Vec<u8>> {
        let message = (container, source, destination, place.number);
        let mut so_far = Vec::new();
        if let Some((known, _)) = self.begun.remove(&message) {
            self.own.less(container);
            so_far = known;
        }
        if place.offset == 0 {
            so_far.clear();
        }
        if place.offset != so_far.len() || so_far.len() + bytes.len() > LONGEST {
            return None;
        }
        so_far.extend_from_slice(bytes);
        if !place.more {
            return Some(so_far);
        }
        if self.own.of(container) < OWN_MESSAGES {
            self.begun.insert(message, (so_far, now));
            self.own.more(container);
        }
        None
    }

    /// Forgets messages the rest of which does not come.
    pub(super) fn expire(&mut self, now: Instant) {
        self.begun.retain(|(container, ..), (_, last)| {
            let is_waited_for = now.duration_since(*last) < PATIENCE;
            if !is_waited_for {
                self.own.less(*container);
            }
            is_waited_for
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_in_their_order_or_not_at_all() {
        let (mut parts, now) = (Parts::default(), Instant::now());
        let ends = ("10.1.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let mut add = |container, offset, more, bytes: &[u8]| {
            let container = Key { index: container, generation: 0 };
            parts.add(container, ends, Place { number: 1, offset, more }, bytes, now)
        };
        assert_eq!(add(1, 0, true, b"12345678"), None);
        assert_eq!(add(2, 0, true, b"........"), None, "another's");
        assert_eq!(add(1, 8, true, b"abcdefgh"), None);
        assert_eq!(add(1, 16, false, b"end").as_deref(), Some(&b"12345678abcdefghend"[..]));
        assert_eq!(add(1, 16, false, b"end"), None, "without its beginning");
        assert_eq!(add(1, 0, true, b"12345678"), None);
        assert_eq!(add(1, 16, false, b"end"), None, "one was lost");
        assert_eq!(add(1, 8, false, b"late"), None);
        assert!(!parts.is_empty());
        parts.expire(now + PATIENCE);
        assert!(parts.is_empty());
    }

    #[test]
    fn who_begins_without_end_leaves_others_theirs() {
        let (mut parts, now) = (Parts::default(), Instant::now());
        let ends = ("10.1.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let add = |parts: &mut Parts, container, number, offset| {
            let container = Key { index: container, generation: 0 };
            parts
                .add(container, ends, Place { number, offset, more: offset == 0 }, b"12345678", now)
                .is_some()
        };
        for number in 0..100 {
            add(&mut parts, 1, number, 0);
        }
        assert_eq!(parts.begun.len(), OWN_MESSAGES);
        add(&mut parts, 2, 1, 0);
        assert!(add(&mut parts, 2, 1, 8), "another's");
        assert!(add(&mut parts, 1, 1, 8), "its own first");
        add(&mut parts, 1, 200, 0);
        assert!(add(&mut parts, 1, 200, 8), "in the place of one that has come");
        parts.expire(now + PATIENCE);
        assert!(parts.is_empty() && parts.own.of(Key { index: 1, generation: 0 }) == 0);
    }
}
