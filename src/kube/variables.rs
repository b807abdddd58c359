//! The environment of a container, and `$(VAR)` in what refers to it.

use crate::base::bytes::Bytes;
use crate::engine::{Error, Result};
use crate::kube::plan::Facts;
use crate::kube::quantity::Quantity;
use crate::kube::types::{Container, Data, EnvFrom, EnvValue, KeyRef, Pod, Source};

/// Names and values, in their order, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables(Vec<(String, Vec<u8>)>);

impl Variables {
    fn set(&mut self, name: String, value: Vec<u8>) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, value)| value.as_slice())
    }

    /// As `NAME=value`.
    pub(super) fn entries(&self) -> Vec<Bytes> {
        let entry = |(name, value): &(String, Vec<u8>)| {
            Bytes::from([name.as_bytes(), b"=", value.as_slice()].concat())
        };
        self.0.iter().map(entry).collect()
    }

    /// `text` with `$(NAME)` replaced by its value; a name without one stays as it is, and `$$` is `$`.
    ///
    /// # Source
    ///
    /// Kubernetes, "Define Dependent Environment Variables".
    pub(super) fn expand(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = memchr::memchr(b'$', rest) {
            out.extend(&rest[..dollar]);
            rest = &rest[dollar..];
            let end = memchr::memchr(b')', rest).filter(|_| rest.get(1) == Some(&b'('));
            let taken = match (rest.get(1), end) {
                (Some(b'$'), _) => {
                    out.push(b'$');
                    2
                }
                (_, Some(end)) => {
                    out.extend(self.get(&rest[2..end]).unwrap_or(&rest[..=end]));
                    end + 1
                }
                _ => {
                    out.push(b'$');
                    1
                }
            };
            rest = &rest[taken..];
        }
        out.extend(rest);
        out
    }

    pub(super) fn expand_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.expand(text.as_bytes())).into_owned()
    }
}

/// The variables that a manifest gives a container: those of whole ConfigMaps and Secrets, then single ones, which win.
///
/// # Errors
///
/// A source that is not there and not optional; fields that no variable can have.
pub(super) fn of(pod: &Pod, container: &Container, facts: &Facts<'_>) -> Result<Variables> {
    let mut found = Variables::default();
    for from in &container.env_from {
        for (key, value) in all(from, facts)?.into_iter().flatten() {
            found.set(format!("{}{key}", from.prefix), value);
        }
    }
    for variable in &container.env {
        let name = &variable.name;
        let unknown = |what: &str, text: &str| {
            Error::invalid(format!(
                "can not set env {name}. Reason: {what} {text} is either not valid or not supported"
            ))
        };
        let value = match &variable.value {
            EnvValue::Text(text) => Some(found.expand(text.as_bytes())),
            EnvValue::ConfigMap(key) => {
                let data = facts.config_maps.get(&key.name);
                one(name, key, data.cloned(), || format!("configmap {} not found", key.name))?
            }
            EnvValue::Secret(key) => one(name, key, (facts.secret)(&key.name), || no_secret(&key.name))?,
            EnvValue::Field(path) => {
                Some(field(pod, facts, path).ok_or_else(|| unknown("fieldPath", path))?.into_bytes())
            }
            EnvValue::Resource { resource, divisor } => {
                let amount =
                    amount(container, facts, resource).ok_or_else(|| unknown("resource", resource))?;
                Some(amount.divided_by(*divisor).to_string().into_bytes())
            }
        };
        if let Some(value) = value {
            found.set(name.clone(), value);
        }
    }
    Ok(found)
}

/// What is said of a secret that is not there.
pub(super) fn no_secret(name: &str) -> String {
    format!("no secret with name or id {name:?}: no such secret")
}

fn all(from: &EnvFrom, facts: &Facts<'_>) -> Result<Option<Data>> {
    let (found, missing) = match &from.source {
        Source::ConfigMap(name) => {
            (facts.config_maps.get(name).cloned(), format!("configmap {name} not found"))
        }
        Source::Secret(name) => ((facts.secret)(name), no_secret(name)),
    };
    match found {
        None if !from.optional => Err(Error::not_found(missing)),
        found => Ok(found),
    }
}

/// The value of one key.
fn one(name: &str, of: &KeyRef, data: Option<Data>, missing: impl Fn() -> String) -> Result<Option<Vec<u8>>> {
    match data.as_ref().map(|data| data.get(&of.key)) {
        Some(Some(value)) => Ok(Some(value.clone())),
        _ if of.optional => Ok(None),
        Some(None) => {
            Err(Error::not_found(format!("cannot set env {name}: key {} not found in {}", of.key, of.name)))
        }
        None => Err(Error::not_found(format!("cannot set env {name}: {}", missing()))),
    }
}

