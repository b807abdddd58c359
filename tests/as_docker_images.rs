//! Through a link named docker: what builds and commands about images say, as docker's documentation and scripts have it.

mod common;

use common::docker::Docker;
use common::registry::Registry;
use serde_json::Value;

/// BuildKit's last words about a build that fails, and what it shows before them.
#[test]
fn builds_fail_in_buildkit_s_words() {
    let docker = Docker::new();
    let context = docker.sandbox.path("ctx").display().to_string();
    for (lines, said) in [
        ("FOO x\n", "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)"),
        (
            "COPY nosuch /\n",
            "failed to compute cache key: failed to calculate checksum of ref: \"/nosuch\": not found",
        ),
        (
            "RUN echo out; exit 3\n",
            "process \"/bin/sh -c echo out; exit 3\" did not complete successfully: exit code: 3",
        ),
        (
            "FROM Bad\n",
            "failed to parse stage name \"Bad\": invalid reference format: repository name (library/Bad) must be lowercase",
        ),
    ] {
        docker.sandbox.write("ctx/Dockerfile", format!("FROM localhost/bb\n{lines}"));
        let failed = docker.run(&format!("build --network none {context}"));
        let text = failed.fails(1).to_owned();
        let last = text.lines().rfind(|line| !line.starts_with("hint: ")).unwrap_or_default();
        assert_eq!(last, format!("ERROR: failed to solve: {said}"), "{text}");
        assert!(
            text.contains("\nDockerfile:2\n--------------------\n   1 |     FROM localhost/bb\n   2 | >>> "),
            "{text}"
        );
        let again = "------\n > [2/2] RUN echo out; exit 3:\nout\n------\n";
        assert_eq!(text.contains(again), lines.starts_with("RUN"), "{text}");
    }
    docker.sandbox.write("ctx/Dockerfile", "FROM localhost/bb\n");
    let empty = docker.sandbox.path("empty").display().to_string();
    std::fs::create_dir(&empty).expect("make a directory");
    for (words, said) in [
        (
            format!("build --target nope {context}"),
            "ERROR: failed to solve: target stage \"nope\" could not be found",
        ),
        (
            format!("build {context}/nosuch"),
            &format!("ERROR: unable to prepare context: path \"{context}/nosuch\" not found"),
        ),
        (
            format!("build {empty}"),
            "ERROR: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory",
        ),
        (
            format!("build -f {empty}/Other {context}"),
            "ERROR: failed to solve: failed to read dockerfile: open Other: no such file or directory",
        ),
        (
            format!("build -t Bad:1 {context}"),
            "ERROR: invalid tag \"Bad:1\": invalid reference format: repository name (library/Bad) must be lowercase",
        ),
        ("build".to_owned(), "docker: 'docker build' requires 1 argument"),
        (format!("build {context} {empty}"), "docker: 'docker build' requires 1 argument"),
    ] {
        let failed = docker.run(&words);
        assert!(failed.fails(1).lines().any(|line| line == said), "{words}: {}", failed.stderr);
    }
    // podman takes the directory it is in, and has words of its own.
    let failed = docker.sandbox.ketch(["build", "--target=nope", &context]);
    assert!(failed.fails(125).contains("the target \"nope\" was not found in the provided Dockerfile"));
    docker.sandbox.command(["build", "-q"]).current_dir(docker.sandbox.path("ctx")).run().ok();
}

/// Dockerfile reference, "BuildKit built-in build args".
#[test]
fn a_step_runs_on_a_machine_with_a_name() {
    let docker = Docker::new();
    docker.sandbox.write("ctx/Dockerfile", "FROM localhost/bb\nRUN hostname\n");
    let context = docker.sandbox.path("ctx").display().to_string();
    let said = docker.run(&format!("build --no-cache --network none {context}"));
    assert!(said.stderr.contains(" buildkitsandbox\n"), "{}", said.stderr);
    let named =
        docker.run(&format!("build --network none --build-arg BUILDKIT_SANDBOX_HOSTNAME=mine {context}"));
    assert!(named.stderr.contains(" mine\n"), "{}", named.stderr);
    let argument = "--build-arg=BUILDKIT_SANDBOX_HOSTNAME=other";
    let own = docker.sandbox.ok(["build", "--network=none", argument, &context]);
    assert!(own.lines().any(|line| line == "other"), "{own}");
}

