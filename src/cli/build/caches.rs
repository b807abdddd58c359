//! `--cache-from` and `--cache-to`: lists of fields between commas, as buildx reads them.

use clap::Args;

use crate::base::{csv, time};
use crate::cli::build::exports::without_tag;
use crate::engine::build::cache::{CachePlace, CacheTarget};
use crate::engine::build::request::BuildRequest;
use crate::engine::{Error, Result};

/// The tag of a cache in a repository for which no tag was typed: no image has it.
const CACHE_TAG: &str = "ketch-cache";

/// The cache of steps.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheFlags {
    /// A cache to take steps from: a repository, type=registry,ref=IMAGE or type=local,src=DIRECTORY (can be repeated)
    #[arg(long, value_name = "CACHE")]
    cache_from: Vec<String>,

    /// Where to keep the steps: a repository, type=inline, type=registry,ref=IMAGE or type=local,dest=DIRECTORY, each with mode=max for all stages (can be repeated)
    #[arg(long, value_name = "CACHE")]
    cache_to: Vec<String>,

    /// Take no steps that were done longer ago, like 24h; 0 for none at all
    #[arg(long, value_name = "DURATION")]
    cache_ttl: Option<String>,

    /// Do every step anew
    #[arg(long)]
    no_cache: bool,

    /// Build this stage anew (can be repeated)
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
}

impl CacheFlags {
    /// Puts these flags' part into a request.
    pub(super) fn fill(&self, request: &mut BuildRequest) -> Result<()> {
        request.no_cache = self.no_cache;
        request.no_cache_filter.clone_from(&self.no_cache_filter);
        if let Some(text) = &self.cache_ttl {
            let ttl =
                time::parse_duration(text).map_err(|err| Error::invalid(format!("--cache-ttl: {err}")))?;
            request.no_cache |= ttl.is_zero();
            request.cache_ttl = Some(ttl);
        }
        for text in &self.cache_from {
            match absent_service("--cache-from", text)? {
                Some(note) => request.notes.push(note),
                None => request.cache_from.extend(cache_from(text)?),
            }
        }
        for text in &self.cache_to {
            match absent_service("--cache-to", text)? {
                Some(note) => request.notes.push(note),
                None => {
                    let (target, note) = cache_to(text)?;
                    request.cache_to.push(target);
                    request.notes.extend(note);
                }
            }
        }
        // What Docker's scripts say for type=inline.
        if request.args.get("BUILDKIT_INLINE_CACHE").is_some_and(|value| value == "1") {
            request.cache_to.push(CacheTarget { place: None, all_stages: false, may_fail: false });
        }
        Ok(())
    }
}

/// The variable by which GitHub Actions says that its cache is there.
const GITHUB: &str = "ACTIONS_RUNTIME_TOKEN";

/// Caches of services: GitHub's is passed over elsewhere than there, as buildx does, and that is told.
///
/// # Errors
///
/// [`Kind::Unsupported`](crate::engine::Kind::Unsupported) for a service that is there and not known here.
fn absent_service(flag: &str, text: &str) -> Result<Option<String>> {
    let fields = csv::fields(text);
    let kind = fields.iter().find_map(|field| field.strip_prefix("type=")).unwrap_or_default();
    if !["gha", "s3", "azblob"].contains(&kind) {
        return Ok(None);
    }
    let may_fail = fields.iter().any(|field| field == "ignore-error=true");
    if kind == "gha" && crate::engine::config::variable_of_caller(GITHUB.as_ref()).is_none() {
        return Ok(Some(format!(
            "{flag} type=gha is passed over: this is not GitHub Actions ({GITHUB} is not set)"
        )));
    }
    let message = format!("{flag}: ketch keeps no caches of type {kind:?}");
    if may_fail {
        return Ok(Some(message));
    }
    Err(Error::new(crate::engine::Kind::Unsupported, message).hint(
        "use type=registry,ref=IMAGE, or type=local,dest=DIRECTORY with a step that keeps the directory",
    ))
}

/// Fields of `--cache-from` and `--cache-to`.
#[derive(Default)]
struct Fields {
    kind: String,
    reference: Option<String>,
    directory: Option<String>,
    all_stages: bool,
    may_fail: bool,
    /// What was wished for the layers, which go as they are.
    compression: Option<String>,
}

