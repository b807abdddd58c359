//! Local images: listing, naming, removing.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageName, ImageRef, NameRule, Purpose};
use crate::base::order::InOrder as _;
use crate::base::pattern;
use crate::base::time;
use crate::engine::filter::{Filters, boolean, has_label};
use crate::engine::lineage::Lineage;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::StoreError;
use crate::store::images::ImageRecord;
use crate::store::lock::Exclusive;
use crate::store::refs::Refs;
use crate::store::shelf::Shelf;

/// One image and its names.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) record: ImageRecord,
    /// Its full names, the one that was given last first.
    pub(crate) names: Vec<ImageRef>,
    /// How many containers use it; `None` if nobody asked.
    pub(crate) containers: Option<usize>,
    /// A manifest list, which is shown among images.
    pub(crate) is_list: bool,
    /// The image that it is made from; `None` also if nobody asked.
    pub(crate) parent: Option<Digest>,
    /// Others are made from it; false also if nobody asked.
    pub(crate) has_children: bool,
}

/// A listing, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Images {
    pub(crate) items: Vec<Image>,
    /// What cannot be read: the image's ID (or another object's name), and why.
    pub(crate) damaged: Vec<(String, Error)>,
}

/// What a removal did to one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Names that are gone.
    pub(crate) untagged: Vec<ImageRef>,
    /// The image, if it is gone too, and then its parents that had no other purpose. One that others are made from
    /// goes without being told of: most of it stays.
    pub(crate) deleted: Vec<Digest>,
}

impl Image {
    /// An image and its names; nobody has asked for more.
    pub(in crate::engine) fn new(record: ImageRecord, names: Vec<ImageRef>) -> Self {
        Self { record, names, containers: None, is_list: false, parent: None, has_children: false }
    }

    /// When it was built, or came here if nobody knows.
    pub(crate) fn created(&self) -> Timestamp {
        self.record.created.unwrap_or(self.record.stored)
    }

    /// True if it has no name and nothing is made from it, as far as somebody asked.
    pub(crate) fn is_dangling(&self) -> bool {
        self.names.is_empty() && !self.has_children
    }

    /// All names that it has or once had, as podman orders them: those it has, the oldest first, then the others.
    pub(crate) fn names_history(&self) -> Vec<ImageRef> {
        let former = self.record.former.iter().filter(|name| !self.names.contains(name));
        self.names.iter().rev().chain(former).cloned().collect()
    }

    /// `repository@digest` for each repository it has a name in, and those it was pulled by.
    ///
    /// Docker's are digests that the repository's registry has, where it was pulled or pushed: of an index, not of the image
    /// in it.
    pub(crate) fn repo_digests(&self, rule: NameRule) -> Vec<ImageRef> {
        let known = &self.record.repo_digests;
        let mut all = known.clone();
        let is_docker = rule == NameRule::Docker;
        if is_docker {
            let indexed = |name: &ImageRef| {
                let of =
                    self.record.manifests.iter().find(|manifest| name.digest() == Some(&manifest.digest));
                let index = of.and_then(|manifest| manifest.index);
                index.is_some_and(|index| known.contains(&name.with_digest(index)))
            };
            all.retain(|name| !indexed(name));
        }
        if let Some(manifest) = self.record.manifest() {
            let repositories = self.names.iter().map(ImageRef::without_reference);
            let there =
                |one: &ImageRef| is_docker && known.iter().any(|name| name.without_reference() == *one);
            let new = repositories.filter(|one| !there(one)).map(|one| one.with_digest(manifest.digest));
            all.extend(new);
        }
        all.order();
        all.dedup();
        all
    }
}

impl Engine {
    /// The images that pass `filters`, the newest first. `count` asks for [`Image::containers`] and for relations.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing.
    pub(crate) fn images(&self, filters: &Filters, count: bool) -> Result<Images> {
        self.images_among(filters, count, Vec::new())
    }

