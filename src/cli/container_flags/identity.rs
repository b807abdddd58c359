//! Flags of `run` and `create`: who the process is, and how its IDs relate to those outside.

use clap::Args;

use crate::engine::Result;
use crate::engine::request::{AccountsRequest, ContainerRequest};

/// Who the process is, and how its IDs relate to those outside.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "User")]
pub(crate) struct IdentityFlags {
    /// Add the process to a group, by name or number, or `keep-groups` (can be repeated)
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub(super) group_add: Vec<String>,

    /// The line of the user's group in /etc/group, with $GROUPNAME, $GID and $USERLIST in it
    #[arg(long, value_name = "LINE")]
    pub(super) group_entry: Option<String>,

    /// Map group IDs: [+][u|g]INSIDE:[@]OUTSIDE[:COUNT], as --uidmap (can be repeated)
    #[arg(long, value_name = "MAP", value_delimiter = ',')]
    pub(super) gidmap: Vec<String>,

    /// Add a user of the host to /etc/passwd (can be repeated)
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    pub(super) hostuser: Vec<String>,

    /// Add the user to /etc/passwd and /etc/group if the image does not know them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(super) passwd: bool,

    /// The line of the user in /etc/passwd, with $USERNAME, $UID, $GID, $NAME and $HOME in it
    #[arg(long, value_name = "LINE")]
    pub(super) passwd_entry: Option<String>,

    /// Map the group IDs that /etc/subgid gives to this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["gidmap", "userns"])]
    pub(super) subgidname: Option<String>,

    /// Map the user IDs that /etc/subuid gives to this name
    #[arg(long, value_name = "NAME", conflicts_with_all = ["uidmap", "userns"])]
    pub(super) subuidname: Option<String>,

    /// Map user IDs: [+][u|g]INSIDE:[@]OUTSIDE[:COUNT] (can be repeated)
    ///
    /// OUTSIDE 0 is you, 1 and up are your subordinate IDs, @N is an ID of the host. A `+` moves other IDs
    /// aside instead of leaving them out, `u` and `g` limit it to users or groups. Without --gidmap it is
    /// that of the groups, too.
    #[arg(long, value_name = "MAP", value_delimiter = ',')]
    pub(super) uidmap: Vec<String>,

    /// User and group of the process, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,

    /// User namespace: host, auto[:size=N], keep-id[:uid=N,gid=N,size=N], nomap, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pub(super) userns: Option<String>,
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
        request.uid_maps.clone_from(&self.uidmap);
        request.gid_maps.clone_from(&self.gidmap);
        request.subuid_name.clone_from(&self.subuidname);
        request.subgid_name.clone_from(&self.subgidname);
        request.accounts = AccountsRequest {
            untouched: !self.passwd,
            passwd_entry: self.passwd_entry.clone(),
            group_entry: self.group_entry.clone(),
            host_users: self.hostuser.clone(),
        };
        Ok(())
    }
}
