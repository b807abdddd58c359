//! `buildx`: builders by name, bake files, several results of one build, and what tools read of a build.

mod common;

use common::registry::Registry;
use common::{Output, Sandbox, json, last_line};

fn bake(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.command([&["buildx", "bake"], args].concat()).current_dir(sandbox.path("ctx")).run()
}

fn build(sandbox: &Sandbox, args: &[&str]) -> Output {
    sandbox.ketch([&["build", "--network=none"], args].concat())
}

#[test]
fn builders_are_names() {
    let sandbox = Sandbox::new();
    // As continuous integration does it.
    let made = sandbox.ketch([
        "buildx",
        "create",
        "--name",
        "ci",
        "--driver",
        "docker-container",
        "--driver-opt",
        "network=host",
        "--buildkitd-flags",
        "--debug",
        "--use",
    ]);
    assert_eq!(made.ok().trim(), "ci");
    assert!(made.stderr.contains("--driver-opt has no effect"), "{}", made.stderr);
    assert!(sandbox.ok(["buildx", "inspect", "--bootstrap"]).starts_with("Name:          ci\n"));
    assert!(sandbox.ok(["buildx", "ls"]).contains("\nci*"));
    assert_eq!(sandbox.ok(["buildx", "ls", "--format={{.Name}} {{.Current}}"]), "default false\nci true");
    sandbox.write("ctx/Dockerfile", "FROM scratch\nLABEL a=b\n");
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    let built = sandbox.ketch(["buildx", "build", "--progress=plain", ctx]);
    built.ok();
    assert!(built.stderr.contains("#0 building with \"ci\" instance"), "{}", built.stderr);
    let other = sandbox.ketch(["buildx", "build", "--builder=other", ctx]);
    assert!(other.fails(125).contains("no builder \"other\" found"), "{}", other.stderr);
    sandbox.command(["buildx", "build", ctx]).env("BUILDX_BUILDER", "default").run().ok();
    for (words, code) in [
        (&["buildx", "create", "--name", "ci"][..], 125),
        (&["buildx", "create", "--name", "ci", "--append"], 0),
        (&["buildx", "create", "--driver", "kubernetes"], 125),
        (&["buildx", "use", "none"], 125),
        (&["buildx", "stop", "ci"], 0),
        (&["buildx", "rm", "default"], 125),
        (&["buildx", "prune", "--builder=ci", "-f"], 0),
        (&["buildx", "rm", "-f", "none"], 0),
    ] {
        assert_eq!(sandbox.ketch(words).code, code, "{words:?}");
    }
    let name = sandbox.ok(["buildx", "create"]);
    assert!(name.contains('_'), "{name}");
    assert_eq!(sandbox.ok(["buildx", "rm", "ci"]), "ci removed");
    assert!(sandbox.ok(["buildx", "ls"]).contains("default*"));
    assert_eq!(sandbox.ok(["buildx", "rm", "--all-inactive", "--force"]), format!("{name} removed"));
}

#[test]
fn what_builds_keep_is_listed() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "ctx/Dockerfile",
        "FROM bb\nRUN echo kept > /kept\nRUN --mount=type=cache,target=/c echo x > /c/x\n",
    );
    sandbox.ok(["build", "-q", "--network=none", sandbox.path("ctx").to_str().unwrap()]);
    let text = sandbox.ok(["buildx", "du"]);
    assert!(text.starts_with("ID ") && text.contains("LAST ACCESSED") && text.contains("\nTotal:"), "{text}");
    let text = sandbox.ok(["buildx", "du", "--verbose"]);
    assert!(
        text.contains("Description:    RUN echo kept > /kept") && text.contains("exec.cachemount"),
        "{text}"
    );
    let count =
        |filter: &str| sandbox.ok(["buildx", "du", "--format=json", "--filter", filter]).lines().count();
    assert_eq!((count("type=exec.cachemount"), count("description=echo kept")), (1, 1));
    sandbox.ketch(["buildx", "du", "--filter=type=none"]).fails(125);
    // Who asks for cache mounts need not ask for everything.
    sandbox.ok(["builder", "prune", "-f", "--filter=type=exec.cachemount"]);
    assert_eq!((count("type=exec.cachemount"), count("description=echo kept")), (0, 1));
    assert!(sandbox.ok(["build", "prune", "-f"]).contains("Total reclaimed space"));
    let lines = sandbox.ok(["buildx", "du", "--format=json"]);
    assert!(lines.lines().all(|line| json(line)["ID"].is_string()), "{lines}");
}

