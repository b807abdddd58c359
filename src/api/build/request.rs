//! What a client wants built, out of its query.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::document;
use crate::api::fault::Fault;
use crate::api::images::names::platform_of;
use crate::base::image_ref::NameRule;
use crate::base::limits::{self, Limits};
use crate::base::order;
use crate::base::rlimit::{self, Ulimit};
use crate::base::spec::Rlimit;
use crate::engine::build::cache::{CachePlace, CacheTarget};
use crate::engine::build::is_remote;
use crate::engine::build::request::BuildRequest;
use crate::engine::config;
use crate::engine::image::new_name;
use crate::engine::pull::PullPolicy;
use crate::engine::request::ContainerRequest;

/// Why a build by version 2 does not begin.
pub(super) const NO_BUILDKIT: &str = "BuildKit is not served: build the classic way, with DOCKER_BUILDKIT=0 in the environment, or by `ketch build`";

/// The cache within the image itself.
const INLINE: CacheTarget = CacheTarget { place: None, all_stages: false, may_fail: false };

/// Gives all values of a key of the query.
type Values<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// One limit of docker's `ulimits`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Limit {
    name: String,
    soft: i64,
    hard: i64,
}

/// Reads the query. Without a `remote` the context is empty: it is in the body.
///
/// # Errors
///
/// 400 for what means nothing, 501 for what is not done here.
pub(super) fn read(values: Values<'_>) -> Result<BuildRequest, Fault> {
    let query = Query(values);
    if query.text("version") == "2" || !query.text("session").is_empty() {
        return Err(Fault::new(501, NO_BUILDKIT));
    }
    refuse(&query)?;
    let remote = query.text("remote");
    if !remote.is_empty() && !is_remote(&remote) {
        return Err(Fault::new(
            400,
            format!("remote={remote}: neither http(s):// nor the address of a git repository"),
        ));
    }
    let mut request = BuildRequest {
        context: remote.as_str().into(),
        files_within: true,
        target: Some(query.text("target")).filter(|target| !target.is_empty()),
        labels: query.json("labels")?,
        no_cache: query.flag("nocache"),
        single_layer: query.flag("squash"),
        container: container(&query)?,
        jobs: 1,
        ..BuildRequest::default()
    };
    if let Some(file) = Some(query.text("dockerfile")).filter(|file| !file.is_empty()) {
        request.files = vec![file.as_str().into()];
    }
    let args: BTreeMap<String, Option<String>> = query.json("buildargs")?;
    // Null is a variable that the client does not have either.
    request.args = order::map(args.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if request.args.get("BUILDKIT_INLINE_CACHE").is_some_and(|value| value == "1") {
        request.cache_to.push(INLINE);
    }
    let caches: Vec<String> = query.json("cachefrom")?;
    request.cache_from = caches.into_iter().map(CachePlace::Image).collect();
    // Who takes caches from images counts on theirs being one.
    if !request.cache_from.is_empty() && request.cache_to.is_empty() {
        request.cache_to.push(INLINE);
    }
    for name in values("t").iter().filter(|name| !name.is_empty()) {
        request.names.push(new_name(name, NameRule::Docker)?);
    }
    request.platform = Some(query.text("platform"))
        .filter(|text| !text.is_empty())
        .map(|text| platform_of(&text))
        .transpose()?;
    request.pull.policy = if query.flag("pull") { PullPolicy::Always } else { PullPolicy::Missing };
    Ok(request)
}

/// Refuses what would have no effect and somebody counts on.
fn refuse(query: &Query<'_>) -> Result<(), Fault> {
    let outputs: Vec<serde_json::Value> = query.json("outputs")?;
    if !outputs.is_empty() {
        return Err(Fault::new(400, "outputs are BuildKit's: the classic build makes an image"));
    }
    if !query.text("securityopt").is_empty() {
        let message = "The daemon on this platform does not support setting security options on build";
        return Err(Fault::new(400, message));
    }
    match query.text("isolation").as_str() {
        "" | "default" => Ok(()),
        other => Err(Fault::new(400, format!("Unsupported isolation: {other:?}"))),
    }
}

/// What the containers of RUN have in common.
fn container(query: &Query<'_>) -> Result<ContainerRequest, Fault> {
    let mut request = ContainerRequest {
        add_hosts: (query.0)("extrahosts").into_iter().filter(|host| !host.is_empty()).collect(),
        networks: match query.text("networkmode").as_str() {
            "" | "default" => vec![],
            mode => vec![mode.to_owned()],
        },
        shm_size_bytes: query.number("shmsize")?,
        ..ContainerRequest::default()
    };
    request.cgroup.parent = query.text("cgroupparent");
    request.cgroup.limits = Limits {
        memory: query.number("memory")?,
        memory_swap: query.number("memswap")?,
        cpu_shares: query.number("cpushares")?,
        cpu_quota_us: query.number("cpuquota")?,
        cpu_period_us: query.number("cpuperiod")?,
        cpuset_cpus: Some(query.text("cpusetcpus")).filter(|cpus| !cpus.is_empty()),
        cpuset_mems: Some(query.text("cpusetmems")).filter(|nodes| !nodes.is_empty()),
        ..Limits::default()
    };
    limits::check_cpu_times(&request.cgroup.limits).map_err(|err| Fault::new(400, err.to_string()))?;
    let ulimits: Vec<Limit> = query.json("ulimits")?;
    request.ulimits = ulimits.into_iter().map(ulimit).collect::<Result<_, _>>()?;
    Ok(request)
}

fn ulimit(limit: Limit) -> Result<Rlimit, Fault> {
    let text = format!("{}={}:{}", limit.name, limit.soft, limit.hard);
    match rlimit::parse(&text) {
        Ok(Ulimit::Limit(limit)) => Ok(config::as_far_as_the_caller_may(limit)),
        Ok(Ulimit::Host) => Err(Fault::new(400, format!("invalid ulimit {text:?}"))),
        Err(err) => Err(Fault::new(400, err.to_string())),
    }
}

/// The query of a request.
struct Query<'a>(Values<'a>);

