//! Health checks: the image's, as the request changes them.

use std::path::Path;

use crate::base::bytes::Bytes;
use crate::base::health::{Check, Destination, HealthLog, HealthPlan, OnFailure, Startup};
use crate::base::manifest::ContainerDefaults;
use crate::base::spec::SdNotify;
use crate::base::time::parse_duration;
use crate::engine::error::{Error, Result};
use crate::engine::request::{ContainerRequest, HealthRequest};
use crate::engine::resolve::Facts;

/// podman's and Docker's defaults.
const INTERVAL_NS: u64 = 30_000_000_000;
const TIMEOUT_NS: u64 = 30_000_000_000;
const RETRIES: u32 = 3;
const LOG_COUNT: u32 = 5;
const LOG_SIZE: u32 = 500;

/// Decides the health checks; `None` for none.
pub(super) fn health(
    request: &ContainerRequest,
    defaults: &ContainerDefaults,
    facts: &Facts<'_>,
) -> Result<Option<HealthPlan>> {
    let wanted = &request.health;
    if wanted.disabled && wanted.cmd.is_some() {
        return Err(Error::invalid("cannot specify both --no-healthcheck and --health-cmd"));
    }
    let check = if wanted.disabled { None } else { check(wanted, defaults)? };
    let startup = startup(wanted)?;
    let on_failure = on_failure(wanted)?;
    let Some(check) = check else {
        if startup.is_some() {
            return Err(Error::invalid("cannot define a startup healthcheck if no healthcheck is defined"));
        }
        if on_failure != OnFailure::None {
            return Err(Error::invalid(format!(
                "cannot set on-failure action to {} without a health check",
                on_failure.word()
            )));
        }
        return Ok(None);
    };
    let log = log(wanted, &facts.directory)?;
    Ok(Some(HealthPlan { check, startup, on_failure, log, silent: wanted.silent }))
}

/// Decides the health checks of a container that has `current` ones: what `wanted` does not say stays. `None` for
/// none. `directory` is what a relative path starts from.
///
/// # Errors
///
/// Values that mean nothing; details of a check that there is not.
pub(crate) fn update(
    current: Option<&HealthPlan>,
    wanted: &HealthRequest,
    directory: &Path,
) -> Result<Option<HealthPlan>> {
    if wanted.disabled {
        if *wanted != (HealthRequest { disabled: true, ..HealthRequest::default() }) {
            return Err(Error::invalid(
                "--no-healthcheck cannot be combined with other flags of health checks",
            ));
        }
        return Ok(None);
    }
    if wanted.cmd.is_none() && current.is_none() {
        return Err(Error::invalid("healthcheck command is not set: define one with --health-cmd"));
    }
    // A command without anything else gives the defaults, as for a new container.
    let Some(mut check) = check(wanted, &ContainerDefaults::default())?.or_else(|| {
        let kept = current.filter(|_| wanted.cmd.is_none());
        kept.map(|plan| plan.check.clone())
    }) else {
        return Ok(None);
    };
    if let Some(old) = current.map(|plan| &plan.check) {
        check.interval_ns = interval(wanted.interval.as_deref(), "interval")?.unwrap_or(old.interval_ns);
        check.timeout_ns = timeout(wanted.timeout.as_deref(), "timeout")?.unwrap_or(old.timeout_ns);
        check.start_period_ns = match &wanted.start_period {
            Some(text) => duration(text, "start-period")?,
            None => old.start_period_ns,
        };
        check.start_interval_ns = match &wanted.start_interval {
            Some(text) => duration(text, "start-interval")?,
            None => old.start_interval_ns,
        };
        check.retries = wanted.retries.map_or(Ok(old.retries), retries)?;
    }
    let on_failure = match (&wanted.on_failure, current) {
        (None, Some(plan)) => plan.on_failure,
        _ => on_failure(wanted)?,
    };
    let startup = updated_startup(current.and_then(|plan| plan.startup.as_ref()), wanted)?;
    let mut log = log(wanted, directory)?;
    if let Some(old) = current.map(|plan| &plan.log) {
        if wanted.log_destination.is_none() {
            log.destination = old.destination.clone();
        }
        log.max_count = wanted.max_log_count.unwrap_or(old.max_count);
        log.max_size = wanted.max_log_size.unwrap_or(old.max_size);
    }
    let silent = current.map_or(wanted.silent, |plan| plan.silent);
    Ok(Some(HealthPlan { check, startup, on_failure, log, silent }))
}

