//! Docker's API: attaching, waiting, further commands, logs.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use common::Sandbox;
use common::api::{Api, read_chunk, read_head, send};
use serde_json::{Value, json};

/// A connection that has left HTTP.
struct Stream {
    socket: UnixStream,
    from: BufReader<UnixStream>,
    kind: String,
}

impl Stream {
    /// Posts, and waits for the head of the answer.
    #[track_caller]
    fn open(api: &Api, path: &str, document: &Value) -> Self {
        let mut socket = api.connect();
        let body = if document.is_null() { String::new() } else { document.to_string() };
        let headers = [("Connection", "Upgrade"), ("Upgrade", "tcp"), ("Content-Type", "application/json")];
        send(&mut socket, "POST", path, &headers, body.as_bytes());
        let mut from = BufReader::new(socket.try_clone().expect("another descriptor"));
        let (status, headers) = read_head(&mut from);
        assert_eq!(status, 101, "{path}");
        let kind = headers.iter().find(|(name, _)| name == "content-type");
        Stream { socket, from, kind: kind.map(|(_, kind)| kind.clone()).unwrap_or_default() }
    }

    fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("send input");
    }

    fn end_input(&self) {
        self.socket.shutdown(Shutdown::Write).expect("end the input");
    }

    /// All that comes, to the end.
    #[track_caller]
    fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.from.read_to_end(&mut bytes).expect("read to the end");
        bytes
    }

    /// What comes, until it holds `text`.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let mut bytes = [0; 256];
            let count = self.from.read(&mut bytes).expect("read");
            assert!(count > 0, "the end came instead of {text:?}: {all:?}");
            all.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        all
    }

    /// The frames up to the end: standard output and standard error.
    #[track_caller]
    fn streams(self) -> [String; 2] {
        unframed(&self.rest())
    }
}

#[track_caller]
fn unframed(mut bytes: &[u8]) -> [String; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes(*header.last_chunk().expect("eight bytes")) as usize;
        assert!(matches!(header[..4], [1 | 2, 0, 0, 0]), "{header:?} is no header");
        streams[usize::from(header[0]) - 1].extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "{bytes:?} is no frame");
    streams.map(|stream| String::from_utf8(stream).expect("UTF-8"))
}

/// Begins to wait: the head is there, the body not yet.
#[track_caller]
fn begin_wait(api: &Api, name: &str, condition: &str) -> BufReader<UnixStream> {
    let mut socket = api.connect();
    send(&mut socket, "POST", &format!("/v1.44/containers/{name}/wait?condition={condition}"), &[], b"");
    let mut from = BufReader::new(socket);
    assert_eq!(read_head(&mut from).0, 200);
    from
}

#[track_caller]
fn waited(from: BufReader<UnixStream>) -> Value {
    // The other lines are lengths of chunks.
    let document = from.lines().map(|line| line.expect("read a line")).find(|line| line.starts_with('{'));
    common::json(&document.expect("a document"))
}

const ATTACH: &str = "attach?stream=1&stdin=1&stdout=1&stderr=1";