#[test]
fn a_build_has_several_results() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/f", "content");
    sandbox.write("ctx/Dockerfile", "FROM scratch\nCOPY f /dir/\n");
    let (out, tar, oci) = (sandbox.path("out"), sandbox.path("out.tar"), sandbox.path("oci.tar"));
    let tar_output = format!("type=tar,dest={}", tar.display());
    let oci_output = format!("type=oci,dest={}", oci.display());
    let ctx = sandbox.path("ctx");
    let words = ["build", "-t", "both", "-o", out.to_str().unwrap(), "-o", &tar_output, "-o", &oci_output];
    let id = last_line(&sandbox.ok([&words[..], &["-o", "type=image", ctx.to_str().unwrap()]].concat()))
        .to_owned();
    assert_eq!(sandbox.read("out/dir/f"), "content");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "both"]), id);
    assert!(tar.is_file() && oci.is_file());
    sandbox.ok(["rmi", "both"]);
    assert!(sandbox.ok(["load", "-i", oci.to_str().unwrap()]).contains("both"));
    // Without an image among them none is made.
    let before = sandbox.ok(["images", "-aq"]);
    sandbox.write("ctx/f", "other");
    sandbox.ok(["build", "-q", "-o", &tar_output, "-o", out.to_str().unwrap(), ctx.to_str().unwrap()]);
    assert_eq!((sandbox.ok(["images", "-aq"]), sandbox.read("out/dir/f")), (before, "other".to_owned()));
    let twice = sandbox.ketch(["build", "-o", "-", "-o", "type=oci", ctx.to_str().unwrap()]);
    assert!(twice.fails(125).contains("only one result"), "{}", twice.stderr);
}

const BAKE: &str = r#"
variable "TAG" { default = "v1" }
variable "LOUD" { default = false }

group "default" {
  targets = ["app", "tools"]
}

target "_common" {
  args = { FROM_COMMON = "yes", WHO = "nobody" }
  labels = { "org.example.tag" = TAG }
}

target "lib" {
  dockerfile-inline = <<EOT
FROM bb
RUN echo of the library > /lib.txt
EOT
}

target "app" {
  inherits = ["_common"]
  contexts = { lib = "target:lib" }   # an image that is built first
  args     = { WHO = LOUD ? upper("world") : "world" }
  tags     = ["app:${TAG}", equal(TAG, "v1") ? "app:latest" : ""]
  network  = "none"
}

target "tools" {
  name       = "tools-${kind}"
  matrix     = { kind = ["one", "two"] }
  dockerfile = "tools/Dockerfile"
  args       = { KIND = kind }
  tags       = ["tools-${kind}"]
}
"#;

#[test]
fn bake_builds_what_a_file_lists() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/docker-bake.hcl", BAKE);
    sandbox.write(
        "ctx/Dockerfile",
        "FROM lib\nARG WHO\nARG FROM_COMMON\nRUN echo \"hello $WHO $FROM_COMMON\" | cat - /lib.txt > /hello\n",
    );
    sandbox.write("ctx/tools/Dockerfile", "FROM bb\nARG KIND\nENV KIND=$KIND\n");
    let metadata = sandbox.path("meta.json");
    bake(&sandbox, &["--metadata-file", metadata.to_str().unwrap()]).ok();
    let hello = |image: &str| sandbox.ok(["run", "--rm", "--net=none", image, "cat", "/hello"]);
    assert_eq!(hello("app:latest"), "hello world yes\nof the library");
    assert_eq!(
        sandbox.ok(["image", "inspect", "--format={{index .Labels \"org.example.tag\"}}", "app:v1"]),
        "v1"
    );
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "tools-two", "sh", "-c", "echo $KIND"]), "two");
    let text = json(&sandbox.read("meta.json"));
    let id = sandbox.ok(["image", "inspect", "--format={{.Id}}", "app:v1"]);
    assert_eq!(text["app"]["containerimage.config.digest"], format!("sha256:{id}"));
    // Variables of the caller, and what the command line sets.
    let again = sandbox
        .command(["buildx", "bake", "app", "--set", "app.args.FROM_COMMON=set", "--set", "*.labels.x=y"])
        .current_dir(sandbox.path("ctx"))
        .env("TAG", "v2")
        .env("LOUD", "true")
        .run();
    again.ok();
    assert_eq!(hello("app:v2"), "hello WORLD set\nof the library");
    let printed = json(bake(&sandbox, &["--print", "tools"]).ok());
    assert_eq!(printed["group"]["tools"]["targets"][1], "tools-two");
    assert_eq!(printed["target"]["tools-one"]["args"]["KIND"], "one");
    assert_eq!(printed["target"]["tools-one"]["context"], ".");
    assert!(bake(&sandbox, &["--print", "--var=TAG=v9", "app"]).ok().contains("app:v9"));
    assert!(bake(&sandbox, &["--check", "tools-one"]).ok().contains("Check complete"));
    for (args, why) in [
        (&["nothing"][..], "failed to find target nothing"),
        (&["--set", "app"], "write TARGET.ATTRIBUTE"),
        (&["--set", "app.wrong=1", "app"], "the attribute wrong is not known"),
        (&["-f", "nosuch.hcl"], "read nosuch.hcl"),
    ] {
        assert!(bake(&sandbox, args).fails(125).contains(why), "{args:?}");
    }
}