/// As [`update`], for the check of the start-up.
fn updated_startup(current: Option<&Startup>, wanted: &HealthRequest) -> Result<Option<Startup>> {
    let Some(old) = current else { return startup(wanted) };
    let words: Vec<_> = old.check.test.iter().map(Bytes::to_string_lossy).collect();
    // The old command stands for one that is not given, so that the rest is read as with a new one.
    let typed = serde_json::to_string(&words).map_err(|err| Error::invalid(err.to_string()))?;
    let request =
        HealthRequest { startup_cmd: Some(wanted.startup_cmd.clone().unwrap_or(typed)), ..wanted.clone() };
    let Some(mut new) = startup(&request)? else { return Ok(None) };
    if wanted.startup_cmd.is_none() {
        new.check.test.clone_from(&old.check.test);
    }
    if wanted.startup_interval.is_none() {
        new.check.interval_ns = old.check.interval_ns;
    }
    if wanted.startup_timeout.is_none() {
        new.check.timeout_ns = old.check.timeout_ns;
    }
    if wanted.startup_retries.is_none() {
        new.check.retries = old.check.retries;
    }
    if wanted.startup_success.is_none() {
        new.successes = old.successes;
    }
    Ok(Some(new))
}

/// `--health-retries`.
fn retries(number: i64) -> Result<u32> {
    u32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| Error::invalid("healthcheck-retries must be greater than 0"))
}

/// Was it said that nothing is to be checked (which `inspect` shows)?
pub(super) fn is_none(request: &ContainerRequest, defaults: &ContainerDefaults) -> bool {
    let wanted = &request.health;
    let of_image = || defaults.healthcheck.as_ref().and_then(|check| check.test.first());
    match &wanted.cmd {
        _ if wanted.disabled => true,
        Some(text) => matches!(test(text), Ok(None)),
        None => of_image().is_some_and(|word| word == "NONE"),
    }
}

/// Decides who says that it is ready.
pub(super) fn sdnotify(request: &ContainerRequest, health: &Option<HealthPlan>) -> Result<SdNotify> {
    match request.sdnotify.as_deref() {
        None | Some("" | "container") => Ok(SdNotify::Container),
        Some("conmon") => Ok(SdNotify::Conmon),
        Some("ignore") => Ok(SdNotify::Ignore),
        Some("healthy") if health.is_none() => {
            Err(Error::invalid("sdnotify policy \"healthy\" requires a healthcheck to be set"))
        }
        Some("healthy") => Ok(SdNotify::Healthy),
        Some(other) => Err(Error::invalid(format!(
            "invalid sdnotify value {other:?}: must be conmon, container, healthy or ignore"
        ))),
    }
}

fn check(wanted: &HealthRequest, defaults: &ContainerDefaults) -> Result<Option<Check>> {
    let image = defaults.healthcheck.clone().unwrap_or_default();
    let own = wanted.cmd.is_some() || !wanted.program.is_empty();
    let test = match &wanted.cmd {
        _ if !wanted.program.is_empty() => {
            let words = std::iter::once("CMD").chain(wanted.program.iter().map(String::as_str));
            Some(words.map(Bytes::from).collect())
        }
        Some(text) => test(text)?,
        None => Some(image.test.iter().map(|word| Bytes::from(word.as_str())).collect()),
    };
    let Some(test) = test else { return Ok(None) };
    // An image's times, unless the command line has its own check.
    let of_image = |value: i64| u64::try_from(value).ok().filter(|v| *v > 0 && !own);
    let check = Check {
        test,
        interval_ns: interval(wanted.interval.as_deref(), "interval")?
            .unwrap_or_else(|| of_image(image.interval).unwrap_or(INTERVAL_NS)),
        timeout_ns: timeout(wanted.timeout.as_deref(), "timeout")?
            .unwrap_or_else(|| of_image(image.timeout).unwrap_or(TIMEOUT_NS)),
        start_period_ns: match &wanted.start_period {
            Some(text) => duration(text, "start-period")?,
            None => of_image(image.start_period).unwrap_or(0),
        },
        start_interval_ns: match &wanted.start_interval {
            Some(text) => duration(text, "start-interval")?,
            None => of_image(image.start_interval).unwrap_or(0),
        },
        retries: match wanted.retries {
            Some(number) => retries(number)?,
            None => of_image(image.retries).and_then(|n| u32::try_from(n).ok()).unwrap_or(RETRIES),
        },
    };
    Ok(check.words().is_some().then_some(check))
}

