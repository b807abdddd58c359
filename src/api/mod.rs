//! Row 7: Docker's Engine API over a Unix socket: what its clients need that are not command lines.
//!
//! One process accepts connections, and each of them is served by a child of its own, which reads one request after the other
//! and calls the engine as the command line does, without threads. So clones happen in single-threaded processes, one client's
//! credentials never share a process with another's bytes, and a stream that lasts simply occupies its process.
//!
//! # Source
//!
//! docs.docker.com, "Docker Engine API".

mod attach;
mod build;
mod containers;
mod document;
mod endpoint;
mod events;
mod exec;
mod fault;
pub(crate) mod http;
mod images;
mod logs;
mod named;
mod networks;
pub(crate) mod route;
mod system;
mod usage;
mod volumes;
mod wait;
mod websocket;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::base::version::{DOCKER_API, VERSION};
use crate::engine::Tell;
use crate::engine::config::Config;
use crate::sys::clone::{self, Cloned};
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signal::{self, SignalFd, SignalSet};
use crate::sys::{pidfd, process, socket};

use http::connection::{Connection, NoRequest};
use http::exchange::Exchange;

/// The newest version of the API that is spoken; without one in its path a request means this.
pub(crate) const LATEST: (u32, u32) = (1, 51);
/// The oldest one, as docker says.
pub(crate) const OLDEST: (u32, u32) = (1, 24);
/// What is answered nevertheless: skopeo before 1.14 (Debian 12) says so for `docker-daemon:`, and docker refuses it. What
/// it asks for has not changed since.
const ANSWERED: (u32, u32) = (1, 22);

/// What holds for all requests.
#[derive(Debug)]
pub(crate) struct Service {
    /// The choices of the command that serves. Names are docker's.
    pub(crate) config: Config,
    /// Who is told what cannot be told to a client.
    pub(crate) tell: Tell,
    /// `--cors`: the origins that a browser may ask from.
    pub(crate) cors: Option<String>,
}

impl Service {
    /// The headers that stand in every answer.
    fn headers(&self) -> String {
        let cors = self.cors.as_ref().map_or_else(String::new, |origin| {
            format!(
                "Access-Control-Allow-Origin: {origin}\r\n\
                 Access-Control-Allow-Headers: Origin, X-Requested-With, Content-Type, Accept, X-Registry-Auth\r\n\
                 Access-Control-Allow-Methods: HEAD, GET, POST, DELETE, PUT, OPTIONS\r\n"
            )
        });
        format!(
            "Api-Version: {DOCKER_API}\r\nDocker-Experimental: false\r\nOstype: linux\r\n\
             Server: Docker/{VERSION} (ketch)\r\n{cors}"
        )
    }
}

/// Serves connections to `listener` until nobody has been connected for `idle` (`None`: for ever), or SIGTERM or SIGINT ends it
/// and all connections.
///
/// # Errors
///
/// What accept(2) and clone(2) answer beyond what passes by itself.
pub(crate) fn serve(service: &Service, listener: OwnedFd, idle: Option<Duration>) -> io::Result<()> {
    // One that systemd has made waits; a client may go before it is accepted.
    rustix::io::ioctl_fionbio(&listener, true)?;
    signal::set_ignored(libc::SIGPIPE)?;
    let before = signal::block(&SignalSet::empty())?;
    let signals = SignalFd::new(&SignalSet::of(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]))?;
    let mut children: BTreeMap<i32, OwnedFd> = BTreeMap::new();
    let mut poll = PollSet::default();
    loop {
        poll.clear();
        poll.add(Some(listener.as_fd()), Interest::READ);
        poll.add(Some(signals.as_fd()), Interest::READ);
        // Signals come one for several children.
        let happened = poll.wait(idle.filter(|_| children.is_empty()))?;
        if !happened && children.is_empty() && idle.is_some() {
            return Ok(());
        }
        while let Some(number) = signals.read()? {
            if number != libc::SIGCHLD {
                for child in children.values() {
                    // It may have ended.
                    pidfd::send_signal(child.as_fd(), libc::SIGTERM).ok();
                }
                return Ok(());
            }
        }
        children.retain(|_, child| {
            !matches!(pidfd::has_ended(child), Ok(true)) || pidfd::wait(child.as_fd()).is_err()
        });
        while let Some(socket) = accept(&listener)? {
            match clone::clone3(0) {
                Ok(Cloned::Parent { pid, pidfd }) => drop(children.insert(pid, pidfd)),
                // Too many processes: this client has to come again, the others go on.
                Err(_) => std::thread::sleep(PAUSE),
                Ok(Cloned::Child) => {
                    drop((listener, signals, children));
                    signal::set_mask(&before).ok();
                    converse(service, socket);
                    process::exit_now(0);
                }
            }
        }
    }
}

/// How long to wait for what passes by itself, as connections end: too many open files, or processes.
const PAUSE: Duration = Duration::from_millis(100);

/// The next connection, if one waits.
fn accept(listener: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    match socket::accept(listener.as_fd()) {
        Err(err) if matches!(err.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
            std::thread::sleep(PAUSE);
            Ok(None)
        }
        other => other,
    }
}

/// Answers the requests of one client.
fn converse(service: &Service, socket: OwnedFd) {
    let Ok(mut connection) = Connection::new(socket) else { return };
    loop {
        match connection.next() {
            Ok(head) => {
                let mut exchange = Exchange::new(head, &mut connection, service);
                let answer = route::answer(&mut exchange);
                if !exchange.finish(answer) {
                    break;
                }
                // Monitors, and others that this process has started and does not wait for.
                process::reap_children();
            }
            Err(NoRequest::Malformed(why)) => {
                let text = format!(
                    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{why}",
                    why.len()
                );
                // The client may have gone.
                connection.send(text.as_bytes()).ok();
                break;
            }
            Err(NoRequest::Over) => return,
        }
    }
    connection.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_same_in_both_forms() {
        assert_eq!(format!("{}.{}", LATEST.0, LATEST.1), DOCKER_API);
    }
}