#[test]
fn targets_are_built_at_the_same_time() {
    let sandbox = Sandbox::new();
    // Each waits for the other.
    let wait = |own: &str, other: &str| {
        format!(
            "FROM bb\nRUN --mount=type=cache,target=/c touch /c/{own}; for i in $(seq 600); do [ ! -e /c/{other} ] || exit 0; sleep 0.1; done; exit 9\n"
        )
    };
    sandbox.write("ctx/one", wait("one", "two"));
    sandbox.write("ctx/two", wait("two", "one"));
    sandbox.write(
        "ctx/docker-bake.hcl",
        "function \"named\" {\n  params = [name]\n  result = \"${name}:baked\"\n}\ngroup \"default\" { targets = [for n in [\"one\", \"two\", \"last\"] : n] }\ntarget \"one\" {\n  dockerfile = \"one\"\n  tags = [named(\"one\")]\n}\ntarget \"two\" { dockerfile = \"two\" }\ntarget \"last\" {\n  contexts = { first = \"target:one\" }\n  dockerfile-inline = \"FROM first\\nENV A=last\"\n  tags = [named(\"last\")]\n}\n",
    );
    let baked = bake(&sandbox, &["--set=*.network=none", "--metadata-file=meta"]);
    let said = baked.ok();
    assert!(said.contains("[one] STEP 1/2: FROM bb\n") && said.contains("[last] STEP"), "{said}");
    assert_eq!(sandbox.ok(["run", "--rm", "--net=none", "last:baked", "sh", "-c", "echo $A"]), "last");
    let metadata = json(&sandbox.read("ctx/meta"));
    assert!(
        ["one", "two", "last"].iter().all(|name| metadata[name]["containerimage.config.digest"].is_string())
    );
    // One that fails keeps those from starting that need it.
    sandbox.write("ctx/one", "FROM bb\nRUN exit 7\n");
    let failed = bake(&sandbox, &["--set=*.network=none", "one", "last"]);
    assert_eq!(failed.code, 7, "{}", failed.stdout);
    assert!(!failed.stdout.contains("[last] STEP"), "{}", failed.stdout);
}

#[test]
fn bake_reads_json_and_compose_files() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM bb\nARG V=none\nENV V=$V\n");
    sandbox.write(
        "ctx/compose.yaml",
        "services:\n  web:\n    image: baked-web\n    build:\n      context: .\n      args: {V: compose}\n",
    );
    let variable = |image: &str| sandbox.ok(["run", "--rm", "--net=none", image, "sh", "-c", "echo $V"]);
    bake(&sandbox, &[]).ok();
    assert_eq!(variable("baked-web"), "compose");
    let json = r#"{"variable": {"V": {"default": "json"}}, "target": {"default": {"args": {"V": "${V}"}, "tags": ["baked-json"]}}}"#;
    sandbox.write("ctx/docker-bake.json", json);
    bake(&sandbox, &[]).ok();
    assert_eq!(variable("baked-json"), "json");
    std::fs::remove_file(sandbox.path("ctx/docker-bake.json")).unwrap();
    std::fs::remove_file(sandbox.path("ctx/compose.yaml")).unwrap();
    assert!(bake(&sandbox, &[]).fails(125).contains("couldn't find a bake definition"));
}

