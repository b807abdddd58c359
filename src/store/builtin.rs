//! The built-in image `hello`: nothing but ketch's own static binary.
//!
//! With it the first command a user types runs a real container without a registry. It is an image
//! like any other, `localhost/hello:latest`, with manifest, configuration and layer as blobs; it is made
//! when it is first asked for and made anew when the binary has changed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageName, ImageRef, LOCALHOST};
use crate::base::platform::Platform;
use crate::store::Store;
use crate::store::blobs::{Claim, Partial};
use crate::store::error::{Result, io_error};
use crate::store::images::{IMAGE_VERSION, ImageLayer, ImageRecord, StoredManifest};
use crate::store::layers::{LayerRecord, StagedLayer};
use crate::store::lock::{Exclusive, OnWait};

/// Its repository under `localhost/`.
const NAME: &str = "hello";

/// The label that tells it apart.
const LABEL: &str = "io.ketch.builtin";

/// The field of its record that says which file it was made from.
const MADE_FROM: &str = "made_from";

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// True if a name that was typed can mean the built-in image.
pub(crate) fn is_hello(name: &ImageName) -> bool {
    let here = name.registry().is_none_or(|registry| registry == LOCALHOST);
    here && name.repository() == NAME
        && name.digest().is_none()
        && name.tag().is_none_or(|tag| tag == "latest")
}

/// Its full name.
fn full_name() -> ImageRef {
    format!("{LOCALHOST}/{NAME}:latest").parse().expect("a constant that is a valid name")
}

/// The built-in image, which is made if it is missing, damaged or of another binary than this one.
pub(crate) fn ensure_hello(store: &Store, on_wait: OnWait<'_>) -> Result<ImageRecord> {
    ensure(store, Path::new("/proc/self/exe"), on_wait)
}

fn ensure(store: &Store, binary: &Path, on_wait: OnWait<'_>) -> Result<ImageRecord> {
    let mut file = File::open(binary).map_err(io_error("open", binary))?;
    let meta = file.metadata().map_err(io_error("inspect", binary))?;
    let made_from =
        format!("{}:{}:{}:{}.{}", meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    if let Some(image) = current(store, &made_from) {
        return Ok(image);
    }
    // Held for the tenths of a second that this takes once: nobody makes it twice, and nothing of it is
    // collected before it is referred to.
    let lock = store.lock(on_wait)?;
    if let Some(image) = current(store, &made_from) {
        return Ok(image);
    }
    let created = Timestamp::new(meta.mtime(), 0).unwrap_or(Timestamp::UNIX_EPOCH);
    let header = header(meta.len());
    let padding = vec![0; usize::try_from(meta.len().next_multiple_of(512) - meta.len()).unwrap_or(0) + 1024];
    let digest = digest_of(&mut file, &header, &padding).map_err(io_error("read", binary))?;
    let archive_bytes = header.len() as u64 + meta.len() + padding.len() as u64;
    let record = describe(store, digest, archive_bytes, meta.len(), created, made_from)?;
    let layer = store.layers().stage()?;
    write(store, &mut file, &header, &padding, &layer, digest).map_err(io_error("copy", binary))??;
    let layer_record = LayerRecord {
        version: 1,
        chain_id: digest,
        parent: None,
        diff_id: digest,
        blob: digest,
        blob_bytes: archive_bytes,
        archive_bytes,
        size_bytes: meta.len(),
        entries: 1,
        skipped_devices: vec![],
        rest: serde_json::Map::new(),
    };
    store.layers().publish(vec![(layer, layer_record)])?;
    register(store, &record, &lock)?;
    Ok(record)
}

/// The image as it is, if it is whole and of this binary.
fn current(store: &Store, made_from: &str) -> Option<ImageRecord> {
    let name = store.refs().get(&full_name()).ok()?;
    let image = store.images().get(&name.image).ok()?;
    let same = image.rest.get(MADE_FROM).and_then(|value| value.as_str()) == Some(made_from);
    let whole = image.layers.iter().all(|layer| store.layers().has(&layer.chain_id));
    (same && whole).then_some(image)
}

/// The archive's one header: `ketch`, mode 0755, of root.
fn header(length: u64) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path(PROGRAM).expect("a short name without ..");
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(length);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// The file in the image.
const PROGRAM: &str = "ketch";

fn digest_of(file: &mut File, header: &[u8], padding: &[u8]) -> std::io::Result<Digest> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    hash.update(header);
    each_piece(file, |piece| {
        hash.update(piece);
        Ok(())
    })?;
    hash.update(padding);
    Ok(Digest::from_hash(hash))
}

/// Calls `each` for the pieces of a file, from its beginning.
fn each_piece(file: &mut File, mut each: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
    std::io::Seek::rewind(file)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            got => each(&buffer[..got])?,
        }
    }
}

/// Writes the layer's blob and its only file in one pass.
fn write(
    store: &Store,
    file: &mut File,
    header: &[u8],
    padding: &[u8],
    layer: &StagedLayer,
    digest: Digest,
) -> std::io::Result<Result<()>> {
    use std::os::unix::fs::PermissionsExt as _;
    let fs = layer.staged().path().join("fs");
    std::fs::set_permissions(&fs, std::fs::Permissions::from_mode(0o755))?;
    let program = fs.join(PROGRAM);
    let mut copy = File::create_new(&program)?;
    let mut blob = match claim(store, &digest) {
        Ok(blob) => blob,
        Err(err) => return Ok(Err(err)),
    };
    if let Some(blob) = &mut blob {
        blob.write_all(header)?;
    }
    each_piece(file, |piece| {
        copy.write_all(piece)?;
        blob.as_mut().map_or(Ok(()), |blob| blob.write_all(piece))
    })?;
    copy.set_permissions(std::fs::Permissions::from_mode(0o755))?;
    copy.set_times(std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH))?;
    let Some(mut blob) = blob else { return Ok(Ok(())) };
    blob.write_all(padding)?;
    let length = blob.length();
    Ok(store.blobs().commit(blob, length))
}

