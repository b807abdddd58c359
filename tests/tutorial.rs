//! What every introduction to docker types, word for word, as far as it needs no network (reference: tutorials.md).

mod common;

use common::image::{Compression, Format, Layer};
use common::registry::Registry;
use common::{Running, Sandbox};

#[test]
fn first_steps() {
    let sandbox = Sandbox::empty();
    let hello = sandbox.ok(["run", "hello"]);
    for word in ["uid 0 inside", "PID 1", "seccomp"] {
        assert!(hello.contains(word), "{word}: {hello}");
    }
    assert!(sandbox.ok(["version"]).to_lowercase().contains("version"));
    assert!(sandbox.ok(["--version"]).starts_with("ketch version "));
    assert!(sandbox.ok(["info"]).contains("store"));
    assert!(sandbox.ok(["ps", "-a"]).contains("Exited (0)"));
}

#[test]
fn pulling_and_listing_images() {
    let sandbox = Sandbox::empty();
    let image = common::bb::image().format(Format::Docker).build();
    let registry = Registry::shared();
    let name = registry.push("tutorial/bb", "latest", &image);
    let repository = name.trim_end_matches(":latest");

    let pull = sandbox.ketch(["pull", repository]);
    assert_eq!(
        pull.ok(),
        image.id().trim_start_matches("sha256:"),
        "the ID, and nothing else on standard output"
    );
    for layer in &image.layers {
        assert!(pull.stderr.contains(&layer.digest()[7..19]), "a line for each layer: {}", pull.stderr);
    }

    for words in [["images", "--noheading"], ["image", "ls"]] {
        let listed = sandbox.ok(words);
        let row = listed.lines().find(|line| line.starts_with(repository)).expect("the image is listed");
        assert!(row.contains("latest") && row.contains(&image.id()[7..19]), "{row}");
    }
    assert_eq!(sandbox.ok(["images", "-q"]), image.id()[7..19]);

    sandbox.ok(["tag", repository, "me/mine:blue"]);
    sandbox.ok(["tag", repository, "me/mine:green"]);
    let listed = sandbox.ok(["images", "--format={{.Repository}}:{{.Tag}} {{.ID}}", "me/mine"]);
    for tag in ["blue", "green"] {
        let row = format!("localhost/me/mine:{tag} {}", &image.id()[7..19]);
        assert!(listed.lines().any(|line| line == row), "two names, one ID: {listed}");
    }
    assert_eq!(
        sandbox.ok([
            "image",
            "inspect",
            "--format={{.Id}} {{json .Config.Cmd}} {{len .RootFS.Layers}}",
            "me/mine:blue"
        ]),
        format!("{} [\"sh\"] 2", &image.id()[7..])
    );
    assert!(sandbox.ok(["rmi", "me/mine:blue"]).contains("me/mine:blue"));
    sandbox.ok(["rmi", "me/mine:green", &name]);
    assert_eq!(sandbox.ok(["images", "-q"]), "");
}

#[test]
fn layers_are_shared_between_images() {
    let sandbox = Sandbox::empty();
    let registry = Registry::shared();
    let one = registry.push("tutorial/one", "latest", &common::bb::image().build());
    let two = registry.push(
        "tutorial/two",
        "latest",
        &common::bb::image().layer(Layer::new().file("two", 0o644, "2\n"), Compression::Gzip).build(),
    );
    sandbox.ok(["pull", &one]);
    let second = sandbox.ketch(["pull", &two]);
    assert!(second.stderr.to_lowercase().contains("already exists"), "{}", second.stderr);
    assert_eq!(std::fs::read_dir(sandbox.store().join("layers")).expect("list").count(), 3);
}

#[test]
fn an_image_replaced_under_its_tag_becomes_nameless_and_can_be_pruned() {
    let sandbox = Sandbox::empty();
    let registry = Registry::shared();
    let old = common::bb::image().label("age", "old").build();
    let name = registry.push("tutorial/replaced", "latest", &old);
    sandbox.ok(["pull", "-q", &name]);
    registry.push("tutorial/replaced", "latest", &common::bb::image().label("age", "new").build());
    sandbox.ok(["pull", "-q", &name]);
    assert_eq!(
        sandbox.ok(["images", "--filter=dangling=true", "--format={{.Tag}} {{.ID}}"]),
        format!("<none> {}", &old.id()[7..19])
    );
    assert!(sandbox.ok(["image", "prune", "-f"]).contains(&old.id()[7..]));
    assert_eq!(sandbox.ok(["images", "-q"]).lines().count(), 1);
}

