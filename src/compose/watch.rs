//! What changes of files ask for: `develop.watch` of a service. Pure but for reading `.dockerignore`.
//!
//! ```text
//! Trigger (path, action) × changed paths ──▶ Job per service: rebuild, or files to copy and what comes after
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::base::dockerfile::ignore::Ignore;
use crate::compose::node::Node;
use crate::compose::project::Project;
use crate::engine::{Error, Result};

/// What editors and git make for themselves; nobody wants it in a container.
const EPHEMERAL: [&str; 9] = [
    ".git",
    "**/*~",
    "**/.*.sw?",
    "**/4913",
    "**/.#*",
    "**/#*#",
    "**/*___jb_old___",
    "**/*___jb_tmp___",
    "**/.idea",
];

/// What happens when a file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Sync,
    Rebuild,
    Restart,
    SyncRestart,
    SyncExec,
}

impl Action {
    fn copies(self) -> bool {
        matches!(self, Self::Sync | Self::SyncRestart | Self::SyncExec)
    }
}

/// One entry of `develop.watch`.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) service: String,
    /// A directory, or one file.
    pub(crate) path: PathBuf,
    pub(crate) action: Action,
    /// Where it is in the container.
    target: String,
    /// What is left out, each by patterns that start at a directory.
    ignore: Vec<(PathBuf, Ignore)>,
    /// What alone counts, if it is not empty.
    include: Ignore,
    /// What runs after files were copied.
    exec: Option<Node>,
    /// Everything is copied at the beginning.
    pub(crate) initial: bool,
}

/// The triggers of the services.
///
/// # Errors
///
/// If none has any; patterns that mean nothing; a file that says where nothing can be copied to.
pub(crate) fn triggers(project: &Project, services: &[String]) -> Result<Vec<Trigger>> {
    let mut found = Vec::new();
    for name in services {
        let service = project.service(name)?;
        let watch = service.get("develop").and_then(|develop| develop.get("watch"));
        for node in watch.and_then(Node::as_list).unwrap_or_default() {
            found.push(trigger(project, name, service, node)?);
        }
    }
    if found.is_empty() {
        return Err(Error::invalid("none of the selected services is configured for watch")
            .hint("give one a section develop: {watch: [{path: ., action: sync, target: /app}]}"));
    }
    Ok(found)
}

fn trigger(project: &Project, name: &str, service: &Node, node: &Node) -> Result<Trigger> {
    let bad = |message: String| project.files.error(node.at, format!("service {name}: {message}"));
    let action = match node.str_at("action").unwrap_or_default() {
        "rebuild" => Action::Rebuild,
        "restart" => Action::Restart,
        "sync+restart" => Action::SyncRestart,
        "sync+exec" => Action::SyncExec,
        _ => Action::Sync,
    };
    let context = service.get("build").and_then(|build| build.str_at("context"));
    if action == Action::Rebuild && context.is_none() {
        return Err(bad("can't watch without a build section: there is nothing to rebuild".to_owned()));
    }
    let target = node.str_at("target").unwrap_or_default().to_owned();
    if action.copies() && !target.starts_with('/') {
        return Err(bad("a watch that copies files needs a target, an absolute path".to_owned()));
    }
    if action == Action::SyncExec && node.get("exec").is_none() {
        return Err(bad("the action sync+exec needs exec: {command: …}".to_owned()));
    }
    let path = PathBuf::from(node.str_at("path").unwrap_or_default());
    let patterns = |key: &str| -> Result<Ignore> {
        let mut all = Ignore::default();
        for pattern in node.get(key).and_then(Node::as_list).unwrap_or_default() {
            let text = pattern.as_str().unwrap_or_default();
            all.add(text.as_bytes()).map_err(|()| bad(format!("{key}: bad pattern {text:?}")))?;
        }
        Ok(all)
    };
    let mut own = patterns("ignore")?;
    EPHEMERAL.iter().for_each(|pattern| own.add(pattern.as_bytes()).unwrap_or_default());
    let mut ignore = vec![(path.clone(), own)];
    if let Some(context) = context.map(PathBuf::from)
        && let Ok(text) = std::fs::read(context.join(".dockerignore"))
        && let Ok(of_context) = Ignore::parse(&text)
    {
        ignore.push((context, of_context));
    }
    Ok(Trigger {
        service: name.to_owned(),
        path,
        action,
        target,
        ignore,
        include: patterns("include")?,
        exec: node.get("exec").cloned(),
        initial: node.flag("initial_sync"),
    })
}