#[test]
fn images_of_a_registry_are_looked_at_and_put_under_one_name() {
    let sandbox = Sandbox::empty();
    let registry = Registry::shared();
    let image = registry.push("buildx/single", "v1", &common::bb::image().build());
    let shown = sandbox.ok(["buildx", "imagetools", "inspect", &image]);
    assert!(shown.starts_with(&format!("Name:      {image}\nMediaType: application/vnd.")), "{shown}");
    let raw = sandbox.ok(["buildx", "imagetools", "inspect", "--raw", &image]);
    let digest = sandbox.ok(["buildx", "imagetools", "inspect", "--format={{.Manifest.digest}}", &image]);
    assert!(json(&raw)["layers"].is_array() && shown.contains(&digest), "{raw}");
    let list = registry.reference("buildx/list", "v1");
    sandbox.ok(["buildx", "imagetools", "create", "-t", &list, &image]);
    let shown = sandbox.ok(["buildx", "imagetools", "inspect", &list]);
    assert!(shown.contains("Manifests:") && shown.contains(&digest) && shown.contains("linux/"), "{shown}");
    // The list goes on with a further image, and says something of itself.
    let other = Sandbox::new();
    let further = registry.reference("buildx/further", "v1");
    other.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    build(&other, &["--platform=linux/arm64", "--push", "-t", &further, other.path("ctx").to_str().unwrap()])
        .ok();
    let flags = ["--append", "--annotation=index:said=so", "--progress=quiet"];
    sandbox.ok([&["buildx", "imagetools", "create", "-t", &list], &flags[..], &[&further]].concat());
    let raw = sandbox.ok(["buildx", "imagetools", "inspect", "--raw", &list]);
    assert!(raw.contains(&digest) && raw.contains("arm64") && raw.contains("\"said\":\"so\""), "{raw}");
}

/// The lines of BuildKit's plain output, which scripts look through.
#[test]
fn plain_progress_reads_like_buildkit() {
    let sandbox = Sandbox::new();
    let mut dockerfile = "FROM bb AS first\nENV A=1\nRUN echo one\n".to_owned();
    dockerfile.push_str(
        "FROM bb\nCOPY --from=first /bin/busybox /b\nLABEL x=y\nRUN printf 'no end'; echo; printf last\n",
    );
    sandbox.write("ctx/Dockerfile", dockerfile);
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    let plain = ["build", "--network=none", "--progress=plain", "-t", "p:1", "--jobs=1"];
    let fresh = sandbox.ketch([&plain[..], &["--no-cache", ctx]].concat());
    let id = last_line(fresh.ok()).to_owned();
    for line in [
        "#0 building with \"default\" instance using ketch driver\n",
        "[first 1/2] FROM bb AS first\n",
        "[first 2/2] RUN echo one\n",
        "[stage-1 1/3] FROM bb\n",
        "[stage-1 2/3] COPY --from=first /bin/busybox /b\n",
        "[stage-1 3/3] RUN printf",
        " exporting to image\n",
        &format!(" writing image sha256:{id} done\n"),
        " naming to localhost/p:1 done\n",
    ] {
        assert!(fresh.stderr.contains(line), "{line:?} in {}", fresh.stderr);
    }
    assert!(!fresh.stderr.contains("ENV A") && !fresh.stderr.contains("LABEL"), "{}", fresh.stderr);
    let ends = |text: &str| fresh.stderr.lines().any(|line| line.starts_with('#') && line.ends_with(text));
    assert!(ends(" no end") && ends(" last") && ends(" one"), "{}", fresh.stderr);
    let numbers: Vec<usize> =
        fresh.stderr.lines().filter_map(|line| line.get(1..)?.split(' ').next()?.parse().ok()).collect();
    let most = numbers.iter().max().copied().unwrap();
    assert!((0..=most).all(|number| numbers.contains(&number)), "without gaps: {}", fresh.stderr);
    let cached = sandbox.ketch([&plain[..], &[ctx]].concat());
    assert_eq!(cached.stderr.matches(" CACHED\n").count(), 3, "{}", cached.stderr);
    assert_eq!(last_line(cached.ok()).len(), 64);
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN echo before; exit 7\n");
    let wrong = sandbox.ketch(["build", "--network=none", "--progress=plain", ctx]);
    let why =
        "ERROR: process \"/bin/sh -c echo before; exit 7\" did not complete successfully: exit code: 7\n";
    assert!(wrong.fails(7).contains(why), "{}", wrong.stderr);
}

