//! The environment of a container, and `$(VAR)` in what refers to it.

use indexmap::IndexMap;

use crate::base::bytes::Bytes;
use crate::engine::{Error, Result};
use crate::kube::plan::Facts;
use crate::kube::quantity::Quantity;
use crate::kube::types::{Container, Data, EnvFrom, EnvValue, KeyRef, Pod, Source};

/// The longest value, in bytes: no program can be given one of more than 128 KiB.
const MAX_VALUE: usize = 1 << 20;

/// What the variables of a container have in all, together with the texts that refer to them; the kernel takes 6 MiB.
const MAX_TOTAL: usize = 8 << 20;

/// Names and values, in their order, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    values: IndexMap<String, Vec<u8>>,
    /// Bytes of all names and values.
    size: usize,
}

impl Variables {
    fn set(&mut self, name: String, value: Vec<u8>) -> Result<()> {
        if value.len() > MAX_VALUE {
            return Err(too_long(&name));
        }
        self.size += value.len();
        match self.values.get_mut(&name) {
            Some(old) => {
                self.size -= old.len();
                *old = value;
            }
            None => {
                self.size += name.len();
                self.values.insert(name, value);
            }
        }
        if self.size > MAX_TOTAL { Err(too_large("the variables")) } else { Ok(()) }
    }

    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.values.get(std::str::from_utf8(name).ok()?).map(Vec::as_slice)
    }

    /// As `NAME=value`.
    pub(super) fn entries(&self) -> Vec<Bytes> {
        let entry = |(name, value): (&String, &Vec<u8>)| {
            Bytes::from([name.as_bytes(), b"=", value.as_slice()].concat())
        };
        self.values.iter().map(entry).collect()
    }

    /// `text` with `$(NAME)` replaced by its value; a name without one stays as it is, and `$$` is `$`.
    ///
    /// # Source
    ///
    /// Kubernetes, "Define Dependent Environment Variables".
    pub(super) fn expand(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        self.each_part(text, |part| out.extend(part));
        out
    }

    /// How long that is, without making it: what is expanded over and over grows without end.
    fn expanded_len(&self, text: &[u8]) -> usize {
        let mut length = 0_usize;
        self.each_part(text, |part| length = length.saturating_add(part.len()));
        length
    }

    /// Whether the texts of a container that refer to these variables stay small when they are [expanded](Self::expand).
    fn check_texts(&self, container: &Container) -> Result<()> {
        let sub_paths = container.mounts.iter().filter(|mount| mount.expand).map(|mount| &mount.sub_path);
        let mut size = self.size;
        for text in container.command.iter().chain(&container.args).chain(sub_paths) {
            size = size.saturating_add(self.expanded_len(text.as_bytes()));
        }
        if size > MAX_TOTAL { Err(too_large("variables, command and arguments")) } else { Ok(()) }
    }

    /// Calls `put` with each part of the expanded `text`.
    fn each_part(&self, text: &[u8], mut put: impl FnMut(&[u8])) {
        let mut rest = text;
        while let Some(dollar) = memchr::memchr(b'$', rest) {
            put(&rest[..dollar]);
            rest = &rest[dollar..];
            let end = memchr::memchr(b')', rest).filter(|_| rest.get(1) == Some(&b'('));
            let taken = match (rest.get(1), end) {
                (Some(b'$'), _) => {
                    put(b"$");
                    2
                }
                (_, Some(end)) => {
                    put(self.get(&rest[2..end]).unwrap_or(&rest[..=end]));
                    end + 1
                }
                _ => {
                    put(b"$");
                    1
                }
            };
            rest = &rest[taken..];
        }
        put(rest);
    }

    pub(super) fn expand_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.expand(text.as_bytes())).into_owned()
    }
}

fn too_long(name: &str) -> Error {
    Error::invalid(format!("can not set env {name}: its value has more than {} MiB", MAX_VALUE >> 20))
}

fn too_large(what: &str) -> Error {
    Error::invalid(format!("{what} have more than {} MiB in all", MAX_TOTAL >> 20))
}

