//! Writing services, and the links of their `[Install]` sections, as `systemctl enable` makes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use crate::quadlet::file::UnitFile;
use crate::quadlet::search::reason;

/// A link: where it is in the generator's directory, and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) path: String,
    pub(crate) target: String,
}

/// The links that a service of that name (`web.service`) shall have, and what cannot be one.
pub(crate) fn links(service: &str, unit: &UnitFile) -> (Vec<Link>, Vec<String>) {
    let mut links = Vec::new();
    let mut refused = Vec::new();
    for alias in unit.strings("Install", "Alias") {
        match above(&alias) {
            Some(up) => links.push(Link { target: format!("{up}{service}"), path: alias }),
            None => {
                let parent = Path::new(&alias).parent().unwrap_or(Path::new("/")).display().to_string();
                refused.push(format!(
                    "Can't create symlink {alias}: Rel: can't make {service} relative to {parent}"
                ));
            }
        }
    }
    // A template has no instance but the one that it names.
    let Some(instance) = instance(service, unit) else { return (links, refused) };
    for (key, directory) in [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")] {
        for unit in unit.strings("Install", key).into_iter().filter(|unit| !unit.contains('/')) {
            let path = format!("{unit}.{directory}/{instance}");
            links.push(Link { path, target: format!("../{service}") });
        }
    }
    (links, refused)
}

/// The name of the unit that is wanted: of a template its default instance.
fn instance(service: &str, unit: &UnitFile) -> Option<String> {
    let stem = service.strip_suffix(".service").unwrap_or(service);
    match stem.split_once('@') {
        Some((prefix, "")) => {
            unit.filled("Install", "DefaultInstance").map(|instance| format!("{prefix}@{instance}.service"))
        }
        _ => Some(service.to_owned()),
    }
}

/// The way from where a link is to the directory that it is in, for a path that stays within.
fn above(path: &str) -> Option<String> {
    let parts: Vec<_> = Path::new(path).components().collect();
    let stays = !parts.is_empty() && parts.iter().all(|part| matches!(part, Component::Normal(_)));
    stays.then(|| "../".repeat(parts.len() - 1))
}

/// Writes a service below the generator's directory.
///
/// # Errors
///
/// What the system says.
pub(crate) fn write(output: &Path, service: &str, text: &str) -> Result<(), String> {
    let path = output.join(service);
    fs::write(&path, text).map_err(|err| format!("open {}: {}", path.display(), reason(&err)))
}

/// Makes a link below the generator's directory, in place of what is there.
///
/// # Errors
///
/// What the system says.
pub(crate) fn link(output: &Path, link: &Link) -> Result<(), String> {
    let path: PathBuf = output.join(&link.path);
    let failed = |err| format!("failed to enable {}: {}", path.display(), reason(&err));
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::remove_file(&path).ok();
    symlink(&link.target, &path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_services() {
        let unit = UnitFile::parse(
            b"[Install]\nWantedBy=a.target ../b.target\nRequiredBy=c.service\nUpheldBy=u.target\nAlias=x.service d/y.service ../z.service\n",
        )
        .unwrap();
        let (made, refused) = links("s.service", &unit);
        let made: Vec<_> = made.iter().map(|link| (link.path.as_str(), link.target.as_str())).collect();
        let wanted = [
            ("x.service", "s.service"),
            ("d/y.service", "../s.service"),
            ("a.target.wants/s.service", "../s.service"),
            ("c.service.requires/s.service", "../s.service"),
            ("u.target.upholds/s.service", "../s.service"),
        ];
        assert_eq!(made, wanted);
        assert_eq!(refused, ["Can't create symlink ../z.service: Rel: can't make s.service relative to .."]);
        assert_eq!(links("t@.service", &unit).0.len(), 2);
    }
}
