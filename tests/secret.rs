//! `ketch secret`.

mod common;

use common::Sandbox;

#[test]
fn are_made_listed_shown_and_removed() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(["secret", "ls", "-q"]), "");
    assert!(sandbox.ok(["secret", "ls"]).starts_with("ID"), "headings even without rows");
    let one =
        sandbox.command(["secret", "create", "-l=a=b", "one", "-"]).stdin("first").run().ok().to_owned();
    let two = sandbox
        .command(["secret", "create", "--env", "two", "VALUE"])
        .env("VALUE", "second")
        .run()
        .ok()
        .to_owned();
    assert_eq!(sandbox.ok(["secret", "ls", "-q", "--format={{.Name}} {{.Driver}}"]), "one file\ntwo file");
    assert_eq!(sandbox.ok(["secret", "ls", "-q", "--filter=name=tw"]), two);
    assert_eq!(sandbox.ok(["secret", "ls", "-q", "--filter=label=a=b"]), one);
    assert_eq!(sandbox.ok(["secret", "ls", "--noheading", "--filter=id=zz"]), "");
    assert_eq!(
        sandbox.ok([
            "secret",
            "inspect",
            "--format={{.Spec.Name}} {{.Spec.Labels.a}} {{.Spec.Driver.Name}}",
            &one
        ]),
        "one b file"
    );
    let shown = sandbox.ok(["secret", "inspect", "one"]);
    assert_eq!(sandbox.ok(["secret", "inspect", "--format=", "one"]), shown, "no template is the usual form");
    assert!(!shown.contains("SecretData") && !shown.contains("first"), "{shown}");
    assert_eq!(
        sandbox.ok(["secret", "inspect", "--showsecret", "--format={{.SecretData}}", "two"]),
        "second"
    );
    assert!(
        sandbox
            .ok(["secret", "inspect", "--pretty", "one"])
            .contains("Name:              one\nLabels:\n - a=b\n")
    );
    assert_eq!(sandbox.ketch(["secret", "exists", "one"]).code, 0);
    assert_eq!(sandbox.ketch(["secret", "exists", "none"]).code, 1);
    let missing = sandbox.ketch(["secret", "inspect", "none"]);
    assert_eq!(missing.stdout, "[]\n");
    assert!(
        missing.fails(125).contains("no secret with name or id \"none\": no such secret"),
        "{}",
        missing.stderr
    );
    assert_eq!(sandbox.ketch(["secret", "rm", "none"]).code, 125);
    assert_eq!(sandbox.ketch(["secret", "rm", "--ignore", "none"]).code, 0);
    assert_eq!(sandbox.ok(["secret", "rm", "--all"]), format!("{one}\n{two}"));
    assert_eq!(sandbox.ok(["secret", "ls", "-q"]), "");
}

#[test]
fn replacing_and_ignoring() {
    let sandbox = Sandbox::new();
    let create = |options: &[&str], value: &str| {
        let mut args = vec!["secret", "create"];
        args.extend(options);
        args.extend(["s", "-"]);
        sandbox.command(args).stdin(value).run()
    };
    let value = || sandbox.ok(["secret", "inspect", "--showsecret", "--format={{.SecretData}}", "s"]);
    let first = create(&[], "1").ok().to_owned();
    assert_eq!(create(&[], "2").code, 125);
    assert_eq!((create(&["--ignore"], "2").ok(), value().as_str()), (first.as_str(), "1"));
    assert_ne!(create(&["--replace"], "3").ok(), first);
    assert_eq!(value(), "3");
    for (options, value, said) in [
        (&["--replace"][..], "", "larger than 0"),
        (&["--replace"], &*"x".repeat(600_000), "less than 512000"),
        (&["--driver=vault"], "x", "vault"),
        (&["--driver-opts=path=/elsewhere"], "x", "driver option path cannot work here"),
    ] {
        let output = create(options, value);
        assert!(output.fails(125).contains(said), "{options:?}: {}", output.stderr);
    }
    let output = sandbox.ketch(["secret", "create", "a/b", "/etc/hostname"]);
    assert!(output.fails(125).contains("secret name"), "{}", output.stderr);
}
