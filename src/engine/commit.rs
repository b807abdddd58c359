//! `commit`: a new image from what a container has become.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::base::bytes::Bytes;
use crate::base::digest::Digest;
use crate::base::id::ContainerId;
use crate::base::image_document::{ConfigDocument, Step};
use crate::base::image_ref::ImageRef;
use crate::base::manifest::{ContainerDefaults, Form};
use crate::base::spec::{ContainerSpec, MountKind};
use crate::engine::layer::LayerOptions;
use crate::engine::register::{MAX_DOCUMENT, NewImage};
use crate::engine::{Engine, Error, Kind, Result, changes};

/// Variables that ketch itself gives to containers, and that a further one gets anew.
const OWN_VARIABLES: [&str; 4] = ["HOME", "HOSTNAME", "TERM", "container"];

/// What to commit, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commit {
    /// Names of the image.
    pub(crate) names: Vec<ImageRef>,
    pub(crate) author: String,
    pub(crate) message: String,
    /// Instructions of a Dockerfile (`--change`).
    pub(crate) changes: Vec<String>,
    /// A JSON object with fields of an image's `config` that go before the container's (`--config`).
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) form: Form,
    /// What is mounted as a volume becomes a volume of the image.
    pub(crate) volumes: bool,
    /// One layer with everything, instead of one more.
    pub(crate) squash: bool,
    /// One that runs stands still while its files are read.
    pub(crate) pause: Pause,
}

/// Whether a container stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pause {
    #[default]
    Never,
    IfItCan,
    Surely,
}

impl Engine {
    /// Makes an image of a container, and returns its ID.
    ///
    /// # Errors
    ///
    /// [`Kind::Invalid`] for a container without an image or a change that
    /// is none; what cannot be read or written.
    pub(crate) fn commit(&self, id: &ContainerId, commit: &Commit) -> Result<Digest> {
        let spec = self.container_spec(id)?;
        let Some(origin) = &spec.image else {
            return Err(Error::invalid("cannot commit a container that uses an exploded rootfs"));
        };
        let base = self.store().images().get(&origin.id)?;
        let text = self.store().blobs().read_small(&origin.id, MAX_DOCUMENT)?;
        let mut document = ConfigDocument::parse(&text)
            .map_err(|err| Error::system("read the configuration of the image", err))?;
        configure(&mut document.config, &spec, commit.volumes);
        if let Some(text) = &commit.config {
            merge(&mut document.config, text)?;
        }
        commit.changes.iter().try_for_each(|change| changes::apply(&mut document.config, change))?;

        let below = if commit.squash { vec![] } else { self.image_layers(&base)? };
        let options = LayerOptions { squash: commit.squash, ..LayerOptions::default() };
        let layer = match commit.pause != Pause::Never && self.runs(id)? && !self.is_paused(id)? {
            true => self.while_paused(id, || self.commit_upper(id, &options)),
            false => self.commit_upper(id, &options),
        };
        let mut layer = match layer {
            // It has ended before it could be paused, or somebody else has paused it.
            Err(err) if err.kind == Kind::Conflict => self.commit_upper(id, &options)?,
            Err(err) if err.kind == Kind::Unsupported && commit.pause == Pause::IfItCan => {
                self.commit_upper(id, &options)?
            }
            other => other?,
        };
        let (wanted, mut descriptors): (Vec<_>, Vec<_>) = below.into_iter().unzip();
        self.add_layer(&wanted, &mut layer)?;
        descriptors.push(layer.descriptor.clone());

        let now = Timestamp::now();
        if commit.squash {
            document.clear_layers();
        }
        document.set_created(now);
        document.set_author(&commit.author);
        if !commit.message.is_empty() && commit.form == Form::Docker {
            document.set("comment", commit.message.as_str());
        }
        document.push_layer(&layer.diff_id);
        let command: Vec<_> = spec.process.args.iter().map(|word| word.to_string_lossy()).collect();
        let comment = match commit.message.as_str() {
            "" => format!("FROM {}", origin.name),
            message => message.to_owned(),
        };
        document.push_history(&Step {
            created: Some(now),
            created_by: command.join(" "),
            author: commit.author.clone(),
            comment,
            empty_layer: false,
        });
        let mut image = NewImage::of(document.to_bytes(), &descriptors, commit.form, &BTreeMap::new());
        image.names.clone_from(&commit.names);
        image.parent = Some(base.id);
        let registered = self.register_image(&image);
        drop(layer);
        if registered.is_ok() {
            self.record_container("commit", id);
        }
        registered
    }
}

/// What the container was given becomes what the image gives.
fn configure(defaults: &mut ContainerDefaults, spec: &ContainerSpec, volumes: bool) {
    let texts = |words: &[Bytes]| words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    defaults.entrypoint = texts(&spec.as_typed.entrypoint);
    defaults.cmd = texts(&spec.as_typed.command);
    for variable in &spec.process.env {
        let variable = variable.to_string_lossy();
        if let Some((key, value)) = variable.split_once('=')
            && !OWN_VARIABLES.contains(&key)
        {
            changes::set_env(defaults, key, value);
        }
    }
    defaults.exposed_ports.extend(spec.all_exposed_ports());
    defaults.labels.clone_from(&spec.labels);
    if !spec.process.user.is_empty() {
        defaults.user.clone_from(&spec.process.user);
    }
    defaults.working_dir = spec.process.cwd.to_string_lossy().into_owned();
    if volumes {
        let mounted = spec
            .mounts
            .iter()
            .filter(|mount| matches!(mount.kind, MountKind::Volume { .. } | MountKind::Bind { .. }));
        defaults.volumes.extend(mounted.map(|mount| mount.target.to_string_lossy().into_owned()));
    }
}

/// Sets the fields that a JSON object has.
fn merge(defaults: &mut ContainerDefaults, text: &[u8]) -> Result<()> {
    let given: ContainerDefaults = serde_json::from_slice(text)
        .map_err(|err| Error::invalid("read the configuration file").because(err))?;
    let replace_text = |old: &mut String, new: String| {
        if !new.is_empty() {
            *old = new;
        }
    };
    let replace_list = |old: &mut Vec<String>, new: Vec<String>| {
        if !new.is_empty() {
            *old = new;
        }
    };
    replace_text(&mut defaults.user, given.user);
    replace_text(&mut defaults.working_dir, given.working_dir);
    replace_text(&mut defaults.stop_signal, given.stop_signal);
    replace_list(&mut defaults.entrypoint, given.entrypoint);
    replace_list(&mut defaults.cmd, given.cmd);
    replace_list(&mut defaults.shell, given.shell);
    replace_list(&mut defaults.on_build, given.on_build);
    defaults.exposed_ports.extend(given.exposed_ports);
    defaults.volumes.extend(given.volumes);
    defaults.labels.extend(given.labels);
    defaults.healthcheck = given.healthcheck.or(defaults.healthcheck.take());
    for variable in &given.env {
        let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
        changes::set_env(defaults, key, value);
    }
    Ok(())
}
