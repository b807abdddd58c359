//! `build`: where a build's files come from, where its result and its cache go, and how it is shown.

mod common;

use std::path::Path;
use std::process::Command;

use common::faults::{Answer, Content, Faults};
use common::registry::Registry;
use common::{Output, Sandbox, have, last_line};

fn build(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.ketch([&["build", "--network=none"], args].concat())
}

/// Serves the files below `dir`.
fn files(dir: &Path) -> Faults {
    let dir = dir.to_owned();
    Faults::start(Content::default(), move |request, _| {
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        std::fs::read(dir.join(path)).map_or_else(|_| Answer::status(404), Answer::ok)
    })
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("start git");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// As podman has it: an ENV behind each FROM, which the file's own ENV overrides.
#[test]
fn variables_of_the_command_line_are_there_while_it_is_built() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "Dockerfile",
        "FROM bb AS first\nENV A=file\nRUN echo 1 $A $B > /made\nFROM first\n\
         RUN echo 2 $A $B $C >> /made\nENV B=file\nRUN echo 3 $A $B $C >> /made; cat /made\nLABEL seen=$C\n",
    );
    let context = sandbox.path("");
    let context = context.to_str().expect("UTF-8");
    let variables = ["--env=A=flag", "--env=B=flag", "--env=C=q"];
    build(&sandbox, &[&variables[..], &["-q", "-t", "made", context]].concat()).ok();
    assert_eq!(
        sandbox.ok(["run", "--rm", "--net=none", "made", "cat", "/made"]),
        "1 file flag\n2 flag flag q\n3 flag file q"
    );
    let config = sandbox.ok([
        "image",
        "inspect",
        "--format={{range .Config.Env}}{{.}};{{end}}{{.Config.Labels.seen}}",
        "made",
    ]);
    assert!(config.ends_with(";A=flag;B=file;C=q;q"), "{config}");
    assert!(sandbox.ok(["history", "--no-trunc", "made"]).contains("ENV \"A\"=\"flag\""));
}

#[test]
fn contexts_from_addresses() {
    let sandbox = Sandbox::new();
    let archive = common::image::Layer::new()
        .file("Dockerfile", 0o644, "FROM bb\nCOPY f /f\nRUN cat /f\n")
        .file("f", 0o644, "archived");
    sandbox.write("www/ctx.tar", archive.finish());
    sandbox.write("www/Dockerfile.remote", "FROM bb\nRUN echo from afar\n");
    sandbox.write("www/added.txt", "downloaded\n");
    sandbox.write("here/f", "local\n");
    let server = files(&sandbox.path("www"));
    let address = |name: &str| format!("http://{}/{name}", server.address());
    assert!(build(&sandbox, &[&address("ctx.tar")]).ok().contains("archived"));
    assert!(build(&sandbox, &[&address("Dockerfile.remote")]).ok().contains("from afar"));
    let here = sandbox.path("here");
    let here = here.to_str().unwrap();
    assert!(build(&sandbox, &["-f", &address("Dockerfile.remote"), here]).ok().contains("from afar"));
    let add = format!(
        "FROM bb\nADD --checksum=sha256:{} {} /a/\nRUN cat /a/added.txt; stat -c %a /a/added.txt\n",
        common::faults::digest(b"downloaded\n").trim_start_matches("sha256:"),
        address("added.txt")
    );
    sandbox.write("here/Dockerfile", &add);
    assert!(build(&sandbox, &[here]).ok().contains("downloaded\n600\n"));
    std::fs::write(sandbox.path("www/added.txt"), "changed\n").unwrap();
    let changed = build(&sandbox, &[here]);
    assert!(changed.fails(125).contains("digest mismatch"), "{}", changed.stderr);
    assert!(build(&sandbox, &[&address("nothing")]).fails(125).contains("404"));
}

