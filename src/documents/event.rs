//! Events as templates and docker see them.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::base::image_ref::NameRule;
use crate::documents::{add, network};
use crate::engine::Engine;
use crate::engine::events::{Event, PRUNE, dockers_word};

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

/// Docker's word for what has happened, with what it says in the same breath.
pub(crate) fn action(event: &Event) -> String {
    let word = dockers_word(&event.kind, &event.status);
    let more = match word {
        "health_status" => &event.health_status,
        "exec_create" | "exec_start" => &event.command,
        _ => "",
    };
    if more.is_empty() { word.to_owned() } else { format!("{word}: {more}") }
}

/// Adds `docker events`' fields to those of an event.
fn as_docker(row: &mut Value, event: &Event, names: NameRule) {
    let action = action(event);
    let (id, attributes) = actor(event, names);
    let actor = json!({"ID": id, "Attributes": attributes});
    add(row, json!({"Action": action, "Actor": actor, "From": row["Image"], "Scope": "local"}));
}

/// Whom it has happened to, and what there is to say about that.
fn actor(event: &Event, names: NameRule) -> (String, BTreeMap<String, String>) {
    let mut attributes = event.attributes.clone();
    attributes.extend(event.dockers.clone());
    if event.status == PRUNE {
        return (String::new(), attributes);
    }
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
            let mode = network::names::mode(&event.network).map(|network| network.driver);
            add("type", event.attributes.get("driver").or(mode.as_ref()).map_or("bridge", String::as_str));
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

/// The same where names are docker's.
pub(crate) fn dockers_fields(engine: &Engine, event: &Event) -> Value {
    let mut row = fields(event, NameRule::Docker);
    if event.kind == "network" && row["Actor"]["Attributes"].get("container").is_some() {
        // The event knows it by name, and it may be gone.
        let network = network::names::mode(&event.network).or_else(|| engine.network(&event.network).ok());
        if let Some(network) = network {
            row["Actor"]["ID"] = network.id.into();
        }
    }
    row
}

/// Docker's message about an event.
pub(crate) fn message(engine: &Engine, event: &Event) -> Value {
    let mut message = document(&dockers_fields(engine, event));
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

/// Chooses what docker tells of, from one event to the next.
#[derive(Debug, Default)]
pub(crate) struct Dockers {
    /// What was told of the health of containers: changes are told, and not each check.
    healths: HashMap<String, String>,
}

impl Dockers {
    /// Whether docker tells of this.
    pub(crate) fn tell(&mut self, event: &Event) -> bool {
        self.is_news(event) && is_dockers(event)
    }

    fn is_news(&mut self, event: &Event) -> bool {
        match event.status.as_str() {
            "health_status" => {
                let before = self.healths.insert(event.id.clone(), event.health_status.clone());
                before.as_ref() != Some(&event.health_status)
            }
            "start" | "died" => {
                self.healths.remove(&event.id);
                true
            }
            _ => true,
        }
    }
}

/// What docker has an event for.
pub(crate) fn is_dockers(event: &Event) -> bool {
    match event.kind.as_str() {
        "container" => !matches!(event.status.as_str(), "cleanup" | "init" | "sync" | "mount" | "unmount"),
        kind => matches!(kind, "image" | "network" | "volume" | "builder"),
    }
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
            (event("container", "kill").with("signal", 9), "12", "signal", "9"),
            (network.clone(), DEFAULT_NETWORK, "container", "12"),
            (network, DEFAULT_NETWORK, "name", "bridge"),
            (Event { network: "own".to_owned(), ..event("network", "create") }, "12", "type", "bridge"),
        ] {
            let (found, attributes) = actor(&event, NameRule::Docker);
            assert_eq!((found.as_str(), attributes[key].as_str()), (id, value), "{event:?}");
        }
    }
    #[test]
    fn actions() {
        let exec = |status: &str, command: &str| Event {
            command: command.to_owned(),
            ..Event::new("container", status)
        };
        let health =
            Event { health_status: "healthy".to_owned(), ..Event::new("container", "health_status") };
        for (event, want) in [
            (Event::new("container", "died"), "die"),
            (exec("exec_create", "ls "), "exec_create: ls "),
            (exec("exec", "sh -c true"), "exec_start: sh -c true"),
            (exec("exec", ""), "exec_start"),
            (health, "health_status: healthy"),
            (Event::new("image", "remove"), "delete"),
        ] {
            assert_eq!(action(&event), want);
        }
    }

    #[test]
    fn health_is_told_when_it_changes() {
        let mut dockers = Dockers::default();
        for (status, health, want) in [
            ("health_status", "healthy", true),
            ("health_status", "healthy", false),
            ("exec_died", "", true),
            ("health_status", "unhealthy", true),
            ("died", "", true),
            ("health_status", "unhealthy", true),
        ] {
            let event = Event {
                id: "1".to_owned(),
                health_status: health.to_owned(),
                ..Event::new("container", status)
            };
            assert_eq!(dockers.tell(&event), want, "{status} {health}");
        }
        assert!(
            !dockers.tell(&Event::new("container", "cleanup")) && !dockers.tell(&Event::new("pod", "create"))
        );
    }
}
