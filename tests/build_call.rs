//! `build --call`: remarks, outline and targets of a Dockerfile, as buildx shows them.

mod common;

use common::{Output, Sandbox};
use serde_json::Value;

fn call(sandbox: &Sandbox, text: &str, args: &[&str]) -> Output {
    sandbox.write("ctx/Dockerfile", text);
    let context = sandbox.path("ctx").display().to_string();
    sandbox.ketch([&["buildx", "build", "--network=none"], args, &[&context]].concat())
}

#[test]
fn remarks_read_like_buildkit() {
    let sandbox = Sandbox::new();
    let one = call(&sandbox, "FROM bb\nCMD echo hi\n", &["--check"]);
    assert_eq!(one.code, 1, "{}", one.stderr);
    assert_eq!(
        one.stdout,
        "Check complete, 1 warning has been found!\n\n\
         WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\n\
         JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n\
         Dockerfile:2\n--------------------\n   1 |     FROM bb\n   2 | >>> CMD echo hi\n   3 |     \n--------------------\n"
    );
    let none = call(&sandbox, "FROM bb\nCMD [\"x\"]\n", &["--call=check"]);
    assert_eq!(none.ok(), "Check complete, no warnings found.");
    let two = "FROM bb as x\nENV MY_TOKEN=1 PATH=$PATH:/x\nLABEL a=$HOEM\n";
    let found = call(&sandbox, two, &["--check"]);
    assert!(found.stdout.starts_with("Check complete, 3 warnings have been found!\n"), "{}", found.stdout);
    let json = call(&sandbox, two, &["--call=check,format=json,ignorestatus=true"]);
    let document: Value = serde_json::from_str(json.ok()).unwrap();
    let rules: Vec<&str> =
        document["warnings"].as_array().unwrap().iter().map(|w| w["ruleName"].as_str().unwrap()).collect();
    assert_eq!(rules, ["FromAsCasing", "SecretsUsedInArgOrEnv", "UndefinedVar"]);
    assert_eq!(document["warnings"][2]["location"]["ranges"][0]["start"]["line"], 3);
    let blank = call(&sandbox, "FROM bb\nCMD x\nFROM $NOPE\n", &["--check"]);
    assert_eq!(blank.code, 1);
    assert!(blank.stdout.contains("3 warnings have been found"), "{}", blank.stdout);
    assert!(blank.stderr.contains("base name ($NOPE) should not be blank"), "{}", blank.stderr);
    let broken = call(&sandbox, "FROM bb\nRNU x\n", &["--check"]);
    assert_eq!(broken.code, 1);
    assert!(broken.stderr.contains("unknown instruction: RNU (did you mean RUN?)"), "{}", broken.stderr);
}

#[test]
fn remarks_stand_at_the_end_of_a_build() {
    let sandbox = Sandbox::new();
    let text = "FROM bb\nWORKDIR x\nCMD echo hi\n";
    let plain = call(&sandbox, text, &["--progress=plain"]);
    plain.ok();
    let want = " 2 warnings found (use --check to expand):\n - WorkdirRelativePath: Relative workdir \"x\" can have \
                unexpected results if the base image changes (line 2)\n - JSONArgsRecommended: ";
    assert!(plain.stderr.contains(want), "{}", plain.stderr);
    let failed = call(&sandbox, "FROM bb\nCMD x\nRUN false\n", &["--progress=plain"]);
    assert!(failed.fails(1).contains(" 1 warning found"), "{}", failed.stderr);
    let skipped = call(&sandbox, &format!("# check=skip=all\n{text}"), &["--progress=plain"]);
    skipped.ok();
    assert!(!skipped.stderr.contains("warning"), "{}", skipped.stderr);
    // They may be errors: the file says so, or the command line.
    let refused = "lint violation found for rules: JSONArgsRecommended, WorkdirRelativePath";
    let by_file = call(&sandbox, &format!("# check=error=true\n{text}"), &[]);
    assert!(by_file.fails(125).contains(refused), "{}", by_file.stderr);
    let by_argument = call(&sandbox, text, &["--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true"]);
    assert!(by_argument.fails(125).contains(refused), "{}", by_argument.stderr);
    let unknown = call(&sandbox, "# check=what=1\nFROM bb\n", &[]);
    assert!(unknown.fails(125).contains("invalid check option \"what\""), "{}", unknown.stderr);
}

#[test]
fn targets_and_outlines_are_listed() {
    let sandbox = Sandbox::new();
    let text = "# GO_VERSION is the version of the language\nARG GO_VERSION=1.22\nARG UNUSED=1\nARG TAG=$GO_VERSION\n\n\
                # build makes the program\nFROM bb:${TAG} AS build\nARG DEBUG\nRUN --mount=type=secret,id=token,required=true \
                --mount=type=ssh true\nFROM scratch AS other\nARG ELSE=1\nFROM bb\nCOPY --from=build /a /b\n";
    let targets = call(&sandbox, text, &["--call=targets"]);
    assert_eq!(
        targets.ok(),
        "TARGET      DESCRIPTION\nbuild       makes the program\nother       \n(default)   "
    );
    let outline = call(&sandbox, text, &["--call=outline", "--target=build", "--build-arg=DEBUG=yes"]);
    assert_eq!(
        outline.ok(),
        "TARGET:        build\nDESCRIPTION:   makes the program\n\n\
         BUILD ARG    VALUE   DESCRIPTION\nGO_VERSION   1.22    is the version of the language\nTAG          1.22    \nDEBUG        yes     \n\n\
         SECRET   REQUIRED\ntoken    true\n\nSSH       REQUIRED\ndefault   \n"
    );
    let json = call(&sandbox, text, &["--print=outline,format=json"]);
    let document: Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(document["args"][0]["name"], "GO_VERSION");
    assert_eq!(document["secrets"][0]["required"], true);
    let json = call(&sandbox, text, &["--call=targets,format=json"]);
    let document: Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(document["targets"][2]["default"], true);
    assert_eq!(document["targets"][0]["base"], "bb:${TAG}");
    assert!(
        call(&sandbox, text, &["--call=nothing"]).fails(125).contains("choose from: build, check, outline")
    );
}