#[test]
fn contexts_from_git_repositories() {
    if !have("git") {
        return;
    }
    let sandbox = Sandbox::new();
    let repository = sandbox.path("repo");
    for (path, content) in [
        ("repo/Dockerfile", "FROM bb\nCOPY . /ctx\nRUN cat /ctx/f\n"),
        ("repo/sub/Dockerfile", "FROM bb\nCOPY . /ctx\nRUN cat /ctx/f; ls -A /ctx\n"),
        ("repo/f", "root of main\n"),
        ("repo/sub/f", "sub of main\n"),
    ] {
        sandbox.write(path, content);
    }
    git(&repository, &["init", "-q"]);
    git(&repository, &["add", "."]);
    git(&repository, &["commit", "-qm", "1"]);
    git(&repository, &["checkout", "-qb", "dev"]);
    sandbox.write("repo/sub/f", "sub of dev\n");
    git(&repository, &["commit", "-qam", "2"]);
    git(&repository, &["tag", "v1"]);
    let commit = git(&repository, &["rev-parse", "dev"]);
    git(&repository, &["checkout", "-q", "main"]);
    git(&sandbox.path(""), &["clone", "-q", "--bare", "repo", "www/repo.git"]);
    let bare = sandbox.path("www/repo.git");
    git(&bare, &["update-server-info"]);
    let server = files(&sandbox.path("www"));
    let http = format!("http://{}/repo.git", server.address());
    let file = format!("file://{}", bare.display());
    for (context, want) in [
        (http.clone(), "root of main\n"),
        (format!("{http}#dev:sub"), "sub of dev\nDockerfile\nf\n"),
        (format!("{http}#v1:sub"), "sub of dev\n"),
        (format!("{http}?tag=v1&subdir=sub"), "sub of dev\n"),
        (format!("{http}?branch=dev&commit={commit}&subdir=sub"), "sub of dev\n"),
        (format!("{file}#:sub"), "sub of main\n"),
        (format!("{file}#{commit}:sub"), "sub of dev\n"),
    ] {
        let output = build(&sandbox, &["--no-cache", &context]);
        assert!(output.ok().contains(want), "{context}: {}", output.stdout);
    }
    let wrong = build(&sandbox, &[&format!("{file}#nope")]);
    assert!(wrong.fails(125).contains("no branch, tag or commit \"nope\""), "{}", wrong.stderr);
    let other = build(&sandbox, &[&format!("{http}?branch=main&commit={commit}")]);
    assert!(other.fails(125).contains("expected checksum to match"), "{}", other.stderr);
    assert!(build(&sandbox, &[&format!("{file}#main:nope")]).fails(125).contains("no directory"));
    // ADD of a repository has no .git; one of this machine is not a Dockerfile's to name.
    sandbox.write("ctx/Dockerfile", format!("FROM bb\nADD {http}#dev /r\nRUN cat /r/sub/f; ls -A /r\n"));
    let ctx = sandbox.path("ctx");
    let added = build(&sandbox, &[ctx.to_str().unwrap()]);
    assert!(added.ok().contains("sub of dev\nDockerfile\nf\nsub\n"), "{}", added.stdout);
    sandbox.write("ctx/Dockerfile", format!("FROM bb\nADD {file} /r\n"));
    assert!(build(&sandbox, &[ctx.to_str().unwrap()]).fails(125).contains("not found"));
    // As with BuildKit: what git keeps beside the files is no part of a context, unless it is asked for.
    for (flags, kept) in [(&[][..], "no"), (&["--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"], "yes")] {
        build(&sandbox, &[flags, &["-q", "-t", "kept", &http]].concat()).ok();
        let script = "[ -d /ctx/.git ] && echo yes || echo no";
        assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "kept", "sh", "-c", script]), kept);
    }
    // A checksum is the commit's.
    let other = format!("{}{}", if commit.starts_with('0') { "1" } else { "0" }, &commit[1..]);
    for (add, said) in [
        (format!("--checksum={commit} {http}#dev"), None),
        (format!("--checksum={} {http}#v1", &commit[..12]), None),
        (format!("--checksum={other} {http}#dev"), Some("expected checksum to match")),
        ("--checksum=sha256:00 Dockerfile".to_owned(), Some("checksum requires HTTP(S) or Git sources")),
        (format!("--checksum={commit} {http}#dev {http}"), Some("multiple sources")),
    ] {
        sandbox.write("ctx/Dockerfile", format!("FROM bb\nADD {add} /r/\n"));
        let added = build(&sandbox, &[ctx.to_str().unwrap()]);
        match said {
            None => drop(added.ok()),
            Some(said) => assert!(added.fails(125).contains(said), "{add}: {}", added.stderr),
        }
    }
}