impl Trigger {
    /// Whether a change of this file counts.
    pub(crate) fn wants(&self, path: &Path) -> bool {
        let Ok(relative) = path.strip_prefix(&self.path) else { return false };
        let is_included = self.include.is_empty()
            || relative.as_os_str().is_empty()
            || self.include.excludes(relative.as_os_str().as_bytes());
        is_included && !self.leaves_out(path)
    }

    /// Whether something in this directory may count.
    pub(crate) fn looks_into(&self, directory: &Path) -> bool {
        if self.path.starts_with(directory) {
            return true;
        }
        directory.starts_with(&self.path)
            && self.ignore.iter().all(|(base, ignore)| {
                let relative = below(directory, base).map(|relative| relative.as_os_str().as_bytes());
                relative.is_none_or(|path| !ignore.excludes(path) || ignore.may_take_back_below(path))
            })
    }

    fn leaves_out(&self, path: &Path) -> bool {
        self.ignore.iter().any(|(base, ignore)| {
            below(path, base).is_some_and(|relative| ignore.excludes(relative.as_os_str().as_bytes()))
        })
    }

    /// Where a file is in the container.
    fn target_of(&self, path: &Path) -> PathBuf {
        match below(path, &self.path) {
            Some(relative) => Path::new(&self.target).join(relative),
            None => PathBuf::from(&self.target),
        }
    }
}

/// What leads from a directory to something below it.
fn below<'a>(path: &'a Path, directory: &Path) -> Option<&'a Path> {
    path.strip_prefix(directory).ok().filter(|relative| !relative.as_os_str().is_empty())
}

/// What is to be done for one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Job {
    /// A new image, and new containers; nothing else matters then.
    pub(crate) rebuild: bool,
    /// Files here, and where they are in the containers.
    pub(crate) files: BTreeMap<PathBuf, PathBuf>,
    pub(crate) restart: bool,
    /// Commands that run in the containers after files were copied.
    pub(crate) exec: Vec<Node>,
    /// How many files have changed.
    pub(crate) changes: usize,
}

/// What these changes ask for, by service.
pub(crate) fn jobs(triggers: &[Trigger], changed: &BTreeSet<PathBuf>) -> BTreeMap<String, Job> {
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    for trigger in triggers {
        let paths: Vec<&PathBuf> = changed.iter().filter(|path| trigger.wants(path)).collect();
        if paths.is_empty() {
            continue;
        }
        let job = jobs.entry(trigger.service.clone()).or_default();
        job.changes += paths.len();
        job.rebuild |= trigger.action == Action::Rebuild;
        job.restart |= matches!(trigger.action, Action::Restart | Action::SyncRestart);
        if trigger.action.copies() {
            job.files.extend(paths.into_iter().map(|path| (path.clone(), trigger.target_of(path))));
        }
        job.exec.extend(trigger.exec.iter().filter(|_| trigger.action == Action::SyncExec).cloned());
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(path: &str, action: Action, ignore: &str) -> Trigger {
        Trigger {
            service: "s".into(),
            path: path.into(),
            action,
            target: "/app".into(),
            ignore: vec![(path.into(), Ignore::parse(ignore.as_bytes()).unwrap())],
            include: Ignore::default(),
            exec: None,
            initial: false,
        }
    }

    #[test]
    fn changes_become_jobs() {
        let sync = trigger("/w/src", Action::Sync, "node_modules\n*.log\n!keep.log");
        let rebuild = trigger("/w/package.json", Action::Rebuild, "");
        for (path, want) in [
            ("/w/src", true),
            ("/w/src/a/b.js", true),
            ("/w/src/x.log", false),
            ("/w/src/keep.log", true),
            ("/w/src/node_modules/x/y", false),
            ("/w/srcs/a", false),
        ] {
            assert_eq!(sync.wants(Path::new(path)), want, "{path}");
        }
        assert!(!sync.looks_into(Path::new("/w/src/node_modules")));
        assert!(sync.looks_into(Path::new("/w/src/lib")));
        assert!(sync.looks_into(Path::new("/w")));
        let both = [sync, rebuild];
        let changed = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        let found = jobs(&both, &changed(&["/w/src/a.js", "/w/other"]));
        let files = BTreeMap::from([(PathBuf::from("/w/src/a.js"), PathBuf::from("/app/a.js"))]);
        assert_eq!(found["s"], Job { files, changes: 1, ..Job::default() });
        assert!(jobs(&both, &changed(&["/w/package.json"]))["s"].rebuild);
        assert!(jobs(&both, &changed(&["/w/else"])).is_empty());
        let only = Trigger { include: Ignore::parse(b"*.js").unwrap(), ..both[0].clone() };
        assert!(only.wants(Path::new("/w/src/a.js")) && !only.wants(Path::new("/w/src/a.ts")));
    }
}
