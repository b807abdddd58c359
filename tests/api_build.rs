//! Docker's API: the classic way to build.

mod common;

use std::io::{BufReader, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use common::api::{Api, Response, read_head, send};
use common::image::{Layer, marked};
use common::registry::{Access, PASSWORD, Registry, USER};
use common::{Sandbox, wait_for};

/// Builds from a context of these files.
#[track_caller]
fn build(api: &Api, query: &str, files: &[(&str, &str)]) -> Response {
    let context = files.iter().fold(Layer::new(), |layer, (path, text)| layer.file(path, 0o644, text));
    let headers = [("Content-Type", "application/x-tar")];
    api.send("POST", &format!("/v1.45/build?{query}"), &headers, &context.finish())
}

/// What a build printed, as one text.
fn printed(documents: &[Value]) -> String {
    documents.iter().filter_map(|document| document["stream"].as_str()).collect()
}

#[test]
fn a_build_is_told_as_the_classic_builder_does() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let dockerfile = "ARG BASE=localhost/bb\nFROM ${BASE} AS one\nARG WHO=nobody\nRUN echo hello $WHO; echo $WHO > /who\n\
                      FROM localhost/bb\nCOPY --from=one /who a* /\nCMD [\"cat\", \"/who\"]\n";
    let files = [("Dockerfile", dockerfile), ("a.txt", "A"), ("secret", "x"), (".dockerignore", "secret")];
    let query = "t=app&t=app:2&buildargs=%7B%22WHO%22%3A%22me%22%7D&labels=%7B%22k%22%3A%22v%22%7D&rm=1&networkmode=none";
    let said = build(&api, query, &files).expect(200).documents();
    let text = printed(&said);
    for line in [
        "Step 1/6 : FROM localhost/bb AS one\n",
        "Step 3/6 : RUN echo hello $WHO; echo $WHO > /who\n",
        "\nhello me\n",
        "Step 6/6 : CMD [\"cat\", \"/who\"]\n",
        "Successfully tagged app:latest\nSuccessfully tagged app:2\n",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    let id = said.iter().find_map(|document| document["aux"]["ID"].as_str()).expect("an ID");
    assert!(text.contains(&format!("Successfully built {}\n", &id[7..19])), "{text}");
    let image = api.get("/images/app:2/json").expect(200).json();
    assert_eq!((&image["Id"], &image["Config"]["Labels"]), (&json!(id), &json!({"k": "v"})));
    assert_eq!(sandbox.ok(["run", "--rm", "--net", "none", id]), "me");

    let again = printed(&build(&api, query, &files).expect(200).documents());
    assert_eq!(again.matches(" ---> Using cache\n").count(), 2, "{again}");
    let quiet = build(&api, &format!("{query}&q=1"), &files).expect(200).documents();
    assert_eq!(quiet, [json!({"stream": format!("{id}\n")})]);
    let target =
        printed(&build(&api, &format!("{query}&target=one&nocache=1"), &files).expect(200).documents());
    assert!(target.contains("Step 3/3 ") && !target.contains("cache"), "{target}");
}

/// `docker pull app; docker build --cache-from app`: the caches are images that are here, and what is not here is none.
#[test]
fn caches_are_images() {
    let (first, second) = (Sandbox::new(), Sandbox::new());
    let (here, there) = (Api::start(&first), Api::start(&second));
    let files =
        [("Dockerfile", "FROM localhost/bb\nCOPY a /a\nRUN date +%s%N > /when\nRUN true\n"), ("a", "A")];
    let query = "t=app&networkmode=none&cachefrom=%5B%22app%22%2C%22r.invalid%2Fother%3A1%22%5D";
    let said = printed(&build(&here, query, &files).expect(200).documents());
    assert!(said.contains("Successfully tagged app:latest") && !said.contains("cache"), "{said}");
    let archive = here.get("/images/app/get").expect(200).body;
    there.send("POST", "/images/load?quiet=1", &[], &archive).expect(200);
    let said = printed(&build(&there, query, &files).expect(200).documents());
    assert_eq!(said.matches(" ---> Using cache\n").count(), 3, "{said}");
    let when = |sandbox: &Sandbox| {
        sandbox.ok(["run", "--rm", "--net=none", "docker.io/library/app", "cat", "/when"])
    };
    assert_eq!(when(&first), when(&second));
    let changed = [files[0], ("a", "B")];
    let said = printed(&build(&there, query, &changed).expect(200).documents());
    assert!(!said.contains("Using cache") && !said.contains("left out"), "{said}");
}

#[test]
fn failures_have_a_status_or_a_line() {
    let sandbox = Sandbox::new();
    sandbox.write("home/Dockerfile", "FROM localhost/bb\n");
    sandbox.write("Outside", "FROM localhost/bb\n");
    let api = Api::start(&sandbox);
    let failing =
        build(&api, "networkmode=none", &[("Dockerfile", "FROM localhost/bb\nRUN echo out; exit 3\n")]);
    let said = failing.expect(200).documents();
    let message = "The command '/bin/sh -c echo out; exit 3' returned a non-zero code: 3";
    let last = json!({"errorDetail": {"code": 3, "message": message}, "error": message});
    assert_eq!(said.last(), Some(&last));
    assert!(printed(&said).contains("out\n"));

    let bad = build(&api, "", &[("Dockerfile", "FROM localhost/bb\nFOO x\n")]).expect(400).json();
    assert!(bad["message"].as_str().unwrap().contains("unknown instruction: FOO"), "{bad}");
    // Dockerfiles are files of the context, and nothing else.
    let outside = format!("{}", sandbox.path("Outside").display());
    for file in [outside.as_str(), "../../Outside", "-", "nosuch"] {
        let said = build(&api, &format!("dockerfile={file}"), &[("a", "b")]).expect(400).json();
        assert!(said["message"].as_str().unwrap().contains("Cannot locate specified Dockerfile"), "{said}");
    }
    assert_eq!(build(&api, "", &[("a", "b")]).status, 400);
    for (body, message) in [
        (&b"FROM scratch\n"[..], "the build context is no tar archive"),
        (b"", "Cannot locate specified Dockerfile: Dockerfile"),
    ] {
        assert_eq!(api.send("POST", "/build", &[], body).expect(400).json()["message"], message);
    }
    for query in ["version=2", "session=abc"] {
        let said = build(&api, query, &[("Dockerfile", "FROM localhost/bb\n")]).expect(501).json();
        assert!(said["message"].as_str().unwrap().contains("DOCKER_BUILDKIT=0"), "{said}");
    }
    assert_eq!(api.post("/session", &Value::Null).status, 501);
    // Nothing of it all is left.
    let staged = std::fs::read_dir(sandbox.store().join("staging")).map_or(0, Iterator::count);
    assert_eq!(staged, 0);
}

/// Docker knows no other name, and clients find what a command said on standard error by its colour.
#[test]
fn dockerfile_is_the_only_usual_name_and_standard_error_is_red() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let files = [
        ("Containerfile", "FROM localhost/bb\nRUN false\n"),
        ("Dockerfile", "FROM localhost/bb\nCOPY . /in\nRUN ls /in; echo wrong >&2\n"),
        (".dockerignore", "kept-out\n"),
        (".containerignore", "kept-in\n"),
        ("kept-in", ""),
        ("kept-out", ""),
    ];
    let said = build(&api, "networkmode=none", &files).expect(200).documents();
    assert!(said.contains(&json!({"stream": "\u{1b}[91mwrong\n\u{1b}[0m"})), "{said:?}");
    let text = printed(&said);
    assert!(text.contains("kept-in\n") && !text.contains("kept-out"), "{text}");
    let said = build(&api, "", &files[..1]).expect(400).json();
    assert_eq!(said["message"], "Cannot locate specified Dockerfile: Dockerfile");
}