impl Query<'_> {
    /// The first value of a key, or nothing.
    fn text(&self, key: &str) -> String {
        (self.0)(key).into_iter().next().unwrap_or_default()
    }

    fn flag(&self, key: &str) -> bool {
        !matches!(self.text(key).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number; 0 is none.
    fn number<T: std::str::FromStr + Default + PartialEq>(&self, key: &str) -> Result<Option<T>, Fault> {
        let text = self.text(key);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<T>() {
            Ok(number) => Ok(Some(number).filter(|number| *number != T::default())),
            Err(_) => Err(Fault::new(400, format!("{key}={text}: not a number of the right size"))),
        }
    }

    /// A document; none, or null, is the default.
    fn json<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, Fault> {
        let text = self.text(key);
        if text.is_empty() {
            return Ok(T::default());
        }
        let read: Result<Option<T>, _> = document::read(text.as_bytes());
        read.map(Option::unwrap_or_default).map_err(|err| Fault::new(400, format!("{key}: {err}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &[(&str, &str)]) -> Result<BuildRequest, Fault> {
        let all = |key: &str| {
            query.iter().filter(|(known, _)| *known == key).map(|(_, value)| (*value).to_owned()).collect()
        };
        read(&all)
    }

    #[test]
    fn what_the_command_line_sends() {
        let request = of(&[
            ("buildargs", r#"{"A":"b","NONE":null}"#),
            ("cachefrom", "[]"),
            ("cgroupparent", ""),
            ("cpuperiod", "0"),
            ("cpushares", "0"),
            ("dockerfile", "sub/Dockerfile"),
            ("extrahosts", "a:1.2.3.4"),
            ("labels", r#"{"k":"v"}"#),
            ("memory", "67108864"),
            ("memswap", "-1"),
            ("networkmode", "default"),
            ("rm", "1"),
            ("shmsize", "0"),
            ("t", "app"),
            ("t", "r.io/app:2"),
            ("target", ""),
            ("ulimits", r#"[{"Name":"nofile","Soft":10,"Hard":20}]"#),
            ("version", "1"),
        ])
        .unwrap();
        assert_eq!(request.args, BTreeMap::from([("A".to_owned(), "b".to_owned())]));
        assert_eq!(request.labels["k"], "v");
        assert!(request.context.as_bytes().is_empty() && request.files_within && request.target.is_none());
        assert_eq!(request.files, ["sub/Dockerfile".into()]);
        let names: Vec<_> = request.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker.io/library/app:latest", "r.io/app:2"]);
        assert_eq!(request.pull.policy, PullPolicy::Missing);
        let container = &request.container;
        assert_eq!(
            (&container.networks[..], &container.add_hosts[..]),
            (&[][..], &["a:1.2.3.4".to_owned()][..])
        );
        let limits = &container.cgroup.limits;
        assert_eq!(
            (limits.memory, limits.memory_swap, limits.cpu_shares),
            (Some(67_108_864), Some(-1), None)
        );
        assert_eq!((container.ulimits[0].soft, container.ulimits[0].hard), (10, 20));
    }

    #[test]
    fn what_is_refused() {
        for (key, value, status) in [
            ("version", "2", 501),
            ("session", "x", 501),
            ("outputs", r#"[{"Type":"local"}]"#, 400),
            ("buildargs", "[", 400),
            ("t", "UPPER", 400),
            ("memory", "much", 400),
            ("ulimits", r#"[{"Name":"x","Soft":1,"Hard":1}]"#, 400),
            ("securityopt", "x", 400),
            ("isolation", "hyperv", 400),
            ("platform", "a/b/c/d", 400),
            ("platform", "{}", 400),
            ("platform", r#"{"os":"linux"}"#, 400),
            ("remote", "-", 400),
            ("remote", "/etc", 400),
            ("remote", "file:///etc/x.git", 400),
        ] {
            assert_eq!(of(&[(key, value)]).unwrap_err().status, status, "{key}");
        }
        for (key, value) in [
            ("version", "1"),
            ("outputs", "null"),
            ("labels", "null"),
            ("isolation", "default"),
            ("ulimits", r#"[{"Name":"core","Soft":0}]"#),
            ("platform", r#"{"os":"linux","architecture":"amd64"}"#),
            ("remote", "https://h/x.git#main"),
        ] {
            assert!(of(&[(key, value)]).is_ok(), "{key}");
        }
    }
}
