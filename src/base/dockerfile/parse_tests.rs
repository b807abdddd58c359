use super::*;
use crate::base::dockerfile::expand::Expander;

fn one(text: &str) -> Instruction {
    let file = parse(&format!("FROM x\n{text}")).unwrap_or_else(|err| panic!("{text}: {err}"));
    file.lines[1].instruction.clone()
}

fn err(text: &str) -> DockerfileError {
    parse(&format!("FROM x\n{text}")).map(|_| ()).expect_err(text)
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

fn shell(text: &str) -> Command {
    Command::Shell(text.into())
}

fn exec(words: &[&str]) -> Command {
    Command::Exec(words.iter().map(|&word| word.into()).collect())
}

#[test]
fn from_in_every_form() {
    for (text, image, platform, name) in [
        ("FROM ubuntu", "ubuntu", None, None),
        ("FROM ubuntu:22.04 AS Base", "ubuntu:22.04", None, Some("base")),
        ("from --platform=linux/amd64 a@sha256:0 as b-1", "a@sha256:0", Some("linux/amd64"), Some("b-1")),
        ("FROM --platform=$BUILDPLATFORM ${A:-b}", "${A:-b}", Some("$BUILDPLATFORM"), None),
        ("FROM scratch", "scratch", None, None),
    ] {
        let file = parse(text).unwrap();
        let Instruction::From(from) = &file.lines[0].instruction else { panic!("{text}") };
        assert_eq!(from.image.text, image);
        assert_eq!(from.platform.as_ref().map(|word| word.text.as_str()), platform);
        assert_eq!(from.name.as_deref(), name);
    }
}

#[test]
fn commands_in_both_forms() {
    for (text, want) in [
        ("CMD [\"a\", \"-b\"]", Instruction::Cmd(exec(&["a", "-b"]))),
        ("CMD echo \"$HOME\" && x", Instruction::Cmd(shell("echo \"$HOME\" && x"))),
        ("CMD ['a']", Instruction::Cmd(shell("['a']"))),
        ("CMD []", Instruction::Cmd(exec(&[]))),
        ("ENTRYPOINT [\"top\", \"-b\"]", Instruction::Entrypoint(exec(&["top", "-b"]))),
        ("entrypoint exec top -b", Instruction::Entrypoint(shell("exec top -b"))),
        ("SHELL [\"/bin/bash\", \"-c\"]", Instruction::Shell(vec!["/bin/bash".into(), "-c".into()])),
        ("MAINTAINER A B <a@b>", Instruction::Maintainer("A B <a@b>".into())),
        ("ONBUILD RUN make", Instruction::Onbuild("RUN make".into())),
        ("ONBUILD RUN <<E\nx\nE\n", Instruction::Onbuild("RUN <<E\nx\nE".into())),
        ("HEALTHCHECK NONE", Instruction::Healthcheck(Health::None)),
    ] {
        assert_eq!(one(text), want, "{text}");
    }
}

#[test]
fn run_with_mounts_and_heredocs() {
    let Instruction::Run(run) = one(
        "RUN --mount=type=cache,target=/c --mount=type=secret,id=s --network=none --security=sandbox \\\n  apt-get update && \\\n  apt-get install -y x",
    ) else {
        panic!()
    };
    assert_eq!(texts(&run.flags.mounts), ["type=cache,target=/c", "type=secret,id=s"]);
    assert_eq!(run.flags.network.unwrap().text, "none");
    assert_eq!(run.command, shell("apt-get update &&   apt-get install -y x"));
    let Instruction::Run(run) = one("RUN [\"/bin/bash\", \"-c\", \"echo hello\"]") else { panic!() };
    assert_eq!(run.command, exec(&["/bin/bash", "-c", "echo hello"]));
    let Instruction::Run(run) = one("RUN python3 <<EOF > /hello\nprint(1)\nEOF\n") else { panic!() };
    assert_eq!(run.command, shell("python3 <<EOF > /hello"));
    assert_eq!(run.heredocs[0].content, "print(1)\n");
}

#[test]
fn copies_and_adds() {
    let transfer = |text| match one(text) {
        Instruction::Transfer(transfer) => transfer,
        other => panic!("{other:?}"),
    };
    let copy = transfer(
        "COPY --from=build --chown=1:2 --chmod=644 --link --parents --exclude=*.o --exclude=b a b /c/",
    );
    assert_eq!(copy.flags.from.unwrap().text, "build");
    assert_eq!((copy.flags.link, copy.flags.parents, copy.flags.exclude.len()), (true, true, 2));
    assert_eq!(copy.sources.len(), 2);
    assert_eq!(copy.target.text, "/c/");
    let json = transfer("COPY [\"a b\", \"$c/\"]");
    let Source::Path(source) = &json.sources[0] else { panic!() };
    assert_eq!(source.text, "a b");
    let docs = transfer("COPY <<one <<'two' plain /d/\n1 $v\none\n2\ntwo");
    assert!(matches!(&docs.sources[0], Source::Heredoc(doc) if doc.expand && doc.content == "1 $v\n"));
    assert!(matches!(&docs.sources[1], Source::Heredoc(doc) if !doc.expand));
    assert!(matches!(&docs.sources[2], Source::Path(word) if word.text == "plain"));
    let add = transfer("ADD --checksum=sha256:00 --keep-git-dir=true --unpack=false https://a/b.tar /x")
        .add
        .unwrap();
    assert_eq!(
        (add.checksum.unwrap().text.as_str(), add.keep_git_dir, add.unpack),
        ("sha256:00", true, Some(false))
    );
}

#[test]
fn json_words_mean_themselves() {
    let Instruction::Volume(words) = one(r#"VOLUME ["/a b", "/it's", "/$v\\x"]"#) else { panic!() };
    let how = Expander { lookup: &|name| (name == "v").then(|| "value".into()), escape: '\\' };
    let read: Vec<String> = words.iter().map(|word| how.word(&word.text).unwrap()).collect();
    assert_eq!(read, ["/a b", "/it's", "/value\\x"]);
}

#[test]
fn pairs_and_lists() {
    let pairs = |text| match one(text) {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            pairs.into_iter().map(|(key, value)| (key.text, value.text)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let own = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(pairs("ENV a=b c=\"d e\" f=g\\ h"), own(&[("a", "b"), ("c", "\"d e\""), ("f", "g\\ h")]));
    assert_eq!(pairs("ENV a b  c=d "), own(&[("a", "b  c=d")]));
    assert_eq!(pairs("LABEL \"x.y\"=\"a\" \\\n  z=1"), own(&[("\"x.y\"", "\"a\""), ("z", "1")]));
    assert_eq!(pairs("ENV a="), own(&[("a", "")]));
    let Instruction::Arg(args) = one("ARG a b=1 c=\"x y\"") else { panic!() };
    let values: Vec<_> =
        args.iter().map(|(name, value)| (name.as_str(), value.as_ref().map(|v| v.text.as_str()))).collect();
    assert_eq!(values, [("a", None), ("b", Some("1")), ("c", Some("\"x y\""))]);
    let Instruction::Expose(words) = one("EXPOSE 80/tcp 443 $p") else { panic!() };
    assert_eq!(texts(&words), ["80/tcp", "443", "$p"]);
    let Instruction::Volume(words) = one("VOLUME /a /b") else { panic!() };
    assert_eq!(texts(&words), ["/a", "/b"]);
    let Instruction::User(word) = one("USER me:staff") else { panic!() };
    assert_eq!(word.text, "me:staff");
    let Instruction::Workdir(word) = one("WORKDIR /a/$b") else { panic!() };
    assert_eq!((word.text.as_str(), word.at), ("/a/$b", Position { line: 2, column: 9 }));
    let Instruction::Healthcheck(Health::Check { command, flags }) = one(
        "HEALTHCHECK --interval=5m --timeout=3s --retries=2 \\\n  CMD curl -f http://localhost/ || exit 1",
    ) else {
        panic!()
    };
    assert_eq!(command, shell("curl -f http://localhost/ || exit 1"));
    assert_eq!((flags.interval, flags.timeout, flags.retries), (300_000_000_000, 3_000_000_000, 2));
}

#[test]
fn mistakes_and_their_places() {
    for (text, column, part) in [
        ("RNU x", 1, "unknown instruction: RNU"),
        ("COPY a", 6, "at least two"),
        ("COPY --form=a b c", 6, "unknown flag: --form"),
        ("COPY --chown a b", 6, "missing a value"),
        ("CMD [\"a\", 1]", 5, "arrays must be comprised of strings only"),
        ("FROM", 5, "FROM requires either one or three arguments"),
        ("USER", 5, "USER requires exactly one argument"),
        ("COPY --link=maybe a b", 6, "boolean"),
        ("RUN", 4, "at least one argument"),
        ("RUN --mount=type=cache x", 5, "needs a target"),
        ("RUN --network=some x", 5, "invalid value"),
        ("ENV a", 5, "two arguments"),
        ("ENV a=b c", 9, "can't find ="),
        ("ENV =b", 5, "blank"),
        ("SHELL /bin/sh", 7, "JSON"),
        ("HEALTHCHECK FOO", 13, "Unknown type"),
        ("HEALTHCHECK --interval=1x CMD a", 13, "--interval"),
        ("HEALTHCHECK CMD", 16, "Missing command"),
        ("STOPSIGNAL a b", 12, "exactly one"),
        ("ONBUILD FROM a", 9, "FROM isn't allowed"),
        ("ONBUILD ONBUILD RUN a", 9, "Chaining"),
        ("ONBUILD COPY a", 14, "at least two"),
        ("FROM a b", 8, "one or three"),
        ("FROM a AS 1b", 11, "invalid name"),
        ("EXPOSE --x 80", 8, "unknown flag"),
    ] {
        let err = err(text);
        assert!(err.message.contains(part), "{text}: {err}");
        assert_eq!(err.at, Position { line: 2, column }, "{text}: {err}");
    }
    assert_eq!(err("RNU x").message, "unknown instruction: RNU (did you mean RUN?)");
    assert_eq!(parse("RUN x").unwrap_err().at, Position { line: 1, column: 1 });
    assert!(parse("").is_err() && parse("ARG a=b\n").is_err() && parse("# nothing\n").is_err());
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "(?s)(FROM|RUN|COPY|ADD|ENV|ARG|ONBUILD|HEALTHCHECK|VOLUME|SHELL| |\n|--|mount=|<<|E|=|\\[|\\]|\"|'|\\\\|a|ü|\\$|\\{|,){0,40}") {
        if let Ok(file) = parse(&text) {
            for line in file.lines {
                if let Instruction::Onbuild(trigger) = line.instruction {
                    parse_trigger(&trigger).ok();
                }
            }
        }
    }
}
