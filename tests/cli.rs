//! The command line itself: help, version, mistakes, exit codes, where output goes.

mod common;

use std::fs::File;
use std::process::{Command, Stdio};

use common::{Sandbox, ketch_binary};

#[test]
fn version_is_the_third_word() {
    let sandbox = Sandbox::empty();
    for args in [vec!["--version"], vec!["-v"], vec!["--version", ""]] {
        let output = sandbox.ok(&args);
        let words: Vec<&str> = output.split(' ').collect();
        assert_eq!(words[..2], ["ketch", "version"], "{args:?}");
        assert!(words[2].split('.').all(|part| part.parse::<u32>().is_ok()), "{output}");
        assert_eq!(words[3], "(podman-compatible)");
    }
    let version = sandbox.ok(["version", "--format={{.Client.Version}}"]);
    assert!(sandbox.ok(["--version"]).contains(&version));
    assert!(sandbox.ok(["version"]).contains(&version));
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["version", "-f", "json"])).expect("it is JSON");
    assert_eq!(json["Client"]["Version"], version.as_str());
    assert!(!sandbox.store().exists(), "the version needs no store");
}

#[test]
fn the_size_of_another_s_shared_memory_is_refused_as_podman_does_and_left_as_docker_does() {
    let sandbox = Sandbox::new();
    let docker = sandbox.path("docker");
    std::os::unix::fs::symlink(ketch_binary(), &docker).expect("make a link");
    let create = ["create", "--net=none", "--ipc=host", "--shm-size=32m", "bb"];
    sandbox.program(&docker, create).run().ok();
    assert!(sandbox.ketch(create).fails(125).contains("cannot set shmsize"));
}

/// What ansible, podman-compose, cibuildwheel, kind and devcontainer read of podman and docker.
#[test]
fn a_link_named_podman_or_docker_tells_their_versions() {
    let sandbox = Sandbox::empty();
    let link = |name: &str| {
        let link = sandbox.path(name);
        std::os::unix::fs::symlink(ketch_binary(), &link).expect("make a link");
        link
    };
    let (podman, docker) = (link("podman"), link("docker"));
    let run = |link: &std::path::Path, args: &[&str]| sandbox.program(link, args).run().ok().to_owned();
    let json = |link: &std::path::Path, args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&run(link, args)).expect("it is JSON")
    };
    // podman-compose takes the last word, ansible what follows `version`.
    assert_eq!(run(&podman, &["--version", ""]), "podman version 5.4.2");
    assert!(run(&podman, &["version"]).contains("\nVersion:       5.4.2\nAPI Version:   5.4.2\n"));
    for format in ["json", "{{json .}}"] {
        let said = json(&podman, &["version", "--format", format]);
        assert_eq!(said["Client"]["Version"], "5.4.2");
        let said = json(&docker, &["version", "-f", format]);
        for side in ["Client", "Server"] {
            assert_eq!(
                (&said[side]["Version"], &said[side]["ApiVersion"]),
                (&"28.3.3".into(), &"1.51".into())
            );
        }
    }
    assert_eq!(run(&podman, &["info", "--format", "{{.Version.Version}}"]), "5.4.2");
    let line = run(&docker, &["-v"]);
    // pytest-container wants the build in one word.
    let build = line.strip_prefix("Docker version 28.3.3, build ketch-").unwrap_or_else(|| panic!("{line}"));
    assert!(build.contains("podman") && !build.contains(' '), "{line}");
    let lines = run(&docker, &["version"]);
    assert!(lines.contains("\n API version:       1.51\n") && lines.contains("\nServer: "), "{lines}");
    assert_eq!(
        run(&docker, &["version", "-f", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}}"]),
        "1.51 1.24"
    );
    assert_eq!(run(&docker, &["info", "--format", "{{.ServerVersion}}"]), "28.3.3");
    // docker's own names, and no others; with podman's name podman's.
    let info = json(&docker, &["info", "--format", "json"]);
    for field in ["ID", "Driver", "OSType", "CgroupDriver", "SecurityOptions", "RegistryConfig", "HttpProxy"]
    {
        assert!(info.get(field).is_some(), "{field}: {info}");
    }
    assert_eq!((&info["ServerVersion"], info.get("host")), (&"28.3.3".into(), None));
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(json(&docker, &["system", "info", "-f", "{{json .}}"])["ID"], info["ID"]);
    assert!(json(&podman, &["info", "--format", "json"]).get("host").is_some());
    let text = run(&docker, &["info"]);
    for line in [
        "Server:",
        " Storage Driver: overlay2",
        "  Running: 0",
        "  Log: k8s-file json-file",
        "  seccomp",
        "   Profile: builtin",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line:?}: {text}");
    }
    assert!(!text.contains("<no value>"), "{text}");
    assert!(run(&docker, &["buildx", "version"]).starts_with("github.com/docker/buildx v0.26.1 "));
    let plugins = "{{range .ClientInfo.Plugins}}{{.Name}} {{.Version}} {{end}}";
    assert_eq!(run(&docker, &["info", "-f", plugins]), "buildx v0.26.1 compose v2.26.1 ");
    // What ansible asks first.
    for here in ["unix:///var/run/docker.sock", "unix:///run/user/1000/docker.sock", ""] {
        assert_eq!(
            run(&docker, &["--host", here, "-l", "error", "version", "-f", "{{.Server.Version}}"]),
            "28.3.3"
        );
    }
    let far = sandbox.program(&docker, ["-H", "tcp://far:2375", "ps"]).run();
    assert!(far.fails(1).contains("flag --host cannot work here"), "{}", far.stderr);
    assert_eq!(run(&docker, &["logout", "127.0.0.1:1"]), "Removing login credentials for 127.0.0.1:1");
    sandbox.ketch(["logout", "127.0.0.1:1"]).fails(125);
}

