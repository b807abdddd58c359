//! Against a manager that is played by a thread.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::*;

/// Not a kind of message: the answer to call 1 whose text is a variant.
const VARIANT: u8 = 0x80;

/// A message of the manager: `kind` 2 answers call 1, 3 refuses it, 4 is the signal JobRemoved.
fn message(kind: u8, words: &[&str]) -> Vec<u8> {
    let mut body: Vec<u8> = if kind == VARIANT { b"\x01s\0".to_vec() } else { Vec::new() };
    let mut text = |word: &str| {
        while !body.len().is_multiple_of(4) {
            body.push(0);
        }
        body.extend(u32::try_from(word.len()).unwrap().to_le_bytes());
        body.extend(word.as_bytes());
        body.push(0);
    };
    words.iter().for_each(|word| text(word));
    let field = |fields: &mut Vec<u8>, code: u8, kind: &str, value: &[u8]| {
        while !fields.len().is_multiple_of(8) {
            fields.push(0);
        }
        fields.extend([code, 1]);
        fields.extend(kind.as_bytes());
        fields.push(0);
        fields.extend(value);
    };
    let string = |text: &str| {
        let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes
    };
    let mut fields = Vec::new();
    match kind {
        4 => field(&mut fields, 3, "s", &string("JobRemoved")),
        3 => {
            field(&mut fields, 5, "u", &1_u32.to_le_bytes());
            field(&mut fields, 4, "s", &string("org.freedesktop.systemd1.UnitExists"));
        }
        _ => field(&mut fields, 5, "u", &1_u32.to_le_bytes()),
    }
    let types = if kind == VARIANT { "v".to_owned() } else { "s".repeat(words.len()) };
    let kind = if kind == VARIANT { 2 } else { kind };
    let mut signature = vec![u8::try_from(types.len()).unwrap()];
    signature.extend(types.as_bytes());
    signature.push(0);
    field(&mut fields, 8, "g", &signature);
    let mut whole = vec![b'l', kind, 0, 1];
    whole.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    whole.extend(9_u32.to_le_bytes());
    whole.extend(u32::try_from(fields.len()).unwrap().to_le_bytes());
    whole.extend(&fields);
    while whole.len() % 8 != 0 {
        whole.push(0);
    }
    whole.extend(body);
    whole
}

/// Plays a manager that greets and, once the call has come, says `answers`.
fn manager_at(path: &Path, answers: Vec<Vec<u8>>) -> std::thread::JoinHandle<Vec<u8>> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut greeting = vec![0; "\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".len()];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(b"DATA\r\nOK 1234\r\n").unwrap();
        let mut heard = vec![0; 4096];
        let length = stream.read(&mut heard).unwrap();
        heard.truncate(length);
        for answer in answers {
            stream.write_all(&answer).unwrap();
        }
        heard
    })
}

fn start(answers: Vec<Vec<u8>>) -> (Result<bool>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join("private");
    let thread = manager_at(&private, answers);
    let mut manager = Manager::connect(&Sockets { private, bus: None }).unwrap();
    let scope = Scope { name: "a.scope", slice: "user.slice", description: "d", pid: 7, stop_seconds: 1 };
    let started = manager.start_scope(&scope);
    (started, thread.join().unwrap())
}

#[test]
fn a_scope_is_there_when_its_job_is_done() {
    let done = ["4", "/job/4", "a.scope", "done"];
    // A signal may come before the answer.
    for answers in [
        vec![message(2, &["/job/4"]), message(4, &done)],
        vec![message(4, &["3", "/job/3", "b.scope", "failed"]), message(4, &done), message(2, &["/job/4"])],
    ] {
        let (started, heard) = start(answers);
        assert!(matches!(started, Ok(true)), "{started:?}");
        let heard = String::from_utf8_lossy(&heard).into_owned();
        for word in ["StartTransientUnit", "a.scope", "user.slice", "Delegate", "ssa(sv)a(sa(sv))"] {
            assert!(heard.contains(word), "{word}");
        }
    }
}

#[test]
fn a_name_in_use_and_a_failed_job_are_told_apart() {
    assert!(matches!(start(vec![message(3, &["in use"])]).0, Ok(false)));
    let failed = start(vec![message(2, &["/job/4"]), message(4, &["4", "/job/4", "a.scope", "failed"])]).0;
    assert!(failed.is_err_and(|err| err.to_string().contains("failed")));
}

#[test]
fn no_manager_is_no_failure() {
    let nowhere = Sockets { private: "/nowhere/private".into(), bus: None };
    assert!(Manager::connect(&nowhere).is_none());
}

#[test]
fn a_property_is_asked_of_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join("private");
    let thread = manager_at(&private, vec![message(VARIANT, &["forking"])]);
    let mut manager = Manager::connect(&Sockets { private, bus: None }).unwrap();
    assert_eq!(manager.property("a-b@1.service", "Service", "Type").unwrap(), "forking");
    let heard = thread.join().unwrap();
    let heard = String::from_utf8_lossy(&heard);
    for word in ["/unit/a_2db_401_2eservice", "org.freedesktop.systemd1.Service", "Get", "Type"] {
        assert!(heard.contains(word), "{word}");
    }
}
