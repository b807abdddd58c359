//! Flags of `run` and `create`: what it may use.

use clap::Args;

use crate::base::limits::{self, Cgroup, CgroupMode, OfVersion1};
use crate::base::rlimit::{self, Ulimit};
use crate::base::spec::Rlimit;
use crate::cli::resource_flags::ResourceFlags;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result, config};

/// What it may use.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Write a value into a file of the container's cgroup, like memory.high=1073741824 (can be repeated)
    #[arg(long, value_name = "FILE=VALUE", value_delimiter = ',')]
    cgroup_conf: Vec<String>,

    /// Make its cgroup below this one: a path, or with systemd the name of a slice
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,

    /// Which cgroups to make: enabled, disabled, no-conmon (not for the monitor) or split (below the caller's own)
    #[arg(long, value_name = "MODE", default_value = "enabled", value_parser = cgroup_mode)]
    cgroups: CgroupMode,

    /// Let it use devices by their numbers, like 'c 189:* rmw' (as root of the machine only; can be repeated)
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    device_cgroup_rule: Vec<String>,

    /// Keep the out-of-memory killer away (cgroup v1 only: refused)
    #[arg(long)]
    oom_kill_disable: bool,

    /// Adjust the place in the list of the out-of-memory killer (-1000 to 1000)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,

    /// Set a resource limit (NAME=SOFT[:HARD], or host; can be repeated)
    #[arg(long, value_name = "LIMIT", value_delimiter = ',')]
    ulimit: Vec<String>,

    #[command(flatten)]
    resources: ResourceFlags,
}

impl LimitFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(crate) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        let rules = self.device_cgroup_rule.iter().map(|rule| rule.parse().map_err(Error::invalid));
        request.device_rules = rules.collect::<Result<_>>()?;
        request.ulimits = ulimits(&self.ulimit)?;
        request.cgroup = self.cgroup()?;
        request.oom_score_adj = self.oom_score_adj.map(oom_score).transpose()?;
        Ok(())
    }

    /// Takes away what docker does without, and answers what it says of that.
    pub(super) fn discard_as_docker(&mut self) -> Vec<&'static str> {
        let oom_kill_disable = std::mem::take(&mut self.oom_kill_disable);
        limits::discarded(&OfVersion1 { oom_kill_disable, ..self.resources.discard_as_docker() })
    }

    /// The cgroup asked for.
    fn cgroup(&self) -> Result<Cgroup> {
        if self.oom_kill_disable {
            return Err(Error::needs_cgroup_v1("--oom-kill-disable"));
        }
        let mut limits = self.resources.limits()?;
        for text in &self.cgroup_conf {
            let (file, value) = limits::cgroup_conf(text).map_err(|err| Error::invalid(err.to_string()))?;
            limits.unified.insert(file, value);
        }
        let parent = self.cgroup_parent.clone().unwrap_or_default();
        Ok(Cgroup { mode: self.cgroups, parent, limits, ..Cgroup::default() })
    }
}

fn cgroup_mode(text: &str) -> std::result::Result<CgroupMode, String> {
    match text {
        "enabled" => Ok(CgroupMode::Enabled),
        "disabled" => Ok(CgroupMode::Disabled),
        "no-conmon" => Ok(CgroupMode::NoMonitor),
        "split" => Ok(CgroupMode::Split),
        _ => Err("known are enabled, disabled, no-conmon and split".to_owned()),
    }
}

/// The limits asked for; `host` is all of the caller's.
fn ulimits(texts: &[String]) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for text in texts {
        match rlimit::parse(text).map_err(|err| Error::invalid(err.to_string()))? {
            Ulimit::Host => {
                for (name, _) in rlimit::all() {
                    if let Some((soft, hard)) = config::limit_of_caller(name) {
                        limits.push(Rlimit { name: name.to_owned(), soft, hard, is_default: false });
                    }
                }
            }
            Ulimit::Limit(limit) => {
                limits.retain(|known| known.name != limit.name);
                limits.push(config::as_far_as_the_caller_may(limit));
            }
        }
    }
    Ok(limits)
}

fn oom_score(score: i32) -> Result<i32> {
    if (-1000..=1000).contains(&score) {
        return Ok(score);
    }
    Err(Error::invalid(format!("invalid --oom-score-adj {score}: it is a number from -1000 to 1000")))
}
