//! The pure parsers as fuzz targets: each takes any bytes, and neither panics nor runs for long on any of them.
//!
//! Compiled for tests and with the feature `fuzzing`. `fuzz/` makes cargo-fuzz targets of them; the test below runs
//! them with the stable compiler on a small corpus and on what random changes make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::json;

use crate::api;
use crate::attach::packet;
use crate::base::dockerfile::expand::Expander;
use crate::base::dockerfile::ignore::Ignore;
use crate::base::dockerfile::{self, check};
use crate::base::image_ref::{ImageName, ImageRef, NameRule, Purpose};
use crate::base::manifest::{Document, ImageConfig};
use crate::base::yaml::write::{self, Lists};
use crate::base::{idmap_syntax, mount_syntax, rlimit, size, time};
use crate::cli::format::{self, Format, Shape};
use crate::compose::interpolate::Variables;
use crate::compose::{canonical, check as compose_check, dotenv, interpolate, normal};
use crate::kube::quantity::Quantity;
use crate::kube::read as manifests;
use crate::net::{dns, packet as ip_packet};
use crate::registry::challenge;
use crate::registry::config::Registries;
use crate::registry::sigstore::PrivateKey;
use crate::store::unpack;

/// A target: what it parses, and the function that does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name.
pub const TARGETS: [Target; 20] = [
    ("image_reference", image_reference),
    ("manifest", manifest),
    ("image_config", image_config),
    ("tar", tar),
    ("whiteout", whiteout),
    ("challenge", challenge),
    ("mount", mount),
    ("attach_packet", attach_packet),
    ("dns", dns),
    ("template", template),
    ("registries", registries),
    ("signing_key", signing_key),
    ("dockerfile", dockerfile),
    ("ignore_file", ignore_file),
    ("compose_file", compose_file),
    ("dotenv", env_file),
    ("ip_packet", captured),
    ("flag_values", flag_values),
    ("kube_manifest", kube_manifest),
    ("api_request", api_request),
];

/// A name that parses is printed as one that parses to the same.
fn image_reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<ImageName>() {
        for purpose in [Purpose::Read, Purpose::Act] {
            name.local_candidates(NameRule::default(), purpose);
        }
        assert_eq!(name.to_string().parse::<ImageName>().ok(), Some(name));
    }
    if let Ok(full) = text.parse::<ImageRef>() {
        assert_eq!(full.to_string().parse::<ImageRef>().ok().as_ref(), Some(&full));
        full.familiar();
        full.manifest_reference();
    }
}

/// A manifest or an index, under each of the usual media types.
fn manifest(data: &[u8]) {
    for content_type in [
        "",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ] {
        Document::parse(data, content_type).ok();
    }
}

fn image_config(data: &[u8]) {
    if let Ok(config) = ImageConfig::parse(data) {
        config.platform();
    }
}

/// The entries of an uncompressed archive, with their content.
fn tar(data: &[u8]) {
    let mut archive = unpack::archive::Archive::new(data);
    while let Ok(Some(_)) = archive.next() {
        while let Ok(some) = archive.data() {
            let length = some.len();
            if length == 0 {
                break;
            }
            archive.consume(length);
        }
    }
}

fn whiteout(data: &[u8]) {
    unpack::hidden_by(data).ok();
}

fn challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    challenge::choose(text.lines());
}

fn mount(data: &[u8]) {
    mount_syntax::parse_volume(OsStr::from_bytes(data)).ok();
    if let Ok(text) = std::str::from_utf8(data) {
        mount_syntax::parse_mount(text).ok();
        mount_syntax::parse_tmpfs(text).ok();
    }
}

fn attach_packet(data: &[u8]) {
    packet::FromClient::decode(data).ok();
    packet::FromMonitor::decode(data).ok();
}

/// A network with one container.
struct OneName;

