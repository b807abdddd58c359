//! Every object that takes space, as one document in docker's words (`docker system df -v --format`).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::base::size;
use crate::base::time;
use crate::cli::format::docker;
use crate::cli::session::Session;
use crate::documents::{listing, ports};
use crate::engine::df::Usage;

/// The document.
///
/// # Errors
///
/// If the store cannot be read.
pub(super) fn document(session: &mut Session<'_>, usage: &Usage) -> anyhow::Result<Value> {
    let named = listing::Named::read(session.engine()?)?;
    let (now, zone) = (Timestamp::now(), TimeZone::system());
    let at =
        |time: Timestamp| time::go_string(Timestamp::from_second(time.as_second()).unwrap_or(time), &zone);
    let mut images = Vec::new();
    for used in &usage.images {
        let (image, bytes) = (&used.image, used.shared_bytes + used.unique_bytes);
        for (repository, tag) in super::df::names(image, session.name_rule()) {
            let row = json!({
                "Containers": image.containers.unwrap_or(0), "CreatedAt": at(image.created()),
                "CreatedSince": time::human_ago(image.created(), now), "Digest": "", "ID": image.record.id.to_string(),
                "Repository": repository, "SharedSize": size::human(used.shared_bytes, 4), "Size": size::human(bytes, 3),
                "Tag": tag, "UniqueSize": size::human(used.unique_bytes, 4), "VirtualSize": size::human(bytes, 4),
            });
            images.push(docker::line(&row, docker::IMAGE));
        }
    }
    let containers = usage.containers.iter().map(|user| {
        let container = &user.container;
        let summary = &container.summary;
        let row = json!({
            "Command": listing::short_command(container, false), "CreatedAt": at(summary.created),
            "ID": container.id.as_str(), "Image": named.image(container, false), "Labels": summary.labels,
            "LocalVolumes": user.volumes, "Mounts": listing::mounts(container, false), "Names": container.name,
            "Networks": listing::networks(container), "Ports": ports::text(&ports::of(container)),
            "RunningFor": time::human_ago(summary.created, now), "Size": size::human(user.bytes, 3),
            "State": listing::state(container), "Status": listing::status(container, now),
        });
        docker::line(&row, docker::CONTAINER)
    });
    let containers: Vec<Value> = containers.collect();
    let store = session.engine()?.store();
    let volumes = usage.volumes.iter().map(|used| {
        let volume = &used.volume;
        let place = store.volumes().data_path(&volume.name).display().to_string();
        let mut row = json!({
            "Driver": volume.driver, "Labels": volume.labels, "Mountpoint": place, "Name": volume.name, "Scope": "local",
        });
        docker::volume(&mut row);
        row["Links"] = used.links.into();
        row["Size"] = size::human(used.bytes, 4).into();
        docker::line(&row, docker::VOLUME)
    });
    let volumes: Vec<Value> = volumes.collect();
    let builds = usage.builds.iter().map(|kept| {
        json!({
            "CacheType": if kept.cached.is_mount { "exec.cachemount" } else { "regular" },
            "CreatedAt": at(kept.cached.created), "CreatedSince": time::human_ago(kept.cached.created, now),
            "Description": kept.cached.description, "ID": kept.cached.id, "InUse": "false",
            "LastUsedAt": at(kept.cached.last_used), "LastUsedSince": time::human_ago(kept.cached.last_used, now),
            "Shared": kept.shared.to_string(), "Size": size::human(kept.bytes, 3), "UsageCount": "1",
        })
    });
    let builds: Vec<Value> = builds.collect();
    Ok(json!({"Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": builds}))
}