/// Reads a check as it is typed: `none`, a JSON list (with or without `CMD`), a line that begins with
/// `CMD`, or a line for the shell.
fn test(text: &str) -> Result<Option<Vec<Bytes>>> {
    let bytes = |words: &[&str]| Some(words.iter().map(|word| Bytes::from(*word)).collect());
    let list: Option<Vec<String>> = serde_json::from_str(text).ok();
    let words: Vec<&str> = match &list {
        Some(list) => list.iter().map(String::as_str).collect(),
        None => text.split_whitespace().collect(),
    };
    let Some((first, rest)) = words.split_first() else {
        return Err(Error::invalid("must define a healthcheck command for all healthchecks"));
    };
    Ok(match first.to_ascii_uppercase().as_str() {
        "NONE" => None,
        "CMD" if rest.is_empty() => {
            return Err(Error::invalid("must define a healthcheck command for all healthchecks"));
        }
        "CMD" => bytes(&[&["CMD"], rest].concat()),
        // A line stays as it was typed, with the blanks within its quotes.
        "CMD-SHELL" if list.is_none() => bytes(&["CMD-SHELL", text.trim_start()[first.len()..].trim_start()]),
        "CMD-SHELL" => bytes(&["CMD-SHELL", &rest.join(" ")]),
        _ if list.is_some() && words.len() > 1 => bytes(&[&["CMD"], &words[..]].concat()),
        _ if list.is_some() => bytes(&["CMD-SHELL", first]),
        _ => bytes(&["CMD-SHELL", text]),
    })
}

fn startup(wanted: &HealthRequest) -> Result<Option<Startup>> {
    let count = |value: Option<i64>, name: &str| match value {
        None => Ok(0),
        Some(number) => u32::try_from(number)
            .map_err(|_| Error::invalid(format!("healthcheck-startup-{name} must be 0 or greater"))),
    };
    let Some(command) = &wanted.startup_cmd else {
        let others = [&wanted.startup_interval, &wanted.startup_timeout].iter().any(|value| value.is_some())
            || wanted.startup_retries.is_some()
            || wanted.startup_success.is_some();
        return match others {
            true => Err(Error::invalid("--health-startup-cmd must be set for other --health-startup flags")),
            false => Ok(None),
        };
    };
    let Some(test) = test(command)? else { return Ok(None) };
    let check = Check {
        test,
        interval_ns: interval(wanted.startup_interval.as_deref(), "startup-interval")?.unwrap_or(INTERVAL_NS),
        timeout_ns: timeout(wanted.startup_timeout.as_deref(), "startup-timeout")?.unwrap_or(TIMEOUT_NS),
        start_period_ns: 0,
        start_interval_ns: 0,
        retries: count(wanted.startup_retries, "retries")?,
    };
    Ok(Some(Startup { check, successes: count(wanted.startup_success, "success")? }))
}

fn on_failure(wanted: &HealthRequest) -> Result<OnFailure> {
    match wanted.on_failure.as_deref() {
        None | Some("none") => Ok(OnFailure::None),
        Some("kill") => Ok(OnFailure::Kill),
        Some("restart") => Ok(OnFailure::Restart),
        Some("stop") => Ok(OnFailure::Stop),
        Some(other) => Err(Error::invalid(format!(
            "invalid on-failure action {other:?} for health check: supported actions are none,kill,restart,stop"
        ))),
    }
}

fn log(wanted: &HealthRequest, directory: &Path) -> Result<HealthLog> {
    let destination = match wanted.log_destination.as_deref() {
        None | Some("" | "local") => Destination::Local,
        Some("events_logger") => Destination::Events,
        Some(path) => {
            let path = directory.join(path);
            if !path.is_dir() {
                return Err(Error::invalid(format!(
                    "healthcheck log destination {}: no such directory",
                    path.display()
                )));
            }
            Destination::Directory(path)
        }
    };
    Ok(HealthLog {
        destination,
        max_count: wanted.max_log_count.unwrap_or(LOG_COUNT),
        max_size: wanted.max_log_size.unwrap_or(LOG_SIZE),
    })
}