    /// As [`Engine::images`], with `lists` among them.
    pub(in crate::engine) fn images_among(
        &self,
        filters: &Filters,
        count: bool,
        lists: Vec<Image>,
    ) -> Result<Images> {
        let tests = filters.tests(|key, value| self.image_test(key, value))?;
        let count = count || filters.values("containers").next().is_some();
        let mut found = self.all_images(count)?;
        let relations = ["intermediate", "dangling"].iter().any(|key| filters.values(key).next().is_some());
        // Only those without a name may be one or the other.
        if count || (relations && found.items.iter().any(|image| image.names.is_empty())) {
            self.relate(&mut found.items);
        }
        found.items.extend(lists);
        let mut items = Vec::with_capacity(found.items.len());
        for image in found.items {
            if tests.pass(|test| Ok(passes(&image, test, self.name_rule())))? {
                items.push(image);
            }
        }
        items.order_by(|a, b| (b.created(), a.record.id).cmp(&(a.created(), b.record.id)));
        found.items = items;
        Ok(found)
    }

    /// Says of each image what it is made from, and whether others are made from it.
    fn relate(&self, images: &mut [Image]) {
        let lineage = Lineage::of(self.store(), images.iter().map(|image| &image.record));
        for image in images {
            image.parent = lineage.parent(&image.record.id).copied();
            image.has_children = lineage.has_children(&image.record.id);
        }
    }

    fn all_images(&self, count: bool) -> Result<Images> {
        let refs = self.store().refs().list()?;
        let mut names = Refs::by_image(refs.items);
        let users = if count { Some(self.image_users()?) } else { None };
        let listing = self.store().images().list()?;
        let name_of = |err: &StoreError| match err {
            StoreError::Damaged { name, .. } => name.clone(),
            _ => String::new(),
        };
        let damaged = listing.damaged.into_iter().chain(refs.damaged);
        let damaged = damaged.map(|err| (name_of(&err), Error::from(err))).collect();
        let items = listing.items.into_iter().map(|record| {
            let names = self.in_order(names.remove(&record.id).unwrap_or_default());
            let containers = users.as_ref().map(|users| users.get(&record.id).copied().unwrap_or(0));
            Image { containers, ..Image::new(record, names) }
        });
        Ok(Images { items: items.collect(), damaged })
    }

    /// How many containers use each image.
    fn image_users(&self) -> Result<HashMap<Digest, usize>> {
        let mut users = HashMap::new();
        for container in self.store().containers().uses()?.items {
            *users.entry(container.image).or_default() += 1;
        }
        Ok(users.into_iter().filter_map(|(image, count)| Some((image?, count))).collect())
    }

