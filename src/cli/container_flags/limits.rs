//! Flags of `run` and `create`: what it may use.

use clap::Args;

use crate::base::rlimit::{self, Ulimit};
use crate::base::spec::Rlimit;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result, config};

/// What it may use.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Adjust the place in the list of the out-of-memory killer (-1000 to 1000)
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,

    /// Set a resource limit (NAME=SOFT[:HARD], or host; can be repeated)
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<String>,
}

impl LimitFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(crate) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.ulimits = ulimits(&self.ulimit)?;
        request.oom_score_adj = self.oom_score_adj.map(oom_score).transpose()?;
        Ok(())
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
                        limits.push(Rlimit { name: name.to_owned(), soft, hard });
                    }
                }
            }
            Ulimit::Limit(limit) => {
                limits.retain(|known| known.name != limit.name);
                limits.push(limit);
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