#[test]
fn the_history_reads_like_buildkit() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/f", "x");
    sandbox.write("secret", "top-secret");
    let lines = [
        ("ARG DIR=/srv", "ARG DIR=/srv", true),
        ("ENV A=1 B='two words'", "ENV A=1 B=two words", true),
        ("WORKDIR $DIR", "WORKDIR /srv", false),
        (
            "COPY --chown=1:2 --chmod=600 f ${DIR}/g",
            "COPY --chown=1:2 --chmod=600 f /srv/g # buildkit",
            false,
        ),
        (
            "RUN --mount=type=secret,id=s,env=S test -n \"$S\"; echo 1 > /1",
            "RUN |1 DIR=/srv /bin/sh -c test -n \"$S\"; echo 1 > /1 # buildkit",
            false,
        ),
        ("EXPOSE 80", "EXPOSE [80/tcp]", true),
        ("SHELL [\"sh\", \"-ec\"]", "SHELL [sh -ec]", true),
        ("ENTRYPOINT [\"a\", \"b c\"]", "ENTRYPOINT [\"a\" \"b c\"]", true),
        ("CMD [\"nginx\", \"-g\", \"daemon off;\"]", "CMD [\"nginx\" \"-g\" \"daemon off;\"]", true),
    ];
    let text: String = lines.iter().map(|(line, ..)| format!("{line}\n")).collect();
    sandbox.write("ctx/Dockerfile", format!("FROM bb\n{text}"));
    let (secret, ctx) = (format!("id=s,src={}", sandbox.path("secret").display()), sandbox.path("ctx"));
    sandbox.ok(["build", "-q", "--network=none", "-t", "h", "--secret", &secret, ctx.to_str().unwrap()]);
    let document = json(&sandbox.ok(["image", "inspect", "h"]));
    let history = document[0]["History"].as_array().unwrap().clone();
    let ours = &history[history.len() - lines.len()..];
    for ((_, want, empty), step) in lines.iter().zip(ours) {
        assert_eq!(step["created_by"], *want);
        assert_eq!(step["empty_layer"].as_bool().unwrap_or(false), *empty, "{want}");
        assert_eq!(step["comment"], "buildkit.dockerfile.v0");
    }
    assert!(!document.to_string().contains("top-secret"));
    let shown = sandbox.ok(["history", "--no-trunc", "--format={{.CreatedBy}}", "h"]);
    assert!(shown.starts_with("CMD [\"nginx\" \"-g\" \"daemon off;\"]\n"), "{shown}");
}

/// A developer's shell asks for backtraces; the release could not take one.
#[test]
fn errors_are_told_where_backtraces_are_asked_for() {
    let sandbox = Sandbox::empty();
    let output = sandbox.command(["inspect", "nothing"]).env("RUST_BACKTRACE", "1").run();
    assert!(output.fails(125).contains("Error: "), "{}", output.stderr);
}

