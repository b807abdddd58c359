//! A stage that carries out one order and answers with the errno for it.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::stage::spawn::{self, Stage, UserNamespace};
use crate::stage::wire;
use crate::sys::process;

/// Has the stage `name` carry out an order in `namespace`.
///
/// # Errors
///
/// What the system refuses.
pub(super) fn run(name: &CStr, namespace: &UserNamespace, order: &impl Serialize) -> io::Result<()> {
    let stage = Stage { name, args: &[], detached: false };
    let child = spawn::spawn(&stage, namespace).map_err(io::Error::other)?;
    child.send(order, &[]).map_err(io::Error::other)?;
    let (errno, _) = child.receive::<i32>().map_err(io::Error::other)?;
    child.wait()?;
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// The stage: one order, and the errno for it.
pub(super) fn main<O: DeserializeOwned>(carry_out: impl FnOnce(&O) -> io::Result<()>) -> ! {
    let answered = spawn::begin().is_ok_and(|command| {
        wire::receive::<O>(command.as_fd()).is_ok_and(|(order, _)| {
            let errno = carry_out(&order).err().map_or(0, |err| err.raw_os_error().unwrap_or(libc::EIO));
            wire::send(command.as_fd(), &errno, &[]).is_ok()
        })
    });
    process::exit_now(if answered { 0 } else { 125 })
}
