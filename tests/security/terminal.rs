//! The caller's terminal and descriptors: what a container must not reach, and what must not reach the terminal.

use std::os::unix::fs::MetadataExt;

use crate::common::faults::{Answer, Content, Faults};
use crate::common::{Sandbox, bb};
use crate::{inside, pulled};

/// Opens descriptors 3 to 60 on a directory of the host, then runs the rest of the command line.
const MANY_DESCRIPTORS: [&str; 4] =
    ["bash", "-c", "for i in $(seq 3 60); do eval \"exec $i< .\"; done; exec \"$@\"", "bash"];

#[test]
fn sec_02_no_descriptor_of_the_caller_is_passed() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "600"]);
    // The shell's own; ls would add the directory it reads.
    let script = "ls /proc/$$/fd; :";
    for args in [
        &["run", "--rm", "bb", "sh", "-c", script][..],
        &["run", "--rm", "-i", "bb", "sh", "-c", script],
        &["exec", "c", "sh", "-c", script],
        &["exec", "-i", "c", "sh", "-c", script],
    ] {
        let output = sandbox.command(args).through(MANY_DESCRIPTORS).run();
        assert_eq!(output.ok(), "0\n1\n2", "{args:?}");
    }
}

#[test]
fn sec_03_working_directories_that_are_descriptors() {
    let sandbox = Sandbox::new();
    let marker = sandbox.write("marker", "of the host\n");
    sandbox.ok(["run", "-d", "--name=c", "bb", "sleep", "600"]);
    // From a directory of the host, either would lead to the marker.
    let script = format!("cat marker; cat ../../../../../../../../../..{}; pwd", marker.display());
    for number in 3..64 {
        let directory = format!("--workdir=/proc/self/fd/{number}");
        for args in [
            &["run", "--rm", &directory, "bb", "sh", "-c", &script][..],
            &["exec", &directory, "c", "sh", "-c", &script],
        ] {
            let output = sandbox.command(args).through(MANY_DESCRIPTORS).run();
            assert!(!output.stdout.contains("of the host"), "{directory}: {}", output.stdout);
            assert_ne!(output.code, 0, "{directory} is refused: {}", output.stdout);
        }
    }
}

/// An image's working directory is made if it is missing; not so where it leads out.
#[test]
fn sec_03_images_whose_working_directory_is_a_descriptor() {
    let sandbox = Sandbox::new();
    let marker = sandbox.write("marker", "of the host\n");
    let script = format!("cat marker; cat ../../../../../../../../../..{}; pwd", marker.display());
    for number in [3, 5, 7, 9, 20] {
        let image = bb::image().set("WorkingDir", format!("/proc/self/fd/{number}").into()).build();
        let name = pulled(&sandbox, &format!("descriptor-{number}"), &image);
        let output =
            sandbox.command(["run", "--rm", &name, "sh", "-c", &script]).through(MANY_DESCRIPTORS).run();
        assert!(!output.stdout.contains("of the host"), "{number}: {}", output.stdout);
        assert!(output.stderr.contains("working directory"), "{number}: {}{}", output.stdout, output.stderr);
    }
}

#[test]
fn sec_03_a_working_directory_stays_inside() {
    let sandbox = Sandbox::new();
    sandbox.write("marker", "of the host\n");
    let up = "../../../../../../../../../../../../etc/hostname";
    for directory in ["/../../../..", "/proc/self/root/../..", "/proc/1/root", "/proc/self/cwd"] {
        let output =
            sandbox.ketch(["run", "--rm", "--hostname=inner", "--workdir", directory, "bb", "cat", up]);
        if output.code == 0 {
            assert_eq!(output.stdout, "inner\n", "{directory}");
        } else {
            assert!(output.stderr.starts_with("Error: "), "{directory}: {}", output.stderr);
        }
    }
}

#[test]
fn sec_32_nothing_is_typed_into_the_callers_terminal() {
    let hosts_terminals = std::fs::metadata("/dev/pts/ptmx").expect("look at devpts").dev();
    for (options, terminal) in [(&[][..], false), (&["-i"], false), (&["-t"], true), (&["-i", "-t"], true)] {
        for unconfined in [false, true] {
            let sandbox = Sandbox::new();
            let mut args: Vec<String> = vec!["run".into(), "--rm".into()];
            args.extend(inside::mounted("type"));
            args.extend(options.iter().map(|option| (*option).to_owned()));
            args.extend(unconfined.then(|| "--security-opt=seccomp=unconfined".to_owned()));
            args.push("bb".into());
            args.extend(inside::command());
            // What is typed into this terminal, its shell would execute once ketch has ended.
            let mut words: Vec<String> =
                vec!["-c".into(), "\"$@\"; echo ketch ended; read -t 1 line; echo \"[$line]\"".into()];
            words.push("bash".into());
            words.push(crate::common::ketch_binary().display().to_string());
            words.extend(args);
            let shell = sandbox.program("bash", words).on_terminal(24, 80);
            shell.expect("ketch ended");
            let output = shell.wait().stdout;

            let shown = format!("{options:?} unconfined {unconfined}: {output}");
            assert!(output.contains("[]"), "{shown}");
            assert!(output.contains(&format!("stream 0: terminal {terminal}")), "{shown}");
            if !unconfined {
                assert!(
                    output.contains("TIOCSTI 0: EPERM") && output.contains("TIOCLINUX 0: EPERM"),
                    "{shown}"
                );
            }
            if terminal {
                let device =
                    sandbox.command(["run", "--rm", "-t", "bb", "stat", "-L", "-c", "%d", "/proc/self/fd/0"]);
                let device = device.run().ok().trim().to_owned();
                assert_ne!(device, hosts_terminals.to_string(), "the container has a terminal of the host");
            }
        }
    }
}

