//! The long forms of single values: numbers, times, sizes.

use crate::base::{size, time};
use crate::compose::canonical::Walk;
use crate::compose::node::{Kind, Node};
use crate::engine::Result;

impl Walk<'_, '_> {
    pub(super) fn bool(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Bool(value) => *value,
            Kind::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" => true,
                "false" | "f" | "no" | "n" | "off" | "0" => false,
                _ => return Err(self.error(node.at, "must be a boolean")),
            },
            _ => return Err(self.error(node.at, "must be a boolean")),
        };
        Ok(Node::bool(value, node.at))
    }

    pub(super) fn int(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Int(value) => Some(*value),
            #[allow(clippy::cast_possible_truncation, reason = "compared with the float right here")]
            Kind::Float(value) if (*value as i64) as f64 == *value => Some(*value as i64),
            Kind::Text(text) => text.parse().ok(),
            _ => None,
        };
        value.map(|value| Node::int(value, node.at)).ok_or_else(|| self.error(node.at, "must be a integer"))
    }

    #[allow(clippy::cast_precision_loss, reason = "numbers of processors and ratios are small")]
    pub(super) fn float(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Int(value) => Some(*value as f64),
            Kind::Float(value) => Some(*value),
            Kind::Text(text) => text.parse().ok(),
            _ => None,
        };
        let value = value.ok_or_else(|| self.error(node.at, "must be a number"))?;
        Ok(Node::new(Kind::Float(value), node.at))
    }

    pub(super) fn duration(&self, node: &Node) -> Result<Node> {
        let text = node.as_str().ok_or_else(|| self.error(node.at, "must be a string"))?;
        let ns = duration_ns(text).ok_or_else(|| {
            self.error(node.at, format!("must be a duration like 1m30s: time: invalid duration {text:?}"))
        })?;
        Ok(Node::text(time::go_duration(ns), node.at))
    }

    pub(super) fn bytes(&self, node: &Node) -> Result<Node> {
        let value = match &node.kind {
            Kind::Int(value) => Some(*value),
            Kind::Text(text) => bytes(text),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            let written = node.scalar_text().unwrap_or_default();
            self.error(node.at, format!("must be a size like 64m: invalid size: '{written}'"))
        })?;
        Ok(Node::text(value.to_string(), node.at))
    }
}

/// A duration, which may have days and weeks, in nanoseconds.
pub(crate) fn duration_ns(text: &str) -> Option<i64> {
    let duration = time::parse_long_duration(text).ok()?;
    i64::try_from(duration.as_nanos()).ok()
}

/// A size with docker's units, all of them powers of 1024; it may be negative, which often means no limit.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = i64::try_from(size::parse(text).ok()?).ok()?;
    Some(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_go_both_ways() {
        for (text, expected) in [
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("0", "0s"),
            ("1.5s", "1.5s"),
            ("100us", "100µs"),
            ("1500ns", "1.5µs"),
            ("-2h3m4.005s", "-2h3m4.005s"),
            ("1w2d", "216h0m0s"),
        ] {
            assert_eq!(time::go_duration(duration_ns(text).unwrap()), expected, "{text}");
        }
        for bad in ["", "1", "s", "1x", "1 s"] {
            assert_eq!(duration_ns(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [("64m", 67_108_864), (" 1gb ", 1 << 30), ("-1", -1), ("1.5k", 1536)] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        assert_eq!((bytes("x"), bytes("1z")), (None, None));
    }
}