fn interval(text: Option<&str>, name: &str) -> Result<Option<u64>> {
    match text {
        None => Ok(None),
        Some("disable") => Ok(Some(0)),
        Some(text) => duration(text, name).map(Some),
    }
}

fn timeout(text: Option<&str>, name: &str) -> Result<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    match duration(text, name)? {
        // podman's words, and what it does: any time will do.
        0 => Err(Error::invalid(format!("healthcheck-{name} must be at least 1 second"))),
        time => Ok(Some(time)),
    }
}

fn duration(text: &str, name: &str) -> Result<u64> {
    let parsed =
        parse_duration(text).map_err(|err| Error::invalid(format!("invalid healthcheck-{name}: {err}")))?;
    u64::try_from(parsed.as_nanos())
        .map_err(|_| Error::invalid(format!("healthcheck-{name} must be 0 seconds or greater")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_as_typed() {
        for (text, want) in [
            ("none", None),
            ("[\"NONE\"]", None),
            ("curl -f localhost || exit 1", Some(&["CMD-SHELL", "curl -f localhost || exit 1"][..])),
            ("[\"CMD\", \"a\", \"b c\"]", Some(&["CMD", "a", "b c"])),
            ("[\"a\", \"b c\"]", Some(&["CMD", "a", "b c"])),
            ("[\"a b\"]", Some(&["CMD-SHELL", "a b"])),
            ("CMD a b", Some(&["CMD", "a", "b"])),
            ("CMD-SHELL a && b", Some(&["CMD-SHELL", "a && b"])),
            ("CMD-SHELL curl -f \"a  b\"", Some(&["CMD-SHELL", "curl -f \"a  b\""])),
            (" cmd-shell  a '\t'", Some(&["CMD-SHELL", "a '\t'"])),
        ] {
            let want = want.map(|words| words.iter().map(|word| Bytes::from(*word)).collect::<Vec<_>>());
            assert_eq!(test(text).unwrap(), want, "{text}");
        }
        for bad in ["", "[]", "CMD"] {
            assert!(test(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_bounds() {
        assert_eq!(timeout(Some("1s"), "timeout").unwrap(), Some(1_000_000_000));
        assert_eq!(timeout(Some("999ms"), "timeout").unwrap(), Some(999_000_000));
        assert!(timeout(Some("0s"), "timeout").unwrap_err().message.contains("at least 1 second"));
        assert_eq!(interval(Some("disable"), "interval").unwrap(), Some(0));
        assert!(duration("-1s", "start-period").is_err());
        assert!(duration("soon", "start-period").is_err());
    }

    #[test]
    fn flags_that_make_no_sense_are_refused() {
        let refused = |wanted: HealthRequest| {
            let check = check(&wanted, &ContainerDefaults::default());
            check.map(drop).and(startup(&wanted).map(drop)).unwrap_err().message
        };
        let cmd = || HealthRequest { cmd: Some("true".into()), ..HealthRequest::default() };
        assert!(refused(HealthRequest { retries: Some(0), ..cmd() }).contains("greater than 0"));
        assert!(refused(HealthRequest { startup_retries: Some(1), ..cmd() }).contains("startup-cmd"));
    }

    #[test]
    fn the_image_s_check_can_be_changed() {
        let text = br#"{"config":{"Healthcheck":{"Test":["CMD","a"],"Interval":5,"Retries":7}}}"#;
        let image: crate::base::manifest::ImageConfig = serde_json::from_slice(text).unwrap();
        let wanted = HealthRequest { timeout: Some("2s".into()), ..HealthRequest::default() };
        let found = check(&wanted, &image.config).unwrap().unwrap();
        assert_eq!((found.interval_ns, found.timeout_ns, found.retries), (5, 2_000_000_000, 7));
        let wanted = HealthRequest { cmd: Some("b".into()), ..HealthRequest::default() };
        let found = check(&wanted, &image.config).unwrap().unwrap();
        assert_eq!((found.interval_ns, found.retries), (INTERVAL_NS, RETRIES));
        assert!(check(&HealthRequest::default(), &ContainerDefaults::default()).unwrap().is_none());
    }
}
