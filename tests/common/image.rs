//! A small builder of images: layers as tar streams, a configuration, a manifest, in OCI's or Docker's words.
//!
//! It shares no code with ketch on purpose: both have to agree with the specifications, not with each other.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Sandbox;
use super::faults::Content;

/// `sha256:…` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A tar stream in the making. Owner and time hold for the entries that follow.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    tar: Vec<u8>,
    uid: u64,
    gid: u64,
    mtime: u64,
}

impl Layer {
    /// An empty layer whose entries belong to 0:0 and date from 2023.
    pub(crate) fn new() -> Self {
        Layer { mtime: 1_700_000_000, ..Layer::default() }
    }

    /// The owner of what follows.
    pub(crate) fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    pub(crate) fn dir(self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.entry(path.as_ref(), b'5', mode, b"", &[])
    }

    pub(crate) fn file(self, path: impl AsRef<Path>, mode: u32, contents: impl AsRef<[u8]>) -> Self {
        self.entry(path.as_ref(), b'0', mode, b"", contents.as_ref())
    }

    pub(crate) fn symlink(self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.entry(path.as_ref(), b'2', 0o777, target.as_ref().as_os_str().as_bytes(), &[])
    }

    /// A further name of `target`, a path in the same layer.
    pub(crate) fn hardlink(self, path: impl AsRef<Path>, target: impl AsRef<Path>) -> Self {
        self.entry(path.as_ref(), b'1', 0o644, target.as_ref().as_os_str().as_bytes(), &[])
    }

    pub(crate) fn fifo(self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.entry(path.as_ref(), b'6', mode, b"", &[])
    }

    /// A character device node 1:3, /dev/null.
    pub(crate) fn device(self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.entry(path.as_ref(), b'3', mode, b"", &[])
    }

    /// Removes `path` of the layers below.
    pub(crate) fn whiteout(self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let name = path.file_name().expect("a whiteout has a name").to_string_lossy().into_owned();
        self.file(path.with_file_name(format!(".wh.{name}")), 0o644, "")
    }

    /// Hides all that the layers below hold in the directory `path`.
    pub(crate) fn opaque(self, path: impl AsRef<Path>) -> Self {
        self.file(path.as_ref().join(".wh..wh..opq"), 0o644, "")
    }

    /// Extended attributes of the entry that follows, as PAX records (`SCHILY.xattr.…`).
    pub(crate) fn xattrs(mut self, attributes: &[(&str, &[u8])]) -> Self {
        let mut records = Vec::new();
        for (name, value) in attributes {
            records.extend(pax_record(format!("SCHILY.xattr.{name}").as_bytes(), value));
        }
        self.raw_entry(b"./PaxHeaders/next", b'x', 0o644, b"", &records);
        self
    }

    /// Any entry at all: hostile ones need it.
    pub(crate) fn entry(mut self, path: &Path, kind: u8, mode: u32, link: &[u8], data: &[u8]) -> Self {
        let name = path.as_os_str().as_bytes();
        let mut records = Vec::new();
        if name.len() > 99 {
            records.extend(pax_record(b"path", name));
        }
        if link.len() > 99 {
            records.extend(pax_record(b"linkpath", link));
        }
        if self.uid > 0o7777777 {
            records.extend(pax_record(b"uid", self.uid.to_string().as_bytes()));
        }
        if self.gid > 0o7777777 {
            records.extend(pax_record(b"gid", self.gid.to_string().as_bytes()));
        }
        if !records.is_empty() {
            self.raw_entry(b"./PaxHeaders/long", b'x', 0o644, b"", &records);
        }
        self.raw_entry(name, kind, mode, link, data);
        self
    }

