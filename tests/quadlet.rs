//! Quadlet: ketch called as systemd's generator makes the services that podman 5.4.2's makes of the same files.
//!
//! `tests/quadlet/*.txt` hold the files and what podman makes of them (tests/README.md, "Quadlet"). `own.txt` holds what
//! ketch does otherwise, with the reason.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Sandbox, ketch_binary};

/// How much of an answer is compared.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// All of it.
    Whole,
    /// All but the sections that are hidden from systemd, which are those of the file.
    Plain,
    /// Of each service the lines that the first one has not.
    Short,
}

impl Form {
    fn of(table: &str) -> Self {
        match table {
            "files.txt" => Self::Whole,
            "keys.txt" => Self::Short,
            _ => Self::Plain,
        }
    }
}

/// One case of a table: `=== NAME`, or `=== NAME | system` for root's units; `--- FILE` and its lines
/// (`-> TARGET` for a link); `+++` and the answer, behind bars.
struct Case {
    head: String,
    files: Vec<(String, String)>,
    answer: Vec<String>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut in_answer = false;
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("=== ") {
            cases.push(Case { head: head.to_owned(), files: Vec::new(), answer: Vec::new() });
            in_answer = false;
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if line == "+++" {
            in_answer = true;
        } else if in_answer {
            let answer = line.strip_prefix("| ").or(line.strip_prefix('|'));
            case.answer.extend(answer.map(str::to_owned));
        } else if let Some(name) = line.strip_prefix("--- ") {
            case.files.push((name.to_owned(), String::new()));
        } else if let Some((_, text)) = case.files.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    cases
}

/// A table with other answers; its comments stay.
fn with_answers(text: &str, answers: &[Vec<String>]) -> String {
    let mut answers = answers.iter();
    let mut new = String::new();
    for line in text.lines().filter(|line| !line.starts_with('|')) {
        new.push_str(line);
        new.push('\n');
        if line == "+++" {
            for line in answers.next().expect("an answer") {
                new.push_str(format!("| {line}").trim_end());
                new.push('\n');
            }
        }
    }
    new
}

fn write_files(case: &Case, directory: &Path) {
    fs::remove_dir_all(directory).ok();
    fs::create_dir_all(directory).expect("make a directory");
    for (name, text) in &case.files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        match text.strip_prefix("-> ") {
            Some(target) => symlink(target.trim_end(), path).expect("make a link"),
            None => fs::write(path, text).expect("write a file"),
        }
    }
}

fn flags(case: &Case) -> Vec<&'static str> {
    if case.head.ends_with("| system") { vec!["-dryrun"] } else { vec!["-dryrun", "-user"] }
}

