//! A cluster's API, as kubeconfig files describe it, and where objects go there.
//!
//! Source: Kubernetes' kubeconfig (v1) reference, API concepts ("Resource URIs").

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::base::order::InOrder as _;
use crate::base::yaml::read;
use crate::engine::{Error, Kind, Result};
use crate::kube::fields::{self, Field};

/// PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pem {
    Here(Vec<u8>),
    File(PathBuf),
}

/// A cluster and how to show oneself to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Its address, without a slash at its end.
    pub(crate) server: String,
    /// The namespace of the context.
    pub(crate) namespace: Option<String>,
    /// Take any certificate.
    pub(crate) insecure: bool,
    /// What its certificate is signed by; `None` for what the system trusts.
    pub(crate) authority: Option<Pem>,
    /// The user's own certificate and its key.
    pub(crate) own: Option<(Pem, Pem)>,
    /// The user's token, or a file that holds it.
    pub(crate) token: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
}

impl Cluster {
    /// Reads the text of a kubeconfig file in `directory`: its current context, or where it names none the first one.
    ///
    /// # Errors
    ///
    /// Text that is none; a context, cluster or user that is missing; users who need a program to show themselves.
    pub(crate) fn of_config(text: &str, directory: &Path) -> Result<Self> {
        let invalid = |fault: read::Fault| {
            let (line, column) = (fault.at.line, fault.at.column);
            Error::invalid(format!("kubeconfig:{line}:{column}: {}", fault.message))
        };
        let documents = read::documents(text, 0).map_err(invalid)?;
        let Some(root) = documents.first() else {
            return Err(Error::invalid("kubeconfig: the file is empty"));
        };
        parsed(&Field::document(root), directory).map_err(invalid)?
    }
}

fn parsed(root: &Field<'_>, directory: &Path) -> fields::Result<Result<Cluster>> {
    let current = root.get("current-context").string()?;
    let context = named(root, "contexts", &current)?.map(|entry| entry.get("context"));
    let part = |key: &str| context.as_ref().map_or(Ok(String::new()), |context| context.get(key).string());
    let missing = |what: &str, name: &str| Error::invalid(format!("kubeconfig: there is no {what} {name:?}"));
    if context.is_none() && !current.is_empty() {
        return Ok(Err(missing("context", &current)));
    }
    let (name, user_name) = (part("cluster")?, part("user")?);
    let Some(entry) = named(root, "clusters", &name)? else { return Ok(Err(missing("cluster", &name))) };
    let cluster = entry.get("cluster");
    let user = named(root, "users", &user_name)?.map(|entry| entry.get("user"));
    if user.is_none() && !user_name.is_empty() {
        return Ok(Err(missing("user", &user_name)));
    }
    let mut found = Cluster {
        server: cluster.get("server").string()?.trim_end_matches('/').to_owned(),
        namespace: Some(part("namespace")?).filter(|name| !name.is_empty()),
        insecure: cluster.get("insecure-skip-tls-verify").is_true()?,
        authority: pem(&cluster, "certificate-authority", directory)?,
        ..Cluster::default()
    };
    if found.server.is_empty() {
        return Ok(Err(Error::invalid(format!("kubeconfig: cluster {name:?} has no server"))));
    }
    let Some(user) = user else { return Ok(Ok(found)) };
    let own = (pem(&user, "client-certificate", directory)?, pem(&user, "client-key", directory)?);
    found.own = match own {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => None,
    };
    found.token = user.get("token").text()?;
    found.token_file = user.get("tokenFile").text()?.map(|file| directory.join(file));
    let shows_nothing = found.own.is_none() && found.token.is_none() && found.token_file.is_none();
    if shows_nothing
        && (user.get("exec").object()?.is_some() || user.get("auth-provider").object()?.is_some())
    {
        let message = "kubeconfig: the user needs a program to show who they are";
        return Ok(Err(Error::new(Kind::Unsupported, message).hint("use a token or a certificate")));
    }
    Ok(Ok(found))
}