#[test]
fn mistakes_are_told_in_one_line_and_end_with_125() {
    let sandbox = Sandbox::empty();
    for (args, message) in [
        (vec!["run", "--badflag"], "Error: unknown flag: --badflag\nSee 'ketch run --help'\n"),
        (vec!["--badflag", "ps"], "Error: unknown flag: --badflag\nSee 'ketch --help'\n"),
        (vec!["ps", "-Z"], "Error: unknown shorthand flag: 'Z' in -Z\nSee 'ketch ps --help'\n"),
        (vec!["rename", "a"], "Error: missing argument: NAME\nSee 'ketch rename --help'\n"),
        (
            vec!["container", "xyzzy"],
            "Error: unrecognized command `ketch container xyzzy`\nTry 'ketch container --help' for more information\n",
        ),
        (
            vec!["ps", "--last", "abc"],
            "Error: invalid argument \"abc\" for \"--last\" flag: invalid digit found in string\nSee 'ketch ps --help'\n",
        ),
        (vec!["rm"], "Error: you must provide at least one name or id\n"),
        (vec!["inspect"], "Error: no names or ids specified\n"),
        (
            vec!["--log-level=loud", "ps"],
            "Error: log level \"loud\" is not supported, choose from: trace, debug, info, warn, warning, error, fatal, panic\n",
        ),
        (vec!["--stage", "nothing"], "Error: ketch --stage is for ketch itself\n"),
    ] {
        let output = sandbox.ketch(&args);
        assert_eq!((output.code, output.stderr.as_str()), (125, message), "{args:?}");
        assert_eq!(output.stdout, "", "{args:?}");
    }
    let typo = sandbox.ketch(["imagse"]);
    assert_eq!(typo.code, 125);
    assert!(
        typo.stderr.contains("\n\nDid you mean this?\n") && typo.stderr.contains("\timages\n"),
        "{}",
        typo.stderr
    );
}

