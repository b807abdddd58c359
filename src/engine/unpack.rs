//! Unpacking layers whose blobs are in the store: of images that were loaded, imported or committed, and
//! of known images once more for other owners.

use std::fs::File;

use crate::base::digest::Digest;
use crate::base::order::InOrder as _;
use crate::engine::{Engine, Error, Result};
use crate::runtime::failure::Failure;
use crate::runtime::worker::{self, Unpacker};
use crate::store::Store;
use crate::store::layers::{LayerRecord, StagedLayer};
use crate::store::unpack::{Ids, Report};

/// One layer of an image that is to be there, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The name of its directory: the chain ID, unless owners are translated.
    pub(crate) name: Digest,
    pub(crate) diff_id: Digest,
    /// The blob that holds it.
    pub(crate) blob: Digest,
}

/// Where the bytes of a layer are.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) blob: File,
    /// Its length.
    pub(crate) bytes: u64,
    /// This command has hashed it.
    pub(crate) verified: bool,
}

impl Source {
    /// The blob in the store.
    ///
    /// # Errors
    ///
    /// If it is not there.
    pub(in crate::engine) fn stored(store: &Store, blob: &Digest) -> Result<Self> {
        let bytes = store.blobs().length(blob)?.unwrap_or_default();
        Ok(Self { blob: store.blobs().open(blob)?, bytes, verified: false })
    }
}

/// One that has to be unpacked.
struct Missing {
    index: usize,
    blob_bytes: u64,
    staged: StagedLayer,
}

impl Engine {
    /// Unpacks those of an image's layers, the lowest first, that are not there. `ids` says whose files
    /// they become; `None` gives them to the owners that layers have by default. The caller has one thread.
    ///
    /// # Errors
    ///
    /// If a blob is missing, broken, not what its diff ID says, or has owners that are not mapped.
    pub(crate) fn unpack(&self, layers: &[Wanted], ids: Option<&Ids>) -> Result<()> {
        self.unpack_from(layers, ids, &|layer| Source::stored(self.store(), &layer.blob)).map(drop)
    }

    /// As [`unpack`](Self::unpack), from where `source` says that each layer is. True if all that was written to the
    /// store until now is on the disk.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn unpack_from(
        &self,
        layers: &[Wanted],
        ids: Option<&Ids>,
        source: &dyn Fn(&Wanted) -> Result<Source>,
    ) -> Result<bool> {
        let store = self.store();
        if layers.iter().all(|layer| store.layers().has(&layer.name)) {
            return Ok(false);
        }
        let caller = self.caller();
        let failed = |err: Failure| Error::system("unpack a layer", err);
        let unpacker = Unpacker::start(&caller, store, layers.len()).map_err(failed)?;
        let mut missing: Vec<Missing> = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            if store.layers().has(&layer.name) {
                unpacker.below(index, store.layers().open_fs(&layer.name)?).map_err(failed)?;
                continue;
            }
            let staged = store.layers().stage()?;
            let mut order = Unpacker::order(&caller, store, layer.diff_id).map_err(failed)?;
            if let Some(ids) = ids {
                order.ids = ids.clone();
            }
            let Source { blob, bytes, verified } = source(layer)?;
            order.verified = verified && layer.blob == layer.diff_id;
            unpacker.unpack(index, order, staged.open_fs()?, &blob, None).map_err(failed)?;
            missing.push(Missing { index, blob_bytes: bytes, staged });
        }
        let reports = (0..missing.len()).map(|_| {
            let (index, result) = unpacker.report().map_err(failed)?;
            let unpacked = result.map_err(|err| {
                let hint = worker::hint(&err, &caller);
                Error::system(format!("unpack layer {}", layers[index].blob), err).hinted(hint)
            });
            Ok((index, unpacked?))
        });
        let reports = reports.collect::<Result<Vec<_>>>();
        drop(unpacker);
        let mut reports = match reports {
            Ok(reports) => reports,
            Err(err) => {
                worker::discard(&caller, store, missing.into_iter().map(|layer| layer.staged));
                return Err(err);
            }
        };
        reports.order_by_key(|(index, _)| *index);
        let unpacked = missing.into_iter().zip(reports).map(|(layer, (_, report))| {
            if let Some(first) = &report.squashed {
                self.tell(&squashed(&first.to_string_lossy()));
            }
            let record = layer_record(layers, &layer, &report);
            (layer.staged, record)
        });
        store.layers().publish(unpacked.collect())?;
        Ok(true)
    }
}

fn layer_record(layers: &[Wanted], missing: &Missing, report: &Report) -> LayerRecord {
    let layer = &layers[missing.index];
    LayerRecord {
        version: 1,
        chain_id: layer.name,
        parent: missing.index.checked_sub(1).map(|below| layers[below].name),
        diff_id: layer.diff_id,
        blob: layer.blob,
        blob_bytes: missing.blob_bytes,
        archive_bytes: report.archive_bytes,
        size_bytes: report.size_bytes,
        entries: report.entries,
        skipped_devices: report.device_names.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
        rest: serde_json::Map::new(),
    }
}

/// What to say of a layer with owners that are not mapped.
pub(in crate::engine) fn squashed(first: &str) -> String {
    format!("files whose owners are not mapped belong to nobody now, among them {first}")
}
