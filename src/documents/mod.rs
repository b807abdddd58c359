//! Row 6: the documents about containers, images, networks, volumes and the machine that `inspect` and `info` print and the API
//! answers with, in podman's form and in docker's.
//!
//! A document holds every field that templates know; [`pruned`] leaves out those that JSON has not when they are empty.

pub(crate) mod container;
pub(crate) mod event;
pub(crate) mod image;
pub(crate) mod info;
pub(crate) mod listing;
pub(crate) mod network;
pub(crate) mod ports;
pub(crate) mod pruned;
pub(crate) mod version;
pub(crate) mod volume;
pub(crate) mod words;

use serde_json::{Map, Value};

/// What docker calls the kind of overlay file system that layers are joined by.
const DRIVER: &str = "overlay2";

/// What runs containers, where docker has a choice of runtimes.
const RUNTIME: &str = "ketch";

/// Adds fields to a document.
pub(crate) fn add(document: &mut Value, fields: Value) {
    if let (Some(document), Value::Object(fields)) = (document.as_object_mut(), fields) {
        document.extend(fields);
    }
}

/// These fields of a document, in this order.
fn pick(from: &Value, fields: &[&str]) -> Value {
    let of = |field: &&str| ((*field).to_owned(), from.get(*field).cloned().unwrap_or_default());
    Value::Object(fields.iter().map(of).collect())
}

/// Puts something before a text that says something.
fn prefix(value: &mut Value, before: &str) {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        *value = format!("{before}{text}").into();
    }
}

/// Makes null of a list or map without entries, as docker has nil ones.
fn null_if_empty(value: &mut Value) {
    let is_empty =
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    if is_empty {
        *value = Value::Null;
    }
}
