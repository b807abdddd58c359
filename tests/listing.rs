//! ps and images: columns, states, filters, formats, and what a terminal gets to see (SEC-31).

mod common;

use std::fs;

use common::Sandbox;
use serde_json::Value;

/// Three containers: created, running, ended with 3.
fn three() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name", "made", "--label", "tier=web", "bb", "sleep", "1000"]);
    sandbox.start("up", &["--network=host"], "sleep 1000");
    let ended = sandbox.ketch(["run", "--name=ended", "--network=none", "bb", "sh", "-c", "exit 3"]);
    assert_eq!(ended.code, 3, "{}", ended.stderr);
    sandbox
}

fn columns(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
        .collect()
}

#[test]
fn ps_shows_states_and_columns() {
    let sandbox = three();

    let all = sandbox.ok(["ps", "-a"]);
    let running = sandbox.ok(["ps"]);

    assert!(all.starts_with("CONTAINER ID  IMAGE                COMMAND"), "{all}");
    let rows = columns(&all);
    let of =
        |name: &str| rows.iter().find(|row| row.last() == Some(&name)).unwrap_or_else(|| panic!("{all}"));
    assert_eq!(of("made")[1..3], ["localhost/bb:latest", "sleep 1000"]);
    assert_eq!(of("made")[4], "Created");
    assert!(of("up")[4].starts_with("Up "), "{all}");
    assert!(of("ended")[4].starts_with("Exited (3) "), "{all}");
    assert_eq!(running.lines().count(), 2, "the heading and the one that runs: {running}");
    assert_eq!(sandbox.ok(["ps", "-a", "--noheading"]).lines().count(), 3);
    let empty = Sandbox::empty().ok(["ps"]);
    assert_eq!(empty, "CONTAINER ID  IMAGE       COMMAND     CREATED     STATUS      PORTS       NAMES");
}

#[test]
fn templates_may_go_through_all_rows_themselves() {
    let sandbox = three();
    sandbox.ok(["volume", "create", "v"]);

    let each = "--format={{range .}}<{{.Names}} {{.State}}>{{end}}";
    assert_eq!(sandbox.ok(["ps", "-a", "--sort=names", each]), "<ended exited><made created><up running>");
    assert_eq!(sandbox.ok(["volume", "ls", "--format={{ range . -}} {{.Name}};{{end}}"]), "v;");
    assert_eq!(sandbox.ok(["ps", "-a", "--filter=name=none", each]), "");
    assert_eq!(sandbox.ok(["ps", "--format={{range $k, $v := .Labels}}{{$k}}{{end}}"]), "");
}

#[test]
fn ps_filters() {
    let sandbox = three();
    let up = sandbox.inspect("up", ".Id");
    for (filters, want) in [
        (vec!["status=created"], "made"),
        (vec!["status=exited"], "ended"),
        (vec!["status=running", "status=exited"], "up ended"),
        (vec!["exited=3"], "ended"),
        (vec!["exited=0"], ""),
        (vec!["name=^u"], "up"),
        (vec!["name=e"], "made ended"),
        (vec!["name=e", "status=created"], "made"),
        (vec![&format!("id={}", &up[..12])], "up"),
        (vec!["label=tier"], "made"),
        (vec!["label=tier=web"], "made"),
        (vec!["label=tier=db"], ""),
        (vec!["label!=tier"], "up ended"),
        (vec!["ancestor=bb"], "made up ended"),
        (vec!["ancestor=nosuch"], ""),
        (vec!["network=host"], "up"),
        (vec!["before=up"], "made"),
        (vec!["since=up"], "ended"),
        (vec!["until=1h"], ""),
        (vec!["command=sleep"], "made"),
        (vec!["health=healthy"], ""),
    ] {
        let mut args = vec!["ps", "-a", "--format={{.Names}}"];
        filters.iter().for_each(|filter| args.extend(["--filter", filter]));
        let names: Vec<String> = sandbox.ok(&args).lines().map(str::to_owned).collect();
        assert_eq!(names.join(" "), want, "{filters:?}");
    }
    for (filter, message) in [
        ("foo=bar", "foo is an invalid filter"),
        ("foo", "invalid filter \"foo\""),
        ("status=zz", "unknown container state: zz: invalid argument"),
        ("name=(", "error parsing regexp"),
        ("before=nosuch", "no container with name or ID \"nosuch\" found"),
    ] {
        let output = sandbox.ketch(["ps", "--filter", filter]);
        assert!(output.fails(125).contains(message), "{filter}: {}", output.stderr);
    }
}

