//! The client against a registry that misbehaves: small waits, real sockets.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::registry::auth::{Credential, Stores};
use crate::registry::blob::Blob;
use crate::registry::client::{Client, Fetched, Notice, Options, Purpose};
use crate::registry::config::Endpoint;
use crate::registry::error::{Error, Result};
use crate::registry::faults::{Answer, Content, Faults, How, Request, digest};
use crate::registry::retry::Policy;

/// Short pauses, so that the tests are quick. A server that works is never silent for so long, on any machine.
fn options() -> Options {
    let policy = Policy {
        retries: 5,
        delay: Duration::from_millis(5),
        stall: Duration::from_secs(60),
        rate_limit: Duration::from_secs(3),
    };
    Options { policy, ..Options::default() }
}

/// The same, and little patience with a server that says nothing.
fn impatient() -> Options {
    let policy = Policy { stall: Duration::from_millis(300), ..options().policy };
    Options { policy, ..Options::default() }
}

fn image_at(server: &Faults) -> ImageRef {
    format!("{}/a/b:1", server.address()).parse().unwrap()
}

/// Does `work` with a client for `a/b` on the server.
fn with_client<T>(server: &Faults, options: &Options, work: impl FnOnce(&Client<'_>) -> T) -> T {
    let endpoint = Endpoint { image: image_at(server), insecure: false };
    let notices = |_: &Notice<'_>| {};
    work(&Client::new(&endpoint, Purpose::Pull, options, &notices).unwrap())
}

/// Bytes that differ everywhere, so that a hole or a doubled piece shows.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from((n ^ (n >> 8) ^ (n >> 16)) & 0xff).expect("masked")).collect()
}

fn pull_blob(server: &Faults, options: &Options, content: &[u8]) -> Result<Vec<u8>> {
    let blob = Blob { digest: Digest::of(content), size: content.len() as u64 };
    with_client(server, options, |client| client.small_blob(blob))
}

