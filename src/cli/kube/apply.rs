//! `ketch kube apply`: objects for a cluster.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::kube::{generate, text};
use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::remote::{self, Post, Trusted};
use crate::engine::{Error, Kind, Result, config};
use crate::kube::cluster::{self, Cluster, Creation, Pem};

/// Make containers, pods, volumes or a manifest's objects in a Kubernetes cluster
///
/// What is named is written as a manifest, as `kube generate` does it, and its objects are made through the API of the
/// cluster that a kubeconfig file describes.
#[derive(Args, Debug)]
pub(crate) struct ApplyArgs {
    /// File with the certificates that the cluster's is signed by, in place of those of the kubeconfig file
    #[arg(long, value_name = "FILE")]
    ca_cert_file: Option<PathBuf>,

    /// File or address (http, https) of a manifest; - for standard input
    #[arg(short, long, value_name = "KUBEFILE", conflicts_with = "names")]
    file: Option<PathBuf>,

    /// The kubeconfig file [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(short, long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Namespace of the objects [default: that of the current context, or default]
    #[arg(long, value_name = "NAMESPACE")]
    ns: Option<String>,

    /// Add a Service for the published ports
    #[arg(short, long, conflicts_with = "file")]
    service: bool,

    /// Containers, pods or volumes, by name or ID (can be repeated)
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// `kube apply`.
pub(crate) fn run(session: &mut Session<'_>, args: ApplyArgs) -> anyhow::Result<()> {
    let manifest = match &args.file {
        Some(file) => text(file)?,
        None if args.names.is_empty() => {
            return Err(UsageError::new(
                "give names of containers, pods or volumes, or a manifest with --file",
            )
            .into());
        }
        None => generate::manifest(session.engine()?, &args.names, generate::Form::Pod, args.service, false)?,
    };
    let file = args
        .kubeconfig
        .or_else(config::kubeconfig)
        .ok_or_else(|| Error::not_found("there is no kubeconfig file").hint("name one with --kubeconfig"))?;
    let directory = file.parent().unwrap_or(Path::new("."));
    let mut cluster = Cluster::of_config(&text(&file)?, directory)?;
    if let Some(file) = args.ca_cert_file {
        cluster.authority = Some(Pem::File(file));
    }
    let namespace = args.ns.or_else(|| cluster.namespace.clone()).filter(|name| !name.is_empty());
    let wanted = cluster::creations(&manifest, namespace.as_deref().unwrap_or("default"))?;
    let trusted = trusted(&cluster)?;
    for creation in &wanted {
        create(&cluster, &trusted, creation)?;
    }
    writeln!(session.out, "Successfully deployed workloads to cluster!")?;
    Ok(())
}

/// Makes one object.
fn create(cluster: &Cluster, trusted: &Trusted, creation: &Creation) -> Result<()> {
    let (status, body) = remote::post(Post {
        address: &format!("{}{}", cluster.server, creation.path),
        trusted,
        media_type: "application/json",
        body: creation.object.to_string().into_bytes(),
    })?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let said = serde_json::from_slice::<serde_json::Value>(&body).unwrap_or_default();
    let why = said["message"].as_str().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    let kind = if status == 409 { Kind::Conflict } else { Kind::System };
    Err(Error::new(kind, format!("create {} in the cluster: {why}", creation.what)))
}

/// What the user shows to the cluster, and what of it they trust.
fn trusted(cluster: &Cluster) -> Result<Trusted> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|err| Error::system(format!("open {}", file.display()), err))
    };
    let bytes = |pem: &Pem| match pem {
        Pem::Here(bytes) => Ok(bytes.clone()),
        Pem::File(file) => read(file),
    };
    let token = match (&cluster.token, &cluster.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => Some(String::from_utf8_lossy(&read(file)?).trim().to_owned()),
        (None, None) => None,
    };
    Ok(Trusted {
        insecure: cluster.insecure,
        roots: cluster.authority.as_ref().map(bytes).transpose()?,
        own: cluster
            .own
            .as_ref()
            .map(|(chain, key)| Ok::<_, Error>((bytes(chain)?, bytes(key)?)))
            .transpose()?,
        token,
    })
}