    /// Real files of this machine below `from`, which get the paths below `to`, as far as the caller may read them.
    pub(crate) fn tree(mut self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Self {
        let (from, to) = (from.as_ref(), to.as_ref());
        let Ok(meta) = fs::symlink_metadata(from) else { return self };
        let mode = meta.permissions().mode() & 0o7777;
        self.mtime = u64::try_from(meta.mtime()).unwrap_or(0);
        if meta.is_symlink() {
            return self.symlink(to, fs::read_link(from).expect("read a link"));
        }
        if meta.is_file() {
            return match fs::read(from) {
                Ok(contents) => self.file(to, mode, contents),
                Err(_) => self,
            };
        }
        if !meta.is_dir() {
            return self;
        }
        self = self.dir(to, mode);
        let Ok(entries) = fs::read_dir(from) else { return self };
        let mut names: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort();
        for name in names {
            self = self.tree(from.join(&name), to.join(&name));
        }
        self
    }

    /// One ustar header with its data; numbers and names that do not fit are cut, see [`Layer::entry`].
    fn raw_entry(&mut self, name: &[u8], kind: u8, mode: u32, link: &[u8], data: &[u8]) {
        let mut header = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8], most: usize| {
            let bytes = &bytes[..bytes.len().min(most)];
            header[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, name, 100);
        put(100, format!("{mode:07o}\0").as_bytes(), 8);
        put(108, format!("{:07o}\0", self.uid & 0o7777777).as_bytes(), 8);
        put(116, format!("{:07o}\0", self.gid & 0o7777777).as_bytes(), 8);
        put(124, format!("{:011o}\0", data.len()).as_bytes(), 12);
        put(136, format!("{:011o}\0", self.mtime).as_bytes(), 12);
        put(148, b"        ", 8);
        put(156, &[kind], 1);
        put(157, link, 100);
        put(257, b"ustar\x0000", 8);
        if kind == b'3' || kind == b'4' {
            put(329, b"0000001\0", 8);
            put(337, b"0000003\0", 8);
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.tar.extend_from_slice(&header);
        self.tar.extend_from_slice(data);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
    }

    /// The whole tar stream.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut tar = self.tar.clone();
        tar.resize(tar.len() + 1024, 0);
        tar
    }

    /// Unpacks it with the machine's tar, all files owned by the caller.
    pub(crate) fn unpack_plainly(&self, to: &Path) {
        let mut tar = std::process::Command::new("tar")
            .args(["--extract", "--no-same-owner", "--directory"])
            .arg(to)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("start tar");
        tar.stdin.take().expect("its input is a pipe").write_all(&self.finish()).expect("feed tar");
        assert!(tar.wait().expect("wait for tar").success(), "tar -x");
    }
}

/// One record of a PAX header: `length key=value\n`, the length counting itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    let mut record = format!("{length} ").into_bytes();
    record.extend_from_slice(key);
    record.push(b'=');
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

/// How a layer is packed for transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Whose media types the manifest uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Oci,
    Docker,
}

/// An image in the making.
#[derive(Debug)]
pub(crate) struct Image {
    layers: Vec<(Layer, Compression)>,
    config: BTreeMap<String, Value>,
    env: Vec<String>,
    labels: BTreeMap<String, String>,
    architecture: String,
    os: String,
    variant: Option<String>,
    format: Format,
}

impl Image {
    /// An image without layers for the machine the tests run on.
    pub(crate) fn new() -> Self {
        Image {
            layers: Vec::new(),
            config: BTreeMap::new(),
            env: Vec::new(),
            labels: BTreeMap::new(),
            architecture: "amd64".into(),
            os: "linux".into(),
            variant: None,
            format: Format::Oci,
        }
    }

    pub(crate) fn layer(mut self, layer: Layer, compression: Compression) -> Self {
        self.layers.push((layer, compression));
        self
    }

    pub(crate) fn env(mut self, variable: &str) -> Self {
        self.env.push(variable.into());
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    pub(crate) fn cmd<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Self {
        let words: Vec<_> = words.into_iter().collect();
        self.set("Cmd", json!(words))
    }

    pub(crate) fn entrypoint<'a>(self, words: impl IntoIterator<Item = &'a str>) -> Self {
        let words: Vec<_> = words.into_iter().collect();
        self.set("Entrypoint", json!(words))
    }

