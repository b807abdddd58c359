//! Flags of `run` and `create`: which namespaces are its own.

use clap::Args;

use crate::engine::Result;
use crate::engine::request::ContainerRequest;

/// Which namespaces are its own.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Namespaces")]
pub(crate) struct NamespaceFlags {
    /// Cgroup namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pub(super) cgroupns: Option<String>,

    /// Show /etc/hosts and its like in this directory inside as well, where a program changes its root to (can be repeated)
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) chrootdirs: Vec<String>,

    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    pub(super) domainname: Option<String>,

    /// Host name inside
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(super) hostname: Option<String>,

    /// IPC namespace: private, host, shareable, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pub(super) ipc: Option<String>,

    /// Leave /etc/hostname to the image
    #[arg(long)]
    pub(super) no_hostname: bool,

    /// PID namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pub(super) pid: Option<String>,

    /// UTS namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pub(super) uts: Option<String>,
}

impl NamespaceFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        let mode = |mode: &Option<String>| mode.clone().unwrap_or_default();
        // An empty one is none, as with podman and docker.
        request.hostname = self.hostname.clone().filter(|name| !name.is_empty());
        request.domainname.clone_from(&self.domainname);
        request.pid = mode(&self.pid);
        request.ipc = mode(&self.ipc);
        request.uts = mode(&self.uts);
        request.cgroupns = mode(&self.cgroupns);
        request.no_hostname = self.no_hostname;
        request.chroot_dirs.clone_from(&self.chrootdirs);
        Ok(())
    }
}
