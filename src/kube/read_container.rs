//! One container of a pod.

use crate::kube::fields::{Field, Result};
use crate::kube::quantity::Quantity;
use crate::kube::read_pod::{PULLS, quantities, quantity, security};
use crate::kube::types::{
    Container, EnvFrom, EnvValue, EnvVar, Handler, KeyRef, Port, PortRef, Probe, Source, VolumeMount,
};

/// Reads one entry of `containers` or `initContainers`.
pub(super) fn container(of: &Field<'_>) -> Result<Container> {
    let resources = of.get("resources");
    Ok(Container {
        name: of.get("name").string()?,
        image: of.get("image").string()?,
        pull: of.get("imagePullPolicy").word(&PULLS)?,
        command: of.get("command").texts()?,
        args: of.get("args").texts()?,
        workdir: of.get("workingDir").text()?.filter(|text| !text.is_empty()),
        env: of.get("env").each(variable)?,
        env_from: of.get("envFrom").each(env_from)?.into_iter().flatten().collect(),
        ports: of.get("ports").each(port)?,
        mounts: of
            .get("volumeMounts")
            .each(mount)?
            .into_iter()
            .chain(of.get("volumeDevices").each(device)?)
            .collect(),
        limits: quantities(&resources.get("limits"))?,
        requests: quantities(&resources.get("requests"))?,
        security: security(&of.get("securityContext"))?,
        liveness: probe(&of.get("livenessProbe"))?,
        startup: probe(&of.get("startupProbe"))?,
        stop_signal: of.get("lifecycle").get("stopSignal").text()?,
        stdin: of.get("stdin").is_true()?,
        tty: of.get("tty").is_true()?,
    })
}

fn variable(of: &Field<'_>) -> Result<EnvVar> {
    let from = of.get("valueFrom");
    let value = if let Some(key) = from.get("configMapKeyRef").object()? {
        EnvValue::ConfigMap(key_ref(&key)?)
    } else if let Some(key) = from.get("secretKeyRef").object()? {
        EnvValue::Secret(key_ref(&key)?)
    } else if let Some(field) = from.get("fieldRef").object()? {
        EnvValue::Field(field.get("fieldPath").string()?)
    } else if let Some(resource) = from.get("resourceFieldRef").object()? {
        let divisor = resource.get("divisor");
        let amount = divisor.text()?.map(|text| quantity(&divisor, &text)).transpose()?;
        EnvValue::Resource {
            resource: resource.get("resource").string()?,
            divisor: amount.filter(|amount| !amount.is_zero()).unwrap_or(Quantity::whole(1)),
        }
    } else {
        EnvValue::Text(of.get("value").string()?)
    };
    Ok(EnvVar { name: of.get("name").string()?, value })
}

fn key_ref(of: &Field<'_>) -> Result<KeyRef> {
    Ok(KeyRef {
        name: of.get("name").string()?,
        key: of.get("key").string()?,
        optional: of.get("optional").is_true()?,
    })
}

fn env_from(of: &Field<'_>) -> Result<Option<EnvFrom>> {
    let prefix = of.get("prefix").string()?;
    let (source, from) = match (of.get("configMapRef").object()?, of.get("secretRef").object()?) {
        (Some(from), _) => (Source::ConfigMap(from.get("name").string()?), from),
        (None, Some(from)) => (Source::Secret(from.get("name").string()?), from),
        (None, None) => return Ok(None),
    };
    Ok(Some(EnvFrom { source, prefix, optional: from.get("optional").is_true()? }))
}

fn port(of: &Field<'_>) -> Result<Port> {
    let container = of.get("containerPort");
    let protocols =
        [("TCP", "tcp"), ("UDP", "udp"), ("SCTP", "sctp"), ("tcp", "tcp"), ("udp", "udp"), ("sctp", "sctp")];
    Ok(Port {
        name: of.get("name").string()?,
        container: container
            .number()?
            .filter(|port| *port != 0)
            .ok_or_else(|| container.fault("must be a port, from 1 to 65535"))?,
        host: of.get("hostPort").number()?.unwrap_or(0),
        host_ip: of.get("hostIP").string()?,
        protocol: of.get("protocol").word(&protocols)?.unwrap_or("tcp").to_owned(),
    })
}

fn mount(of: &Field<'_>) -> Result<VolumeMount> {
    let expression = of.get("subPathExpr").string()?;
    let propagations = [("None", "private"), ("HostToContainer", "rslave"), ("Bidirectional", "rshared")];
    Ok(VolumeMount {
        name: of.get("name").string()?,
        path: of.get("mountPath").string()?,
        read_only: of.get("readOnly").is_true()?,
        expand: !expression.is_empty(),
        sub_path: if expression.is_empty() { of.get("subPath").string()? } else { expression },
        propagation: of.get("mountPropagation").word(&propagations)?,
    })
}

fn device(of: &Field<'_>) -> Result<VolumeMount> {
    let (name, path) = (of.get("name").string()?, of.get("devicePath").string()?);
    Ok(VolumeMount { name, path, ..VolumeMount::default() })
}

fn port_ref(of: &Field<'_>) -> Result<PortRef> {
    let text = of.string()?;
    Ok(text.parse().map_or(PortRef::Name(text), PortRef::Number))
}

/// A probe; `None` for one that says nothing to be done.
fn probe(of: &Field<'_>) -> Result<Option<Probe>> {
    let handler = if let Some(exec) = of.get("exec").object()? {
        Handler::Exec(exec.get("command").texts()?)
    } else if let Some(http) = of.get("httpGet").object()? {
        Handler::Http {
            scheme: http.get("scheme").string()?,
            host: http.get("host").string()?,
            port: port_ref(&http.get("port"))?,
            path: http.get("path").string()?,
        }
    } else if let Some(tcp) = of.get("tcpSocket").object()? {
        Handler::Tcp { host: tcp.get("host").string()?, port: port_ref(&tcp.get("port"))? }
    } else {
        return Ok(None);
    };
    let number = |key: &str| Ok(of.get(key).int()?.unwrap_or(0));
    Ok(Some(Probe {
        handler,
        delay_s: number("initialDelaySeconds")?,
        period_s: number("periodSeconds")?,
        timeout_s: number("timeoutSeconds")?,
        failures: number("failureThreshold")?,
        successes: number("successThreshold")?,
    }))
}
