//! What runs: words, environment, user, terminal, health checks, and how it is stopped, started again and removed.

use crate::api::containers::create::document::{Healthcheck, HostConfig, Wanted, Words, texts};
use crate::base::bytes::Bytes;
use crate::base::signal::Signal;
use crate::base::spec::RestartPolicy;
use crate::base::time::go_duration;
use crate::engine::request::{ContainerRequest, HealthRequest};
use crate::engine::{Error, Result};

/// Puts this part into a request.
///
/// # Errors
///
/// Values that mean nothing.
pub(super) fn fill(wanted: &Wanted, host: &HostConfig, request: &mut ContainerRequest) -> Result<()> {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let words = |words: &Option<Words>| words.clone().map(Words::into_list);
    request.command = words(&wanted.cmd).unwrap_or_default().into_iter().map(Bytes::from).collect();
    let entrypoint = words(&wanted.entrypoint);
    // No words at all are no entrypoint, and one empty word is neither entrypoint nor the image's command.
    request.keep_command = entrypoint.as_ref().is_some_and(Vec::is_empty);
    request.entrypoint = entrypoint.map(|words| match &words[..] {
        [only] if only.is_empty() => Vec::new(),
        _ => words.into_iter().map(Bytes::from).collect(),
    });
    for entry in &wanted.env {
        match entry.split_once('=') {
            Some(("", _)) => return Err(Error::invalid(format!("invalid environment variable: {entry}"))),
            None if entry.is_empty() => return Err(Error::invalid("invalid environment variable: ")),
            Some(_) => request.env.push(entry.as_str().into()),
            // A name alone takes the image's away.
            None => request.unset_env.push(entry.clone()),
        }
    }
    request.http_proxy_asked = true;
    request.user = text(&wanted.user);
    request.groups.clone_from(&host.group_add);
    request.workdir = text(&wanted.working_dir).map(Bytes::from);
    request.hostname = text(&wanted.hostname);
    request.domainname = text(&wanted.domainname);
    request.terminal = wanted.tty;
    request.console_size = host.console_size.filter(|size| wanted.tty && *size != (0, 0));
    request.interactive = wanted.open_stdin;
    request.attached = wanted.stdin_once;
    let streams =
        [(wanted.attach_stdin, "stdin"), (wanted.attach_stdout, "stdout"), (wanted.attach_stderr, "stderr")];
    request.attach =
        streams.iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, name)| (*name).to_owned()).collect();
    request.labels = texts(&wanted.labels);
    request.annotations = texts(&host.annotations);
    request.health = wanted.healthcheck.as_ref().map(health).transpose()?.unwrap_or_default();
    request.stop_signal = text(&wanted.stop_signal).map(|signal| stop_signal(&signal)).transpose()?;
    request.stop_timeout_s = wanted.stop_timeout.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
    request.init = host.init == Some(true);
    request.denied.init = host.init == Some(false);
    request.auto_remove = host.auto_remove;
    request.restart = restart(&host.restart_policy.name, host.restart_policy.maximum_retry_count)?;
    if host.auto_remove && request.restart.is_some_and(|policy| policy != RestartPolicy::No) {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    request.log_driver = text(&host.log_config.r#type);
    let options = texts(&host.log_config.config);
    request.log_options = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    request.cid_file = text(&host.container_id_file).map(Into::into);
    Ok(())
}

fn stop_signal(text: &str) -> Result<i32> {
    let signal = text.parse::<Signal>().map(Signal::number);
    signal.map_err(|_| Error::invalid(format!("invalid signal: {text}")))
}

/// When to start it again; `None` if nothing is said.
///
/// # Errors
///
/// A policy that there is not, or a number of times where there is none.
pub(in crate::api::containers) fn restart(name: &str, times: i64) -> Result<Option<RestartPolicy>> {
    if times != 0 && name != "on-failure" {
        let message = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
        return Err(Error::invalid(message));
    }
    let max = u32::try_from(times)
        .map_err(|_| Error::invalid("invalid restart policy: maximum retry count cannot be negative"))?;
    match name {
        "" => Ok(None),
        "on-failure" => Ok(Some(RestartPolicy::OnFailure { max })),
        "no" | "always" | "unless-stopped" => Ok(RestartPolicy::parse(name)),
        _ => Err(Error::invalid(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'"
        ))),
    }
}

