//! Compose files: what they mean, and projects made of them.

mod common;

use common::Sandbox;

/// One case of tests/compose/config.txt.
#[derive(Default)]
struct Case {
    name: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    files: Vec<(String, String)>,
    /// `None` where docker compose refuses.
    expected: Option<String>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("compose/config.txt");
    text.split("\n==== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (head, rest) = text.split_once("\n---- ").expect("a case has files");
    let mut lines = head.lines();
    let mut case = Case { name: lines.next().expect("a case has a name").to_owned(), ..Case::default() };
    for line in lines {
        if let Some(args) = line.strip_prefix("args: ") {
            case.args = args.split(' ').map(str::to_owned).collect();
        } else if let Some((name, value)) = line.strip_prefix("env: ").and_then(|pair| pair.split_once('=')) {
            case.env.push((name.to_owned(), value.to_owned()));
        }
    }
    for part in rest.split("\n---- ") {
        let (name, body) = part.split_once('\n').unwrap_or((part, ""));
        match name {
            "fails" => case.expected = None,
            "expected" => case.expected = Some(format!("{}\n", body.trim_end_matches('\n'))),
            name => case
                .files
                .push((name.to_owned(), if body.is_empty() { String::new() } else { format!("{body}\n") })),
        }
    }
    case
}

#[test]
fn config_prints_what_docker_compose_prints() {
    let sandbox = Sandbox::empty();
    let cases = cases();
    assert!(cases.len() >= 250, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let dir = sandbox.path(format!("{}/proj", case.name));
        for (name, body) in &case.files {
            sandbox.write(format!("{}/proj/{name}", case.name), body);
        }
        let mut command = sandbox
            .command(["compose"].into_iter().chain(case.args.iter().map(String::as_str)).chain(["config"]))
            .env("HOME", "/home/u")
            .current_dir(&dir);
        for (name, value) in &case.env {
            command = command.env(name, value);
        }
        let output = command.run();
        let dir_text = dir.display().to_string();
        let parent = dir.parent().expect("a parent").display().to_string();
        let expected =
            case.expected.as_ref().map(|text| text.replace("@DIR@", &dir_text).replace("@PARENT@", &parent));
        match expected {
            Some(expected) if output.code == 0 && output.stdout == expected => {}
            None if output.code != 0 && output.stderr.starts_with("Error: ") => {}
            expected => wrong.push(format!(
                "==== {}: exit code {}\n{}\n---- got\n{}\n---- expected\n{}",
                case.name,
                output.code,
                output.stderr,
                output.stdout,
                expected.unwrap_or_else(|| "a failure".to_owned())
            )),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn errors_name_the_place_and_the_nearest_word() {
    let sandbox = Sandbox::empty();
    for (text, message) in [
        (
            "services:\n  a:\n    imgae: x\n",
            "compose.yaml:3:12: services.a Additional property imgae is not allowed\nhint: did you mean image?",
        ),
        (
            "services:\n  a:\n    image: x\n    ports: [\"x:1:2\"]\n",
            "compose.yaml:4:13: services.a.ports.0 Invalid ip address: x",
        ),
        (
            "services:\n  a:\n    image: ${A:?set A}\n",
            "compose.yaml:3:12: services.a.image: required variable A is missing a value: set A",
        ),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n",
            "compose.yaml:2:6: service \"a\" depends on undefined service \"b\": invalid compose project",
        ),
    ] {
        sandbox.write("p/compose.yaml", text);
        let output = sandbox.command(["compose", "config"]).current_dir(sandbox.path("p")).run();
        assert!(output.fails(125).contains(message), "{}", output.stderr);
    }
}
