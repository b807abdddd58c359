//! Flags of `run` and `create`: what confines the container.

use std::path::Path;

use clap::Args;

use crate::cli::container_flags::{pairs, read};
use crate::cli::verbs::truth_value;
use crate::engine::request::ContainerRequest;
use crate::engine::{Error, Result};

/// What confines the container.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecurityFlags {
    /// Add a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub(super) cap_add: Vec<String>,

    /// Drop a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    pub(super) cap_drop: Vec<String>,

    /// Confine the container as little as possible
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = truth_value)]
    pub(super) privileged: Option<bool>,

    /// Set a security option: no-new-privileges, seccomp=FILE|unconfined, mask=PATH, unmask=PATH|ALL, proc-opts=OPTIONS, systempaths=unconfined, label=…, apparmor=… (can be repeated)
    #[arg(long, value_name = "OPTION")]
    pub(super) security_opt: Vec<String>,

    /// Give the container a secret: NAME[,type=mount|env][,target=…][,uid=N][,gid=N][,mode=N] (can be repeated)
    #[arg(long, value_name = "SECRET")]
    pub(super) secret: Vec<String>,

    /// Where the seccomp profile comes from: default, or image for that of the image's label
    #[arg(long, value_name = "POLICY", default_value = "default")]
    pub(super) seccomp_policy: String,

    /// Set a kernel parameter of the container's namespaces (NAME=VALUE; can be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) sysctl: Vec<String>,
}

impl SecurityFlags {
    /// Puts these flags' part into a request.
    ///
    /// # Errors
    ///
    /// Values that mean nothing; files that cannot be read.
    pub(super) fn fill(&self, request: &mut ContainerRequest) -> Result<()> {
        request.privileged = self.privileged == Some(true);
        request.denied.privileged = self.privileged == Some(false);
        request.cap_add.clone_from(&self.cap_add);
        request.cap_drop.clone_from(&self.cap_drop);
        request.seccomp_profile = seccomp_profile(&self.security_opt)?;
        request.security_options.clone_from(&self.security_opt);
        request.sysctls = pairs(&split_pairs(&self.sysctl), "sysctl")?;
        request.secrets.clone_from(&self.secret);
        request.seccomp_of_image = match self.seccomp_policy.as_str() {
            "default" | "" => false,
            "image" => true,
            other => {
                return Err(Error::invalid(format!(
                    "invalid seccomp policy {other:?}: valid policies are [default image]"
                )));
            }
        };
        Ok(())
    }
}

/// `a=1,b=2` is two pairs, as podman reads it; in `a=1,2` the comma is docker's, a part of the value.
fn split_pairs(texts: &[String]) -> Vec<String> {
    let mut pairs: Vec<String> = Vec::new();
    for text in texts {
        let mut parts = text.split(',');
        pairs.extend(parts.next().map(str::to_owned));
        for part in parts {
            match pairs.last_mut() {
                Some(last) if !part.contains('=') => last.extend([",", part]),
                _ => pairs.push(part.to_owned()),
            }
        }
    }
    pairs
}

/// The text of the file that the last `seccomp=FILE` names.
pub(crate) fn seccomp_profile(options: &[String]) -> Result<Option<String>> {
    let file = options.iter().rev().find_map(|option| {
        option
            .strip_prefix("seccomp=")
            .or_else(|| option.strip_prefix("seccomp:"))
            .filter(|value| !matches!(*value, "unconfined" | "builtin" | "default"))
    });
    let Some(file) = file else { return Ok(None) };
    String::from_utf8(read(Path::new(file))?)
        .map(Some)
        .map_err(|_| Error::invalid(format!("the seccomp profile {file} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_between_commas() {
        let split = |text: &str| split_pairs(&[text.to_owned()]);
        assert_eq!(split("a=1,b=2"), ["a=1", "b=2"]);
        assert_eq!(split("a=80,443,b=2"), ["a=80,443", "b=2"]);
        assert_eq!(split("a=1"), ["a=1"]);
        assert_eq!(split_pairs(&["a=1".to_owned(), "b=2,3".to_owned()]), ["a=1", "b=2,3"]);
    }
}
