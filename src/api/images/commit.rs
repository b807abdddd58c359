//! `POST /commit`: an image of a container.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::names::full_name;
use crate::base::manifest::Form;
use crate::engine::commit::{Commit, Pause};
use crate::engine::image::new_name;

/// Docker's `ContainerConfig`, of which an image has a part.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Config(Option<Value>);

/// Answers the request.
pub(crate) fn commit(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let Config(config) = exchange.json()?;
    let engine = exchange.engine()?;
    let text = |key: &str| exchange.query(key).unwrap_or_default().to_owned();
    let name = full_name(&text("repo"), &text("tag"));
    let names = match text("repo").as_str() {
        "" => vec![],
        _ => vec![new_name(&name, engine.name_rule())?],
    };
    let container = engine.container(&text("container"))?;
    let commit = Commit {
        names,
        author: text("author"),
        message: text("comment"),
        changes: instructions(exchange.query_all("changes")),
        config: config.filter(Value::is_object).map(|config| settings(config).to_string().into_bytes()),
        form: match engine.conf().engine.default_form()? {
            // A comment has a place in this form alone.
            Form::Oci if !text("comment").is_empty() => Form::Docker,
            form => form,
        },
        volumes: false,
        squash: false,
        pause: match exchange.query("pause").is_none_or(str::is_empty) || exchange.flag("pause") {
            // Docker's default.
            true => Pause::IfItCan,
            false => Pause::Never,
        },
    };
    let id = engine.commit(&container, &commit)?;
    Ok(Answer::Json(201, json!({"Id": id.to_string()})))
}

/// Instructions, of which one value may hold several lines.
pub(crate) fn instructions<'a>(changes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let lines = changes.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// The part of a container's configuration that an image has too. What is empty there says nothing.
fn settings(config: Value) -> Value {
    const KEYS: [&str; 13] = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "OnBuild",
        "Shell",
        "ArgsEscaped",
    ];
    let Value::Object(config) = config else { return json!({}) };
    config.into_iter().filter(|(key, value)| KEYS.contains(&key.as_str()) && !value.is_null()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_several_lines() {
        let changes = ["CMD [\"a\"]\nENV A=b\n", "", "USER x"];
        assert_eq!(instructions(changes.into_iter()), ["CMD [\"a\"]", "ENV A=b", "USER x"]);
    }

    #[test]
    fn of_a_container_s_configuration_only_what_images_have() {
        let config = json!({"Hostname": "h", "Cmd": ["a"], "Env": null, "Labels": {"k": "v"}});
        assert_eq!(settings(config), json!({"Cmd": ["a"], "Labels": {"k": "v"}}));
    }
}
