//! Stops and removes containers: those first that nothing else depends on.

use std::collections::BTreeMap;

use crate::base::spec::MountKind;
use crate::compose::apply::Compose;
use crate::compose::plan::Actual;
use crate::engine::lifecycle::{Grace, StopOrder};
use crate::engine::remove::Removing;
use crate::engine::{Kind, Result};

impl Compose<'_> {
    /// Stops containers, all at once; before, those that run do what their services ask for.
    pub(crate) fn stop(&self, containers: &[&Actual], grace: Option<Grace>) -> Result<()> {
        containers.iter().filter(|container| container.running).try_for_each(|c| self.before_stop(c))?;
        self.end(containers, grace)
    }

    /// Stops containers without their hooks.
    pub(crate) fn end(&self, containers: &[&Actual], grace: Option<Grace>) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        let order = |container: &&Actual| StopOrder { id: container.id.clone(), grace, signal: None };
        let orders: Vec<StopOrder> = containers.iter().map(order).collect();
        let answers = orders.chunks(self.parallel.max(1)).flat_map(|orders| self.engine.stop(orders));
        answers.collect::<Vec<_>>().into_iter().try_for_each(|answer| match answer {
            Err(err) if err.kind == Kind::NotFound => Ok(()),
            other => other.map(drop),
        })
    }

    /// Stops containers, all at once, and tells of those that ran.
    pub(super) fn stop_and_tell(&self, containers: &[&Actual], grace: Option<Grace>) -> Result<()> {
        let running: Vec<&Actual> = containers.iter().filter(|c| c.running).copied().collect();
        running.iter().for_each(|container| self.event("Container", &container.name, "Stopping"));
        self.stop(&running, grace)?;
        running.iter().for_each(|container| self.event("Container", &container.name, "Stopped"));
        Ok(())
    }

    /// Stops containers, all at once, and removes them; their anonymous volumes stay.
    pub(super) fn remove_all(&self, containers: &[&Actual], grace: Option<Grace>) -> Result<()> {
        self.stop_and_tell(containers, grace)?;
        containers.iter().try_for_each(|container| self.delete(container, false))
    }

    /// Removes a container, with its anonymous volumes if asked, and tells of it.
    pub(crate) fn delete(&self, container: &Actual, volumes: bool) -> Result<()> {
        self.event("Container", &container.name, "Removing");
        if !self.dry_run {
            match self.discard(container, volumes) {
                Err(err) if err.kind == Kind::NotFound => {}
                other => other?,
            }
        }
        self.event("Container", &container.name, "Removed");
        Ok(())
    }

    /// Removes a container, with its anonymous volumes if asked: also those that it has from the container it
    /// was made in place of.
    pub(super) fn discard(&self, container: &Actual, volumes: bool) -> Result<()> {
        let mounted = self.engine.container_spec(&container.id).map(|spec| spec.mounts).unwrap_or_default();
        let how = Removing { force: true, volumes, depend: true, ..Removing::default() };
        self.engine.remove_container(&container.id, &how)?;
        for mount in mounted.iter().filter(|_| volumes) {
            if let MountKind::Volume { name, anonymous: false, .. } = &mount.kind
                && self.engine.store().volumes().get(name).is_ok_and(|volume| volume.anonymous)
            {
                match self.engine.remove_volume(name, None) {
                    Err(err) if matches!(err.kind, Kind::NotFound | Kind::Conflict) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }

    /// The containers in groups, the first of which nothing else depends on: the order in which they stop.
    pub(crate) fn stop_groups(&self, containers: Vec<Actual>) -> Vec<Vec<Actual>> {
        self.by_depth(containers, |container| &container.service).into_values().rev().collect()
    }

    /// What is to be done with services, in groups that follow each other: the services of one do not depend
    /// on each other.
    pub(super) fn levels<T>(&self, plans: Vec<(String, T)>) -> Vec<Vec<(String, T)>> {
        self.by_depth(plans, |(service, _)| service).into_values().collect()
    }

    /// What belongs to services, by how deep they stand.
    fn by_depth<T>(&self, items: Vec<T>, service: fn(&T) -> &String) -> BTreeMap<usize, Vec<T>> {
        let depths = self.depths();
        let mut groups: BTreeMap<usize, Vec<T>> = BTreeMap::new();
        for item in items {
            let depth = depths.get(service(&item)).copied().unwrap_or_default();
            groups.entry(depth).or_default().push(item);
        }
        groups
    }

    /// How many services stand below each service, one upon the other.
    fn depths(&self) -> BTreeMap<String, usize> {
        let mut depths: BTreeMap<String, usize> = BTreeMap::new();
        // Each comes after what it depends on.
        for name in self.project.select(&[], true).unwrap_or_default() {
            let below = self.project.dependencies(&name);
            let below = below.iter().filter_map(|dependency| depths.get(&dependency.service));
            let depth = below.max().map_or(0, |deepest| deepest + 1);
            depths.insert(name, depth);
        }
        depths
    }
}