#[test]
fn flags_take_truth_values() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=box", "--tty=false", "-i=true", "bb"]);
    for (args, want) in [
        (vec!["ps", "-aq=false", "--noheading=true", "--format={{.Names}}"], "box"),
        (vec!["ps", "--all=true", "--format={{.Names}}"], "box"),
        (vec!["ps", "--all=false", "--format={{.Names}}"], ""),
        (vec!["ps", "--all=true", "--all=0", "--format={{.Names}}"], ""),
        (vec!["inspect", "-f={{.Config.Tty}} {{.Config.OpenStdin}}", "box"], "false true"),
    ] {
        assert_eq!(sandbox.ok(&args), want, "{args:?}");
    }
    let wrong = sandbox.ketch(["ps", "--all=perhaps"]);
    assert!(
        wrong.fails(125).starts_with("Error: invalid argument \"perhaps\" for \"--all\" flag: "),
        "{}",
        wrong.stderr
    );
}

#[test]
fn help_is_there_for_everything() {
    let sandbox = Sandbox::empty();
    let all = sandbox.ok(["--help"]);
    for verb in ["run", "ps", "images", "container", "system"] {
        assert!(all.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))), "{verb}:\n{all}");
    }
    let page = sandbox.ok(["ps", "--help"]);
    assert!(page.starts_with("List containers\n"), "{page}");
    assert_eq!(page.lines().next(), sandbox.ok(["help", "container", "ls"]).lines().next());
    assert!(sandbox.ok(["container", "--help"]).contains("rename"));
    // Without a verb the page is shown, and the command has failed.
    let bare = sandbox.ketch(["container"]);
    assert_eq!(bare.code, 125);
    assert!(bare.stdout.contains("rename"), "{}", bare.stdout);
    assert_eq!(bare.stderr, "Error: missing command 'ketch container COMMAND'\n");
}

#[test]
fn the_store_is_where_it_is_said_to_be() {
    let sandbox = Sandbox::empty();
    let elsewhere = sandbox.path("elsewhere");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    for args in [vec!["--root", elsewhere, "volume", "create"], vec!["volume", "create", "--root", elsewhere]]
    {
        sandbox.ok(["--root", elsewhere, "ps"]);
        assert!(!sandbox.path("elsewhere").exists(), "looking makes nothing");
        sandbox.ok(&args);
        assert!(sandbox.path("elsewhere/format").exists(), "{args:?}");
        std::fs::remove_dir_all(elsewhere).expect("remove the store");
    }
    assert!(!sandbox.store().exists());
    let home = sandbox.command(["volume", "create"]).env_remove("KETCH_ROOT").run();
    assert_eq!(home.code, 0, "{}", home.stderr);
    assert!(sandbox.path("home/.local/share/ketch/format").exists());
}

/// `--root /tmp`, once mistyped, would close it to everybody else.
#[test]
fn a_directory_with_other_things_in_it_is_no_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = Sandbox::empty();
    sandbox.write("shared/file", "x");
    let (shared, mode) = (sandbox.path("shared"), std::fs::Permissions::from_mode(0o1777));
    std::fs::set_permissions(&shared, mode).expect("open it to all");
    let root = shared.to_str().expect("UTF-8");
    for args in [&["ps"][..], &["volume", "create"]] {
        let output = sandbox.ketch([&["--root", root], args].concat());
        assert!(
            output.fails(125).contains("is not a store of ketch and not empty: there is \"file\""),
            "{}",
            output.stderr
        );
        let entries: Vec<_> = shared.read_dir().expect("list it").flatten().collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(shared.metadata().expect("look").permissions().mode() & 0o7777, 0o1777);
    }
    // What a killed command has begun to make is one, and so is an empty directory.
    for begun in ["new/lost+found", "begun/refs"] {
        let root = sandbox.path(begun).parent().expect("it has one").display().to_string();
        std::fs::create_dir_all(sandbox.path(begun)).expect("make it");
        sandbox.ok(["--root", &root, "volume", "create"]);
        assert_eq!(std::fs::metadata(&root).expect("look").permissions().mode() & 0o7777, 0o700);
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let output = Command::new(ketch_binary())
        .args(["--version"])
        .stdout(File::options().write(true).open("/dev/full").expect("open /dev/full"))
        .stderr(Stdio::piped())
        .output()
        .expect("start ketch");
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "Error: write to standard output: no space left on device\n");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let sandbox = Sandbox::empty();
    let script = "ketch --help | true; echo ${PIPESTATUS[0]}";
    let output = sandbox.program("bash", ["-c", script]).run();
    assert!(["141\n", "0\n"].contains(&output.stdout.as_str()), "{}", output.stdout);
    assert_eq!(output.stderr, "");
}

