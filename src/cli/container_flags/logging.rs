//! Flags of `run` and `create`: where output is kept.

use clap::Args;

use crate::engine::Result;
use crate::engine::request::ContainerRequest;

/// Where output is kept.
#[derive(Args, Debug)]
#[command(next_help_heading = "Log")]
pub(crate) struct LoggingFlags {
    /// Where output goes: k8s-file, json-file, journald, passthrough, passthrough-tty or none
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,

    /// Set an option of the log: max-size, max-file, path, tag, labels, env (can be repeated)
    ///
    /// Docker's compress, mode and max-buffer-size are taken, too, and change nothing: old files are not compressed,
    /// and a container never waits for its log.
    #[arg(long, value_name = "KEY=VALUE")]
    log_opt: Vec<String>,
}

impl LoggingFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.log_driver.clone_from(&self.log_driver);
        request.log_options.clone_from(&self.log_opt);
        Ok(())
    }
}
