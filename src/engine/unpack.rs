//! Unpacking layers whose blobs are in the store: of images that were loaded, imported or committed, and
//! of known images once more for other owners.

use crate::base::digest::Digest;
use crate::engine::{Engine, Error, Result};
use crate::runtime::failure::Failure;
use crate::runtime::worker::{self, Unpacker};
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

/// One that has to be unpacked.
struct Missing {
    index: usize,
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
        let store = self.store();
        if layers.iter().all(|layer| store.layers().has(&layer.name)) {
            return Ok(());
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
            let blob = store.blobs().open(&layer.blob)?;
            unpacker.unpack(index, order, staged.open_fs()?, &blob, None).map_err(failed)?;
            missing.push(Missing { index, staged });
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
        reports.sort_by_key(|(index, _)| *index);
        let unpacked = missing.into_iter().zip(reports).map(|(layer, (_, report))| {
            if let Some(first) = &report.squashed {
                self.tell(&squashed(&first.to_string_lossy()));
            }
            let record = self.layer_record(layers, layer.index, &report);
            (layer.staged, record)
        });
        Ok(store.layers().publish(unpacked.collect())?)
    }

    fn layer_record(&self, layers: &[Wanted], index: usize, report: &Report) -> LayerRecord {
        let layer = &layers[index];
        LayerRecord {
            version: 1,
            chain_id: layer.name,
            parent: index.checked_sub(1).map(|below| layers[below].name),
            diff_id: layer.diff_id,
            blob: layer.blob,
            blob_bytes: self.store().blobs().length(&layer.blob).ok().flatten().unwrap_or_default(),
            archive_bytes: report.archive_bytes,
            size_bytes: report.size_bytes,
            entries: report.entries,
            skipped_devices: report
                .device_names
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
            rest: serde_json::Map::new(),
        }
    }
}

/// What to say of a layer with owners that are not mapped.
pub(in crate::engine) fn squashed(first: &str) -> String {
    format!("files whose owners are not mapped belong to nobody now, among them {first}")
}
