//! Pods as listings show them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::order;
use crate::base::order::InOrder as _;
use crate::base::pattern::Regex;
use crate::base::pod::PodId;
use crate::base::spec::NetworkMode;
use crate::base::time;
use crate::engine::filter::{Filters, has_label};
use crate::engine::list::{Container, Query};
use crate::engine::pod::Pod;
use crate::engine::{Engine, Error, Result};

/// Keys of `pod ps --filter`.
pub(crate) const FILTERS: &[&str] = &[
    "ctr-ids",
    "ctr-names",
    "ctr-number",
    "ctr-status",
    "id",
    "label",
    "label!",
    "name",
    "network",
    "status",
    "until",
];

/// A listing, and what could not be read.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    pub(crate) items: Vec<Pod>,
    pub(crate) damaged: Vec<Error>,
}

/// A filter made ready.
enum Test {
    ContainerId(String),
    ContainerName(Regex),
    Number(usize),
    ContainerStatus(String),
    Id(String),
    Label(String),
    NoLabel(String),
    Name(Regex),
    Network(String),
    Status(String),
    Before(Timestamp),
}

impl Engine {
    /// The pods that `filters` ask for, the newest first.
    ///
    /// # Errors
    ///
    /// For a filter that means nothing. What cannot be read is in [`Pods::damaged`].
    pub(crate) fn pods(&self, filters: &Filters) -> Result<Pods> {
        let tests = filters.tests(|key, value| self.pod_test(key, value))?;
        let listing = self.store().pods().list()?;
        let mut found =
            Pods { items: Vec::new(), damaged: listing.damaged.into_iter().map(Error::from).collect() };
        if listing.items.is_empty() {
            return Ok(found);
        }
        let query = Query { all: true, connections: true, ..Query::default() };
        let mut members: BTreeMap<PodId, Vec<Container>> = BTreeMap::new();
        for container in self.containers(&query)?.items {
            if let Some(place) = &container.summary.pod {
                members.entry(place.id.clone()).or_default().push(container);
            }
        }
        for record in listing.items {
            let containers = members.remove(&record.id).unwrap_or_default();
            let pod = Pod { record, containers };
            if tests.pass(|test| Ok(pod.passes(test)))? {
                found.items.push(pod);
            }
        }
        found.items.order_by(|a, b| (b.record.created, &b.record.id).cmp(&(a.record.created, &a.record.id)));
        Ok(found)
    }

    /// The pod that was created last.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::engine::Kind::NotFound) if there is none.
    pub(crate) fn latest_pod(&self) -> Result<PodId> {
        let pods = self.store().pods().list()?.items.into_iter();
        let latest = pods.max_by_key(|pod| pod.created);
        latest.map(|pod| pod.id).ok_or_else(|| Error::not_found("no pods: no such pod"))
    }

    /// The names of all pods.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(crate) fn pod_names(&self) -> Result<BTreeMap<PodId, String>> {
        Ok(order::map(self.store().pods().list()?.items.into_iter().map(|pod| (pod.id, pod.name))))
    }

    fn pod_test(&self, key: &str, value: &str) -> Result<Test> {
        let regex = || Regex::new(value).map_err(|err| Error::invalid(err.to_string()));
        Ok(match key {
            "ctr-ids" => Test::ContainerId(value.to_owned()),
            "ctr-names" => Test::ContainerName(regex()?),
            "ctr-number" => Test::Number(value.parse().map_err(|_| {
                Error::invalid(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
            })?),
            "ctr-status" => match value {
                "created" | "running" | "paused" | "stopped" | "exited" | "unknown" => {
                    let word = if value == "stopped" { "exited" } else { value };
                    Test::ContainerStatus(word.to_owned())
                }
                _ => return Err(Error::invalid(format!("{value} is not a valid status"))),
            },
            "id" => Test::Id(value.to_owned()),
            "label" => Test::Label(value.to_owned()),
            "label!" => Test::NoLabel(value.to_owned()),
            "name" => Test::Name(regex()?),
            "network" => {
                Test::Network(self.network(value).map_or_else(|_| value.to_owned(), |network| network.name))
            }
            "status" => match value {
                "stopped" | "running" | "paused" | "exited" | "dead" | "created" | "degraded" => {
                    Test::Status(value.to_owned())
                }
                _ => return Err(Error::invalid(format!("{value} is not a valid pod status"))),
            },
            _ => {
                let when = time::parse_when(value, Timestamp::now(), &TimeZone::system());
                Test::Before(when.map_err(|err| Error::invalid(err.to_string()))?)
            }
        })
    }
}

impl Pod {
    fn passes(&self, test: &Test) -> bool {
        let any = |test: &dyn Fn(&Container) -> bool| self.containers.iter().any(test);
        match test {
            Test::ContainerId(start) => any(&|one| one.id.as_str().starts_with(start)),
            Test::ContainerName(pattern) => any(&|one| pattern.is_match(&one.name)),
            Test::Number(count) => self.containers.len() == *count,
            Test::ContainerStatus(word) => any(&|one| one.status.word() == word),
            Test::Id(start) => self.record.id.as_str().starts_with(start),
            Test::Label(filter) => has_label(&self.record.labels, filter),
            Test::NoLabel(filter) => !has_label(&self.record.labels, filter),
            Test::Name(pattern) => pattern.is_match(&self.record.name),
            Test::Network(name) => self.networks().contains(name),
            Test::Status(word) => self.state().eq_ignore_ascii_case(word),
            Test::Before(time) => self.record.created < *time,
        }
    }

    /// The networks that its infra container is on, by name.
    pub(crate) fn networks(&self) -> Vec<String> {
        match self.infra() {
            Some(infra) if matches!(infra.summary.network.mode, NetworkMode::Bridge(_)) => {
                infra.network_names()
            }
            _ => Vec::new(),
        }
    }
}
