//! Writing services, and the links of their `[Install]` sections, as `systemctl enable` makes them.

use std::fs;
use std::io;
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
    // A service is not its own alias.
    let aliases = unit.strings("Install", "Alias").into_iter();
    for alias in aliases.filter(|alias| Path::new(alias) != Path::new(service)) {
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
    let instance = match instance(service, unit) {
        Ok(Some(instance)) => instance,
        Ok(None) => return (links, refused),
        Err(words) => {
            refused.push(words);
            return (links, refused);
        }
    };
    for (key, directory) in [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")] {
        for unit in unit.strings("Install", key).into_iter().filter(|unit| !unit.contains('/')) {
            let path = format!("{unit}.{directory}/{instance}");
            links.push(Link { path, target: format!("../{service}") });
        }
    }
    (links, refused)
}

/// The name of the unit that is wanted: of a template its default instance, if it names one.
fn instance(service: &str, unit: &UnitFile) -> Result<Option<String>, String> {
    let stem = service.strip_suffix(".service").unwrap_or(service);
    let Some((prefix, "")) = stem.split_once('@') else { return Ok(Some(service.to_owned())) };
    match unit.value("Install", "DefaultInstance") {
        Some(instance) if instance.is_empty() || instance.contains('/') => {
            Err(format!("{service}: invalid DefaultInstance '{instance}'"))
        }
        instance => Ok(instance.map(|instance| format!("{prefix}@{instance}.service"))),
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
    // What is written through an alias of an earlier run would be another service.
    remove_link(&path);
    fs::write(&path, text).map_err(|err| format!("open {}: {}", path.display(), reason(&err)))
}

/// Makes a link below the generator's directory, in place of another link.
///
/// # Errors
///
/// A path that leads out of the directory; what the system says, also where something else is there.
pub(crate) fn link(output: &Path, link: &Link) -> Result<(), String> {
    let path: PathBuf = output.join(&link.path);
    let failed = |err| format!("failed to enable {}: {}", path.display(), reason(&err));
    if above(&link.path).is_none() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    remove_link(&path);
    symlink(&link.target, &path).map_err(failed)
}

/// Removes a link, and nothing else. If it cannot, what follows tells why.
fn remove_link(path: &Path) {
    if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(path).ok();
    }
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

    #[test]
    fn what_is_no_link_or_no_instance() {
        let of = |service: &str, text: &str| {
            let (made, refused) = links(service, &UnitFile::parse(text.as_bytes()).unwrap());
            (made.into_iter().map(|link| link.path).collect::<Vec<_>>(), refused)
        };
        let (made, refused) = of("s.service", "[Install]\nAlias=s.service s.service/ x.service\n");
        assert_eq!((made, refused), (vec!["x.service".to_owned()], vec![]));
        for (instance, want) in [("one", Some("a.wants/t@one.service")), ("", None), ("a/../..", None)] {
            let text = format!("[Install]\nWantedBy=a\nDefaultInstance={instance}\n");
            let (made, refused) = of("t@.service", &text);
            assert_eq!(made.first().map(String::as_str), want);
            assert_eq!(refused.len(), usize::from(want.is_none()), "{refused:?}");
        }
        assert_eq!(of("t@.service", "[Install]\nWantedBy=a\n"), (vec![], vec![]));
    }

    #[test]
    fn links_take_the_place_of_links_only() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out");
        fs::create_dir(&output).unwrap();
        let to = |path: &str| link(&output, &Link { path: path.to_owned(), target: "a.service".to_owned() });
        write(&output, "a.service", "a").unwrap();
        write(&output, "b.service", "b").unwrap();
        assert!(to("b.service").unwrap_err().ends_with(": file exists"));
        to("c.service").unwrap();
        to("c.service").unwrap();
        for path in ["../d.service", "/d.service", "", "d/../../d.service"] {
            assert!(to(path).is_err(), "{path}");
        }
        // A service takes the place of a link, and leaves what that named.
        write(&output, "c.service", "c").unwrap();
        for (name, text) in [("a", "a"), ("b", "b"), ("c", "c")] {
            assert_eq!(fs::read_to_string(output.join(format!("{name}.service"))).unwrap(), text);
        }
    }
}
