//! Streams of containers: attaching to them, before they run or while they do, and the sizes of their terminals.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use super::fault::Fault;
use super::http::exchange::{Answer, Exchange, Hijacked};
use super::logs::{self, Frames};
use super::{named, websocket};
use crate::attach::detach::{self, DetachKeys, DetachKeysError};
use crate::attach::packet::Hello;
use crate::attach::relay::{Left, Remote, relay};
use crate::engine::Engine;
use crate::logs::reader::Query;
use crate::sys::clone::{self, Cloned};
use crate::sys::tty::WindowSize;
use crate::sys::{pidfd, process, socket};

/// `POST /containers/{}/attach`.
pub(crate) fn attach(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    attach_by(exchange, |exchange, terminal| {
        let hijacked = exchange.hijack(content_type(terminal, exchange.version()))?;
        Ok(Way { hijacked, framed: !terminal, translator: None })
    })
}

/// `GET /containers/{}/attach/ws`.
pub(crate) fn by_websocket(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let is_asked = exchange.header("upgrade").is_some_and(|word| word.eq_ignore_ascii_case("websocket"));
    let key = exchange.header("sec-websocket-key").filter(|key| is_asked && !key.is_empty());
    let key = key.ok_or_else(|| Fault::new(400, "this is answered by a WebSocket alone"))?;
    if exchange.header("sec-websocket-version") != Some("13") {
        return Err(Fault::new(400, "Sec-WebSocket-Version is not 13"));
    }
    let accept = websocket::accept(key);
    attach_by(exchange, |exchange, _| {
        let hijacked = exchange.websocket(&accept)?;
        let (plain, theirs) = socket::pair(socket::Kind::Stream)?;
        let failed = |errno: nix::errno::Errno| Fault::new(500, format!("start a process: {}", errno.desc()));
        match clone::clone3(0).map_err(failed)? {
            Cloned::Child => {
                // Each side sees the other one's end when this process has ended.
                process::close_all_but(&[hijacked.socket.as_fd(), theirs.as_fd()]);
                // Nobody is left to be told.
                websocket::translate(&hijacked.socket, &theirs, &hijacked.early).ok();
                process::exit_now(0);
            }
            Cloned::Parent { pidfd, .. } => {
                let hijacked = Hijacked { socket: plain, early: Vec::new() };
                Ok(Way { hijacked, framed: false, translator: Some(pidfd) })
            }
        }
    })
}

/// How a client is reached that has left HTTP.
struct Way {
    hijacked: Hijacked,
    /// Output goes in docker's frames.
    framed: bool,
    /// The process that stands between.
    translator: Option<OwnedFd>,
}

/// Attaches a client whose connection leaves HTTP by `leave`, which is told whether the container has a terminal.
fn attach_by(
    exchange: &mut Exchange<'_>,
    leave: impl FnOnce(&mut Exchange<'_>, bool) -> Result<Way, Fault>,
) -> Result<Answer, Fault> {
    let (engine, id) = named::container(exchange)?;
    let spec = engine.container_spec(&id)?;
    let terminal = spec.process.terminal;
    let hello = Hello {
        stdout: exchange.flag("stdout"),
        stderr: exchange.flag("stderr") && !terminal,
        stdin: exchange.flag("stdin") && spec.process.open_stdin,
        ..Hello::default()
    };
    let keys = detach_keys(&engine, exchange.query("detachKeys"))?;
    let _first = engine.output_first(&id)?;
    let attaching = match exchange.flag("stream") {
        true => Some(engine.attach_at_start(&id, hello)?),
        false => None,
    };
    let recorded = match exchange.flag("logs") {
        true => Some(engine.log(&id, Query::default(), false)?),
        false => None,
    };
    let Way { hijacked, framed, translator } = leave(exchange, terminal)?;
    let carried = (|| {
        if let Some(mut log) = recorded {
            let mut frames = Frames::new(!framed, [hello.stdout, hello.stderr]);
            let socket = &mut UnixStream::from(hijacked.socket.try_clone()?);
            log.read(|entry| frames.take(entry, socket))?;
            frames.flush(socket)?;
        }
        let Some(attaching) = attaching else { return Ok(()) };
        let Some(monitor) = attaching.finish(&engine, &id, hello, hijacked.socket.as_fd())? else {
            return Ok(());
        };
        let remote = Remote {
            stream: hijacked.socket,
            early: hijacked.early,
            framed,
            stdin: hello.stdin,
            passes_end: spec.process.stdin_once && !terminal,
            detach_keys: keys.filter(|_| terminal),
        };
        if relay(monitor.as_fd(), remote)? == Left::Detached {
            engine.record_container("detach", &id);
        }
        Ok(())
    })();
    if let Some(translator) = translator {
        // What it has still to say goes out before the connection is closed.
        pidfd::wait(translator.as_fd()).ok();
    }
    carried.map(|()| Answer::Sent)
}

/// `POST /containers/{}/resize`.
pub(crate) fn resize(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let size = window_size(exchange)?;
    let (engine, id) = named::container(exchange)?;
    engine.resize(&id, size)?;
    Ok(Answer::Empty(200))
}

/// The size of a terminal in the query: `h` and `w`.
///
/// # Errors
///
/// 400 for what is no number.
pub(super) fn window_size(exchange: &Exchange<'_>) -> Result<WindowSize, Fault> {
    let number = |key: &str| {
        let text = exchange.query(key).unwrap_or_default();
        text.parse::<u16>()
            .map_err(|_| Fault::new(400, format!("invalid resize {key} {text:?}: not a number")))
    };
    Ok(WindowSize { rows: number("h")?, cols: number("w")? })
}

/// What detaches: what was asked for, or the configuration's keys; `None` where nothing does.
///
/// # Errors
///
/// 400 for what is no sequence of keys.
pub(super) fn detach_keys(engine: &Engine, asked: Option<&str>) -> Result<Option<DetachKeys>, Fault> {
    let text = asked.filter(|keys| !keys.is_empty()).or(engine.conf().engine.detach_keys.as_deref());
    let keys = text.unwrap_or(detach::DEFAULT).parse::<DetachKeys>();
    let keys = keys.map_err(|err: DetachKeysError| Fault::new(400, err.to_string()))?;
    Ok((keys != DetachKeys::default()).then_some(keys))
}

/// What a stream of output is called: docker's frames, or, as from a terminal and to older clients, just bytes.
pub(super) fn content_type(terminal: bool, version: (u32, u32)) -> &'static str {
    match !terminal && version >= logs::SAYS_FRAMES {
        true => "application/vnd.docker.multiplexed-stream",
        false => "application/vnd.docker.raw-stream",
    }
}
