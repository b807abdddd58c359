//! Flags of `run` and `create`: how its health is checked, and who says that it is ready.

use clap::Args;

use crate::engine::request::{ContainerRequest, HealthRequest};

/// How its health is checked, and who says that it is ready.
#[derive(Args, Debug)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthFlags {
    #[command(flatten)]
    checks: HealthCheckFlags,

    /// Who tells systemd (NOTIFY_SOCKET) that it is ready: container, conmon, healthy or ignore
    #[arg(long, value_name = "MODE")]
    sdnotify: Option<String>,
}

/// How its health is checked: for `run`, `create` and `update`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthCheckFlags {
    /// Check the container's health with this command: a line for the shell, or a JSON list; none for no check
    #[arg(long, alias = "healthcheck-command", value_name = "COMMAND", allow_hyphen_values = true)]
    health_cmd: Option<String>,

    /// Pause between health checks, like 30s; disable checks only on request (`healthcheck run`)
    #[arg(long, alias = "healthcheck-interval", value_name = "DURATION")]
    health_interval: Option<String>,

    /// Where to keep the log of health checks: local, a directory, or events_logger
    #[arg(long, value_name = "PLACE")]
    health_log_destination: Option<String>,

    /// Keep this many health checks; 0 keeps all
    #[arg(long, value_name = "NUMBER")]
    health_max_log_count: Option<u32>,

    /// Keep this many characters of each health check's output; 0 keeps all
    #[arg(long, value_name = "NUMBER")]
    health_max_log_size: Option<u32>,

    /// What to do with an unhealthy container: none, kill, restart or stop
    #[arg(long, value_name = "ACTION")]
    health_on_failure: Option<String>,

    /// So many failures in a row make it unhealthy
    #[arg(long, alias = "healthcheck-retries", value_name = "NUMBER", allow_negative_numbers = true)]
    health_retries: Option<i64>,

    /// Pause between checks in the start period, until one has succeeded (otherwise as later)
    #[arg(long, value_name = "DURATION")]
    health_start_interval: Option<String>,

    /// Failures do not count this long after the start
    #[arg(long, alias = "healthcheck-start-period", value_name = "DURATION")]
    health_start_period: Option<String>,

    /// Begin with this check, which takes the place of the other until it has succeeded
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    health_startup_cmd: Option<String>,

    /// Pause between start-up checks
    #[arg(long, value_name = "DURATION")]
    health_startup_interval: Option<String>,

    /// So many failed start-up checks restart the container; 0 never does
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    health_startup_retries: Option<i64>,

    /// So many successes end the start-up
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    health_startup_success: Option<i64>,

    /// A start-up check that takes longer has failed
    #[arg(long, value_name = "DURATION")]
    health_startup_timeout: Option<String>,

    /// A health check that takes longer has failed
    #[arg(long, alias = "healthcheck-timeout", value_name = "DURATION")]
    health_timeout: Option<String>,

    /// Do not check the container's health, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    /// Puts these flags' part into a request.
    pub(super) fn fill(&self, request: &mut ContainerRequest) {
        request.sdnotify.clone_from(&self.sdnotify);
        request.health = self.checks.request();
    }
}

impl HealthCheckFlags {
    /// What is asked for.
    pub(crate) fn request(&self) -> HealthRequest {
        // An empty one (a variable that is not set) asks for nothing, as with docker and podman.
        let typed = |command: &Option<String>| command.clone().filter(|command| !command.is_empty());
        HealthRequest {
            program: Vec::new(),
            cmd: typed(&self.health_cmd),
            interval: self.health_interval.clone(),
            log_destination: self.health_log_destination.clone(),
            max_log_count: self.health_max_log_count,
            max_log_size: self.health_max_log_size,
            on_failure: self.health_on_failure.clone(),
            retries: self.health_retries,
            start_interval: self.health_start_interval.clone(),
            start_period: self.health_start_period.clone(),
            startup_cmd: typed(&self.health_startup_cmd),
            startup_interval: self.health_startup_interval.clone(),
            startup_retries: self.health_startup_retries,
            startup_success: self.health_startup_success,
            startup_timeout: self.health_startup_timeout.clone(),
            timeout: self.health_timeout.clone(),
            disabled: self.no_healthcheck,
            silent: false,
        }
    }
}
