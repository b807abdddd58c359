//! Images with several names, and names with several images: the order of names, `--platform` of verbs about
//! local images, `images --tree`, `manifest inspect --verbose`.

mod common;

use common::image::{Built, of_architecture};
use common::registry::{Access, Registry};
use common::{Sandbox, have, json};

/// The names of an image as `images` shows them.
fn names(sandbox: &Sandbox, image: &str) -> Vec<String> {
    let format = "--format={{range .RepoTags}}{{println .}}{{end}}";
    let shown = sandbox.ok(["image", "inspect", format, image]);
    shown.split_whitespace().map(|name| name.replace("localhost/", "")).collect()
}

/// Checked against podman 5.4.2: the name given last comes first, wherever names are shown.
#[test]
fn the_name_given_last_comes_first() {
    let sandbox = Sandbox::new();
    let bb = names(&sandbox, "bb").remove(0);
    sandbox.ok(["tag", "bb", "zz:1"]);
    sandbox.ok(["tag", "bb", "aa:1", "mm:1"]);
    assert_eq!(names(&sandbox, "bb"), ["mm:1", "aa:1", "zz:1", &bb]);
    let rows = sandbox.ok(["images", "--format={{.Repository}}:{{.Tag}}"]).replace("localhost/", "");
    assert_eq!(rows.lines().collect::<Vec<_>>(), ["mm:1", "aa:1", "zz:1", &bb]);
    let tags = sandbox.ok(["history", "--format={{.Tags}}", "bb"]).replace("localhost/", "");
    assert_eq!(tags.lines().next(), Some(format!("[mm:1 aa:1 zz:1 {bb}]").as_str()));
    let listed = json(&sandbox.ok(["images", "--format=json"]));
    assert_eq!(listed[0]["Names"][0], "localhost/mm:1");
    // Given again, it is the last that was given.
    sandbox.ok(["tag", "bb", "zz:1"]);
    assert_eq!(names(&sandbox, "bb"), ["zz:1", "mm:1", "aa:1", &bb]);
    assert!(sandbox.ok(["image", "tree", "bb"]).contains("[localhost/zz:1 localhost/mm:1 localhost/aa:1 "));

    // Names that it had once are told too: those it has, the oldest first, then the one lost last.
    let history = |image: &str| {
        let shown =
            sandbox.ok(["image", "inspect", "--format={{range .NamesHistory}}{{println .}}{{end}}", image]);
        // The registry that the sandbox has it from.
        let names = shown.split_whitespace().filter(|name| !name.starts_with("127."));
        names.map(|name| name.replace("localhost/", "")).collect::<Vec<_>>()
    };
    assert_eq!(history("zz:1"), [&bb, "aa:1", "mm:1", "zz:1"]);
    sandbox.ok(["untag", "bb", "mm:1"]);
    assert_eq!(names(&sandbox, "bb"), ["zz:1", "aa:1", &bb]);
    assert_eq!(history("zz:1"), [&bb, "aa:1", "zz:1", "mm:1"]);
    sandbox.ok(["rmi", "aa:1"]);
    assert_eq!(history("zz:1"), [&bb, "zz:1", "aa:1", "mm:1"]);
    let table = sandbox.ok(["images", "--history", "zz:1"]);
    assert!(
        table.lines().all(|row| row.contains("HISTORY") || row.contains("localhost/aa:1, localhost/mm:1")),
        "{table}"
    );
    // A name that moves to another image is one that the first once had.
    sandbox.write("Containerfile", format!("FROM {bb}\nLABEL other=1\n"));
    sandbox.ok(["build", "-q", "-t", "zz:1", &sandbox.path(".").display().to_string()]);
    assert_eq!(history("bb"), [&bb, "zz:1", "aa:1", "mm:1"]);
}

