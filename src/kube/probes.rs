//! Probes as health checks.

use crate::engine::request::HealthRequest;
use crate::engine::{Error, Result};
use crate::kube::types::{Container, Handler, Port, PortRef, Probe, Restart};

/// What Kubernetes does where a probe says nothing of it.
const PERIOD_S: i64 = 10;
const TIMEOUT_S: i64 = 1;
const FAILURES: i64 = 3;

/// The health checks of a container: its liveness, and before that its start-up. What is unhealthy is started again if
/// the pod's policy is to do so.
///
/// # Errors
///
/// Ports by a name that the container has not.
pub(super) fn health(container: &Container, restart: Restart) -> Result<HealthRequest> {
    // A start-up alone is followed by a check that never fails, as with podman.
    let none = Probe {
        handler: Handler::Exec(vec![]),
        delay_s: 0,
        period_s: 0,
        timeout_s: 0,
        failures: 0,
        successes: 0,
    };
    let liveness = match (&container.liveness, &container.startup) {
        (Some(liveness), _) => liveness,
        (None, Some(_)) => &none,
        (None, None) => return Ok(HealthRequest::default()),
    };
    let seconds = |number: i64, default: i64| Some(format!("{}s", if number < 1 { default } else { number }));
    let count = |number: i64| Some(if number < 1 { FAILURES } else { number });
    let named = |what: &str, err: Error| Error::invalid(format!("failed to configure {what}: {err}"));
    let mut health = HealthRequest {
        interval: seconds(liveness.period_s, PERIOD_S),
        timeout: seconds(liveness.timeout_s, TIMEOUT_S),
        start_period: Some(format!("{}s", liveness.delay_s.max(0))),
        retries: count(liveness.failures),
        on_failure: (restart != Restart::Never).then(|| "restart".to_owned()),
        ..HealthRequest::default()
    };
    match &container.liveness {
        None => health.cmd = Some("exit 0".to_owned()),
        Some(probe) => match command(probe, &container.ports).map_err(|err| named("livenessProbe", err))? {
            Command::Words(words) => health.program = words,
            Command::Line(line) => health.cmd = Some(line),
        },
    }
    if let Some(startup) = &container.startup {
        let command = command(startup, &container.ports).map_err(|err| named("startupProbe", err))?;
        health.startup_cmd = Some(match command {
            Command::Words(mut words) => {
                words.insert(0, "CMD".to_owned());
                serde_json::Value::from(words).to_string()
            }
            Command::Line(line) => line,
        });
        health.startup_interval = seconds(startup.period_s, PERIOD_S);
        health.startup_timeout = seconds(startup.timeout_s, TIMEOUT_S);
        health.startup_retries = count(startup.failures);
        health.startup_success = Some(startup.successes.max(0));
    }
    Ok(health)
}

/// What a probe runs: a program, or a line for the shell.
enum Command {
    Words(Vec<String>),
    Line(String),
}

/// The command of a probe, with the programs that podman uses.
fn command(probe: &Probe, ports: &[Port]) -> Result<Command> {
    let local = |host: &str| if host.is_empty() { "localhost".to_owned() } else { host.to_owned() };
    Ok(match &probe.handler {
        Handler::Exec(words) if words.is_empty() => {
            return Err(Error::invalid("must define a healthcheck command for all healthchecks"));
        }
        Handler::Exec(words) => Command::Words(words.clone()),
        Handler::Http { scheme, host, port, path } => {
            let scheme = if scheme.is_empty() { "http" } else { scheme };
            let path = if path.is_empty() { "/" } else { path };
            let port = number(port, ports)?;
            let host = local(host);
            Command::Line(format!("curl -f {}://{host}:{port}{path} || exit 1", scheme.to_lowercase()))
        }
        Handler::Tcp { host, port } => {
            Command::Line(format!("nc -z -v {} {} || exit 1", local(host), number(port, ports)?))
        }
    })
}

fn number(port: &PortRef, ports: &[Port]) -> Result<u16> {
    match port {
        PortRef::Number(number) => Ok(*number),
        PortRef::Name(name) => ports
            .iter()
            .find(|port| port.name == *name)
            .map(|port| port.container)
            .ok_or_else(|| Error::invalid(format!("unknown port: {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::plan::tests::pod;

    fn of(probes: &str, restart: Restart) -> Result<HealthRequest> {
        let text = format!(
            "metadata: {{name: p}}\nspec: {{containers: [{{name: c, ports: [{{name: web, containerPort: 80}}], {probes}}}]}}\n"
        );
        health(&pod(&text).containers[0], restart)
    }

    #[test]
    fn probes_become_health_checks() {
        let both = of(
            "livenessProbe: {exec: {command: [a, 'b c']}, initialDelaySeconds: 2, periodSeconds: 5, failureThreshold: 4, timeoutSeconds: 3}, \
             startupProbe: {httpGet: {path: /x, port: web, scheme: HTTPS}, failureThreshold: 7, successThreshold: 2}",
            Restart::Always,
        )
        .unwrap();
        let want = HealthRequest {
            program: vec!["a".to_owned(), "b c".to_owned()],
            interval: Some("5s".to_owned()),
            timeout: Some("3s".to_owned()),
            start_period: Some("2s".to_owned()),
            retries: Some(4),
            on_failure: Some("restart".to_owned()),
            startup_cmd: Some("curl -f https://localhost:80/x || exit 1".to_owned()),
            startup_interval: Some("10s".to_owned()),
            startup_timeout: Some("1s".to_owned()),
            startup_retries: Some(7),
            startup_success: Some(2),
            ..HealthRequest::default()
        };
        assert_eq!(both, want);
        let tcp = of("livenessProbe: {tcpSocket: {port: 99, host: h}}", Restart::Never).unwrap();
        assert_eq!(tcp.cmd.as_deref(), Some("nc -z -v h 99 || exit 1"));
        assert_eq!((tcp.on_failure, tcp.retries), (None, Some(3)));
        assert_eq!(of("livenessProbe: {grpc: {port: 1}}", Restart::Never).unwrap(), HealthRequest::default());
        let err = of("livenessProbe: {httpGet: {port: nope}}", Restart::Never).unwrap_err();
        assert_eq!(err.to_string(), "failed to configure livenessProbe: unknown port: nope");
    }
}