#[test]
fn what_is_said_of_an_image_goes_with_it() {
    let sandbox = Sandbox::new();
    let registry = Registry::shared();
    let name = registry.reference("build/attested", "1");
    sandbox.write("ctx/Dockerfile", "FROM bb\nARG TOKEN\nCOPY Dockerfile /\n");
    let ctx = sandbox.path("ctx");
    let ctx = ctx.to_str().unwrap();
    let meta = sandbox.path("meta.json");
    let meta = meta.to_str().unwrap();
    let args = [
        "--provenance=mode=max",
        "--build-arg=TOKEN=hush",
        "--metadata-file",
        meta,
        "-t",
        &name,
        "--push",
        ctx,
    ];
    build(&sandbox, &args).ok();
    // As BuildKit keeps it: an index of the image, and of a manifest that refers to it.
    let index = json(&sandbox.ok(["manifest", "inspect", &format!("docker://{name}")]));
    let (image, statement) = (&index["manifests"][0], &index["manifests"][1]);
    assert_eq!(image["platform"]["os"], "linux");
    assert_eq!(statement["platform"]["architecture"], "unknown");
    assert_eq!(statement["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(statement["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let blob = |digest: &str| json(&std::fs::read_to_string(registry.blob_file(digest)).unwrap());
    let repository = name.rsplit_once(':').unwrap().0;
    let digest = statement["digest"].as_str().unwrap();
    let manifest = json(&sandbox.ok(["manifest", "inspect", &format!("docker://{repository}@{digest}")]));
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
    assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], "https://slsa.dev/provenance/v0.2");
    let said = blob(layer["digest"].as_str().unwrap());
    assert_eq!(said["predicateType"], "https://slsa.dev/provenance/v0.2");
    let hex = image["digest"].as_str().unwrap().trim_start_matches("sha256:");
    assert_eq!(said["subject"][0]["digest"]["sha256"], hex);
    let materials = said["predicate"]["materials"].as_array().unwrap();
    assert!(materials[0]["uri"].as_str().unwrap().starts_with("pkg:docker/"), "{said}");
    assert_eq!(materials[0]["digest"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(said["predicate"]["invocation"]["parameters"]["args"]["build-arg:TOKEN"], "hush");
    assert_eq!(json(&sandbox.read("meta.json"))["buildx.build.provenance"], said["predicate"]);
    // It is an image as any other, here and elsewhere.
    sandbox.ok(["run", "--rm", "--net=none", &name, "true"]);
    let other = Sandbox::empty();
    other.ok(["run", "--rm", "--net=none", &name, "test", "-e", "/Dockerfile"]);
    // Nobody's arguments are in the short form, and an archive has it too.
    let archive = sandbox.path("out.tar");
    let output = format!("type=oci,dest={}", archive.display());
    build(&sandbox, &["--attest=type=provenance", "--build-arg=TOKEN=hush", "-o", &output, ctx]).ok();
    let text = std::fs::read(&archive).unwrap();
    let has = |part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
    assert!(
        has("attestation-manifest") && has("https://slsa.dev/provenance/v0.2") && !has("build-arg:TOKEN")
    );
    // What cannot be, and what is switched off.
    for args in [&["--provenance=false", "--sbom=false"][..], &["--attest=type=provenance,disabled=true"]] {
        let id = last_line(build(&sandbox, &[args, &["-t", "plain", ctx]].concat()).ok()).to_owned();
        assert_eq!(sandbox.ok(["image", "inspect", "--format={{.Id}}", "plain"]), id);
    }
    for (args, part) in [
        (&["--sbom"][..], "no bills of materials"),
        (&["--provenance=mode=most"], "mode=most"),
        (&["--provenance"], "needs a name"),
        (&["--provenance", "-t", "x", "-o", "type=local,dest=/tmp/none"], "makes a list of images"),
    ] {
        assert!(build(&sandbox, &[args, &[ctx]].concat()).fails(125).contains(part), "{args:?}");
    }
}

#[test]
fn holes_stay_holes() {
    use std::os::unix::fs::FileExt as _;
    let sandbox = Sandbox::new();
    let size: u64 = 3 << 30;
    let big = std::fs::File::create(sandbox.write("ctx/big", "")).unwrap();
    big.set_len(size).unwrap();
    big.write_all_at(b"here", 1 << 30).unwrap();
    sandbox.write(
        "ctx/Dockerfile",
        "FROM bb\nCOPY big /copied\nRUN truncate -s 3G /made && echo there | dd of=/made bs=1 seek=2000000 conv=notrunc\n",
    );
    let ctx = sandbox.path("ctx");
    let look = |image: &str| {
        let script = "stat -c '%s %b' /copied /made; dd if=/copied bs=1 skip=1073741824 count=4; dd if=/made bs=1 skip=2000000 count=5";
        let text = sandbox.ok(["run", "--rm", "--net=none", image, "sh", "-c", script]);
        let mut words = text.split_whitespace();
        for _ in 0..2 {
            assert_eq!(words.next().unwrap().parse::<u64>().unwrap(), size, "{text}");
            let blocks: u64 = words.next().unwrap().parse().unwrap();
            assert!(blocks < 8192, "{blocks} blocks of 512 bytes are stored: {text}");
        }
        words.collect::<String>()
    };
    build(&sandbox, &["-t", "sparse", ctx.to_str().unwrap()]).ok();
    assert_eq!(look("sparse"), "herethere");
    // What lies between the holes counts for the cache.
    big.write_all_at(b"HERE", 1 << 30).unwrap();
    build(&sandbox, &["-t", "sparse", ctx.to_str().unwrap()]).ok();
    assert_eq!(look("sparse"), "HEREthere");
    // And so it is after a journey.
    let archive = sandbox.path("sparse.tar");
    sandbox.ok(["save", "-q", "-o", archive.to_str().unwrap(), "sparse"]);
    sandbox.ok(["rmi", "sparse"]);
    sandbox.ok(["load", "-q", "-i", archive.to_str().unwrap()]);
    assert_eq!(look("sparse"), "HEREthere");
}

/// Each platform's image goes under its digest alone, and a name for them all is made of the digests: what workflows
/// that build on several machines do.
#[test]
fn images_are_pushed_by_digest_and_compressed_anew() {
    let registry = Registry::shared();
    let (sandbox, other) = (Sandbox::new(), Sandbox::empty());
    sandbox.write("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n");
    let ctx = sandbox.path("ctx").display().to_string();
    let repository = registry.reference("buildx/digests", "x");
    let repository = repository.strip_suffix(":x").unwrap();
    let metadata = sandbox.path("metadata").display().to_string();
    let digest = || -> String {
        let told: serde_json::Value = serde_json::from_str(&sandbox.read("metadata")).unwrap();
        told["containerimage.digest"].as_str().unwrap().to_owned()
    };
    let output = format!("type=image,name={repository},push-by-digest=true,name-canonical=true,push=true");
    let mut digests = Vec::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        build(&sandbox, &["--platform", platform, "-o", &output, "--metadata-file", &metadata, &ctx]).ok();
        digests.push(format!("{repository}@{}", digest()));
    }
    other.ketch(["pull", "-q", &format!("{repository}:latest")]).fails(125);
    let name = format!("{repository}:all");
    other.ok(["buildx", "imagetools", "create", "-t", &name, &digests[0], &digests[1]]);
    for arch in ["amd64", "arm64"] {
        other.ok(["pull", "-q", "--arch", arch, &name]);
        assert_eq!(other.ok(["image", "inspect", "--format={{.Architecture}}", &name]), arch);
    }
    let tagged = format!("type=image,name={name},push-by-digest=true,push=true");
    assert!(build(&sandbox, &["-o", &tagged, &ctx]).fails(125).contains("by digest"));
    // A list of several, too.
    let both = ["--platform=linux/amd64,linux/arm64", "-o", &output, "--metadata-file", &metadata];
    build(&sandbox, &[&both[..], &["--annotation=index:said=here", &ctx]].concat()).ok();
    let list = format!("{repository}@{}", digest());
    let raw = other.ok(["buildx", "imagetools", "inspect", "--raw", &list]);
    assert!(raw.contains("\"said\":\"here\"") && raw.contains("arm64"), "{raw}");

    let name = registry.reference("buildx/zstd", "1");
    let output =
        format!("type=registry,name={name},compression=zstd,compression-level=3,oci-mediatypes=true");
    build(&sandbox, &["-o", &output, "--metadata-file", &metadata, &ctx]).ok();
    let raw = other.ok(["buildx", "imagetools", "inspect", "--raw", &name]);
    assert!(raw.contains("tar+zstd"), "{raw}");
    let by_digest = format!("{}@{}", name.rsplit_once(':').unwrap().0, digest());
    assert_eq!(other.ok(["buildx", "imagetools", "inspect", "--raw", &by_digest]), raw);
    let alone = build(&sandbox, &["--annotation=index:a=b", &ctx]);
    assert!(alone.fails(125).contains("index annotations not supported"), "{}", alone.stderr);
}

#[test]
fn layouts_are_written_and_built_on() {
    let sandbox = Sandbox::new();
    let at = |name: &str| sandbox.path(name).display().to_string();
    sandbox.write(
        "ctx/Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /for-$TARGETARCH\nENV MADE=yes\n",
    );
    let output = format!("type=oci,dest={},tar=false,compression=zstd,force-compression=true", at("layout"));
    build(&sandbox, &["-q", "-o", &output, "-t", "latest", &at("ctx")]).ok();
    let index: serde_json::Value = serde_json::from_str(&sandbox.read("layout/index.json")).unwrap();
    let entry = &index["manifests"][0];
    let digest = entry["digest"].as_str().unwrap();
    let manifest = sandbox.read(format!("layout/blobs/{}", digest.replace(':', "/")));
    assert!(manifest.contains("tar+zstd"), "{manifest}");

    let called = entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap();
    sandbox.write("on/Dockerfile", "FROM base\nCOPY --from=base /for-* /copied\nENV SEEN=$MADE\n");
    for way in [format!("@{digest}"), format!(":{}", called.rsplit(':').next().unwrap())] {
        let context = format!("base=oci-layout://{}{way}", at("layout"));
        build(&sandbox, &["-q", "--build-context", &context, "-t", "on", &at("on")]).ok();
        let env = sandbox.ok(["image", "inspect", "--format={{.Config.Env}}", "on"]);
        assert!(env.contains("SEEN=yes"), "{way}: {env}");
    }
    let context = format!("base=oci-layout://{}:nosuch", at("layout"));
    let missing = build(&sandbox, &["--build-context", &context, &at("on")]);
    assert!(missing.fails(125).contains("nosuch"), "{}", missing.stderr);

    // Files of several platforms have a directory each.
    let platforms = "--platform=linux/amd64,linux/arm/v7";
    build(&sandbox, &[platforms, "-o", &format!("type=local,dest={}", at("files")), &at("ctx")]).ok();
    assert!(sandbox.path("files/linux_amd64/for-amd64").is_file());
    assert!(sandbox.path("files/linux_arm_v7/for-arm").is_file());
    let together = format!("type=local,dest={},platform-split=false", at("together"));
    build(&sandbox, &[platforms, "-o", &together, &at("ctx")]).ok();
    assert!(sandbox.path("together/for-amd64").is_file() && sandbox.path("together/for-arm").is_file());
    let alone = format!("type=local,dest={},platform-split=true", at("alone"));
    build(&sandbox, &["--platform=linux/amd64", "-o", &alone, &at("ctx")]).ok();
    assert!(sandbox.path("alone/linux_amd64/for-amd64").is_file());
}

/// As with BuildKit: a Dockerfile may not give itself privileges.
#[test]
fn insecure_steps_need_leave() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/Dockerfile", "FROM bb\nRUN --security=insecure grep CapEff /proc/self/status\n");
    sandbox.write("ctx/docker-bake.hcl", "target \"default\" { network = \"none\" }\n");
    let ctx = sandbox.path("ctx").display().to_string();
    let refused = build(&sandbox, &[&ctx]);
    assert!(refused.fails(125).contains("security.insecure is not allowed"), "{}", refused.stderr);
    build(&sandbox, &["--allow=security.insecure", &ctx]).ok();
    bake(&sandbox, &[]).fails(125);
    bake(&sandbox, &["--allow=security.insecure"]).ok();
}

