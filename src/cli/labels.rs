//! `KEY=VALUE` as labels take it: a key alone has the empty value.

use std::collections::BTreeMap;

use crate::base::order;

/// One label.
pub(crate) fn label(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}

/// Several; of one key the last counts.
pub(crate) fn labels(texts: &[String]) -> BTreeMap<String, String> {
    order::map(texts.iter().map(|text| label(text)))
}