/// The blob to write, if it is not there and nobody else is writing it.
fn claim(store: &Store, digest: &Digest) -> Result<Option<Partial>> {
    match store.blobs().claim(digest)? {
        Claim::Present(..) => Ok(None),
        Claim::Partial(mut partial) => {
            partial.restart()?;
            Ok(Some(partial))
        }
        // Whoever writes it registers the same image.
        Claim::Busy => Ok(None),
    }
}

/// Stores configuration and manifest, and puts the record together.
fn describe(
    store: &Store,
    layer: Digest,
    layer_bytes: u64,
    size_bytes: u64,
    created: Timestamp,
    made_from: String,
) -> Result<ImageRecord> {
    let platform = Platform::host();
    let config = json!({
        "created": created.to_string(),
        "architecture": platform.arch,
        "os": platform.os,
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": ["/ketch", "--stage", "hello"],
            "Labels": { LABEL: NAME },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": created.to_string(), "created_by": "ketch (built in)" }],
    });
    let config = config.to_string();
    let id = store.blobs().put(config.as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "digest": id, "size": config.len() },
        "layers": [{ "mediaType": LAYER_TYPE, "digest": layer, "size": layer_bytes }],
    });
    let manifest = manifest.to_string();
    let manifest_digest = store.blobs().put(manifest.as_bytes())?;
    Ok(ImageRecord {
        version: IMAGE_VERSION,
        id,
        created: Some(created),
        stored: Timestamp::now(),
        platform,
        labels: [(LABEL.to_owned(), NAME.to_owned())].into(),
        history: 1,
        layers: vec![ImageLayer { chain_id: layer, diff_id: layer }],
        size_bytes,
        manifests: vec![StoredManifest {
            digest: manifest_digest,
            media_type: MANIFEST_TYPE.to_owned(),
            size_bytes: manifest.len() as u64,
            index: None,
            layers: vec![layer],
        }],
        repo_digests: vec![],
        parent: None,
        former: vec![],
        rest: serde_json::Map::from_iter([(MADE_FROM.to_owned(), made_from.into())]),
    })
}

/// Gives the image its name, and removes the one of an older binary if nothing else names it.
fn register(store: &Store, record: &ImageRecord, lock: &Exclusive) -> Result<()> {
    let name = full_name();
    let before = store.refs().get(&name).ok().map(|known| known.image);
    // The same bytes from another file: only the origin in the record is out of date.
    store.images().remove(&record.id, lock)?;
    store.images().register(record.clone(), lock)?;
    store.refs().set(&name, &record.id, record.manifest().map(|manifest| manifest.digest), lock)?;
    let Some(old) = before.filter(|old| *old != record.id) else { return Ok(()) };
    let is_named = store.refs().list()?.items.iter().any(|known| known.image == old);
    if !is_named && store.images().remove(&old, lock)? {
        // What was taken away is removed when this returns.
        drop(store.take_garbage(store.garbage(lock)?, None, lock)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::image_ref::Purpose;

    #[test]
    fn is_made_once_and_again_for_another_binary() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let binary = dir.path().join("binary");
        let made = std::cell::Cell::new(1);
        let make = |content: &[u8]| {
            // A new file each time, as an upgrade makes.
            std::fs::remove_file(&binary).ok();
            std::fs::write(&binary, content).unwrap();
            // The image is as old as the program, in whole seconds: the clock must not pass one in between.
            let age = std::time::Duration::new(1_000, made.replace(made.get() + 1));
            let file = std::fs::File::options().write(true).open(&binary).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + age).unwrap();
            ensure(&store, &binary, &mut |_, _| {}).unwrap()
        };
        let first = make(b"first program");
        assert_eq!(ensure(&store, &binary, &mut |_, _| {}).unwrap(), first);
        assert_eq!(store.resolve_image("hello", Purpose::Read).unwrap().image, first);
        let file = store.layers().fs_path(&first.layers[0].chain_id).join(PROGRAM);
        assert_eq!(std::fs::read(&file).unwrap(), b"first program");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o755);

        // What is registered is what an archive of it would be.
        let blob = store.blobs().open(&first.manifests[0].layers[0]).unwrap();
        let mut archive = tar::Archive::new(blob);
        let paths: Vec<_> =
            archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(paths, [Path::new(PROGRAM)]);

        let second = make(b"second");
        assert_ne!(second.id, first.id);
        assert_eq!(store.images().list().unwrap().items.len(), 1);
        assert_eq!(store.layers().ids().unwrap(), [second.layers[0].chain_id]);
        let same_bytes = make(b"second");
        assert_eq!(same_bytes.id, second.id);
        assert_eq!(
            ensure(&store, &binary, &mut |_, _| {}).unwrap().stored,
            same_bytes.stored,
            "not made again"
        );

        // Damage is repaired.
        std::fs::remove_dir_all(store.root().join("layers").join(second.layers[0].chain_id.hex())).unwrap();
        ensure(&store, &binary, &mut |_, _| {}).unwrap();
        assert!(store.layers().has(&second.layers[0].chain_id));
        assert_eq!(crate::sys::fs::names(store.dir(), "staging").unwrap().len(), 0);
    }

    #[test]
    fn only_its_own_names_mean_it() {
        for (name, is) in [
            ("hello", true),
            ("hello:latest", true),
            ("localhost/hello", true),
            ("hello:1", false),
            ("docker.io/hello", false),
            ("team/hello", false),
        ] {
            assert_eq!(is_hello(&name.parse().unwrap()), is, "{name}");
        }
    }
}
