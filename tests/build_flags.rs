//! `build`: flags that change what steps see, and where output goes.

mod common;

use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Command;

use common::{Output, Sandbox, last_line};

/// Builds from the sandbox's directory `ctx`, whose Dockerfile is `text`.
fn build(sandbox: &Sandbox, text: &str, args: &[&str]) -> Output {
    sandbox.write("ctx/Dockerfile", text);
    let context = sandbox.path("ctx");
    sandbox.ketch([&["build", "--network=none", context.to_str().expect("UTF-8")], args].concat())
}

#[test]
fn variables_of_env_stand_behind_every_from() {
    let sandbox = Sandbox::new();
    let text = "FROM bb AS a\nENV Q=2\nRUN echo 1-$Q-$Z$container\nFROM a\nARG Z=arg\nRUN echo 2-$Q-$Z\nENV V=${Z}v Z=last\n";
    let built = build(&sandbox, text, &["--env=Q=1", "--env", "Z=z", "-t", "x"]);
    let said = built.ok();
    assert!(said.contains("1-2-z\n") && said.contains("2-1-z\n"), "{said}");
    let env = sandbox.ok(["image", "inspect", "--format={{json .Config.Env}}", "x"]);
    assert!(env.contains("\"Q=1\"") && env.contains("\"Z=last\"") && env.contains("\"V=zv\""), "{env}");
    let told = build(&sandbox, "FROM bb\nENV container=oci\nRUN echo in-$container\n", &[]);
    assert!(told.ok().contains("in-oci\n"), "{}", told.stdout);
    // Another value is another step.
    let again = build(&sandbox, text, &["--env=Q=1", "--env", "Z=y"]);
    assert!(again.ok().contains("1-2-y\n"), "{}", again.stdout);
}

#[test]
fn a_log_file_gets_everything() {
    let sandbox = Sandbox::new();
    let log = sandbox.path("log");
    let built =
        build(&sandbox, "FROM bb\nRUN echo said\n", &["-t", "x:1", "--logfile", log.to_str().unwrap()]);
    assert_eq!(built.ok(), "");
    let text = sandbox.read("log");
    let id = sandbox.ok(["image", "inspect", "--format={{.Id}}", "x:1"]);
    assert!(text.contains("said\n") && text.contains("Successfully tagged localhost/x:1\n"), "{text}");
    assert_eq!(last_line(&text), id);
}

/// An overlay cannot change what belongs to a group that containers do not have.
#[test]
fn a_writable_bind_takes_files_of_foreign_groups() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/dir/file", "old\n");
    let dir = sandbox.path("ctx/dir");
    let groups = Command::new("id").arg("-G").output().expect("run id").stdout;
    let own = std::fs::metadata(&dir).expect("look at the directory").gid();
    let groups = String::from_utf8_lossy(&groups).into_owned();
    let Some(foreign) = groups.split_whitespace().filter_map(|gid| gid.parse().ok()).find(|gid| *gid != own)
    else {
        common::skip("needs a user with a second group");
        return;
    };
    for path in [&dir, &dir.join("file")] {
        chown(path, None, Some(foreign)).expect("give it to another group of the user");
    }
    let text = "FROM bb\nRUN --mount=type=bind,target=/c,rw echo new >> /c/dir/file && touch /c/dir/more && cat /c/dir/file && ls /c/dir\n";
    let built = build(&sandbox, text, &[]);
    assert!(built.ok().contains("old\nnew\nfile\nmore\n"), "{}", built.stdout);
    assert_eq!(sandbox.read("ctx/dir/file"), "old\n");
}

#[test]
fn files_and_arguments_as_buildkit_has_them() {
    let sandbox = Sandbox::new();
    sandbox.write("ctx/priv/f", "x");
    sandbox.write("ctx/a", "a");
    sandbox.write("ctx/b", "b");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(sandbox.path("ctx/priv"), private).unwrap();
    let text = "FROM bb AS base\nARG SET=one\nARG GIVEN\nRUN mkdir -m 711 /src && chown 5:6 /src && mkdir -m 750 /src/in && mkdir /there\n\
                FROM base\nRUN echo \"[$SET $GIVEN]\"\nENV KEPT=$SET\n\
                COPY priv /new\nCOPY --chmod=640 --chown=7:8 priv /owned/\nCOPY --from=base /src /copied\n\
                COPY a b /there\nCOPY a b /made\nCOPY a none* none?.json /some/\nCOPY *.nothing /none/\n\
                RUN stat -c '%n %a %u:%g' /new /owned /owned/f /copied /copied/in; ls /there /made /some; ls -d /none || true\n";
    let output = build(&sandbox, text, &["--build-arg=GIVEN=two", "-t", "made"]);
    let stdout = output.ok();
    assert!(stdout.contains("[one two]\n"), "ARGs go on to stages that go on: {stdout}");
    let want = "/new 755 0:0\n/owned 755 7:8\n/owned/f 640 7:8\n/copied 755 0:0\n/copied/in 750 0:0\n\
                /made:\na\nb\n\n/some:\na\n\n/there:\na\nb\n";
    assert!(stdout.contains(want), "{stdout}");
    let env = sandbox.ok(["image", "inspect", "made", "--format", "{{.Config.Env}} {{.Config.Healthcheck}}"]);
    assert!(env.contains("KEPT=one") && env.ends_with("<nil>"), "{env}");
    let history = sandbox.ok(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "made"]);
    assert!(history.contains("RUN |2 SET=one GIVEN=two /bin/sh -c echo"), "{history}");
    let missing = sandbox.ketch(["build", "--authfile=/nonexistent", "."]);
    assert!(missing.fails(125).contains("credential file is not accessible: faccessat /nonexistent"));
    // Nothing at all is an archive, and a directory, with nothing in it.
    sandbox.write("ctx/.dockerignore", "*\n");
    let dest = sandbox.path("empty.tar");
    build(&sandbox, "FROM scratch\nCOPY . /\n", &["-o", &format!("type=tar,dest={}", dest.display())]).ok();
    assert!(std::fs::read(&dest).unwrap().iter().all(|&b| b == 0));
    let dest = sandbox.path("empty");
    build(&sandbox, "FROM scratch\nCOPY . /\n", &["-o", dest.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_dir(&dest).unwrap().count(), 0);
}