/// The variables that a manifest gives a container: those of whole ConfigMaps and Secrets, then single ones, which win.
///
/// # Errors
///
/// A source that is not there and not optional; fields that no variable can have; more than a container can be given.
pub(super) fn of(pod: &Pod, container: &Container, facts: &Facts<'_>) -> Result<Variables> {
    let mut found = Variables::default();
    for from in &container.env_from {
        for (key, value) in all(from, facts)?.into_iter().flatten() {
            found.set(format!("{}{key}", from.prefix), value)?;
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
            EnvValue::Text(text) if found.expanded_len(text.as_bytes()) > MAX_VALUE => {
                return Err(too_long(name));
            }
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
            found.set(name.clone(), value)?;
        }
    }
    found.check_texts(container)?;
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
        variables.set("A".to_owned(), b"x".to_vec()).unwrap();
        variables.set("B_C".to_owned(), b"$(A)".to_vec()).unwrap();
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
            assert_eq!(variables.expanded_len(text.as_bytes()), want.len(), "{text}");
        }
    }

    /// Variables `A0`, `A1` …, each of which has ten times the one before.
    fn bomb(count: usize) -> String {
        let entry = |n: usize| match n {
            0 => "{name: A0, value: xxxxxxxxxx}".to_owned(),
            n => format!("{{name: A{n}, value: {}}}", format!("$(A{})", n - 1).repeat(10)),
        };
        (0..count).map(entry).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_grows_when_it_is_expanded_is_bounded() {
        let long = "x".repeat(1 << 20);
        let all = "variables, command and arguments have more than 8 MiB in all";
        let maps = BTreeMap::from([
            ("many".to_owned(), (0..4096).map(|n| (format!("K{n}"), b"v".to_vec())).collect()),
            ("long".to_owned(), Data::from([("k".to_owned(), vec![b'x'; (1 << 20) + 1])])),
        ]);
        let facts = Facts { config_maps: &maps, ..facts() };
        for (more, want) in [
            (format!("env: [{}]", bomb(5)), None),
            (format!("env: [{}]", bomb(6)), None),
            (format!("env: [{}]", bomb(10)), Some("can not set env A6: its value has more than 1 MiB")),
            (format!("env: [{{name: A, value: {long}}}]"), None),
            (
                format!("env: [{{name: A, value: {long}y}}]"),
                Some("can not set env A: its value has more than 1 MiB"),
            ),
            (
                format!(
                    "env: [{}]",
                    (0..8).map(|n| format!("{{name: A{n}, value: {long}}}, ")).collect::<String>()
                ),
                Some("the variables have more than 8 MiB in all"),
            ),
            // One name again and again is one variable.
            (format!("env: [{}]", format!("{{name: A, value: {long}}}, ").repeat(9)), None),
            (
                format!("envFrom: [{{configMapRef: {{name: many}}, prefix: {}}}]", "p".repeat(4096)),
                Some("the variables have more than 8 MiB in all"),
            ),
            (
                "envFrom: [{configMapRef: {name: long}}]".to_owned(),
                Some("can not set env k: its value has more than 1 MiB"),
            ),
            (format!("env: [{}], command: ['{}']", bomb(6), "$(A5)".repeat(6)), None),
            (format!("env: [{}], command: ['{}']", bomb(6), "$(A5)".repeat(8)), Some(all)),
            (format!("env: [{}], args: [a, '{}']", bomb(6), "$(A5)".repeat(100_000)), Some(all)),
            (
                format!(
                    "env: [{}], volumeMounts: [{{name: v, mountPath: /v, subPathExpr: '{}'}}]",
                    bomb(6),
                    "$(A5)".repeat(8)
                ),
                Some(all),
            ),
        ] {
            let pod = pod(&format!("metadata: {{name: p}}\nspec: {{containers: [{{name: c, {more}}}]}}\n"));
            let got = of(&pod, &pod.containers[0], &facts).err().map(|err| err.to_string());
            assert_eq!(got.as_deref(), want, "{more:.200}");
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