fn on_terminal(sandbox: &Sandbox, words: &str) -> Running {
    sandbox.command(words.split(' ')).on_terminal(24, 80)
}

#[test]
fn a_shell_with_a_name_and_a_host_name() {
    let sandbox = Sandbox::new();
    let mut shell = on_terminal(&sandbox, "container run -it --name c1 --hostname h1 bb /bin/sh");
    shell.expect("/ # ");
    shell.send("hostname; uname -s\n");
    shell.expect("h1\r\nLinux");
    shell.send("nosuchcommand\n");
    shell.expect("not found");
    shell.send("exit\n");
    assert_eq!(shell.wait().code, 127, "the shell's own: its last command's");

    for words in [["ps", "-a"], ["container", "ls"]] {
        let rows = sandbox.ok(words);
        assert_eq!(rows.contains("c1"), words[1] == "-a", "{rows}");
    }
    let row = sandbox.ok(["ps", "--all"]);
    assert!(row.contains("Exited (127) ") && row.contains(" ago"), "{row}");

    sandbox.ok(["start", "c1"]);
    let mut again = on_terminal(&sandbox, "attach c1");
    again.send("\n");
    again.expect("/ # ");
    again.send("\x10\x11");
    assert_eq!(again.wait().code, 0);
    assert_eq!(sandbox.inspect("c1", ".State.Running"), "true");
    let refused = sandbox.ketch(["rm", "c1"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("-f") || refused.stderr.contains("force"),
        "the way out is named: {}",
        refused.stderr
    );
    let id = sandbox.inspect("c1", ".Id");
    sandbox.ok(["rm", "-f", "-t0", &id[..4]]);
    assert!(sandbox.names().is_empty());
}

#[test]
fn a_server_in_the_background() {
    let sandbox = Sandbox::new();
    sandbox.write("www/index.html", "It works!\n");
    let www = format!("{}:/www", sandbox.path("www").display());
    sandbox.ok([
        "run",
        "-d",
        "--net=none",
        "--name",
        "web",
        "-v",
        &www,
        "bb",
        "httpd",
        "-f",
        "-vv",
        "-p",
        "80",
        "-h",
        "/www",
    ]);
    let get = "until wget -q -O - http://127.0.0.1/; do sleep 0.05; done";
    assert_eq!(sandbox.ok(["exec", "web", "sh", "-c", get]), "It works!");
    sandbox.write("www/index.html", "Changed\n");
    assert_eq!(sandbox.ok(["exec", "web", "sh", "-c", get]), "Changed");
    assert!(sandbox.ok(["exec", "web", "env"]).contains("HOSTNAME="));
    sandbox.wait_until(&["logs", "web"], "response:200");
    sandbox.ok(["stop", "-t0", "web"]);
    assert_eq!(sandbox.ok(["ps", "-q"]), "");
    sandbox.ok(["restart", "web"]);
    sandbox.ok(["rename", "web", "www"]);
    let removed = sandbox.program("sh", ["-c", "ketch rm -f -t0 $(ketch ps -aq)"]).run();
    assert_eq!(removed.ok().len(), 12);
}

#[test]
fn data_of_a_container_goes_with_it_and_of_a_volume_does_not() {
    let sandbox = Sandbox::new();
    let script = "echo row >> /var/lib/data/table; wc -l < /var/lib/data/table";
    for n in 1..=2 {
        assert_eq!(sandbox.sh(&["-v", "data:/var/lib/data"], script).ok(), n.to_string());
        assert_eq!(
            sandbox.sh(&["-v", "/var/lib/data"], script).ok(),
            "1",
            "an anonymous one is new each time"
        );
    }
}

#[test]
fn looking_inside() {
    let sandbox = Sandbox::new();
    sandbox.start("c", &[], "exec sleep 1000");
    assert!(sandbox.ok(["system", "df"]).contains("RECLAIMABLE"));
    assert_eq!(sandbox.ok(["port", "c"]), "");
    sandbox.ok(["system", "check"]);
    sandbox.ok(["stop", "-t0", "c"]);
    let pruned = sandbox.ok(["system", "prune", "-f"]);
    assert!(sandbox.names().is_empty(), "{pruned}");
    assert_eq!(sandbox.ketch(["image", "exists", "bb"]).code, 0, "an image with a name stays");
    sandbox.ok(["system", "prune", "-af"]);
    assert_eq!(sandbox.ok(["images", "-q"]), "");
}
