//! Attacks from a Dockerfile: what a RUN mounts comes from the context, a stage or a cache, never from the host.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::{Output, Sandbox};
use crate::races::Victim;

/// Builds `dockerfile` in the sandbox's context.
fn build(sandbox: &Sandbox, dockerfile: &str) -> Output {
    sandbox.write("ctx/Dockerfile", dockerfile);
    let context = sandbox.path("ctx").display().to_string();
    sandbox.ketch(["build", "--network=none", "--no-cache", "-t", "made", &context])
}

/// A build may be refused; it may not go wrong otherwise.
#[track_caller]
fn orderly(output: &Output) {
    assert!([0, 1, 125, 126, 127].contains(&output.code), "{}: {}", output.code, output.stderr);
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
}

/// SEC-14: the PoC of CVE-2024-1753: a source that is a link to `/`, in a stage and in the context.
#[test]
fn sec_14_sources_that_are_links_lead_to_their_own_root() {
    let sandbox = Sandbox::new();
    let victim = Victim::new(&sandbox);
    let path = victim.path();
    sandbox.write("ctx/inside", "of the context");
    for (name, target) in [("to-root", "/"), ("up", "../../../../../../../.."), ("to-victim", path.as_str())]
    {
        symlink(target, sandbox.path("ctx").join(name)).expect("make a link");
    }
    let write =
        |at: &str| format!("! test -e {at}{path}/kept && (touch {at}{path}/planted {at}/planted || true)");
    for (source, expected) in [
        ("--mount=type=bind,from=evil,source=/to-root,target=/m,rw", true),
        ("--mount=type=bind,from=evil,source=up,target=/m,rw", true),
        ("--mount=type=bind,from=evil,source=/to-victim,target=/m,rw", false),
        ("--mount=type=bind,from=evil,source=/to-root/to-root/to-root,target=/m,rw", true),
        ("--mount=type=bind,source=to-root,target=/m,rw", true),
        ("--mount=type=bind,source=up/up,target=/m,rw", true),
        ("--mount=type=bind,source=to-victim,target=/m,rw", false),
        ("--mount=type=bind,source=../../..,target=/m,rw", true),
    ] {
        let dockerfile = format!(
            "FROM bb AS evil\nRUN ln -s / /to-root && ln -s ../../../../.. /up && ln -s {path} /to-victim\nFROM bb\nRUN {source} {}\n",
            write("/m")
        );
        let output = build(&sandbox, &dockerfile);
        orderly(&output);
        // Where the link leads to something of its own root it is that, else it is refused.
        assert!(
            output.code == 0 || !expected || output.stderr.contains("Error: "),
            "{source}: {}",
            output.stderr
        );
        assert!(!output.stdout.contains("as it was"), "{source}: {}", output.stdout);
        victim.is_untouched();
    }
    assert_eq!(
        fs::read_dir(sandbox.path("ctx")).expect("list").count(),
        5,
        "nothing was written into the context"
    );
}