#[test]
fn shells_get_completions() {
    let sandbox = Sandbox::empty();
    for (shell, text) in [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete ")] {
        assert!(sandbox.ok(["completion", shell]).contains(text), "{shell}");
    }
    let ask = |sandbox: &Sandbox, words: &[&str]| {
        offered(sandbox, "bash", words).lines().map(|word| word.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ask(&sandbox, &["ketch", "imag"]), ["image", "images"]);
    assert_eq!(ask(&sandbox, &["ketch", "rm", "b"]), Vec::<String>::new());
    assert!(!sandbox.store().exists(), "a press of a key makes no store");
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=box", "bb"]);
    assert_eq!(ask(&sandbox, &["ketch", "rm", "b"]), ["box"]);
    assert_eq!(ask(&sandbox, &["ketch", "rmi", "local"]), ["localhost/bb:latest"]);
}

#[test]
fn scripts_are_for_the_name_that_was_called() {
    let sandbox = Sandbox::empty();
    std::os::unix::fs::symlink(ketch_binary(), sandbox.path("docker")).expect("make a link");
    let docker = sandbox.path("docker");
    let script = |shell: &str| {
        sandbox.program(docker.to_str().expect("UTF-8"), ["completion", shell]).run().ok().to_owned()
    };
    assert!(
        script("bash")
            .contains("complete -o nospace -o bashdefault -o nosort -F _clap_complete_docker docker")
    );
    assert!(script("zsh").contains("#compdef docker"));
    assert!(script("fish").contains("--command docker "));
    sandbox.ok(["completion", "fish", "-f", "written"]);
    assert_eq!(sandbox.read("written").trim_end(), sandbox.ok(["completion", "fish"]));
    // Without a word about what is offered.
    let bare = sandbox.ok(["completion", "zsh", "--no-desc"]);
    let variable = bare.lines().find_map(|line| line.trim().strip_suffix("=\"zsh\" \\")).expect("a variable");
    let ask = |variable: &str| {
        let command = sandbox.command(["--", "ketch", "imag"]).env(variable, "fish");
        command.run().ok().to_owned()
    };
    assert_eq!(ask(variable), "image\nimages");
    assert!(ask("_KETCH_COMPLETE").starts_with("image\t"));
}

/// In bash `:` and `=` end words, and what it puts in is what follows them.
#[test]
fn bash_completes_behind_colons_and_equals_signs() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=box", "--net=none", "bb"]);
    sandbox.ok(["completion", "bash", "-f", "script"]);
    sandbox.write("a@b/my file", "");
    sandbox.write("q$(id)", "");
    // The line, how bash breaks it up, and what it replaces.
    for (line, words, replaced, want) in [
        ("ketch rmi bb:la", "ketch rmi bb : la", "la", "latest"),
        ("ketch rmi bb:la", "ketch rmi bb:la", "bb:la", "bb:latest"),
        ("ketch ps --filter status=ex", "ketch ps --filter status = ex", "ex", "exited"),
        ("ketch run --network=container:b", "ketch run --network = container : b", "b", "box"),
        ("ketch run --network=", "ketch run --network =", "", "bridge"),
        ("ketch  start bo", "ketch start bo", "bo", "box"),
        ("ketch start ", "ketch start ''", "", "box"),
        ("ketch start \"bo", "ketch start '\"bo'", "bo", "box"),
        ("ketch cp box", "ketch cp box", "box", "box:"),
        ("ketch cp ./a@b/m", "ketch cp ./a @ b/m", "b/m", "b/my\\ file"),
        ("ketch cp ./q", "ketch cp ./q", "./q", "./q\\$\\(id\\)"),
    ] {
        let count = words.split(' ').count() - 1;
        let script = format!(
            "complete() {{ :; }}; compopt() {{ :; }}; . ./script; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_TYPE=9; \
             COMP_WORDS=({words}); COMP_CWORD={count}; _clap_complete_ketch ketch '{replaced}'; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = sandbox.program("bash", ["-c", &script]).run();
        assert!(output.ok().lines().any(|found| found == want), "{line}: {}", output.stdout);
    }
}

/// What a shell is offered after `words`, the last of which is being typed.
fn offered(sandbox: &Sandbox, shell: &str, words: &[&str]) -> String {
    let index = (words.len() - 1).to_string();
    let args = ["--"].iter().chain(words);
    let command = sandbox.command(args).env("_KETCH_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", index);
    command
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "false")
        .run()
        .ok()
        .to_owned()
}

