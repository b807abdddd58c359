//! How much each container has of something that all share: one that takes without end must not leave the others without.

use std::collections::HashMap;

use super::slab::Key;

/// What each container has that has anything.
#[derive(Debug, Default)]
pub(super) struct Count(HashMap<Key, usize>);

impl Count {
    /// How much a container has.
    pub(super) fn of(&self, container: Key) -> usize {
        self.0.get(&container).copied().unwrap_or(0)
    }

    /// Counts one more of a container.
    pub(super) fn more(&mut self, container: Key) {
        *self.0.entry(container).or_default() += 1;
    }

    /// Counts one less of a container.
    pub(super) fn less(&mut self, container: Key) {
        if let Some(count) = self.0.get_mut(&container) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&container);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nothing_is_forgotten() {
        let (one, two) = (Key { index: 1, generation: 0 }, Key { index: 2, generation: 0 });
        let mut count = Count::default();
        count.more(one);
        count.more(one);
        count.more(two);
        assert_eq!((count.of(one), count.of(two)), (2, 1));
        count.less(one);
        count.less(two);
        count.less(two);
        assert_eq!((count.of(one), count.of(two), count.0.len()), (1, 0, 1));
    }
}
