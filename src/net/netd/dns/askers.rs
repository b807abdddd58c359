//! How much of the name server each container uses: one that asks without end must not leave the others without names.

use std::collections::HashMap;

use crate::net::netd::slab::Key;

/// What one container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    pending: usize,
    streams: usize,
}

/// What each container has that has anything.
#[derive(Debug, Default)]
pub(super) struct Askers(HashMap<Key, Counts>);

impl Askers {
    /// Queries of a container that are under way.
    pub(super) fn pending(&self, asker: Key) -> usize {
        self.0.get(&asker).map_or(0, |counts| counts.pending)
    }

    /// Connections of a container.
    pub(super) fn streams(&self, asker: Key) -> usize {
        self.0.get(&asker).map_or(0, |counts| counts.streams)
    }

    /// Counts one more query of a container, or one less.
    pub(super) fn count_pending(&mut self, asker: Key, more: bool) {
        self.change(asker, |counts| &mut counts.pending, more);
    }

    /// Counts one more connection of a container, or one less.
    pub(super) fn count_stream(&mut self, asker: Key, more: bool) {
        self.change(asker, |counts| &mut counts.streams, more);
    }

    fn change(&mut self, asker: Key, which: impl Fn(&mut Counts) -> &mut usize, more: bool) {
        let counts = self.0.entry(asker).or_default();
        let count = which(counts);
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *counts == Counts::default() {
            self.0.remove(&asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nothing_is_forgotten() {
        let (one, two) = (Key { index: 1, generation: 0 }, Key { index: 2, generation: 0 });
        let mut askers = Askers::default();
        askers.count_pending(one, true);
        askers.count_pending(one, true);
        askers.count_stream(two, true);
        assert_eq!((askers.pending(one), askers.streams(one)), (2, 0));
        assert_eq!((askers.pending(two), askers.streams(two)), (0, 1));
        askers.count_pending(one, false);
        askers.count_stream(two, false);
        assert_eq!((askers.pending(one), askers.0.len()), (1, 1));
    }
}
