//! What there is of a project: its containers, found by their labels.

use crate::compose::plan::Actual;
use crate::compose::project::label;
use crate::engine::filter::Filters;
use crate::engine::list::{Container, Query};
use crate::engine::state::Phase;
use crate::engine::{Engine, Result};

/// Every container of a project, those of `run` included.
///
/// # Errors
///
/// If the store cannot be read.
pub(crate) fn containers(engine: &Engine, project: &str) -> Result<Vec<Container>> {
    let filters = Filters::parse(&[format!("label={}={project}", label::PROJECT)], &["label"])?;
    Ok(engine.containers(&Query { all: true, filters, ..Query::default() })?.items)
}

/// A container as a plan sees it; `None` if its labels are no compose project's.
pub(crate) fn actual(container: &Container) -> Option<Actual> {
    let labels = &container.summary.labels;
    let text = |key: &str| labels.get(key).cloned().unwrap_or_default();
    Some(Actual {
        id: container.id.clone(),
        name: container.name.clone(),
        service: labels.get(label::SERVICE)?.clone(),
        number: text(label::NUMBER).parse().unwrap_or(1),
        hash: text(label::HASH),
        image: container.summary.image.as_ref().map(|image| image.id.hex()).unwrap_or_default(),
        running: is_running(container),
        one_off: text(label::ONE_OFF) == "True",
    })
}

/// Whether it runs, or is about to.
pub(crate) fn is_running(container: &Container) -> bool {
    !matches!(container.status.phase, Phase::Created | Phase::Exited(_))
}

/// Every container that belongs to some project.
///
/// # Errors
///
/// As [`containers`].
pub(crate) fn of_all_projects(engine: &Engine) -> Result<Vec<Container>> {
    let filters = Filters::parse(&[format!("label={}", label::PROJECT)], &["label"])?;
    Ok(engine.containers(&Query { all: true, filters, ..Query::default() })?.items)
}
