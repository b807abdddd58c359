//! `import`: an image of one layer from the archive of a root file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _};

use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::image_document::{ConfigDocument, Step};
use crate::base::image_ref::ImageRef;
use crate::base::manifest::{Compression, Form};
use crate::base::platform::Platform;
use crate::engine::trust::{self, Offered};
use crate::engine::{Engine, Error, Result, changes, remote};
use crate::store::compress::How;
use crate::store::staging;
use crate::store::unpack::decoder;

/// What to make of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) names: Vec<ImageRef>,
    pub(crate) changes: Vec<String>,
    pub(crate) message: String,
    pub(crate) platform: Platform,
}

impl Import {
    /// The configuration as far as it does not depend on the archive.
    fn document(&self) -> Result<ConfigDocument> {
        let mut document = ConfigDocument::new(&self.platform);
        self.changes.iter().try_for_each(|change| changes::apply(&mut document.config, change))?;
        Ok(document)
    }
}

impl Engine {
    /// Makes an image of the archive at an address (http, https), and returns its ID.
    ///
    /// # Errors
    ///
    /// As [`import_image`](Self::import_image); network, TLS and HTTP errors.
    pub(crate) fn import_url(&self, address: &str, import: &Import) -> Result<Digest> {
        // What is wrong with the request is said before anything is downloaded.
        import.document()?;
        self.sweep();
        let staged = staging::dir(self.store())?;
        let path = staged.path().join("archive");
        let failed = |err| Error::system(format!("store what {address} sends"), err);
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        remote::download(address, &file)?;
        file.rewind().map_err(failed)?;
        self.import_image(file, import)
    }

    /// Makes an image of `archive`, a tar that may be compressed, and returns its ID. The caller has one
    /// thread.
    ///
    /// # Errors
    ///
    /// For a change that is none; if the archive is none, or cannot be stored.
    pub(crate) fn import_image(&self, archive: impl Read + Send, import: &Import) -> Result<Digest> {
        let mut document = import.document()?;
        self.sweep();
        let archive = decoder(archive).map_err(|err| Error::system("read the archive", err))?;
        // Kept as it came: whoever pushes or saves it compresses it then.
        // What podman calls an archive of files.
        trust::check_place("tarball", None, Some(&[Offered { digests: vec![], signatures: &[] }]))?;
        let mut layer = self.layer_of_archive(archive, How::new(Compression::None))?;
        self.add_layer(&[], &mut layer)?;
        let now = Timestamp::now();
        document.set_created(now);
        document.push_layer(&layer.diff_id);
        let comment =
            if import.message.is_empty() { "imported from tarball" } else { import.message.as_str() };
        document.push_history(&Step {
            created: Some(now),
            created_by: format!("/bin/sh -c #(nop) ADD file:{} in /", layer.diff_id.hex()),
            author: String::new(),
            comment: comment.to_owned(),
            empty_layer: false,
        });
        let layers = [layer.descriptor.clone()];
        let mut image =
            crate::engine::register::NewImage::of(document.to_bytes(), &layers, Form::Oci, &BTreeMap::new());
        image.names.clone_from(&import.names);
        let id = self.register_image(&image);
        drop(layer);
        id
    }
}