#[test]
fn archives_keep_all_names_of_an_image() {
    let sandbox = Sandbox::new();
    sandbox.ok(["tag", "bb", "a:1", "r.example/b:2"]);
    let id = sandbox.ok(["image", "inspect", "--format={{.Id}}", "bb"]);
    let at = |name: &str| sandbox.path(name).display().to_string();
    let listed = |archive: &str| {
        let list = json(sandbox.program("tar", ["-xOf", archive, "manifest.json"]).run().ok());
        list.as_array().expect("a list").iter().map(|image| image["RepoTags"].to_string()).collect::<Vec<_>>()
    };
    // Both names of the one image in one entry, in the order they were given.
    sandbox.ok(["save", "-q", "-m", "-o", &at("m.tar"), "r.example/b:2", "a:1"]);
    assert_eq!(listed(&at("m.tar")), [r#"["r.example/b:2","localhost/a:1"]"#]);
    sandbox.ok(["save", "-q", "-m", "-o", &at("i.tar"), &id, "a:1"]);
    assert_eq!(listed(&at("i.tar")), [r#"["localhost/a:1"]"#]);
    sandbox.ok(["save", "-q", "-o", &at("id.tar"), &id]);
    assert_eq!(listed(&at("id.tar")), ["[]"]);
    // Further names come first: whoever loads them has the image's own name in front.
    sandbox.ok(["save", "-q", "-o", &at("f.tar"), "a:1", "new:7", "foo"]);
    assert_eq!(listed(&at("f.tar")), [r#"["localhost/new:7","localhost/foo:latest","localhost/a:1"]"#]);
    let other = Sandbox::empty();
    let said = other.ok(["load", "-q", "-i", &at("f.tar")]);
    let loaded: Vec<_> = said.lines().map(|line| line.trim_start_matches("Loaded image: ")).collect();
    assert_eq!(loaded, ["localhost/new:7", "localhost/foo:latest", "localhost/a:1"]);
    assert_eq!(names(&other, "foo"), ["a:1", "foo:latest", "new:7"]);

    // One line for each name, as podman prints them; and every image of an archive of several.
    let other = Sandbox::empty();
    assert_eq!(
        other.ok(["pull", "-q", &format!("docker-archive:{}", at("m.tar"))]).lines().collect::<Vec<_>>(),
        [&id, &id]
    );
    sandbox.write("Containerfile", "FROM bb\nLABEL other=1\n");
    let second = sandbox.ok(["build", "-q", "-t", "second", &sandbox.path(".").display().to_string()]);
    let second = second.trim_start_matches("sha256:").to_owned();
    for form in ["docker-archive", "oci-archive"] {
        let archive = at(&format!("two.{form}"));
        sandbox.ok(["save", "-q", "-m", "--format", form, "-o", &archive, "a:1", "second"]);
        let other = Sandbox::empty();
        let pulled = other.ok(["pull", "-q", &format!("{form}:{archive}")]);
        assert_eq!(pulled.lines().collect::<Vec<_>>(), [&id, &second], "{form}");
        assert_eq!(names(&other, &second), ["second:latest"], "{form}");
    }
}

/// Checked against podman 5.4.2.
#[test]
fn names_of_other_kinds() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["image", "inspect", "--format={{.Id}}", "bb"]);
    // What looks like a digest is no name to give.
    for name in ["sha256:abc", &format!("sha256:{id}"), &format!("a@sha256:{id}")] {
        let refused = sandbox.ketch(["tag", "bb", name]);
        assert!(refused.fails(125).contains("tag by digest not supported"), "{name}: {}", refused.stderr);
    }
    assert_eq!(names(&sandbox, "bb").len(), 1);
    // A push into the store is a further name.
    sandbox.ok(["push", "-q", "bb", "containers-storage:cs:1"]);
    assert_eq!(names(&sandbox, "bb")[0], "cs:1");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "cs:1"]), id);
    let several = sandbox.ketch(["rmi", &id]);
    assert!(several.fails(125).contains("with more than one tag ([localhost/cs:1 "), "{}", several.stderr);
    assert!(several.stderr.contains("please force removal"), "{}", several.stderr);
    // Images of an archive by their number.
    sandbox.write("Containerfile", "FROM bb\nLABEL other=1\n");
    let second = sandbox.ok(["build", "-q", "-t", "second", &sandbox.path(".").display().to_string()]);
    let archive = sandbox.path("two.tar").display().to_string();
    sandbox.ok(["save", "-q", "-m", "-o", &archive, "bb", "second"]);
    let other = Sandbox::empty();
    for (number, id) in [("@1", second.trim_start_matches("sha256:")), ("@0", &id)] {
        assert_eq!(other.ok(["pull", "-q", &format!("docker-archive:{archive}:{number}")]), *id, "{number}");
    }
    let missing = other.ketch(["pull", "-q", &format!("docker-archive:{archive}:@2")]);
    assert!(missing.fails(125).contains("index @2, only 2 manifest items available"), "{}", missing.stderr);
}

/// Images for two processors, and the one name by which the registry has them.
fn two_platforms(registry: &Registry) -> ([Built; 2], String) {
    let images = ["s390x", "arm64"].map(of_architecture);
    let name = registry.push_index("m", "all", &images.each_ref());
    (images, name)
}

/// One image for two processors at a registry; both are pulled, the second one has the name.
#[test]
fn platforms_of_one_name() {
    if !have("docker-registry") {
        return;
    }
    let registry = Registry::private();
    let (images, name) = two_platforms(&registry);
    let sandbox = Sandbox::empty();
    let ids = images.each_ref().map(|image| image.id().replace("sha256:", ""));
    for (arch, id) in ["s390x", "arm64"].iter().zip(&ids) {
        assert_eq!(sandbox.ok(["pull", "-q", &format!("--arch={arch}"), &name]), *id);
    }
    let [s390x, arm64] = &ids;
    let of = |verb: &[&str], platform: &str| {
        let platform = format!("--platform={platform}");
        sandbox.ketch(verb.iter().copied().chain([platform.as_str(), &name]))
    };
    let inspect = ["image", "inspect", "--format={{.Id}}"];
    assert_eq!(of(&inspect, "linux/s390x").stdout.trim(), s390x);
    assert_eq!(of(&inspect, "linux/arm64/v8").stdout.trim(), arm64);
    assert_eq!(sandbox.ok(inspect.iter().copied().chain([name.as_str()])), *arm64);
    assert_eq!(
        of(&["history", "-q", "--no-trunc"], "linux/s390x").stdout.lines().next(),
        Some(s390x.as_str())
    );
    for verb in [&inspect[..], &["history"], &["save", "-o", "/dev/null"], &["push", "-q"]] {
        let refused = of(verb, "linux/riscv64");
        assert!(
            refused.fails(125).contains("does not provide the specified platform (linux/riscv64)"),
            "{verb:?}: {}",
            refused.stderr
        );
    }

    // What goes out keeps the name.
    let archive = sandbox.path("s390x.tar").display().to_string();
    of(&["save", "-q", "-o", &archive], "linux/s390x").ok();
    let other = Sandbox::empty();
    other.ok(["load", "-q", "-i", &archive]);
    assert_eq!(
        other.ok(["image", "inspect", "--format={{.Id}} {{.RepoTags}}", &name]),
        format!("{s390x} [{name}]")
    );
    let refused = other.ketch(["load", "-i", &archive, "--platform=linux/arm64"]);
    assert!(refused.fails(125).contains("is for linux/s390x, not for linux/arm64"), "{}", refused.stderr);
    // Of an index in an archive, the image that was asked for.
    let layout = sandbox.path("layout").display().to_string();
    sandbox.ok(["manifest", "create", "list", s390x, arm64]);
    sandbox.ok(["push", "-q", "list", &format!("oci:{layout}")]);
    for (platform, id) in ["linux/s390x", "linux/arm64"].iter().zip(&ids) {
        let other = Sandbox::empty();
        other.ok(["load", "-q", "-i", &layout, "--platform", platform]);
        assert_eq!(other.ok(["images", "-q", "--no-trunc"]), format!("sha256:{id}"));
    }
    assert_eq!(
        sandbox.ok(["image", "inspect", "--format={{.Id}}", "--platform=linux/s390x", "list"]),
        *s390x
    );

    // A push of one platform replaces the index by its manifest.
    of(&["push", "-q"], "linux/s390x").ok();
    let said = json(&sandbox.ok(["manifest", "inspect", &format!("docker://{name}")]));
    assert_eq!(said["config"]["digest"], format!("sha256:{s390x}"), "{said}");

    // A removal of one platform leaves the name and the other image.
    assert_eq!(of(&["rmi"], "linux/s390x").ok(), format!("Deleted: {s390x}"));
    assert_eq!(sandbox.ok(inspect.iter().copied().chain([name.as_str()])), *arm64);
    assert!(of(&["rmi"], "linux/s390x").fails(1).contains("does not provide"));
    assert!(of(&["rmi"], "linux/arm64").ok().starts_with(&format!("Untagged: {name}\n")));
}

#[test]
fn trees_show_what_is_here_and_what_is_not() {
    if !have("docker-registry") {
        return;
    }
    let registry = Registry::private();
    let (images, name) = two_platforms(&registry);
    let sandbox = Sandbox::new();
    sandbox.ok(["pull", "-q", "--arch=arm64", &name]);
    sandbox.ok(["tag", "bb", "further"]);
    sandbox.ok(["create", "--net=none", "bb"]);
    let tree = sandbox.ok(["images", "--tree"]);
    let lines: Vec<Vec<&str>> = tree.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["IMAGE", "ID", "DISK", "USAGE", "CONTENT", "SIZE", "EXTRA"]);
    let row = |start: &str| {
        let mut found = lines.iter().filter(|row| row.join(" ").starts_with(start));
        let row = found.next().unwrap_or_else(|| panic!("{start}: {tree}")).clone();
        assert!(found.next().is_none(), "{start}: {tree}");
        row
    };
    let short = |digest: &str| digest.replace("sha256:", "")[..12].to_owned();
    // The one that is here has its image ID and takes space; the other is known by its manifest only.
    let (here, gone) = (row("└─ linux/arm64"), row("├─ linux/s390x"));
    assert_eq!(here[2], short(&images[1].id()));
    assert_eq!(gone[2..], [short(&images[0].manifest.digest()).as_str(), "0B", "0B"]);
    let content: usize = images[1].layers.iter().map(|layer| layer.bytes.len()).sum();
    assert!(content < 1000 && here[4].ends_with('B') && here[4] != "0B", "{here:?}");
    // A container uses bb; its second name is a line of its own.
    let bb = row("localhost/further:latest");
    assert_eq!(bb.last(), Some(&"U"), "{tree}");
    assert_eq!(row("localhost/bb:").len(), 1, "{tree}");
    assert!(sandbox.ketch(["images", "--tree", "-q"]).fails(125).contains("cannot be used"));
}