#[test]
fn an_agent_is_reached_by_run() {
    if !have("ssh-agent") || !have("ssh-add") || !have("ssh-keygen") {
        return;
    }
    let sandbox = Sandbox::new();
    let socket = sandbox.path("agent.sock");
    let script = format!(
        "exec ssh-agent -a '{}' sh -c 'ssh-keygen -q -t ed25519 -N \"\" -C of-the-test -f key && ssh-add -q key && \
         ketch build --network=none $volumes --ssh default -f ctx/Dockerfile ctx && \
         ketch build --network=none $volumes --ssh other={} -f ctx/Other ctx'",
        socket.display(),
        socket.display()
    );
    sandbox.write(
        "ctx/Dockerfile",
        "FROM bb\nRUN --mount=type=ssh echo agent at $SSH_AUTH_SOCK; ssh-add -l\nRUN test -z \"$SSH_AUTH_SOCK\"\n",
    );
    sandbox.write(
        "ctx/Other",
        "FROM bb\nRUN --mount=type=ssh,id=other,target=/a,mode=0600 test $SSH_AUTH_SOCK = /a; ssh-add -l\n",
    );
    // The host's client, with its libraries.
    let volumes = "-v /usr:/usr:ro -v /usr/lib:/lib:ro -v /usr/lib64:/lib64:ro";
    let output = sandbox.program("sh", ["-c", &script]).env("volumes", volumes).run();
    let text = output.ok();
    assert!(text.contains("agent at /run/buildkit/ssh_agent.0"), "{text}\n{}", output.stderr);
    assert_eq!(text.matches("of-the-test (ED25519)").count(), 2, "{text}\n{}", output.stderr);
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN --mount=type=ssh,required true\n");
    let ctx = sandbox.path("ctx");
    assert!(build(&sandbox, &[ctx.to_str().unwrap()]).fails(125).contains("hint: forward it: --ssh default"));
    let none = sandbox
        .command(["build", "--ssh", "default", ctx.to_str().unwrap()])
        .env_remove("SSH_AUTH_SOCK")
        .run();
    assert!(none.fails(125).contains("SSH_AUTH_SOCK is not set"), "{}", none.stderr);
}

#[test]
fn results_go_where_output_says() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN echo built > /made\n");
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    for (kind, transport) in [("docker", "docker-archive"), ("oci", "oci-archive"), ("oci,tar=false", "oci")]
    {
        let to = sandbox.path(format!("out.{transport}"));
        let dest = format!("type={kind},dest={}", to.display());
        let id = last_line(build(&sandbox, &["-q", "-t", "saved:1", "-o", &dest, ctx]).ok()).to_owned();
        let other = Sandbox::empty();
        let place = format!("{transport}:{}", to.display());
        let pulled = other.ok(["pull", "-q", &place]);
        assert_eq!(last_line(&pulled).trim_start_matches("sha256:"), id, "{kind}");
    }
    let piped =
        sandbox.program("sh", ["-c", &format!("ketch build --network=none -q -o type=oci {ctx} | tar -t")]);
    assert!(piped.run().ok().contains("index.json"), "nothing else is on standard output");
    let (id, metadata) = (sandbox.path("id"), sandbox.path("meta.json"));
    let built = build(
        &sandbox,
        &["-t", "m:1", "--iidfile", id.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap(), ctx],
    );
    let want = last_line(built.ok()).to_owned();
    assert_eq!(sandbox.read("id"), format!("sha256:{want}"));
    let text: serde_json::Value = serde_json::from_str(&sandbox.read("meta.json")).unwrap();
    assert_eq!(text["containerimage.config.digest"], format!("sha256:{want}"));
    assert_eq!(text["image.name"], "localhost/m:1");
    assert!(text["containerimage.descriptor"]["size"].as_u64().unwrap() > 100);
    for (args, part) in [
        (&["-o", "type=image,dest=x"][..], "type=oci"),
        (&["-o", "type=nothing"], "unknown type"),
        (&["--push"], "needs a name"),
    ] {
        assert!(build(&sandbox, &[args, &[ctx]].concat()).fails(125).contains(part), "{args:?}");
    }
}

