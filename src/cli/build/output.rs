//! `--output`, `--cache-from` and `--cache-to`: lists of fields between commas, as buildx reads them.

use std::path::PathBuf;

use clap::Args;

use crate::base::{csv, time};
use crate::engine::build::cache::{CachePlace, CacheTarget};
use crate::engine::build::request::{BuildRequest, Output};
use crate::engine::save::SaveFormat;
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
                None => request.cache_to.push(cache_to(text)?),
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

/// A repository that was typed without a tag.
fn without_tag(text: &str) -> bool {
    !text.contains('@') && !text.rsplit('/').next().unwrap_or_default().contains(':')
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

fn cache_to(text: &str) -> Result<CacheTarget> {
    if !text.contains('=') {
        let name = if without_tag(text) { format!("{text}:{CACHE_TAG}") } else { text.to_owned() };
        let place = Some(CachePlace::Registry(name));
        return Ok(CacheTarget { place, all_stages: true, may_fail: false });
    }
    let fields = Fields::read("--cache-to", text, "dest")?;
    let place = if fields.kind == "inline" { None } else { Some(fields.place("--cache-to", text)?) };
    Ok(CacheTarget { place, all_stages: fields.all_stages, may_fail: fields.may_fail })
}

/// Reads `--output`: a directory, `-`, or `type=…,dest=…`; also whether the image is to be pushed.
pub(super) fn output(text: &str) -> Result<(Output, Option<String>, bool)> {
    let at = |dest: &str| if dest == "-" { PathBuf::from("/dev/stdout") } else { PathBuf::from(dest) };
    if !text.contains('=') {
        return Ok(if text == "-" {
            (Output::Tar(at(text)), None, false)
        } else {
            (Output::Local(at(text)), None, false)
        });
    }
    let (mut kind, mut dest, mut name, mut push, mut tar) = (String::new(), None, None, false, true);
    for field in csv::fields(text) {
        let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
        match key {
            "type" => value.clone_into(&mut kind),
            "dest" => dest = Some(value.to_owned()),
            "name" => name = Some(value.to_owned()),
            "push" => push = value == "true",
            "tar" => tar = value == "true",
            "load" | "store" => {}
            other => return Err(Error::invalid(format!("--output {text:?}: {other:?} is not known"))),
        }
    }
    let needs = || Error::invalid(format!("--output {text:?}: it needs dest=PATH"));
    let output = match (kind.as_str(), dest) {
        ("local", dest) => Output::Local(at(&dest.ok_or_else(needs)?)),
        ("tar", dest) => Output::Tar(at(dest.as_deref().unwrap_or("-"))),
        ("image" | "registry", None) | ("docker", None) => Output::Image,
        ("docker", Some(dest)) => Output::Saved(at(&dest), SaveFormat::DockerArchive),
        ("oci", Some(dest)) if !tar => Output::Saved(at(&dest), SaveFormat::OciDir),
        ("oci", dest) => Output::Saved(at(dest.as_deref().unwrap_or("-")), SaveFormat::OciArchive),
        ("image" | "registry", Some(_)) => {
            return Err(Error::invalid(format!(
                "--output {text:?}: an image goes to the store, not to a file"
            ))
            .hint("for a file write type=oci or type=docker"));
        }
        ("cacheonly", _) => Output::Discard,
        (other, _) => {
            return Err(Error::invalid(format!("--output: unknown type {other:?}"))
                .hint("known are local, tar, image, docker, oci, registry and cacheonly"));
        }
    };
    Ok((output, name, push || kind == "registry"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        for (text, want) in [
            ("out", (Output::Local("out".into()), false)),
            ("-", (Output::Tar("/dev/stdout".into()), false)),
            ("type=local,dest=a", (Output::Local("a".into()), false)),
            ("type=tar,dest=a.tar", (Output::Tar("a.tar".into()), false)),
            ("type=docker", (Output::Image, false)),
            ("type=docker,dest=d", (Output::Saved("d".into(), SaveFormat::DockerArchive), false)),
            ("type=oci,dest=d", (Output::Saved("d".into(), SaveFormat::OciArchive), false)),
            ("type=oci,dest=d,tar=false", (Output::Saved("d".into(), SaveFormat::OciDir), false)),
            ("type=image,push=true", (Output::Image, true)),
            ("type=registry", (Output::Image, true)),
            ("type=cacheonly", (Output::Discard, false)),
        ] {
            let (output, _, push) = output(text).unwrap();
            assert_eq!((output, push), want, "{text}");
        }
        for text in ["type=local", "type=x", "dest=a", "type=image,wrong=1", "type=image,dest=x"] {
            assert!(output(text).is_err(), "{text}");
        }
    }

    #[test]
    fn caches() {
        let registry = |name: &str| CachePlace::Registry(name.to_owned());
        assert_eq!(cache_from("r:5000/a").unwrap(), [registry("r:5000/a:ketch-cache"), registry("r:5000/a")]);
        assert_eq!(cache_from("r/a:1").unwrap(), [registry("r/a:1")]);
        assert_eq!(cache_from("type=local,src=d").unwrap(), [CachePlace::Directory("d".into())]);
        let to = cache_to("type=registry,ref=r/a:c,mode=max,ignore-error=true").unwrap();
        assert_eq!(to, CacheTarget { place: Some(registry("r/a:c")), all_stages: true, may_fail: true });
        assert_eq!(cache_to("type=inline").unwrap().place, None);
        assert_eq!(cache_to("r/a").unwrap().place, Some(registry("r/a:ketch-cache")));
        for text in ["type=gha", "type=local", "type=registry", "type=local,src=x,wrong=1"] {
            assert!(cache_to(text).is_err(), "{text}");
        }
    }
}
