//! What the integration tests share.
//!
//! Each test binary compiles this module anew and uses a part of it, hence the allowance below.
#![allow(dead_code)]

pub(crate) mod source;