#[test]
fn images_are_pushed_and_lists_made_for_several_platforms() {
    let sandbox = Sandbox::new();
    let registry = Registry::shared();
    let name = registry.reference("build/pushed", "1");
    sandbox.write("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nENV FOR=$TARGETARCH\nCOPY Dockerfile /\n");
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    let id = last_line(build(&sandbox, &["--push", "-t", &name, ctx]).ok()).to_owned();
    let other = Sandbox::empty();
    assert_eq!(other.ok(["pull", "-q", &name]).trim_start_matches("sha256:"), id);

    let several = registry.reference("build/several", "1");
    let log = sandbox.path("log");
    build(
        &sandbox,
        &[
            "--platform",
            "linux/amd64,linux/arm64",
            "--push",
            "-t",
            &several,
            "--logfile",
            log.to_str().unwrap(),
            "--logsplit",
            ctx,
        ],
    )
    .ok();
    assert!(sandbox.read("log_linux_arm64").contains("STEP 2/4: ARG TARGETARCH"));
    let list = sandbox.ok(["manifest", "inspect", &several]);
    assert!(list.contains("arm64") && list.contains("amd64"), "{list}");
    for arch in ["amd64", "arm64"] {
        other.ok(["pull", "-q", "--arch", arch, &several]);
        let env =
            other.ok(["image", "inspect", "--format={{.Architecture}} {{index .Config.Env 1}}", &several]);
        assert_eq!(env, format!("{arch} FOR={arch}"));
    }
    // The base exists for these, and a list of the own is gone on with.
    sandbox.write("ctx/From", format!("FROM {several}\nARG TARGETPLATFORM\nLABEL p=$TARGETPLATFORM\n"));
    let from = sandbox.path("ctx/From");
    let from = from.to_str().unwrap();
    other.write("x", "");
    build(&other, &["--all-platforms", "--manifest", "mine", "-f", from, ctx]).ok();
    let mine = other.ok(["manifest", "inspect", "mine"]);
    assert_eq!(mine.matches("\"architecture\"").count(), 2, "{mine}");
    build(&other, &["--platform=linux/riscv64", "--manifest", "mine", ctx]).ok();
    assert!(other.ok(["manifest", "inspect", "mine"]).contains("riscv64"));
    // Programs of another processor need an emulator.
    sandbox.write("ctx/Run", format!("FROM {several}\nRUN true\n"));
    let run = sandbox.path("ctx/Run");
    let foreign = build(&sandbox, &["--platform=linux/mips64le", "-f", run.to_str().unwrap(), ctx]);
    assert_ne!(foreign.code, 0);
    sandbox.write("ctx/Run", "FROM --platform=linux/s390x scratch\nCOPY Run /\nRUN true\n");
    let foreign = build(&sandbox, &["-f", run.to_str().unwrap(), "--platform=linux/s390x", ctx]);
    assert!(foreign.fails(125).contains("needs an emulator"), "{}", foreign.stderr);
}

