//! Docker's API: images, where they come from and where they go.

mod common;

use std::io::BufReader;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};

use common::api::{Api, Response, read_head, send};
use common::faults::{Faults, How};
use common::image::{Compression, Image, Layer, marked};
use common::registry::{Access, PASSWORD, Registry, USER};
use common::{Sandbox, have, wait_for};

/// `status` of each document.
fn statuses(documents: &[Value]) -> Vec<String> {
    documents.iter().filter_map(|document| Some(document["status"].as_str()?.to_owned())).collect()
}

/// The header with alice's name and password, or another's.
fn auth(user: &str, password: &str) -> String {
    URL_SAFE.encode(json!({"username": user, "password": password}).to_string())
}

trait Post {
    fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response;
}

impl Post for Api {
    #[track_caller]
    fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.send("POST", path, headers, body)
    }
}

#[test]
fn images_are_listed_named_and_removed() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let list = |query: &str| -> Vec<Value> {
        api.get(&format!("/v1.45/images/json{query}")).expect(200).json().as_array().unwrap().clone()
    };
    let listed = list("");
    let (image, id) = (&listed[0], listed[0]["Id"].as_str().unwrap().to_owned());
    assert!(id.starts_with("sha256:") && image["Created"].is_i64(), "{image}");
    assert_eq!(image["RepoTags"], json!(["localhost/bb:latest"]));
    assert_eq!((&image["Containers"], &image["SharedSize"]), (&json!(-1), &json!(-1)));
    assert_eq!(image["VirtualSize"], Value::Null);
    assert!(api.get("/v1.40/images/json").expect(200).json()[0]["VirtualSize"].is_u64());
    assert!(list("?shared-size=1")[0]["SharedSize"].is_u64());
    assert!(
        api.get("/v1.47/images/json?manifests=1").expect(200).json()[0]["Manifests"][0]["ID"].is_string()
    );

    api.post("/images/bb/tag?repo=app&tag=1", &Value::Null).expect(201);
    api.post("/images/bb/tag?repo=r.example%3A5000%2Fteam%2Fapp", &Value::Null).expect(201);
    assert_eq!(api.post("/images/bb/tag?repo=UPPER", &Value::Null).status, 400);
    assert_eq!(api.post("/images/bb/tag", &Value::Null).status, 400);
    assert_eq!(list("?filters=%7B%22reference%22%3A%5B%22app%22%5D%7D").len(), 1);
    assert_eq!(list("?filters=%7B%22reference%22%3A%7B%22nosuch%22%3Atrue%7D%7D").len(), 0);
    assert_eq!(api.get("/images/json?filters=%7B%22x%22%3A%5B%22y%22%5D%7D").status, 400);

    let document = api.get("/images/r.example:5000/team/app/json").expect(200).json();
    assert_eq!(document["Id"], id);
    let tags = document["RepoTags"].as_array().unwrap();
    assert!(tags.contains(&"app:1".into()) && tags.contains(&"r.example:5000/team/app:latest".into()));
    let steps = api.get(&format!("/images/{id}/history")).expect(200).json();
    assert_eq!((&steps[0]["Id"], steps[0]["Size"].is_u64()), (&json!(id), true), "{steps}");
    for path in ["/images/nosuch/json", "/images/nosuch/history", "/images/nosuch/get"] {
        assert_eq!(api.get(path).expect(404).json()["message"], "No such image: nosuch:latest", "{path}");
    }
    assert_eq!(api.delete("/images/a/b:1").expect(404).json()["message"], "No such image: a/b:1");

    assert_eq!(api.delete("/images/app:1").expect(200).json(), json!([{"Untagged": "app:1"}]));
    let several = api.delete(&format!("/images/{id}")).expect(409).json();
    assert!(
        several["message"].as_str().unwrap().contains("(must be forced) - image is referenced in multiple")
    );
    api.delete("/images/r.example:5000/team/app").expect(200);

    let container = sandbox.ok(["create", "bb"]);
    let (user, short) = (&container[..12], &id[7..19]);
    let used = api.delete("/images/localhost/bb").expect(409).json();
    let reference = format!(
        "conflict: unable to remove repository reference \"localhost/bb\" (must force) - container {user} is using its \
         referenced image {short} (remove that container first)"
    );
    assert_eq!(used["message"], reference.as_str());
    let used = api.delete(&format!("/images/{id}")).expect(409).json();
    assert!(
        used["message"].as_str().unwrap().contains(&format!("used by stopped container {user}")),
        "{used}"
    );
    let untagged = api.delete("/images/localhost/bb?force=1").expect(200).json();
    assert_eq!(untagged, json!([{"Untagged": "localhost/bb:latest"}]));
    sandbox.ok(["rm", &container]);
    let pruned = api.post("/images/prune", &Value::Null).expect(200).json();
    assert_eq!(pruned["ImagesDeleted"], json!([{"Deleted": id}]));
    assert_eq!(list(""), Vec::<Value>::new());
    assert_eq!(api.post("/images/prune", &Value::Null).expect(200).json()["ImagesDeleted"], Value::Null);
}

