//! Row 3: registries over HTTP: from the name of an image to verified bytes.
//!
//! ```text
//! ImageName ─config─▶ ImageRef ─config─▶ [Endpoint] ─client─▶ manifest bytes (≤ 4 MiB, digest known)
//!                                                  ├───blob──▶ Sink (length and digest checked)
//!                                                  ◀──upload── files, manifest bytes
//! ```
//!
//! The rest of ketch is synchronous; [`client::Client`] carries a current-thread runtime inside and
//! answers when it is done.

pub(crate) mod attachments;
pub(crate) mod auth;
pub(crate) mod blob;
pub(crate) mod challenge;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod fetch;
mod hang_up;
mod helper;
pub(crate) mod keyring;
mod piece;
pub(crate) mod policy;
mod realm;
mod resolver;
pub(crate) mod retry;
pub(crate) mod search;
mod secretbox;
pub(crate) mod sigstore;
pub(crate) mod tls;
mod token;
pub(crate) mod transport;
pub(crate) mod upload;

#[cfg(test)]
#[path = "../../tests/common/faults.rs"]
#[allow(clippy::unwrap_used, dead_code)]
mod faults;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upload_tests;
