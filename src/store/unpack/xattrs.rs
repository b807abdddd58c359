//! Extended attributes: which ones of a layer are set, and under what name.

use std::borrow::Cow;
use std::os::fd::AsFd;

use crate::store::unpack::extract::Trouble;
use crate::sys::fs;

/// The name under which an attribute of a layer is set; `None` if it cannot be carried over.
///
/// Attributes by which overlay itself works are escaped, as the kernel shows them again inside a mount
/// (Linux 6.7, "Nesting overlayfs mounts"); taken literally they would let a layer hide or redirect
/// files of others.
pub(super) fn xattr_name(name: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some(rest) = name.strip_prefix(b"user.overlay.") {
        return Some(Cow::Owned([b"user.overlay.overlay.", rest].concat()));
    }
    let kept = name.starts_with(b"user.")
        || matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default");
    kept.then_some(Cow::Borrowed(name))
}

/// Sets an attribute; false if the file system or the user cannot have it.
pub(super) fn set_xattr(file: impl AsFd, name: &[u8], value: &[u8]) -> Result<bool, Trouble> {
    match fs::set_xattr(file, name, value) {
        Ok(()) => Ok(true),
        // EINVAL: an access control list with an ID that is not mapped.
        Err(err)
            if matches!(err.raw_os_error(), Some(libc::ENOTSUP))
                || !name.starts_with(b"user.")
                    && matches!(err.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) =>
        {
            Ok(false)
        }
        Err(err) => {
            let name = String::from_utf8_lossy(name);
            Err(Trouble::Problem(format!("set the attribute {name:?} of {} bytes: {err}", value.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_overlay_are_escaped_and_foreign_ones_dropped() {
        for (name, want) in [
            ("user.a", Some("user.a")),
            ("user.overlay.opaque", Some("user.overlay.overlay.opaque")),
            ("user.overlay.overlay.x", Some("user.overlay.overlay.overlay.x")),
            ("security.capability", Some("security.capability")),
            ("system.posix_acl_default", Some("system.posix_acl_default")),
            ("security.selinux", None),
            ("trusted.overlay.opaque", None),
            ("system.nfs4_acl", None),
            ("nonsense", None),
        ] {
            assert_eq!(xattr_name(name.as_bytes()).as_deref(), want.map(str::as_bytes), "{name}");
        }
    }
}
