//! Names of images: giving them, and taking them away with what they stand for.

use serde_json::{Value, json};

use crate::api::document;
use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::base::image_ref::{NameRule, Purpose};
use crate::engine::image::Removed;

/// `POST /images/{*}/tag`.
pub(crate) fn tag(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let name =
        full_name(exchange.query("repo").unwrap_or_default(), exchange.query("tag").unwrap_or_default());
    if name.is_empty() {
        return Err(Fault::new(400, "invalid reference format: repo is missing"));
    }
    exchange.engine()?.tag_image(exchange.param(0), &name)?;
    Ok(Answer::Empty(201))
}

/// `DELETE /images/{*}`.
pub(crate) fn remove(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let platforms: Vec<_> = exchange.query_all("platforms").collect();
    let typed = match platforms.as_slice() {
        [] => exchange.param(0).to_owned(),
        [one] => engine.on_platform(exchange.param(0), Some(&platform_of(one)?), Purpose::Act)?,
        _ => return Err(Fault::new(400, "only one platform can be given")),
    };
    let prune = !exchange.flag("noprune");
    let removed = engine.remove_image_as_docker(&typed, exchange.flag("force"), prune)?;
    if prune {
        engine.collect_garbage_later()?;
    }
    Ok(Answer::ok(told(&removed)))
}

/// What a removal did, as docker tells it.
pub(crate) fn told(removed: &Removed) -> Vec<Value> {
    let untagged = removed.untagged.iter().map(|name| json!({"Untagged": NameRule::Docker.shown(name)}));
    let deleted = removed.deleted.iter().map(|id| json!({"Deleted": id.to_string()}));
    untagged.chain(deleted).collect()
}

/// A repository and its tag or digest as one name; a repository alone stays without one. As with docker, the tag takes the place
/// of one that the repository has, and a digest that of tag and digest.
pub(crate) fn full_name(repository: &str, tag: &str) -> String {
    let typed = repository.strip_suffix(':').filter(|rest| !rest.is_empty()).unwrap_or(repository);
    if tag.is_empty() {
        return typed.to_owned();
    }
    let (named, digest) = typed.split_once('@').map_or((typed, None), |(name, digest)| (name, Some(digest)));
    let name = match named.rsplit_once(':') {
        Some((name, old)) if !old.contains('/') => name,
        _ => named,
    };
    match digest {
        _ if tag.contains(':') => format!("{name}@{tag}"),
        Some(digest) => format!("{name}:{tag}@{digest}"),
        None => format!("{name}:{tag}"),
    }
}

/// Reads a platform: `linux/arm64`, or the JSON object that newer clients send.
///
/// # Errors
///
/// 400.
pub(crate) fn platform_of(text: &str) -> Result<crate::base::platform::Platform, Fault> {
    use crate::base::platform::Platform;
    let invalid = |why: String| Fault::new(400, format!("invalid platform {text:?}: {why}"));
    if !text.starts_with('{') {
        return text.parse().map_err(|err| invalid(format!("{err}")));
    }
    let asked: Asked = document::read(text.as_bytes()).map_err(|err| invalid(err.to_string()))?;
    if asked.os.is_empty() || asked.architecture.is_empty() {
        return Err(invalid("both OS and Architecture must be provided".to_owned()));
    }
    Ok(Platform::new(&asked.os, &asked.architecture, &asked.variant))
}

document::documents! {
    /// A platform as newer clients send it.
    Asked {
        os: String,
        architecture: String,
        variant: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;

    #[test]
    fn names_of_two_parts() {
        let digest = Digest::of(b"").to_string();
        for (repository, tag, want) in [
            ("a", "", "a".to_owned()),
            ("a", "1", "a:1".to_owned()),
            ("r.io:5000/a", "1", "r.io:5000/a:1".to_owned()),
            ("a", digest.as_str(), format!("a@{digest}")),
            ("a:1", "", "a:1".to_owned()),
            ("h/x:1", "1", "h/x:1".to_owned()),
            ("foo:bar", "baz", "foo:baz".to_owned()),
            ("r.io:5000/a:1", "2", "r.io:5000/a:2".to_owned()),
            ("a:1", digest.as_str(), format!("a@{digest}")),
            (format!("a@{digest}").as_str(), "1", format!("a:1@{digest}")),
            (format!("a@{digest}").as_str(), digest.as_str(), format!("a@{digest}")),
            ("a:", "", "a".to_owned()),
            ("a:", "1", "a:1".to_owned()),
        ] {
            assert_eq!(full_name(repository, tag), want);
        }
    }

    #[test]
    fn removals() {
        let id = Digest::of(b"");
        let removed = Removed { untagged: vec!["docker.io/library/x:1".parse().unwrap()], deleted: vec![id] };
        let want = json!([{"Untagged": "x:1"}, {"Deleted": id.to_string()}]);
        assert_eq!(Value::from(told(&removed)), want);
    }

    #[test]
    fn platforms_in_both_forms() {
        for (text, want) in [
            ("linux/arm64", Some("linux/arm64")),
            (r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, Some("linux/arm/v7")),
            ("{", None),
            ("a/b/c/d", None),
        ] {
            assert_eq!(
                platform_of(text).ok().map(|platform| platform.to_string()).as_deref(),
                want,
                "{text}"
            );
        }
    }
}
