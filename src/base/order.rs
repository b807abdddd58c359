//! Lists in order: the one sort of the program.
//! The standard library's is compiled once for every type and comparison, 4 to 6 kB each time (400 kB in all, a thirtieth of the binary);
//! here one copy of it orders places, and the elements then follow.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

/// What `slice::sort`, `sort_by` and `sort_by_key` do, equal elements in the order they had.
pub(crate) trait InOrder<T: ?Sized> {
    /// By the elements' own order.
    fn order(&mut self)
    where
        T: Ord;

    /// By `compare`.
    fn order_by(&mut self, compare: impl FnMut(&T, &T) -> Ordering);

    /// By what `key` says of each; asked anew for every comparison.
    fn order_by_key<K: Ord>(&mut self, key: impl FnMut(&T) -> K);
}

impl<T> InOrder<T> for [T] {
    fn order(&mut self)
    where
        T: Ord,
    {
        self.order_by(T::cmp);
    }

    fn order_by(&mut self, mut compare: impl FnMut(&T, &T) -> Ordering) {
        let mut sources = sources(self.len(), &mut |one, other| compare(&self[one], &self[other]));
        follow(&mut sources, &mut |one, other| self.swap(one, other));
    }

    fn order_by_key<K: Ord>(&mut self, mut key: impl FnMut(&T) -> K) {
        self.order_by(|one, other| key(one).cmp(&key(other)));
    }
}

/// By their keys.
impl<V> InOrder<str> for IndexMap<String, V> {
    fn order(&mut self) {
        self.order_by(str::cmp);
    }

    fn order_by(&mut self, mut compare: impl FnMut(&str, &str) -> Ordering) {
        let keys: Vec<&str> = self.keys().map(String::as_str).collect();
        let mut sources = sources(keys.len(), &mut |one, other| compare(keys[one], keys[other]));
        follow(&mut sources, &mut |one, other| self.swap_indices(one, other));
    }

    fn order_by_key<K: Ord>(&mut self, mut key: impl FnMut(&str) -> K) {
        self.order_by(|one, other| key(one).cmp(&key(other)));
    }
}

/// A map of `pairs`; of one key the last counts. What `collect` makes, which sorts first, with a copy of sort for each
/// kind of iterator.
pub(crate) fn map<K: Ord, V>(pairs: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(pairs);
    map
}

/// The same of pairs that may be wrong.
///
/// # Errors
///
/// The first of `pairs`.
pub(crate) fn try_map<K: Ord, V, E>(
    pairs: impl IntoIterator<Item = Result<(K, V), E>>,
) -> Result<BTreeMap<K, V>, E> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair?;
        map.insert(key, value);
    }
    Ok(map)
}

/// A set of `items`, made in the same way.
pub(crate) fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

/// For each place the place its element comes from.
fn sources(count: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut sources: Vec<usize> = (0..count).collect();
    sources.sort_by(|one, other| compare(*one, *other));
    sources
}

/// Brings every element to its place, one cycle of exchanges after the other.
fn follow(sources: &mut [usize], swap: &mut dyn FnMut(usize, usize)) {
    for first in 0..sources.len() {
        let mut at = first;
        loop {
            let from = std::mem::replace(&mut sources[at], at);
            if from == first {
                break;
            }
            swap(at, from);
            at = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random and are always the same.
    fn numbers(count: usize) -> Vec<u32> {
        let mut state = 12_345_u32;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 24
            })
            .collect()
    }

    #[test]
    fn as_the_standard_library_sorts() {
        for count in [0, 1, 2, 3, 20, 21, 100, 1_000] {
            let mut ours: Vec<(u32, usize)> =
                numbers(count).into_iter().enumerate().map(|(place, number)| (number, place)).collect();
            let mut theirs = ours.clone();
            ours.order_by_key(|(number, _)| *number);
            theirs.sort_by_key(|(number, _)| *number);
            assert_eq!(ours, theirs, "{count} by key, equal ones as they were");

            ours.order_by(|one, other| other.cmp(one));
            theirs.sort_by(|one, other| other.cmp(one));
            assert_eq!(ours, theirs, "{count} backwards");

            let mut words: Vec<String> = numbers(count).iter().map(u32::to_string).collect();
            let mut sorted = words.clone();
            words.order();
            sorted.sort();
            assert_eq!(words, sorted, "{count} words");
        }
    }
}