impl dns::Names for OneName {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        (name == "web").then(|| vec![IpAddr::from([10, 88, 0, 2])])
    }

    fn names_of(&self, ip: IpAddr) -> Vec<String> {
        self.is_inside(ip).then(|| "web".to_owned()).into_iter().collect()
    }

    fn is_inside(&self, ip: IpAddr) -> bool {
        ip == IpAddr::from([10, 88, 0, 2])
    }
}

fn dns(data: &[u8]) {
    for (forward, stream) in [(false, false), (true, true)] {
        dns::answer(data, &OneName, || forward, stream);
    }
    dns::server_failure(data);
    dns::is_failure(data);
    dns::answers(data, data);
}

/// A template that parses is also carried out, on a row like those of listings.
fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let shape = Shape {
        command: "ps",
        type_name: "fuzz.row",
        headers: &[("ID", "CONTAINER ID")],
        omit: &[],
        heading: true,
    };
    if let Ok(format) = Format::parse(text, &shape) {
        let row = json!({"ID": "1", "Names": ["a", "b"], "Size": 3, "Labels": {"k": "v"}, "Up": true, "None": null});
        format::render_row(&format, &row, &shape, true).ok();
    }
}

/// A registries.conf, and what it makes of a name.
fn registries(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(read) = Registries::from_text(text) else { return };
    for name in ["app", "example.com/team/app:1"] {
        if let Ok(name) = name.parse::<ImageName>() {
            for full in read.resolve(&name).unwrap_or_default() {
                read.endpoints(&full).ok();
            }
        }
    }
}

/// A sealed private key; the cost of its passphrase is bounded.
fn signing_key(data: &[u8]) {
    PrivateKey::open(data, b"passphrase").ok();
}

/// A variable called `V`.
fn variable(name: &str) -> Option<String> {
    (name == "V").then(|| "a/b.c".to_owned())
}

/// A Dockerfile, the checks of it, and its text as one word; a mistake is shown with its picture.
fn dockerfile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match dockerfile::parse(text) {
        Ok(file) => {
            let (args, options) = (BTreeMap::new(), check::Options::parse(text).unwrap_or_default());
            let around = check::Around {
                args: &args,
                platform: &args,
                ignore: data,
                base: &|_| Some(check::BaseFacts::default()),
                needed: None,
                options: &options,
            };
            check::check(&file, text, &around);
        }
        Err(err) => {
            err.picture("Dockerfile", text);
        }
    }
    dockerfile::parse_trigger(text).ok();
    let expander = Expander { lookup: &variable, escape: '\\' };
    expander.words(text).ok();
    expander.document(text).ok();
}

/// A `.dockerignore`, asked about its own first line and about a path.
fn ignore_file(data: &[u8]) {
    let Ok(ignore) = Ignore::parse(data) else { return };
    for path in [data.split(|&byte| byte == b'\n').next().unwrap_or_default(), b"a/b/c.txt"] {
        ignore.excludes(path);
        ignore.may_take_back_below(path);
    }
}

/// A Compose file through all that is done before the first container; what `config` prints of it can be read again.
fn compose_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut files = crate::compose::node::Files::default();
    let file = files.add("compose.yaml".to_owned());
    let directory = Path::new("/project");
    for mut document in files.documents(text, file).unwrap_or_default() {
        let mut variables = Variables { find: &variable, missed: BTreeSet::new() };
        if interpolate::tree(&mut document, &mut variables, &files).is_err() {
            continue;
        }
        let context = canonical::Context {
            files: &files,
            directory,
            home: Some(Path::new("/home/user")),
            keep_paths: None,
            keep_variables: false,
        };
        let Ok(mut tree) = canonical::file(document, &context) else { continue };
        normal::complete(&mut tree, &normal::Context { project: "project", directory, find: &variable });
        compose_check::project(&tree, &BTreeSet::new(), &files).ok();
        normal::drop_unused(&mut tree);
        normal::omit_empty_file(&mut tree);
        let printed = write::document(&tree, Lists::Indented);
        assert!(files.documents(&printed, file).is_ok(), "{printed:?}");
    }
}