#[test]
fn who_attaches_before_the_start_gets_every_byte_and_gives_the_input() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let script = "echo first; echo problem >&2; seq 1 20000; cat; exit 3";
    sandbox.ok(["create", "--name=early", "-i", "--net=none", "bb", "sh", "-c", script]);
    let mut first = Stream::open(&api, &format!("/v1.44/containers/early/{ATTACH}"), &Value::Null);
    let second = Stream::open(&api, "/v1.41/containers/early/attach?stream=1&stderr=true", &Value::Null);
    let end = begin_wait(&api, "early", "next-exit");
    // Of one that was killed.
    let waiting = sandbox.store().join("containers").join(sandbox.inspect("early", ".Id")).join("waiting");
    let dead = sandbox.path("dead");
    drop(UnixListener::bind(&dead).unwrap());
    std::fs::rename(dead, waiting.join("0")).unwrap();

    sandbox.ok(["start", "early"]);
    first.send("typed\n");
    first.end_input();

    assert_eq!(first.kind, "application/vnd.docker.multiplexed-stream");
    assert_eq!(second.kind, "application/vnd.docker.raw-stream", "the frames' name is younger");
    let [out, err] = first.streams();
    let numbers: String = (1..=20000).map(|n| format!("{n}\n")).collect();
    assert!(out == format!("first\n{numbers}typed\n"), "{} bytes", out.len());
    assert_eq!(err, "problem\n");
    assert_eq!(second.streams(), ["", "problem\n"].map(str::to_owned));
    assert_eq!(waited(end), json!({"StatusCode": 3}));
    assert_eq!(std::fs::read_dir(waiting).unwrap().count(), 0, "nobody waits any more");

    let recorded = Stream::open(&api, "/containers/early/attach?logs=1&stderr=1", &Value::Null);
    assert_eq!(recorded.streams()[1], "problem\n");
}

#[test]
fn a_terminal_is_a_plain_stream_with_a_size_and_keys_to_leave() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    sandbox.ok(["create", "--name=tty", "-it", "--net=none", "bb", "sh", "-c", script]);
    let mut stream = Stream::open(&api, &format!("/containers/tty/{ATTACH}&detachKeys=x,y"), &Value::Null);
    assert_eq!(api.post("/containers/tty/resize?h=30&w=90", &Value::Null).status, 409);
    sandbox.ok(["start", "tty"]);
    stream.expect("ready\r\n");
    api.post("/containers/tty/resize?h=30&w=90", &Value::Null).expect(200);
    stream.expect("30 90\r\n");
    api.post("/containers/tty/resize?h=x&w=90", &Value::Null).expect(400);
    stream.send("xy");
    stream.rest();
    assert_eq!(sandbox.inspect("tty", ".State.Status"), "running");
    // At one that runs; and away again without a word.
    drop(Stream::open(&api, &format!("/containers/tty/{ATTACH}"), &Value::Null));
    sandbox.ok(["pause", "tty"]);
    assert_eq!(api.post(&format!("/containers/tty/{ATTACH}"), &Value::Null).status, 409);
    sandbox.ok(["rm", "-f", "-t0", "tty"]);
    assert_eq!(api.post(&format!("/containers/tty/{ATTACH}"), &Value::Null).status, 404);
}

/// As docker's client asks for it: the first thing that runs finds the right size.
#[test]
fn a_terminal_has_the_size_that_its_maker_said() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let request = json!({"Image": "bb", "Cmd": ["stty", "size"], "Tty": true,
        "HostConfig": {"ConsoleSize": [31, 99], "NetworkMode": "none"}});
    api.post("/containers/create?name=sized", &request).expect(201);
    let stream = Stream::open(&api, &format!("/containers/sized/{ATTACH}"), &Value::Null);
    api.post("/containers/sized/start", &Value::Null).expect(204);
    assert_eq!(stream.rest(), b"31 99\r\n");
    let known = api.get("/containers/sized/json").expect(200).json();
    assert_eq!(known["HostConfig"]["ConsoleSize"], json!([31, 99]));
}

/// Half of the connection's end is the end of the input, and so is all of it.
#[test]
fn a_client_that_goes_ends_the_input() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.ok(["create", "--name=reader", "-i", "--net=none", "bb", "sh", "-c", "cat; echo over"]);
    let mut stream = Stream::open(&api, &format!("/containers/reader/{ATTACH}"), &Value::Null);
    sandbox.ok(["start", "reader"]);
    stream.send("last words\n");
    drop(stream);
    assert_eq!(sandbox.ok(["wait", "reader"]), "0");
    assert_eq!(sandbox.ok(["logs", "reader"]), "last words\nover");
}

