//! Removing what is not used: images, and what builds have kept.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::images::names;
use crate::base::{time, truth};
use crate::engine::build::prune::{KeptFilter, PruneBuilds};
use crate::engine::filter::{self, Filters};

/// `POST /images/prune`.
pub(crate) fn images(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let (all, texts) = split(exchange.filters()?)?;
    let pruned = exchange.engine()?.prune_images(all, &Filters::parse(&texts, filter::PRUNE)?)?;
    let documents: Vec<_> = pruned.removed.iter().flat_map(names::told).collect();
    let documents = if documents.is_empty() { serde_json::Value::Null } else { documents.into() };
    Ok(Answer::ok(json!({"ImagesDeleted": documents, "SpaceReclaimed": pruned.bytes})))
}

/// `dangling=false` means all; the rest are filters of the engine.
fn split(filters: Vec<(String, String)>) -> Result<(bool, Vec<String>), Fault> {
    let mut all = false;
    let mut rest = Vec::new();
    for (key, value) in filters {
        if key == "dangling" {
            let truth = truth::parse(&value);
            all = !truth.ok_or_else(|| Fault::new(400, format!("invalid filter 'dangling=[{value}]'")))?;
        } else {
            rest.push(format!("{key}={value}"));
        }
    }
    Ok((all, rest))
}

/// `POST /build/prune`.
pub(crate) fn builds(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let keep = ["keep-storage", "reserved-space"].iter().find_map(|key| exchange.query(key));
    let keep_bytes = keep
        .filter(|text| !matches!(*text, "" | "0"))
        .map(|text| text.parse().map_err(|_| Fault::new(400, format!("{text:?} is no number of bytes"))))
        .transpose()?;
    let mut how = kept_filters(exchange.filters()?)?;
    how.all = exchange.flag("all");
    how.keep_bytes = keep_bytes;
    let pruned = exchange.engine()?.prune_builds(how)?;
    Ok(Answer::ok(json!({"CachesDeleted": pruned.removed, "SpaceReclaimed": pruned.bytes})))
}

fn kept_filters(filters: Vec<(String, String)>) -> Result<PruneBuilds, Fault> {
    let mut how = PruneBuilds::default();
    for (key, value) in filters {
        if matches!(key.as_str(), "until" | "unused-for") {
            let when = time::parse_when(&value, Timestamp::now(), &TimeZone::system());
            how.unused_since = Some(when.map_err(|err| Fault::new(400, err.to_string()))?);
        } else {
            how.filters.push(KeptFilter::parse(&format!("{key}={value}"))?);
        }
    }
    Ok(how)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dangling_and_the_rest() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let (all, rest) = split(vec![pair("dangling", "false"), pair("label", "a=b")]).unwrap();
        assert_eq!((all, rest), (true, vec!["label=a=b".to_owned()]));
        assert!(!split(vec![]).unwrap().0 && !split(vec![pair("dangling", "1")]).unwrap().0);
        assert!(split(vec![pair("dangling", "x")]).is_err());
        assert!(kept_filters(vec![pair("until", "24h"), pair("type", "regular")]).is_ok());
        assert!(kept_filters(vec![pair("nosuch", "x")]).is_err());
    }
}