/// An answer without what differs by place: exit code, messages, services.
fn normal(code: i32, errors: &str, units: &str, directory: &Path, program: &str, form: Form) -> Vec<String> {
    let mut lines = vec![format!("exit {code}")];
    let placed = |text: &str| {
        let text = text.replace(program, "/usr/bin/podman").replace(&*directory.to_string_lossy(), "DIR");
        text.replace(&*directory.parent().expect("a parent").to_string_lossy(), "UP")
    };
    for line in placed(errors).lines() {
        let line = match line.strip_prefix("quadlet-generator[") {
            Some(rest) => rest.split_once("]: ").map_or(line, |(_, words)| words),
            None => line,
        };
        if !line.starts_with("Loading source ") {
            lines.push(format!("! {line}"));
        }
    }
    let units = placed(units);
    let mut first: Option<BTreeSet<&str>> = None;
    for unit in units.split("\n---").map(|unit| unit.trim_start_matches("---")) {
        let Some((name, text)) = unit.split_once("---\n") else { continue };
        lines.push(format!("---{name}---"));
        let mut hidden = false;
        let mut kept = Vec::new();
        for line in text.trim_end().lines() {
            if line.starts_with('[') {
                hidden = line.starts_with("[X-");
            }
            let wanted = match form {
                Form::Whole => true,
                Form::Plain => !hidden && !line.is_empty(),
                Form::Short => !hidden && !line.starts_with("SourcePath="),
            };
            if wanted {
                kept.push(line);
            }
        }
        let known = match (form, &first) {
            (Form::Short, Some(first)) => first.clone(),
            _ => BTreeSet::new(),
        };
        lines.extend(kept.iter().filter(|line| !known.contains(*line)).map(|line| (*line).to_owned()));
        first.get_or_insert_with(|| kept.into_iter().collect());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// A line whose words podman has in another order each time.
fn sorted(line: &str) -> String {
    let mut words: Vec<_> = line.split(' ').collect();
    words.sort_unstable();
    format!("~{}", words.join(" "))
}

fn tables() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quadlet");
    let entries = fs::read_dir(directory).expect("read tests/quadlet").filter_map(Result::ok);
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    paths.sort();
    paths
}

/// ketch by a name that makes it the generator.
fn generator(sandbox: &Sandbox, name: &str) -> PathBuf {
    let link = sandbox.path(name);
    symlink(ketch_binary(), &link).expect("make a link");
    link
}

#[test]
fn services_are_those_of_podman() {
    let sandbox = Sandbox::new();
    let link = generator(&sandbox, "quadlet");
    let directory = sandbox.path("units");
    let mut wrong = Vec::new();
    let mut count = 0;
    for table in tables() {
        let name = table.file_name().expect("a name").to_string_lossy().into_owned();
        let text = fs::read_to_string(&table).expect("read a table");
        let mut new = Vec::new();
        for case in cases(&text) {
            write_files(&case, &directory);
            let done = sandbox.program(&link, flags(&case)).env("QUADLET_UNIT_DIRS", &directory).run();
            let program = ketch_binary().to_string_lossy().into_owned();
            let got = normal(done.code, &done.stderr, &done.stdout, &directory, &program, Form::of(&name));
            let wanted = &case.answer;
            let same = got.len() == wanted.len()
                && got.iter().zip(wanted).all(|(got, wanted)| match wanted.starts_with('~') {
                    true => sorted(got) == *wanted,
                    false => got.trim_end() == wanted,
                });
            count += 1;
            new.push(got.clone());
            if !same {
                let got = got.join("\n");
                wrong.push(format!("{name}: {}\nGOT\n{got}\nWANTED\n{}", case.head, wanted.join("\n")));
            }
        }
        if name == "own.txt" && std::env::var_os("KETCH_BLESS").is_some() {
            fs::write(&table, with_answers(&text, &new)).expect("write a table");
        }
    }
    assert!(count > 200, "{count} cases");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Writes the answers of podman's generator into the tables (all but `own.txt`). Run by hand:
/// `KETCH_QUADLET_PEER=$PWD/tests/quadlet/peer cargo test --test quadlet -- --ignored`.
#[test]
#[ignore = "makes the tables anew"]
fn make_the_tables() {
    let peer = std::env::var("KETCH_QUADLET_PEER").expect("KETCH_QUADLET_PEER names podman's generator");
    let directory = std::env::temp_dir().join("ketch-quadlet/units");
    for table in tables() {
        let name = table.file_name().expect("a name").to_string_lossy().into_owned();
        if name == "own.txt" {
            continue;
        }
        let text = fs::read_to_string(&table).expect("read a table");
        let mut answers = Vec::new();
        for case in cases(&text) {
            write_files(&case, &directory);
            let ask = || {
                let done = Command::new(&peer)
                    .args(flags(&case))
                    .env("QUADLET_UNIT_DIRS", &directory)
                    .output()
                    .expect("run podman's generator");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let code = done.status.code().expect("a code");
                let none = "/no/such/program";
                normal(code, &text(&done.stderr), &text(&done.stdout), &directory, none, Form::of(&name))
            };
            let mut answer = ask();
            for _ in 0..12 {
                for (line, again) in answer.iter_mut().zip(ask()) {
                    if *line != again && !line.starts_with('~') {
                        *line = sorted(line);
                    }
                }
            }
            answers.push(answer);
        }
        fs::write(&table, with_answers(&text, &answers)).expect("write a table");
    }
    fs::remove_dir_all(directory).ok();
}

/// What systemd calls: the link's name says whose units, three directories follow, the first gets the services.
#[test]
fn a_generator_writes_services_and_links() {
    let sandbox = Sandbox::new();
    let link = generator(&sandbox, "ketch-user-generator");
    for (name, text) in [
        (
            "web.container",
            "[Container]\nImage=localhost/bb\n[Install]\nWantedBy=default.target\nAlias=alias.service\n",
        ),
        (
            "t@.container",
            "[Container]\nImage=localhost/bb\n[Install]\nRequiredBy=a.target\nDefaultInstance=one\n",
        ),
        ("u@.container", "[Container]\nImage=localhost/bb\n[Install]\nWantedBy=default.target\n"),
        ("bad.container", "[Container]\nNoSuchKey=1\n"),
        ("data.volume", "[Volume]\n[Install]\nUpheldBy=b.target ../c.target\n"),
    ] {
        let path = sandbox.path("config/containers/systemd/sub").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        fs::write(path, text).expect("write a file");
    }
    let run = || {
        sandbox
            .program(&link, ["out/normal", "out/early", "out/late"])
            .current_dir(sandbox.path(""))
            .env("XDG_CONFIG_HOME", sandbox.path("config"))
            .env("KETCH_ROOT", sandbox.path("no-store"))
            .run()
    };
    let done = run();
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "one file is bad");
    let words = "converting \"bad.container\": unsupported key 'NoSuchKey' in group 'Container'";
    assert!(done.stderr.contains(words), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    let out = sandbox.path("out/normal");
    let text = fs::read_to_string(out.join("web.service")).expect("the service");
    assert!(
        text.starts_with(&format!("# Automatically generated by {}\n# \n[X-Container]", link.display())),
        "{text}"
    );
    let program = ketch_binary();
    assert!(text.contains(&format!("\nExecStart={} run --name systemd-%N ", program.display())), "{text}");
    for (name, target) in [
        ("alias.service", "web.service"),
        ("default.target.wants/web.service", "../web.service"),
        ("a.target.requires/t@one.service", "../t@.service"),
        ("b.target.upholds/data-volume.service", "../data-volume.service"),
    ] {
        assert_eq!(fs::read_link(out.join(name)).expect(name), Path::new(target));
    }
    assert!(!out.join("default.target.wants/u@.service").exists(), "a template has no instance by itself");
    assert!(!out.join("bad.service").exists() && !sandbox.path("c.target").exists());
    assert!(!sandbox.path("no-store").exists(), "a generator makes no store");
    // Again, as a reload of systemd does into a directory that is there.
    assert_eq!(run().code, 1);
}

/// The user's directories: what stands first counts, links are followed, each directory is read once.
#[test]
fn directories_in_their_order() {
    let sandbox = Sandbox::new();
    let link = generator(&sandbox, "podman-user-generator");
    for (path, host) in [
        ("run/containers/systemd/a.container", "first"),
        ("config/containers/systemd/a.container", "second"),
        ("config/containers/systemd/b.container", "b"),
        ("elsewhere/c.container", "c"),
        ("elsewhere/b.container.d/9.conf", "of-a-drop-in"),
    ] {
        let path = sandbox.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        fs::write(path, format!("[Container]\nImage=localhost/bb\nHostName={host}\n")).expect("write a file");
    }
    symlink("../../../elsewhere", sandbox.path("config/containers/systemd/link")).expect("make a link");
    symlink(".", sandbox.path("config/containers/systemd/loop")).expect("make a link");
    let done = sandbox
        .program(&link, ["--dryrun"])
        .env("XDG_CONFIG_HOME", sandbox.path("config"))
        .env("XDG_RUNTIME_DIR", sandbox.path("run"))
        .run();
    let units = done.ok();
    let host = |name: &str| {
        let unit = units.split(&format!("---{name}.service---")).nth(1).expect(name);
        unit.split("--hostname ").nth(1).expect("a host name").split(' ').next().expect("a word").to_owned()
    };
    assert_eq!((host("a").as_str(), host("b").as_str(), host("c").as_str()), ("first", "of-a-drop-in", "c"));
    assert_eq!(units.matches(".service---").count(), 3, "{units}");
}

/// What is no file to read is told of and holds nobody up; it hides no file of the same name, but a link to the
/// null device does.
#[test]
fn files_that_are_none() {
    let sandbox = Sandbox::new();
    let link = generator(&sandbox, "quadlet");
    let (first, second) = (sandbox.path("first"), sandbox.path("second"));
    for directory in [&first, &second] {
        fs::create_dir_all(directory).expect("make a directory");
    }
    for name in ["bad", "fifo", "long", "null", "zero"] {
        let text = format!("[Container]\nImage=localhost/{name}\n");
        fs::write(second.join(format!("{name}.container")), text).expect("write a file");
    }
    fs::write(first.join("bad.container"), "no unit file\n").expect("write a file");
    fs::write(first.join("long.container"), "#\n".repeat(1 << 20)).expect("write a file");
    symlink("/dev/null", first.join("null.container")).expect("make a link");
    symlink("/dev/zero", first.join("zero.container")).expect("make a link");
    let made = Command::new("mkfifo").arg(first.join("fifo.container")).status().expect("run mkfifo");
    assert!(made.success());
    let both = std::env::join_paths([&first, &second]).expect("two paths");
    let done = sandbox.program(&link, ["-dryrun", "-user"]).env("QUADLET_UNIT_DIRS", both).run();
    assert_eq!(done.code, 1);
    for (name, words) in [
        ("fifo", "it is no regular file"),
        ("zero", "it is no regular file"),
        ("long", "it is longer than 1048576 bytes"),
        ("bad", "which is not a key-value pair"),
    ] {
        let mut lines = done.stderr.lines();
        let told = lines.any(|line| line.contains(&format!("/{name}.container\", ")) && line.contains(words));
        assert!(told, "{name}: {}", done.stderr);
        assert!(done.stdout.contains(&format!("---{name}.service---")), "{name}: {}", done.stdout);
    }
    assert!(done.stderr.contains("converting \"null.container\": no Image"), "{}", done.stderr);
    assert!(!done.stdout.contains("---null.service---"), "{}", done.stdout);
}

/// An alias takes the place of no service, in the first run and in the next.
#[test]
fn aliases_spare_services() {
    let sandbox = Sandbox::new();
    let link = generator(&sandbox, "quadlet");
    let units = sandbox.path("units");
    fs::create_dir_all(&units).expect("make a directory");
    for (name, alias) in [("a", "a.service b.service c.service"), ("b", "a.service")] {
        let text = format!("[Container]\nImage=localhost/{name}\n[Install]\nAlias={alias}\n");
        fs::write(units.join(format!("{name}.container")), text).expect("write a file");
    }
    let run = || {
        let flags = ["-no-kmsg-log", "-user", "out"];
        let program = sandbox.program(&link, flags).current_dir(sandbox.path(""));
        program.env("QUADLET_UNIT_DIRS", &units).run()
    };
    for _ in 0..2 {
        let done = run();
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert_eq!(done.stderr.matches(": file exists").count(), 2, "{}", done.stderr);
        for name in ["a", "b"] {
            let text = fs::read_to_string(sandbox.path(format!("out/{name}.service"))).expect(name);
            assert!(text.contains(&format!("Image=localhost/{name}\n")), "{text}");
        }
        assert_eq!(fs::read_link(sandbox.path("out/c.service")).expect("a link"), Path::new("a.service"));
    }
    // Another file has that name now: its service is not written through the alias.
    fs::write(units.join("c.container"), "[Container]\nImage=localhost/c\n").expect("write a file");
    run();
    let text = fs::read_to_string(sandbox.path("out/a.service")).expect("a service");
    assert!(text.contains("Image=localhost/a\n"), "{text}");
}

/// Flags as Go reads them, and the verb for people.
#[test]
fn flags_and_the_verb() {
    let sandbox = Sandbox::new();
    let link = generator(&sandbox, "quadlet");
    for flag in ["-version", "--version", "-version=1"] {
        assert_eq!(sandbox.program(&link, [flag]).run().ok(), "5.4.2");
    }
    let done = sandbox.program(&link, ["-nosuch"]).run();
    assert!(done.fails(2).contains("flag provided but not defined: -nosuch\nUsage of "), "{}", done.stderr);
    let done = sandbox.program(&link, ["-no-kmsg-log"]).run();
    assert!(done.fails(1).contains("missing output directory argument"), "{}", done.stderr);

    fs::create_dir_all(sandbox.path("units")).expect("make a directory");
    fs::write(sandbox.path("units/a.volume"), "[Volume]\n").expect("write a file");
    let of = |done: common::Output| done.stdout;
    let by_link = of(sandbox
        .program(&link, ["-dryrun", "-user"])
        .env("QUADLET_UNIT_DIRS", sandbox.path("units"))
        .run());
    let by_verb = of(sandbox
        .program(ketch_binary(), ["system", "quadlet", "--user"])
        .env("QUADLET_UNIT_DIRS", sandbox.path("units"))
        .run());
    assert!(by_link.contains("volume create --ignore systemd-a"), "{by_link}");
    assert_eq!(by_link, by_verb);
}