    /// One image with its names.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn image_details(&self, typed: &str) -> Result<Image> {
        let found = self.image(typed)?;
        let mut record = found.image;
        // A name that stands for another manifest of the image than its first shows that one.
        record.manifests.order_by_key(|manifest| Some(manifest.digest) != found.manifest);
        let names = self.names_of_image(&record.id)?;
        Ok(Image::new(record, names))
    }

    /// Every name of an image, and the image it means.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn named_images(&self) -> Result<Vec<(ImageRef, Digest)>> {
        let refs = self.store().refs().list()?.items;
        Ok(refs.into_iter().map(|found| (found.name, found.image)).collect())
    }

    /// The names of an image, the one that was given last first; docker's users see them by the alphabet.
    pub(crate) fn names_of_image(&self, id: &Digest) -> Result<Vec<ImageRef>> {
        let names = Refs::by_image(self.store().refs().list()?.items).remove(id);
        Ok(self.in_order(names.unwrap_or_default()))
    }

    fn in_order(&self, mut names: Vec<ImageRef>) -> Vec<ImageRef> {
        if self.name_rule() == NameRule::Docker {
            names.order_by_key(|name| NameRule::Docker.shown(name));
        }
        names
    }

    /// Gives an image a further name; one without a registry is put on `localhost`.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] without the image, [`Kind::Invalid`] for what is no name.
    pub(crate) fn tag_image(&self, typed: &str, target: &str) -> Result<ImageRef> {
        if let Some(name) = self.tag_list(typed, target)? {
            return Ok(name);
        }
        let name = new_name(target, self.name_rule())?;
        let lock = self.lock()?;
        let found = self.image(typed)?;
        // The name moves here from a manifest list that has it.
        self.store().shelf(Shelf::Lists).remove(&name.to_string(), &lock)?;
        self.store().refs().set(&name, &found.image.id, found.manifest, &lock)?;
        self.record_image("tag", &found.image.id.hex(), &name.to_string());
        Ok(name)
    }

    /// Takes names off an image; all of them if `names` is empty.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] without the image, or if it has not such a name.
    pub(crate) fn untag_image(&self, typed: &str, names: &[String]) -> Result<()> {
        if self.untag_list(typed, names)? {
            return Ok(());
        }
        let lock = self.lock()?;
        let image = self.image_for(typed, Purpose::Act)?.image;
        let mut going = self.names_of_image(&image.id)?;
        if !names.is_empty() {
            going =
                names.iter().map(|name| find_name(&going, name, self.name_rule())).collect::<Result<_>>()?;
        }
        for name in going {
            self.take_name(&image.id, &name, &lock)?;
        }
        Ok(())
    }

    /// Takes a name off an image, which remembers it.
    fn take_name(&self, id: &Digest, name: &ImageRef, lock: &Exclusive) -> Result<()> {
        self.store().images().remember_name(id, name, lock)?;
        self.store().refs().remove(name, lock)?;
        self.record_image("untag", &id.hex(), &name.to_string());
        Ok(())
    }

    /// Removes a name, and with its last name the image; what only it used is freed by a following
    /// garbage collection.
    ///
    /// With `force`, an image with several names goes when its ID was given. With it go its parents that have no name
    /// and no other children.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if a container uses it, or if it has several names and
    /// was given by ID.
    pub(crate) fn remove_image(&self, typed: &str, force: bool) -> Result<Removed> {
        self.remove_image_and(typed, force, true)
    }

    /// As [`remove_image`](Self::remove_image); its parents stay without `parents`.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn remove_image_and(&self, typed: &str, force: bool, parents: bool) -> Result<Removed> {
        if typed.is_empty() {
            return Err(Error::invalid("the name of an image must not be empty"));
        }
        if let Some(removed) = self.remove_list(typed, force)? {
            return Ok(removed);
        }
        let lock = self.lock()?;
        let found = self.image_for(typed, Purpose::Act)?;
        let names = self.names_of_image(&found.image.id)?;
        let by_name = found.name.as_ref().filter(|name| name.digest().is_none());
        if let (Some(name), [_, _, ..]) = (by_name, &names[..]) {
            self.take_name(&found.image.id, name, &lock)?;
            return Ok(Removed { untagged: vec![name.clone()], deleted: vec![] });
        }
        let id = found.image.id;
        if by_name.is_none() && names.len() > 1 && !force {
            return Err(several_names(&id, &names));
        }
        if let Some(user) = self.users_of_image(&id)?.first() {
            return Err(Error::new(
                Kind::Conflict,
                format!(
                    "image used by {user}: image is in use by a container: \
                     consider listing external containers and force-removing image"
                ),
            )
            .hint("remove that container first, or use --force to remove it too"));
        }
        for name in &names {
            self.store().refs().remove(name, &lock)?;
            self.record_image("untag", &id.hex(), &name.to_string());
        }
        let deleted = self.remove_family(&found.image, &names, parents, &lock)?;
        Ok(Removed { untagged: names, deleted })
    }

    /// Removes an image that has lost its `names`, and with `parents` those above that are dangling then. Gives those
    /// without children.
    fn remove_family(
        &self,
        image: &ImageRecord,
        names: &[ImageRef],
        parents: bool,
        lock: &Exclusive,
    ) -> Result<Vec<Digest>> {
        let mut lineage = self.lineage()?;
        let mut deleted = Vec::new();
        let mut going = Some(image.id);
        let mut name = names.first().map_or(String::new(), ToString::to_string);
        while let Some(id) = going {
            self.store().images().remove(&id, lock)?;
            self.record_image("remove", &id.hex(), &std::mem::take(&mut name));
            let parent = lineage.parent(&id).copied().filter(|_| parents);
            if !lineage.has_children(&id) {
                deleted.push(id);
            }
            let Some(parent) = parent else { break };
            lineage = self.lineage()?;
            let is_needed = lineage.has_children(&parent)
                || !self.names_of_image(&parent)?.is_empty()
                || !self.users_of_image(&parent)?.is_empty();
            going = Some(parent).filter(|_| !is_needed);
        }
        Ok(deleted)
    }

    /// The containers that use an image.
    pub(crate) fn users_of_image(&self, id: &Digest) -> Result<Vec<crate::base::id::ContainerId>> {
        let uses = self.store().containers().uses()?.items.into_iter();
        Ok(uses.filter(|uses| uses.image == Some(*id)).map(|uses| uses.container).collect())
    }

    fn image_test(&self, key: &str, value: &str) -> Result<ImageTest> {
        let text = || value.to_owned();
        Ok(match key {
            "before" => ImageTest::Before(self.image_created(key, value)?),
            "since" | "after" => ImageTest::Since(self.image_created(key, value)?),
            "until" => {
                let when = time::parse_when(value, Timestamp::now(), &TimeZone::system());
                ImageTest::Before(when.map_err(|err| Error::invalid(err.to_string()))?)
            }
            "containers" if value == "external" => ImageTest::Never,
            "containers" => ImageTest::Used(boolean(key, value)?),
            "dangling" => ImageTest::Dangling(boolean(key, value)?),
            "intermediate" => ImageTest::Intermediate(boolean(key, value)?),
            "manifest" => ImageTest::List(boolean(key, value)?),
            // There are no read-only stores.
            "readonly" => match boolean(key, value)? {
                true => ImageTest::Never,
                false => ImageTest::Always,
            },
            "digest" => ImageTest::Digest(text()),
            "id" => ImageTest::Id(value.trim_start_matches("sha256:").to_owned()),
            "label" => ImageTest::Label(text()),
            "label!" => ImageTest::NoLabel(text()),
            "reference!" => ImageTest::NoReference(text()),
            _ => {
                // The beginning of an ID is as good as a name here.
                let found = self.store().resolve_image(value, Purpose::Act).ok();
                let by_id = found.filter(|found| found.name.is_none());
                ImageTest::Reference(text(), by_id.map(|found| found.image.id))
            }
        })
    }

    fn image_created(&self, key: &str, typed: &str) -> Result<Timestamp> {
        let found = self.store().resolve_image(typed, Purpose::Read).map_err(|err| match err {
            StoreError::NotFound { .. } => Error::not_found(format!(
                "could not find local image for filter {key:?}={typed:?}: {typed}: image not known"
            )),
            other => other.into(),
        })?;
        Ok(found.image.created.unwrap_or(found.image.stored))
    }
}