/// What it has sent is kept for the container for a while, and not until its end.
#[test]
fn a_client_is_missed_whose_input_nobody_takes() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.ok(["run", "-d", "-i", "--name=deaf", "--net=none", "bb", "sleep", "1000"]);
    let stream = Stream::open(&api, &format!("/containers/deaf/{ATTACH}"), &Value::Null);
    stream.socket.set_nonblocking(true).expect("do not wait");
    let mut last = std::time::Instant::now();
    // Until nobody has taken anything for a while.
    while last.elapsed() < std::time::Duration::from_millis(500) {
        match (&stream.socket).write(&[b'x'; 4096]) {
            Ok(count) if count > 0 => last = std::time::Instant::now(),
            _ => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
    drop(stream);
    api.await_idle();
    assert_eq!(sandbox.inspect("deaf", ".State.Status"), "running");
}

/// Clients come and go; the service's log is for what is wrong.
#[test]
fn a_client_that_leaves_costs_no_word() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.ok(["run", "--name=much", "--net=none", "bb", "sh", "-c", "seq 1 200000"]);
    sandbox.start("long", &["--net=none"], "sleep 1000");
    for path in [
        "POST /containers/much/attach?logs=1&stdout=1",
        "GET /containers/much/logs?stdout=1",
        "GET /containers/much/export",
        "POST /containers/long/wait",
        "GET /containers/long/stats",
        "GET /events",
    ] {
        let (method, path) = path.split_once(' ').expect("two words");
        let mut socket = api.connect();
        send(&mut socket, method, path, &[], b"");
        read_head(&mut BufReader::new(socket));
    }
    api.await_idle();
    assert_eq!(api.service().stderr_so_far(), "");
}

#[test]
fn waiting_tells_the_code_of_whatever_ends_and_is_removed_at_once() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    for condition in ["removed", "next-exit"] {
        sandbox.ok(["create", "--rm", "--name=short", "--net=none", "bb", "sh", "-c", "exit 7"]);
        let end = begin_wait(&api, "short", condition);
        sandbox.ok(["start", "short"]);
        assert_eq!(waited(end), json!({"StatusCode": 7}), "{condition}");
        assert_eq!(sandbox.names(), Vec::<String>::new());
    }
    sandbox.ok(["create", "--name=kept", "--net=none", "bb", "sh", "-c", "sleep 0.2; exit 4"]);
    assert_eq!(api.post("/containers/kept/wait", &Value::Null).expect(200).json()["StatusCode"], 0);
    let removed = begin_wait(&api, "kept", "removed");
    sandbox.ok(["start", "kept"]);
    assert_eq!(api.post("/containers/kept/wait", &Value::Null).expect(200).json()["StatusCode"], 4);
    assert_eq!(api.post("/containers/kept/wait", &Value::Null).expect(200).json()["StatusCode"], 4);
    sandbox.ok(["rm", "kept"]);
    assert_eq!(waited(removed)["StatusCode"], 4);

    assert_eq!(api.post("/containers/kept/wait", &Value::Null).status, 404);
    sandbox.ok(["create", "--name=never", "--net=none", "bb"]);
    assert_eq!(api.post("/containers/never/wait?condition=x", &Value::Null).status, 400);
    let removed = begin_wait(&api, "never", "removed");
    sandbox.ok(["rm", "never"]);
    assert_eq!(waited(removed)["StatusCode"], 0);
}