/// A field of the pod; `None` for one that nobody knows before it runs.
fn field(pod: &Pod, facts: &Facts<'_>, path: &str) -> Option<String> {
    let entry = path
        .strip_prefix("metadata.")
        .and_then(|rest| rest.split_once("['"))
        .and_then(|(which, key)| Some((which, key.strip_suffix("']")?)));
    match (path, entry) {
        ("metadata.name", _) => Some(pod.meta.name.clone()),
        ("metadata.namespace", _) => Some(pod.meta.namespace.clone().unwrap_or_else(|| "default".to_owned())),
        ("metadata.uid", _) => Some(facts.pod_id.to_owned()),
        (_, Some(("labels", key))) => Some(pod.meta.labels.get(key).cloned().unwrap_or_default()),
        (_, Some(("annotations", key))) => Some(pod.meta.annotations.get(key).cloned().unwrap_or_default()),
        _ => None,
    }
}

/// What a container may use, or asks for. Without a limit that is what the machine has.
fn amount(container: &Container, facts: &Facts<'_>, resource: &str) -> Option<Quantity> {
    let (of, what) = resource.split_once('.')?;
    let machine = match what {
        "cpu" => Quantity::whole(facts.cpus),
        "memory" => Quantity::whole(facts.memory_bytes),
        _ => return None,
    };
    match of {
        "limits" => Some(container.limits.get(what).copied().unwrap_or(machine)),
        "requests" => {
            let asked = container.requests.get(what).or_else(|| container.limits.get(what));
            Some(asked.copied().unwrap_or_default())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kube::plan::tests::{facts, pod};

    #[test]
    fn expansion() {
        let mut variables = Variables::default();
        variables.set("A".to_owned(), b"x".to_vec());
        variables.set("B_C".to_owned(), b"$(A)".to_vec());
        for (text, want) in [
            ("$(A)", "x"),
            ("-$(A)-$(A)", "-x-x"),
            ("$(B_C)", "$(A)"),
            ("$(nope)", "$(nope)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$x"),
            ("$A $ $(", "$A $ $("),
            ("$(A", "$(A"),
            ("$x)", "$x)"),
            ("ä$(A)ö", "äxö"),
        ] {
            assert_eq!(variables.expand_text(text), want, "{text}");
        }
    }

    #[test]
    fn variables_come_from_everywhere() {
        let pod = pod(
            "metadata: {name: p, labels: {app: l}, annotations: {a: n}}\nspec:\n  containers:\n  - name: c\n    env:\n    \
            - {name: T, value: 'k-$(CK)'}\n    - {name: N, valueFrom: {fieldRef: {fieldPath: metadata.name}}}\n    \
            - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}\n    - {name: U, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}\n    \
            - {name: L, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['app']\"}}}\n    - {name: AN, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['a']\"}}}\n    \
            - {name: S, valueFrom: {secretKeyRef: {name: sec, key: sk}}}\n    - {name: O, valueFrom: {secretKeyRef: {name: sec, key: no, optional: true}}}\n    \
            - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}\n    - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}\n    \
            - {name: W, value: own}\n    envFrom: [{configMapRef: {name: cm}}, {secretRef: {name: sec}, prefix: P_}, {configMapRef: {name: nope, optional: true}}]\n    \
            resources: {limits: {memory: 100Mi}}\n",
        );
        let maps = BTreeMap::from([(
            "cm".to_owned(),
            Data::from([("CK".to_owned(), b"cv".to_vec()), ("W".to_owned(), b"theirs".to_vec())]),
        )]);
        let facts = Facts { config_maps: &maps, ..facts() };
        let found = of(&pod, &pod.containers[0], &facts).unwrap();
        let shown: Vec<String> = found.entries().iter().map(|e| e.to_string_lossy().into_owned()).collect();
        assert_eq!(
            shown,
            [
                "CK=cv",
                "W=own",
                "P_sk=sv",
                "T=k-cv",
                "N=p",
                "NS=default",
                "U=feed",
                "L=l",
                "AN=n",
                "S=sv",
                "CPU=2",
                "MEM=100"
            ]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (env, message) in [
            (
                "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]",
                "can not set env A. Reason: fieldPath status.podIP is either not valid or not supported",
            ),
            (
                "env: [{name: A, valueFrom: {secretKeyRef: {name: no, key: a}}}]",
                "cannot set env A: no secret with name or id \"no\": no such secret",
            ),
            (
                "env: [{name: A, valueFrom: {configMapKeyRef: {name: no, key: a}}}]",
                "cannot set env A: configmap no not found",
            ),
            (
                "env: [{name: A, valueFrom: {secretKeyRef: {name: sec, key: a}}}]",
                "cannot set env A: key a not found in sec",
            ),
            ("envFrom: [{configMapRef: {name: no}}]", "configmap no not found"),
            (
                "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.disk}}}]",
                "can not set env A. Reason: resource limits.disk is either not valid or not supported",
            ),
        ] {
            let pod = pod(&format!("metadata: {{name: p}}\nspec: {{containers: [{{name: c, {env}}}]}}\n"));
            let err = of(&pod, &pod.containers[0], &facts()).unwrap_err();
            assert_eq!(err.to_string(), message);
        }
    }
}