fn blob_server(content: &[u8], rule: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Faults {
    let mut all = Content::default();
    all.blob("a/b", content);
    Faults::start(
        all,
        move |request, answer| {
            if request.path.contains("/blobs/") { rule(request, answer) } else { answer }
        },
    )
}

#[test]
fn bodies_of_every_framing_arrive_whole() {
    let content = bytes(700_000);
    for how in [How::Whole, How::Chunked(1), How::Chunked(70_000), How::UntilClose] {
        // A million one-byte chunks would take their time.
        let content = if matches!(how, How::Chunked(1)) { &content[..5_000] } else { &content };
        let server = blob_server(content, move |_, answer| answer.how(how));
        assert_eq!(pull_blob(&server, &options(), content).unwrap(), content, "{how:?}");
    }
}

#[test]
fn a_cut_transfer_goes_on_where_it_broke_off() {
    let content = bytes(3_000_000);
    for how in [How::ResetAt(1_200_000), How::SilentAt(1_200_000), How::UntilClose] {
        let server = blob_server(&content, move |_, answer| match how {
            How::UntilClose => answer.map(|body| body[..body.len().min(1_200_000)].to_vec()).how(how),
            _ => answer.how(how),
        });
        let options = if matches!(how, How::SilentAt(_)) { impatient() } else { options() };
        assert_eq!(pull_blob(&server, &options, &content).unwrap(), content, "{how:?}");
        let ranges: Vec<_> =
            server.asked("/blobs/").iter().map(|r| r.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges[0], None);
        assert!(ranges.len() >= 3 && ranges[1..].iter().all(Option::is_some), "{how:?}: {ranges:?}");
    }
}

#[test]
fn without_ranges_the_whole_blob_is_asked_for_again() {
    let content = bytes(2_000_000);
    let whole = content.clone();
    let server = blob_server(&content, move |request, _| {
        let answer = Answer::ok(whole.clone());
        if request.before < 5 { answer.how(How::ResetAt(300_000)) } else { answer }
    });
    assert_eq!(pull_blob(&server, &options(), &content).unwrap(), content);
    assert_eq!(server.asked("/blobs/").len(), 6, "one attempt and five more");

    let whole = content.clone();
    let never = blob_server(&content, move |_, _| Answer::ok(whole.clone()).how(How::ResetAt(300_000)));
    assert!(matches!(pull_blob(&never, &options(), &content), Err(Error::Transport { .. })));
    assert_eq!(never.asked("/blobs/").len(), 6);
}

#[test]
fn wrong_lengths_and_digests_are_refused_at_once() {
    let content = bytes(100_000);
    type Is = fn(&Error) -> bool;
    type Change = fn(Answer) -> Answer;
    let cases: [(&str, Change, Is); 6] = [
        ("longer", |a| a.map(|b| [b, vec![0]].concat()), |e| matches!(e, Error::Size { got: 100_001, .. })),
        ("shorter", |a| a.map(|b| b[1..].to_vec()), |e| matches!(e, Error::Size { got: 99_999, .. })),
        (
            "longer, in chunks",
            |a| a.map(|b| [b, vec![0]].concat()).how(How::Chunked(999)),
            |e| matches!(e, Error::Endless { want: 100_000, .. }),
        ),
        (
            "shorter, in chunks",
            |a| a.map(|b| b[1..].to_vec()).how(How::Chunked(999)),
            |e| matches!(e, Error::Size { got: 99_999, .. }),
        ),
        ("endless", |a| a.how(How::Endless), |e| matches!(e, Error::Endless { .. })),
        (
            "one bit",
            |a| {
                a.map(|mut b| {
                    b[50_000] ^= 1;
                    b
                })
            },
            |e| matches!(e, Error::Digest { .. }),
        ),
    ];
    for (name, change, is) in cases {
        let server = blob_server(&content, move |_, answer| change(answer));
        let err = pull_blob(&server, &options(), &content).unwrap_err();
        assert!(is(&err), "{name}: {err}");
        assert_eq!(server.asked("/blobs/").len(), 1, "{name} is final");
    }
}

#[test]
fn a_hole_in_a_range_is_noticed() {
    let content = bytes(2_000_000);
    let server = blob_server(&content, |request, answer| match request.before {
        0 => answer.how(How::ResetAt(500_000)),
        // Answers another range than asked for: its bytes would tear a hole.
        1 => Answer::status(206)
            .map(|_| vec![7; 1_000_000])
            .header("Content-Range", "bytes 1000000-1999999/2000000"),
        _ => answer,
    });
    assert_eq!(pull_blob(&server, &options(), &content).unwrap(), content);
}

#[test]
fn server_trouble_is_waited_for() {
    let content = bytes(1000);
    for status in [408, 429, 500, 502, 503, 504] {
        let server = blob_server(
            &content,
            move |request, answer| {
                if request.before < 3 { Answer::status(status) } else { answer }
            },
        );
        assert_eq!(pull_blob(&server, &options(), &content).unwrap(), content, "{status}");
        let down = blob_server(&content, move |_, _| Answer::status(status));
        let err = pull_blob(&down, &options(), &content).unwrap_err();
        let right = matches!(err, Error::RateLimited { .. } | Error::Status { .. });
        assert!(right && down.asked("/blobs/").len() == 6, "{status}: {err}");
    }
}

#[test]
fn retry_after_is_honoured() {
    let content = bytes(1000);
    let server = blob_server(&content, |request, answer| match request.before {
        0 => Answer::status(429).header("Retry-After", "1"),
        _ => answer,
    });
    let told = Mutex::new(Vec::new());
    let notices = |notice: &Notice<'_>| {
        if let Notice::Waiting { left, reason, .. } = notice {
            told.lock().unwrap().push((*left, (*reason).to_owned()));
        }
    };
    let (began, options) = (Instant::now(), options());
    let endpoint = Endpoint { image: image_at(&server), insecure: false };
    let client = Client::new(&endpoint, Purpose::Pull, &options, &notices).unwrap();
    let blob = Blob { digest: Digest::of(&content), size: 1000 };
    assert_eq!(client.small_blob(blob).unwrap(), content);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(told.lock().unwrap().iter().any(|(left, why)| left.as_secs() == 1 && why.contains("429")));

    let greedy = blob_server(&content, |_, _| Answer::status(429).header("Retry-After", "9999"));
    assert!(matches!(pull_blob(&greedy, &options, &content), Err(Error::RateLimited { .. })));
}