#[test]
fn bases_and_triggers_are_shown_for_what_they_are() {
    let sandbox = Sandbox::new();
    sandbox.write("on/Dockerfile", "FROM bb\nONBUILD ARG V=1\nONBUILD RUN echo v=$V\n");
    sandbox.write("ctx/Dockerfile", "ARG BASE=wrong\nFROM $BASE AS x\nRUN echo done\n");
    let on = sandbox.path("on").display().to_string();
    let ctx = sandbox.path("ctx").display().to_string();
    build(&sandbox, &["-q", "-t", "on", &on]).ok();
    let flags = ["--build-arg=BASE=on", "--build-arg=V=3", "--build-arg=W=4"];
    let built = build(&sandbox, &[&flags[..], &[&ctx]].concat());
    assert!(built.ok().contains("FROM on AS x"), "{}", built.stdout);
    assert!(built.stdout.contains("v=3"), "{}", built.stdout);
    assert!(built.stderr.contains("not consumed: [W]"), "{}", built.stderr);
    // Docker's plug-in takes the builder before the verb, too.
    sandbox.ok(["buildx", "--builder", "default", "build", "-q", &ctx, "--build-arg=BASE=bb"]);
    sandbox.ketch(["buildx", "--builder=nosuch", "du"]).fails(125);
}
