//! Flags of `run` and `create`: who the process is, and how its IDs relate to those outside.

use clap::Args;

use crate::engine::Result;
use crate::engine::request::ContainerRequest;

/// Who the process is, and how its IDs relate to those outside.
#[derive(Args, Debug)]
#[command(next_help_heading = "User")]
pub(crate) struct IdentityFlags {
    /// Add the process to a group, by name or number, or `keep-groups` (can be repeated)
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,

    /// User and group of the process, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// User namespace: host, keep-id[:uid=N,gid=N] or nomap
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
}

impl IdentityFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.user.clone_from(&self.user);
        request.groups.clone_from(&self.group_add);
        request.userns = self.userns.clone().unwrap_or_default();
        Ok(())
    }
}
