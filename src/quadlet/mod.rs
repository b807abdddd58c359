//! Row 7: Quadlet, systemd's generator: `.container`, `.volume`, `.network`, `.image`, `.build`, `.pod` and
//! `.kube` files become services (podman-systemd.unit(5), podman 5.4.2).
//!
//! ```text
//! directories ─ search ─▶ [Source] ─ one file per kind ─▶ [Made] ─ install ─▶ services and links
//! ```
//!
//! The conversion is pure: it makes texts of texts, and touches neither store nor engine.

mod container;
mod file;
pub(crate) mod install;
mod keys;
mod mount;
mod plain;
mod pods;
pub(crate) mod search;
mod unit;
mod words;

use std::collections::BTreeMap;

pub(crate) use self::file::UnitFile;
pub(crate) use self::unit::Source;
use self::unit::{Info, Kind, Refused, World, rank};

use crate::base::order;
use crate::base::order::InOrder as _;

/// A service that is ready to be written.
#[derive(Debug)]
pub(crate) struct Made {
    /// Its name, `web.service`.
    pub(crate) name: String,
    /// Its text.
    pub(crate) unit: UnitFile,
}

/// What has become of the files.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Services, in the order in which they may be needed.
    pub(crate) made: Vec<Made>,
    /// What is dubious.
    pub(crate) warnings: Vec<String>,
    /// Why files have no service.
    pub(crate) failed: Vec<String>,
}

/// What a conversion needs to know of this machine.
pub(crate) struct Here<'a> {
    /// ketch, by an absolute path.
    pub(crate) program: &'a str,
    /// Whether the units are a user's.
    pub(crate) user: bool,
    /// The text of /etc/passwd.
    pub(crate) users: &'a str,
    /// The text of /etc/group.
    pub(crate) groups: &'a str,
    /// Whether a path is there.
    pub(crate) exists: &'a dyn Fn(&str) -> bool,
}

/// Services of files.
pub(crate) fn convert(mut sources: Vec<Source>, here: &Here<'_>) -> Outcome {
    // Those that others need come first: pods last, for they start containers.
    sources.order_by_key(|source| rank(source.kind));
    let infos = order::map(sources.iter().map(|source| (source.name.clone(), Info::of(source))));
    // The path of a program holds specifiers, and no variables.
    let program = here.program.replace('%', "%%");
    let Here { user, users, groups, exists, .. } = *here;
    let mut world = World { program: &program, user, users, groups, infos, exists };
    let mut outcome = Outcome::default();
    outcome.warnings.extend(sources.iter().filter_map(Source::warning));
    let mut makers = BTreeMap::new();
    for source in &sources {
        match one(source, &mut world, &makers) {
            Ok(made) => {
                makers.insert(made.name.clone(), source.name.as_str());
                outcome.made.push(made);
            }
            Err(refused) => outcome.failed.push(format!("converting \"{}\": {refused}", source.name)),
        }
    }
    outcome
}

/// The service of one file. `makers` are the files that have services, by their services.
fn one(source: &Source, world: &mut World<'_>, makers: &BTreeMap<String, &str>) -> Result<Made, Refused> {
    let name = world.infos.get(&source.name).map(|info| info.service.clone()).unwrap_or_default();
    if name.contains('/') {
        return Err(Refused::new(format!("invalid ServiceName '{name}'")));
    }
    let name = format!("{name}.service");
    if let Some(maker) = makers.get(&name) {
        return Err(Refused::new(format!("{name} is the service of \"{maker}\" already")));
    }
    let service = match source.kind {
        Kind::Image => plain::image(source, world),
        Kind::Volume => plain::volume(source, world),
        Kind::Network => plain::network(source, world),
        Kind::Build => plain::build(source, world),
        Kind::Container => container::convert(source, world),
        Kind::Kube => pods::kube(source, world),
        Kind::Pod => pods::pod(source, world),
    }?;
    Ok(Made { name, unit: service.unit })
}
