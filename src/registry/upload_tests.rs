//! Uploads to a registry that misbehaves: small waits, real sockets.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::digest::Digest;
use crate::base::image_ref::ImageRef;
use crate::registry::blob::Blob;
use crate::registry::client::{Client, Notice, Options, Purpose};
use crate::registry::config::Endpoint;
use crate::registry::error::{Error, Result};
use crate::registry::faults::{Answer, Content, Faults, How, Request};
use crate::registry::retry::Policy;
use crate::registry::upload::{Event, Outcome, Upload};

/// What a test's registry has been given.
type Taken = Arc<Mutex<Vec<u8>>>;

const LOCATION: &str = "/v2/a/b/blobs/uploads/1?state=x";

/// A registry that takes one blob at a time; `rule` may spoil its answers.
fn registry(rule: impl Fn(&Request, Answer, &Taken) -> Answer + Send + Sync + 'static) -> (Faults, Taken) {
    let taken = Taken::default();
    let store = taken.clone();
    let server = Faults::start(Content::default(), move |request, answer| {
        let mut bytes = store.lock().unwrap();
        let range = |length: usize| format!("0-{}", length.saturating_sub(1));
        let right = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/v2/") => answer,
            ("HEAD", _) => Answer::status(404),
            ("POST", _) => {
                bytes.clear();
                Answer::status(202).header("Location", LOCATION)
            }
            ("PATCH", _) => {
                let start = request.header("content-range").and_then(|r| r.split('-').next()?.parse().ok());
                if start != Some(bytes.len()) {
                    return Answer::status(416);
                }
                bytes.extend_from_slice(request.body.as_bytes());
                Answer::status(202).header("Location", LOCATION).header("Range", range(bytes.len()))
            }
            ("GET", _) => {
                Answer::status(204).header("Location", LOCATION).header("Range", range(bytes.len()))
            }
            ("PUT", _) => Answer::status(201),
            _ => answer,
        };
        drop(bytes);
        rule(request, right, &store)
    });
    (server, taken)
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| b'a' + u8::try_from((n ^ (n >> 8) ^ (n >> 16)) % 26).unwrap()).collect()
}

fn job(content: &[u8], from: &[&str]) -> Upload {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    let blob = Blob { digest: Digest::of(content), size: content.len() as u64 };
    Upload {
        blob,
        file: Arc::new(file),
        mount_from: from.iter().map(|&s| s.to_owned()).collect(),
        resume: None,
    }
}

