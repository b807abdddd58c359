//! Every field that podman's and docker's templates have: each resolves, in every listing and inspection.

mod common;

use common::faults::{Answer, Content, Faults};
use common::{Output, Sandbox};

/// Fields that mean nothing here, with the reason.
const WITHOUT_MEANING: &[(&str, &str)] = &[
    ("Config.UnmarshalJSON", "a method of podman's Go type, not a field"),
    ("Metadata.LastTagTime", "of docker image inspect: nobody notes when a name was given"),
    ("Config.V4PodmanCompatMarshal", "a method of podman's Go type that prints the form of its version 4"),
];

/// `[command]` and its fields.
fn sections() -> Vec<(String, Vec<String>)> {
    let mut sections: Vec<(String, Vec<String>)> = Vec::new();
    for line in include_str!("format/fields.txt").lines() {
        match line.strip_prefix('[') {
            Some(command) => sections.push((command.trim_end_matches(']').to_owned(), Vec::new())),
            None if line.is_empty() || line.starts_with('#') || line == "docker" => {}
            None => sections.last_mut().expect("a field stands in a section").1.push(line.to_owned()),
        }
    }
    sections
}

/// The words after the command that lead to one row at least.
fn words(command: &str) -> &'static [&'static str] {
    match command {
        "container inspect" => &["c"],
        "image inspect" => &["checked"],
        "history" => &["bb"],
        "network inspect" => &["n"],
        "pod inspect" => &["p"],
        "pod stats" => &["--no-stream", "p"],
        "volume inspect" => &["v"],
        "secret inspect" => &["s"],
        "stats" => &["--no-stream", "c"],
        "events" => &["--stream=false", "--filter=container=c"],
        "search" => &["x"],
        _ => &[],
    }
}

/// A sandbox with one of everything, and a registry to search.
fn world() -> (Sandbox, Faults) {
    let sandbox = Sandbox::new();
    sandbox.ok(["volume", "create", "--label=a=b", "v"]);
    sandbox.ok(["network", "create", "n"]);
    sandbox.ok(["pod", "create", "--network=none", "--label=a=b", "p"]);
    sandbox.ok(["pod", "start", "p"]);
    let value = sandbox.write("value", "x").display().to_string();
    sandbox.ok(["secret", "create", "s", &value]);
    sandbox.start("c", &["--net=none", "--volume=v:/v", "--label=a=b", "--health-cmd=true"], "sleep 600");
    sandbox.ok(["commit", "-q", "--format=docker", "--change=HEALTHCHECK CMD true", "c", "checked"]);
    let hits =
        r#"{"num_results":1,"results":[{"name":"x","description":"d","star_count":1,"is_official":true}]}"#;
    let hub = Faults::start(Content::default(), move |request, answer| {
        match request.path.starts_with("/v1/search?") {
            true => Answer::ok(hits),
            false => answer,
        }
    });
    let conf = format!(
        "unqualified-search-registries=['docker.io']\n[[registry]]\nprefix='docker.io'\nlocation='{}'\ninsecure=true",
        hub.address()
    );
    sandbox.write("hub.conf", conf);
    (sandbox, hub)
}

fn print(sandbox: &Sandbox, command: &str, template: &str) -> Output {
    let format = format!("--format={template}");
    let args = command.split(' ').chain(words(command).iter().copied()).chain([format.as_str()]);
    sandbox.command(args).env("CONTAINERS_REGISTRIES_CONF", sandbox.path("hub.conf")).run()
}

#[test]
fn every_field_resolves() {
    let (sandbox, _hub) = world();
    let sections = sections();
    assert!(sections.iter().map(|(_, fields)| fields.len()).sum::<usize>() > 900);
    let mut broken = Vec::new();
    for (command, fields) in &sections {
        // `secret ls` shows times for people, in podman too, though its completion offers a time's methods.
        let is_text = |field: &str| command == "secret ls" && field.contains("At.");
        let known =
            |field: &&String| !WITHOUT_MEANING.iter().any(|(none, _)| none == field) && !is_text(field);
        let fields: Vec<&String> = fields.iter().filter(known).collect();
        let all: String = fields.iter().map(|field| format!("{{{{.{field}}}}}\u{1}")).collect();
        let output = print(&sandbox, command, &all);
        if output.code == 0 && output.stdout.contains('\u{1}') && !output.stdout.contains("<no value>") {
            continue;
        }
        for field in fields {
            let output = print(&sandbox, command, &format!("<{{{{.{field}}}}}>"));
            if output.code != 0 || !output.stdout.starts_with('<') || output.stdout.contains("<no value>") {
                broken.push(format!("{command} .{field}: {:?} {}", output.stdout, output.stderr.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{} fields:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn fields_that_take_a_text() {
    let (sandbox, _hub) = world();
    for (command, template, want) in [
        ("ps", "{{.Label \"a\"}}", "b"),
        ("ps", "{{.Created.Format \"2006\"}}", "20"),
        ("volume ls", "{{.Label \"a\"}}", "b"),
        ("network ls", "{{.Label \"a\"}}", ""),
        ("container inspect", "{{.State.StartedAt.Format \"2006-01-02\"}}", "20"),
    ] {
        let output = print(&sandbox, command, template);
        assert!(output.ok().starts_with(want), "{command} {template}: {}", output.stdout);
    }
}
