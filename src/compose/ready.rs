//! Starts containers, each when what it depends on has come so far, and waits until they are ready.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::base::health::Health;
use crate::base::id::ContainerId;
use crate::compose::apply::{Compose, LOOK};
use crate::compose::observe;
use crate::compose::plan::{self, Actual};
use crate::compose::project::Condition;
use crate::engine::lifecycle::Grace;
use crate::engine::list::Container;
use crate::engine::state::Phase;
use crate::engine::{Error, Kind, Result};

impl Compose<'_> {
    /// Starts the containers of the services, each when its dependencies allow it. Those that depend on a
    /// service made `anew` with `restart: true` are restarted.
    pub(crate) fn start_in_order(
        &self,
        order: &[String],
        anew: &BTreeSet<String>,
        grace: Option<Grace>,
    ) -> Result<()> {
        let mut services = plan::by_service(self.containers()?);
        if self.dry_run {
            self.pretend_to_start(order, &services);
        }
        (self.pause)(Duration::ZERO)?;
        let mut waiting: Vec<String> = order.to_vec();
        let mut told: BTreeSet<String> = BTreeSet::new();
        while !waiting.is_empty() {
            let (mut ready, mut still) = (Vec::new(), Vec::new());
            for name in waiting {
                let before: Vec<&String> = still.iter().chain(&ready).collect();
                match self.may_start(&name, &before, order, &mut told)? {
                    true => ready.push(name),
                    false => still.push(name),
                }
            }
            let mut to_start = Vec::new();
            for name in &ready {
                let dependencies = self.project.dependencies(name);
                let restart = !anew.contains(name)
                    && dependencies.iter().any(|d| d.restart && anew.contains(&d.service));
                let own = services.remove(name).unwrap_or_default().into_iter();
                to_start.extend(own.filter(|c| !c.one_off && (restart || !c.running)));
            }
            let restarted: Vec<&Actual> = to_start.iter().filter(|container| container.running).collect();
            restarted.iter().for_each(|container| self.event("Container", &container.name, "Restarting"));
            self.stop(&restarted, grace)?;
            self.start(&to_start)?;
            waiting = still;
            if ready.is_empty() {
                (self.pause)(LOOK)?;
            }
        }
        Ok(())
    }

    /// Tells of the starts of containers that would be made.
    fn pretend_to_start(&self, order: &[String], services: &BTreeMap<String, Vec<Actual>>) {
        for name in order {
            let there = services.get(name).map(Vec::as_slice).unwrap_or_default();
            let is_there = |number: u32| there.iter().any(|container| container.number == number);
            for number in (1..=self.project.scale(name)).filter(|number| !is_there(*number)) {
                let container = self.project.container_name(name, number);
                self.event("Container", &container, "Starting");
                self.event("Container", &container, "Started");
            }
        }
    }

    /// Starts containers, as many at once as may be.
    pub(super) fn start(&self, containers: &[Actual]) -> Result<()> {
        let say = |container: &Actual, state| self.event("Container", &container.name, state);
        if self.dry_run {
            for container in containers {
                say(container, "Starting");
                say(container, "Started");
            }
            return Ok(());
        }
        let ids: Vec<ContainerId> = containers.iter().map(|container| container.id.clone()).collect();
        let mut done = |index: usize, result: Result<i32>| {
            let container: &Actual = &containers[index];
            match result {
                // It is running already: another command, or its restart policy, was faster.
                Err(err) if err.kind == Kind::Conflict => {}
                other => drop(other?),
            }
            self.run_hooks(container, "post_start")?;
            say(container, "Started");
            Ok(())
        };
        let mut begun = |index: usize| say(&containers[index], "Starting");
        self.engine.start_containers(&ids, self.parallel, &mut begun, &mut done)
    }

    /// Waits until all that a service depends on has come so far, for one that is started beside the plan.
    ///
    /// # Errors
    ///
    /// If a dependency fails that is required.
    pub(crate) fn wait_for_dependencies(&self, name: &str, dependencies: &[String]) -> Result<()> {
        let mut told = BTreeSet::new();
        while !self.may_start(name, &[], dependencies, &mut told)? {
            (self.pause)(LOOK)?;
        }
        Ok(())
    }

    /// Whether all that a service depends on has come so far.
    fn may_start(
        &self,
        name: &str,
        before: &[&String],
        order: &[String],
        told: &mut BTreeSet<String>,
    ) -> Result<bool> {
        for dependency in self.project.dependencies(name) {
            if before.contains(&&dependency.service) {
                return Ok(false);
            }
            // Without dependencies (`--no-deps`) nobody waits for them.
            if dependency.condition == Condition::Started
                || !order.contains(&dependency.service)
                || self.dry_run
            {
                continue;
            }
            for container in self.containers_of(&dependency.service)? {
                let outcome = is_fulfilled(&container, dependency.condition);
                if told.insert(container.name.clone()) {
                    self.event("Container", &container.name, "Waiting");
                }
                match outcome {
                    Ok(true) => {
                        if told.insert(format!("{} is ready", container.name)) {
                            let state =
                                if dependency.condition == Condition::Healthy { "Healthy" } else { "Exited" };
                            self.event("Container", &container.name, state);
                        }
                    }
                    Ok(false) => return Ok(false),
                    Err(why) if dependency.required => {
                        self.event("Container", &container.name, "Error");
                        let why = match (dependency.condition, exited(&container)) {
                            (Condition::Completed, Some(code)) => {
                                format!(
                                    "service {:?} didn't complete successfully: exit {code}",
                                    dependency.service
                                )
                            }
                            _ => format!("dependency failed to start: {why}"),
                        };
                        return Err(Error::new(Kind::Conflict, why));
                    }
                    Err(why) => {
                        if told.insert(format!("{} {name}", container.name)) {
                            (self.warn)(&format!("optional dependency {:?}: {why}", dependency.service));
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    /// A service's own containers, as they are now.
    pub(super) fn containers_of(&self, service: &str) -> Result<Vec<Container>> {
        let mut all = observe::containers(self.engine, &self.project.name)?;
        all.retain(|container| is_of(container, service));
        Ok(all)
    }

    /// Waits until every container of the services runs and, where it has a check, is healthy; those of a service
    /// whose end others wait for, until they have ended well.
    ///
    /// # Errors
    ///
    /// If one ends or becomes unhealthy, or `limit` is over.
    pub(crate) fn wait_until_ready(&self, order: &[String], limit: Option<Duration>) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        let end = limit.map(|limit| Instant::now() + limit);
        let is_job = |name: &&String| self.project.is_waited_for_to_end(name);
        let jobs: BTreeSet<&String> = order.iter().filter(is_job).collect();
        let (mut ready, mut told) = (BTreeSet::new(), BTreeSet::new());
        loop {
            let mut all = true;
            // Before the look: on a slow machine one that ran then may have been young, and have ended since.
            let looked = Timestamp::now();
            let found = observe::containers(self.engine, &self.project.name)?;
            for name in order {
                let is_job = jobs.contains(name);
                for container in found.iter().filter(|container| is_of(container, name)) {
                    if ready.contains(&container.id) {
                        continue;
                    }
                    if told.insert(container.id.clone()) {
                        self.event("Container", &container.name, "Waiting");
                    }
                    let condition = match container.health {
                        _ if is_job => Condition::Completed,
                        Some(_) => Condition::Healthy,
                        None => Condition::Started,
                    };
                    match is_fulfilled(container, condition) {
                        Ok(true) if condition == Condition::Started && !has_lasted(container, looked) => {
                            all = false;
                        }
                        Ok(true) => {
                            let state = if is_job { "Exited" } else { "Healthy" };
                            self.event("Container", &container.name, state);
                            ready.insert(container.id.clone());
                        }
                        Ok(false) => all = false,
                        Err(why) => {
                            self.event("Container", &container.name, "Error");
                            return Err(Error::new(Kind::Conflict, why));
                        }
                    }
                }
            }
            if all {
                return Ok(());
            }
            if end.is_some_and(|end| Instant::now() > end) {
                let limit = limit.unwrap_or_default().as_secs();
                let message = format!("application not healthy after {}", human(limit));
                return Err(Error::new(Kind::System, message));
            }
            (self.pause)(LOOK)?;
        }
    }
}

/// How long a container without a check must have run to count as well: docker compose first looks then.
const PROBATION: SignedDuration = SignedDuration::from_millis(500);

fn has_lasted(container: &Container, looked: Timestamp) -> bool {
    let started = container.status.record.as_ref().map(|record| record.started);
    started.is_some_and(|started| looked.duration_since(started).abs() >= PROBATION)
}

/// `1m30s`.
fn human(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// Whether a container is a service's own, and none of `run`.
fn is_of(container: &Container, service: &str) -> bool {
    observe::actual(container).is_some_and(|actual| actual.service == service && !actual.one_off)
}

/// The exit code of a container that has ended.
fn exited(container: &Container) -> Option<i32> {
    match container.status.phase {
        Phase::Exited(code) | Phase::Ending(code) => Some(code),
        _ => None,
    }
}

/// Whether a container has come as far as `condition` asks.
///
/// # Errors
///
/// Why it never will.
fn is_fulfilled(container: &Container, condition: Condition) -> std::result::Result<bool, String> {
    let name = &container.name;
    // Its next life may do better.
    if container.will_restart() {
        return Ok(false);
    }
    let exited = exited(container);
    match condition {
        Condition::Completed => match exited {
            Some(0) => Ok(true),
            Some(code) => Err(format!("container {name} exited ({code})")),
            None => Ok(false),
        },
        Condition::Started => match exited {
            Some(code) => Err(format!("container {name} exited ({code})")),
            None => Ok(container.is_up()),
        },
        Condition::Healthy => match (exited, container.health) {
            (Some(code), _) => Err(format!("container {name} exited ({code})")),
            (None, None) => Err(format!("container {name} has no healthcheck configured")),
            (None, Some(Health::Healthy)) => Ok(true),
            (None, Some(Health::Unhealthy)) => Err(format!("container {name} is unhealthy")),
            (None, Some(_)) => Ok(false),
        },
    }
}
