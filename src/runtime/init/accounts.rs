//! Users and groups that the image does not know, added to its passwd and group.
//!
//! The files are the container's own copies, above the image's; a mount of the user's covers them later.

use std::io::Write;

use rustix::fs::{FileType, OFlags};

use crate::base::passwd::{self, Wish};
use crate::runtime::failure::Failure;
use crate::runtime::step::AccountsPlan;
use crate::sys::fs;

use super::{Init, Result};

/// The lines that the container's passwd and group lack.
pub(in crate::runtime) fn additions(plan: &AccountsPlan, passwd: &str, group: &str) -> (String, String) {
    let wish = Wish {
        accounts: &plan.accounts,
        user: &plan.user,
        directory: &plan.directory,
        mounted_homes: &plan.mounted,
    };
    passwd::additions(&wish, passwd, group)
}

impl Init {
    /// Adds the lines that are missing, and the files, where the image has none but a place for them.
    pub(super) fn add_accounts(&self, plan: &AccountsPlan) -> Result<()> {
        let read =
            |path| self.root().read_small(path).map(|text| String::from_utf8_lossy(&text).into_owned());
        let (passwd, group) = (read(b"etc/passwd"), read(b"etc/group"));
        let (passwd, group) = (passwd.as_deref(), group.as_deref());
        let (users, groups) = additions(plan, passwd.unwrap_or_default(), group.unwrap_or_default());
        self.add("passwd", passwd, &users)?;
        self.add("group", group, &groups)
    }

    /// Adds lines to a file of /etc that says what is `known`.
    fn add(&self, name: &str, known: Option<&str>, lines: &str) -> Result<()> {
        match known {
            _ if lines.is_empty() => Ok(()),
            Some(known) => self.append(format!("etc/{name}").as_bytes(), known, lines),
            None => {
                // What is there and cannot be read, or is no directory, stays as it is.
                let place = self.root().open(b"etc", OFlags::PATH | OFlags::DIRECTORY).ok();
                place.and_then(|etc| fs::write_new(etc, name, lines.as_bytes(), 0o644, false).ok());
                Ok(())
            }
        }
    }

    fn append(&self, path: &[u8], known: &str, lines: &str) -> Result<()> {
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
