//! Limits, and the cgroup they hold in.

use crate::base::limits::{Cgroup, CgroupMode, Limits};
use crate::engine::error::{Error, Result};
use crate::engine::request::ContainerRequest;

/// The cgroup of a new container.
pub(super) fn cgroup(request: &ContainerRequest) -> Result<Cgroup> {
    let mut cgroup = request.cgroup.clone();
    settle(&mut cgroup.limits)?;
    if cgroup.mode == CgroupMode::Disabled && !(cgroup.limits.is_empty() && cgroup.parent.is_empty()) {
        return Err(Error::invalid("limits and --cgroup-parent need a cgroup: leave out --cgroups=disabled"));
    }
    if cgroup.mode == CgroupMode::Split && !cgroup.parent.is_empty() {
        return Err(Error::invalid("--cgroup-parent cannot be used with --cgroups=split"));
    }
    Ok(cgroup)
}

/// The limits of a container that has `cgroup` when `newer` are asked for, too.
///
/// # Errors
///
/// Limits that contradict each other; any for a container without a cgroup.
pub(crate) fn updated(cgroup: &Cgroup, newer: &Limits) -> Result<Limits> {
    let mut merged = cgroup.limits.updated(newer);
    if newer.memory.is_some() && newer.memory_swap.is_none() {
        // As at the start: swap goes with memory.
        merged.memory_swap = None;
    }
    settle(&mut merged)?;
    if !newer.is_empty() && cgroup.mode == CgroupMode::Disabled {
        return Err(Error::invalid("a container with --cgroups=disabled cannot be limited"));
    }
    Ok(merged)
}

/// Fills in what limits mean together.
fn settle(limits: &mut Limits) -> Result<()> {
    limits.settle_swap().map_err(|err| Error::invalid(err.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_and_limits_go_together() {
        let of = |mode, parent: &str, memory| {
            let limits = Limits { memory, ..Limits::default() };
            let wanted = Cgroup { mode, parent: parent.into(), limits, ..Cgroup::default() };
            cgroup(&ContainerRequest { cgroup: wanted, ..ContainerRequest::default() }).is_ok()
        };
        assert!(of(CgroupMode::Enabled, "/x", Some(64 << 20)));
        assert!(of(CgroupMode::Disabled, "", None));
        assert!(!of(CgroupMode::Disabled, "", Some(64 << 20)));
        assert!(!of(CgroupMode::Disabled, "/x", None));
        assert!(!of(CgroupMode::Split, "/x", None));
    }
}