/// docker's command line ends the archive behind the last byte of a Dockerfile that it was given by itself.
#[test]
fn an_archive_without_its_end_is_a_context() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let dockerfile = "FROM localhost/bb\nCOPY a /\n";
    let whole = Layer::new().file("a", 0o644, "A").file(".dockerfile.1", 0o644, dockerfile).finish();
    let start = whole.windows(dockerfile.len()).position(|bytes| bytes == dockerfile.as_bytes()).unwrap();
    let cut = &whole[..start + dockerfile.len()];
    let built = api.send("POST", "/build?dockerfile=.dockerfile.1&t=cut", &[], cut).expect(200);
    assert!(built.text().contains("Successfully tagged cut:latest"), "{}", built.text());
    // Gzip is as good.
    let zipped = zipped(&whole);
    api.send("POST", "/build?dockerfile=.dockerfile.1&t=zipped", &[], &zipped).expect(200);
    api.get("/images/zipped/json").expect(200);
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).expect("compress");
    writer.finish().expect("compress")
}

/// Who goes away wants no image any more.
#[test]
fn a_build_ends_with_its_client() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let context = Layer::new().file("Dockerfile", 0o644, "FROM localhost/bb\nRUN sleep 7531\n").finish();
    let mut socket = api.connect();
    send(&mut socket, "POST", "/build?networkmode=none&t=never", &[], &context);
    let mut answer = BufReader::new(socket);
    assert_eq!(read_head(&mut answer).0, 200);
    let sleeps = || {
        let found =
            std::process::Command::new("pgrep").args(["-fx", "sleep 7531"]).output().expect("run pgrep");
        !found.stdout.is_empty()
    };
    wait_for("the step", || if sleeps() { Ok(()) } else { Err("nothing sleeps".to_owned()) });
    drop(answer);
    wait_for("the end of the step", || if sleeps() { Err("it sleeps".to_owned()) } else { Ok(()) });
    assert_eq!(api.get("/images/never/json").status, 404);
}

/// Base images of several registries: each has its credential, which is for this build alone.
#[test]
fn credentials_of_a_build() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let open = Registry::shared();
    open.push("api/base", "1", &marked("api-base"));
    let guarded = open.guarded(Access::Password);
    let dockerfile = format!("FROM {}/api/base:1\nLABEL a=b\n", guarded.address());
    let context = Layer::new().file("Dockerfile", 0o644, &dockerfile).finish();
    let config = json!({guarded.address(): {"username": USER, "password": PASSWORD}, "r.example": {}, "x.example": {"registrytoken": "t"}, "y.example": null});
    let header = URL_SAFE.encode(config.to_string());
    let build = |headers: &[(&str, &str)]| api.send("POST", "/build?pull=1", headers, &context).expect(200);
    assert!(build(&[]).documents().last().unwrap()["error"].is_string());
    let said = build(&[("X-Registry-Config", &header)]);
    assert!(said.text().contains("Successfully built") && !said.text().contains(PASSWORD), "{}", said.text());
    assert!(build(&[]).documents().last().unwrap()["error"].is_string());
}
