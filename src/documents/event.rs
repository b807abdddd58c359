//! Events as templates and docker see them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::image_ref::NameRule;
use crate::documents::{add, network};
use crate::engine::Engine;
use crate::engine::events::{Event, dockers_word};

/// The fields of a template.
pub(crate) fn fields(event: &Event, names: NameRule) -> Value {
    let mut row = podman_fields(event);
    row["Image"] = image(event, names).into();
    if event.kind == "image" {
        row["Name"] = names.shown_text(&event.name).into();
    }
    as_docker(&mut row, event, names);
    row
}

/// The image of a container: docker has it as it was typed.
fn image(event: &Event, names: NameRule) -> String {
    match event.image_typed.as_str() {
        typed if names == NameRule::Docker && !typed.is_empty() => typed.to_owned(),
        _ => names.shown_text(&event.image),
    }
}

fn podman_fields(event: &Event) -> Value {
    let details = json!({
        "PodID": "",
        "ContainerInspectData": "",
        "Attributes": event.attributes,
    });
    json!({
        "ContainerExitCode": event.container_exit_code,
        "ID": event.id,
        "Image": event.image,
        "Name": event.name,
        "Network": event.network,
        "Status": event.status,
        "Time": event.time.as_second(),
        "TimeNano": nanoseconds(event),
        "Type": event.kind,
        "HealthStatus": event.health_status,
        "Error": event.error,
        "Details": details,
        "ContainerInspectData": "",
        "PodID": "",
        "Attributes": event.attributes,
    })
}

/// When it happened, in nanoseconds since 1970.
pub(crate) fn nanoseconds(event: &Event) -> i64 {
    i64::try_from(event.time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Adds `docker events`' fields to those of an event.
fn as_docker(row: &mut Value, event: &Event, names: NameRule) {
    let action = dockers_word(&event.kind, &event.status);
    let is_health = action == "health_status" && !event.health_status.is_empty();
    let action = if is_health { format!("{action}: {}", event.health_status) } else { action.to_owned() };
    let (id, attributes) = actor(event, names);
    let actor = json!({"ID": id, "Attributes": attributes});
    add(row, json!({"Action": action, "Actor": actor, "From": row["Image"], "Scope": "local"}));
}

/// Whom it has happened to, and what there is to say about that.
fn actor(event: &Event, names: NameRule) -> (String, BTreeMap<String, String>) {
    let mut attributes = event.attributes.clone();
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            attributes.insert(key.to_owned(), value.to_owned());
        }
    };
    match event.kind.as_str() {
        "volume" => {
            add("driver", "local");
            return (event.name.clone(), attributes);
        }
        "network" => {
            add("name", network::names::name(&event.network));
            add("type", event.attributes.get("driver").map_or("bridge", String::as_str));
            if matches!(event.status.as_str(), "connect" | "disconnect") {
                add("container", &event.id);
                return (event.network.clone(), attributes);
            }
            attributes.remove("driver");
            return (event.id.clone(), attributes);
        }
        "image" => {
            let name = names.shown_text(&event.name);
            add("name", &name);
            // What is pulled is called by its name.
            let id = if event.status == "pull" { name } else { format!("sha256:{}", event.id) };
            return (id, attributes);
        }
        _ => {}
    }
    add("name", &event.name);
    add("image", &image(event, names));
    if let Some(code) = event.container_exit_code.filter(|_| event.status.ends_with("died")) {
        add("exitCode", &code.to_string());
    }
    (event.id.clone(), attributes)
}

/// Docker's message about an event.
pub(crate) fn message(engine: &Engine, event: &Event) -> Value {
    let mut message = document(&fields(event, NameRule::Docker));
    if event.kind == "network" && message["Actor"]["Attributes"].get("container").is_some() {
        // The event knows it by name, and it may be gone.
        if let Ok(network) = engine.network(&event.network) {
            message["Actor"]["ID"] = network.id.into();
        }
    }
    if event.kind != "container" {
        message["id"] = message["Actor"]["ID"].clone();
    }
    if let Some(fields) = message.as_object_mut() {
        fields.retain(|key, value| !(key == "from" && value == ""));
        // Of networks and volumes there is nothing of the older form.
        if matches!(event.kind.as_str(), "network" | "volume") {
            fields.retain(|key, _| !matches!(key.as_str(), "status" | "id" | "from"));
        }
    }
    message
}

/// Docker knows nothing of these.
pub(crate) fn is_dockers(event: &Event) -> bool {
    !matches!(event.status.as_str(), "cleanup" | "init")
        && matches!(event.kind.as_str(), "container" | "image" | "network" | "volume" | "builder")
}

/// What `docker events --format json` prints, out of what a template sees.
pub(crate) fn document(row: &Value) -> Value {
    json!({
        "status": row["Action"], "id": row["ID"], "from": row["From"], "Type": row["Type"], "Action": row["Action"],
        "Actor": row["Actor"], "scope": row["Scope"], "time": row["Time"], "timeNano": row["TimeNano"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::network::DEFAULT_NETWORK;

    #[test]
    fn actors() {
        let event = |kind: &str, status: &str| Event {
            id: "12".to_owned(),
            attributes: [("driver".to_owned(), "bridge".to_owned())].into(),
            ..Event::new(kind, status)
        };
        let image = Event { name: "docker.io/library/a:latest".to_owned(), ..event("image", "pull") };
        let network = Event { network: DEFAULT_NETWORK.to_owned(), ..event("network", "connect") };
        for (event, id, key, value) in [
            (Event { container_exit_code: Some(3), ..event("container", "died") }, "12", "exitCode", "3"),
            (Event { name: "v".to_owned(), ..event("volume", "create") }, "v", "driver", "local"),
            (Event { image_typed: "bb".to_owned(), ..event("container", "start") }, "12", "image", "bb"),
            (image.clone(), "a:latest", "name", "a:latest"),
            (Event { status: "tag".to_owned(), ..image }, "sha256:12", "name", "a:latest"),
            (network.clone(), DEFAULT_NETWORK, "container", "12"),
            (network, DEFAULT_NETWORK, "name", "bridge"),
            (Event { network: "own".to_owned(), ..event("network", "create") }, "12", "type", "bridge"),
        ] {
            let (found, attributes) = actor(&event, NameRule::Docker);
            assert_eq!((found.as_str(), attributes[key].as_str()), (id, value), "{event:?}");
        }
    }
}
