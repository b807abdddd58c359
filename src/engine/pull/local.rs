//! Pulling without a registry: from archives and directories, or from the store itself.

use std::fs::File;
use std::path::Path;

use crate::base::platform::Platform;
use crate::engine::load::{Loaded, Origin};
use crate::engine::pull::Pulled;
use crate::engine::transport::Place;
use crate::engine::{Engine, Error, Kind, Result};

/// Gets the image that lies at `place`.
///
/// # Errors
///
/// [`Kind::NotFound`] if nothing lies there, [`Kind::Invalid`] if it is no image.
pub(super) fn pull(engine: &Engine, place: &Place, wanted: Option<&Platform>) -> Result<Pulled> {
    let loaded = match place {
        Place::OciDir { path, name } => engine.load(Origin::Directory(path), name.as_deref(), wanted)?,
        Place::Dir(path) => engine.load(Origin::Directory(path), None, wanted)?,
        Place::OciArchive { path, name } | Place::DockerArchive { path, name } => {
            engine.load(Origin::Archive(Box::new(open(path)?), Some(path)), name.as_deref(), wanted)?
        }
        Place::Storage(name) => {
            let found = engine.image(name)?;
            let is = &found.image.platform;
            if let Some(wanted) = wanted.filter(|wanted| !wanted.runs(is)) {
                return Err(Error::not_found(format!("{name}: the image is for {is}, not for {wanted}")));
            }
            return Ok(Pulled { id: found.image.id, name: found.name, digest: None, further: vec![] });
        }
        Place::Registry(name) => {
            return Err(Error::new(Kind::System, format!("{name} lies on a registry")));
        }
    };
    let first = loaded.first().ok_or_else(|| Error::not_found("there is no image in it"))?;
    let name = match first.names.first() {
        Some(name) => Some(name.clone()),
        None => name_after(engine, first, place),
    };
    let all = loaded.iter().flat_map(|image| std::iter::repeat_n(image.id, image.names.len().max(1)));
    // Who chose one by its name asked for nothing else.
    let further = if place.selects() { Vec::new() } else { all.skip(1).collect() };
    Ok(Pulled { id: first.id, name, digest: None, further })
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|err| {
        let kind = if err.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::System };
        Error::new(kind, format!("open {}", path.display())).because(err)
    })
}

/// Names an image that brought no name after where it came from, as podman does: `dir:/tmp/x` becomes
/// `localhost/tmp/x`. What makes no name stays without one.
fn name_after(engine: &Engine, image: &Loaded, place: &Place) -> Option<crate::base::image_ref::ImageRef> {
    let path = match place {
        Place::OciDir { path, .. } | Place::Dir(path) => path.to_str()?,
        _ => return None,
    };
    let name = format!("localhost/{}", path.trim_matches(['/', '.']).to_lowercase());
    engine.tag_image(&image.id.hex(), &name).ok()
}