#[test]
fn silence_is_broken_off() {
    let content = bytes(1000);
    let server = blob_server(&content, |_, answer| answer.how(How::SilentAt(0)));
    let options = Options { policy: Policy { retries: 1, ..impatient().policy }, ..Options::default() };
    let began = Instant::now();
    assert!(matches!(pull_blob(&server, &options, &content), Err(Error::Stalled { .. })));
    assert!(began.elapsed() < Duration::from_secs(30), "not what a patient one waits");
}

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn manifest_server(rule: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Faults {
    let mut content = Content::default();
    content.manifest("a/b", "1", "application/vnd.oci.image.manifest.v1+json", MANIFEST);
    Faults::start(content, rule)
}

fn manifest(server: &Faults, reference: &str) -> Result<Fetched> {
    with_client(server, &options(), |client| client.manifest(reference))
}

#[test]
fn manifests_are_bounded_and_verified() {
    let good = manifest_server(|_, answer| answer);
    let fetched = manifest(&good, "1").unwrap();
    assert_eq!((fetched.bytes.as_slice(), fetched.digest), (MANIFEST, Digest::of(MANIFEST)));
    assert_eq!(fetched.media_type, "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest(&good, &digest(MANIFEST)).unwrap().digest, Digest::of(MANIFEST));
    assert!(
        matches!(manifest(&good, "2"), Err(Error::NotFound { message, .. }) if message.contains("not here"))
    );

    let changed = manifest_server(|request, answer| match request.path.as_str() {
        "/v2/" => answer,
        _ => answer.map(|body| [body, b" ".to_vec()].concat()),
    });
    let err = manifest(&changed, &digest(MANIFEST)).unwrap_err();
    assert!(matches!(err, Error::Digest { .. }), "{err}");

    for how in [How::Whole, How::Chunked(65_536), How::Endless] {
        let big = manifest_server(move |request, answer| match request.path.as_str() {
            "/v2/" => answer,
            _ => Answer::ok(vec![b' '; 5 << 20]).how(how),
        });
        assert!(matches!(manifest(&big, "1"), Err(Error::TooLarge { .. })), "{how:?}");
    }
}

fn with_password() -> Options {
    Options { credential: Some(Credential::from_option("alice:secret")), ..options() }
}

/// A registry that lets in whoever shows one of the tokens that its own `/token` gives.
fn token_server(tokens: &'static [&'static str]) -> Faults {
    let mut content = Content::default();
    content.manifest("a/b", "1", "application/vnd.oci.image.manifest.v1+json", MANIFEST);
    Faults::start(content, move |request, answer| {
        let host = request.header("host").unwrap_or_default();
        if request.path.starts_with("/token") {
            let token = tokens[request.before.min(tokens.len() - 1)];
            return Answer::ok(format!(r#"{{"access_token":"{token}","expires_in":300}}"#));
        }
        let last = tokens[tokens.len() - 1];
        match request.header("authorization") {
            Some(shown) if shown == format!("Bearer {last}") => answer,
            _ => Answer::challenge(format!(r#"Bearer realm="http://{host}/token",service="s""#)),
        }
    })
}

#[test]
fn tokens_are_fetched_once_and_renewed_when_refused() {
    let server = token_server(&["good"]);
    with_client(&server, &with_password(), |client| {
        client.manifest("1").unwrap();
        client.manifest("1").unwrap();
    });
    let asked = server.asked("/token");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), Some("Basic YWxpY2U6c2VjcmV0"));
    assert!(asked[0].path.contains("scope=repository%3Aa%2Fb%3Apull"), "{}", asked[0].path);

    // The first token is refused in the end: it must not be tried for ever.
    let stale = token_server(&["old", "good"]);
    let err = with_client(&stale, &options(), |client| client.manifest("1")).unwrap_err();
    assert!(matches!(err, Error::Unauthorized { .. }), "{err}");
}

#[test]
fn a_token_that_runs_out_between_two_blobs_is_renewed() {
    let (one, two) = (bytes(100), bytes(200));
    let mut content = Content::default();
    content.blob("a/b", &one);
    let second = content.blob("a/b", &two);
    let server = Faults::start(content, move |request, answer| {
        let host = request.header("host").unwrap_or_default();
        let challenge = || Answer::challenge(format!(r#"Bearer realm="http://{host}/token""#));
        let shown = request.header("authorization").unwrap_or_default();
        match request.path.as_str() {
            path if path.starts_with("/token") => Answer::ok(format!(r#"{{"token":"t{}"}}"#, request.before)),
            "/v2/" => answer,
            // t0 is no longer good when the second blob is asked for.
            path if path == second && shown != "Bearer t1" => challenge(),
            _ if shown.starts_with("Bearer t") => answer,
            _ => challenge(),
        }
    });
    with_client(&server, &options(), |client| {
        for content in [&one, &two] {
            let blob = Blob { digest: Digest::of(content), size: content.len() as u64 };
            assert_eq!(&client.small_blob(blob).unwrap(), content);
        }
    });
    assert_eq!(server.asked("/token").len(), 2);
}

#[test]
fn basic_and_identity_tokens() {
    let basic = manifest_server(|request, answer| match request.header("authorization") {
        Some("Basic YWxpY2U6c2VjcmV0") => answer,
        _ => Answer::challenge(r#"Basic realm="x""#),
    });
    assert!(with_client(&basic, &with_password(), |client| client.manifest("1")).is_ok());
    assert!(matches!(manifest(&basic, "1"), Err(Error::Unauthorized { .. })));
    let wrong = Options { credential: Some(Credential::from_option("alice:wrong")), ..options() };
    let err = with_client(&basic, &wrong, |client| client.manifest("1")).unwrap_err();
    assert!(matches!(err, Error::Unauthorized { .. }), "{err}");

    let server = token_server(&["good"]);
    let identity = Options { credential: Some(Credential::IdentityToken("ID".into())), ..options() };
    with_client(&server, &identity, |client| client.manifest("1")).unwrap();
    let asked = &server.asked("/token")[0];
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", None));
    assert!(asked.body.contains("grant_type=refresh_token&refresh_token=ID"), "{}", asked.body);
}

#[test]
fn passwords_do_not_go_to_hostile_realms() {
    let thief = Faults::start(Content::default(), |_, _| Answer::ok(r#"{"token":"x"}"#));
    let realm = format!("http://{}/token", thief.address());
    let server = manifest_server(move |_, _| Answer::challenge(format!(r#"Bearer realm="{realm}""#)));
    let err = with_client(&server, &with_password(), |client| client.manifest("1")).unwrap_err();
    assert!(matches!(err, Error::HostileRealm { .. }), "{err}");
    assert!(thief.requests().is_empty());
    // Without a password there is nothing to steal.
    let err = with_client(&server, &options(), |client| client.manifest("1")).unwrap_err();
    assert!(matches!(err, Error::Unauthorized { .. }), "{err}");
    assert!(thief.requests().iter().all(|request| request.header("authorization").is_none()));
    // Nor over https to another domain: the thief speaks no TLS, but nobody even tries.
    let before = thief.requests().len();
    let realm = format!("https://{}/token", thief.address().replace("127.0.0.1", "localhost"));
    let server = manifest_server(move |_, _| Answer::challenge(format!(r#"Bearer realm="{realm}""#)));
    let err = with_client(&server, &with_password(), |client| client.manifest("1")).unwrap_err();
    assert!(matches!(err, Error::ForeignRealm { .. }), "{err}");
    assert_eq!(thief.requests().len(), before);
    for realm in ["http://169.254.169.254/x", "file:///etc/passwd", "nonsense"] {
        let server = manifest_server(move |_, _| Answer::challenge(format!(r#"Bearer realm="{realm}""#)));
        let err = with_client(&server, &options(), |client| client.manifest("1")).unwrap_err();
        assert!(matches!(err, Error::Challenge { .. }), "{realm}: {err}");
    }
}

#[test]
fn redirects_keep_secrets_at_home() {
    let content = bytes(10_000);
    let mut all = Content::default();
    let path = all.blob("a/b", &content);
    for status in [301, 302, 303, 307, 308] {
        let target = Faults::start(all.clone(), |_, answer| answer);
        let to = format!("http://me:pw@{}{path}", target.address());
        let server = blob_server(&content, move |request, answer| match request.header("authorization") {
            Some("Basic YWxpY2U6c2VjcmV0") => Answer::status(status).header("Location", to.clone()),
            None => Answer::challenge("Basic realm=x"),
            _ => answer,
        });
        assert_eq!(pull_blob(&server, &with_password(), &content).unwrap(), content, "{status}");
        let seen = target.requests();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].header("authorization").is_none() && seen[0].header("cookie").is_none());
    }
}

#[test]
fn redirects_that_lead_astray_are_refused() {
    let content = bytes(10);
    for (to, reason) in [
        ("file:///etc/passwd", "neither http nor https"),
        ("http://169.254.169.254/latest/meta-data", "a link-local address"),
        ("http://[::ffff:169.254.169.254]/", "a link-local address"),
        ("", "more than 10 redirects"),
    ] {
        let server = blob_server(&content, move |_, _| Answer::status(307).header("Location", to));
        let err = pull_blob(&server, &options(), &content).unwrap_err();
        assert!(matches!(&err, Error::Redirect { reason: got, .. } if *got == reason), "{to}: {err}");
        assert!(server.asked("/blobs/").len() <= 11, "{to}");
    }
}

#[test]
fn many_blobs_at_once() {
    let contents: Vec<Vec<u8>> = (1..20).map(|n| bytes(n * 10_000)).collect();
    let mut all = Content::default();
    for content in &contents {
        all.blob("a/b", content);
    }
    let server = Faults::start(all, |request, answer| match request.before {
        0 if request.path.ends_with(['0', '5', 'a', 'f']) => answer.how(How::ResetAt(5_000)),
        _ => answer,
    });
    let sinks: Vec<_> = contents.iter().map(|_| Shared::default()).collect();
    let jobs = contents.iter().zip(&sinks).map(|(content, sink)| {
        (Blob { digest: Digest::of(content), size: content.len() as u64 }, sink.clone())
    });
    with_client(&server, &options(), |client| client.blobs(jobs.collect(), 6)).unwrap();
    for (content, sink) in contents.iter().zip(&sinks) {
        assert_eq!(&sink.0.borrow().bytes, content);
    }
}

/// A memory sink whose bytes stay in reach.
#[derive(Clone, Default)]
struct Shared(std::rc::Rc<std::cell::RefCell<crate::registry::blob::Memory>>);

impl crate::registry::blob::Sink for Shared {
    fn open(&mut self) -> std::io::Result<crate::registry::blob::Opened> {
        self.0.borrow_mut().open()
    }
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.borrow_mut().write(bytes)
    }
    fn digest(&self) -> Digest {
        self.0.borrow().digest()
    }
    fn restart(&mut self) -> std::io::Result<()> {
        self.0.borrow_mut().restart()
    }
    fn finish(&mut self) -> std::io::Result<()> {
        self.0.borrow_mut().finish()
    }
}

#[test]
fn nobody_there() {
    // It has a port, so that nobody else gets that, and does not listen.
    let held =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&held, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let port = std::net::TcpListener::from(held.try_clone().unwrap()).local_addr().unwrap().port();
    let image: ImageRef = format!("localhost:{port}/a/b:1").parse().unwrap();
    let (options, notices) = (options(), |_: &Notice<'_>| panic!("nothing to wait for"));
    let client =
        Client::new(&Endpoint { image, insecure: false }, Purpose::Pull, &options, &notices).unwrap();
    let err = client.manifest("1").unwrap_err();
    assert!(matches!(&err, Error::Transport { reason, .. } if reason.contains("refused")), "{err}");
}

#[test]
fn stored_credentials_are_looked_up_when_they_are_wanted() {
    let server = manifest_server(|request, answer| match request.header("authorization") {
        Some("Basic YWxpY2U6c2VjcmV0") => answer,
        _ => Answer::challenge("Basic"),
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    let key = format!("{}/a", server.address());
    std::fs::write(&file, format!(r#"{{"auths":{{"{key}":{{"auth":"YWxpY2U6c2VjcmV0"}}}}}}"#)).unwrap();
    let stored = Options { stores: Stores::only(file), ..options() };
    with_client(&server, &stored, |client| client.manifest("1")).unwrap();
}

#[test]
fn tags_come_in_pages() {
    let server = Faults::start(Content::default(), |request, answer| {
        if !request.path.contains("/tags/list") {
            return answer;
        }
        match request.path.contains("last=") {
            false => Answer::ok(r#"{"tags":["1","2"]}"#)
                .header("Link", r#"</v2/a/b/tags/list?last=2>; rel="next""#),
            true => Answer::ok(r#"{"tags":["3"]}"#),
        }
    });
    let tags = with_client(&server, &options(), |client| client.tags()).unwrap();
    assert_eq!(tags, ["1", "2", "3"]);
}