#[test]
fn names_of_everything_are_completed() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=known-container", "--net=none", "bb"]);
    sandbox.ok(["volume", "create", "known-volume"]);
    sandbox.ok(["network", "create", "known-network"]);
    sandbox.command(["secret", "create", "known-secret", "-"]).stdin("x").run().ok();
    for shell in ["bash", "zsh", "fish"] {
        for (words, want) in [
            (&["ketch", "start", "kn"][..], "known-container"),
            (&["ketch", "container", "init", "kn"], "known-container"),
            (&["ketch", "volume", "rm", "kn"], "known-volume"),
            (&["ketch", "network", "inspect", "kn"], "known-network"),
            (&["ketch", "secret", "rm", "kn"], "known-secret"),
            (&["ketch", "run", "--secret", "kn"], "known-secret"),
            (&["ketch", "run", "--network", "kn"], "known-network"),
            (&["ketch", "rmi", "localhost/"], "localhost/bb:latest"),
            (&["ketch", "run", "b"], "bb:latest"),
            (&["ketch", "exec", "-it", "kn"], "known-container"),
            (&["ketch", "top", "kn"], "known-container"),
            (&["ketch", "inspect", "kn"], "known-container"),
            (&["ketch", "inspect", "loc"], "localhost/bb:latest"),
            (&["ketch", "diff", "kn"], "known-container"),
            (&["ketch", "cp", "kn"], "known-container:"),
            (&["ketch", "run", "-v", "kn"], "known-volume:"),
            (&["ketch", "run", "--volume=kn"], "--volume=known-volume:"),
            (&["ketch", "run", "--network", "ho"], "host"),
            (&["ketch", "run", "--network", "container:kn"], "container:known-container"),
            (&["ketch", "run", "--pull", "n"], "newer"),
            (&["ketch", "run", "--restart", "un"], "unless-stopped"),
            (&["ketch", "run", "--log-driver", "jo"], "journald"),
            (&["ketch", "run", "--userns", "k"], "keep-id"),
            (&["ketch", "create", "--cap-add", "CAP_NET_A"], "CAP_NET_ADMIN"),
            (&["ketch", "kill", "-s", "SIGU"], "SIGUSR1"),
            (&["ketch", "ps", "--filter", "st"], "status="),
            (&["ketch", "ps", "--filter", "status=ex"], "status=exited"),
            (&["ketch", "ps", "--filter", "network=kn"], "network=known-network"),
            (&["ketch", "volume", "ls", "--filter", "dan"], "dangling="),
            (&["ketch", "ps", "--format", "j"], "json"),
            (&["ketch", "commit", "--format", "d"], "docker"),
        ] {
            let offered = offered(&sandbox, shell, words);
            let names: Vec<_> = offered.lines().map(|line| line.split('\t').next().unwrap_or(line)).collect();
            assert!(
                names.iter().any(|name| name.trim() == want || name.replace("\\:", ":").trim() == want),
                "{shell} {words:?}: {offered:?}"
            );
        }
    }
}