/// A restart policy's pauses are no end.
/// It may end and go before anybody asks; and its output comes before the news of its end.
#[test]
fn the_end_is_known_a_while_longer_than_the_container_and_later_than_its_output() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let host = json!({"AutoRemove": true, "NetworkMode": "none"});
    let document = json!({"Image": "bb", "Cmd": ["sh", "-c", "echo said; exit 9"], "HostConfig": host});
    let id = api.post("/containers/create", &document).expect(201).json()["Id"].as_str().unwrap().to_owned();
    let stream = Stream::open(&api, &format!("/containers/{id}/attach?stream=1&stdout=1"), &Value::Null);
    let waiting = begin_wait(&api, &id, "next-exit");
    api.post(&format!("/containers/{id}/start"), &Value::Null).expect(204);
    assert_eq!(waited(waiting)["StatusCode"], 9);
    // All of it lies there by now.
    stream.socket.set_nonblocking(true).unwrap();
    assert_eq!(unframed(&stream.rest()), ["said\n".to_owned(), String::new()]);
    common::wait_for("its removal", || match api.get(&format!("/containers/{id}/json")).status {
        404 => Ok(()),
        other => Err(other.to_string()),
    });
    let late = api.post(&format!("/containers/{id}/wait"), &Value::Null).expect(200).json();
    assert_eq!(late["StatusCode"], 9);
    api.post("/containers/nothing/wait", &Value::Null).expect(404);
}

#[test]
fn each_end_counts_for_who_waits_for_one_and_none_of_them_is_a_removal() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let script = "echo life >> /count; exit $(wc -l < /count)";
    sandbox.ok(["create", "--name=again", "--restart=on-failure:2", "--net=none", "bb", "sh", "-c", script]);
    let (end, removed) = (begin_wait(&api, "again", "next-exit"), begin_wait(&api, "again", "removed"));
    sandbox.ok(["start", "again"]);
    assert_eq!(waited(end)["StatusCode"], 1);
    sandbox.wait_until(&["inspect", "--format={{.State.Status}} {{.State.ExitCode}}", "again"], "exited 3");
    sandbox.ok(["rm", "again"]);
    assert_eq!(waited(removed)["StatusCode"], 3);
    // One that is always started again has ends as well.
    sandbox.ok([
        "run",
        "-d",
        "--name=always",
        "--restart=always",
        "--net=none",
        "bb",
        "sh",
        "-c",
        "sleep 1; exit 5",
    ]);
    assert_eq!(api.post("/containers/always/wait", &Value::Null).expect(200).json()["StatusCode"], 5);
}

#[test]
fn a_start_that_fails_ends_those_who_wait_for_it() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    for (command, code) in [("/nowhere", 127), ("/etc", 126)] {
        for rm in ["--rm=true", "--rm=false"] {
            sandbox.ok(["create", "--name=broken", rm, "--net=none", "bb", command]);
            let stream = Stream::open(&api, &format!("/containers/broken/{ATTACH}"), &Value::Null);
            let end = begin_wait(&api, "broken", "next-exit");
            sandbox.ketch(["start", "broken"]).fails(125);
            assert_eq!(stream.rest(), b"");
            assert_eq!(waited(end)["StatusCode"], code, "{command} {rm}");
            sandbox.ketch(["rm", "-i", "broken"]).ok();
        }
    }
}

/// What a session's creation is answered with.
#[track_caller]
fn create_exec(api: &Api, container: &str, document: &Value) -> String {
    let created = api.post(&format!("/containers/{container}/exec"), document).expect(201).json();
    created["Id"].as_str().expect("an ID").to_owned()
}

