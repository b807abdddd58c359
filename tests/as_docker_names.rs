//! Through a link named docker: what images are called, wherever they are shown, and what a short name means.

mod common;

use common::docker::Docker;
use serde_json::Value;

impl Docker {
    /// Builds an image of that name with something in it that no other has.
    #[track_caller]
    fn build(&self, name: &str, mark: &str) -> String {
        self.sandbox.write("ctx/Dockerfile", format!("FROM localhost/bb\nLABEL mark={mark}\n"));
        let context = self.sandbox.path("ctx");
        self.ok(&format!("build -q -t {name} {}", context.display()))
    }
}

/// `docker build -t app`, and then all that asks for it.
#[test]
fn a_built_image_is_found_and_shown_by_the_name_it_was_given() {
    let docker = Docker::new();
    let id = docker.build("app", "one");
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    docker.ok("tag app user/app:2");
    docker.ok("tag app reg.example:5000/x");
    for name in ["app", "app:latest", "docker.io/library/app", "index.docker.io/library/app", "user/app:2"] {
        assert_eq!(docker.ok(&format!("image inspect -f {{{{.Id}}}} {name}")), id, "{name}");
        assert_eq!(docker.ok(&format!("run --rm --net none {name} echo ran")), "ran");
    }
    let shown = docker.ok("images --format {{.Repository}}:{{.Tag}}");
    let mut shown: Vec<&str> = shown.lines().collect();
    shown.sort_unstable();
    assert_eq!(shown, ["app:latest", "localhost/bb:latest", "reg.example:5000/x:latest", "user/app:2"]);
    for (reference, want) in
        [("app", "app:latest"), ("user/app", "user/app:2"), ("docker.io/user/app", "user/app:2"), ("x", "")]
    {
        let said = docker.ok(&format!("images --format {{{{.Repository}}}}:{{{{.Tag}}}} {reference}"));
        assert_eq!(said, want, "{reference}");
    }
    let document: Value = serde_json::from_str(&docker.ok("inspect --type image app")).expect("JSON");
    let tags: Vec<&str> =
        document[0]["RepoTags"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(tags.len(), 3, "{tags:?}");
    for tag in ["app:latest", "user/app:2", "reg.example:5000/x:latest"] {
        assert!(tags.contains(&tag), "{tags:?}");
    }
    assert!(document[0]["RepoDigests"].to_string().contains("\"app@sha256:"), "{document}");
    // With its own name, ketch tells all of it.
    assert!(docker.sandbox.ok(["images", "--format", "{{.Repository}}"]).contains("docker.io/library/app"));
    assert_eq!(docker.sandbox.ok(["image", "inspect", "app", "--format", "sha256:{{.Id}}"]), id);

    assert_eq!(docker.ok("rmi user/app:2"), "Untagged: user/app:2");
    let archive = docker.sandbox.path("app.tar");
    docker.ok(&format!("save -o {} app", archive.display()));
    let manifest =
        docker.sandbox.program("tar", ["-xOf", archive.to_str().expect("UTF-8"), "manifest.json"]).run();
    assert!(manifest.ok().contains(r#""RepoTags":["app:latest"]"#), "{}", manifest.stdout);
    // An OCI layout as well, as docker has it: docker-squash takes it apart.
    let script = "mkdir apart && tar -C apart -xf app.tar && cd apart && test -f oci-layout && \
        for blob in blobs/sha256/*; do echo \"${blob##*/}  $blob\" | sha256sum -c --status || echo $blob; done && cat index.json";
    let index = docker.sandbox.program("sh", ["-c", script]).run();
    let index: Value =
        serde_json::from_str(index.ok()).expect("every blob has its digest, and the index is JSON");
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/app:latest");
    let blob = |digest: &Value| {
        let hex = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
        docker.sandbox.read(format!("apart/blobs/sha256/{hex}"))
    };
    let of_index: Value = serde_json::from_str(&blob(&entry["digest"])).expect("a manifest");
    assert_eq!(of_index["config"]["digest"], id);
    let manifest: Value = serde_json::from_str(&manifest.stdout).expect("JSON");
    for (path, layer) in
        manifest[0]["Layers"].as_array().unwrap().iter().zip(of_index["layers"].as_array().unwrap())
    {
        let path = path.as_str().unwrap();
        assert!(
            layer["digest"].as_str().unwrap().ends_with(&path["blobs/sha256/".len()..]),
            "{path} {layer}"
        );
        let length = std::fs::metadata(docker.sandbox.path("apart").join(path)).unwrap().len();
        assert_eq!(layer["size"], length);
    }
    docker.ok("rmi reg.example:5000/x app");
    assert_eq!(docker.ok(&format!("load -i {}", archive.display())), "Loaded image: app:latest");
    assert_eq!(docker.ok("image inspect -f {{.Id}} app"), id);
}

/// Whoever asks for `nginx` never gets another repository that ends so, nor one that was made here where Docker
/// Hub's is there.
#[test]
fn a_short_name_is_docker_hub_s() {
    let docker = Docker::new();
    docker.ok("tag localhost/bb quay.example/team/nginx");
    assert!(docker.run("image inspect nginx").fails(1).contains("No such image: nginx:latest"));
    assert!(docker.run("rmi nginx").fails(1).contains("No such image: nginx:latest"));
    // podman's rule finds it.
    docker.sandbox.ok(["image", "inspect", "nginx"]);
    let refused = docker.run("create --pull never nginx");
    assert!(refused.fails(1).contains("No such image: nginx:latest"), "{}", refused.stderr);

    let own = docker.sandbox.ok(["build", "-q", "-t", "nginx", &context(&docker, "own")]);
    assert_eq!(docker.ok("image inspect -f {{.Id}} nginx"), format!("sha256:{own}"), "better than none");
    let hubs = docker.build("docker.io/library/nginx", "hub");
    assert_eq!(docker.ok("image inspect -f {{.Id}} nginx"), hubs);
    assert_eq!(docker.ok("image inspect -f {{.Id}} localhost/nginx"), format!("sha256:{own}"));
    assert_eq!(docker.sandbox.ok(["image", "inspect", "nginx", "--format", "{{.Id}}"]), own);
    docker.ok("rmi nginx");
    assert!(docker.ok("images --format {{.Repository}}").contains("localhost/nginx"));

    // What registries.conf says of short names is for podman.
    docker.sandbox.write(
        "registries.conf",
        "unqualified-search-registries = ['quay.example']\n[aliases]\nfedora = 'reg.example/fedora'\n",
    );
    let file = docker.sandbox.path("registries.conf");
    let refused = docker.run(&format!("--registries-conf {} pull --retry 0 fedora", file.display()));
    assert!(refused.fails(1).contains("docker.io/library/fedora"), "{}", refused.stderr);
}

fn context(docker: &Docker, mark: &str) -> String {
    docker.sandbox.write("own/Dockerfile", format!("FROM localhost/bb\nLABEL mark={mark}\n"));
    docker.sandbox.path("own").display().to_string()
}

/// What ketch has made under another name is read where there is no other, and nothing else is done to it.
#[test]
fn a_short_name_takes_nothing_from_localhost() {
    let docker = Docker::new();
    let own = format!("sha256:{}", docker.sandbox.ok(["build", "-q", "-t", "app", &context(&docker, "own")]));
    assert_eq!(docker.ok("image inspect -f {{.Id}} app"), own);
    assert_eq!(docker.ok("run --rm --net none app echo ran"), "ran");
    docker.ok("history app");
    docker.ok(&format!("save -o {} app", docker.sandbox.path("app.tar").display()));
    docker.sandbox.write("ctx/Dockerfile", "FROM app\nLABEL below=yes\n");
    docker.ok(&format!("build -q -t below {}", docker.sandbox.path("ctx").display()));

    for words in
        ["rmi app", "image rm app:latest", "rmi --platform linux/amd64 app", "push app", "push -a app"]
    {
        let refused = docker.run(words);
        let said = match words.starts_with("push") {
            true => "An image does not exist locally with the tag: app",
            false => "No such image: app:latest",
        };
        assert!(refused.fails(1).contains(said), "{words}: {}", refused.stderr);
    }
    for words in ["images -q app", "images -q --filter reference=app", "rmi -f app"] {
        assert_eq!(docker.ok(words), "", "{words}");
    }
    let hubs = docker.build("app", "hub");
    assert_eq!(docker.ok("images --no-trunc -q app"), hubs);
    docker.ok("rmi app");
    docker.ok("rmi -f app");
    assert_eq!(docker.ok("images --no-trunc -q localhost/app"), own);
    docker.ok("tag app user/app");
    assert_eq!(docker.ok("rmi localhost/app"), "Untagged: localhost/app:latest");
    assert_eq!(docker.ok("image inspect -f {{.Id}} user/app"), own);
}

#[test]
fn a_name_in_an_archive_is_docker_hub_s() {
    let docker = Docker::new();
    docker.sandbox.ok(["push", "-q", "bb", "oci-archive:o.tar:bare:1"]);
    assert_eq!(
        docker.ok(&format!("load -i {}", docker.sandbox.path("o.tar").display())),
        "Loaded image: bare:1"
    );
    docker.ok("image inspect docker.io/library/bare:1");
    docker.run("image inspect localhost/bare:1").fails(1);
}

/// The column IMAGE and `.Config.Image` have what was typed, and the ID once that name means another image.
#[test]
fn containers_keep_the_name_that_was_typed() {
    let docker = Docker::new();
    let id = docker.build("app", "one");
    let typed = ["app", "app:latest", "docker.io/library/app", &id];
    for (at, name) in typed.iter().enumerate() {
        docker.ok(&format!("run -d --name c{at} --net none {name} sleep 1000"));
        assert_eq!(docker.ok(&format!("inspect -f {{{{.Config.Image}}}} c{at}")), *name);
    }
    let image = |name: &str| docker.ok(&format!("ps --format {{{{.Image}}}} --filter name={name}"));
    let short = &id[7..19];
    assert_eq!(["c0", "c1", "c2", "c3"].map(image), ["app", "app:latest", "docker.io/library/app", short]);
    docker.build("app", "two");
    assert_eq!(["c0", "c1", "c2", "c3"].map(image), [short; 4]);
    assert_eq!(docker.ok("inspect -f {{.Image}} c0"), id);
    assert!(
        docker.ok("events --stream=false --filter event=start --filter container=c0").contains("image=app")
    );
    docker.ok("rm -f -t 0 c0 c1 c2 c3");
}

/// `docker-compose`, as a program of its own, makes what `docker` finds.
#[test]
fn compose_as_a_program_names_images_as_docker_does() {
    let docker = Docker::new();
    let compose = docker.sandbox.path("docker-compose");
    std::os::unix::fs::symlink(common::ketch_binary(), &compose).expect("make a link");
    docker.sandbox.write("ctx/Dockerfile", "FROM localhost/bb\nLABEL mark=compose\n");
    docker.sandbox.write("compose.yaml", "name: proj\nservices: {app: {build: ./ctx}}\n");
    let file = docker.sandbox.path("compose.yaml").display().to_string();
    docker.sandbox.program(&compose, ["-f", &file, "build"]).run().ok();
    assert!(docker.ok("images --format {{.Repository}}").lines().any(|name| name == "proj-app"));
    docker.ok("image inspect docker.io/library/proj-app:latest");
}