impl Fields {
    fn read(flag: &str, text: &str, directory_key: &str) -> Result<Self> {
        let mut fields = Self::default();
        for field in csv::fields(text) {
            let (key, value) = field.split_once('=').unwrap_or((&field, ""));
            match key {
                "type" => value.clone_into(&mut fields.kind),
                "ref" => fields.reference = Some(value.to_owned()),
                "mode" if matches!(value, "min" | "max") => fields.all_stages = value == "max",
                "ignore-error" => fields.may_fail = value == "true",
                // Such is every cache that is written here.
                "image-manifest" | "oci-mediatypes" if directory_key == "dest" && value == "true" => {}
                "compression" if directory_key == "dest" => {
                    fields.compression = (value != "gzip").then(|| field.clone());
                }
                "compression-level" | "force-compression" if directory_key == "dest" => {
                    fields.compression = Some(field.clone());
                }
                key if key == directory_key => fields.directory = Some(value.to_owned()),
                _ => {
                    return Err(Error::invalid(format!("{flag} {text:?}: {field:?} is not known"))
                        .hint(format!("known are type, ref, mode, ignore-error and {directory_key}")));
                }
            }
        }
        Ok(fields)
    }

    fn place(&self, flag: &str, text: &str) -> Result<CachePlace> {
        let missing = |key: &str| Error::invalid(format!("{flag} {text:?}: it needs {key}=…"));
        match self.kind.as_str() {
            "registry" => Ok(CachePlace::Registry(self.reference.clone().ok_or_else(|| missing("ref"))?)),
            "local" => Ok(CachePlace::Directory(
                self.directory.clone().ok_or_else(|| missing("src or dest"))?.into(),
            )),
            other => Err(Error::new(
                crate::engine::Kind::Unsupported,
                format!("{flag}: caches of type {other:?} are not known"),
            )
            .hint("known are registry, local and inline")),
        }
    }
}

fn cache_from(text: &str) -> Result<Vec<CachePlace>> {
    if !text.contains('=') {
        let mut places = Vec::new();
        if without_tag(text) {
            places.push(CachePlace::Registry(format!("{text}:{CACHE_TAG}")));
        }
        places.push(CachePlace::Registry(text.to_owned()));
        return Ok(places);
    }
    Ok(vec![Fields::read("--cache-from", text, "src")?.place("--cache-from", text)?])
}

fn cache_to(text: &str) -> Result<(CacheTarget, Option<String>)> {
    if !text.contains('=') {
        let name = if without_tag(text) { format!("{text}:{CACHE_TAG}") } else { text.to_owned() };
        let place = Some(CachePlace::Registry(name));
        return Ok((CacheTarget { place, all_stages: true, may_fail: false }, None));
    }
    let fields = Fields::read("--cache-to", text, "dest")?;
    let place = if fields.kind == "inline" { None } else { Some(fields.place("--cache-to", text)?) };
    let note = fields.compression.map(|field| {
        format!("--cache-to: {field} is passed over: the layers of a cache go as they are in the store")
    });
    Ok((CacheTarget { place, all_stages: fields.all_stages, may_fail: fields.may_fail }, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches() {
        let registry = |name: &str| CachePlace::Registry(name.to_owned());
        assert_eq!(cache_from("r:5000/a").unwrap(), [registry("r:5000/a:ketch-cache"), registry("r:5000/a")]);
        assert_eq!(cache_from("r/a:1").unwrap(), [registry("r/a:1")]);
        assert_eq!(cache_from("type=local,src=d").unwrap(), [CachePlace::Directory("d".into())]);
        let to = cache_to("type=registry,ref=r/a:c,mode=max,ignore-error=true").unwrap().0;
        assert_eq!(to, CacheTarget { place: Some(registry("r/a:c")), all_stages: true, may_fail: true });
        assert_eq!(cache_to("type=inline").unwrap().0.place, None);
        assert_eq!(cache_to("r/a").unwrap().0.place, Some(registry("r/a:ketch-cache")));
        for text in ["type=gha", "type=local", "type=registry", "type=local,src=x,wrong=1"] {
            assert!(cache_to(text).is_err(), "{text}");
        }
        // As guides for ECR and others write it.
        let (to, note) = cache_to(
            "type=registry,ref=r/a:c,mode=max,image-manifest=true,oci-mediatypes=true,compression=gzip",
        )
        .unwrap();
        assert_eq!((to.place, note), (Some(registry("r/a:c")), None));
        let (_, note) = cache_to("type=registry,ref=r/a:c,compression=zstd").unwrap();
        assert!(note.unwrap().contains("compression=zstd is passed over"));
        for text in ["type=registry,ref=r/a:c,image-manifest=false", "type=local,dest=d,oci-mediatypes=false"]
        {
            assert!(cache_to(text).is_err(), "{text}");
        }
        assert!(cache_from("type=registry,ref=r/a:c,image-manifest=true").is_err());
    }
}