/// The document is docker's.
#[test]
fn manifests_in_full() {
    if !have("docker-registry") {
        return;
    }
    let registry = Registry::private();
    let (images, name) = two_platforms(&registry);
    let one = registry.push("m", "one", &images[0]);
    let sandbox = Sandbox::empty();
    let full = |image: &str| json(&sandbox.ok(["manifest", "inspect", "-v", image]));
    let check = |entry: &serde_json::Value, image: usize, arch: &str| {
        assert_eq!(entry["Descriptor"]["digest"], images[image].manifest.digest(), "{entry}");
        assert_eq!(entry["Descriptor"]["platform"]["architecture"], arch);
        let manifest = ["OCIManifest", "SchemaV2Manifest"].iter().find_map(|key| entry.get(key));
        let layers = &manifest.expect("the manifest")["layers"];
        assert_eq!(layers[0]["digest"], images[image].layers[0].digest(), "{entry}");
        assert!(entry["Raw"].as_str().is_some_and(|raw| !raw.is_empty()));
    };
    let remote = full(&name);
    assert_eq!(remote.as_array().map(Vec::len), Some(2), "{remote}");
    for (at, arch) in ["s390x", "arm64"].iter().enumerate() {
        check(&remote[at], at, arch);
        let repository = name.trim_end_matches(":all");
        assert_eq!(remote[at]["Ref"], format!("{repository}@{}", images[at].manifest.digest()));
    }
    let single = full(&one);
    check(&single, 0, "s390x");
    assert_eq!(single["Ref"], one);
    // What is here is the same.
    sandbox.ok(["pull", "-q", "--arch=s390x", &one]);
    assert_eq!(full(&one), single);
    sandbox.ok(["manifest", "create", "--all", "list", &name]);
    let local = full("list");
    for (at, arch) in ["s390x", "arm64"].iter().enumerate() {
        check(&local[at], at, arch);
    }
}

