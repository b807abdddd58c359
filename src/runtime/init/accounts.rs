//! Users and groups that the image does not know, added to its passwd and group.
//!
//! The files are the container's own copies, above the image's; a mount of the user's covers them later.

use std::io::Write;

use rustix::fs::{FileType, OFlags};

use crate::base::passwd::{self, Wish};
use crate::runtime::failure::Failure;
use crate::runtime::step::AccountsPlan;

use super::{Init, Result};

impl Init {
    /// Adds the lines that are missing. An image without these files stays without.
    pub(super) fn add_accounts(&self, plan: &AccountsPlan) -> Result<()> {
        let read =
            |path| self.root().read_small(path).map(|text| String::from_utf8_lossy(&text).into_owned());
        let Some(passwd) = read(b"etc/passwd") else { return Ok(()) };
        let group = read(b"etc/group");
        let wish = Wish {
            accounts: &plan.accounts,
            user: &plan.user,
            directory: &plan.directory,
            mounted_homes: &plan.mounted,
        };
        let (users, groups) = passwd::additions(&wish, &passwd, group.as_deref().unwrap_or_default());
        self.append(b"etc/passwd", &passwd, &users)?;
        match group {
            Some(group) => self.append(b"etc/group", &group, &groups),
            None => Ok(()),
        }
    }

    fn append(&self, path: &[u8], known: &str, lines: &str) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let failed = |err| Failure::errno(format!("add users to /{}", String::from_utf8_lossy(path)), err);
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.root().open(path, flags).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let newline = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
        std::fs::File::from(file).write_all(format!("{newline}{lines}").as_bytes()).map_err(failed)
    }
}
