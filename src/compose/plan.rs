//! What has to be done to a service's containers so that they are as the file wants them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::ContainerId;
use crate::base::order::InOrder as _;

/// A container of the project, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actual {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) number: u32,
    /// The hash of the configuration it was made from.
    pub(crate) hash: String,
    /// The image it was made from.
    pub(crate) image: String,
    pub(crate) running: bool,
    /// Made by `run`, and none of the service's own.
    pub(crate) one_off: bool,
}

/// What a service shall be.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) hash: String,
    /// The image's ID, if it is here.
    pub(crate) image: String,
    pub(crate) scale: u32,
}

/// How eagerly containers are made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recreate {
    /// If something about them has changed.
    #[default]
    Changed,
    Always,
    Never,
}

/// What becomes of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There are too many.
    Remove(Actual),
    /// Made anew under the same number; its anonymous volumes go on.
    Recreate(Actual),
    /// There are too few.
    Create(u32),
    /// As it shall be, but not running.
    Start(Actual),
    /// As it shall be.
    Keep(Actual),
}

/// The steps for one service: containers with the lowest numbers stay.
pub(crate) fn service(wanted: &Wanted, actual: &[Actual], recreate: Recreate) -> Vec<Step> {
    let mut own: Vec<&Actual> = actual.iter().filter(|container| !container.one_off).collect();
    // Two of one number are what a killed command left: the newer one, which comes later, is complete, and the
    // older one may be ending.
    own.reverse();
    own.order_by_key(|container| container.number);
    let mut numbers = BTreeSet::new();
    let (mut own, spare): (Vec<&Actual>, Vec<&Actual>) =
        own.into_iter().partition(|container| numbers.insert(container.number));
    let scale = wanted.scale as usize;
    let surplus = own.iter().skip(scale).rev().chain(&spare);
    let mut steps: Vec<Step> = surplus.map(|container| Step::Remove((*container).clone())).collect();
    own.truncate(scale);
    for container in &own {
        let changed = container.hash != wanted.hash || container.image != wanted.image;
        let container = (*container).clone();
        steps.push(match (recreate, changed, container.running) {
            (Recreate::Always, ..) | (Recreate::Changed, true, _) => Step::Recreate(container),
            (_, _, false) => Step::Start(container),
            (_, _, true) => Step::Keep(container),
        });
    }
    let taken: Vec<u32> = own.iter().map(|container| container.number).collect();
    let missing = scale.saturating_sub(taken.len());
    steps.extend((1..).filter(|number| !taken.contains(number)).take(missing).map(Step::Create));
    steps
}

/// Whether a service gets containers that it did not have before; one that a killed command has made already is among
/// them as long as the one is there that it takes the place of.
pub(crate) fn brings_new(steps: &[Step]) -> bool {
    let stays = |number: u32| {
        steps.iter().any(|step| matches!(step, Step::Keep(c) | Step::Start(c) if c.number == number))
    };
    steps.iter().any(|step| match step {
        Step::Recreate(_) | Step::Create(_) => true,
        Step::Remove(container) => stays(container.number),
        Step::Keep(_) | Step::Start(_) => false,
    })
}

/// The containers by service, in the order of their numbers.
pub(crate) fn by_service(actual: Vec<Actual>) -> BTreeMap<String, Vec<Actual>> {
    let mut services: BTreeMap<String, Vec<Actual>> = BTreeMap::new();
    for container in actual {
        services.entry(container.service.clone()).or_default().push(container);
    }
    services.values_mut().for_each(|list| list.order_by_key(|container| container.number));
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(number: u32, hash: &str, running: bool) -> Actual {
        let id = format!("{number:064x}").parse().unwrap();
        let name = format!("p-s-{number}");
        let (service, hash, image) = ("s".to_owned(), hash.to_owned(), "i".to_owned());
        Actual { id, name, service, number, hash, image, running, one_off: false }
    }

    #[test]
    fn only_what_changed_is_made_anew() {
        let wanted = |scale| Wanted { hash: "h".into(), image: "i".into(), scale };
        let kept = container(1, "h", true);
        let stopped = container(2, "h", false);
        let old = container(3, "x", true);
        let actual = [old.clone(), kept.clone(), stopped.clone()];
        assert_eq!(
            service(&wanted(4), &actual, Recreate::Changed),
            [
                Step::Keep(kept.clone()),
                Step::Start(stopped.clone()),
                Step::Recreate(old.clone()),
                Step::Create(4)
            ]
        );
        assert_eq!(
            service(&wanted(1), &actual, Recreate::Never),
            [Step::Remove(old.clone()), Step::Remove(stopped.clone()), Step::Keep(kept.clone())]
        );
        let newer = Actual { id: format!("{:064x}", 9).parse().unwrap(), ..kept.clone() };
        assert_eq!(
            service(&wanted(1), &[kept.clone(), newer.clone()], Recreate::Changed),
            [Step::Remove(kept.clone()), Step::Keep(newer)]
        );
        assert!(brings_new(&[
            Step::Remove(kept.clone()),
            Step::Keep(Actual { running: false, ..kept.clone() })
        ]));
        assert!(!brings_new(&[Step::Remove(stopped.clone()), Step::Keep(kept.clone())]));
        assert_eq!(service(&wanted(1), &[], Recreate::Changed), [Step::Create(1)]);
        assert_eq!(
            service(&wanted(1), std::slice::from_ref(&kept), Recreate::Always),
            [Step::Recreate(kept.clone())]
        );
        assert_eq!(service(&wanted(0), &[], Recreate::Always), []);
    }
}