/// A filter made ready.
#[derive(Debug)]
enum ImageTest {
    Always,
    Never,
    Before(Timestamp),
    Since(Timestamp),
    Used(bool),
    Dangling(bool),
    Intermediate(bool),
    List(bool),
    Digest(String),
    Id(String),
    Label(String),
    NoLabel(String),
    Reference(String, Option<Digest>),
    NoReference(String),
}

fn passes(image: &Image, test: &ImageTest, rule: NameRule) -> bool {
    match test {
        ImageTest::Always => true,
        ImageTest::Never => false,
        ImageTest::Before(time) => image.created() < *time,
        ImageTest::Since(time) => image.created() > *time,
        ImageTest::Used(wanted) => (image.containers.unwrap_or(0) > 0) == *wanted,
        ImageTest::Dangling(wanted) => image.is_dangling() == *wanted,
        ImageTest::Intermediate(wanted) => (image.names.is_empty() && image.has_children) == *wanted,
        ImageTest::List(wanted) => image.is_list == *wanted,
        ImageTest::Digest(start) => {
            image.record.manifests.iter().any(|manifest| manifest.digest.to_string().starts_with(start))
        }
        ImageTest::Id(start) => image.record.id.hex().starts_with(start.as_str()),
        ImageTest::Label(filter) => has_label(&image.record.labels, filter),
        ImageTest::NoLabel(filter) => !has_label(&image.record.labels, filter),
        ImageTest::Reference(reference, id) => {
            *id == Some(image.record.id) || matches_reference(image, reference, rule)
        }
        ImageTest::NoReference(reference) => !matches_reference(image, reference, rule),
    }
}