#[test]
fn caches_travel() {
    let registry = Registry::shared();
    let dockerfile = "FROM bb AS one\nRUN echo work > /one; echo x > /extra\nFROM bb\nCOPY --from=one /one /\nRUN echo more > /two\nENV A=b\n";
    let name = registry.reference("build/cached", "1");
    let cache = registry.reference("build/cache", "all");
    let directory = Sandbox::empty();
    let directory = directory.path("cache").display().to_string();
    let maker = Sandbox::new();
    maker.write("ctx/Dockerfile", dockerfile);
    let ctx = maker.path("ctx");
    let registry_to = format!("type=registry,ref={cache},mode=max");
    let local_to = format!("type=local,dest={directory}");
    let made = build(
        &maker,
        &[
            "--push",
            "-t",
            &name,
            "--cache-to=type=inline",
            "--cache-to",
            &registry_to,
            "--cache-to",
            &local_to,
            ctx.to_str().unwrap(),
        ],
    );
    let id = last_line(made.ok()).to_owned();
    for (from, cached) in [
        (format!("type=registry,ref={cache}"), 3),
        (name.clone(), 2),
        (format!("type=local,src={directory}"), 2),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("ctx/Dockerfile", dockerfile);
        let ctx = sandbox.path("ctx");
        let output = build(
            &sandbox,
            &["-t", "again", "--cache-from", &from, "--cache-to=type=inline", ctx.to_str().unwrap()],
        );
        let text = output.ok();
        assert_eq!(text.matches("Using cache").count(), cached, "{from}: {text}\n{}", output.stderr);
        assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "again", "cat", "/one", "/two"]), "work\nmore");
        if cached == 3 {
            assert_eq!(last_line(text), id, "the very same image");
        }
        let stale = build(&sandbox, &["--cache-ttl=1ms", ctx.to_str().unwrap()]);
        assert!(!stale.ok().contains("Using cache"), "{}", stale.stdout);
    }
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM bb\n");
    let ctx = sandbox.path("ctx");
    let missing =
        build(&sandbox, &["--cache-from", &registry.reference("build/none", "1"), ctx.to_str().unwrap()]);
    missing.ok();
    assert!(missing.stderr.contains("is left out"), "{}", missing.stderr);
    assert!(
        build(&sandbox, &["--cache-to=type=nosuch", ctx.to_str().unwrap()])
            .fails(125)
            .contains("known are registry")
    );
}

#[test]
fn progress_has_its_forms() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN echo out; echo err >&2\nRUN echo two\n");
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    let plain = build(&sandbox, &["--no-cache", "--progress=plain", ctx]);
    assert_eq!(plain.ok().lines().count(), 1, "only the ID: {}", plain.stdout);
    for part in ["#2 [2/3] RUN echo out; echo err >&2", " out\n", " err\n", "#3 DONE ", "exporting to image"]
    {
        assert!(plain.stderr.contains(part), "{part:?} in {}", plain.stderr);
    }
    let cached = sandbox.command(["build", "--network=none", ctx]).env("BUILDKIT_PROGRESS", "plain").run();
    assert!(cached.stderr.contains("#3 CACHED"), "{}", cached.stderr);
    // BuildKit's SolveStatus: every line is an object, every vertex has an end, the log is base64.
    let raw = build(&sandbox, &["--no-cache", "--progress=rawjson", ctx]);
    raw.ok();
    let lines: Vec<serde_json::Value> =
        raw.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let vertexes: Vec<_> = lines.iter().filter_map(|line| line["vertexes"].as_array()).flatten().collect();
    assert!(
        vertexes.iter().any(|v| v["name"] == "[3/3] RUN echo two" && v["completed"].is_string()),
        "{}",
        raw.stderr
    );
    let logs: Vec<_> = lines.iter().filter_map(|line| line["logs"].as_array()).flatten().collect();
    assert!(logs.iter().any(|log| log["stream"] == 2 && log["data"] == "ZXJyCg=="), "{}", raw.stderr);
    // On a terminal: steps with their times, the last lines of what runs, CACHED the second time.
    let live = sandbox.command(["build", "--network=none", "--no-cache", ctx]).on_terminal(30, 100);
    let shown = live.wait();
    assert_eq!(shown.code, 0, "{}", shown.stdout);
    for part in ["[+] Building", "=> [2/3] RUN echo out", "=> => # out", "COMMIT"] {
        assert_eq!(shown.stdout.contains(part), part != "COMMIT", "{part:?} in {}", shown.stdout);
    }
    let again = sandbox.command(["build", "--network=none", ctx]).on_terminal(30, 100).wait();
    assert!(again.stdout.contains("CACHED [3/3]"), "{}", again.stdout);
    let dumb =
        sandbox.command(["build", "--network=none", ctx]).env("TERM", "dumb").on_terminal(30, 100).wait();
    assert!(dumb.stdout.contains("STEP 3/3"), "{}", dumb.stdout);
}