#[test]
fn a_further_command_is_made_started_and_asked_about() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let container = sandbox.start("box", &["--user=1:2"], "sleep 1000");
    let request = json!({"AttachStdin": true, "AttachStdout": true, "AttachStderr": true, "User": "3:4",
        "Env": ["A=b"], "WorkingDir": "/bin", "Cmd": ["sh", "-c", "id -u; pwd; echo $A; cat >&2; exit 5"]});
    let session = create_exec(&api, "box", &request);
    let known = || api.get(&format!("/exec/{session}/json")).expect(200).json();
    let created = known();
    assert_eq!((&created["Running"], &created["ExitCode"]), (&json!(false), &Value::Null));
    assert_eq!(created["ContainerID"].as_str().unwrap(), container);
    assert_eq!(created["ProcessConfig"]["entrypoint"], "sh");
    assert_eq!((&created["ProcessConfig"]["user"], &created["OpenStdin"]), (&json!("3:4"), &json!(true)));

    let mut stream = Stream::open(&api, &format!("/exec/{session}/start"), &json!({"Detach": false}));
    let running = known();
    assert_eq!((&running["Running"], &running["ExitCode"]), (&json!(true), &Value::Null));
    assert!(running["Pid"].as_i64().unwrap() > 0);
    assert_eq!(api.post(&format!("/exec/{session}/start"), &json!({})).status, 409, "it runs");
    stream.send("typed");
    stream.end_input();
    assert_eq!(stream.streams(), ["3\n/bin\nb\n", "typed"].map(str::to_owned));
    let ended = known();
    assert_eq!((&ended["Running"], &ended["ExitCode"]), (&json!(false), &json!(5)));
    assert_eq!(api.post(&format!("/exec/{session}/start"), &json!({})).status, 409, "it has run");

    assert_eq!(api.post("/containers/box/exec", &json!({"Cmd": []})).status, 400);
    assert_eq!(api.post("/containers/nobody/exec", &request).status, 404);
    for path in ["/exec/0123/start", "/exec/nothing/resize?h=1&w=1"] {
        assert_eq!(api.post(path, &json!({})).status, 404);
    }
    let later = create_exec(&api, "box", &request);
    sandbox.ok(["pause", "box"]);
    let paused = api.post("/containers/box/exec", &request).expect(409).json();
    assert!(paused["message"].as_str().unwrap().contains("is paused"), "{paused}");
    sandbox.ok(["kill", "box"]);
    for path in ["/containers/box/exec".to_owned(), format!("/exec/{later}/start")] {
        let refused = api.post(&path, &request).expect(409).json();
        assert_eq!(refused["message"], format!("container {container} is not running"));
    }
}

#[test]
fn a_command_that_cannot_start_says_so_where_its_output_would_be() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.start("box", &[], "sleep 1000");
    for (command, code, words) in
        [("nowhere", 127, "executable file not found"), ("/etc", 126, "permission denied")]
    {
        let session = create_exec(&api, "box", &json!({"AttachStdout": true, "Cmd": [command]}));
        let stream = Stream::open(&api, &format!("/exec/{session}/start"), &json!({}));
        let [told, _] = stream.streams();
        assert!(told.contains(words), "{told}");
        assert_eq!(api.get(&format!("/exec/{session}/json")).json()["ExitCode"], code);
        let session = create_exec(&api, "box", &json!({"Cmd": [command]}));
        let refused = api.post(&format!("/exec/{session}/start"), &json!({"Detach": true})).expect(400);
        assert!(refused.text().contains(words), "{}", refused.text());
    }
}

/// It may have ended before anything else is done about it.
#[test]
fn commands_that_end_at_once() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.start("box", &[], "sleep 1000");
    for _ in 0..20 {
        let session = create_exec(&api, "box", &json!({"AttachStdout": true, "Cmd": ["echo", "x"]}));
        let stream = Stream::open(&api, &format!("/exec/{session}/start"), &json!({}));
        assert_eq!(stream.streams()[0], "x\n");
        assert_eq!(api.get(&format!("/exec/{session}/json")).json()["ExitCode"], 0);
    }
}

/// Nobody need be there for its end.
#[test]
fn a_further_command_outlives_its_client() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.start("box", &[], "sleep 1000");
    let script = "until [ -e /go ]; do echo waiting; sleep 0.02; done; exit 6";
    let request = json!({"AttachStdout": true, "Cmd": ["sh", "-c", script]});
    let left = create_exec(&api, "box", &request);
    let mut stream = Stream::open(&api, &format!("/exec/{left}/start"), &json!({}));
    stream.expect("waiting");
    drop(stream);
    let detached = create_exec(&api, "box", &request);
    api.post(&format!("/exec/{detached}/start"), &json!({"Detach": true})).expect(200);
    let state = |session: &str| {
        let known = api.get(&format!("/exec/{session}/json")).expect(200).json();
        (known["Running"] == true, known["ExitCode"].as_i64())
    };
    assert_eq!([state(&left), state(&detached)], [(true, None), (true, None)]);
    let listed = sandbox.inspect("box", ".ExecIDs");
    assert!(listed.contains(&left) && listed.contains(&detached), "{listed}");
    sandbox.ok(["exec", "box", "touch", "/go"]);
    for session in [left, detached] {
        common::wait_for("the exit code", || match state(&session) {
            (false, Some(6)) => Ok(()),
            still => Err(format!("{still:?}")),
        });
    }
}