fn health(check: &Healthcheck) -> Result<HealthRequest> {
    let times = [check.interval, check.timeout, check.start_period, check.start_interval, check.retries];
    if times.iter().any(|value| *value < 0) {
        return Err(Error::invalid("invalid healthcheck: times and retries cannot be negative"));
    }
    let time = |ns: i64| (ns > 0).then(|| go_duration(ns));
    let mut health = HealthRequest {
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: Some(check.retries).filter(|count| *count > 0),
        ..HealthRequest::default()
    };
    match check.test.split_first() {
        None => {}
        Some((kind, _)) if kind == "NONE" => health = HealthRequest { disabled: true, ..Default::default() },
        Some((kind, words)) if kind == "CMD" => health.program = words.to_vec(),
        // An empty kind is what the image says.
        Some((kind, [])) if kind.is_empty() => {}
        Some((kind, [line])) if kind == "CMD-SHELL" => health.cmd = Some(line.clone()),
        Some((kind, _)) => {
            return Err(Error::invalid(format!("unknown healthcheck type '{kind}' (expected 'CMD')")));
        }
    }
    Ok(health)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::document;

    fn filled(document: Value) -> Result<ContainerRequest> {
        let wanted: Wanted = document::of_value(document).unwrap();
        let mut request = ContainerRequest::default();
        fill(&wanted, &wanted.host_config.own, &mut request)?;
        Ok(request)
    }

    #[test]
    fn words() {
        let asked = |document| {
            let request = filled(document).unwrap();
            let texts = |words: Vec<Bytes>| -> Vec<String> {
                words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
            };
            (request.entrypoint.map(texts), texts(request.command), request.keep_command)
        };
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (document, want) in [
            (json!({"Cmd": null, "Entrypoint": null}), (None, list(&[]), false)),
            (json!({"Cmd": ["a", "b"]}), (None, list(&["a", "b"]), false)),
            (json!({"Cmd": "a b"}), (None, list(&["a b"]), false)),
            (json!({"Entrypoint": ["x"]}), (Some(list(&["x"])), list(&[]), false)),
            (json!({"Entrypoint": [""]}), (Some(list(&[])), list(&[]), false)),
            (json!({"Entrypoint": []}), (Some(list(&[])), list(&[]), true)),
        ] {
            assert_eq!(asked(document.clone()), want, "{document}");
        }
    }

    #[test]
    fn variables() {
        let request = filled(json!({"Env": ["A=1", "B=", "C"]})).unwrap();
        assert_eq!(request.env, [Bytes::from("A=1"), Bytes::from("B=")]);
        assert_eq!(request.unset_env, ["C"]);
        for bad in ["", "=x"] {
            assert!(filled(json!({"Env": [bad]})).is_err(), "{bad}");
        }
    }

    #[test]
    fn lives() {
        let request = filled(json!({
            "StopSignal": "SIGINT", "StopTimeout": 3, "OpenStdin": true, "StdinOnce": true,
            "AttachStdin": true, "AttachStdout": true, "Labels": {"a": "b", "c": null},
            "HostConfig": {"AutoRemove": true, "Init": true, "RestartPolicy": {"Name": "no"}, "GroupAdd": null},
        }))
        .unwrap();
        assert_eq!((request.stop_signal, request.stop_timeout_s), (Some(2), Some(3)));
        assert!(request.auto_remove && request.init && request.interactive && request.attached);
        assert_eq!(request.attach, ["stdin", "stdout"]);
        assert_eq!(request.labels["c"], "");
        for (policy, want) in [
            (json!({"Name": "", "MaximumRetryCount": 0}), Some(None)),
            (json!({"Name": "always"}), Some(Some(RestartPolicy::Always))),
            (
                json!({"Name": "on-failure", "MaximumRetryCount": 3}),
                Some(Some(RestartPolicy::OnFailure { max: 3 })),
            ),
            (json!({"Name": "always", "MaximumRetryCount": 3}), None),
            (json!({"Name": "on-failure:3"}), None),
            (json!({"Name": "huh"}), None),
        ] {
            let request = filled(json!({"HostConfig": {"RestartPolicy": policy}}));
            assert_eq!(request.ok().map(|request| request.restart), want);
        }
        let both = json!({"HostConfig": {"AutoRemove": true, "RestartPolicy": {"Name": "always"}}});
        assert!(filled(both).is_err());
        assert!(filled(json!({"StopSignal": "SIGHUH"})).is_err());
    }

    #[test]
    fn checks() {
        let second = 1_000_000_000_i64;
        let asked = |check: Value| filled(json!({"Healthcheck": check})).map(|request| request.health);
        let health = asked(json!({"Test": ["CMD-SHELL", "true"], "Interval": second, "Retries": 2})).unwrap();
        assert_eq!((health.cmd.as_deref(), health.interval.as_deref()), (Some("true"), Some("1s")));
        assert_eq!((health.retries, health.timeout), (Some(2), None));
        assert_eq!(asked(json!({"Test": ["CMD", "a", "b"]})).unwrap().program, ["a", "b"]);
        assert!(asked(json!({"Test": ["NONE"]})).unwrap().disabled);
        assert_eq!(asked(json!({"Test": []})).unwrap(), HealthRequest::default());
        assert!(asked(json!({"Test": ["true"]})).is_err());
        assert!(asked(json!({"Timeout": -1})).is_err());
    }
}
