//! Flags of `run` and `create`: which namespaces are its own.

use clap::Args;

use crate::engine::Result;
use crate::engine::request::ContainerRequest;

/// Which namespaces are its own.
#[derive(Args, Debug)]
#[command(next_help_heading = "Namespaces")]
pub(crate) struct NamespaceFlags {
    /// Cgroup namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,

    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,

    /// Host name inside
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,

    /// IPC namespace: private, host, shareable, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,

    /// PID namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,

    /// UTS namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
}

impl NamespaceFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        let mode = |mode: &Option<String>| mode.clone().unwrap_or_default();
        request.hostname.clone_from(&self.hostname);
        request.domainname.clone_from(&self.domainname);
        request.pid = mode(&self.pid);
        request.ipc = mode(&self.ipc);
        request.uts = mode(&self.uts);
        request.cgroupns = mode(&self.cgroupns);
        Ok(())
    }
}
