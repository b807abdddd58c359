//! Removing images by docker's rules, which differ where containers use them.

use crate::base::id::ContainerId;
use crate::base::image_ref::{ImageRef, NameRule, Purpose};
use crate::engine::image::Removed;
use crate::engine::list::Query;
use crate::engine::{Engine, Error, Kind, Result};
use crate::store::resolve::Resolved;

impl Engine {
    /// Removes a name of an image, or by its ID all of them, and with the last one the image; a digest of a repository is no
    /// more than forgotten where the image has names. Containers that use it stay, and
    /// with them, by `force`, the image without its names. Its parents stay without `parents`.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] in docker's words if a container uses it, or if it has several names and was given
    /// by its ID.
    pub(crate) fn remove_image_as_docker(&self, typed: &str, force: bool, parents: bool) -> Result<Removed> {
        if typed.is_empty() {
            return Err(Error::invalid("image name cannot be blank"));
        }
        if let Some(removed) = self.remove_list(typed, force)? {
            return Ok(removed);
        }
        let found = self.image_for(typed, Purpose::Act)?;
        let names = self.names_of_image(&found.image.id)?;
        let users = self.users_of_image(&found.image.id)?;
        // With podman an image goes with its only name, however it is called.
        let stays = names.len() > usize::from(self.name_rule() != NameRule::Docker);
        if let Some(by_digest) = found.name.as_ref().filter(|name| stays && name.digest().is_some()) {
            self.store().images().forget_digest(&found.image.id, by_digest, &self.lock()?)?;
            return Ok(Removed { untagged: vec![by_digest.clone()], deleted: vec![] });
        }
        match &found.name {
            // Another name stays.
            Some(_) if names.len() > 1 => {}
            Some(_) if users.is_empty() => {}
            Some(_) if !force => return Err(needs_force(typed, &found, &users)),
            Some(_) => return self.take_names(&found, names),
            None if names.len() > 1 && !force => {
                let id = &found.image.id.hex()[..12];
                let message = format!(
                    "conflict: unable to delete {id} (must be forced) - image is referenced in multiple repositories"
                );
                return Err(Error::new(Kind::Conflict, message));
            }
            None if !users.is_empty() => {
                let running = self.containers(&Query::default())?.items;
                let running = running.iter().map(|container| &container.id).find(|id| users.contains(id));
                if running.is_some() || names.is_empty() || !force {
                    return Err(in_use(&found, running, &users));
                }
                return self.take_names(&found, names);
            }
            None => {}
        }
        self.remove_image_and(typed, force, parents)
    }

    fn take_names(&self, found: &Resolved, names: Vec<ImageRef>) -> Result<Removed> {
        self.untag_image(&found.image.id.to_string(), &[])?;
        Ok(Removed { untagged: names, deleted: vec![] })
    }
}

fn needs_force(typed: &str, found: &Resolved, users: &[ContainerId]) -> Error {
    let user = users.first().map_or("", ContainerId::short);
    let message = format!(
        "conflict: unable to remove repository reference {typed:?} (must force) - container {user} is using its \
         referenced image {}",
        &found.image.id.hex()[..12]
    );
    Error::new(Kind::Conflict, message).hint("remove that container first")
}

fn in_use(found: &Resolved, running: Option<&ContainerId>, users: &[ContainerId]) -> Error {
    let (how, user) = match (running, users.first()) {
        (Some(id), _) => (" (cannot be forced)", format!("running container {}", id.short())),
        (None, Some(id)) => (" (must be forced)", format!("stopped container {}", id.short())),
        (None, None) => ("", "a container".to_owned()),
    };
    let id = &found.image.id.hex()[..12];
    let message = format!("conflict: unable to delete {id}{how} - image is being used by {user}");
    Error::new(Kind::Conflict, message).hint("remove that container first")
}