#[test]
fn the_terminal_of_a_further_command() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.start("box", &[], "sleep 1000");
    let script = "stty size; trap 'stty size; exit 2' WINCH; echo ready; while :; do sleep 0.05; done";
    let request =
        json!({"AttachStdin": true, "AttachStdout": true, "Tty": true, "Cmd": ["sh", "-c", script]});
    let session = create_exec(&api, "box", &request);
    let how = json!({"Tty": true, "ConsoleSize": [31, 99]});
    let mut stream = Stream::open(&api, &format!("/exec/{session}/start"), &how);
    assert_eq!(stream.kind, "application/vnd.docker.raw-stream");
    assert!(stream.expect("ready\r\n").starts_with("31 99\r\n"));
    api.post(&format!("/exec/{session}/resize?h=40&w=101"), &Value::Null).expect(200);
    assert_eq!(stream.rest(), b"40 101\r\n");
    assert_eq!(api.get(&format!("/exec/{session}/json")).json()["ExitCode"], 2);
    assert_eq!(api.post(&format!("/exec/{session}/resize?h=40&w=101"), &Value::Null).status, 409);

    let session = create_exec(&api, "box", &request);
    let mut stream = Stream::open(&api, &format!("/exec/{session}/start"), &how);
    stream.expect("ready");
    stream.send("\u{10}\u{11}");
    stream.rest();
    assert_eq!(api.get(&format!("/exec/{session}/json")).json()["Running"], true);
}

#[test]
fn logs_come_in_frames_from_the_end_and_to_the_end() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let script =
        "echo one; echo two >&2; printf three; until [ -e /go ]; do sleep 0.02; done; echo; echo four";
    sandbox.start("writer", &[], script);
    let get = |options: &str| api.get(&format!("/v1.44/containers/writer/logs?{options}"));
    common::wait_for("three", || {
        let [out, err] = unframed(&get("stdout=1&stderr=1").expect(200).body);
        if (out.as_str(), err.as_str()) == ("one\nthree", "two\n") { Ok(()) } else { Err(out + &err) }
    });
    let mut socket = api.connect();
    send(&mut socket, "GET", "/v1.44/containers/writer/logs?stdout=true&follow=1&tail=1", &[], b"");
    let mut followed = BufReader::new(socket);
    let (_, headers) = read_head(&mut followed);
    let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, kind)| kind.as_str());
    assert_eq!(kind, Some("application/vnd.docker.multiplexed-stream"));
    // The last line is chosen by now: what comes is further ones.
    let mut seen = read_chunk(&mut followed);
    // It may be ended together with the container.
    sandbox.ketch(["exec", "writer", "touch", "/go"]);
    loop {
        match read_chunk(&mut followed) {
            chunk if chunk.is_empty() => break,
            chunk => seen.extend(chunk),
        }
    }
    assert_eq!(unframed(&seen)[0], "three\nfour\n");
    assert_eq!(unframed(&get("stderr=1").body), ["", "two\n"].map(str::to_owned));
    assert_eq!(unframed(&get("stdout=1&tail=all&since=0&until=0").body)[0], "one\nthree\nfour\n");
    assert_eq!(unframed(&get("stdout=1&until=1000000000.000000001").body)[0], "");
    let [dated, _] = unframed(&get("stdout=1&timestamps=1&tail=1").body);
    let (time, line) = dated.split_once(' ').unwrap();
    assert!(line == "four\n" && time.len() == 30 && time.ends_with('Z'), "{dated}");
    get("follow=1").expect(400);
    get("stdout=1&since=x").expect(400);
    assert_eq!(api.get("/containers/nobody/logs?stdout=1").status, 404);

    sandbox.ok(["run", "--name=screen", "-t", "--net=none", "bb", "sh", "-c", "echo hello"]);
    let shown = api.get("/containers/screen/logs?stdout=1");
    assert_eq!(shown.header("content-type"), Some("application/vnd.docker.raw-stream"));
    assert_eq!(shown.text(), "hello\r\n");
    sandbox.ok(["run", "--name=silent", "--log-driver=none", "--net=none", "bb", "true"]);
    assert_eq!(api.get("/containers/silent/logs?stdout=1").status, 501);
}