/// The entry of a list with this name; without a name the first one.
fn named<'a>(root: &Field<'a>, list: &str, name: &str) -> fields::Result<Option<Field<'a>>> {
    for entry in root.get(list).items()? {
        if name.is_empty() || entry.get("name").string()? == name {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// PEM text that is in the file itself (`KEY-data`), or in another one (`KEY`).
fn pem(of: &Field<'_>, key: &str, directory: &Path) -> fields::Result<Option<Pem>> {
    let data = of.get(&format!("{key}-data"));
    if let Some(text) = data.text()? {
        let text: String = text.split_ascii_whitespace().collect();
        let bytes = STANDARD.decode(text).map_err(|err| data.fault(format_args!("is no base64: {err}")))?;
        return Ok(Some(Pem::Here(bytes)));
    }
    Ok(of.get(key).text()?.filter(|file| !file.is_empty()).map(|file| Pem::File(directory.join(file))))
}

/// Kinds of objects: whose API they are of, and what their collection is called. In the order in which they are needed.
const KINDS: [(&str, &str, &str); 8] = [
    ("PersistentVolumeClaim", "api/v1", "persistentvolumeclaims"),
    ("ConfigMap", "api/v1", "configmaps"),
    ("Secret", "api/v1", "secrets"),
    ("Service", "api/v1", "services"),
    ("Pod", "api/v1", "pods"),
    ("Deployment", "apis/apps/v1", "deployments"),
    ("DaemonSet", "apis/apps/v1", "daemonsets"),
    ("Job", "apis/batch/v1", "jobs"),
];

/// An object that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Creation {
    /// The path of its collection, from the server's address on.
    pub(crate) path: String,
    /// Its kind and name.
    pub(crate) what: String,
    pub(crate) object: Value,
}

/// The objects of a manifest as they are made in `namespace`, what others need first.
///
/// # Errors
///
/// Text that is no YAML, or has no objects; kinds that are not known.
pub(crate) fn creations(text: &str, namespace: &str) -> Result<Vec<Creation>> {
    let documents = read::documents(text, 0).map_err(|fault| {
        let (line, column) = (fault.at.line, fault.at.column);
        Error::invalid(format!(
            "unable to read YAML as Kubernetes object: {line}:{column}: {}",
            fault.message
        ))
    })?;
    let mut found = Vec::new();
    for object in documents.iter().map(|document| document.to_json()).flat_map(items) {
        let kind = object["kind"].as_str().unwrap_or_default();
        let Some(place) = KINDS.iter().position(|(known, ..)| *known == kind) else {
            return Err(Error::invalid(format!("unsupported Kubernetes kind found: {kind:?}")));
        };
        let (_, api, collection) = KINDS[place];
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("/{api}/namespaces/{namespace}/{collection}");
        found.push((place, Creation { path, what: format!("{kind} {name}"), object }));
    }
    if found.is_empty() {
        return Err(Error::invalid("yaml file provided is empty, cannot apply to a cluster"));
    }
    found.order_by_key(|(place, _)| *place);
    Ok(found.into_iter().map(|(_, creation)| creation).collect())
}

/// The objects of a document.
fn items(document: Value) -> Vec<Value> {
    match (&document["kind"], &document["items"]) {
        (Value::String(kind), Value::Array(items)) if kind == "List" => items.clone(),
        _ if document.is_null() => Vec::new(),
        _ => vec![document],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "current-context: two\ncontexts:\n- {name: one, context: {cluster: a, user: u}}\n- {name: two, context: {cluster: b, user: v, namespace: ns}}\n\
        clusters:\n- {name: a, cluster: {server: 'https://a/', certificate-authority: ca.pem}}\n- {name: b, cluster: {server: 'https://b:6443', certificate-authority-data: eA==}}\n\
        users:\n- {name: u, user: {token: t}}\n- {name: v, user: {client-certificate-data: eQ==, client-key: /k.pem}}\n";

    #[test]
    fn configurations() {
        let of = |text: &str| Cluster::of_config(text, Path::new("/d")).map_err(|err| err.to_string());
        let two = of(CONFIG).unwrap();
        assert_eq!((two.server.as_str(), two.namespace.as_deref()), ("https://b:6443", Some("ns")));
        assert_eq!(two.authority, Some(Pem::Here(b"x".to_vec())));
        assert_eq!(two.own, Some((Pem::Here(b"y".to_vec()), Pem::File("/k.pem".into()))));
        let one = of(&CONFIG.replace("current-context: two", "current-context: one")).unwrap();
        assert_eq!((one.server.as_str(), one.token.as_deref()), ("https://a", Some("t")));
        assert_eq!(one.authority, Some(Pem::File("/d/ca.pem".into())));
        assert_eq!(of(&CONFIG.replace("current-context: two\n", "")).unwrap(), one, "the first one");
        for (text, want) in [
            ("", "kubeconfig: the file is empty"),
            ("current-context: x\n", "kubeconfig: there is no context \"x\""),
            ("contexts: [{name: c, context: {cluster: x}}]\n", "kubeconfig: there is no cluster \"x\""),
            ("clusters: [{name: a, cluster: {}}]\n", "kubeconfig: cluster \"\" has no server"),
            (
                "clusters: [{name: a, cluster: {server: s}}]\nusers: [{name: u, user: {exec: {command: c}}}]\n",
                "kubeconfig: the user needs a program to show who they are",
            ),
            ("clusters: 5\n", "kubeconfig:1:11: clusters: must be a list, not a number"),
        ] {
            assert_eq!(of(text).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn objects_and_where_they_go() {
        let text = "kind: Job\nmetadata: {name: j}\n---\nkind: List\nitems: [{kind: Pod, metadata: {name: p}}, {kind: Secret, metadata: {name: s}}]\n---\n---\nkind: Deployment\n";
        let found = creations(text, "ns").unwrap();
        let shown: Vec<_> = found.iter().map(|one| format!("{} {}", one.what, one.path)).collect();
        assert_eq!(
            shown,
            [
                "Secret s /api/v1/namespaces/ns/secrets",
                "Pod p /api/v1/namespaces/ns/pods",
                "Deployment  /apis/apps/v1/namespaces/ns/deployments",
                "Job j /apis/batch/v1/namespaces/ns/jobs",
            ]
        );
        assert!(creations("kind: Other\n", "ns").unwrap_err().to_string().contains("\"Other\""));
        assert!(creations("---\n", "ns").unwrap_err().to_string().contains("is empty"));
    }
}