#[test]
fn flags_of_the_image_and_of_run() {
    let sandbox = Sandbox::new();
    sandbox
        .write("ctx/Dockerfile.in", "#define WHO world\n#ifdef MORE\nFROM bb\n#endif\nRUN echo hello WHO\n");
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    let file = |name: &str| sandbox.path(format!("ctx/{name}")).display().to_string();
    if have("cpp") {
        let text = build(&sandbox, &["-f", &file("Dockerfile.in"), "--cpp-flag=-DMORE", ctx]);
        assert!(text.ok().contains("hello world"), "{}", text.stdout);
        assert_eq!(build(&sandbox, &["-f", &file("Dockerfile.in"), ctx]).code, 125);
    }
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN mkdir /v && echo 1 > /v/kept\nVOLUME /v\nRUN --mount=type=tmpfs,target=/none echo 2 > /v/lost\n");
    build(
        &sandbox,
        &[
            "--compat-volumes",
            "--disable-compression",
            "--os-version=1.2",
            "--os-feature=x",
            "--identity-label",
            "-t",
            "f",
            ctx,
        ],
    )
    .ok();
    let input: Vec<u8> = (0..200_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    sandbox.write("ctx/Input", "FROM bb\nRUN cat\nRUN cat; echo nothing more\n");
    let output =
        sandbox.command(["build", "--network=none", "--stdin", "-f", &file("Input"), ctx]).stdin(input).run();
    let text = output.ok();
    let whole =
        text.contains("\nline 0\n") && text.contains("\nline 199999\n") && text.contains("\nnothing more\n");
    assert!(whole, "{} {}", text.len(), output.stderr);
    let list = sandbox.ok(["run", "--rm", "--net=none", "f", "ls", "/v"]);
    assert_eq!(list, "kept");
    let media = sandbox.ok(["manifest", "inspect", "f"]);
    assert!(media.contains("application/vnd.oci.image.layer.v1.tar\""), "{media}");
    let label =
        sandbox.ok(["image", "inspect", "--format={{index .Config.Labels \"io.ketch.version\"}}", "f"]);
    assert_eq!(label, env!("CARGO_PKG_VERSION"));
    let archive = sandbox.path("f.tar");
    sandbox.ok(["save", "--format=oci-dir", "-o", archive.to_str().unwrap(), "f"]);
    let found = Command::new("grep").args(["-rlF", "\"os.version\":\"1.2\""]).arg(&archive).output().unwrap();
    assert!(!found.stdout.is_empty());
    for flag in [
        "--cw=x",
        "--sbom",
        "--sign-by=x",
        "--decryption-key=x",
        "--hooks-dir=/",
        "--layer-label=a=b",
        "--runtime-flag=x",
        "--userns-uid-map=0:1:2",
    ] {
        let refused = build(&sandbox, &[flag, ctx]);
        assert!(
            refused.fails(125).starts_with("Error: --") && refused.stderr.lines().count() == 1,
            "{flag}: {}",
            refused.stderr
        );
    }
    build(
        &sandbox,
        &[
            "-q",
            "--provenance=false",
            "--sbom=false",
            "--builder=default",
            "--load",
            "--allow=network.host",
            "--compress",
            "--layers",
            "--rm",
            "--force-rm",
            ctx,
        ],
    )
    .ok();
}

#[test]
fn tools_find_a_builder() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok(["buildx", "version"]).split_whitespace().nth(1).unwrap().starts_with('v'));
    assert_eq!(sandbox.ok(["buildx", "ls", "--format={{.Name}} {{.DriverEndpoint}}"]), "default ketch");
    let node: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["buildx", "ls", "--format=json"])).unwrap();
    assert_eq!(node["Nodes"][0]["Status"], "running");
    assert!(sandbox.ok(["buildx", "inspect", "--bootstrap"]).contains("Platforms:"));
    // As the devcontainer CLI calls it.
    sandbox.write(
        "ctx/Dockerfile",
        "ARG B=placeholder\nFROM $B AS dev_container_auto_added_stage_label\nRUN echo hi\n",
    );
    let file = sandbox.path("ctx/Dockerfile");
    let text = sandbox.ketch([
        "buildx",
        "build",
        "--load",
        "--build-arg",
        "BUILDKIT_INLINE_CACHE=1",
        "--build-arg",
        "B=bb",
        "-f",
        file.to_str().unwrap(),
        "-t",
        "vsc-x-uid",
        "--target",
        "dev_container_auto_added_stage_label",
        "--network=none",
        "--progress=plain",
        sandbox.path("ctx").to_str().unwrap(),
    ]);
    text.ok();
    assert!(sandbox.ok(["image", "inspect", "--format={{.RepoTags}}", "vsc-x-uid"]).contains("vsc-x-uid"));
    for verb in [
        &["buildx", "prune", "-f"][..],
        &["builder", "prune", "-af"],
        &["buildx", "build", "--help"],
        &["builder", "build", "--help"],
    ] {
        sandbox.ok(verb);
    }
}

