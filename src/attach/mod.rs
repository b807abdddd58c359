//! Watching a container: the protocol between its monitor and any number of clients.
//!
//! ```text
//! process 1 ══pipes or pty══ monitor ──log
//!                               ├─ inherited socket pair ── the command that started it
//!                               └─ attach.sock ──────────── attach, wait, stop, kill …
//! ```

pub(crate) mod client;
pub(crate) mod detach;
pub(crate) mod packet;
pub(crate) mod relay;
pub(crate) mod server;
