//! ICMP messages that come in several packets, put together again: packet sockets see them before the kernel does that.
//!
//! Links here keep the order, so a part that is not the next one means that one was lost: the rest is of no use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::slab::Key;
use crate::net::packet::Place;

/// Messages under way.
const MAX_MESSAGES: usize = 256;
const LONGEST: usize = 65_535;
/// How long the next part is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// On which bridge, from whom, to whom, which.
type Message = (Key, IpAddr, IpAddr, u32);

/// What has come of messages so far.
#[derive(Debug, Default)]
pub(super) struct Parts(HashMap<Message, (Vec<u8>, Instant)>);

impl Parts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes up a part; returns the message if that was the last.
    pub(super) fn add(
        &mut self,
        (bridge, source, destination): (Key, IpAddr, IpAddr),
        place: Place,
        bytes: &[u8],
        now: Instant,
    ) -> Option<Vec<u8>> {
        let message = (bridge, source, destination, place.number);
        let (mut so_far, _) = self.0.remove(&message).unwrap_or_else(|| (Vec::new(), now));
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
        if self.0.len() < MAX_MESSAGES {
            self.0.insert(message, (so_far, now));
        }
        None
    }

    /// Forgets messages the rest of which does not come.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|_, (_, last)| now.duration_since(*last) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_in_their_order_or_not_at_all() {
        let (mut parts, now) = (Parts::default(), Instant::now());
        let ends = |bridge| {
            (Key { index: bridge, generation: 0 }, "10.1.0.2".parse().unwrap(), "192.0.2.1".parse().unwrap())
        };
        let mut add = |bridge, offset, more, bytes: &[u8]| {
            parts.add(ends(bridge), Place { number: 1, offset, more }, bytes, now)
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
}
