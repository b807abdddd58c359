//! HTTP/1.1 as Docker's clients speak it over a Unix socket: blocking, one request after the other on a connection.
//!
//! Heads are parsed by `httparse`; what is here is the framing of bodies, the forms of answers, and the switch from HTTP to a
//! plain stream of bytes (`Upgrade: tcp`), which Docker calls hijacking and common servers do not know.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod exchange;
pub(crate) mod head;
