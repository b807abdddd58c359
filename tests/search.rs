//! `ketch search`: a registry's catalogue, an index with descriptions, tags; and the choice of a short name.

mod common;

use common::faults::{Answer, Content, Faults};
use common::image::marked;
use common::registry::Registry;
use common::{Sandbox, have};
use serde_json::{Value, json};

#[test]
fn names_and_tags_of_a_registry() {
    if !have("docker-registry") {
        return;
    }
    let (registry, sandbox) = (Registry::private(), Sandbox::empty());
    for (repository, tag) in [("team/web", "1"), ("team/web", "2"), ("web-tools", "1"), ("other", "1")] {
        registry.push(repository, tag, &marked("search"));
    }
    let address = registry.address();
    let names = |term: &str, flags: &[&str]| {
        let format = ["search", "--format={{.Name}}"].iter().chain(flags).copied();
        sandbox.ok(format.chain([term])).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let full = |name: &str| format!("{address}/{name}");
    assert_eq!(names(&full("web"), &[]), [full("team/web"), full("web-tools")]);
    assert_eq!(names(&full("web"), &["--limit=1"]), [full("team/web")]);
    assert_eq!(names(&full(""), &[]).len(), 3);
    assert_eq!(names(&full("nothing"), &[]), Vec::<String>::new());
    let table = sandbox.ok(["search", &full("other")]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("NAME ") && lines[0].trim_end().ends_with("DESCRIPTION"), "{table}");
    assert!(lines[1].starts_with(&full("other")), "{table}");

    let tags = sandbox.ok(["search", "--list-tags", &full("team/web")]);
    let mut lines: Vec<Vec<&str>> = tags.lines().map(|line| line.split_whitespace().collect()).collect();
    // This registry does not sort tags.
    lines[1..].sort();
    let name = full("team/web");
    assert_eq!(lines, [vec!["NAME", "TAG"], vec![&name, "1"], vec![&name, "2"]]);
    let document: Value =
        serde_json::from_str(&sandbox.ok(["search", "--list-tags", "--format=json", &name])).expect("JSON");
    assert_eq!((&document[0]["Name"], document[0]["Tags"].as_array().map(Vec::len)), (&json!(name), Some(2)));
    sandbox.ketch(["search", "--list-tags", &full("missing")]).fails(125);
    sandbox.ketch(["search", "--list-tags", &format!("{name}:1")]).fails(125);
}

/// What Docker Hub answers, from a server of the test's own.
#[test]
fn descriptions_and_stars() {
    let long = "d".repeat(60);
    let hits = json!({"num_results": 2, "results": [
        {"name": "nginx", "description": "Official build\nof Nginx.", "star_count": 9000, "is_official": true, "is_automated": false},
        {"name": "me/nginx", "description": long, "star_count": 3, "is_official": false, "is_automated": true},
        {"name": "bare/nginx", "description": null},
    ]})
    .to_string();
    let hub = Faults::start(Content::default(), move |request, answer| {
        match request.path.starts_with("/v1/search?") {
            true => Answer::ok(hits.clone()),
            false => answer,
        }
    });
    let sandbox = Sandbox::empty();
    let conf = format!(
        "unqualified-search-registries=['docker.io']\n[[registry]]\nprefix='docker.io'\nlocation='{}'\ninsecure=true",
        hub.address()
    );
    let conf = sandbox.write("hub.conf", conf);
    let search = |args: &[&str]| {
        let command = sandbox.command(["search"].iter().chain(args).copied());
        command.env("CONTAINERS_REGISTRIES_CONF", &conf).run().ok().to_owned()
    };
    let table = search(&["nginx"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[1].starts_with("docker.io/library/nginx  Official build of Nginx."), "{table}");
    assert!(lines[2].ends_with(&format!("{}...", "d".repeat(44))), "{table}");
    assert!(search(&["--no-trunc", "nginx"]).contains(&"d".repeat(60)));
    assert!(search(&["--compatible", "nginx"]).lines().next().expect("a heading").contains("STARS"));
    let names = |filter: &str| search(&["--filter", filter, "--format={{.Name}} {{.Stars}}", "nginx"]);
    assert_eq!(names("stars=4"), "docker.io/library/nginx 9000");
    assert_eq!(names("is-official"), "docker.io/library/nginx 9000");
    assert_eq!(names("is-automated=true"), "docker.io/me/nginx 3");
    let document: Value =
        serde_json::from_str(&search(&["--format=json", "--limit=1", "nginx"])).expect("JSON");
    assert_eq!(document[0]["Index"], "docker.io");
    assert_eq!((&document[0]["Official"], document.as_array().map(Vec::len)), (&json!("[OK]"), Some(1)));
    let asked = hub.asked("/v1/search");
    assert!(asked.last().expect("a request").path.ends_with("q=nginx&n=1"), "{asked:?}");
}

#[test]
fn what_cannot_be_searched_is_said() {
    let sandbox = Sandbox::empty();
    let two = sandbox.write("two.conf", "unqualified-search-registries=['127.0.0.1:1']");
    let none = sandbox.write("none.conf", "");
    for (conf, args, word) in [
        (&two, &["search", "x"][..], "search 127.0.0.1:1"),
        (&none, &["search", "x"], "no registries to search"),
        (&none, &["search", "--filter=color=red", "x"], "color"),
        (&none, &["search", "--filter=stars=many", "x"], "many"),
        (&none, &["search"], "TERM"),
    ] {
        let output = sandbox.command(args).env("CONTAINERS_REGISTRIES_CONF", conf).run();
        assert!(output.fails(125).contains(word), "{args:?}: {}", output.stderr);
    }
}

/// On a terminal the user says which registry a short name means, once.
#[test]
fn a_short_name_is_chosen_on_a_terminal() {
    if !have("docker-registry") {
        return;
    }
    let (first, second, sandbox) = (Registry::shared(), Registry::private(), Sandbox::empty());
    first.push("chosen", "1", &marked("first"));
    let wanted = marked("second");
    second.push("chosen", "1", &wanted);
    let search = format!("['{}', '{}']", first.address(), second.address());
    let two = format!("unqualified-search-registries={search}");
    let conf = sandbox.write("two.conf", &two);
    let strict = sandbox.write("strict.conf", format!("short-name-mode='enforcing'\n{two}"));
    let with = |conf, name| sandbox.command(["pull", name]).env("CONTAINERS_REGISTRIES_CONF", conf);
    let pull = || with(&conf, "chosen:1");
    let refused = with(&strict, "chosen:1").run();
    assert!(refused.fails(125).contains("enforced but cannot prompt without a TTY: \"chosen:1\" may mean"));
    // Without a terminal and without strictness, one registry after the other is asked.
    let several = with(&conf, "chosen:2").run();
    let how = format!("Resolving \"chosen\" using unqualified-search registries ({})\n", conf.display());
    for part in
        [&how, "2 errors occurred while pulling:", &first.address(), &second.address(), "manifest unknown"]
    {
        assert!(several.fails(125).contains(part), "{part}: {}", several.stderr);
    }
    let mut asking = pull().on_terminal(24, 120);
    asking.expect(&format!("2) {}", second.reference("chosen", "1")));
    asking.expect("Number [1]: ");
    asking.send("7\n");
    asking.expect("Number [1]: ");
    asking.send("2\n");
    let output = asking.wait();
    assert_eq!(output.code, 0, "{}", output.stdout);
    assert!(output.stdout.contains(&wanted.id()["sha256:".len()..]), "{}", output.stdout);
    // It is remembered where podman remembers it, and nobody is asked again.
    let remembered = sandbox.read("home/.cache/containers/short-name-aliases.conf");
    assert!(remembered.contains(&format!("\"chosen\" = \"{}/chosen\"", second.address())), "{remembered}");
    pull().run().ok();
}

/// One document per line, for programs.
#[test]
fn progress_for_programs() {
    if !have("docker-registry") {
        return;
    }
    let (sandbox, built) = (Sandbox::empty(), marked("json progress"));
    let name = Registry::shared().push("json-progress", "1", &built);
    for args in [vec!["pull", "--progress=json", &name], vec!["push", "--progress=json", &name]] {
        let output = sandbox.ketch(&args);
        output.ok();
        let documents: Vec<Value> =
            output.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let events: Vec<&str> = documents.iter().filter_map(|document| document["event"].as_str()).collect();
        assert_eq!(events.len(), documents.len());
        assert!(events.contains(&"layer") && events.ends_with(&["registering"]), "{events:?}");
    }
    let plain = sandbox.ketch(["pull", "--progress=plain", &name]);
    assert!(plain.stderr.starts_with("Trying to pull "), "{}", plain.stderr);
    sandbox.ketch(["pull", "--progress=loud", &name]).fails(125);
}