#[test]
fn one_id_is_enough() {
    let sandbox = Sandbox::empty();
    let name = Registry::shared().push("build/single", "v1", &common::bb::image().build());
    sandbox.write("ctx/Dockerfile", format!("FROM {name}\nCOPY --chown=5:6 Dockerfile /f\nRUN id -u && cp /f /g && rm /f && ls -ln /g\nRUN cat /g\n"));
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let hide = "mount --bind /dev/null \"$(command -v newuidmap)\"";
    let script = format!(
        "{hide} && exec unshare --user --map-user={uid} --map-group={gid} ketch build --network=none -t one ctx"
    );
    let words = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
    let output = sandbox.program("unshare", words).run();
    let text = output.ok();
    assert!(text.contains("\n0\n-rw-r--r--    1 0        0"), "{text}");
    assert!(output.stderr.contains("newuidmap"), "{}", output.stderr);
}

#[test]
fn services_that_keep_caches_elsewhere_are_told_of() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM scratch\nLABEL a=b\n");
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    let github = ["--cache-from=type=gha,scope=x", "--cache-to=type=gha,mode=max", ctx];
    let outside = build(&sandbox, &github);
    outside.ok();
    assert!(outside.stderr.contains("--cache-to type=gha is passed over"), "{}", outside.stderr);
    let inside =
        |args: &[&str]| sandbox.command([&["build"], args].concat()).env("ACTIONS_RUNTIME_TOKEN", "x").run();
    assert!(inside(&github).fails(125).contains("no caches of type \"gha\""));
    inside(&["--cache-to=type=gha,ignore-error=true", ctx]).ok();
    assert!(build(&sandbox, &["--cache-to=type=s3,region=x,bucket=y", ctx]).fails(125).contains("\"s3\""));
}

#[test]
fn a_command_that_is_not_there_is_a_failed_step() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN [\"/nosuch\"]\n");
    let ctx = sandbox.path("ctx");
    let failed = build(&sandbox, &[ctx.to_str().unwrap()]);
    let message = failed.fails(1);
    assert!(message.contains("/nosuch") && message.contains(">>> RUN"), "{message}");
}
