//! Further commands in containers: made by one request, started by another, asked about by a third.

use std::os::fd::{AsFd as _, OwnedFd};

use serde_json::{Value, json};

use super::attach::{content_type, detach_keys, window_size};
use super::document::{Words, documents};
use super::fault::{Fault, start_fault};
use super::http::exchange::{Answer, Exchange};
use super::named;
use crate::attach::client;
use crate::attach::packet::Hello;
use crate::attach::relay::{self, Left, Remote, relay};
use crate::base::bytes::Bytes;
use crate::base::stream::Stream;
use crate::engine::exec::ExecRequest;
use crate::engine::exec_sessions::{Session, SessionRequest, Started};
use crate::engine::start::Start;
use crate::engine::{Engine, Kind};
use crate::sys::clone::{self, Cloned};
use crate::sys::tty::WindowSize;
use crate::sys::{process, socket};

documents! {
    /// What `POST /containers/{}/exec` asks for.
    Asked {
        attach_stdin: bool,
        attach_stdout: bool,
        attach_stderr: bool,
        detach_keys: String,
        tty: bool,
        env: Vec<String>,
        cmd: Option<Words>,
        privileged: bool,
        user: String,
        working_dir: String,
        /// Height and width.
        console_size: Option<[u16; 2]>,
    }

    /// What `POST /exec/{}/start` asks for.
    HowToStart {
        detach: bool,
        /// Height and width.
        console_size: Option<[u16; 2]>,
    }
}

/// `POST /containers/{}/exec`.
pub(crate) fn create(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let asked: Asked = exchange.json()?;
    let (engine, id) = named::container(exchange)?;
    // What would detach is told to be wrong now, as by docker.
    detach_keys(&engine, Some(&asked.detach_keys))?;
    let session = engine.create_exec(&id, &request(asked))?;
    Ok(Answer::Json(201, json!({"Id": session})))
}

fn request(asked: Asked) -> SessionRequest {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let command = asked.cmd.map_or_else(Vec::new, Words::into_list);
    SessionRequest {
        exec: ExecRequest {
            command: command.into_iter().map(Bytes::from).collect(),
            env: asked.env.into_iter().map(Bytes::from).collect(),
            user: given(asked.user),
            workdir: given(asked.working_dir).map(Bytes::from),
            terminal: asked.tty,
            interactive: asked.attach_stdin,
            privileged: asked.privileged,
            ..ExecRequest::default()
        },
        attach_stdout: asked.attach_stdout,
        attach_stderr: asked.attach_stderr,
        detach_keys: given(asked.detach_keys),
        window: asked.console_size,
    }
}

/// `POST /exec/{}/start`.
pub(crate) fn start(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let how: HowToStart = exchange.json()?;
    let engine = exchange.engine()?;
    let id = exchange.param(0).to_owned();
    let SessionRequest { exec, attach_stdout, attach_stderr, detach_keys: keys, window } =
        engine.exec_session(&id)?.request;
    let hello = match how.detach {
        true => Hello::default(),
        false => Hello {
            stdout: attach_stdout,
            stderr: attach_stderr && !exec.terminal,
            stdin: exec.interactive,
            ..Hello::default()
        },
    };
    let (monitor, theirs) = socket::pair(socket::Kind::Packet)?;
    client::greet(monitor.as_fd(), hello)?;
    let window = how.console_size.or(window).filter(|size| exec.terminal && *size != [0, 0]);
    let window = window.map(|[rows, cols]| WindowSize { rows, cols });
    let started = engine.start_exec(&id, Start { client: Some(theirs), window, ..Start::default() });
    if how.detach {
        let started = started.map_err(start_fault)?;
        await_apart(exchange, &engine, started, &monitor)?;
        return Ok(Answer::Empty(200));
    }
    let started = match started {
        Err(err) if matches!(err.kind, Kind::CommandNotFound | Kind::NotExecutable | Kind::System) => {
            return tell_in_stream(exchange, exec.terminal, &start_fault(err));
        }
        other => other?,
    };
    let kind = content_type(exec.terminal, exchange.version());
    let Ok(hijacked) = exchange.hijack(kind) else {
        // It runs all the same.
        started.await_end(&engine, monitor.as_fd());
        return Ok(Answer::Sent);
    };
    let client = hijacked.socket.try_clone()?;
    let remote = Remote {
        stream: hijacked.socket,
        early: hijacked.early,
        framed: !exec.terminal,
        stdin: exec.interactive,
        passes_end: !exec.terminal,
        detach_keys: detach_keys(&engine, keys.as_deref())?.filter(|_| exec.terminal),
    };
    match relay(monitor.as_fd(), remote) {
        // Noted before the client sees the end, and asks.
        Ok(Left::Exited(code)) => started.ended(&engine, code),
        _ => {
            // The client has gone, or is to; the command goes on.
            rustix::net::shutdown(&client, rustix::net::Shutdown::Both).ok();
            started.await_end(&engine, monitor.as_fd());
        }
    }
    Ok(Answer::Sent)
}