/// The tag takes the place of one that the name has, and names that a prune takes are told.
#[test]
fn tags_are_replaced_and_pruned_names_are_told() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    api.post("/images/bb/tag?repo=foo:bar&tag=baz", &Value::Null).expect(201);
    let id = api.get("/images/foo:baz/json").expect(200).json()["Id"].clone();
    assert_eq!(api.get("/images/foo:bar/json").status, 404);
    let path = "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";
    let pruned = api.post(path, &Value::Null).expect(200).json();
    let told = pruned["ImagesDeleted"].as_array().unwrap();
    for document in
        [json!({"Untagged": "foo:baz"}), json!({"Untagged": "localhost/bb:latest"}), json!({"Deleted": id})]
    {
        assert!(told.contains(&document), "{document} in {pruned}");
    }
}

#[test]
fn a_pull_is_told_line_by_line() {
    let sandbox = Sandbox::empty();
    let api = Api::start(&sandbox);
    let registry = Registry::shared();
    let image = marked("api-pull");
    registry.push("api/pulled", "1", &image);
    let name = format!("{}/api/pulled", registry.address());
    let create = |query: &str| api.post(&format!("/images/create?{query}"), &Value::Null);
    let said = create(&format!("fromImage={name}&tag=1")).expect(200).documents();
    let told = statuses(&said);
    assert_eq!(
        (said[0]["status"].as_str(), said[0]["id"].as_str()),
        (Some("Pulling from api/pulled"), Some("1"))
    );
    for status in ["Pulling fs layer", "Download complete", "Pull complete"] {
        assert!(told.iter().any(|known| known == status), "{status}: {told:?}");
    }
    let last = [
        format!("Digest: {}", image.manifest.digest()),
        format!("Status: Downloaded newer image for {name}:1"),
    ];
    assert_eq!(told[told.len() - 2..], last);
    let again = statuses(&create(&format!("fromImage={name}&tag=1")).expect(200).documents());
    assert_eq!(again[1..], [last[0].clone(), format!("Status: Image is up to date for {name}:1")]);
    // By a digest, and all tags of a repository.
    create(&format!("fromImage={name}&tag={}", image.manifest.digest())).expect(200);
    registry.push("api/pulled", "2", &marked("api-pull-2"));
    create(&format!("fromImage={name}")).expect(200);
    api.get(&format!("/images/{name}:2/json")).expect(200);

    // What fails before anything was told has a status of its own.
    let missing = create(&format!("fromImage={name}&tag=nosuch")).expect(404).json();
    assert!(
        missing["message"].as_str().unwrap().starts_with(&format!("manifest for {name}:nosuch not found"))
    );
    for bad in ["fromImage=UPPER", "", "fromImage=a&platform=a/b/c/d"] {
        assert_eq!(create(bad).status, 400, "{bad}");
    }
}