/// SEC-15: names of caches, options of mounts and targets that want out.
#[test]
fn sec_15_caches_and_options_do_not_lead_out() {
    let sandbox = Sandbox::new();
    let victim = Victim::new(&sandbox);
    let path = victim.path();
    let store = sandbox.store();
    for (mount, refused) in [
        ("type=cache,target=/c,id=../../../../home".to_owned(), false),
        (format!("type=cache,target=/c,id={path}"), false),
        (format!("type=cache,target=/c,id={}", "x/".repeat(3000)), false),
        (format!("type=cache,target=/c,source={path}"), false),
        ("type=cache,target=/c,source=../../../..".to_owned(), false),
        ("type=cache,target=/c,from=evil,source=/to-root".to_owned(), false),
        ("type=bind,target=/c,bind-propagation=rshared".to_owned(), true),
        ("type=bind,target=/c,bind-propagation=shared,rw".to_owned(), true),
        ("type=bind,target=/c,source=.:/host:rshared".to_owned(), true),
        ("type=cache,target=/proc/self/cwd".to_owned(), true),
        ("type=tmpfs,target=/proc".to_owned(), true),
        ("type=bind,target=/proc/self/fd/9".to_owned(), true),
        ("type=tmpfs,target=/c,size=1m,mode=7777,uid=0,exec,suid,dev".to_owned(), true),
    ] {
        let dockerfile = format!(
            "FROM bb AS evil\nRUN ln -s / /to-root\nFROM bb\nRUN --mount={mount} if test -e /c{path}/kept || test -e /c/victim || test -e /c/store; then exit 66; fi; touch /c/planted; grep -c ' shared:' /proc/self/mountinfo > /c/shared; cat /c/shared\n"
        );
        let output = build(&sandbox, &dockerfile);
        orderly(&output);
        assert!(
            !output.stderr.contains("status 66") && !output.stderr.contains("code 66"),
            "{mount}: it saw the host: {}",
            output.stderr
        );
        assert!(!refused || output.code != 0, "{mount}: {}", output.stdout);
        victim.is_untouched();
        assert!(
            !sandbox.path("planted").exists()
                && !sandbox.path("home/planted").exists()
                && !store.join("planted").exists(),
            "{mount}"
        );
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    assert!(!mounts.contains(store.to_str().expect("UTF-8")), "nothing is mounted outside: {mounts}");
}

/// How often the second stage mounts below what the first one swaps.
const STEPS: usize = 36;

/// SEC-16: two stages at a time share a cache, and one of them swaps directories of it for links while the other mounts there.
#[test]
fn sec_16_stages_that_race_in_a_shared_cache_stay_inside() {
    let sandbox = Sandbox::new();
    let victim = Victim::new(&sandbox);
    let path = victim.path();
    let swap = format!(
        "mkdir -p /c/real/x; ln -sfn {path} /c/link; touch /c/ready; \
         until test -e /c/done; do mv /c/real /c/t; mv /c/link /c/real; mv /c/real /c/link; mv /c/t /c/real; done"
    );
    let mut dockerfile = format!(
        "FROM bb AS swap\nRUN --mount=type=cache,id=s,target=/c {swap}; touch /swapped\nFROM bb AS mount\n"
    );
    dockerfile
        .push_str("RUN --mount=type=cache,id=s,target=/c until test -e /c/ready; do sleep 0.01; done\n");
    for n in 0..STEPS {
        let target = ["real/x", "real/new", "link/x", "real"][n % 4];
        let kind = ["type=tmpfs", "type=cache,id=other", "type=bind,source=f"][n % 3];
        dockerfile.push_str(&format!("RUN --mount=type=cache,id=s,target=/c --mount={kind},target=/c/{target}/{n} touch /c/{target}/{n}/planted; true\n"));
    }
    dockerfile.push_str("RUN --mount=type=cache,id=s,target=/c touch /c/done\nFROM bb\nCOPY --from=mount /etc/passwd /x\nCOPY --from=swap /swapped /y\n");
    sandbox.write("ctx/f", "of the context");
    sandbox.write("ctx/Dockerfile", &dockerfile);
    let context = sandbox.path("ctx").display().to_string();
    // A step may meet the link and be refused, which ends the build; then the next one tries again.
    for _ in 0..4 {
        let args = ["build", "--network=none", "--jobs=4", "-q", &context];
        let output = sandbox.command(args).deadline(std::time::Duration::from_secs(600)).run();
        orderly(&output);
        victim.is_untouched();
        if output.code == 0 {
            break;
        }
        assert!(output.stderr.contains("Error: "), "{}", output.stderr);
    }
    victim.is_untouched();
    assert!(sandbox.names().is_empty());
}

/// SEC-16: places that were made to mount on go again, and only those: not what a step has put in their way meanwhile.
#[test]
fn sec_16_what_is_cleaned_up_is_what_was_made() {
    let sandbox = Sandbox::new();
    let victim = Victim::new(&sandbox);
    let path = victim.path();
    sandbox.write("ctx/f", "of the context");
    let dockerfile = format!(
        "FROM bb\nRUN mkdir -p /precious /a && echo kept > /precious/stub && echo kept > /precious/kept\n\
         RUN --mount=type=bind,source=f,target=/a/b/stub mv /a /moved && ln -s /precious /a && mkdir /precious/b && echo kept > /precious/b/stub\n\
         RUN --mount=type=bind,source=f,target=/n/kept mv /n /moved2 && ln -s {path} /n\n\
         RUN cat /precious/stub /precious/b/stub /precious/kept && ls -ld /n\n"
    );
    let output = build(&sandbox, &dockerfile);
    orderly(&output);
    if output.code == 0 {
        assert!(output.stdout.contains("kept\nkept\nkept\n"), "{}", output.stdout);
    }
    victim.is_untouched();
}