#[test]
fn ps_formats() {
    let sandbox = three();
    let up = sandbox.inspect("up", ".Id");
    for (args, want) in [
        (vec!["-q", "--filter=name=up"], up[..12].to_owned()),
        (vec!["-q", "--no-trunc", "--filter=name=up"], up.clone()),
        (vec!["-n", "2", "--format={{.Names}}"], "up\nended".to_owned()),
        (vec!["-l", "--format={{.Names}} {{.State}} {{.ExitCode}}"], "ended exited 3".to_owned()),
        (vec!["-a", "--sort=names", "--format={{.Names}}"], "ended\nmade\nup".to_owned()),
        (
            vec![
                "-a",
                "--filter=name=made",
                "--format={{.Label \"tier\"}} {{.Labels.tier}} {{.Labels.none}}",
            ],
            "web web <no value>".to_owned(),
        ),
        (
            vec!["-a", "--filter=name=made", "--format=table {{.Names}} {{.IsInfra}}"],
            "NAMES       IS INFRA\nmade        false".to_owned(),
        ),
        (vec!["--format={{if .Pid}}{{.Status | upper | printf \"%.2s\"}}{{end}}"], "UP".to_owned()),
    ] {
        let args: Vec<&str> = std::iter::once("ps").chain(args).collect();
        assert_eq!(sandbox.ok(&args), want, "{args:?}");
    }
    let json: Value = serde_json::from_str(&sandbox.ok(["ps", "-a", "--format=json"])).expect("it is JSON");
    let rows = json.as_array().expect("an array");
    assert_eq!(rows.len(), 3);
    let row = rows.iter().find(|row| row["Names"][0] == "up").expect("up is there");
    assert_eq!((row["Id"].as_str(), row["State"].as_str()), (Some(up.as_str()), Some("running")));
    assert_eq!(row["Command"], serde_json::json!(["sh", "-c", "sleep 1000"]));
    let size = sandbox.ok(["ps", "-as", "--filter=name=ended", "--format={{.Size}}"]);
    assert!(size.contains("(virtual ") && size.ends_with("MB)"), "{size}");
    for (format, message) in [
        (
            "{{.Nope}}",
            "template: ps:1:13: executing \"ps\" at <.Nope>: can't evaluate field Nope in type containers.psReporter",
        ),
        ("{{foo .Names}}", "template: ps:1: function \"foo\" not defined"),
    ] {
        assert_eq!(sandbox.ketch(["ps", "-a", "--format", format]).fails(125), format!("Error: {message}\n"));
    }
}

