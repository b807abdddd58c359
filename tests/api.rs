//! `system service`: Docker's API, as far as it is about the service itself.

mod common;

use std::io::{BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use common::Sandbox;
use common::api::{Api, read_response, send};
use rustix::process::Signal;

/// What clients ask first: whether it is there, and what it speaks.
#[test]
fn clients_learn_what_they_have_before_them() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let mode = sandbox.path("run/ketch/ketch.sock").metadata().unwrap();
    assert!(mode.file_type().is_socket() && mode.permissions().mode() & 0o777 == 0o600);

    let ping = api.get("/_ping").expect(200);
    assert_eq!((ping.text().as_str(), ping.header("api-version")), ("OK", Some("1.51")));
    assert_eq!((ping.header("ostype"), ping.header("builder-version")), (Some("linux"), Some("1")));
    let head = api.send("HEAD", "/_ping", &[], b"").expect(200);
    assert_eq!((head.body.len(), head.header("content-length")), (0, Some("2")));
    let version = api.get("/v1.24/version").expect(200).json();
    assert_eq!((&version["ApiVersion"], &version["MinAPIVersion"]), (&"1.51".into(), &"1.24".into()));

    let info = api.get("/info").expect(200).json();
    assert_eq!((&info["OSType"], &info["ServerVersion"]), (&"linux".into(), &version["Version"]));
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert!(
        api.get("/services").expect(503).json()["message"].as_str().unwrap().contains("not a swarm manager")
    );

    assert_eq!(api.get("/nowhere").expect(404).json()["message"], "page not found");
    for (version, word) in [("1.99", "too new"), ("1.12", "too old")] {
        let refused = api.get(&format!("/v{version}/version")).expect(400).json();
        assert!(refused["message"].as_str().unwrap().contains(word), "{refused}");
    }
}

/// One connection carries many requests; a broken one ends itself and nobody else.
#[test]
fn a_connection_goes_on_after_an_answer_and_ends_with_nonsense() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let mut socket = api.connect();
    let mut answers = BufReader::new(socket.try_clone().unwrap());
    for (path, body, status) in
        [("/_ping", "", 200), ("/nowhere", "a body that nobody wants", 404), ("/_ping", "", 200)]
    {
        send(&mut socket, "GET", path, &[], body.as_bytes());
        assert_eq!(read_response(&mut answers, "GET").status, status);
    }
    // Two at once are answered in their order.
    let two = "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: d\r\n\r\n";
    socket.write_all(two.as_bytes()).unwrap();
    assert_eq!([(); 2].map(|()| read_response(&mut answers, "GET").status), [200, 404]);
    socket.write_all(b"\x16\x03\x01 no request\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut answers, "GET").status, 400);
    assert_eq!(answers.read_to_end(&mut Vec::new()).unwrap(), 0);

    let mut old = api.connect();
    old.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    old.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nOK"), "{text}");
    api.get("/_ping").expect(200);
}

/// The service goes when nobody needs it, and takes its socket along.
#[test]
fn the_service_ends_when_nobody_is_connected() {
    let sandbox = Sandbox::new();
    let api = Api::with(&sandbox, sandbox.command(["system", "service", "--time=3"]));
    let connected = api.connect();
    api.get("/_ping").expect(200);
    let socket = sandbox.path("run/ketch/ketch.sock");
    // Longer than it would wait alone.
    std::thread::sleep(std::time::Duration::from_millis(3300));
    assert!(socket.exists());
    drop(connected);
    let ended = api.ended();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    assert!(!socket.exists());
}

/// One service for one place; what is no socket stays, a dead socket does not.
#[test]
fn where_it_listens() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let second = sandbox.ketch(["system", "service"]);
    assert!(second.fails(125).contains("a service listens on"), "{}", second.stderr);
    api.service().signal(Signal::KILL);
    api.ended();
    assert!(sandbox.path("run/ketch/ketch.sock").exists(), "a killed service cannot remove it");
    Api::start(&sandbox).get("/_ping").expect(200);

    let file = sandbox.write("run/file", "x");
    let uri = format!("unix://{}", file.display());
    assert!(sandbox.ketch(["system", "service", &uri]).fails(125).contains("no socket"));
    assert_eq!(sandbox.read("run/file"), "x");
    for uri in ["tcp://127.0.0.1:2375", "somewhere"] {
        assert!(sandbox.ketch(["system", "service", uri]).fails(125).contains("use unix://PATH"));
    }
}

/// systemd listens, and starts the service with the first connection.
#[test]
fn a_socket_that_systemd_has_made() {
    let sandbox = Sandbox::new();
    let units = sandbox.ok(["system", "service", "--print-units"]);
    for line in ["ListenStream=%t/ketch/ketch.sock", "KillMode=process", "SocketMode=0600"] {
        assert!(units.contains(line), "{units}");
    }
    let command = units.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let path = sandbox.path("run/passed.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // The test's own copy stays open until the shell has one.
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    // As systemd does it: number 3, and the number of the process.
    let script =
        format!("export LISTEN_PID=$$ LISTEN_FDS=1; exec {command} --time 1 3<&{}", listener.as_raw_fd());
    let service = sandbox.program("bash", ["-c", &script]).spawn();
    let mut socket = std::os::unix::net::UnixStream::connect(&path).unwrap();
    send(&mut socket, "GET", "/_ping", &[], b"");
    assert_eq!(read_response(&mut BufReader::new(socket), "GET").text(), "OK");
    assert_eq!(service.wait().code, 0);
    assert!(path.exists(), "the socket is systemd's");
}