fn env_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    dotenv::parse(text, &variable).ok();
    drop(dotenv::raw(text, &|_| None));
}

/// A Kubernetes manifest, and a quantity in it.
fn kube_manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    manifests::objects(text).ok();
    if let Some(quantity) = Quantity::parse(text) {
        assert!(quantity.value() <= quantity.milli() || quantity.milli() <= 0, "{text:?}");
    }
}

/// A packet that a container has sent to the outside.
fn captured(data: &[u8]) {
    ip_packet::parse(data);
}

/// Small languages of flags.
fn flag_values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    idmap_syntax::parse(text).ok();
    rlimit::parse(text).ok();
    size::parse(text).ok();
    size::parse_decimal(text).ok();
    time::parse_duration(text).ok();
    time::parse_when(text, jiff::Timestamp::UNIX_EPOCH, &jiff::tz::TimeZone::UTC).ok();
}

/// The head of a request to the API is read whole or not at all, and finds its handler or none.
fn api_request(data: &[u8]) {
    if let Ok(Some((head, length))) = api::http::head::Head::parse(data) {
        assert!(length <= data.len());
        api::route::is_known(&head.method, &head.path);
    }
}

/// Runs the target called `name` on `data`.
///
/// # Panics
///
/// If there is none; and when a parser has a fault, which is what fuzzing looks for.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("one of TARGETS");
    target(data);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Something of each kind to begin with, for those targets that need more than luck.
    #[rustfmt::skip]
    const CORPUS: [&[u8]; 40] = [
        &[b'a'; 255],
        b"docker.io/library/nginx:1.27@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        b"localhost:5000/a/b_c-d.e:tag",
        br#"{"schemaVersion":2,"config":{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2},"layers":[]}"#,
        br#"{"manifests":[{"digest":"sha256:00","size":-1,"platform":{"os":null}}]}"#,
        br#"{"architecture":"amd64","os":"linux","config":{"Cmd":null,"Env":["A=b"],"ExposedPorts":{"80":{}}},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        br#"Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull", Basic realm="x\"y""#,
        b"/host/dir:/inside:ro,z,nosuid,idmap=uids=0-1-2",
        b"type=bind,source=/a,target=/b,readonly,bind-propagation=rshared",
        b"/tmp:size=64m,mode=1777,noexec",
        b"\x03\x18\x00\x50\x00",
        b"\x00\x07",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01",
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x012\x010\x0288\x0210\x07in-addr\x04arpa\x00\x00\x0c\x00\x01",
        b"{{.ID}}\t{{range $i, $n := .Names}}{{if $i}},{{end}}{{$n | printf \"%-5q\"}}{{end}}",
        b"table {{.ID}} {{json .Labels}} {{index .Labels \"k\"}} {{slice .ID 0 1}} {{join .Names \"-\"}}",
        b"{{with $x := .Size}}{{if and (gt $x 2) (not .None)}}{{- /* c */ -}}{{len .Names}}{{else}}n{{end}}{{end}}",
        b"{{define \"a\"}}{{template \"a\" .}}{{end}}{{template \"a\" .}}",
        b"{{((((((((((((((((((((((((((((((((.ID))))))))))))))))))))))))))))))))}}",
        b"# syntax=docker/dockerfile:1\n# escape=`\nARG V=1\nFROM --platform=$BUILDPLATFORM a:${V:-x} AS b\nRUN <<EOT bash\necho $V\nEOT\n",
        b"FROM a\nRUN --mount=type=cache,target=/c,id=x,sharing=locked [\"a\", \"b\\n\"]\nCOPY --from=0 --chown=1:2 --chmod=u=rw,go-x --parents a b/ \\\n  # c\n  c /d/\n",
        b"FROM scratch\nHEALTHCHECK --interval=5s --retries=3 CMD a\nONBUILD ADD --checksum=sha256:00 https://a/b /\nENV A=1 B='x y' C=${V##*/} D=${V//./-}\nLABEL a=b",
        b"*.log\n!keep/*.log\n**/[a-c]?\\*\n/x/../y\n# c\n",
        b"name: p\nservices:\n  web: &w\n    image: a:${V:-1}\n    ports: ['80:80', {target: 1, published: 2-3}]\n    depends_on: {db: {condition: service_healthy}}\n    environment: [A=1, V]\n  db:\n    <<: *w\n    volumes: ['v:/d:ro', './x:/y']\n    deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 5m}}}\nvolumes: {v: }\n",
        b"services:\n  a:\n    build: {context: ., args: {A: null}, tags: !reset []}\n    command: \"a 'b c'\"\n    healthcheck: {test: [CMD, x], interval: 1m30s}\n    networks: {n: {ipv4_address: 10.0.0.2, aliases: [x]}}\nnetworks: {n: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}\nconfigs: {c: {content: 'x'}}\n",
        b"A=1\nexport B=\"x ${A:-y} \\n\" # c\nC='$A'\nD\nE=${A:?m}\n",
        b"\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x00\x00\x0a\x58\x00\x02\x01\x01\x01\x01\x08\x00\x00\x00\x00\x01\x00\x01",
        b"\x60\x00\x00\x00\x00\x08\x3a\x40\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x80\x00\x00\x00\x00\x01\x00\x01",
        b"kind: Deployment\nmetadata: {name: w, annotations: {a: b}}\nspec: {template: {spec: {containers: [{name: c, image: i, ports: [{containerPort: 80}], env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}], resources: {limits: {cpu: 500m}}}], volumes: [{name: v, hostPath: {path: /x, type: File}}]}}}\n---\nkind: Secret\nmetadata: {name: s}\ndata: {k: YQ==}\n",
        b"POST /v1.45/images/a%2Fb:1/push?tag=x&x=%zz HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"-1.5e-3Gi",
        b"+ug1000:@2000:65536",
        b"nofile=1024:2048",
        b"1h30m2.5s",
        b".wh..wh..opq",
        b".wh.file",
        b".wh..wh.plnk",
        b".wh...",
        b"unqualified-search-registries = ['r.io']\nshort-name-mode = 'permissive'\n[[registry]]\nprefix = '*.example.com'\nlocation = 'm.io/x'\n[[registry.mirror]]\nlocation = 'n.io'\npull-from-mirror = 'digest-only'\n[aliases]\napp = 'r.io/a/app'\n",
        b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\neyJrZGYiOnsibmFtZSI6InNjcnlwdCIsInBhcmFtcyI6eyJOIjoyLCJyIjoxLCJwIjoxfSwic2FsdCI6IkFBPT0ifSwiY2lwaGVyIjp7Im5hbWUiOiJuYWNsL3NlY3JldGJveCIsIm5vbmNlIjoiQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUEifSwiY2lwaGVydGV4dCI6IkFBQUEifQ==\n-----END X",
    ];

    /// A tar archive of one file, whose header random changes then spoil.
    fn archive() -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, "n".repeat(150), &b"abc"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    /// The same numbers in each run.
    fn next(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 8).unwrap_or(usize::MAX)
    }

    /// Changes, doubles, cuts or joins something.
    fn mutate(data: &[u8], corpus: &[Vec<u8>], state: &mut u64) -> Vec<u8> {
        let mut data = data.to_vec();
        for _ in 0..=next(state) % 4 {
            let at = next(state) % (data.len() + 1);
            let random = u8::try_from(next(state) & 0xff).expect("masked");
            match next(state) % 6 {
                0 => data.insert(at, random),
                1 if at < data.len() => data[at] = random,
                2 => data.truncate(at),
                3 => data.extend_from_within(at..),
                4 if at < data.len() => {
                    let end = (at + 1 + usize::from(random % 8)).min(data.len());
                    data.drain(at..end);
                }
                _ => {
                    let other = &corpus[next(state) % corpus.len()];
                    let some = next(state) % (other.len() + 1);
                    data.splice(at..at, other[..some].iter().copied());
                }
            }
            data.truncate(1 << 12);
        }
        data
    }

    /// Runs a target on the corpus, and on what becomes of it until `enough` says so of the count of runs.
    fn hammer((name, target): Target, corpus: &[Vec<u8>], seed: u64, enough: impl Fn(u64) -> bool) -> u64 {
        corpus.iter().for_each(|text| target(text));
        let (mut state, mut runs, mut last) = (seed, 0, Vec::new());
        while !enough(runs) {
            // Now and then on top of what was tried last, so that changes add up.
            let from = next(&mut state) % (corpus.len() + 4);
            let data = mutate(corpus.get(from).unwrap_or(&last), corpus, &mut state);
            if std::panic::catch_unwind(|| target(&data)).is_err() {
                panic!("{name}: panics on b\"{}\"", data.escape_ascii());
            }
            last = data;
            runs += 1;
        }
        runs
    }

    /// The targets of this run: all, or those that `KETCH_FUZZ_TARGETS` names, in its order (separated by commas).
    fn chosen() -> Vec<Target> {
        let Ok(names) = std::env::var("KETCH_FUZZ_TARGETS") else { return TARGETS.to_vec() };
        let find = |name| *TARGETS.iter().find(|(known, _)| *known == name).expect("a name of TARGETS");
        names.split(',').map(find).collect()
    }

    /// The processor time that this thread has had, in whole seconds: on a busy machine, less than what has passed.
    fn cpu_seconds() -> u64 {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        u64::try_from(spent.tv_sec).expect("processor time is not negative")
    }

    /// Runs `target` for `seconds` of processor time and tells how often that was.
    #[allow(clippy::print_stderr, reason = "a run of an hour tells how far it is")]
    fn run_for(target: Target, corpus: &[Vec<u8>], seconds: u64) {
        let (begun, begun_cpu) = (Instant::now(), cpu_seconds());
        let random = std::collections::hash_map::RandomState::new();
        let seed = std::hash::BuildHasher::hash_one(&random, target.0) | 1;
        // The clock is asked once in 64 runs: it is a system call, and most targets take less time than one.
        let enough = |runs: u64| runs.is_multiple_of(64) && cpu_seconds() >= begun_cpu + seconds;
        let runs = hammer(target, corpus, seed, enough);
        let (cpu, wall) = (cpu_seconds() - begun_cpu, begun.elapsed().as_secs());
        eprintln!("fuzz: {}: {runs} runs in {cpu} s of processor time ({wall} s), seed {seed:#x}", target.0);
    }

    /// 10,000 runs of each target; with `KETCH_FUZZ_SECONDS`, so many seconds of processor time of each, on
    /// all processors or on `KETCH_FUZZ_THREADS` of them (`make fuzz MINUTES=10`).
    #[test]
    fn no_target_panics_on_the_corpus_or_on_what_becomes_of_it() {
        let mut corpus: Vec<Vec<u8>> = CORPUS.iter().map(|text| text.to_vec()).collect();
        corpus.push(archive());
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seconds = number("KETCH_FUZZ_SECONDS");
        let queue = std::sync::Mutex::new(std::collections::VecDeque::from(chosen()));
        let work = || {
            while let Some(target) = { queue.lock().unwrap().pop_front() } {
                if let Some(seconds) = seconds {
                    run_for(target, &corpus, seconds);
                    continue;
                }
                let begun = Instant::now();
                hammer(target, &corpus, 0x2545_f491_4f6c_dd1d, |runs| runs >= 10_000);
                assert!(begun.elapsed().as_secs() < 240, "{} takes too long", target.0);
            }
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads =
            number("KETCH_FUZZ_THREADS").map_or(processors, |n| usize::try_from(n).unwrap_or(1).max(1));
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        run("dns", b"");
    }
}