/// Tells why a command did not start where its output would be: clients look there, and for the exit code.
fn tell_in_stream(exchange: &mut Exchange<'_>, terminal: bool, fault: &Fault) -> Result<Answer, Fault> {
    let hijacked = exchange.hijack(content_type(terminal, exchange.version()))?;
    let text = format!("{}\r\n", fault.message);
    let mut bytes = Vec::new();
    if !terminal {
        bytes.extend_from_slice(&relay::frame_header(Stream::Stdout, text.len()));
    }
    bytes.extend_from_slice(text.as_bytes());
    socket::send(hijacked.socket.as_fd(), &bytes)?;
    Ok(Answer::Sent)
}

/// Has a process of its own await the end of a command, so that this one can answer the next request.
fn await_apart(
    exchange: &Exchange<'_>,
    engine: &Engine,
    started: Started,
    monitor: &OwnedFd,
) -> Result<(), Fault> {
    let failed = |errno: nix::errno::Errno| Fault::new(500, format!("start a process: {}", errno.desc()));
    if let Cloned::Child = clone::clone3(0).map_err(failed)? {
        // The client sees the end of its connection when this process's parent closes it.
        let [dir, lock, leash] = started.descriptors();
        process::close_all_but(&[dir, lock, leash, monitor.as_fd()]);
        let service = exchange.service();
        match Engine::open(&service.config, service.tell) {
            Ok(engine) => started.await_end(&engine, monitor.as_fd()),
            Err(_) => started.await_end(engine, monitor.as_fd()),
        }
        process::exit_now(0);
    }
    Ok(())
}

/// `POST /exec/{}/resize`.
pub(crate) fn resize(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let size = window_size(exchange)?;
    exchange.engine()?.resize_exec(exchange.param(0), size)?;
    Ok(Answer::Empty(200))
}

/// `GET /exec/{}/json`.
pub(crate) fn inspect(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let id = exchange.param(0);
    Ok(Answer::ok(document(id, &exchange.engine()?.exec_session(id)?)))
}

fn document(id: &str, session: &Session) -> Value {
    let Session { container, request, pid, runs, exit_code } = session;
    let exec = &request.exec;
    let words: Vec<_> = exec.command.iter().map(Bytes::to_string_lossy).collect();
    let mut process = json!({
        "tty": exec.terminal,
        "entrypoint": words.first(),
        "arguments": words.get(1..).unwrap_or_default(),
        "privileged": exec.privileged,
    });
    if let Some(user) = &exec.user {
        process["user"] = user.as_str().into();
    }
    json!({
        "ID": id,
        "Running": runs,
        "ExitCode": exit_code,
        "ProcessConfig": process,
        "OpenStdin": exec.interactive,
        "OpenStderr": request.attach_stderr,
        "OpenStdout": request.attach_stdout,
        "CanRemove": false,
        "ContainerID": container.as_str(),
        "DetachKeys": request.detach_keys.as_deref().unwrap_or_default(),
        "Pid": pid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::document;

    #[test]
    fn what_is_asked_for() {
        let asked = r#"{"AttachStdin": true, "AttachStdout": true, "Tty": true, "Cmd": ["ls", "/x"], "User": "1:2",
            "Env": ["A=b"], "WorkingDir": "/srv", "Privileged": true, "DetachKeys": "", "ConsoleSize": [1, 2]}"#;
        let want = SessionRequest {
            exec: ExecRequest {
                command: vec!["ls".into(), "/x".into()],
                env: vec!["A=b".into()],
                user: Some("1:2".to_owned()),
                workdir: Some("/srv".into()),
                terminal: true,
                interactive: true,
                privileged: true,
                ..ExecRequest::default()
            },
            attach_stdout: true,
            window: Some([1, 2]),
            ..SessionRequest::default()
        };
        assert_eq!(request(document::read(asked.as_bytes()).unwrap()), want);
        let bare =
            request(document::read(br#"{"Cmd": "ls", "Env": null, "User": "", "Tty": null}"#).unwrap());
        assert_eq!(bare.exec, ExecRequest { command: vec!["ls".into()], ..ExecRequest::default() });
    }
}