/// Credentials hold for the request that brings them, and for no other.
#[test]
fn credentials_come_with_a_request_and_go_with_it() {
    let sandbox = Sandbox::empty();
    let api = Api::start(&sandbox);
    let open = Registry::shared();
    open.push("api/guarded", "1", &marked("api-guarded"));
    let guarded = open.guarded(Access::Password);
    let path = format!("/images/create?fromImage={}/api/guarded&tag=1", guarded.address());
    let (good, bad) = (auth(USER, PASSWORD), auth(USER, "wrong"));
    // One connection, several requests: nothing is kept from one to the next.
    for (header, status) in
        [("e30=", 404), (&bad, 404), (&good, 200), ("e30=", 404), ("%%%", 404), ("bnVsbA==", 404)]
    {
        let said = api.post_with(&path, &[("X-Registry-Auth", header)], b"").expect(status);
        assert!(!said.text().contains(PASSWORD), "{}", said.text());
    }
    assert!(!sandbox.path("home/.docker").exists() && !sandbox.path("run/containers").exists());

    let login = |password: &str| {
        let document = json!({"username": USER, "password": password, "serveraddress": guarded.address()});
        api.post("/auth", &document)
    };
    assert_eq!(login(PASSWORD).expect(200).json()["Status"], "Login Succeeded");
    assert_eq!(login("wrong").status, 401);
    // docker-java writes every field, docker-py's credential helpers write them as Go does.
    let whole = json!({
        "username": USER, "password": PASSWORD, "email": null, "serveraddress": guarded.address(), "auth": null,
        "registrytoken": null, "identitytoken": null, "stackOrchestrator": null,
    });
    let helpers = json!({"ServerAddress": guarded.address(), "Username": USER, "Password": PASSWORD});
    for document in [whole, helpers] {
        api.post("/auth", &document).expect(200);
        let header = URL_SAFE.encode(document.to_string());
        api.post_with(&path, &[("X-Registry-Auth", &header)], b"").expect(200);
    }
    assert_eq!(api.post("/auth", &json!({"auth": "dQ=="})).status, 400);
    assert_eq!(api.post_with(&path, &[], b"").status, 404, "nothing was stored");

    let offered = format!("/distribution/{}/api/guarded:1/json", guarded.address());
    assert_eq!(api.get(&offered).status, 401);
    let offered = api.send("GET", &offered, &[("X-Registry-Auth", &good)], b"").expect(200).json();
    assert_eq!(offered["Platforms"], json!([{"architecture": "amd64", "os": "linux"}]));
    assert_eq!(offered["Descriptor"]["digest"], marked("api-guarded").manifest.digest());

    let name = format!("{}/api/pushed", guarded.address());
    api.post(&format!("/images/{}/api/guarded:1/tag?repo={name}&tag=1", guarded.address()), &Value::Null)
        .expect(201);
    let push = |header: &str| {
        let said = api.post_with(&format!("/images/{name}/push?tag=1"), &[("X-Registry-Auth", header)], b"");
        said.expect(200).documents()
    };
    assert!(push(&bad).last().unwrap()["errorDetail"]["message"].is_string());
    let said = push(&good);
    assert_eq!(said[0]["status"], format!("The push refers to repository [{name}]"));
    let last = &said.last().unwrap()["aux"];
    assert_eq!((&last["Tag"], last["Size"].is_u64()), (&json!("1"), true), "{said:?}");
    assert!(statuses(&said).contains(&format!(
        "1: digest: {} size: {}",
        last["Digest"].as_str().unwrap(),
        last["Size"]
    )));
    let missing = api.post(&format!("/images/{name}/push?tag=nosuch"), &Value::Null).expect(404).json();
    assert_eq!(missing["message"], format!("An image does not exist locally with the tag: {name}"));

    let found = api.get(&format!("/images/search?term={}/api&limit=5", open.address())).expect(200).json();
    let names: Vec<_> = found.as_array().unwrap().iter().map(|hit| hit["name"].as_str().unwrap()).collect();
    assert!(names.contains(&format!("{}/api/guarded", open.address()).as_str()), "{names:?}");
    assert_eq!(api.get("/images/search").status, 400);
    assert_eq!(api.get("/images/search?term=x&limit=1000").status, 400);
}

#[test]
fn archives_go_out_and_come_in() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let id = api.get("/images/bb/json").expect(200).json()["Id"].clone();
    api.post("/images/bb/tag?repo=app&tag=1", &Value::Null).expect(201);
    let saved = api.get("/images/get?names=app:1&names=localhost%2Fbb").expect(200);
    assert_eq!(saved.header("content-type"), Some("application/x-tar"));
    api.delete("/images/app:1").expect(200);
    api.delete("/images/localhost/bb").expect(200);
    let loaded = api.post_with("/images/load?quiet=1", &[], &saved.body).expect(200).documents();
    let mut lines: Vec<_> = loaded.iter().map(|document| document["stream"].as_str().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["Loaded image: app:1\n", "Loaded image: localhost/bb:latest\n"]);
    assert_eq!(api.get("/images/app:1/json").expect(200).json()["Id"], id);
    let one = api.get("/images/app:1/get").expect(200);
    assert!(api.post_with("/images/load", &[], &one.body).expect(200).text().contains("Loaded image: app:1"));
    assert_eq!(api.post_with("/images/load", &[], b"no archive").status, 400);

    // A file system of one's own.
    let files = Layer::new().file("greeting", 0o644, "hello\n").finish();
    let path =
        "/images/create?fromSrc=-&repo=made&tag=2&message=m&changes=CMD%20%5B%22cat%22%5D%0AENV%20A%3Db";
    let said = api.post_with(path, &[("Content-Type", "text/plain")], &files).expect(200).documents();
    let made = api.get("/images/made:2/json").expect(200).json();
    assert_eq!(said, [json!({"status": made["Id"]})]);
    assert_eq!((&made["Config"]["Cmd"], &made["Config"]["Env"]), (&json!(["cat"]), &json!(["A=b"])));
    assert_eq!(api.post_with("/images/create?fromSrc=-&changes=FROM%20x", &[], &files).status, 400);

    let container = sandbox.ok(["create", "--name", "box", "bb", "cat", "/greeting"]);
    let config = json!({"Cmd": ["echo", "hi"], "Hostname": "ignored", "Labels": {"k": "v"}});
    let path =
        format!("/commit?container={container}&repo=done&tag=3&author=me&comment=said&changes=USER%20app");
    let id = api.post(&path, &config).expect(201).json()["Id"].clone();
    let document = api.get("/images/done:3/json").expect(200).json();
    assert_eq!(
        (&document["Id"], &document["Author"], &document["Comment"]),
        (&id, &json!("me"), &json!("said"))
    );
    let config = &document["Config"];
    assert_eq!((&config["Cmd"], &config["User"]), (&json!(["echo", "hi"]), &json!("app")));
    assert_eq!(config["Labels"]["k"], "v");
    api.post("/commit?container=box", &Value::Null).expect(201);
    let missing = api.post("/commit?container=nosuch", &Value::Null).expect(404).json();
    assert_eq!(missing["message"], "No such container: nosuch");
}