/// A frame as clients send it: masked, and not long.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 11, 13, 17];
    let length = u8::try_from(payload.len()).expect("a short payload");
    let payload = payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]);
    [0x80 | kind, 0x80 | length].into_iter().chain(mask).chain(payload).collect()
}

/// The next frame: its kind and its payload.
#[track_caller]
fn next_frame(from: &mut BufReader<UnixStream>) -> (u8, String) {
    let mut head = [0; 2];
    from.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; usize::from(head[1])];
    from.read_exact(&mut payload).expect("its payload");
    (head[0] & 15, String::from_utf8_lossy(&payload).into_owned())
}

/// RFC 6455, and the example of its section 1.3.
#[test]
fn attaching_by_a_websocket() {
    const HEADERS: [(&str, &str); 5] = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "chat"),
    ];
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let open = |name: &str| {
        let mut socket = api.connect();
        let path = format!("/containers/{name}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1");
        send(&mut socket, "GET", &path, &HEADERS, b"");
        let mut from = BufReader::new(socket.try_clone().expect("another descriptor"));
        let (status, headers) = read_head(&mut from);
        assert_eq!(status, 101);
        let has = |name: &str, value: &str| headers.contains(&(name.to_owned(), value.to_owned()));
        assert!(has("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{headers:?}");
        assert!(has("sec-websocket-protocol", "chat") && has("upgrade", "websocket"), "{headers:?}");
        (socket, from)
    };
    let script = "read x; echo out $x; echo err >&2; exit 3";
    sandbox.ok(["create", "--name=c", "-i", "--net=none", "bb", "sh", "-c", script]);
    let (mut socket, mut from) = open("c");
    sandbox.ok(["start", "c"]);
    socket.write_all(&[frame(9, b"there?"), frame(1, b"typed\n")].concat()).expect("send frames");
    let (mut text, mut pong) = (String::new(), String::new());
    loop {
        match next_frame(&mut from) {
            (2, data) => text.push_str(&data),
            (10, data) => pong = data,
            (kind, data) => {
                assert_eq!((kind, data.as_bytes()), (8, &b"\x03\xef\xbf\xbd"[..]), "the end, code 1000");
                break;
            }
        }
    }
    assert_eq!((text.as_str(), pong.as_str()), ("out typed\nerr\n", "there?"));
    assert_eq!(sandbox.ok(["wait", "c"]), "3");

    // Who closes leaves; the container goes on.
    sandbox.ok(["run", "-d", "--name=long", "-i", "--net=none", "bb", "sleep", "1000"]);
    let (mut socket, mut from) = open("long");
    socket.write_all(&frame(8, b"\x03\xe8")).expect("send the end");
    assert_eq!(next_frame(&mut from).0, 8);
    assert_eq!(from.read(&mut [0]).expect("the end"), 0);
    api.await_idle();
    assert_eq!(sandbox.inspect("long", ".State.Status"), "running");
    api.get("/containers/long/attach/ws?stream=1").expect(400);
    api.get("/containers/nosuch/attach/ws").expect(400);
}