#[test]
fn images_shows_names_ids_and_sizes() {
    let sandbox = Sandbox::new();
    sandbox.ok(["tag", "bb", "quay.io/team/app:v2", "other"]);

    let table = sandbox.ok(["images"]);

    let rows = columns(&table);
    assert_eq!(rows[0], ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    let mut names: Vec<String> = rows[1..].iter().map(|row| format!("{}:{}", row[0], row[1])).collect();
    names.sort();
    assert_eq!(names, ["localhost/bb:latest", "localhost/other:latest", "quay.io/team/app:v2"]);
    assert_eq!(sandbox.ok(["images", "-q", "--filter=intermediate=true"]), "", "none is below another");
    assert_eq!(sandbox.ketch(["rmi", ""]).code, 125, "an empty name is none");
    assert!(rows[1][3].ends_with(" ago") && rows[1][4].ends_with("MB"), "{table}");
    let id = sandbox.ok(["images", "-q", "--no-trunc"]);
    assert_eq!(id, format!("sha256:{}", sandbox.ok(["image", "inspect", "-f", "{{.Id}}", "bb"])));
    assert_eq!(sandbox.ok(["images", "-q"]), id[7..19]);
    for (args, want) in [
        (vec!["app:v2", "--format={{.Repository}}"], "quay.io/team/app"),
        (
            vec![&id[7..19], "--format={{.Repository}}", "--sort=repository"],
            "localhost/bb\nlocalhost/other\nquay.io/team/app",
        ),
        (vec!["nosuch"], "REPOSITORY  TAG         IMAGE ID    CREATED     SIZE"),
        (vec!["--filter=dangling=true", "-q"], ""),
        (vec!["--filter=reference=*/team/*", "--format={{.Tag}}", "--sort=tag"], "v2"),
        (vec!["--filter=containers=true", "-q"], ""),
    ] {
        let args: Vec<&str> = std::iter::once("images").chain(args).collect();
        assert_eq!(sandbox.ok(&args), want, "{args:?}");
    }
    let json: Value = serde_json::from_str(&sandbox.ok(["images", "--format=json"])).expect("it is JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(3));
    assert_eq!(json[0]["Id"], id[7..]);
    assert!(
        sandbox.ketch(["images", "--sort=bogus"]).fails(125).contains("is not a valid field for sorting")
    );
}

/// REL-28: one damaged record hides nothing else, and is shown itself.
#[test]
fn damage_is_shown_and_stays_with_its_object() {
    let sandbox = three();
    let id = sandbox.inspect("made", ".Id");
    fs::write(sandbox.store().join("containers").join(&id).join("spec.json"), "").expect("damage it");

    let all = sandbox.ketch(["ps", "-a"]);

    assert_eq!(all.code, 0, "{}", all.stderr);
    assert!(all.stderr.contains("Warning: container"), "{}", all.stderr);
    let rows = columns(&all.stdout);
    assert_eq!(rows.len(), 4, "{}", all.stdout);
    assert!(rows.contains(&vec![&id[..12], "<damaged>", "made"]), "{}", all.stdout);
    assert_eq!(sandbox.ok(["rm", "made"]), "made");
}

#[test]
fn a_terminal_gets_no_control_characters() {
    let sandbox = Sandbox::new();
    let evil = "x\u{1b}[31mred\u{7}\u{9b}2J\u{202e}";
    sandbox.ok(["create", "--name=evil", "--label", &format!("e={evil}"), "bb", "echo", evil]);
    for args in [
        vec!["ps", "-a"],
        vec![
            "ps",
            "-a",
            "--no-trunc",
            "--format={{.Command}} {{.Labels}} {{.Label \"e\"}} {{upper .Command}}",
        ],
        vec!["ps", "-a", "--format=json"],
        vec!["inspect", "evil"],
        vec!["inspect", "-f", "{{json .Config.Labels}}{{.Config.Cmd}}", "evil"],
    ] {
        let shown = sandbox.command(&args).on_terminal(40, 200).wait();
        let bad: Vec<char> = shown
            .stdout
            .chars()
            .filter(|c| (c.is_control() && !"\r\n".contains(*c)) || *c == '\u{202e}')
            .collect();
        assert!(bad.is_empty(), "{args:?}: {bad:?} in {:?}", shown.stdout);
    }
    let shown = sandbox.command(["inspect", evil]).on_terminal(40, 200).wait();
    assert!(shown.stdout.contains("1b") && !shown.stdout.contains('\u{1b}'), "{:?}", shown.stdout);
    // Into a pipe the bytes go as they are, and JSON is exact.
    assert!(sandbox.ok(["ps", "-a", "--no-trunc", "--format={{.Command}}"]).ends_with(evil));
    let json: Value = serde_json::from_str(&sandbox.ok(["inspect", "evil"])).expect("it is JSON");
    assert_eq!(json[0]["Config"]["Labels"]["e"], evil);
}

/// Of many containers listings keep what specs say (`summaries` in the store): nobody can tell but by the time.
#[test]
fn many_are_listed_as_few_are() {
    let sandbox = Sandbox::new();
    for n in 0..70 {
        let (name, label) = (format!("--name=n{n}"), format!("--label=n={n}"));
        sandbox.ok(["create", &name, &label, "--net=none", "--restart=no", "bb", "true"]);
    }
    let format = "--format={{.ID}} {{.Names}} {{.Labels}} {{.Command}} {{.Image}} {{.CreatedAt}} {{.Status}} {{.Mounts}}";
    let list = || sandbox.ok(["ps", "-a", format]);
    let read = list();
    let kept = sandbox.store().join("summaries");
    assert!(kept.exists());
    assert_eq!(list(), read);

    // What changes is seen.
    sandbox.ok(["rename", "n3", "other"]);
    sandbox.ok(["rm", "n4"]);
    sandbox.ok(["update", "--restart=always", "n5"]);
    sandbox.ok(["create", "--name=new", "--net=none", "bb", "true"]);
    let filter =
        |filter: &str| sandbox.ok(["ps", "-a", "--format={{.Names}}", &format!("--filter={filter}")]);
    assert_eq!(filter("name=^(n[345]|other|new)$"), "other\nn5\nnew");
    assert_eq!(filter("restart-policy=always"), "n5");
    assert_eq!(filter("label=n=3"), "other");

    // And damage of the file hurts nobody.
    let whole = list();
    for damage in ["", "\0\0\0\0", "{}", "x y"] {
        std::fs::write(&kept, damage).expect("damage it");
        assert_eq!(list(), whole, "{damage:?}");
    }
    std::fs::remove_file(&kept).expect("remove it");
    std::fs::create_dir(&kept).expect("make a directory of it");
    assert_eq!(list(), whole);
    sandbox.ok(["system", "check"]);
}

/// `images NAME --format … | xargs rmi` does not concern the other names of an image.
#[test]
fn images_that_are_found_by_a_name_are_shown_under_that_name() {
    let sandbox = Sandbox::new();
    for name in ["me/one:a", "me/one:b", "me/two"] {
        sandbox.ok(["tag", "bb", name]);
    }
    let names = |words: &[&str]| {
        let format = ["images", "--format={{.Repository}}:{{.Tag}}", "--sort=tag"];
        sandbox.ok(format.iter().chain(words))
    };
    assert_eq!(names(&["me/one"]), "localhost/me/one:a\nlocalhost/me/one:b");
    assert_eq!(names(&["me/one:b"]), "localhost/me/one:b");
    assert_eq!(names(&["--filter=reference=*two*"]), "localhost/me/two:latest");
    let id = sandbox.ok(["images", "-q", "bb"]);
    assert_eq!(names(&[&id]).lines().count(), 4, "an ID means all of it");
    assert_eq!(sandbox.ok(["images", "--noheading", "me/one"]).lines().count(), 2);
}
