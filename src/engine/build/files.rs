//! COPY, ADD and WORKDIR: from an instruction to an order for the assembling stage.

use std::path::{Path, PathBuf};

use crate::base::bytes::Bytes;
use crate::base::dockerfile::Line;
use crate::base::dockerfile::expand::Expander;
use crate::base::dockerfile::instruction::{Heredoc, Source, Transfer};
use crate::engine::Error;
use crate::engine::build::context::Context;
use crate::engine::build::key::Key;
use crate::engine::build::state::Scope;
use crate::engine::build::{Builder, Fault, Lane, Result, Root, remote};
use crate::runtime::assemble::{Choice, CopyTask, Order, Target, Task, Tree};
use crate::store::staging;

/// A step that puts files somewhere.
#[derive(Debug)]
pub(super) struct FilesStep {
    pub(super) key: Key,
    pub(super) order: Order,
    /// Digests that only the stage can take, because they are of layers.
    pub(super) to_digest: Vec<Choice>,
    pub(super) created_by: String,
    /// `--link`: the layer does not depend on what is below.
    pub(super) link: bool,
    /// WORKDIR: where the stage is from then on.
    pub(super) directory: Option<String>,
}

/// A source of a COPY, found.
struct Found {
    choice: Choice,
    tree: Tree,
    /// `None`: to be taken by the stage.
    digest: Option<String>,
    unpack: bool,
    keep_owner: bool,
}

