//! A complete project as JSON, shaped as docker compose's `config --format json`.

use serde_json::{Map, Value, json};

use crate::base::order::InOrder as _;
use crate::compose::node::Node;
use crate::compose::schema::{DEPLOY, NETWORK, Record, SERVICE_FIELDS, WATCH};

/// The document, without a line feed at its end, as docker compose prints it.
///
/// # Errors
///
/// None in practice: text is always UTF-8 here.
pub(crate) fn document(tree: &Node) -> serde_json::Result<String> {
    let Value::Object(top) = tree.to_json() else { return Ok("{}".to_owned()) };
    let mut sections: Vec<(String, Value)> = top.into_iter().collect();
    sections.order_by(|(a, _), (b, _)| a.cmp(b));
    for (section, value) in &mut sections {
        let Some(named) = value.as_object_mut() else { continue };
        match section.as_str() {
            "services" => named.values_mut().for_each(|service| {
                present(service, "command", Value::Null, &SERVICE_FIELDS);
                present(service, "entrypoint", Value::Null, &SERVICE_FIELDS);
                if let Some(fields) = service.as_object_mut() {
                    fields.retain(|key, _| !key.starts_with("x-"));
                }
                let develop = service.get_mut("develop").and_then(|develop| develop.get_mut("watch"));
                for trigger in develop.and_then(Value::as_array_mut).into_iter().flatten() {
                    present(trigger, "exec", json!({ "command": null }), &WATCH);
                }
                if let Some(deploy) = service.get_mut("deploy") {
                    present(deploy, "resources", Value::Object(Map::new()), &DEPLOY);
                    present(deploy, "placement", Value::Object(Map::new()), &DEPLOY);
                }
            }),
            "networks" => named.values_mut().for_each(|network| {
                present(network, "ipam", Value::Object(Map::new()), &NETWORK);
            }),
            _ => {}
        }
    }
    let text = serde_json::to_string_pretty(&Value::Object(sections.into_iter().collect()))?;
    Ok(for_html(&text))
}

/// A tree as it is written, all keys in order.
///
/// # Errors
///
/// None in practice: text is always UTF-8 here.
pub(crate) fn written(tree: &Node) -> serde_json::Result<String> {
    let mut value = tree.to_json();
    value.sort_all_objects();
    Ok(for_html(&serde_json::to_string_pretty(&value)?))
}

/// Go's encoder writes these so that the text may stand in HTML.
fn for_html(text: &str) -> String {
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Puts a field in its place among the others if it is missing.
fn present(object: &mut Value, key: &str, value: Value, record: &'static Record) {
    let Some(fields) = object.as_object_mut().filter(|fields| !fields.contains_key(key)) else { return };
    let place = |key: &str| record.fields.iter().position(|(name, _)| *name == key).unwrap_or(usize::MAX);
    let at = fields.keys().position(|other| place(other) > place(key)).unwrap_or(fields.len());
    fields.shift_insert(at, key.to_owned(), value);
}
