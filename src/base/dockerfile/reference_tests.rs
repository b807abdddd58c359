//! Each example form of the Dockerfile reference (docs.docker.com/reference/dockerfile), section by section:
//! it is read, and its instructions are those that it shows; and what the reference forbids is refused at its place.

use super::parse;

/// Sections of the reference, the example, and its instructions as the history shows them.
const EXAMPLES: &[(&str, &str, &[&str])] = &[
    (
        "format",
        "# Comment\nFROM x\nRUN echo 'we are running some # of cool things'",
        &["FROM x", "RUN echo 'we are running some # of cool things'"],
    ),
    (
        "format: comment within",
        "FROM x\nRUN echo hello \\\n# comment\nworld",
        &["FROM x", "RUN echo hello world"],
    ),
    (
        "format: blanks before",
        "        # this is a comment-line\n    FROM x\n    RUN echo hello\nRUN echo world",
        &["FROM x", "RUN echo hello", "RUN echo world"],
    ),
    ("directive: syntax", "# syntax=docker/dockerfile:1\nFROM x", &["FROM x"]),
    (
        "directive: escape",
        "# escape=`\nFROM x\nCOPY testfile.txt c:\\\\\nRUN dir c:\\ `\n /s",
        &["FROM x", "COPY testfile.txt c:\\\\", "RUN dir c:\\  /s"],
    ),
    ("directive: check", "# check=skip=JSONArgsRecommended,StageNameCasing;error=true\nFROM x", &["FROM x"]),
    (
        "directive: after a comment it is one",
        "# About my dockerfile\n# directive=value\nFROM ImageName",
        &["FROM ImageName"],
    ),
    ("directive: unknown", "# unknowndirective=value\n# knowndirective=value\nFROM x", &["FROM x"]),
    (
        "environment",
        "FROM busybox\nENV FOO=/bar\nWORKDIR ${FOO}   # WORKDIR /bar\nADD . $FOO\nCOPY \\$FOO /quux",
        &[
            "FROM busybox",
            "ENV FOO=/bar",
            "WORKDIR ${FOO}   # WORKDIR /bar",
            "ADD . $FOO",
            "COPY \\$FOO /quux",
        ],
    ),
    (
        "environment: one line at a time",
        "FROM x\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc",
        &["FROM x", "ENV abc=hello", "ENV abc=bye def=$abc", "ENV ghi=$abc"],
    ),
    (
        "FROM: ARG before it",
        "ARG  CODE_VERSION=latest\nFROM base:${CODE_VERSION}\nCMD  /code/run-app\n\nFROM extras:${CODE_VERSION}\nCMD  /code/run-extras",
        &[
            "ARG CODE_VERSION=latest",
            "FROM base:${CODE_VERSION}",
            "CMD /code/run-app",
            "FROM extras:${CODE_VERSION}",
            "CMD /code/run-extras",
        ],
    ),
    (
        "FROM: platform, digest, name",
        "FROM --platform=linux/amd64 alpine@sha256:0123 AS build",
        &["FROM --platform=linux/amd64 alpine@sha256:0123 AS build"],
    ),
    (
        "RUN: heredoc",
        "FROM x\nRUN <<EOF\napt-get update\napt-get install -y curl\nEOF",
        &["FROM x", "RUN <<EOF (apt-get update...)"],
    ),
    (
        "RUN: shell form",
        "FROM x\nRUN source $HOME/.bashrc && \\\necho $HOME",
        &["FROM x", "RUN source $HOME/.bashrc && echo $HOME"],
    ),
    (
        "RUN: exec form",
        "FROM x\nRUN [\"/bin/bash\", \"-c\", \"echo hello\"]",
        &["FROM x", "RUN [\"/bin/bash\", \"-c\", \"echo hello\"]"],
    ),
    (
        "RUN: cache mounts",
        "# syntax=docker/dockerfile:1\nFROM golang\nRUN --mount=type=cache,target=/root/.cache/go-build \\\n  go build ...",
        &["FROM golang", "RUN --mount=type=cache,target=/root/.cache/go-build   go build ..."],
    ),
    (
        "RUN: apt caches",
        "FROM ubuntu\nRUN rm -f /etc/apt/apt.conf.d/docker-clean\nRUN --mount=type=cache,target=/var/cache/apt,sharing=locked \\\n  --mount=type=cache,target=/var/lib/apt,sharing=locked \\\n  apt update && apt-get --no-install-recommends install -y gcc",
        &[
            "FROM ubuntu",
            "RUN rm -f /etc/apt/apt.conf.d/docker-clean",
            "RUN --mount=type=cache,target=/var/cache/apt,sharing=locked   --mount=type=cache,target=/var/lib/apt,sharing=locked   apt update && apt-get --no-install-recommends install -y gcc",
        ],
    ),
    (
        "RUN: secret",
        "FROM python:3\nRUN pip install awscli\nRUN --mount=type=secret,id=aws,target=/root/.aws/credentials \\\n  aws s3 cp s3://... ...\nRUN --mount=type=secret,id=API_KEY,env=API_KEY some-command",
        &[
            "FROM python:3",
            "RUN pip install awscli",
            "RUN --mount=type=secret,id=aws,target=/root/.aws/credentials   aws s3 cp s3://... ...",
            "RUN --mount=type=secret,id=API_KEY,env=API_KEY some-command",
        ],
    ),
    (
        "RUN: ssh",
        "FROM alpine\nRUN --mount=type=ssh \\\n  ssh -q -T git@gitlab.com 2>&1 | tee /hello",
        &["FROM alpine", "RUN --mount=type=ssh   ssh -q -T git@gitlab.com 2>&1 | tee /hello"],
    ),
    (
        "RUN: network",
        "FROM python:3.6\nADD mypackage.tgz wheels/\nRUN --network=none pip install --find-links wheels mypackage",
        &[
            "FROM python:3.6",
            "ADD mypackage.tgz wheels/",
            "RUN --network=none pip install --find-links wheels mypackage",
        ],
    ),
    (
        "RUN: security",
        "FROM ubuntu\nRUN --security=insecure cat /proc/self/status | grep CapEff",
        &["FROM ubuntu", "RUN --security=insecure cat /proc/self/status | grep CapEff"],
    ),
    (
        "CMD",
        "FROM ubuntu\nCMD echo \"This is a test.\" | wc -\nCMD [\"/usr/bin/wc\",\"--help\"]",
        &["FROM ubuntu", "CMD echo \"This is a test.\" | wc -", "CMD [\"/usr/bin/wc\",\"--help\"]"],
    ),
    (
        "LABEL",
        "FROM x\nLABEL \"com.example.vendor\"=\"ACME Incorporated\"\nLABEL com.example.label-with-value=\"foo\"\nLABEL description=\"This text illustrates \\\nthat label-values can span multiple lines.\"",
        &[
            "FROM x",
            "LABEL \"com.example.vendor\"=\"ACME Incorporated\"",
            "LABEL com.example.label-with-value=\"foo\"",
            "LABEL description=\"This text illustrates that label-values can span multiple lines.\"",
        ],
    ),
    (
        "LABEL: several",
        "FROM x\nLABEL multi.label1=\"value1\" \\\n      multi.label2=\"value2\"\nLABEL example='foo-$ENV_VAR'",
        &[
            "FROM x",
            "LABEL multi.label1=\"value1\"       multi.label2=\"value2\"",
            "LABEL example='foo-$ENV_VAR'",
        ],
    ),
    ("MAINTAINER", "FROM x\nMAINTAINER <name>", &["FROM x", "MAINTAINER <name>"]),
    ("EXPOSE", "FROM x\nEXPOSE 80/tcp\nEXPOSE 80/udp", &["FROM x", "EXPOSE 80/tcp", "EXPOSE 80/udp"]),
    (
        "ENV",
        "FROM x\nENV MY_NAME=\"John Doe\"\nENV MY_DOG=Rex\\ The\\ Dog\nENV MY_CAT=fluffy\nENV ONE TWO= THREE=world",
        &[
            "FROM x",
            "ENV MY_NAME=\"John Doe\"",
            "ENV MY_DOG=Rex\\ The\\ Dog",
            "ENV MY_CAT=fluffy",
            "ENV ONE TWO= THREE=world",
        ],
    ),
    (
        "ENV: for one command",
        "FROM x\nRUN DEBIAN_FRONTEND=noninteractive apt-get update && apt-get install -y ...",
        &["FROM x", "RUN DEBIAN_FRONTEND=noninteractive apt-get update && apt-get install -y ..."],
    ),
    (
        "ADD",
        "FROM x\nADD file1.txt file2.txt /usr/src/things/\nADD https://example.com/archive.zip /usr/src/things/\nADD git@github.com:user/repo.git /usr/src/things/",
        &[
            "FROM x",
            "ADD file1.txt file2.txt /usr/src/things/",
            "ADD https://example.com/archive.zip /usr/src/things/",
            "ADD git@github.com:user/repo.git /usr/src/things/",
        ],
    ),
    (
        "ADD: patterns",
        "FROM x\nADD *.png /dest/\nADD index.?s /dest/\nADD arr[[]0].txt /dest/",
        &["FROM x", "ADD *.png /dest/", "ADD index.?s /dest/", "ADD arr[[]0].txt /dest/"],
    ),
    (
        "ADD: git",
        "FROM alpine\nADD --keep-git-dir=true https://github.com/moby/buildkit.git#v0.10.1 /buildkit",
        &["FROM alpine", "ADD --keep-git-dir=true https://github.com/moby/buildkit.git#v0.10.1 /buildkit"],
    ),
    (
        "ADD: checksum",
        "FROM x\nADD --checksum=sha256:24454f830c http://mirrors/linux-0.01.tar.gz /",
        &["FROM x", "ADD --checksum=sha256:24454f830c http://mirrors/linux-0.01.tar.gz /"],
    ),
    (
        "ADD: unpack",
        "FROM x\nADD --unpack=true https://example.com/archive.tar.gz /download\nADD --unpack=false my-archive.tar.gz .",
        &[
            "FROM x",
            "ADD --unpack=true https://example.com/archive.tar.gz /download",
            "ADD --unpack=false my-archive.tar.gz .",
        ],
    ),
    (
        "COPY",
        "FROM x\nCOPY file1.txt file2.txt /usr/src/things/\nCOPY [\"a b\", \"/c d/\"]",
        &["FROM x", "COPY file1.txt file2.txt /usr/src/things/", "COPY [\"a b\", \"/c d/\"]"],
    ),
    (
        "COPY: from",
        "FROM alpine AS build\nCOPY . .\nFROM scratch\nCOPY --from=build /myapp /usr/bin/\nCOPY --from=nginx:latest /etc/nginx/nginx.conf /nginx.conf",
        &[
            "FROM alpine AS build",
            "COPY . .",
            "FROM scratch",
            "COPY --from=build /myapp /usr/bin/",
            "COPY --from=nginx:latest /etc/nginx/nginx.conf /nginx.conf",
        ],
    ),
    (
        "COPY: owners and modes",
        "FROM x\nCOPY --chown=55:mygroup files* /somedir/\nCOPY --chown=bin files* /somedir/\nCOPY --chown=1 files* /somedir/\nCOPY --chown=10:11 files* /somedir/\nCOPY --chown=myuser:mygroup --chmod=644 files* /somedir/\nADD --chmod=u=rwX,go=rX . /app/",
        &[
            "FROM x",
            "COPY --chown=55:mygroup files* /somedir/",
            "COPY --chown=bin files* /somedir/",
            "COPY --chown=1 files* /somedir/",
            "COPY --chown=10:11 files* /somedir/",
            "COPY --chown=myuser:mygroup --chmod=644 files* /somedir/",
            "ADD --chmod=u=rwX,go=rX . /app/",
        ],
    ),
    ("COPY: link", "FROM alpine\nCOPY --link /foo /bar", &["FROM alpine", "COPY --link /foo /bar"]),
    (
        "COPY: parents",
        "FROM scratch\nCOPY ./x/a.txt ./y/a.txt /no_parents/\nCOPY --parents ./x/a.txt ./y/a.txt /parents/\nCOPY --parents ./x/./y/*.txt /parents/",
        &[
            "FROM scratch",
            "COPY ./x/a.txt ./y/a.txt /no_parents/",
            "COPY --parents ./x/a.txt ./y/a.txt /parents/",
            "COPY --parents ./x/./y/*.txt /parents/",
        ],
    ),
    (
        "COPY: exclude",
        "FROM scratch\nCOPY --exclude=*.txt --exclude=*.md hom* /mydir/",
        &["FROM scratch", "COPY --exclude=*.txt --exclude=*.md hom* /mydir/"],
    ),
    (
        "ENTRYPOINT",
        "FROM ubuntu\nENTRYPOINT [\"top\", \"-b\"]\nCMD [\"-c\"]\nENTRYPOINT exec top -b",
        &["FROM ubuntu", "ENTRYPOINT [\"top\", \"-b\"]", "CMD [\"-c\"]", "ENTRYPOINT exec top -b"],
    ),
    (
        "VOLUME",
        "FROM ubuntu\nRUN mkdir /myvol\nVOLUME /myvol\nVOLUME [\"/data\"]\nVOLUME /var/log /var/db",
        &[
            "FROM ubuntu",
            "RUN mkdir /myvol",
            "VOLUME /myvol",
            "VOLUME [\"/data\"]",
            "VOLUME /var/log /var/db",
        ],
    ),
    (
        "USER",
        "FROM x\nRUN net user /add patrick\nUSER patrick\nUSER 1000:1000",
        &["FROM x", "RUN net user /add patrick", "USER patrick", "USER 1000:1000"],
    ),
    (
        "WORKDIR",
        "FROM x\nWORKDIR /a\nWORKDIR b\nENV DIRPATH=/path\nWORKDIR $DIRPATH/$DIRNAME\nRUN pwd",
        &["FROM x", "WORKDIR /a", "WORKDIR b", "ENV DIRPATH=/path", "WORKDIR $DIRPATH/$DIRNAME", "RUN pwd"],
    ),
    (
        "ARG",
        "FROM busybox\nARG user1\nARG buildno\nARG user2=someuser\nARG a=1 b=2",
        &["FROM busybox", "ARG user1", "ARG buildno", "ARG user2=someuser", "ARG a=1 b=2"],
    ),
    (
        "ARG: with ENV",
        "FROM ubuntu\nARG CONT_IMG_VER\nENV CONT_IMG_VER=${CONT_IMG_VER:-v1.0.0}\nRUN echo $CONT_IMG_VER",
        &[
            "FROM ubuntu",
            "ARG CONT_IMG_VER",
            "ENV CONT_IMG_VER=${CONT_IMG_VER:-v1.0.0}",
            "RUN echo $CONT_IMG_VER",
        ],
    ),
    (
        "ONBUILD",
        "FROM x\nONBUILD ADD . /app/src\nONBUILD RUN /usr/local/bin/python-build --dir /app/src",
        &["FROM x", "ONBUILD ADD . /app/src", "ONBUILD RUN /usr/local/bin/python-build --dir /app/src"],
    ),
    ("STOPSIGNAL", "FROM x\nSTOPSIGNAL SIGKILL", &["FROM x", "STOPSIGNAL SIGKILL"]),
    (
        "HEALTHCHECK",
        "FROM x\nHEALTHCHECK --interval=5m --timeout=3s \\\n  CMD curl -f http://localhost/ || exit 1\nHEALTHCHECK NONE",
        &[
            "FROM x",
            "HEALTHCHECK --interval=5m --timeout=3s   CMD curl -f http://localhost/ || exit 1",
            "HEALTHCHECK NONE",
        ],
    ),
    (
        "SHELL",
        "FROM x\nSHELL [\"powershell\", \"-command\"]\nRUN Write-Host hello",
        &["FROM x", "SHELL [\"powershell\", \"-command\"]", "RUN Write-Host hello"],
    ),
    (
        "heredoc: multi-line script",
        "FROM debian\nRUN <<EOT bash\n  set -ex\n  apt-get update\n  apt-get install -y vim\nEOT",
        &["FROM debian", "RUN <<EOT bash (set -ex...)"],
    ),
    (
        "heredoc: not expanded, stripped",
        "FROM debian\nRUN <<-EOT\n\tmkdir -p foo/bar\nEOT",
        &["FROM debian", "RUN <<-EOT (mkdir -p foo/bar)"],
    ),
    (
        "heredoc: interpreter",
        "FROM python:3.6\nRUN <<EOT\n#!/usr/bin/env python\nprint(\"hello world\")\nEOT",
        &["FROM python:3.6", "RUN <<EOT (#!/usr/bin/env python...)"],
    ),
    (
        "heredoc: several files",
        "FROM alpine\nRUN <<FILE1 cat > file1 && <<FILE2 cat > file2\nI am\nfirst\nFILE1\nI am\nsecond\nFILE2",
        &["FROM alpine", "RUN <<FILE1 cat > file1 && <<FILE2 cat > file2 (I am...)"],
    ),
    (
        "heredoc: a file",
        "FROM alpine\nARG FOO=bar\nCOPY <<-EOT /script.sh\n  echo \"hello ${FOO}\"\nEOT\nCOPY <<-\"EOT\" /quoted.sh\n  echo \"hello ${FOO}\"\nEOT",
        &["FROM alpine", "ARG FOO=bar", "COPY <<-EOT /script.sh", "COPY <<-\"EOT\" /quoted.sh"],
    ),
];