impl Builder<'_> {
    /// WORKDIR.
    pub(super) fn workdir(&mut self, lane: &Lane, path: &str) -> FilesStep {
        let directory = lane.state.directory(path);
        let mut key = Key::new("workdir");
        key.field("path", &directory);
        // As Docker has it: what WORKDIR makes belongs to the USER of the stage.
        let user = &lane.state.config().user;
        let owner = (!user.is_empty()).then(|| user.clone());
        key.field("owner", user);
        let order = Order {
            target: None,
            trees: vec![],
            tasks: vec![Task::MakeDirectory { path: directory.as_str().into(), owner }],
            single: self.single,
        };
        let created_by = format!("WORKDIR {directory}");
        FilesStep { key, order, to_digest: vec![], created_by, link: false, directory: Some(directory) }
    }

    /// COPY or ADD.
    pub(super) fn transfer(
        &mut self,
        lane: &Lane,
        line: &Line,
        transfer: &Transfer,
        scope: &Scope<'_>,
    ) -> Result<FilesStep> {
        let state = &lane.state;
        let optional = |word: &Option<_>| word.as_ref().map(|word| state.expand(word, scope)).transpose();
        let owner = optional(&transfer.flags.chown)?;
        let mode = optional(&transfer.flags.chmod)?;
        let mut exclude: Vec<Bytes> = Vec::new();
        for word in &transfer.flags.exclude {
            exclude.push(state.expand(word, scope)?.into());
        }
        let target = state.expand(&transfer.target, scope)?;
        let several = transfer.sources.len() > 1;
        let shown_target = target.clone();
        let target = absolute(&state.directory("."), &target);
        let found = self.sources(lane, line, transfer, scope)?;

        let mut key = Key::new(if transfer.add.is_some() { "add" } else { "copy" });
        key.field("target", &target);
        key.field("owner", owner.as_deref().unwrap_or_default());
        key.field("mode", mode.as_deref().unwrap_or_default());
        key.list("exclude", exclude.iter().map(Bytes::as_bytes));
        key.field("parents", [u8::from(transfer.flags.parents)]);
        key.field("several", [u8::from(several)]);
        let mut order = Order { target: None, trees: vec![], tasks: vec![], single: self.single };
        let mut to_digest = Vec::new();
        for source in found {
            let mut choice = source.choice;
            choice.tree = order.trees.len();
            choice.exclude.clone_from(&exclude);
            choice.parents = transfer.flags.parents;
            key.field("unpack", [u8::from(source.unpack), u8::from(source.keep_owner)]);
            match source.digest {
                Some(digest) => key.field("content", digest),
                None => to_digest.push(choice.clone()),
            }
            order.trees.push(source.tree);
            order.tasks.push(Task::Copy(CopyTask {
                choice,
                target: target.as_str().into(),
                keep_owner: source.keep_owner,
                owner: owner.clone(),
                mode: mode.clone(),
                unpack: source.unpack,
                several,
            }));
        }
        let created_by =
            self.shown(lane, transfer, scope, &shown_target, owner.as_deref(), mode.as_deref())?;
        Ok(FilesStep { key, order, to_digest, created_by, link: transfer.flags.link, directory: None })
    }

    /// What the history says of it, as BuildKit has it: variables put in, and without where the files are from.
    fn shown(
        &self,
        lane: &Lane,
        transfer: &Transfer,
        scope: &Scope<'_>,
        target: &str,
        owner: Option<&str>,
        mode: Option<&str>,
    ) -> Result<String> {
        let mut words = vec![if transfer.add.is_some() { "ADD" } else { "COPY" }.to_owned()];
        if transfer.flags.parents {
            words.push("--parents".to_owned());
        }
        words.extend(owner.map(|owner| format!("--chown={owner}")));
        words.extend(mode.map(|mode| format!("--chmod={mode}")));
        if transfer.flags.link {
            words.push("--link".to_owned());
        }
        for source in &transfer.sources {
            words.push(match source {
                Source::Path(word) => lane.state.expand(word, scope)?,
                Source::Heredoc(doc) => format!("<<{}", doc.name),
            });
        }
        Ok(format!("{} {target} # buildkit", words.join(" ")))
    }

    /// Finds every source.
    fn sources(
        &mut self,
        lane: &Lane,
        line: &Line,
        transfer: &Transfer,
        scope: &Scope<'_>,
    ) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut patterns: Vec<Bytes> = Vec::new();
        let is_add = transfer.add.is_some();
        if transfer.add.as_ref().is_some_and(|add| add.checksum.is_some()) {
            let why = match &transfer.sources[..] {
                [Source::Path(word)] if remote::is_remote(&lane.state.expand(word, scope)?) => None,
                [_] => Some("checksum requires HTTP(S) or Git sources"),
                _ => Some("checksum can't be specified for multiple sources"),
            };
            why.map_or(Ok(()), |why| Err(Fault::at(line, Error::invalid(why))))?;
        }
        for source in &transfer.sources {
            match source {
                Source::Heredoc(doc) => found.push(self.heredoc(lane, doc, scope)?),
                Source::Path(word) => {
                    let text = lane.state.expand(word, scope)?;
                    match transfer.add.as_ref().filter(|_| remote::is_remote(&text)) {
                        Some(add) => {
                            let checksum = add
                                .checksum
                                .as_ref()
                                .map(|word| lane.state.expand(word, scope))
                                .transpose()?;
                            let fetched = self
                                .fetch(&text, checksum.as_deref(), add.keep_git_dir)
                                .map_err(|err| Fault::at(line, err))?;
                            let unpack = !fetched.is_tree && add.unpack == Some(true);
                            found.push(self.of_staged(&fetched.path, &fetched.name, unpack)?);
                        }
                        None => patterns.push(text.into()),
                    }
                }
            }
        }
        if patterns.is_empty() {
            return Ok(found);
        }
        let unpack = is_add && transfer.add.as_ref().and_then(|add| add.unpack).unwrap_or(true);
        let choice = Choice { patterns, ..Choice::default() };
        let from = transfer.flags.from.as_ref().map(|word| lane.state.expand(word, scope)).transpose()?;
        let root = match &from {
            None => Root::Context(None),
            Some(name) => self.root_of(lane, name).map_err(|err| Fault::at(line, err))?,
        };
        found.push(match root {
            Root::Context(name) => {
                let context = self.context(name.as_deref());
                let choice = Choice { ignore: context.ignore.clone(), ..choice };
                let mut for_key = choice.clone();
                for_key.parents = transfer.flags.parents;
                for word in &transfer.flags.exclude {
                    for_key.exclude.push(lane.state.expand(word, scope)?.into());
                }
                let digest =
                    context.digest(self.engine.store(), &for_key).map_err(|err| Fault::at(line, err))?;
                let tree = Tree::Directory(context.root.as_path().into());
                Found { choice, tree, digest: Some(digest), unpack, keep_owner: false }
            }
            Root::Layers(layers) => {
                let over = self.scratch_directory("over")?;
                let lowers = self.lower_paths(&layers);
                let tree = Tree::Layers { lowers, over: over.as_path().into() };
                Found { choice, tree, digest: None, unpack, keep_owner: true }
            }
        });
        Ok(found)
    }

    /// A document of the Dockerfile as a file.
    fn heredoc(&mut self, lane: &Lane, doc: &Heredoc, scope: &Scope<'_>) -> Result<Found> {
        let content = if doc.expand {
            let lookup = |name: &str| lane.state.lookup(name);
            let expander = Expander { lookup: &lookup, escape: scope.escape };
            expander
                .document(&doc.content)
                .map_err(|err| Fault::plain(format!("heredoc {}: {}", doc.name, err.message)))?
        } else {
            doc.content.clone()
        };
        let dir = self.scratch_directory("docs")?;
        let name = doc.name.rsplit('/').next().unwrap_or_default();
        write_file(&dir.join(name), content.as_bytes())?;
        self.of_staged(&dir, name, false)
    }

    /// Something that was put into staging for this build: the file `name` in `dir`, or all of it.
    fn of_staged(&self, dir: &Path, name: &str, unpack: bool) -> Result<Found> {
        let pattern = if name.is_empty() { "." } else { name };
        let choice = Choice { patterns: vec![pattern.into()], literal: true, ..Choice::default() };
        let context = Context::new(dir.to_owned(), None);
        let digest = context.digest(self.engine.store(), &choice)?;
        Ok(Found {
            choice,
            tree: Tree::Directory(dir.into()),
            digest: Some(digest),
            unpack,
            keep_owner: false,
        })
    }

    /// An empty directory that lasts as long as the build.
    pub(super) fn scratch_directory(&mut self, name: &str) -> Result<PathBuf> {
        let staged = staging::dir(self.engine.store())?;
        drop(staged.subdir(name)?);
        let path = staged.path().join(name);
        self.scratch.push(staged);
        Ok(path)
    }

    /// The target of an order: the stage's layers below a fresh upper directory.
    pub(super) fn target(&self, lowers: Vec<Bytes>, directory: &Path) -> Target {
        Target::Overlay { lowers, directory: directory.into() }
    }
}

/// Writes a file that only this user may read; what is copied of it is 0644.
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let written = std::fs::write(path, content)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)));
    written.map_err(|err| crate::engine::Error::system(format!("write {}", path.display()), err).into())
}

/// Where a target is: a slash at the end says that it is a directory.
fn absolute(directory: &str, target: &str) -> String {
    let joined = if target.starts_with('/') { target.to_owned() } else { format!("{directory}/{target}") };
    let mut path = super::state::clean(&joined);
    let is_directory = target.is_empty() || target.ends_with('/') || target == "." || target.ends_with("/.");
    if is_directory && !path.ends_with('/') {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_keep_their_slash() {
        for (target, want) in
            [("/a/b", "/a/b"), ("b/", "/w/b/"), (".", "/w/"), ("./", "/w/"), ("../c", "/c"), ("/", "/")]
        {
            assert_eq!(absolute("/w", target), want, "{target}");
        }
    }
}
