//! Where a registry takes the rest of a blob: notes that a later push goes on with.
//!
//! `uploads/<hex>`, where hex is the SHA-256 of what is sent and where to. An address in it may be a key to
//! the upload, so nobody else can read it. A note that is a day old is of no use any more.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::base::digest::Digest;
use crate::store::error::{Result, io_error};
use crate::store::{Store, staging};
use crate::sys::fs;

/// Registries forget uploads after some time; most after hours, all after a week.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// The longest address that is believed.
const MAX_BYTES: usize = 16 << 10;

/// The directory.
const UPLOADS: &str = "uploads";

impl Store {
    /// Where the upload of a blob to `repository` (with its registry) goes on; `None` if nobody has begun.
    pub(crate) fn upload_note(&self, repository: &str, blob: &Digest) -> Option<String> {
        let text = fs::read_at(self.dir(), path(repository, blob), MAX_BYTES).ok()?;
        String::from_utf8(text).ok()
    }

    /// Notes where it goes on. Nothing is lost but time if that is lost.
    pub(crate) fn set_upload_note(&self, repository: &str, blob: &Digest, address: &str) -> Result<()> {
        self.make_directory(UPLOADS)?;
        let path = path(repository, blob);
        let staged = staging::file(self, address.as_bytes(), false)?;
        fs::rename(self.dir(), &staged, self.dir(), &path)
            .map_err(io_error("rename to", self.root().join(&path)))
    }

    /// Forgets it: the blob is there, or the registry knows nothing of it.
    pub(crate) fn forget_upload(&self, repository: &str, blob: &Digest) {
        // Absent is what it shall be.
        fs::unlink(self.dir(), path(repository, blob)).ok();
    }

    /// Forgets all notes that are too old.
    pub(crate) fn forget_old_uploads(&self) {
        let Ok(entries) = std::fs::read_dir(self.root().join(UPLOADS)) else { return };
        let now = SystemTime::now();
        for entry in entries.flatten() {
            let changed = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(now);
            if now.duration_since(changed).is_ok_and(|age| age > LIFE) {
                std::fs::remove_file(entry.path()).ok();
            }
        }
    }
}

fn path(repository: &str, blob: &Digest) -> PathBuf {
    PathBuf::from(UPLOADS).join(Digest::of(format!("{repository}@{blob}").as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blob = Digest::of(b"blob");
        assert_eq!(store.upload_note("r.io/a", &blob), None);
        store.set_upload_note("r.io/a", &blob, "http://r.io/1").unwrap();
        store.set_upload_note("r.io/a", &blob, "http://r.io/2").unwrap();
        store.set_upload_note("r.io/b", &blob, "http://r.io/3").unwrap();
        assert_eq!(store.upload_note("r.io/a", &blob).as_deref(), Some("http://r.io/2"));
        store.forget_old_uploads();
        store.forget_upload("r.io/a", &blob);
        assert_eq!(store.upload_note("r.io/a", &blob), None);
        let old = dir.path().join(path("r.io/b", &blob));
        let file = std::fs::File::options().write(true).open(&old).unwrap();
        file.set_modified(SystemTime::now() - 2 * LIFE).unwrap();
        store.forget_old_uploads();
        assert_eq!(store.upload_note("r.io/b", &blob), None);
    }
}