#[test]
fn every_example_of_the_reference_is_read() {
    let mut wrong = Vec::new();
    for (section, text, want) in EXAMPLES {
        match parse(text) {
            Err(err) => wrong.push(format!("{section}: {err}")),
            Ok(file) => {
                let shown: Vec<&str> = file.lines.iter().map(|line| line.shown.as_str()).collect();
                // How a document is shown behind its line is this program's own affair.
                let head = |text: &str| text.split(" (").next().unwrap_or_default().replace(' ', "");
                let same =
                    shown.len() == want.len() && shown.iter().zip(*want).all(|(a, b)| head(a) == head(b));
                if !same {
                    wrong.push(format!("{section}: {shown:?}"));
                }
                // Read again, what is shown means the same, where it has no documents.
                if !text.contains("<<") && !text.contains("escape=") {
                    let again = parse(&shown.join("\n"))
                        .map(|file| file.lines.into_iter().map(|l| l.shown).collect::<Vec<_>>());
                    if again
                        .as_ref()
                        .ok()
                        .is_none_or(|again| again.iter().map(String::as_str).ne(shown.iter().copied()))
                    {
                        wrong.push(format!("{section}: read again: {again:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    for (text, line, column, part) in [
        ("RUN x", 1, 1, "FROM"),
        ("FROM", 1, 1, "FROM"),
        ("FROM a b", 1, 1, "FROM"),
        ("FROM a AS 1x", 1, 11, "1x"),
        ("FROM x\n\n  RNU y", 3, 3, "RNU"),
        ("FROM x\nCOPY --form=a b c", 2, 6, "form"),
        ("FROM x\nCOPY a", 2, 1, "COPY"),
        ("FROM x\nRUN --mount=type=x true", 2, 5, "x"),
        ("FROM x\nENV", 2, 1, "ENV"),
        ("FROM x\nSHELL bash", 2, 1, "SHELL"),
        ("FROM x\nONBUILD FROM y", 2, 1, "ONBUILD"),
        ("FROM x\nONBUILD ONBUILD RUN y", 2, 1, "ONBUILD"),
        ("FROM x\nHEALTHCHECK --interval=1 CMD y", 2, 13, "interval"),
        ("FROM x\nHEALTHCHECK SOMETIMES y", 2, 13, "HEALTHCHECK"),
        ("FROM x\nRUN <<EOF\necho", 2, 1, "EOF"),
        ("FROM x\nSTOPSIGNAL", 2, 1, "STOPSIGNAL"),
        ("", 1, 1, "no"),
    ] {
        let Err(err) = parse(text) else { panic!("{text:?} is taken") };
        assert_eq!(err.at.line, line, "{text:?}: {err}");
        assert!(err.at.column.abs_diff(column) < 12, "{text:?}: {err}, not {column}");
        assert!(err.to_string().to_lowercase().contains(&part.to_lowercase()), "{text:?}: {err}");
        let picture = err.picture("Dockerfile", text);
        let caret = picture.lines().last().unwrap_or_default();
        assert!(caret.ends_with('^'), "{picture}");
        assert_eq!(caret.chars().count(), format!("  {line} | ").len() + err.at.column, "{picture}");
    }
    for (typed, meant) in [
        ("RNU", "RUN"),
        ("FORM", "FROM"),
        ("WORKDRI", "WORKDIR"),
        ("ENTRYPONT", "ENTRYPOINT"),
        ("CPOY", "COPY"),
    ] {
        let err = parse(&format!("FROM x\n{typed} a b")).map(|_| ()).unwrap_err();
        assert_eq!(err.message, format!("unknown instruction: {typed} (did you mean {meant}?)"));
    }
}