fn matches_reference(image: &Image, reference: &str, rule: NameRule) -> bool {
    image.names.iter().chain(&image.record.repo_digests).any(|name| name_matches(name, reference, rule))
}

/// True if `reference`, which may be a glob, means this name of an image: as a whole, without its tag, or by the end of
/// its repository; by Docker's rule as a whole or without its tag, as it is shown or in full.
pub(crate) fn name_matches(name: &ImageRef, reference: &str, rule: NameRule) -> bool {
    if rule == NameRule::Docker {
        return [name.clone(), name.without_reference()].iter().any(|name| {
            let shown = [name.familiar(), name.to_string()];
            shown.iter().any(|text| pattern::glob(reference, text, true))
        });
    }
    let ends = |text: &str| {
        let mut rest = Some(text);
        while let Some(part) = rest {
            if pattern::glob(reference, part, true) {
                return true;
            }
            rest = part.split_once('/').map(|(_, rest)| rest);
        }
        false
    };
    ends(&name.to_string()) || ends(&name.name())
}

/// The refusal to remove by its ID what has several names, in podman's words and with its exit code.
pub(in crate::engine) fn several_names(id: &Digest, names: &[ImageRef]) -> Error {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    Error::invalid(format!(
        "unable to delete image {:?} by ID with more than one tag ([{}]): please force removal",
        id.hex(),
        names.join(" ")
    ))
    .hint("remove its names one by one, or use --force")
}

/// A name that is about to be given: `app` becomes `localhost/app:latest`, or by Docker's rule Docker Hub's.
pub(crate) fn new_name(typed: &str, rule: NameRule) -> Result<ImageRef> {
    let by_digest = || Error::invalid(format!("{typed}: tag by digest not supported"));
    // It could be read as the tag of a repository of that name, which nobody means.
    if typed.starts_with("sha256:") {
        return Err(by_digest());
    }
    let name: ImageName = typed.parse().map_err(|err| Error::invalid(format!("{err}")))?;
    if name.digest().is_some() {
        return Err(by_digest());
    }
    let full = match name.is_short() {
        true => name.on(rule.home()),
        false => typed.parse().map_err(|err| Error::invalid(format!("{err}")))?,
    };
    Ok(full.with_default_tag())
}

/// The one of `names` that `typed` means, to be taken off.
pub(in crate::engine) fn find_name(names: &[ImageRef], typed: &str, rule: NameRule) -> Result<ImageRef> {
    let unknown = || Error::not_found(format!("{typed}: tag not known"));
    let name: ImageName = typed.parse().map_err(|err| Error::invalid(format!("{err}")))?;
    let candidates = name.local_candidates(rule, Purpose::Act);
    let exact = candidates.iter().find(|candidate| names.contains(candidate));
    let tail = || names.iter().find(|known| rule == NameRule::Podman && name.is_tail_of(known));
    exact.or_else(tail).cloned().ok_or_else(unknown)
}
