//! `kube play`: what it has made when it is interrupted, or cannot go on; and pods of one manifest beside each other.

mod common;

use common::Sandbox;
use common::kube::{manifest, play, sleeping};
use rustix::process::Signal;

#[test]
fn an_interrupted_play_takes_down_what_it_has_made() {
    let sandbox = Sandbox::new();
    let first = manifest(&sandbox, "first.yaml", "kind: PersistentVolumeClaim\nmetadata: {name: old}\n");
    play(&sandbox, &first, &[]).ok();
    let pods = |begins: &str| {
        let claims = "kind: PersistentVolumeClaim\nmetadata: {name: v}\n---\nkind: PersistentVolumeClaim\nmetadata: {name: old}\n";
        let secret = "kind: Secret\nmetadata: {name: s}\nstringData: {a: b}\n";
        let one = "kind: Pod\nmetadata: {name: one}\nspec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: bb, command: [sleep, '1000']}]}\n";
        let two = format!(
            "kind: Pod\nmetadata: {{name: two}}\nspec: {{terminationGracePeriodSeconds: 0, {begins} containers: [{{name: c, image: bb, command: [sleep, '1000']}}]}}\n"
        );
        manifest(&sandbox, "pods.yaml", &[claims, secret, one, &two].join("---\n"))
    };
    let endless = "initContainers: [{name: i, image: bb, command: [sleep, '1000']}],";
    for (flags, signal, code) in [(&[][..], Signal::TERM, 143), (&["--wait"], Signal::INT, 130)] {
        let file = pods(endless);
        let playing =
            sandbox.command([&["kube", "play", "--network=none"], flags, &[file.as_str()]].concat()).spawn();
        sandbox.wait_until(&["ps", "--filter=name=two-i", "--format={{.State}}"], "running");
        playing.signal(signal);
        let ended = playing.wait();
        assert_eq!(ended.code, code, "{flags:?} {ended:?}");
        assert!(
            ended.stdout.contains("Cleaning up") && ended.stdout.ends_with("Volumes removed:\nv\n"),
            "{ended:?}"
        );
        assert_eq!(sandbox.ok(["ps", "-aq"]), "", "{flags:?}");
        assert_eq!(sandbox.ok(["pod", "ps", "-q"]), "");
        assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "old");
        assert_eq!(sandbox.ok(["secret", "ls", "-q"]), "");
    }
}

#[test]
fn what_cannot_be_planned_is_said_before_anything_is_made() {
    let sandbox = Sandbox::new();
    let text = format!(
        "kind: PersistentVolumeClaim\nmetadata: {{name: v}}\n---\n{}---\nkind: Pod\nmetadata: {{name: bad}}\nspec: {{containers: [{{name: c, image: bb, volumeMounts: [{{name: no, mountPath: /m}}]}}]}}\n",
        sleeping("", "")
    );
    let refused = play(&sandbox, &manifest(&sandbox, "p.yaml", &text), &[]);
    assert!(refused.fails(125).contains("volume mount no specified"), "{}", refused.stderr);
    assert_eq!(
        (sandbox.ok(["pod", "ps", "-q"]), sandbox.ok(["volume", "ls", "-q"])),
        (String::new(), String::new())
    );
}

#[test]
fn pods_of_one_manifest_have_files_of_their_own() {
    let sandbox = Sandbox::new();
    let pod = |name: &str, items: &str| {
        format!(
            "---\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers: [{{name: c, image: bb, command: [sleep, '1000'], volumeMounts: [{{name: f, mountPath: /f}}]}}]\n  \
            terminationGracePeriodSeconds: 0\n  volumes: [{{name: f, configMap: {{name: x{items}}}}}]\n"
        )
    };
    let map = "kind: ConfigMap\nmetadata: {name: x}\ndata: {k: one, l: two}\n";
    let text = [
        map.to_owned(),
        pod("a", ", items: [{key: k, path: k}]"),
        pod("b", ", items: [{key: l, path: l}]"),
        pod("c", ", items: [{key: k, path: k}]"),
        pod("d", ""),
    ];
    let file = manifest(&sandbox, "p.yaml", &text.concat());
    play(&sandbox, &file, &[]).ok();
    for (container, want) in [("a-c", "k"), ("b-c", "l"), ("c-c", "k"), ("d-c", "k\nl")] {
        assert_eq!(sandbox.ok(["exec", container, "ls", "/f"]), want, "{container}");
    }
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "x\nx-b-f\nx-d-f");
    sandbox.ok(["kube", "down", "--force", &file]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}

#[test]
fn what_play_has_made_is_found_again() {
    let sandbox = Sandbox::new();
    let text = "kind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: bb\n    command: [sleep, '1000']\n    \
        startupProbe: {exec: {command: ['true']}, periodSeconds: 1}\n    volumeMounts: [{name: m, mountPath: /m}, {name: v, mountPath: /v}]\n  \
        volumes:\n  - name: m\n    emptyDir: {medium: Memory, sizeLimit: 1Mi}\n  - name: v\n    persistentVolumeClaim: {claimName: claim}\n";
    let file = sandbox.write("p.yaml", text).display().to_string();
    let played = sandbox.ketch(["kube", "play", "--network=none", &file]);
    assert!(played.code == 0 && played.stderr.is_empty(), "{}", played.stderr);
    assert_eq!(sandbox.inspect("p-c", "json .Config.StartupHealthCheck.Test"), r#"["CMD","true"]"#);
    assert_eq!(sandbox.inspect("p-c", "json .Config.Healthcheck.Test"), r#"["CMD-SHELL","exit 0"]"#);
    let manifest = sandbox.ok(["kube", "generate", "p"]);
    assert!(manifest.contains("medium: Memory\n      sizeLimit: 1Mi"), "{manifest}");
    sandbox.ok(["kube", "down", &file]);
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "claim");
    let down = sandbox.ok(["kube", "down", "--force", &file]);
    assert!(down.ends_with("Volumes removed:\nclaim"), "{down}");
    assert_eq!(sandbox.ok(["volume", "ls", "-q"]), "");
}