/// Its transport `docker-daemon:` takes images out and brings them in.
#[test]
fn skopeo_takes_it_for_a_docker_daemon() {
    if !have("skopeo") {
        return;
    }
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let policy = sandbox.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    let skopeo = |args: &[&str]| {
        let fixed = ["--policy", policy.to_str().unwrap()];
        let output = sandbox.program("skopeo", fixed.iter().chain(args)).run();
        assert_eq!(output.code, 0, "{}", output.stderr);
        output.stdout
    };
    let (host, copied) = (api.host(), format!("dir:{}", sandbox.path("copied").display()));
    skopeo(&["copy", "--src-daemon-host", &host, "docker-daemon:localhost/bb:latest", &copied]);
    skopeo(&["copy", "--dest-daemon-host", &host, &copied, "docker-daemon:again:1"]);
    assert_eq!(sandbox.ok(["run", "--rm", "docker.io/library/again:1", "echo", "it runs"]), "it runs");
    let inspected = skopeo(&["inspect", "--config", "--daemon-host", &host, "docker-daemon:again:1"]);
    assert!(inspected.contains("\"architecture\""), "{inspected}");
}

/// Until the first byte of an archive is sent, a failure has a status.
#[test]
fn an_image_whose_layers_are_not_kept_is_not_saved() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let blobs = sandbox.store().join("blobs/sha256");
    for blob in blobs.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        // Documents are smaller than layers.
        if blob.metadata().unwrap().len() > 100_000 {
            std::fs::remove_file(blob).unwrap();
        }
    }
    let said = api.get("/images/bb/get").expect(404).json();
    assert!(said["message"].as_str().unwrap().contains("pull it again"), "{said}");
}

/// Who goes away during a pull wants the image no more; what has come of it is kept for the next try.
#[test]
fn a_pull_ends_with_its_client() {
    let mut state = 7_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(3_000_000)
    .collect();
    let image = Image::new().layer(Layer::new().file("noise", 0o644, noise), Compression::Gzip).build();
    let blob = image.layers[0].digest();
    let path = format!("/v2/a/b/blobs/{blob}");
    let slow = Faults::start(image.content(), move |request, answer| {
        if request.path == path && request.before == 0 { answer.how(How::Trickle(5_000)) } else { answer }
    });
    let sandbox = Sandbox::empty();
    let api = Api::start(&sandbox);
    let create = format!("/images/create?fromImage={}/a/b&tag=1", slow.address());
    let mut socket = api.connect();
    send(&mut socket, "POST", &create, &[], b"");
    let mut answer = BufReader::new(socket);
    assert_eq!(read_head(&mut answer).0, 200);
    let partial = sandbox.store().join("blobs/partial");
    wait_for("the download", || match partial.read_dir().map(|mut entries| entries.next().is_some()) {
        Ok(true) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(answer);
    wait_for("the end of the download", || {
        let service = api.service().pid().to_string();
        let children = Command::new("pgrep").args(["-P", &service]).output().expect("run pgrep").stdout;
        if children.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&children).into_owned()) }
    });
    api.get(&format!("/images/{}/a/b:1/json", slow.address())).expect(404);
    api.post(&create, &Value::Null).expect(200);
    api.get(&format!("/images/{}/a/b:1/json", slow.address())).expect(200);
}

/// A client that leaves is missed while the registry says nothing.
#[test]
fn a_pull_from_a_silent_registry_ends_with_its_client() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = silent.local_addr().expect("an address").port();
    let mut socket = api.connect();
    send(&mut socket, "POST", &format!("/images/create?fromImage=127.0.0.1:{port}/x&tag=1"), &[], b"");
    let asked = silent.accept().expect("the registry is asked");
    let begun = std::time::Instant::now();
    drop(socket);
    api.await_idle();
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(asked);
}