fn with_client<T>(server: &Faults, from: &[&str], stall: Duration, work: impl FnOnce(&Client<'_>) -> T) -> T {
    let policy =
        Policy { retries: 4, delay: Duration::from_millis(5), stall, rate_limit: Duration::from_secs(3) };
    let options = Options { policy, ..Options::default() };
    let image: ImageRef = format!("{}/a/b:1", server.address()).parse().unwrap();
    let from: Vec<String> = from.iter().map(|&s| s.to_owned()).collect();
    let endpoint = Endpoint { image, insecure: false };
    let notices = |_: &Notice<'_>| {};
    work(&Client::new(&endpoint, Purpose::Push { from: &from }, &options, &notices).unwrap())
}

/// A server that works is never silent for a minute, on any machine.
fn upload(server: &Faults, content: &[u8], from: &[&str]) -> Result<Outcome> {
    upload_within(server, content, from, Duration::from_secs(60))
}

/// As [`upload`], by one that tries again after so much silence.
fn upload_within(server: &Faults, content: &[u8], from: &[&str], stall: Duration) -> Result<Outcome> {
    let outcome = Mutex::new(None);
    with_client(server, from, stall, |client| {
        client.upload(vec![job(content, from)], 2, &|_, event| {
            if let Event::Done(done) = event {
                *outcome.lock().unwrap() = Some((*done).clone());
            }
        })
    })?;
    Ok(outcome.into_inner().unwrap().unwrap())
}

fn methods(server: &Faults) -> String {
    let asked = server.asked("/v2/a/b/");
    asked.iter().map(|request| request.method.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_blob_is_sent_once_and_whole() {
    for length in [0, 1, 700_000] {
        let (server, taken) = registry(|_, answer, _| answer);
        let content = text(length);
        assert_eq!(upload(&server, &content, &[]).unwrap(), Outcome::Sent);
        assert_eq!(*taken.lock().unwrap(), content);
        assert_eq!(methods(&server), if length == 0 { "HEAD POST PUT" } else { "HEAD POST PATCH PUT" });
        let put = server.requests().pop().unwrap();
        assert!(put.path.starts_with("/v2/a/b/blobs/uploads/1?state=x&digest=sha256%3A"), "{}", put.path);
    }
}

#[test]
fn what_is_there_is_not_sent() {
    let (server, _) = registry(|request, answer, _| match request.method.as_str() {
        "HEAD" => Answer::status(200),
        _ => answer,
    });
    assert_eq!(upload(&server, b"x", &[]).unwrap(), Outcome::Present);
    assert_eq!(methods(&server), "HEAD");
}

#[test]
fn a_blob_of_another_repository_is_mounted_or_else_sent() {
    let (server, _) = registry(|request, answer, _| match request.path.contains("from=c%2Fd") {
        true => Answer::status(201).header("Location", "/v2/a/b/blobs/x"),
        false => answer,
    });
    assert_eq!(upload(&server, b"x", &["no", "c/d"]).unwrap(), Outcome::Mounted("c/d".into()));
    for status in [202, 400, 403, 404, 405] {
        let (server, taken) = registry(move |request, answer, _| match request.path.contains("from=") {
            true if status != 202 => Answer::status(status),
            _ => answer,
        });
        assert_eq!(upload(&server, b"xy", &["c/d"]).unwrap(), Outcome::Sent, "{status}");
        assert_eq!(*taken.lock().unwrap(), b"xy");
        let posts = server.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!(posts, if status == 202 { 1 } else { 2 });
    }
}

#[test]
fn an_upload_that_broke_off_goes_on_where_it_was() {
    let content = text(300_000);
    let (server, taken) = registry(|request, answer, taken| match request.method.as_str() {
        "PATCH" if request.before == 0 => {
            taken.lock().unwrap().truncate(100_000);
            Answer::status(503)
        }
        _ => answer,
    });
    assert_eq!(upload(&server, &content, &[]).unwrap(), Outcome::Sent);
    assert_eq!(*taken.lock().unwrap(), content);
    assert_eq!(methods(&server), "HEAD POST PATCH GET PATCH PUT");
    assert_eq!(server.asked("uploads/1").last().unwrap().method, "PUT");
    let second = server.requests().into_iter().filter(|request| request.method == "PATCH").nth(1).unwrap();
    assert_eq!(second.header("content-range"), Some("100000-299999"));
}

#[test]
fn an_upload_that_is_forgotten_begins_anew() {
    let content = text(100_000);
    for (spoilt, status) in [("PATCH", 404), ("PUT", 404), ("PATCH", 416), ("PUT", 500)] {
        let (server, taken) = registry(move |request, answer, _| match request.before {
            0 if request.method == spoilt => Answer::status(status),
            _ if request.method == "GET" && status == 500 => Answer::status(404),
            _ => answer,
        });
        assert_eq!(upload(&server, &content, &[]).unwrap(), Outcome::Sent, "{spoilt} {status}");
        assert_eq!(*taken.lock().unwrap(), content);
        assert_eq!(methods(&server).matches("POST").count(), 2, "{spoilt} {status}");
    }
    let (never, _) = registry(|request, answer, _| match request.method.as_str() {
        "PATCH" => Answer::status(404),
        _ => answer,
    });
    let err = upload(&never, &content, &[]).unwrap_err();
    assert!(err.to_string().contains("the upload is lost"), "{err}");
    assert_eq!(methods(&never).matches("PATCH").count(), 5, "one attempt and four more");
}

#[test]
fn servers_that_take_small_requests_get_small_requests() {
    let content = text(9 << 20);
    let (server, taken) = registry(|request, answer, taken| match request.method.as_str() {
        "PATCH" if request.body.len() > 5 << 20 => {
            taken.lock().unwrap().clear();
            Answer::status(413)
        }
        _ => answer,
    });
    assert_eq!(upload(&server, &content, &[]).unwrap(), Outcome::Sent);
    assert!(*taken.lock().unwrap() == content, "the bytes are the same");
    let (never, _) = registry(|request, answer, _| match request.method.as_str() {
        "PATCH" => Answer::status(413),
        _ => answer,
    });
    assert!(matches!(upload(&never, b"x", &[]), Err(Error::Status { status: 413, .. })));
}

#[test]
fn silence_and_resets_are_tried_again() {
    let content = text(50_000);
    for how in [How::SilentAt(0), How::ResetAt(0)] {
        let (server, taken) = registry(move |request, answer, _| match request.method.as_str() {
            "PATCH" if request.before == 0 => answer.map(|_| b"later".to_vec()).how(how),
            _ => answer,
        });
        let outcome = upload_within(&server, &content, &[], Duration::from_millis(300));
        assert_eq!(outcome.unwrap(), Outcome::Sent, "{how:?}");
        assert_eq!(*taken.lock().unwrap(), content);
    }
}

#[test]
fn refusals_are_final_and_say_why() {
    for (status, word) in [(401, "denies access"), (403, "denies access"), (400, "answered 400")] {
        let (server, _) = registry(move |request, answer, _| match request.method.as_str() {
            "POST" => Answer::status(status)
                .map(|_| br#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#.to_vec()),
            _ => answer,
        });
        let err = upload(&server, b"x", &[]).unwrap_err().to_string();
        assert!(err.contains(word) && err.contains("not for you"), "{err}");
        assert_eq!(methods(&server), "HEAD POST");
    }
    for location in ["file:///etc/passwd", "http://169.254.169.254/x"] {
        let (server, _) = registry(move |request, answer, _| match request.method.as_str() {
            "POST" => Answer::status(202).header("Location", location),
            _ => answer,
        });
        assert!(matches!(upload(&server, b"x", &[]), Err(Error::Redirect { .. })), "{location}");
    }
}

/// Both repositories are in the one token that a mount needs.
#[test]
fn a_token_for_two_repositories() {
    let (server, _) = registry(|request, answer, _| {
        let host = request.header("host").unwrap_or_default().to_owned();
        match request.header("authorization") {
            _ if request.path.starts_with("/token") => Answer::ok(r#"{"token":"T"}"#),
            Some("Bearer T") => answer,
            _ if request.path == "/v2/" => answer,
            _ => Answer::challenge(format!("Bearer realm=\"http://{host}/token\",service=\"s\"")),
        }
    });
    assert_eq!(upload(&server, b"x", &["c/d"]).unwrap(), Outcome::Sent);
    let asked = server.asked("/token");
    assert_eq!(asked.len(), 1);
    assert!(
        asked[0].path.contains("scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%2Fd%3Apull"),
        "{}",
        asked[0].path
    );
}

/// Where an upload is sent elsewhere, the registry's token stays at home.
#[test]
fn another_server_that_takes_the_upload_sees_no_token() {
    let (elsewhere, taken) = registry(|_, answer, _| answer);
    let location = format!("http://{}{LOCATION}", elsewhere.address());
    let (server, _) = registry(move |request, answer, _| {
        let host = request.header("host").unwrap_or_default().to_owned();
        match (request.method.as_str(), request.header("authorization")) {
            _ if request.path.starts_with("/token") => Answer::ok(r#"{"token":"T"}"#),
            (_, None) if request.path != "/v2/" => {
                Answer::challenge(format!("Bearer realm=\"http://{host}/token\""))
            }
            ("POST", _) => Answer::status(202).header("Location", location.clone()),
            _ => answer,
        }
    });
    assert_eq!(upload(&server, b"hello", &[]).unwrap(), Outcome::Sent);
    assert_eq!(*taken.lock().unwrap(), b"hello");
    assert!(elsewhere.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn manifests_are_put_as_they_are() {
    let bytes = br#"{"schemaVersion": 2}"#;
    let put = |server: &Faults| {
        with_client(server, &[], Duration::from_secs(60), |client| {
            client.put_manifest("1", "application/vnd.oci.image.manifest.v1+json", bytes)
        })
    };
    let (server, _) = registry(|_, answer, _| answer);
    put(&server).unwrap();
    let asked = server.requests().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PUT", "/v2/a/b/manifests/1"));
    assert_eq!(asked.header("content-type"), Some("application/vnd.oci.image.manifest.v1+json"));
    assert_eq!(asked.body.as_bytes(), bytes);
    let other = Digest::of(b"other").to_string();
    let (lying, _) = registry(move |request, answer, _| match request.method.as_str() {
        "PUT" => answer.header("Docker-Content-Digest", other.clone()),
        _ => answer,
    });
    assert!(matches!(put(&lying), Err(Error::Digest { .. })));
    let (busy, _) = registry(|request, answer, _| match request.method.as_str() {
        "PUT" if request.before < 2 => Answer::status(503),
        _ => answer,
    });
    put(&busy).unwrap();
}
