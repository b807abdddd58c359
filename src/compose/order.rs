//! The order in which Go's yaml.v3 writes the keys of a mapping: numbers in them by their value, letters after
//! everything else. What has a fixed set of keys keeps the order of the schema.

use std::cmp::Ordering;

use crate::base::order::InOrder as _;
use crate::compose::node::{Kind, Node};
use crate::compose::schema::{FILE, Shape};

/// Puts the keys of a whole file in the order in which docker compose prints them as YAML.
pub(crate) fn file(file: &mut Node) {
    if let Some(top) = file.as_map_mut() {
        for (section, node) in top {
            below(node, FILE.field(section).unwrap_or(&Shape::Any));
        }
    }
}

/// The same for a file as it is written, all keys in one order.
pub(crate) fn written(file: &mut Node) {
    below(file, &Shape::Any);
}

fn below(node: &mut Node, shape: &'static Shape) {
    match (&mut node.kind, shape) {
        (_, Shape::Short(_, inner) | Shape::Several(_, inner)) => below(node, inner),
        (Kind::Map(fields), Shape::Record(record) | Shape::Mount(record)) => {
            for (name, value) in fields.iter_mut() {
                below(value, record.field(name).unwrap_or(&Shape::Any));
            }
        }
        (
            Kind::Map(named),
            Shape::Named(_)
            | Shape::Replaced(_)
            | Shape::Environment
            | Shape::Labels
            | Shape::Options
            | Shape::Any,
        ) => {
            named.order_by(keys);
            let item = match shape {
                Shape::Named(item) | Shape::Replaced(item) => item,
                _ => &Shape::Any,
            };
            named.values_mut().for_each(|value| below(value, item));
        }
        (Kind::List(list), Shape::List(item) | Shape::Set(item, _)) => {
            list.iter_mut().for_each(|value| below(value, item));
        }
        (Kind::List(list), Shape::Any) => list.iter_mut().for_each(|value| below(value, &Shape::Any)),
        _ => {}
    }
}

/// Which of two keys comes first.
///
/// # Source
///
/// Observed: what docker compose 2.26 prints for keys that differ in these ways.
pub(crate) fn keys(one: &str, other: &str) -> Ordering {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let Some(place) = one.iter().zip(&other).position(|(a, b)| a != b) else {
        return one.len().cmp(&other.len());
    };
    let (a, b) = (one[place], other[place]);
    let after_digit = place > 0 && one[place - 1].is_numeric();
    match (a.is_alphabetic(), b.is_alphabetic()) {
        (true, true) => return a.cmp(&b),
        // After a number the letter comes first: `1a` before `1_`.
        (true, false) => return if after_digit { Ordering::Less } else { Ordering::Greater },
        (false, true) => return if after_digit { Ordering::Greater } else { Ordering::Less },
        (false, false) => {}
    }
    let number = |text: &[char]| -> (usize, u128) {
        let digits: Vec<u128> = text[place..].iter().map_while(|c| c.to_digit(10)).map(u128::from).collect();
        // A zero that differs belongs to the number that has begun before it.
        let begun = text[..place].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
        let start = u128::from((a == '0' || b == '0') && begun);
        let value = digits.iter().fold(start, |sum, digit| sum.saturating_mul(10).saturating_add(*digit));
        (digits.len(), value)
    };
    let ((one_length, one_value), (other_length, other_value)) = (number(&one), number(&other));
    one_value.cmp(&other_value).then(one_length.cmp(&other_length)).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_docker_compose_orders_them() {
        let want = [
            "1a", "1_", "A-B", "A_B", "A2", "A10", "AB", "Z", "a", "a.b", "a1", "a9", "a10", "ab", "s1",
            "s2", "s10",
        ];
        let mut all = want;
        all.reverse();
        all.sort_by(|a, b| keys(a, b));
        assert_eq!(all, want);
    }
}