/// Sequences that would change a terminal's title, colours, or the direction of its text.
const HOSTILE: &str = "a\u{1b}]0;pwned\u{7}\u{1b}[31mb\u{9b}31mc\u{202e}d\u{7f}e\u{8}f";

#[track_caller]
fn assert_harmless(what: &str, output: &str) {
    let bad = output.chars().find(|c| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    });
    assert_eq!(bad, None, "{what}: {output:?}");
}

/// What an image's author and a registry's search wrote.
fn what_images_say_is_harmless(sandbox: &Sandbox) {
    let changes = [format!("LABEL x=\"{HOSTILE}\""), format!("ENV A=\"{HOSTILE}\"")];
    let flags = changes.iter().flat_map(|change| ["-c", change.as_str()]);
    sandbox.ok(["commit", "-q", "-f", "docker", "-a", HOSTILE, "-m", HOSTILE]
        .into_iter()
        .chain(flags)
        .chain(["c", "odd"]));
    let found = serde_json::json!({"results": [{"name": HOSTILE, "description": HOSTILE, "star_count": 1}]})
        .to_string();
    let tags = serde_json::json!({"name": "x", "tags": [HOSTILE]}).to_string();
    let registry = Faults::start(Content::default(), move |request, answer| match request.path.as_str() {
        path if path.starts_with("/v1/search") => Answer::ok(found.clone().into_bytes()),
        path if path.contains("/tags/list") => Answer::ok(tags.clone().into_bytes()),
        _ => answer,
    });
    let repository = format!("{}/x", registry.address());
    for args in [
        &["history", "--no-trunc", "odd"][..],
        &["history", "--format={{.CreatedBy}} {{.Comment}}", "odd"],
        &["image", "inspect", "--format={{.Author}} {{.Comment}} {{.Labels}} {{.Config.Env}}", "odd"],
        &["image", "inspect", "odd"],
        &["images", "--format={{.Labels}} {{.Repository}}", "odd"],
        &["search", &repository],
        &["search", "--no-trunc", "--format={{.Name}} {{.Description}}", &repository],
        &["search", "--list-tags", &repository],
        &["image", "tree", HOSTILE],
        &["manifest", "inspect", HOSTILE],
        &["artifact", "inspect", HOSTILE],
        &["save", "-o", "x", HOSTILE],
    ] {
        let output = sandbox.command(args).on_terminal(24, 200).wait();
        assert!(!output.stdout.is_empty(), "{args:?}");
        assert_harmless(&format!("{args:?}"), &output.stdout);
    }
}

#[test]
fn sec_31_listings_show_no_control_characters_on_a_terminal() {
    let sandbox = Sandbox::new();
    let label = format!("x={HOSTILE}");
    let id = sandbox.ok(["run", "-d", "--name=c", "--label", &label, "bb", "sh", "-c", "sleep 600", HOSTILE]);
    for args in [
        &["ps", "--no-trunc"][..],
        &["ps", "--format={{.Command}} {{.Labels}}", "--no-trunc"],
        &["inspect", "--format={{.Config.Labels}} {{.Args}}", "c"],
        &["inspect", HOSTILE],
        &["rm", HOSTILE],
        &["run", HOSTILE],
        &["run", "--name", HOSTILE, "bb"],
        &["run", "--rm", "bb", HOSTILE],
        &["run", "--rm", "--user", HOSTILE, "bb", "true"],
        &["run", "--rm", "--workdir", HOSTILE, "bb", "true"],
        &["exec", "c", HOSTILE],
        &["tag", "bb", HOSTILE],
        &["images", HOSTILE],
        &[HOSTILE],
    ] {
        let running = sandbox.command(args).on_terminal(24, 200);
        let output = running.wait();
        assert!(!output.stdout.is_empty() || args[0] == "images", "{args:?}");
        assert_harmless(&format!("{args:?}"), &output.stdout);
    }
    // What a registry says is no better.
    let error = serde_json::json!({"errors": [{"code": "DENIED", "message": HOSTILE}]}).to_string();
    let registry = Faults::start(Content::default(), move |request, answer| {
        if request.path == "/v2/" { answer } else { Answer::status(403).map(|_| error.clone().into_bytes()) }
    });
    let image = format!("{}/some/image:latest", registry.address());
    let pull = sandbox.command(["pull", &image]).on_terminal(24, 200).wait();
    assert_eq!(pull.code, 125, "{}", pull.stdout);
    assert!(pull.stdout.contains("pwned"), "the registry's words are shown: {}", pull.stdout);
    assert_harmless("pull", &pull.stdout);

    what_images_say_is_harmless(&sandbox);

    // Machine-readable output is exact.
    let labels = sandbox.ok(["inspect", "--format={{json .Config.Labels}}", &id]);
    let labels: serde_json::Value = serde_json::from_str(&labels).expect("JSON");
    assert_eq!(labels["x"], HOSTILE);
    let ps = sandbox.ok(["ps", "--format=json"]);
    let ps: serde_json::Value = serde_json::from_str(&ps).expect("JSON");
    assert_eq!(ps[0]["Labels"]["x"], HOSTILE);
}
