//! What listings show of specs, kept in one file once there are many: a spec never changes, so that opening and
//! reading hundreds of them each time is waste.
//!
//! ```text
//! summaries     <id> {"created":…,"image":…}        a line for each container, as the last long listing found them
//! ```
//!
//! Nothing depends on it. A line that is missing or cannot be understood is read from the spec, one too many is never
//! looked for, and whoever cannot write the file does without.

use std::collections::HashMap;
use std::path::Path;

use crate::base::id::ContainerId;
use crate::engine::list::Summary;
use crate::store::{Store, staging};
use crate::sys::fs;

/// The file, in the store.
const FILE: &str = "summaries";
/// The longest that is read, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// With fewer containers it is neither read nor written.
const MANY: usize = 64;

/// The summaries that are known.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    text: String,
    /// Where the JSON of each is in the text.
    places: HashMap<ContainerId, std::ops::Range<usize>>,
}

impl Summaries {
    /// Those of a store with so many containers.
    pub(super) fn read(store: &Store, containers: usize) -> Self {
        if containers < MANY {
            return Self::default();
        }
        let text = fs::read_at(store.dir(), FILE, MAX_BYTES).unwrap_or_default();
        Self::parse(String::from_utf8(text).unwrap_or_default())
    }

    fn parse(text: String) -> Self {
        let mut places = HashMap::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = start + line.len();
            if let Some((id, json)) = line.split_once(' ')
                && let Ok(id) = id.parse()
            {
                places.insert(id, end - json.len()..end);
            }
            start = end;
        }
        Self { text, places }
    }

    /// That of a container.
    pub(super) fn get(&self, id: &ContainerId) -> Option<Summary> {
        serde_json::from_str(&self.text[self.places.get(id)?.clone()]).ok()
    }

    /// Writes those of `all` containers if so many of them were not known that it is worth it.
    pub(super) fn keep<'a>(
        &self,
        store: &Store,
        all: impl Iterator<Item = (&'a ContainerId, &'a Summary)> + Clone,
    ) {
        let (count, unknown) = all.clone().fold((0, 0), |(count, unknown), (id, _)| {
            (count + 1, unknown + usize::from(!self.places.contains_key(id)))
        });
        if count < MANY || unknown * 8 < count {
            return;
        }
        let mut text = Vec::new();
        for (id, summary) in all {
            text.extend_from_slice(id.as_str().as_bytes());
            text.push(b' ');
            // A summary that cannot be written is read from the spec as before.
            serde_json::to_writer(&mut text, summary).ok();
            text.push(b'\n');
        }
        if let Ok(staged) = staging::file(store, &text, false) {
            fs::rename(store.dir(), &staged, store.dir(), Path::new(FILE)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = r#"{"created":"2026-11-21T18:24:34Z","image":null,"network":{"mode":"none","ports":[]},
        "mounts":[],"restart":"no","auto_remove":false,"labels":{},"exposed_ports":[],"cid_file":null,
        "as_typed":{"command":["true"]},"health":HEALTH}"#;

    #[test]
    fn what_is_kept_is_what_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let summary = |health| serde_json::from_str::<Summary>(&SUMMARY.replace("HEALTH", health)).unwrap();
        let all: Vec<_> = (0..=u8::try_from(MANY).unwrap())
            .map(|n| {
                (ContainerId::from_random([n; 32]), summary(if n == 3 { "{\"command\":[]}" } else { "null" }))
            })
            .collect();
        let few = Summaries::read(&store, all.len());
        assert!(few.places.is_empty());
        few.keep(&store, all.iter().take(MANY - 1).map(|(id, summary)| (id, summary)));
        assert!(!dir.path().join(FILE).exists());

        few.keep(&store, all.iter().map(|(id, summary)| (id, summary)));
        let known = Summaries::read(&store, all.len());
        for (n, (id, summary)) in all.iter().enumerate() {
            let again = known.get(id).unwrap();
            assert_eq!(format!("{again:?}"), format!("{summary:?}"));
            assert_eq!(again.health.is_some(), n == 3);
        }
        assert!(known.get(&ContainerId::from_random([200; 32])).is_none());

        // Nothing new: not written again.
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        known.keep(&store, all.iter().map(|(id, summary)| (id, summary)));
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn damage_is_nothing_known() {
        let id = ContainerId::from_random([7; 32]);
        let line = format!("{id} {}\n", SUMMARY.replace("HEALTH", "null").replace('\n', ""));
        assert!(Summaries::parse(line.clone()).get(&id).is_some());
        for damaged in
            ["", "\0\0\0\0", "x y\n\n \n", &line[..line.len() / 2], &line[1..], &line.replace("created", "x")]
        {
            assert!(Summaries::parse(damaged.to_owned()).get(&id).is_none(), "{damaged:?}");
        }
    }
}
