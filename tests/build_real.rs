//! `build` as it is used: a python application with pip and an index, node applications without and with npm, C and
//! Rust programs built in one stage and run in another, apt in a Debian system. Bases are made of the Debian packages
//! of this machine, with all they depend on, or by debootstrap, and come from a real registry; nothing is asked of the
//! network.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::faults::{Answer, Content, Faults};
use common::image::{Compression, Image, Layer};
use common::registry::Registry;
use common::{Output, Sandbox, skip};

/// Time for a build of real programs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Installed packages, and what each needs.
fn installed() -> BTreeMap<String, Vec<String>> {
    let format = "${db:Status-Abbrev}|${Package}|${Pre-Depends}, ${Depends}\n";
    let text = output_of("dpkg-query", &["-W", "-f", format]).unwrap_or_default();
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("ii")) {
        let mut parts = line.splitn(3, '|').skip(1);
        let (Some(name), Some(needs)) = (parts.next(), parts.next()) else { continue };
        let word = |need: &str| need.split(['(', ':', ' ']).find(|word| !word.is_empty()).map(str::to_owned);
        let needs = needs.split([',', '|']).filter_map(word);
        found.insert(name.to_owned(), needs.collect());
    }
    found
}

/// A root file system of packages with all that they need; `None` where one of them is not installed.
fn root_of(packages: &[&str]) -> Option<(Layer, BTreeSet<String>)> {
    let known = installed();
    if let Some(missing) = packages.iter().find(|name| !known.contains_key(**name)) {
        skip(&format!("needs the Debian package {missing}"));
        return None;
    }
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
    while let Some(name) = open.pop() {
        if known.contains_key(&name) && wanted.insert(name.clone()) {
            open.extend(known[&name].iter().cloned());
        }
    }
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let listed = output_of("dpkg", &[&["-L"], &names[..]].concat())?;
    let merged = ["bin", "sbin", "lib", "lib64"];
    let mut layer = Layer::new();
    for dir in [
        "etc",
        "root",
        "usr",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "var",
        "var/lib",
        "proc",
        "sys",
        "dev",
    ] {
        layer = layer.dir(dir, 0o755);
    }
    for name in merged {
        layer = layer.symlink(name, format!("usr/{name}"));
    }
    layer = layer.dir("tmp", 0o1777).file(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/false\n",
    );
    layer = layer.file("etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n");
    let mut paths = BTreeSet::new();
    for path in listed.lines().filter(|path| path.starts_with('/') && path.len() > 2) {
        let path = &path[1..];
        let left_out =
            ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"];
        let first = path.split('/').next().unwrap_or_default();
        if left_out.iter().any(|dir| path.starts_with(dir)) || path == "." || merged.contains(&path) {
            continue;
        }
        paths.insert(if merged.contains(&first) { format!("usr/{path}") } else { path.to_owned() });
    }
    for path in paths {
        let on_host = Path::new("/").join(&path);
        // What is diverted or generated is not there under its own name.
        match std::fs::symlink_metadata(&on_host) {
            Ok(meta) if meta.is_dir() => layer = layer.dir(&path, 0o755),
            Ok(_) => layer = layer.tree(&on_host, &path),
            Err(_) => {}
        }
    }
    Some((layer, wanted))
}

