//! registries.conf: tables of what is read from which files.

use super::*;

fn from_text(text: &str) -> Registries {
    Registries::from_text(text).unwrap()
}

fn resolved(all: &Registries, name: &str) -> String {
    match all.resolve(&name.parse().unwrap()) {
        Ok(list) => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(err) => format!("{err:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn choices_are_offered_where_somebody_is_to_choose() {
    let two = "unqualified-search-registries = ['a.io', 'b.io']\n[aliases]\n'deb'='quay.io/x/debian'";
    let name = |text: &str| text.parse::<ImageName>().unwrap();
    for (mode, typed, want) in [
        ("enforcing", "app:1", Some("a.io/app:1 b.io/app:1")),
        ("permissive", "team/app", Some("a.io/team/app:latest b.io/team/app:latest")),
        ("disabled", "app", None),
        ("enforcing", "deb", None),
        ("enforcing", "c.io/app", None),
    ] {
        let all = from_text(&format!("short-name-mode='{mode}'\n{two}"));
        let choices = all.choices(&name(typed)).unwrap();
        let shown = choices.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(shown.as_deref(), want, "{mode} {typed}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c/aliases.conf");
    for (short, full) in [("app", "a.io/app:1"), ("t/x", "b.io/t/x"), ("app", "c.io/app:2")] {
        remember_alias(&file, &name(short), &full.parse().unwrap()).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "[aliases]\n  \"app\" = \"c.io/app\"\n  \"t/x\" = \"b.io/t/x\"\n");
    assert_eq!(resolved(&from_text(&text), "app:3"), "c.io/app:3");
    // One who waits for another sees what that one has written.
    let held = fs::open_dir(fs::here(), file.parent().unwrap()).unwrap();
    fs::lock(&held, Share::Exclusive).unwrap();
    let waits = format!(":{} ", fs::stat(&held).unwrap().st_ino);
    let waits = |locks: String| locks.lines().any(|line| line.contains("->") && line.contains(&waits));
    let (of, image) = (name("late"), "d.io/late".parse().unwrap());
    std::thread::scope(|scope| {
        let late = scope.spawn(|| remember_alias(&file, &of, &image));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !waits(std::fs::read_to_string("/proc/locks").unwrap()) {
            assert!(std::time::Instant::now() < end && !late.is_finished(), "it does not wait");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        std::fs::write(&file, "[aliases]\n'early' = 'e.io/early'\n").unwrap();
        drop(held);
        late.join().unwrap().unwrap();
    });
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("e.io/early") && text.contains("d.io/late"), "{text}");
}

#[test]
fn short_names() {
    let none = from_text("");
    let one = from_text(
        "unqualified-search-registries = ['docker.io']\n[aliases]\n'deb'='quay.io/x/debian'\n'off'=''",
    );
    let lax = from_text("unqualified-search-registries = ['a.io', 'b.io']");
    let two = from_text("unqualified-search-registries = ['a.io', 'b.io']\nshort-name-mode='enforcing'");
    let file = "(registries.conf)";
    for (all, name, want) in [
        (&one, "deb:12", Some(format!("Resolved \"deb\" as an alias {file}"))),
        (&one, "off", Some(format!("Resolving \"off\" using unqualified-search registries {file}"))),
        (&one, "quay.io/deb", None),
    ] {
        let mut all = all.clone();
        all.file = "registries.conf".into();
        assert_eq!(all.resolution(&name.parse().unwrap()), want, "{name}");
    }
    for (all, name, want) in [
        (&none, "app", "ShortName"),
        (&none, "docker.io/app", "docker.io/library/app:latest"),
        (&one, "app", "docker.io/library/app:latest"),
        (&one, "a/app:2", "docker.io/a/app:2"),
        (&one, "deb", "quay.io/x/debian:latest"),
        (&one, "deb:12", "quay.io/x/debian:12"),
        (&one, "off", "docker.io/library/off:latest"),
        (&two, "app", "Ambiguous"),
        (&lax, "app", "a.io/app:latest b.io/app:latest"),
    ] {
        assert_eq!(resolved(all, name), want, "{name}");
    }
}

#[test]
fn no_file_means_docker_hub() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("registries.conf");
    let paths = Paths { main: vec![file.clone()], ..Paths::default() };
    assert_eq!(resolved(&Registries::load(&paths).unwrap(), "app"), "docker.io/library/app:latest");
    let hub = Registries::load(&paths).unwrap();
    let assumed = |all: &Registries, name: &str| all.assumed(&name.parse().unwrap());
    assert_eq!(
        assumed(&hub, "x:zz").as_deref(),
        Some(
            "short-name \"x:zz\" did not resolve to an alias and no unqualified-search registries are \
             defined in \"/etc/containers/registries.conf\", so docker.io was asked"
        )
    );
    assert_eq!(assumed(&hub, "docker.io/x"), None);
    let named = Registries::load(&Paths { named: true, ..paths.clone() }).unwrap();
    assert_eq!(resolved(&named, "app"), "ShortName", "a file that was named and is not there");
    let aliases = dir.path().join("aliases.conf");
    std::fs::write(&aliases, "[aliases]\n'deb'='quay.io/x/debian'\n").unwrap();
    let remembered = Paths { alias_cache: Some(aliases), ..paths.clone() };
    let hub = Registries::load(&remembered).unwrap();
    assert_eq!(resolved(&hub, "app/b"), "docker.io/app/b:latest");
    assert_eq!((resolved(&hub, "deb").as_str(), assumed(&hub, "deb")), ("quay.io/x/debian:latest", None));
    std::fs::write(&file, "").unwrap();
    assert_eq!(resolved(&Registries::load(&paths).unwrap(), "app"), "ShortName");
    assert_eq!(assumed(&Registries::load(&paths).unwrap(), "app"), None);
    let drop_ins = dir.path().join("d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::write(drop_ins.join("1.conf"), "unqualified-search-registries=['x.io']").unwrap();
    std::fs::write(drop_ins.join("2.conf"), "unqualified-search-registries=['y.io']").unwrap();
    std::fs::write(drop_ins.join("3.txt"), "broken").unwrap();
    let paths = Paths { drop_ins: vec![drop_ins], ..paths };
    assert_eq!(resolved(&Registries::load(&paths).unwrap(), "app"), "y.io/app:latest");
    std::fs::write(&file, "a = [").unwrap();
    assert!(matches!(Registries::load(&paths), Err(Error::Config { path, .. }) if path == file));
}

#[test]
fn rules_rewrite_and_order() {
    let all = from_text(
        r#"
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.local:5000"
        insecure = true
        [[registry.mirror]]
        location = "pinned.io/hub"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library"
        location = "internal.io/base"
        [[registry]]
        location = "bad.io"
        blocked = true
        [[registry]]
        prefix = "*.corp.io"
        insecure = true
        [[registry]]
        location = "lab:5000"
        insecure = true
        "#,
    );
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let digest = format!("docker.io/a/b@sha256:{hex}");
    let pinned = format!("mirror.local:5000/a/b@sha256:{hex}! pinned.io/hub/a/b@sha256:{hex} {digest}");
    for (image, want) in [
        ("docker.io/a/b:1", "mirror.local:5000/a/b:1! docker.io/a/b:1"),
        (digest.as_str(), pinned.as_str()),
        ("docker.io/library/x:1", "internal.io/base/x:1"),
        ("docker.io/libraryx/x:1", "mirror.local:5000/libraryx/x:1! docker.io/libraryx/x:1"),
        ("r.corp.io/x:1", "r.corp.io/x:1!"),
        ("corp.io/x:1", "corp.io/x:1"),
        ("lab:5000/x:1", "lab:5000/x:1!"),
        ("other.io/x:1", "other.io/x:1"),
    ] {
        let list = all.endpoints(&image.parse().unwrap()).unwrap();
        let shown: Vec<String> = list
            .iter()
            .map(|endpoint| format!("{}{}", endpoint.image, if endpoint.insecure { "!" } else { "" }))
            .collect();
        assert_eq!(shown.join(" "), want, "{image}");
    }
    let blocked = all.endpoints(&"bad.io/x".parse().unwrap());
    assert!(matches!(blocked, Err(Error::Blocked { prefix, .. }) if prefix == "bad.io"));
    // What is written goes to the registry that the name says.
    for (image, insecure) in
        [("docker.io/a/b:1", false), ("docker.io/library/x:1", false), ("lab:5000/x:1", true)]
    {
        let image: ImageRef = image.parse().unwrap();
        assert_eq!(all.own(&image).unwrap(), Endpoint { image, insecure });
    }
    assert!(matches!(all.own(&"bad.io/x".parse().unwrap()), Err(Error::Blocked { .. })));
}
