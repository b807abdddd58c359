//! Where a built image comes from: an in-toto statement with a SLSA predicate, as BuildKit writes it.
//!
//! ```text
//! Builder ── materials, times ──▶ Facts ── statement() ──▶ a blob of the attestation manifest
//!                                                          (engine::manifest_list::attest_in_list)
//! ```

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::base::digest::Digest;
use crate::base::platform::Platform;
use crate::engine::build::request::BuildRequest;

/// Something that a build has used and that was not the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Material {
    /// A package URL or an address.
    pub(crate) uri: String,
    /// `sha256` or `sha1`.
    pub(crate) algorithm: &'static str,
    pub(crate) digest: String,
}

/// What is known of a build that was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
    pub(crate) materials: Vec<Material>,
    /// The Dockerfile: what it is called, and what it says.
    pub(crate) dockerfile: (String, String),
}

/// What a statement is to say (`--provenance`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wished {
    /// `mode=max`: values of build arguments and the Dockerfile too.
    pub(crate) max: bool,
    /// `version=v1`.
    pub(crate) is_v1: bool,
    /// `builder-id=`.
    pub(crate) builder: String,
    /// `reproducible=`: what the caller promises.
    pub(crate) reproducible: bool,
}

impl Wished {
    /// The predicate's type, which is also said of the statement's blob.
    pub(crate) fn predicate_type(&self) -> &'static str {
        if self.is_v1 { "https://slsa.dev/provenance/v1" } else { "https://slsa.dev/provenance/v0.2" }
    }
}

/// The package URL of an image: `pkg:docker/NAME@TAG?platform=linux%2Famd64`.
///
/// # Source
///
/// purl-spec, type `docker`.
pub(crate) fn package(name: &str, platform: &Platform) -> String {
    let name =
        name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name);
    let (name, digest) = name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let (name, tag) = match last.rsplit_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
        None => (name, None),
    };
    let version = tag.map(|tag| format!("@{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("digest={}&", escaped(digest))).unwrap_or_default();
    format!(
        "pkg:docker/{}{version}?{digest}platform={}",
        name.replace(':', "%3A"),
        escaped(&platform.to_string())
    )
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F").replace(':', "%3A")
}

/// The statement about the image whose manifest is `subject`.
///
/// # Source
///
/// in-toto Statement v0.1; SLSA provenance v0.2 and v1; BuildKit's "SLSA definitions".
pub(crate) fn statement(
    wished: &Wished,
    facts: &Facts,
    request: &BuildRequest,
    platform: &Platform,
    subject: &Digest,
) -> Value {
    let names = request.names.iter().map(
        |name| json!({"name": package(&name.to_string(), platform), "digest": {"sha256": subject.hex()}}),
    );
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": wished.predicate_type(),
        "subject": names.collect::<Vec<_>>(),
        "predicate": predicate(wished, facts, request, platform),
    })
}

/// What the statement says.
pub(crate) fn predicate(
    wished: &Wished,
    facts: &Facts,
    request: &BuildRequest,
    platform: &Platform,
) -> Value {
    let materials: Vec<Value> = facts
        .materials
        .iter()
        .map(|material| json!({"uri": material.uri, "digest": {material.algorithm: material.digest}}))
        .collect();
    let invocation = json!({
        "frontend": "dockerfile.v0",
        "args": arguments(wished, request),
        "locals": [{"name": "context"}, {"name": "dockerfile"}],
    });
    let id = Digest::of(format!("{} {:?}", facts.started, facts.materials).as_bytes()).hex();
    let id = &id[..25];
    let (started, finished) = (facts.started.to_string(), facts.finished.to_string());
    let own = own_metadata(wished, facts);
    let file = facts.dockerfile.0.rsplit('/').next().unwrap_or("Dockerfile");
    if wished.is_v1 {
        return json!({
            "buildDefinition": {
                "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
                "externalParameters": {"configSource": {"path": file}, "request": invocation},
                "internalParameters": {"builderPlatform": Platform::host().to_string()},
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": wished.builder},
                "metadata": {
                    "invocationId": id, "startedOn": started, "finishedOn": finished,
                    "buildkit_metadata": own,
                    "buildkit_completeness": {"request": wished.max, "resolvedDependencies": false},
                    "buildkit_reproducible": wished.reproducible,
                },
            },
        });
    }
    json!({
        "builder": {"id": wished.builder},
        "buildType": "https://mobyproject.org/buildkit@v1",
        "materials": materials,
        "invocation": {
            "configSource": {"entryPoint": file},
            "parameters": invocation,
            "environment": {"platform": platform.to_string()},
        },
        "metadata": {
            "buildInvocationID": id,
            "buildStartedOn": started,
            "buildFinishedOn": finished,
            "completeness": {"parameters": wished.max, "environment": true, "materials": false},
            "reproducible": wished.reproducible,
            "https://mobyproject.org/buildkit@v1#metadata": own,
        },
    })
}

/// What was asked of the build. Values of arguments may be secrets, so that only `mode=max` has them.
fn arguments(wished: &Wished, request: &BuildRequest) -> Value {
    let mut args = Map::new();
    if let Some(target) = &request.target {
        args.insert("target".to_owned(), target.as_str().into());
    }
    if wished.max {
        args.extend(
            request.args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.as_str().into())),
        );
        args.extend(
            request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.as_str().into())),
        );
    }
    Value::Object(args)
}

/// With `mode=max` the Dockerfile.
fn own_metadata(wished: &Wished, facts: &Facts) -> Value {
    use base64::Engine as _;
    if !wished.max {
        return json!({});
    }
    let (name, text) = &facts.dockerfile;
    let data = base64::engine::general_purpose::STANDARD.encode(text);
    json!({"source": {"infos": [{"filename": name, "language": "Dockerfile", "data": data}]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_package_urls() {
        let platform = Platform::new("linux", "amd64", "");
        for (name, want) in [
            ("docker.io/library/alpine:3.19", "pkg:docker/alpine@3.19?platform=linux%2Famd64"),
            ("docker.io/a/b:1", "pkg:docker/a/b@1?platform=linux%2Famd64"),
            ("h:5000/a/b", "pkg:docker/h%3A5000/a/b?platform=linux%2Famd64"),
            ("q.io/a@sha256:00", "pkg:docker/q.io/a?digest=sha256%3A00&platform=linux%2Famd64"),
        ] {
            assert_eq!(package(name, &platform), want, "{name}");
        }
    }

    #[test]
    fn arguments_are_said_only_if_asked() {
        let mut request = BuildRequest::default();
        request.args.insert("TOKEN".to_owned(), "hush".to_owned());
        let facts = Facts { dockerfile: ("D".to_owned(), "FROM x".to_owned()), ..Facts::default() };
        let platform = Platform::new("linux", "amd64", "");
        let text = |wished: &Wished| predicate(wished, &facts, &request, &platform).to_string();
        for is_v1 in [false, true] {
            assert!(!text(&Wished { is_v1, ..Wished::default() }).contains("hush"));
            let max = text(&Wished { is_v1, max: true, ..Wished::default() });
            assert!(max.contains(r#""build-arg:TOKEN":"hush""#) && max.contains("RlJPTSB4"), "{max}");
        }
    }
}
