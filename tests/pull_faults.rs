//! `ketch pull` from a registry that misbehaves: one clear line, the right exit code, and nothing left behind.

mod common;

use std::time::{Duration, Instant};

use common::faults::{Answer, Content, Faults, How, Request, digest};
use common::image::{Built, Compression, Format, Image, Layer};
use common::process::{Invocation, Output};
use common::{Sandbox, entries, noise, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

/// An image of two layers, the first of 3 MB.
fn image() -> Built {
    Image::new()
        .layer(Layer::new().dir("big", 0o755).file("big/noise", 0o644, noise(3_000_000)), Compression::Gzip)
        .layer(Layer::new().file("small", 0o644, "hello"), Compression::Zstd)
        .build()
}

fn serve(image: &Built, rule: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Faults {
    Faults::start(image.content(), rule)
}

/// Serves another manifest for the same blobs.
fn serve_manifest(image: &Built, manifest: impl Into<Vec<u8>>) -> Faults {
    let mut all = image.content();
    all.manifest("a/b", "1", &image.manifest.media_type, &manifest.into());
    Faults::start(all, |_, answer| answer)
}

/// The path of a layer of an image.
fn layer(image: &Built, number: usize) -> String {
    format!("/v2/a/b/blobs/{}", image.layers[number].digest())
}

fn pull(sandbox: &Sandbox, server: &Faults, flags: &[&str]) -> Output {
    pulling(sandbox, server, flags).run()
}

fn pulling(sandbox: &Sandbox, server: &Faults, flags: &[&str]) -> Invocation {
    let name = format!("{}/a/b:1", server.address());
    sandbox.command(["pull", "--retry-delay=10ms"].iter().chain(flags).copied().chain([name.as_str()]))
}

/// What a failed pull left that anybody could see or that takes room, partial downloads aside.
fn leftovers(sandbox: &Sandbox) -> Vec<String> {
    ["images", "refs", "layers", "staging"]
        .iter()
        .flat_map(|dir| {
            let entries = sandbox.store().join(dir).read_dir().into_iter().flatten().flatten();
            entries.map(move |entry| format!("{dir}/{}", entry.file_name().display()))
        })
        .collect()
}

fn partials(sandbox: &Sandbox) -> Vec<u64> {
    let dir = sandbox.store().join("blobs/partial").read_dir();
    dir.into_iter().flatten().flatten().map(|entry| entry.metadata().expect("a file").len()).collect()
}

/// Fails unless each blob in the store is what its name says.
#[track_caller]
fn blobs_are_whole(sandbox: &Sandbox) {
    for blob in sandbox.store().join("blobs/sha256").read_dir().into_iter().flatten().flatten() {
        let bytes = std::fs::read(blob.path()).expect("read a blob");
        assert_eq!(digest(&bytes), format!("sha256:{}", blob.file_name().display()));
    }
}

/// Within 64 MiB of memory, whatever the server sends.
#[track_caller]
fn refused(server: &Faults, flags: &[&str], word: &str) {
    let sandbox = Sandbox::empty();
    let output = pulling(&sandbox, server, flags).through(["prlimit", "--data=67108864"]).run();
    assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{}", output.stderr);
    assert!(output.stderr.contains("Error: ") && output.stderr.contains(word), "{word}: {}", output.stderr);
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
    blobs_are_whole(&sandbox);
}

/// Pulls, which has to work, and looks at what was pulled.
#[track_caller]
fn pulled(sandbox: &Sandbox, server: &Faults, image: &Built, flags: &[&str]) -> Output {
    let output = pull(sandbox, server, flags);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(format!("sha256:{}", output.stdout.trim_end()), image.id());
    assert_eq!(partials(sandbox), Vec::<u64>::new());
    output
}

/// REL-49, SEC-22, SEC-23.
#[test]
fn blobs_of_a_wrong_length_or_digest_are_refused() {
    let image = image();
    let path = layer(&image, 0);
    let flip = |mut body: Vec<u8>| {
        let middle = body.len() / 2;
        body[middle] ^= 1;
        body
    };
    type Change = fn(Answer) -> Answer;
    let cases: [(&str, Change); 4] = [
        ("size mismatch", |answer| answer.map(|body| [body, vec![0; 100]].concat())),
        ("size mismatch", |answer| answer.map(|body| body[100..].to_vec())),
        ("size mismatch", |answer| answer.how(How::Endless)),
        ("has digest", |answer| answer),
    ];
    for (word, change) in cases {
        let path = path.clone();
        let server = serve(&image, move |request, answer| match request.path == path {
            true if word == "has digest" => change(answer).map(flip),
            true => change(answer),
            false => answer,
        });
        refused(&server, &[], word);
        // What comes after the announced end is not waited for: the buffers of two sockets hold a few MiB.
        assert!(server.surplus() < 32 << 20, "{} bytes too much were taken", server.surplus());
    }
    let config = format!("/v2/a/b/blobs/{}", image.config.digest());
    let server =
        serve(&image, move |request, answer| if request.path == config { answer.map(flip) } else { answer });
    refused(&server, &[], "has digest");
}

/// SEC-23, SEC-25, SEC-26, SEC-27.
#[test]
fn hostile_manifests_are_refused() {
    let image = image();
    let original: Value = serde_json::from_slice(&image.manifest.bytes).expect("JSON");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = original.clone();
        change(&mut changed);
        changed.to_string()
    };
    let upper = image.layers[0].digest().to_uppercase().replace("SHA256", "sha256");
    let size = original["layers"][0]["size"].as_u64().expect("a number");
    let many: Vec<Value> = (0..5000).map(|_| original["layers"][0].clone()).collect();
    // The same keys twice: who checks the first and uses the second is led astray.
    let text = original.to_string();
    let twice = |key: &str| {
        let value = json!({key: original[key]}).to_string();
        format!("{},{}", text.strip_suffix('}').expect("an object"), &value[1..])
    };
    for key in ["config", "layers", "mediaType"] {
        refused(&serve_manifest(&image, twice(key)), &[], "duplicate");
    }
    for (manifest, word) in [
        (with(&|m| m["layers"][0]["size"] = json!(-1)), "malformed"),
        (with(&|m| m["layers"][0]["size"] = json!(size + 100)), "size mismatch"),
        (with(&|m| m["layers"][0]["size"] = json!(size - 100)), "size mismatch"),
        (with(&|m| m["layers"][0]["digest"] = json!("sha256:../../x")), "digest"),
        (with(&|m| m["layers"][0]["digest"] = json!(upper)), "digest"),
        (with(&|m| m["layers"][0]["digest"] = json!("sha256:abc")), "digest"),
        (with(&|m| m["layers"][0]["digest"] = json!("sha512:abc")), "digest"),
        (with(&|m| m["layers"][0]["digest"] = json!("")), "digest"),
        (with(&|m| m["config"]["digest"] = json!(digest(b"other"))), "not found"),
        (with(&|m| m["layers"] = json!([])), "the configuration names 2 layers, the manifest 0"),
        (with(&|m| m["layers"] = json!(many)), "layers"),
        (with(&|m| m["manifests"] = json!([])), "index and manifest at once"),
        (with(&|m| m["layers"][0]["mediaType"] = json!("application/wasm")), "artifact"),
        ("[".repeat(100_000), "malformed"),
        (" ".repeat(5 << 20), "larger than 4194304 bytes"),
        (" ".repeat(64 << 20), "larger than 4194304 bytes"),
        ("{\"config\":{\"digest\":\"a\0b\"}}".into(), "malformed"),
        ("{\"config\":{\"digest\":\"\\ud800\"}}".into(), "malformed"),
        ("{\"schemaVersion\":1,\"fsLayers\":[]}".into(), "schema 1"),
        (String::new(), "malformed"),
    ] {
        refused(&serve_manifest(&image, manifest), &[], word);
    }
}

/// SEC-26.
#[test]
fn a_manifest_asked_for_by_digest_must_have_it() {
    let image = image();
    let server = serve(&image, |request, answer| match request.path.contains("/manifests/") {
        true => answer.map(|body| [body, b" ".to_vec()].concat()),
        false => answer,
    });
    let sandbox = Sandbox::empty();
    let name = format!("{}/a/b@{}", server.address(), image.manifest.digest());
    let output = sandbox.ketch(["pull", &name]);
    assert_eq!(output.code, 125, "{}", output.stderr);
    assert!(output.stderr.contains("has digest"), "{}", output.stderr);
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
}

/// SEC-26, SEC-24: what the archive is decides.
#[test]
fn corrupt_layers_are_refused() {
    let good = image();
    let other = Layer::new().file("other", 0o644, "x").finish();
    for (bytes, word) in
        [(other, "diff ID"), (noise(10_000), "corrupt"), (good.layers[1].bytes[..40].to_vec(), "")]
    {
        let mut bad = good.clone();
        bad.layers[1].bytes = bytes;
        bad.manifest = common::image::manifest(&bad.manifest.media_type, &bad.config, &bad.layers);
        refused(&serve(&bad, |_, answer| answer), &[], word);
    }
}

/// SEC-24: the diff ID decides, whoever brings the blob: what follows the compressed stream is no part of the archive.
#[test]
fn garbage_after_the_compressed_stream_does_not_count() {
    let good = image();
    for garbage in [b"garbage".to_vec(), vec![0; 1000], noise(300)] {
        let mut padded = good.clone();
        padded.layers[0].bytes.extend(&garbage);
        padded.manifest =
            common::image::manifest(&padded.manifest.media_type, &padded.config, &padded.layers);
        let sandbox = Sandbox::empty();
        pulled(&sandbox, &serve(&padded, |_, answer| answer), &padded, &[]);
        common::image::write_layout(&sandbox, "layout", &[&padded], &padded.manifest, "x:1");
        let other = Sandbox::empty();
        other.ok(["load", "-q", "-i", sandbox.path("layout").to_str().expect("UTF-8")]);
        assert_eq!(other.ok(["images", "-q", "--no-trunc"]), padded.id());
    }
    // But it is no hiding place for another archive: that has another diff ID.
    let mut longer = good.clone();
    let further = Image::new().layer(Layer::new().file("further", 0o644, "x"), Compression::Gzip).build();
    longer.layers[0].bytes.extend(&further.layers[0].bytes);
    longer.manifest = common::image::manifest(&longer.manifest.media_type, &longer.config, &longer.layers);
    refused(&serve(&longer, |_, answer| answer), &[], "diff ID");
}

/// REL-50.
#[test]
fn a_cut_download_goes_on_in_the_same_command() {
    let image = image();
    let path = layer(&image, 0);
    for how in [How::ResetAt(1_200_000), How::Whole] {
        let wanted = path.clone();
        let server = serve(&image, move |request, answer| {
            if request.path == wanted && request.before < 2 { answer.how(how) } else { answer }
        });
        pulled(&Sandbox::empty(), &server, &image, &[]);
        let asked = server.asked(&path);
        match how {
            How::Whole => assert_eq!(asked.len(), 1),
            _ => assert_eq!(asked[1].header("range"), Some("bytes=1200000-")),
        }
    }
}

/// REL-50: the next command needs only what is missing.
#[test]
fn a_cut_download_goes_on_in_the_next_command() {
    let image = image();
    let path = layer(&image, 0);
    let wanted = path.clone();
    let server = serve(&image, move |request, answer| {
        if request.path == wanted && request.before == 0 {
            answer.how(How::ResetAt(2_000_000))
        } else {
            answer
        }
    });
    let sandbox = Sandbox::empty();
    let first = pull(&sandbox, &server, &["--retry=0"]);
    assert_eq!(first.code, 125, "{}", first.stderr);
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
    assert!(partials(&sandbox).contains(&2_000_000));
    pulled(&sandbox, &server, &image, &[]);
    assert_eq!(server.asked(&path)[1].header("range"), Some("bytes=2000000-"));
    // The finished one was not fetched again.
    assert_eq!(server.asked(&layer(&image, 1)).len(), 1);
}

/// A partial download that the disk has damaged is thrown away and made anew.
#[test]
fn a_damaged_part_is_fetched_again() {
    let image = image();
    let path = layer(&image, 0);
    let wanted = path.clone();
    let server = serve(&image, move |request, answer| {
        if request.path == wanted && request.before == 0 {
            answer.how(How::ResetAt(2_000_000))
        } else {
            answer
        }
    });
    let sandbox = Sandbox::empty();
    assert_eq!(pull(&sandbox, &server, &["--retry=0"]).code, 125);
    let partial = sandbox.store().join("blobs/partial").join(&image.layers[0].digest()["sha256:".len()..]);
    let mut bytes = std::fs::read(&partial).expect("the part");
    bytes[1_000_000] ^= 1;
    std::fs::write(&partial, bytes).expect("damage it");
    pulled(&sandbox, &server, &image, &[]);
    let ranges: Vec<_> = server.asked(&path).iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=2000000-".into()), None]);
}

/// REL-51.
#[test]
fn without_ranges_the_blob_is_fetched_again() {
    let image = image();
    let path = layer(&image, 0);
    let (wanted, bytes) = (path.clone(), image.layers[0].bytes.clone());
    let server = serve(&image, move |request, answer| {
        let whole = Answer::ok(bytes.clone());
        match request.path == wanted {
            true if request.before < 5 => whole.how(How::ResetAt(400_000)),
            true => whole,
            false => answer,
        }
    });
    pulled(&Sandbox::empty(), &server, &image, &[]);
    assert_eq!((server.asked(&path).len(), server.asked(&layer(&image, 1)).len()), (6, 1));
}

/// REL-52, REL-53.
#[test]
fn busy_registries_are_waited_for() {
    let image = image();
    for (status, part) in [(429, "/manifests/"), (429, "/blobs/"), (503, "/manifests/"), (503, "/blobs/")] {
        let server = serve(&image, move |request, answer| match request.path.contains(part) {
            true if request.before == 0 => Answer::status(status).header("Retry-After", "1"),
            _ => answer,
        });
        let began = Instant::now();
        let output = pulled(&Sandbox::empty(), &server, &image, &[]);
        assert!(began.elapsed() >= Duration::from_secs(1), "{status} {part}: came back too soon");
        let line = output.stderr.lines().find(|line| line.starts_with("Retrying ")).unwrap_or_default();
        assert!(line.contains("in 1 s: ") && line.contains(&status.to_string()), "{}", output.stderr);
    }
    let down =
        serve(&image, |request, answer| if request.path == "/v2/" { answer } else { Answer::status(503) });
    refused(&down, &["--retry=2"], "answered 503");
    assert_eq!(down.asked("/manifests/").len(), 3);
}

/// REL-54: takes its 30 s.
#[test]
fn a_silent_server_is_left_after_30_seconds() {
    let image = image();
    let path = layer(&image, 0);
    let wanted = path.clone();
    let server = serve(&image, move |request, answer| {
        if request.path == wanted && request.before == 0 {
            answer.how(How::SilentAt(1_000_000))
        } else {
            answer
        }
    });
    let began = Instant::now();
    let output = pulled(&Sandbox::empty(), &server, &image, &[]);
    assert!(output.stderr.contains("sent nothing for 30 s"), "{}", output.stderr);
    assert!((30..60).contains(&began.elapsed().as_secs()), "once: {:?}", began.elapsed());
    assert_eq!(server.asked(&path)[1].header("range"), Some("bytes=1000000-"));
}

/// REL-55.
#[test]
fn a_token_that_runs_out_is_renewed_once() {
    let image = image();
    let second = layer(&image, 0);
    let server = serve(&image, move |request, answer| {
        let host = request.header("host").unwrap_or_default();
        let challenge =
            Answer::challenge(format!(r#"Bearer realm="http://{host}/token",service="x",scope="y""#));
        let shown = request.header("authorization").unwrap_or_default();
        match request.path.as_str() {
            "/v2/" => answer,
            path if path.starts_with("/token") => Answer::ok(format!(r#"{{"token":"t{}"}}"#, request.before)),
            path if path == second && shown == "Bearer t0" => challenge,
            _ if shown.starts_with("Bearer t") => answer,
            _ => challenge,
        }
    });
    pulled(&Sandbox::empty(), &server, &image, &[]);
    assert_eq!(server.asked("/token").len(), 2);
}

/// SEC-28.
#[test]
fn redirects_do_not_carry_secrets_and_do_not_lead_astray() {
    let image = image();
    let secret = "Basic YWxpY2U6c2VjcmV0";
    let guarded = move |request: &Request, answer: Answer| match request.header("authorization") {
        Some(shown) if shown == secret => answer,
        _ => Answer::challenge("Basic realm=x"),
    };
    for status in [302, 307, 308] {
        let cdn = serve(&image, |_, answer| answer);
        let to = cdn.address();
        let server = serve(&image, move |request, answer| {
            let answer = guarded(request, answer);
            let moved = Answer::status(status).header("Location", format!("http://{to}{}", request.path));
            let authorized = request.header("authorization").is_some();
            if request.path.contains("/blobs/") && authorized { moved } else { answer }
        });
        pulled(&Sandbox::empty(), &server, &image, &["--creds=alice:secret"]);
        let seen = cdn.requests();
        assert!(!seen.is_empty() && seen.iter().all(|request| request.header("authorization").is_none()));
    }
    for (to, word) in [
        ("file:///etc/passwd", "neither http nor https"),
        ("http://169.254.169.254/latest", "link-local"),
        ("", "more than 10 redirects"),
    ] {
        let server = serve(&image, move |request, answer| match request.path.contains("/blobs/") {
            true => Answer::status(302).header("Location", to),
            false => answer,
        });
        refused(&server, &[], word);
        assert!(server.requests().len() < 30);
    }
}

/// SEC-29.
#[test]
fn passwords_stay_away_from_foreign_realms() {
    let thief = Faults::start(Content::default(), |_, _| Answer::ok(r#"{"token":"x"}"#));
    let realm = thief.address();
    let server = serve(&image(), move |_, _| Answer::challenge(format!("Bearer realm=\"http://{realm}/t\"")));
    for flag in ["--creds=alice:secret", "--tls-verify=false"] {
        refused(&server, &["--creds=alice:secret", flag], "refused");
        assert!(thief.requests().is_empty());
    }
}

/// Two processes at once: both succeed, and each blob comes once.
#[test]
fn two_pulls_of_one_image_share_the_work() {
    let image = image();
    let server = serve(&image, |_, answer| answer.how(How::Chunked(100_000)));
    let sandbox = Sandbox::empty();
    let name = format!("{}/a/b:1", server.address());
    let running: Vec<_> = (0..3).map(|_| sandbox.command(["pull", "-q", &name]).spawn()).collect();
    for process in running {
        let output = process.wait();
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(format!("sha256:{}", output.stdout.trim_end()), image.id());
    }
    for number in 0..2 {
        assert_eq!(server.asked(&layer(&image, number)).len(), 1);
    }
}

/// REL-02: killed in the middle, the next command works and resumes.
#[test]
fn a_killed_pull_leaves_nothing_but_what_helps() {
    let image = image();
    let path = layer(&image, 0);
    let wanted = path.clone();
    let server = serve(&image, move |request, answer| {
        if request.path == wanted && request.before == 0 {
            answer.how(How::SilentAt(1_000_000))
        } else {
            answer
        }
    });
    let sandbox = Sandbox::empty();
    let name = format!("{}/a/b:1", server.address());
    let running = sandbox.command(["pull", &name]).spawn();
    wait_for("half of the download", || {
        if partials(&sandbox).contains(&1_000_000) { Ok(()) } else { Err("not yet".into()) }
    });
    running.signal(Signal::KILL);
    running.wait();
    pulled(&sandbox, &server, &image, &[]);
    assert_eq!(server.asked(&path)[1].header("range"), Some("bytes=1000000-"));
    let left: Vec<_> = leftovers(&sandbox).into_iter().filter(|left| left.starts_with("staging")).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// The worker is the machine's to kill too.
#[test]
fn a_worker_that_is_killed_ends_the_pull_with_a_word() {
    let image = image();
    let path = layer(&image, 0);
    let server = serve(&image, move |request, answer| {
        if request.path == path && request.before == 0 { answer.how(How::Trickle(5_000)) } else { answer }
    });
    let sandbox = Sandbox::empty();
    let name = format!("{}/a/b:1", server.address());
    let running = sandbox.command(["pull", &name]).spawn();
    let worker = wait_for("the worker", || {
        let stats = std::fs::read_dir("/proc").expect("list /proc").flatten();
        let child = stats.filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split(' ').nth(2)?.parse::<u32>().ok()?;
            let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
            (parent == running.pid()).then_some(pid)
        });
        let ready = partials(&sandbox).iter().any(|length| *length > 200_000);
        child.last().filter(|_| ready).ok_or_else(|| "not yet".into())
    });
    let worker = rustix::process::Pid::from_raw(worker).expect("a process");
    rustix::process::kill_process(worker, Signal::KILL).expect("kill the worker");
    let output = running.wait();
    assert_eq!(output.code, 125, "{}", output.stderr);
    assert!(output.stderr.contains("Error: pull ") && output.stderr.contains("worker"), "{}", output.stderr);
    pulled(&sandbox, &server, &image, &[]);
}

/// A disk that is too small, as a file system of its own in a namespace of the test user.
#[test]
fn a_full_disk_is_said_and_cleaned_up() {
    let image = image();
    let server = serve(&image, |_, answer| answer);
    let name = format!("{}/a/b:1", server.address());
    // What is left of 30 MB is too little for the blobs, or for what is in them.
    for used in [28, 25] {
        let sandbox = Sandbox::empty();
        std::fs::create_dir(sandbox.store()).expect("a directory to mount on");
        let script = format!(
            "mount -t tmpfs -o size=30m,mode=700 none \"$KETCH_ROOT\" && cd \"$KETCH_ROOT\" || exit 99
             mkdir refs && dd if=/dev/zero of=filler bs=1M count={used} 2> /dev/null
             ketch pull -q {name}; echo code $?
             echo left $(ls images refs layers staging | grep -v :)
             rm filler; ketch pull -q {name}"
        );
        let wrapped = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
        let output = sandbox.program("unshare", wrapped).run();
        if output.code == 99 {
            common::skip("no file system of its own in a user namespace");
            return;
        }
        assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
        assert!(output.stdout.starts_with("code 125\nleft\n"), "{}{}", output.stdout, output.stderr);
        assert!(output.stderr.contains("hint: ") && output.stderr.contains("free"), "{}", output.stderr);
        assert!(output.stdout.contains(&image.id()["sha256:".len()..]), "{}", output.stdout);
    }
}

/// Nobody answers, or the wrong one does.
#[test]
fn unreachable_and_unknown() {
    let sandbox = Sandbox::empty();
    let port = common::free_port();
    for (name, words) in [
        (format!("127.0.0.1:{port}/a/b:1"), vec!["pull 127.0.0.1:", "refused"]),
        (format!("localhost:{port}/a/b:1"), vec!["refused"]),
        ("UPPER".into(), vec!["invalid reference format", "repository name must be lowercase"]),
        ("a:b:c".into(), vec!["invalid tag"]),
        ("oci:/tmp/x".into(), vec!["/tmp/x"]),
    ] {
        let output = sandbox.ketch(["pull", &name]);
        assert_eq!(output.code, 125, "{}", output.stderr);
        assert!(words.iter().all(|word| output.stderr.contains(word)), "{words:?}: {}", output.stderr);
    }
    let server = serve(&image(), |_, answer| answer);
    let output = sandbox.ketch(["pull", &format!("{}/a/b:nope", server.address())]);
    assert_eq!(output.code, 125);
    assert!(output.stderr.contains("not found") && output.stderr.contains("hint: "), "{}", output.stderr);
}

/// A mirror that has nothing, or lies, or is down is passed over.
#[test]
fn mirrors_come_first_and_may_fail() {
    let image = image();
    let empty = Faults::start(Content::default(), |_, answer| answer);
    let good = serve(&image, |_, answer| answer);
    let sandbox = Sandbox::empty();
    let conf = format!(
        "[[registry]]\nlocation='example.invalid/a'\n[[registry.mirror]]\nlocation='{}/a'\n\
         [[registry.mirror]]\nlocation='{}/a'\n[aliases]\nshort='example.invalid/a/b'\n",
        empty.address(),
        good.address()
    );
    let conf = sandbox.write("registries.conf", conf);
    for name in ["example.invalid/a/b:1", "short:1"] {
        let output = sandbox.command(["pull", name]).env("CONTAINERS_REGISTRIES_CONF", &conf).run();
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(format!("sha256:{}", output.stdout.trim_end()), image.id());
    }
    assert_eq!(empty.asked("/manifests/").len(), 2);
    assert!(
        sandbox.store().join("refs/example.invalid%2Fa%2Fb:1").exists(),
        "it has the name that was asked for"
    );
}

/// SEC-28, SEC-29: the registry chooses the realm, so it may not choose who gets the password.
#[test]
fn a_password_goes_to_no_foreign_realm() {
    let image = image();
    let server = serve(&image, |_, _| Answer::challenge(r#"Bearer realm="https://auth.example/token""#));
    let output = pull(&Sandbox::empty(), &server, &["--creds=me:secret"]);
    assert_eq!(output.code, 125, "{}", output.stderr);
    assert!(
        output.stderr.contains("asks to send its password to https://auth.example/token"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("\nhint: if auth.example "), "{}", output.stderr);
    assert!(!output.stderr.contains("secret"), "{}", output.stderr);
    assert!(server.requests().iter().all(|request| request.header("authorization").is_none()));

    // Storing the same password for that host is the confirmation: now it is asked, and is not there.
    let sandbox = Sandbox::empty();
    let auth = json!({"auths": {server.address(): {"auth": "bWU6c2VjcmV0"}, "auth.example": {"auth": "bWU6c2VjcmV0"}}});
    let file = format!("--authfile={}", sandbox.write("auth.json", auth.to_string()).display());
    let output = pull(&sandbox, &server, &["--retry=0", &file]);
    assert!(output.code == 125 && output.stderr.contains("reach https://auth.example"), "{}", output.stderr);
}

/// Docker 1.10 and registries of its time wrote other media types for configurations; of OCI's manifests they make
/// artifacts.
#[test]
fn configurations_of_old_docker_have_other_media_types() {
    for (format, taken) in [(Format::Docker, true), (Format::Oci, false)] {
        for media_type in ["application/octet-stream", "application/json", "text/html"] {
            let layer = Layer::new().file("mark", 0o644, "old");
            let mut image = Image::new().format(format).layer(layer, Compression::Gzip).build();
            image.config.media_type = media_type.to_owned();
            image.manifest =
                common::image::manifest(&image.manifest.media_type, &image.config, &image.layers);
            let server = serve(&image, |_, answer| answer);
            match taken {
                true => drop(pulled(&Sandbox::empty(), &server, &image, &[])),
                false => refused(&server, &[], "not a container image but an artifact"),
            }
        }
    }
}

/// A registry that has no parts of blobs, only the whole.
#[test]
fn a_server_that_refuses_ranges_is_asked_for_the_whole() {
    let image = image();
    let path = layer(&image, 0);
    let wanted = path.clone();
    let server = serve(&image, move |request, answer| match request.path == wanted {
        true if request.header("range").is_some() => Answer::status(416),
        true if request.before < 4 => answer.how(How::ResetAt(400_000 + 100_000 * request.before)),
        _ => answer,
    });
    pulled(&Sandbox::empty(), &server, &image, &[]);
    let ranges = server.asked(&path).iter().filter(|request| request.header("range").is_some()).count();
    assert_eq!(ranges, 1, "what it refuses once is not asked for again");
    // What an earlier command has left is gone on with, too.
    let (sandbox, path) = (Sandbox::empty(), layer(&image, 0));
    let wanted = path.clone();
    let server = serve(&image, move |request, answer| match request.path == wanted {
        true if request.header("range").is_some() => Answer::status(416),
        true if request.before == 0 => answer.how(How::ResetAt(2_000_000)),
        _ => answer,
    });
    assert_eq!(pull(&sandbox, &server, &["--retry=0"]).code, 125);
    pulled(&sandbox, &server, &image, &[]);
}

#[test]
fn tokens_may_come_with_null_and_with_any_lifetime() {
    let image = image();
    for token in
        [r#"{"token":null,"access_token":"t"}"#, r#"{"token":"t","access_token":null,"expires_in":-1}"#]
    {
        let server = serve(&image, move |request, answer| {
            let host = request.header("host").unwrap_or_default();
            match request.header("authorization") {
                _ if request.path == "/v2/" => answer,
                _ if request.path.starts_with("/token") => Answer::ok(token),
                Some("Bearer t") => answer,
                _ => Answer::challenge(format!(r#"Bearer realm="http://{host}/token",service="x""#)),
            }
        });
        pulled(&Sandbox::empty(), &server, &image, &[]);
    }
}

/// Two images with one layer, which each has in a blob of its own.
#[test]
fn an_image_has_its_own_blobs_though_its_layer_was_here() {
    let built = |compression, label| {
        Image::new()
            .layer(Layer::new().file("f", 0o644, noise(100_000)), compression)
            .label("l", label)
            .build()
    };
    let (first, second) = (built(Compression::Gzip, "1"), built(Compression::Zstd, "2"));
    let mut content = first.content();
    for blob in second.layers.iter().chain([&second.config]) {
        content.blob("a/b", &blob.bytes);
    }
    content.manifest("a/b", "2", &second.manifest.media_type, &second.manifest.bytes);
    let server = Faults::start(content, |_, answer| answer);
    let sandbox = Sandbox::empty();
    pulled(&sandbox, &server, &first, &[]);
    let (path, name) = (layer(&second, 0), format!("{}/a/b:2", server.address()));
    sandbox.ok(["pull", "-q", &name]);
    assert_eq!(server.asked(&path).len(), 1);
    sandbox.ok(["save", "-q", "--format=oci-archive", "-o", "second.tar", &name]);
    sandbox.ok(["system", "check"]);
    // A blob that is lost is said to be, and pulled again.
    let blob = second.layers[0].digest();
    std::fs::remove_file(sandbox.store().join("blobs/sha256").join(&blob["sha256:".len()..]))
        .expect("lose it");
    let check = sandbox.ketch(["system", "check"]);
    check.fails(125);
    assert!(check.stdout.contains(&blob) && check.stdout.contains("pull it again"), "{}", check.stdout);
    sandbox.ok(["pull", "-q", &name]);
    sandbox.ok(["system", "check"]);
    sandbox.ok(["rmi", &format!("{}/a/b:1", server.address())]);
    sandbox.ok(["push", "-q", &name, "oci:there"]);
    assert_eq!(entries(&sandbox.store(), "staging"), Vec::<String>::new());
}