/// docker's words: a registry with a certificate that nobody knows is taken with `--insecure`; `--purge` removes.
#[test]
fn insecure_registries_and_purging() {
    if !have("docker-registry") || !have("openssl") {
        return;
    }
    let open = Registry::private();
    let image = of_architecture("s390x");
    open.push("m", "one", &image);
    let tls = open.guarded(Access::Tls);
    let name = tls.reference("m", "one");
    let sandbox = Sandbox::empty();
    assert!(sandbox.ketch(["manifest", "inspect", &name]).fails(125).contains("certificate"));
    let shown = json(&sandbox.ok(["manifest", "inspect", "--insecure", &name]));
    assert_eq!(shown["config"]["digest"], image.id());
    sandbox.ketch(["manifest", "create", "list", &name]).fails(125);
    sandbox.ok(["manifest", "create", "--insecure", "list", &format!("docker://{name}")]);
    let to = tls.reference("m", "out");
    sandbox.ketch(["manifest", "push", "-q", "list", &to]).fails(125);
    assert_eq!(sandbox.ketch(["manifest", "exists", "list"]).code, 0, "what was not pushed stays");
    sandbox.ok(["manifest", "push", "-q", "--insecure", "--purge", "list", &to]);
    assert_eq!(sandbox.ketch(["manifest", "exists", "list"]).code, 1);
    let pushed = json(&sandbox.ok(["manifest", "inspect", "--insecure", &to]));
    assert_eq!(pushed["manifests"][0]["digest"], image.manifest.digest());
}

/// podman's `diff` compares containers and images with each other.
#[test]
fn diff_of_two() {
    let sandbox = Sandbox::new();
    sandbox.ok(["run", "--name=c", "--net=none", "bb", "sh", "-c", "echo new > /new; rm /etc/passwd"]);
    sandbox.ok(["commit", "-q", "c", "com"]);
    let diff = |one: &str, other: &str| {
        let mut lines: Vec<String> = sandbox.ok(["diff", one, other]).lines().map(str::to_owned).collect();
        lines.retain(|line| line != "C /etc");
        lines
    };
    // "bb" alone may be the beginning of a container's ID.
    let image = "bb:latest";
    assert_eq!(diff("com", image), ["D /etc/passwd", "A /new"]);
    assert_eq!(diff(image, "com"), ["A /etc/passwd", "D /new"]);
    assert_eq!(diff("c", image), ["D /etc/passwd", "A /new"]);
    assert_eq!(diff(image, "c"), ["A /etc/passwd", "D /new"]);
    assert_eq!(diff("c", "com"), [""; 0]);
    let missing = sandbox.ketch(["diff", "com", "nosuch"]);
    assert!(missing.fails(125).contains("nosuch"), "{}", missing.stderr);
    sandbox.ok(["rm", "c"]);
}