fn image(layer: Layer) -> Image {
    Image::new()
        .layer(layer, Compression::None)
        .env("PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .cmd(["sh"])
}

fn build(sandbox: &Sandbox, args: &[&str]) -> Output {
    let mut all = vec!["build"];
    all.extend(args);
    sandbox.command(all).deadline(PATIENCE).run()
}

fn run(sandbox: &Sandbox, args: &[&str]) -> String {
    sandbox.ok([&["run", "--rm", "--net=none"], args].concat())
}

#[test]
fn a_python_application_with_pip_and_an_index() {
    let Some((layer, _)) = root_of(&["coreutils", "dash", "python3", "python3-pip"]) else { return };
    let base = Registry::shared().push("real/python", "3", &image(layer).build());
    let sandbox = Sandbox::empty();
    let make = "import sys, zipfile\nw = zipfile.ZipFile(sys.argv[1], 'w')\n\
                w.writestr('greet/__init__.py', 'def hello(who): return f\"hello {who}\"\\n')\n\
                w.writestr('greet-1.2.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: greet\\nVersion: 1.2\\n')\n\
                w.writestr('greet-1.2.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
                w.writestr('greet-1.2.dist-info/RECORD', 'greet/__init__.py,,\\ngreet-1.2.dist-info/METADATA,,\\ngreet-1.2.dist-info/WHEEL,,\\ngreet-1.2.dist-info/RECORD,,\\n')\n";
    let wheel = sandbox.write("www/greet-1.2-py3-none-any.whl", "");
    output_of("/usr/bin/python3", &["-c", make, wheel.to_str().unwrap()]).expect("make a wheel");
    let www = sandbox.path("www");
    let server = Faults::start(Content::default(), move |request, _| match request.path.as_str() {
        "/simple/greet/" => {
            Answer::ok("<a href=\"/greet-1.2-py3-none-any.whl\">greet-1.2-py3-none-any.whl</a>")
                .header("Content-Type", "text/html")
        }
        path => std::fs::read(www.join(path.trim_start_matches('/')))
            .map_or_else(|_| Answer::status(404), Answer::ok),
    });
    sandbox.write("app/requirements.txt", "greet==1.2\n");
    sandbox
        .write("app/app.py", "import greet, sys\nprint(greet.hello(sys.argv[1]), sys.version_info.major)\n");
    let dockerfile = format!(
        "FROM {base}\nWORKDIR /usr/src/app\nENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore\nCOPY requirements.txt ./\n\
         RUN --mount=type=cache,target=/root/.cache/pip pip install --index-url http://{0}/simple/ -r requirements.txt\nCOPY . .\n\
         ENTRYPOINT [\"python3\", \"./app.py\"]\nCMD [\"world\"]\n",
        server.address()
    );
    sandbox.write("app/Dockerfile", dockerfile);
    let app = sandbox.path("app");
    // The index listens on this machine's loopback.
    let output = build(&sandbox, &["--network=host", "-t", "py", app.to_str().unwrap()]);
    assert!(output.ok().contains("Successfully installed greet-1.2"), "{}{}", output.stdout, output.stderr);
    assert_eq!(run(&sandbox, &["py"]), "hello world 3");
    assert_eq!(run(&sandbox, &["py", "you"]), "hello you 3");
    // Only the application has changed: pip does not run again.
    sandbox.write("app/app.py", "print('changed')\n");
    let again = build(&sandbox, &["--network=host", "-t", "py", app.to_str().unwrap()]);
    assert!(!again.ok().contains("Successfully installed"), "{}", again.stdout);
    assert_eq!(run(&sandbox, &["py"]), "changed");
}

#[test]
fn a_node_application() {
    let Some((layer, _)) = root_of(&["coreutils", "dash", "nodejs"]) else { return };
    let base = Registry::shared().push("real/node", "20", &image(layer).build());
    let sandbox = Sandbox::empty();
    sandbox.write(
        "app/package.json",
        r#"{"name": "app", "version": "1.0.0", "main": "index.js", "dependencies": {"left": "file:left"}}"#,
    );
    sandbox.write("app/node_modules/left/index.js", "module.exports = (s, n) => s.padStart(n);\n");
    sandbox.write("app/node_modules/left/package.json", r#"{"name": "left", "version": "1.0.0"}"#);
    sandbox.write("app/node_modules/skipped/index.js", "throw 1;\n");
    sandbox.write("app/index.js", "const left = require('left');\nconsole.log(left(process.env.GREETING, 8), require('./package.json').version);\n");
    sandbox.write("app/.dockerignore", "node_modules/skipped\n**/*.log\n");
    sandbox.write("app/debug.log", "x");
    sandbox.write(
        "app/Dockerfile",
        format!("FROM {base} AS check\nWORKDIR /srv\nCOPY . .\nRUN node --check index.js && ls -A . node_modules\nFROM {base}\nENV GREETING=hello\nWORKDIR /srv\nCOPY --from=check --chown=1000:1000 /srv .\nUSER 1000\nEXPOSE 3000\nCMD [\"node\", \"index.js\"]\n"),
    );
    let app = sandbox.path("app");
    let output = build(&sandbox, &["--network=none", "-t", "node", app.to_str().unwrap()]);
    assert!(!output.ok().contains("skipped") && !output.stdout.contains("debug.log"), "{}", output.stdout);
    assert_eq!(run(&sandbox, &["node"]), "   hello 1.0.0");
}

#[test]
fn a_c_program_in_two_stages() {
    let Some((layer, _)) = root_of(&["coreutils", "dash", "gcc", "libc6-dev"]) else { return };
    let base = Registry::shared().push("real/gcc", "1", &image(layer).build());
    let sandbox = Sandbox::empty();
    sandbox.write("src/main.c", "#include <stdio.h>\n#include \"who.h\"\nint main(void) { printf(\"hello %s\\n\", WHO); return 0; }\n");
    sandbox.write("src/who.h", "#define WHO \"one\"\n");
    let dockerfile = format!(
        "FROM {base} AS build\nWORKDIR /src\nCOPY . .\nARG OPT=-O2\nRUN gcc $OPT -static -s -o /hello main.c\n\
         FROM build AS test\nRUN /hello | grep -c hello || exit 3\nFROM scratch\nCOPY --from=build /hello /\nENTRYPOINT [\"/hello\"]\n"
    );
    sandbox.write("src/Dockerfile", dockerfile);
    let src = sandbox.path("src");
    let src = src.to_str().unwrap();
    build(&sandbox, &["--network=none", "-t", "c", src]).ok();
    assert_eq!(run(&sandbox, &["c"]), "hello one");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{len .RootFS.Layers}}", "c"]), "1");
    sandbox.write("src/who.h", "#define WHO \"two\"\n");
    build(&sandbox, &["--network=none", "-t", "c", "--build-arg", "OPT=-O0", src]).ok();
    assert_eq!(run(&sandbox, &["c"]), "hello two");
    // The compiler's complaint is shown, with the step.
    sandbox.write("src/main.c", "int main(void) { return nothing; }\n");
    let wrong = build(&sandbox, &["--network=none", src]);
    assert!(
        wrong.fails(1).contains("'nothing' undeclared") || wrong.stderr.contains("nothing"),
        "{}",
        wrong.stderr
    );
    assert!(wrong.stderr.contains(">>> RUN gcc $OPT"), "{}", wrong.stderr);
}

/// A repository of one package, `greeter`, in `ctx/repo`.
fn repository(sandbox: &Sandbox) {
    sandbox.write("deb/DEBIAN/control", "Package: greeter\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.com>\nDepends: bash\nDescription: says hello\n");
    sandbox.write_program("deb/DEBIAN/postinst", "#!/bin/sh\nset -e\necho configured > /etc/greeter.conf\n");
    sandbox
        .write_program("deb/usr/bin/greeter", "#!/bin/bash\necho \"hello from $(cat /etc/greeter.conf)\"\n");
    sandbox.write("ctx/repo/keep", "");
    let (tree, deb) = (sandbox.path("deb"), sandbox.path("ctx/repo/greeter.deb"));
    output_of(
        "dpkg-deb",
        &["--build", "--root-owner-group", tree.to_str().expect("UTF-8"), deb.to_str().expect("UTF-8")],
    )
    .expect("make a package");
    let bytes = std::fs::read(&deb).expect("read the package");
    let control = sandbox.read("deb/DEBIAN/control");
    let sum = common::faults::digest(&bytes).replace("sha256:", "");
    sandbox.write(
        "ctx/repo/Packages",
        format!("{}\nFilename: ./greeter.deb\nSize: {}\nSHA256: {sum}\n", control.trim(), bytes.len()),
    );
}

#[test]
fn apt_in_a_debian_system() {
    let packages = [
        "apt",
        "bash",
        "coreutils",
        "dash",
        "debianutils",
        "diffutils",
        "dpkg",
        "findutils",
        "grep",
        "gzip",
        "libc-bin",
        "mawk",
        "perl-base",
        "sed",
        "tar",
    ];
    let Some((mut layer, names)) = root_of(&packages) else { return };
    // What dpkg knows: these packages, as they are installed here.
    let status = std::fs::read_to_string("/var/lib/dpkg/status").expect("read dpkg's status");
    let ours = status.split("\n\n").filter(|part| {
        part.lines().find_map(|line| line.strip_prefix("Package: ")).is_some_and(|name| names.contains(name))
    });
    let status = ours.collect::<Vec<_>>().join("\n\n") + "\n";
    for dir in [
        "var/lib/dpkg",
        "var/lib/dpkg/info",
        "var/lib/dpkg/updates",
        "var/lib/dpkg/triggers",
        "var/log",
        "var/log/apt",
    ] {
        layer = layer.dir(dir, 0o755);
    }
    layer = layer.file("var/lib/dpkg/status", 0o644, status);
    let base = Registry::shared().push("real/debian", "1", &image(layer).build());
    let sandbox = Sandbox::empty();
    repository(&sandbox);
    sandbox.write(
        "ctx/Dockerfile",
        format!(
            "FROM {base}\nENV DEBIAN_FRONTEND=noninteractive\nRUN rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*\n\
             RUN --mount=type=bind,source=repo,target=/repo echo 'deb [trusted=yes] file:/repo ./' > /etc/apt/sources.list && \\\n\
             apt-get update && apt-get install -y --no-install-recommends greeter && rm -rf /var/lib/apt/lists/*\n\
             CMD [\"greeter\"]\n"
        ),
    );
    let ctx = sandbox.path("ctx");
    let output = build(&sandbox, &["--network=none", "-t", "deb", ctx.to_str().unwrap()]);
    assert!(output.ok().contains("Setting up greeter (1.0)"), "{}{}", output.stdout, output.stderr);
    assert_eq!(run(&sandbox, &["deb"]), "hello from configured");
    assert_eq!(
        run(&sandbox, &["deb", "dpkg-query", "-W", "-f", "${Status}", "greeter"]),
        "install ok installed"
    );
    assert_eq!(
        run(&sandbox, &["deb", "sh", "-c", "ls /repo 2>&1 | wc -l; ls /var/lib/apt/lists | wc -l"])
            .replace('\n', " "),
        "1 0"
    );
}

/// A system that debootstrap has made, with all of its maintainers' scripts.
#[test]
fn apt_in_a_system_made_by_debootstrap() {
    let Some(archive) = std::env::var_os("KETCH_DEBIAN").filter(|path| !path.is_empty()) else {
        return common::skip_anywhere("needs the Debian system that tests/setup makes as root");
    };
    let sandbox = Sandbox::empty();
    let base = Registry::shared().reference("real/debootstrap", "1");
    for words in [&["import", archive.to_str().unwrap(), &base][..], &["push", &base], &["rmi", &base]] {
        sandbox.command(words).deadline(PATIENCE).run().ok();
    }
    repository(&sandbox);
    sandbox.write(
        "ctx/Dockerfile",
        format!(
            "FROM {base}\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-euxc\"]\n\
             RUN groupadd -r app && useradd -r -g app -d /srv/app -m -s /usr/sbin/nologin app\n\
             RUN rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* && echo 'deb [trusted=yes] file:/repo ./' > /etc/apt/sources.list\n\
             RUN --mount=type=bind,source=repo,target=/repo --mount=type=cache,target=/var/cache/apt,sharing=locked \\\n    \
             --mount=type=cache,target=/var/lib/apt,sharing=locked \\\n    \
             apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends greeter\n\
             RUN dpkg --audit && ldconfig && test -s /etc/greeter.conf\n\
             USER app\nWORKDIR /srv/app\nCMD [\"sh\", \"-c\", \"greeter; id -un; pwd\"]\n"
        ),
    );
    let ctx = sandbox.path("ctx");
    let output = build(&sandbox, &["--network=none", "-t", "deb", ctx.to_str().unwrap()]);
    assert!(output.ok().contains("Setting up greeter (1.0)"), "{}{}", output.stdout, output.stderr);
    assert_eq!(run(&sandbox, &["deb"]), "hello from configured\napp\n/srv/app");
}

#[test]
fn a_node_application_with_npm_and_a_registry() {
    // Debian has it in a package of its own, others in that of node.
    let of_its_own = installed().contains_key("npm");
    let packages = ["coreutils", "dash", "nodejs", if of_its_own { "npm" } else { "nodejs" }];
    if !of_its_own && !Path::new("/usr/bin/npm").exists() {
        // Debian's package brings hundreds of others, so the set-up does not install it.
        return common::skip_anywhere("needs npm");
    }
    let Some((mut layer, _)) = root_of(&packages) else { return };
    if !of_its_own {
        // npm may have been brought up to date by itself, so that the package no longer knows its files.
        layer = layer.tree("/usr/lib/node_modules/npm", "usr/lib/node_modules/npm");
    }
    let base = Registry::shared().push("real/npm", "1", &image(layer).build());
    let sandbox = Sandbox::empty();
    sandbox.write("left/package/package.json", r#"{"name": "left", "version": "1.2.0", "main": "index.js"}"#);
    sandbox.write("left/package/index.js", "module.exports = (s, n) => s.padStart(n);\n");
    let archive = sandbox.path("left.tgz");
    let from = sandbox.path("left");
    output_of("tar", &["-czf", archive.to_str().unwrap(), "-C", from.to_str().unwrap(), "package"])
        .expect("pack a package");
    // What npm asks of a registry: a package's document, then its archive, at the address that it was asked at.
    let server = Faults::start(Content::default(), move |request, _| match request.path.as_str() {
        "/left" => {
            let host = request.header("host").unwrap_or_default().to_owned();
            Answer::ok(format!(
                r#"{{"name": "left", "dist-tags": {{"latest": "1.2.0"}}, "versions": {{"1.2.0":
                {{"name": "left", "version": "1.2.0", "main": "index.js", "dist": {{"tarball": "http://{host}/left.tgz"}}}}}}}}"#
            ))
            .header("Content-Type", "application/json")
        }
        "/left.tgz" => std::fs::read(&archive).map_or_else(|_| Answer::status(404), Answer::ok),
        _ => Answer::status(404),
    });
    sandbox.write(
        "app/package.json",
        r#"{"name": "app", "version": "2.0.0", "private": true, "scripts": {"build": "mkdir -p dist && cp index.js dist/"}, "dependencies": {"left": "^1.0.0"}}"#,
    );
    sandbox.write("app/index.js", "console.log(require('left')(process.argv[2] || 'none', 6));\n");
    sandbox.write("app/.dockerignore", "node_modules\nnpm-debug.log\n");
    sandbox.write("app/node_modules/left/index.js", "throw new Error('of the host');\n");
    sandbox.write(
        "app/Dockerfile",
        format!(
            "FROM {base} AS deps\nWORKDIR /usr/src/app\nENV HOME=/root npm_config_update_notifier=false\nCOPY package*.json ./\n\
             RUN --mount=type=cache,target=/root/.npm npm install --no-audit --no-fund --registry http://{0}/\n\
             FROM deps AS build\nCOPY . .\nRUN npm run build\n\
             FROM {base}\nENV NODE_ENV=production\nWORKDIR /srv\nCOPY --from=deps /usr/src/app/node_modules ./node_modules\n\
             COPY --from=build /usr/src/app/dist .\nUSER 1000\nENTRYPOINT [\"node\", \"index.js\"]\n",
            server.address()
        ),
    );
    let app = sandbox.path("app");
    // The registry listens on this machine's loopback.
    let output = build(&sandbox, &["--network=host", "-t", "npm", app.to_str().unwrap()]);
    assert!(output.ok().contains("added 1 package"), "{}{}", output.stdout, output.stderr);
    assert_eq!(run(&sandbox, &["npm", "hi"]), "    hi");
    // Only the application has changed: npm does not install again.
    sandbox.write("app/index.js", "console.log('changed', require('left')('x', 2));\n");
    let again = build(&sandbox, &["--network=host", "-t", "npm", app.to_str().unwrap()]);
    assert!(!again.ok().contains("added 1 package"), "{}", again.stdout);
    assert_eq!(run(&sandbox, &["npm"]), "changed  x");
}