    /// Any other key of the configuration's `config`: `User`, `WorkingDir`, `Volumes`, `ExposedPorts`, `StopSignal` …
    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.into(), value);
        self
    }

    pub(crate) fn platform(mut self, os: &str, architecture: &str, variant: Option<&str>) -> Self {
        (self.os, self.architecture, self.variant) =
            (os.into(), architecture.into(), variant.map(str::to_owned));
        self
    }

    pub(crate) fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Packs the layers and computes everything's digests.
    pub(crate) fn build(&self) -> Built {
        let tars: Vec<Vec<u8>> = self.layers.iter().map(|(layer, _)| layer.finish()).collect();
        let layers: Vec<Blob> =
            self.layers.iter().zip(&tars).map(|((_, how), tar)| self.pack(tar, *how)).collect();
        let mut config = self.config.clone();
        config.insert("Env".into(), json!(self.env));
        config.insert("Labels".into(), json!(self.labels));
        let mut document = json!({
            "created": "2024-02-03T04:05:06.789Z", "architecture": self.architecture, "os": self.os, "config": config,
            "rootfs": {"type": "layers", "diff_ids": tars.iter().map(|tar| digest(tar)).collect::<Vec<_>>()},
            "history": self.layers.iter().enumerate().map(|(n, _)| json!({"created": "2024-02-03T04:05:06Z", "created_by": format!("layer {n}")})).collect::<Vec<_>>(),
        });
        if let Some(variant) = &self.variant {
            document["variant"] = json!(variant);
        }
        let (config_type, manifest_type) = match self.format {
            Format::Oci => {
                ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.manifest.v1+json")
            }
            Format::Docker => (
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.distribution.manifest.v2+json",
            ),
        };
        let config = Blob { media_type: config_type.into(), bytes: document.to_string().into_bytes() };
        let manifest = manifest(manifest_type, &config, &layers);
        let platform = json!({"os": self.os, "architecture": self.architecture});
        Built { manifest, config, layers, platform, format: self.format }
    }

    fn pack(&self, tar: &[u8], compression: Compression) -> Blob {
        let media_type = match (self.format, compression) {
            (Format::Oci, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (Format::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Format::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Format::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (Format::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Format::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        };
        let bytes = match compression {
            Compression::None => tar.to_vec(),
            Compression::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(tar).expect("write to memory");
                gzip.finish().expect("write to memory")
            }
            Compression::Zstd => zstd::encode_all(tar, 1).expect("write to memory"),
        };
        Blob { media_type: media_type.into(), bytes }
    }
}

/// Bytes with their media type, as a registry keeps them.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
}

impl Blob {
    pub(crate) fn digest(&self) -> String {
        digest(&self.bytes)
    }

    /// The descriptor that points at it.
    pub(crate) fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.bytes.len()})
    }
}

/// A manifest over a configuration and layers.
pub(crate) fn manifest(media_type: &str, config: &Blob, layers: &[Blob]) -> Blob {
    let document = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config.descriptor(),
        "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
    });
    Blob { media_type: media_type.into(), bytes: document.to_string().into_bytes() }
}

/// A finished image.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) manifest: Blob,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
    platform: Value,
    format: Format,
}

impl Built {
    /// The image ID: the digest of its configuration.
    pub(crate) fn id(&self) -> String {
        self.config.digest()
    }

    /// All of it as `a/b:1`, for a registry that misbehaves.
    pub(crate) fn content(&self) -> Content {
        let mut content = Content::default();
        for blob in self.layers.iter().chain([&self.config]) {
            content.blob("a/b", &blob.bytes);
        }
        content.manifest("a/b", "1", &self.manifest.media_type, &self.manifest.bytes);
        content
    }
}

/// An image whose only file is `mark`, which holds `mark`.
pub(crate) fn marked(mark: &str) -> Built {
    Image::new().layer(Layer::new().file("mark", 0o644, mark), Compression::Gzip).build()
}

/// An image for linux on `arch`, whose only file says so.
pub(crate) fn of_architecture(arch: &str) -> Built {
    let layer = Layer::new().file("arch", 0o644, format!("{arch}\n"));
    Image::new().layer(layer, Compression::Gzip).platform("linux", arch, None).build()
}

/// Writes images as an OCI layout into the directory `dir` of the sandbox. What has the name there is `top`: the manifest of one of them,
/// or an index.
pub(crate) fn write_layout(sandbox: &Sandbox, dir: &str, images: &[&Built], top: &Blob, name: &str) {
    let blobs = images.iter().flat_map(|image| image.layers.iter().chain([&image.config, &image.manifest]));
    for blob in blobs.chain([top]) {
        sandbox.write(format!("{dir}/blobs/sha256/{}", &blob.digest()[7..]), &blob.bytes);
    }
    let mut entry = top.descriptor();
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    sandbox.write(format!("{dir}/index.json"), index.to_string());
    sandbox.write(format!("{dir}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
}

/// An index (manifest list) of images for several platforms.
pub(crate) fn index(images: &[&Built]) -> Blob {
    let media_type = match images.first().map(|image| image.format) {
        Some(Format::Docker) => "application/vnd.docker.distribution.manifest.list.v2+json",
        _ => "application/vnd.oci.image.index.v1+json",
    };
    let manifests: Vec<Value> = images
        .iter()
        .map(|image| {
            let mut descriptor = image.manifest.descriptor();
            descriptor["platform"] = image.platform.clone();
            descriptor
        })
        .collect();
    let document = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    Blob { media_type: media_type.into(), bytes: document.to_string().into_bytes() }
}
