//! Tables of what each rule says.

use super::*;
use crate::base::dockerfile::parse;

fn remarks(text: &str, options: &str, args: &[(&str, &str)]) -> Vec<Warning> {
    let file = parse(text).unwrap();
    let directive = file.directives.check.clone().unwrap_or_default();
    let options = Options::parse(if options.is_empty() { &directive } else { options }).unwrap();
    let args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let platform = BTreeMap::from([
        ("TARGETPLATFORM".to_owned(), "linux/amd64".to_owned()),
        ("BUILDPLATFORM".to_owned(), "linux/amd64".to_owned()),
    ]);
    let base = |name: &str| {
        (name != "unknown")
            .then(|| BaseFacts { env: vec!["HOME=/root".to_owned()], has_shell: name == "shelly" })
    };
    let around = Around {
        args: &args,
        platform: &platform,
        ignore: b"*.log\n",
        base: &base,
        needed: None,
        options: &options,
    };
    check(&file, text, &around)
}

#[test]
#[allow(clippy::too_many_lines)] // a table of the rules
fn each_rule_says_what_buildkit_says() {
    for (text, want) in [
        ("FROM a\nRUN b\nCMD [\"c\"]", ""),
        (
            "FROM a AS x\nFROM b AS x",
            "2 DuplicateStageName: Duplicate stage name \"x\", stage names should be unique",
        ),
        ("FROM a AS X", "1 StageNameCasing: Stage name 'X' should be lowercase"),
        ("FROM a as x", "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match"),
        ("from a AS x", "1 FromAsCasing: 'AS' and 'from' keywords' casing do not match"),
        (
            "FROM a AS context",
            "1 ReservedStageName: Stage name should not use the same name as reserved stage \"context\"",
        ),
        ("FROM a\nCOPY x \\\n\n /y\n", "4 NoEmptyContinuation: Empty continuation line"),
        ("FROM a\nRUN x \\\n# comment\n y\n", ""),
        (
            "FROM a\nrun b\nRUN c",
            "2 ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase)",
        ),
        (
            "FROM a\nrun b\nrun c",
            "1 ConsistentInstructionCasing: Command 'FROM' should match the case of the command majority (lowercase)",
        ),
        (
            "FROM a\nRun b\nRUN c",
            "2 ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (uppercase)",
        ),
        (
            "FROM a\nCMD b",
            "2 JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ),
        ("FROM a\nSHELL [\"/bin/sh\"]\nCMD b", ""),
        ("FROM shelly\nENTRYPOINT b", ""),
        (
            "FROM a\nMAINTAINER me",
            "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label",
        ),
        (
            "FROM a\nCMD [\"b\"]\nCMD [\"c\"]",
            "2 MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        ),
        (
            "FROM a\nHEALTHCHECK CMD x\nHEALTHCHECK NONE",
            "2 MultipleInstructionsDisallowed: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used",
        ),
        (
            "FROM a\nWORKDIR b",
            "2 WorkdirRelativePath: Relative workdir \"b\" can have unexpected results if the base image changes",
        ),
        ("FROM a AS s\nWORKDIR /a\nWORKDIR b\nFROM s\nWORKDIR c", ""),
        ("FROM a\nENV D=/x\nWORKDIR $D", ""),
        (
            "FROM a\nENV DB_PASSWORD=x",
            "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"DB_PASSWORD\")",
        ),
        (
            "FROM a\nARG GITHUB_TOKEN\nENV PUBLIC_KEY=x TOKEN_FILE=/x KEYBOARD=us",
            "2 SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"GITHUB_TOKEN\")",
        ),
        (
            "FROM a\nENV a b",
            "2 LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
        ),
        ("FROM a\nLABEL \"a b\"=c d=e\nENV 'x y'=z", ""),
        (
            "FROM a\nLABEL a b",
            "2 LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format",
        ),
        (
            "FROM a\nEXPOSE 80/TCP",
            "2 ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
        ),
        (
            "FROM a\nEXPOSE 8080:80",
            "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '8080:80'",
        ),
        (
            "FROM a:$V",
            "1 InvalidDefaultArgInFrom: Default value for ARG a:$V results in empty or invalid base image name|1 UndefinedArgInFrom: FROM argument 'V' is not declared",
        ),
        (
            "ARG VERSION=1\nFROM a:${VERSON:-2}",
            "2 UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?)",
        ),
        (
            "ARG V\nFROM a:$V",
            "2 InvalidDefaultArgInFrom: Default value for ARG a:$V results in empty or invalid base image name",
        ),
        ("ARG V=1\nFROM a:$V", ""),
        (
            "FROM --platform=$TARGETPLATFORM a",
            "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        ),
        (
            "FROM --platform=linux/arm64 a",
            "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/arm64\"",
        ),
        ("FROM --platform=linux/arm64 a AS build-arm64\nFROM --platform=$BUILDPLATFORM a", ""),
        ("FROM a\nCOPY $foo .", "2 UndefinedVar: Usage of undefined variable '$foo'"),
        (
            "FROM a\nENV DIRECTORY=/x\nWORKDIR $DIRECTRY/x",
            "3 UndefinedVar: Usage of undefined variable '$DIRECTRY' (did you mean $DIRECTORY?)",
        ),
        ("FROM a\nARG x\nENV PATH=$PATH:$HOME:$x", ""),
        ("FROM a AS s\nARG x\nFROM s\nLABEL y=$x", ""),
        ("FROM unknown\nLABEL y=$x", ""),
        ("FROM a\nRUN echo $x", ""),
        ("# check=skip=JSONArgsRecommended\nFROM a\nCMD b", ""),
        ("# check=skip=all\nFROM a\nrun b\nCMD c", ""),
        ("FROM a\nCOPY x.log /\n# y about x\nARG x", ""),
    ] {
        let found: Vec<String> = remarks(text, "", &[])
            .iter()
            .map(|w| format!("{} {}: {}", w.lines.0, w.rule.name, w.message))
            .collect();
        let want: Vec<&str> = want.split('|').filter(|want| !want.is_empty()).collect();
        assert_eq!(found.len(), want.len(), "{text}: {found:?}");
        for (found, want) in found.iter().zip(want) {
            assert_eq!(found, want, "{text}");
        }
    }
}

#[test]
fn options_choose_rules() {
    let text = "FROM a\nCOPY x.log /\n# y about x\nARG x\nCMD b";
    let rules = |options| remarks(text, options, &[]).iter().map(|w| w.rule.name).collect::<Vec<_>>();
    assert_eq!(
        rules("experimental=all"),
        ["CopyIgnoredFile", "InvalidDefinitionDescription", "JSONArgsRecommended"]
    );
    assert_eq!(rules("skip=JSONArgsRecommended;experimental=CopyIgnoredFile"), ["CopyIgnoredFile"]);
    assert!(Options::parse("error=true; skip=A, B").unwrap().error);
    for bad in ["skip", "what=1", "error=perhaps"] {
        assert!(Options::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(remarks("FROM a:$V", "", &[("V", "1")]).len(), 2, "defaults are judged without arguments");
}

#[test]
fn rules_have_pages_and_short_forms() {
    let warning = remarks("FROM a\nCMD b", "", &[]).remove(0);
    assert_eq!(
        warning.rule.url().as_deref(),
        Some("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/")
    );
    assert!(warning.short().ends_with(" OS signals (line 2)"), "{}", warning.short());
}

#[test]
fn comments_stand_right_above() {
    let raw = ["# far", "", "# one", "#  two ", "FROM a"];
    assert_eq!(comments_above(&raw, 5), ["one", "two"]);
    assert!(comments_above(&raw, 3).is_empty());
}
