//! `--output`: what becomes of a result, in buildx's fields between commas.
//!
//! ```text
//! type=local|tar|oci|docker|image|registry|cacheonly,dest=PATH      where to
//! name=A,push=true,push-by-digest=true,registry.insecure=true       under which name, and to a registry
//! compression=zstd,compression-level=9,force-compression=true       how layers leave
//! annotation.KEY=VALUE,annotation-index.KEY=VALUE                   what is said of the image
//! ```

use std::path::{Path, PathBuf};

use crate::base::csv;
use crate::base::manifest::Form;
use crate::engine::build::request::Output;
use crate::engine::push::{LayerFormat, Wishes};
use crate::engine::save::SaveFormat;
use crate::engine::{Error, Result};

/// What one `--output` asks for.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) output: Output,
    /// Names of the image beside those of `--tag`.
    pub(super) names: Vec<String>,
    /// Annotations as `--annotation` has them: `index:KEY`, or KEY alone.
    pub(super) annotations: Vec<(String, String)>,
    /// Layers are kept as they are.
    pub(super) uncompressed: bool,
    /// A directory for each platform, or all platforms in one; `None`: only where several are built.
    pub(super) split: Option<bool>,
    pub(super) delivery: Delivery,
}

/// How an image leaves the store.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivery {
    /// To the registries of its names.
    pub(super) push: bool,
    /// To these repositories, without a tag.
    pub(super) by_digest: Vec<String>,
    /// Registries may have no TLS, or certificates of nobody.
    pub(super) insecure: bool,
    pub(super) wishes: Wishes,
    /// With whose media types; `None`: nothing was said.
    pub(super) form: Option<Form>,
}

impl Delivery {
    /// True if layers are to be other than they are here.
    pub(super) fn changes(&self) -> bool {
        self.wishes.compression.is_some() || self.wishes.force
    }

    /// Adds what a further `--output` says.
    pub(super) fn extend(&mut self, other: Self) {
        self.push |= other.push;
        self.by_digest.extend(other.by_digest);
        self.insecure |= other.insecure;
        self.wishes.compression = other.wishes.compression.or(self.wishes.compression);
        self.wishes.level = other.wishes.level.or(self.wishes.level);
        self.wishes.force |= other.wishes.force;
        self.form = other.form.or(self.form);
    }
}

/// The fields as they are read.
#[derive(Debug, Default)]
struct Fields {
    kind: String,
    dest: Option<String>,
    names: Vec<String>,
    push: bool,
    by_digest: bool,
    insecure: bool,
    tar: Option<bool>,
    oci_types: Option<bool>,
    split: Option<bool>,
    compression: Option<LayerFormat>,
    uncompressed: bool,
    level: Option<i32>,
    force: bool,
    annotations: Vec<(String, String)>,
}

/// Fields that say of an image what ketch does anyway: it is stored and unpacked, its name has its digest beside
/// it once it was pushed, and with a time no file is younger.
const ALWAYS: [&str; 5] = ["load", "store", "unpack", "name-canonical", "rewrite-timestamp"];

impl Fields {
    fn read(text: &str) -> Result<Self> {
        let mut fields = Self::default();
        for field in csv::fields(text) {
            let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
            fields.take(key, value).map_err(|why| Error::invalid(format!("--output {text:?}: {why}")))?;
        }
        Ok(fields)
    }

    fn take(&mut self, key: &str, value: &str) -> std::result::Result<(), String> {
        let truth = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{key}={value:?}: write true or false")),
        };
        match key {
            "type" => value.clone_into(&mut self.kind),
            "dest" => self.dest = Some(value.to_owned()),
            "name" => {
                self.names.extend(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            }
            "push" => self.push = truth()?,
            "push-by-digest" => self.by_digest = truth()?,
            "registry.insecure" => self.insecure = truth()?,
            "tar" => self.tar = Some(truth()?),
            "oci-mediatypes" => self.oci_types = Some(truth()?),
            "platform-split" => self.split = Some(truth()?),
            "force-compression" => self.force = truth()?,
            "compression" => match value {
                "gzip" => self.compression = Some(LayerFormat::Gzip),
                "zstd" => self.compression = Some(LayerFormat::Zstd),
                "uncompressed" => self.uncompressed = true,
                _ => return Err(format!("compression={value:?}: choose from gzip, zstd, uncompressed")),
            },
            "compression-level" => {
                self.level = Some(value.parse().map_err(|_| format!("{key}={value:?}: write a number"))?);
            }
            _ if ALWAYS.contains(&key) => {
                if !truth()? && key == "store" {
                    return Err("store=false: what ketch builds is in its store".to_owned());
                }
            }
            _ => match key.strip_prefix("annotation") {
                Some(rest) => self.annotations.push((annotation(key, rest)?, value.to_owned())),
                None => return Err(format!("{key:?} is not known")),
            },
        }
        Ok(())
    }

    /// Where the result goes.
    fn output(&self, text: &str) -> Result<Output> {
        let needs = || Error::invalid(format!("--output {text:?}: it needs dest=PATH"));
        Ok(match (self.kind.as_str(), self.dest.as_deref()) {
            ("local", dest) => Output::Local(at(dest.ok_or_else(needs)?)),
            ("tar", dest) => Output::Tar(at(dest.unwrap_or("-"))),
            ("image" | "registry", None) | ("docker", None) => Output::Image,
            ("docker", Some(dest)) => Output::Saved(at(dest), SaveFormat::DockerArchive),
            ("oci", Some(dest)) if self.tar == Some(false) => Output::Saved(at(dest), SaveFormat::OciDir),
            ("oci", dest) => Output::Saved(at(dest.unwrap_or("-")), SaveFormat::OciArchive),
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
        })
    }
}