#[test]
fn images_are_missed_and_named_in_docker_s_words() {
    let docker = Docker::new();
    docker.ok("tag localhost/bb here:1");
    for (words, said) in [
        (
            "tag here:1 Bad",
            "Error parsing reference: \"Bad\" is not a valid repository/tag: invalid reference format: repository name \
             (library/Bad) must be lowercase",
        ),
        ("pull Bad", "invalid reference format: repository name (library/Bad) must be lowercase"),
        ("run --rm Bad", "docker: invalid reference format: repository name (library/Bad) must be lowercase"),
        ("tag here:1", "docker: 'docker tag' requires 2 arguments"),
        ("tag here:1 a b", "docker: 'docker tag' requires 2 arguments"),
        ("pull a b", "docker: 'docker pull' requires 1 argument"),
        ("push a b", "docker: 'docker push' requires 1 argument"),
        ("image push", "docker: 'docker image push' requires 1 argument"),
        ("pull -a here:1", "tag can't be used with --all-tags/-a"),
        ("push nosuch", "An image does not exist locally with the tag: nosuch"),
        ("push here", "tag does not exist: here:latest"),
        ("images -f nosuch=1", "Error response from daemon: invalid filter 'nosuch'"),
        ("images -f before=nosuch", "Error response from daemon: No such image: nosuch:latest"),
        ("image prune -f --filter nosuch=1", "Error response from daemon: invalid filter 'nosuch'"),
        ("manifest create x", "docker: 'docker manifest create' requires at least 2 arguments"),
        ("manifest rm nosuch", "No such manifest: nosuch"),
        ("diff nosuch", "Error response from daemon: No such container: nosuch"),
        ("images --format {{.Nosuch}}", "can't evaluate field Nosuch in type images.imageReporter"),
    ] {
        let failed = docker.run(words);
        let code = if words.starts_with("run") { 125 } else { 1 };
        let first = failed.fails(code).lines().next().unwrap_or_default().to_owned();
        assert!(first.ends_with(said), "{words}: {}", failed.stderr);
        assert_eq!(
            first.starts_with("template parsing error: template: "),
            said.starts_with("can't evaluate")
        );
    }
    for (words, code, said) in [
        ("rmi -f nosuch", 0, "Error response from daemon: No such image: nosuch:latest\n"),
        ("save -o /nosuch/x here:1", 1, "invalid output path: directory \"/nosuch\" does not exist\n"),
        ("load -i nosuch", 1, "open nosuch: no such file or directory\n"),
        (
            "search --limit 101 x",
            1,
            "Error response from daemon: Limit 101 is outside the range of [1, 100]\n",
        ),
    ] {
        let output = docker.run(words);
        assert_eq!((output.code, output.stderr.as_str()), (code, said), "{words}");
    }
    assert_eq!(docker.lines("images --format json here")[0]["Containers"], "N/A");
    let push = docker.run("push nosuch");
    assert_eq!(
        push.stdout,
        "Using default tag: latest\nThe push refers to repository [docker.io/library/nosuch]\n"
    );
    let help = docker.run("image");
    assert_eq!(help.code, 0);
    assert!(help.stderr.contains("Usage: docker image"), "{}", help.stderr);
    let asked = docker.ok("image prune");
    assert!(asked.starts_with("WARNING! This will remove all dangling images.\nAre you sure "), "{asked}");
    assert!(docker.ok("container prune").starts_with("WARNING! This will remove all stopped containers.\n"));
}

/// `docker push`, then `docker inspect --format '{{index .RepoDigests 0}}'`, and that name is given to a machine that pulls it.
#[test]
fn digests_are_the_registry_s() {
    let docker = Docker::new();
    let registry = Registry::shared();
    let name = registry.reference("as-docker/digests", "one");
    docker.sandbox.write("ctx/Dockerfile", "FROM localhost/bb\nRUN echo new > /new\n");
    docker.ok(&format!("build -q --network none -t {name} {}", docker.sandbox.path("ctx").display()));
    let push = docker.ok(&format!("push {name}"));
    let digest = push.split(' ').find(|word| word.starts_with("sha256:")).expect("a digest").to_owned();
    let repository = name.trim_end_matches(":one");
    assert!(
        push.starts_with(&format!("The push refers to repository [{repository}]\none: digest: ")),
        "{push}"
    );
    let by_digest = format!("{repository}@{digest}");
    let digests = |typed: &str| docker.json(&format!("image inspect {typed}"))[0]["RepoDigests"].clone();
    assert_eq!(digests(&name), Value::from(vec![by_digest.clone()]));
    assert!(docker.ok(&format!("images --digests {repository}")).contains(&digest));
    assert_eq!(docker.ok(&format!("push -q {name}")), name);
    // Another image is known by the name that it has here as long as no registry has it.
    docker.ok(&format!("tag {name} own:1"));
    let all = digests("own:1").as_array().cloned().expect("a list");
    assert_eq!(all.len(), 2, "{all:?}");
    docker.ok(&format!("rmi {name}"));
    let pull = docker.ok(&format!("pull {name}"));
    assert_eq!(pull.lines().next(), Some("one: Pulling from as-docker/digests"));
    assert!(pull.contains(&format!("\nDigest: {digest}\n")), "{pull}");
    assert_eq!(docker.ok(&format!("run --rm --net none {by_digest} cat /new")), "new");

    let list = registry.reference("as-docker/digests", "list");
    let created = docker.ok(&format!("manifest create --insecure {list} {name}"));
    assert_eq!(created, format!("Created manifest list {list}"));
    assert_eq!(docker.ok(&format!("manifest annotate {list} {name} --os-version 1")), "");
    let again = docker.run(&format!("manifest create {list} {name}"));
    assert!(again.fails(1).contains("refusing to amend an existing manifest list with no --amend flag"));
    let index = docker.ok(&format!("manifest push --purge {list}"));
    let index = index.lines().next_back().unwrap_or_default().to_owned();
    let pull = docker.ok(&format!("pull {list}"));
    assert!(pull.contains(&format!("\nDigest: {index}\n")), "{pull}");
    assert!(
        docker.run(&format!("manifest inspect {repository}:nosuch")).fails(1).contains("no such manifest: ")
    );
}