/// The Rust toolchain that builds ketch, if the test user can read it.
fn rust_toolchain() -> Option<String> {
    let given = std::env::var("KETCH_RUST").ok().filter(|path| !path.is_empty());
    given.or_else(|| output_of("rustc", &["--print", "sysroot"]).map(|path| path.trim().to_owned()))
}

#[test]
fn a_rust_program_in_two_stages() {
    let Some(toolchain) = rust_toolchain() else {
        skip("needs a Rust toolchain");
        return;
    };
    let Some((layer, _)) = root_of(&["coreutils", "dash", "gcc", "libc6-dev"]) else { return };
    let base = Registry::shared().push("real/rust", "1", &image(layer).build());
    let sandbox = Sandbox::empty();
    let no_sum = "0".repeat(64);
    for (path, content) in [
        (
            "Cargo.toml",
            "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\ngreet = \"1.2.0\"\n".to_owned(),
        ),
        (
            "Cargo.lock",
            format!(
                "version = 3\n\n[[package]]\nname = \"greet\"\nversion = \"1.2.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
                 checksum = \"{no_sum}\"\n\n[[package]]\nname = \"hello\"\nversion = \"0.1.0\"\ndependencies = [\n \"greet\",\n]\n"
            ),
        ),
        (
            ".cargo/config.toml",
            "[source.crates-io]\nreplace-with = \"vendored-sources\"\n[source.vendored-sources]\ndirectory = \"vendor\"\n".to_owned(),
        ),
        ("vendor/greet/.cargo-checksum.json", format!("{{\"files\":{{}},\"package\":\"{no_sum}\"}}")),
        (
            "vendor/greet/Cargo.toml",
            "[package]\nname = \"greet\"\nversion = \"1.2.0\"\nedition = \"2021\"\n".to_owned(),
        ),
        ("vendor/greet/src/lib.rs", "pub fn hello(who: &str) -> String { format!(\"hello {who}\") }\n".to_owned()),
        ("src/main.rs", "fn main() { println!(\"{}\", greet::hello(\"one\")); }\n".to_owned()),
        (".dockerignore", "target\n**/*.swp\n".to_owned()),
        (
            "Dockerfile",
            format!(
                "# syntax=docker/dockerfile:1\nFROM {base} AS build\n\
                 ENV PATH=/rust/bin:$PATH CARGO_HOME=/cargo RUSTFLAGS=\"-C target-feature=+crt-static -C linker=gcc\"\nWORKDIR /src\nCOPY . .\n\
                 RUN --mount=type=bind,from=rust,target=/rust --mount=type=cache,target=/src/target <<EOF\nset -e\n\
                 cargo build --release --offline --locked\ncp target/release/hello /hello\nEOF\n\
                 FROM scratch\nCOPY --from=build --chmod=555 /hello /bin/hello\nUSER 65534\nENTRYPOINT [\"/bin/hello\"]\n"
            ),
        ),
    ] {
        sandbox.write(format!("src/{path}"), content);
    }
    let (src, context) = (sandbox.path("src"), format!("rust={toolchain}"));
    let flags = ["--network=none", "--build-context", &context, "-t", "rust", src.to_str().unwrap()];
    let output = build(&sandbox, &flags);
    output.ok();
    assert!(output.stderr.contains("Compiling greet v1.2.0"), "{}", output.stderr);
    assert_eq!(run(&sandbox, &["rust"]), "hello one");
    assert_eq!(sandbox.ok(["image", "inspect", "--format={{len .RootFS.Layers}}", "rust"]), "1");
    // The cache mount has what was compiled before.
    sandbox.write("src/src/main.rs", "fn main() { println!(\"{}\", greet::hello(\"two\")); }\n");
    let again = build(&sandbox, &flags);
    again.ok();
    assert!(!again.stderr.contains("Compiling greet"), "{}", again.stderr);
    assert_eq!(run(&sandbox, &["rust"]), "hello two");
    // The compiler's complaint is shown, and its exit code passed on.
    sandbox.write("src/src/main.rs", "fn main() { nothing }\n");
    let wrong = build(&sandbox, &flags);
    assert!(wrong.fails(101).contains("cannot find value `nothing`"), "{}", wrong.stderr);
}