/// `annotation.KEY`, `annotation-manifest.KEY`, `annotation-index.KEY` as `--annotation` has them.
fn annotation(key: &str, rest: &str) -> std::result::Result<String, String> {
    let bad = || format!("{key:?} is not known");
    let (of, name) = rest.split_once('.').filter(|(_, name)| !name.is_empty()).ok_or_else(bad)?;
    match of.strip_prefix('-') {
        None if of.is_empty() => Ok(name.to_owned()),
        Some(of) => Ok(format!("{of}:{name}")),
        None => Err(bad()),
    }
}

fn at(dest: &str) -> PathBuf {
    if dest == "-" { PathBuf::from("/dev/stdout") } else { PathBuf::from(dest) }
}

/// Reads `--output`: a directory, `-`, or fields.
pub(super) fn read(text: &str) -> Result<Export> {
    let fields = match text {
        "-" => Fields { kind: "tar".to_owned(), ..Fields::default() },
        _ if !text.contains('=') => {
            Fields { kind: "local".to_owned(), dest: Some(text.to_owned()), ..Fields::default() }
        }
        _ => Fields::read(text)?,
    };
    let output = fields.output(text)?;
    let wrong = |why: &str| Err(Error::invalid(format!("--output {text:?}: {why}")));
    let wishes = Wishes {
        compression: fields.compression,
        level: fields.level,
        force: fields.force,
        ..Wishes::default()
    };
    let push = fields.push || fields.kind == "registry";
    let form = fields.oci_types.map(|oci| if oci { Form::Oci } else { Form::Docker });
    let mut delivery = Delivery { push, by_digest: vec![], insecure: fields.insecure, wishes, form };
    // gzip is what layers have here.
    let anew = fields.force || fields.compression == Some(LayerFormat::Zstd);
    match &output {
        Output::Saved(_, SaveFormat::DockerArchive) if anew => {
            return wrong("Docker's archives hold layers as they are; write type=oci");
        }
        Output::Saved(path, _) if anew && path == Path::new("/dev/stdout") => {
            return wrong("what is compressed anew needs dest=FILE");
        }
        Output::Saved(_, SaveFormat::OciArchive | SaveFormat::OciDir) if fields.oci_types == Some(false) => {
            return wrong("an OCI layout has OCI's media types");
        }
        _ => {}
    }
    let mut names = fields.names;
    if fields.by_digest {
        if let Some(tagged) = names.iter().find(|name| !without_tag(name)) {
            return wrong(&format!("can't push tagged ref {tagged} by digest"));
        }
        if !push || names.is_empty() {
            return wrong("push-by-digest=true needs push=true and name=REPOSITORY");
        }
        delivery.push = false;
        delivery.by_digest = std::mem::take(&mut names);
    }
    Ok(Export {
        output,
        names,
        annotations: fields.annotations,
        uncompressed: fields.uncompressed,
        split: fields.split,
        delivery,
    })
}

/// A repository that was typed without a tag.
pub(super) fn without_tag(text: &str) -> bool {
    !text.contains('@') && !text.rsplit('/').next().unwrap_or_default().contains(':')
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
            (
                "type=image,oci-mediatypes=true,unpack=true,store=true,rewrite-timestamp=true",
                (Output::Image, false),
            ),
        ] {
            let export = read(text).unwrap();
            assert_eq!((export.output, export.delivery.push), want, "{text}");
        }
        for text in [
            "type=local",
            "type=x",
            "dest=a",
            "type=image,wrong=1",
            "type=image,dest=x",
            "type=image,push=maybe",
            "type=image,compression=estargz",
            "type=image,compression-level=high",
            "type=docker,dest=x,compression=zstd",
            "type=oci,compression=zstd",
            "type=oci,dest=x,oci-mediatypes=false",
            "type=image,store=false",
            "type=image,annotation=x",
            "type=image,push=true,push-by-digest=true",
            "type=image,name=r/a,push-by-digest=true",
            "type=image,name=r/a:1,push=true,push-by-digest=true",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fields_of_images() {
        let text = "type=image,\"name=r:5000/a,r/b:1\",push=true,registry.insecure=true,compression=zstd,\
            compression-level=3,force-compression=true,oci-mediatypes=false,annotation.a.b=c,annotation-index.d=e";
        let export = read(text).unwrap();
        assert_eq!(export.names, ["r:5000/a", "r/b:1"]);
        let Delivery { push, by_digest, insecure, wishes, form } = &export.delivery;
        assert_eq!((*push, by_digest.len(), *insecure, *form), (true, 0, true, Some(Form::Docker)));
        assert_eq!(
            (wishes.compression, wishes.level, wishes.force),
            (Some(LayerFormat::Zstd), Some(3), true)
        );
        assert_eq!((export.uncompressed, export.split), (false, None));
        let said: Vec<_> = export.annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(said, [("a.b", "c"), ("index:d", "e")]);
        let export =
            read("type=image,name=r:5000/a,push=true,push-by-digest=true,name-canonical=true").unwrap();
        assert_eq!((export.names.len(), export.delivery.push), (0, false));
        assert_eq!(export.delivery.by_digest, ["r:5000/a"]);
        assert!(read("type=image,compression=uncompressed").unwrap().uncompressed);
    }
}
