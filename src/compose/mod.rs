//! Row 7: several containers as one project, described by a Compose file.
//!
//! ```text
//! files ──yaml──▶ Node ──interpolate──▶ Node ──canonical──▶ Node ──merge──▶ Node ──normal──▶ Node ──▶ Project
//!  text            with positions        $A replaced         long forms      one tree         complete    types
//!
//! Project + what there is ──(plan)──▶ Vec<Step> ──(apply)──▶ engine
//! ```
//!
//! Everything up to the plan is pure but for [`load`], which reads the files. [`schema`] is the one
//! table of what a file may hold: it drives the checks, the long forms, the merging and the order in
//! which `config` prints. Source: the Compose Specification, and docker compose 2.26 where that is silent.

pub(crate) mod apply;
pub(crate) mod canonical;
pub(crate) mod check;
pub(crate) mod dotenv;
mod ending;
mod env_files;
pub(crate) mod hash;
mod hooks;
pub(crate) mod images;
pub(crate) mod interpolate;
pub(crate) mod json;
pub(crate) mod load;
pub(crate) mod locate;
mod make;
pub(crate) mod merge;
mod mounts;
pub(crate) mod node;
pub(crate) mod normal;
pub(crate) mod observe;
pub(crate) mod order;
mod pairs;
pub(crate) mod plan;
mod ports;
pub(crate) mod project;
pub(crate) mod provider;
pub(crate) mod published;
mod ready;
pub(crate) mod resources;
mod scalars;
pub(crate) mod schema;
pub(crate) mod short;
mod sync;
pub(crate) mod translate;
pub(crate) mod tree;
pub(crate) mod watch;
mod without_effect;
