//! Stages: ketch run again as another process, inside the user namespace U.
//!
//! ```text
//! command ──clone3──▶ child: joins or creates U · new mount namespace · read-only clone of the binary
//!    │                   └─execveat──▶ `ketch --stage NAME`   (descriptor 3: a socket to the command)
//!    └──────── wire: one order down, reports up ────────┘
//! ```
//!
//! This module knows how a stage is started and how messages travel; what they mean is the
//! business of the modules above.

pub(crate) mod holders;
pub(crate) mod idranges;
pub(crate) mod maps;
pub(crate) mod spawn;
pub(crate) mod wire;
