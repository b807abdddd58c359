//! Events in the system's journal, with the fields that podman gives them.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::events::Event;
use crate::sys::journal::Journal;

/// Sends events to the journal that listens on `socket`.
pub(super) fn send(socket: &Path, events: &[Event]) -> io::Result<()> {
    let mut journal = Journal::open(socket)?;
    for event in events {
        let text = |journal: &mut Journal, key: &str, value: &str| {
            if !value.is_empty() {
                journal.field(key, value.as_bytes());
            }
        };
        text(
            &mut journal,
            "MESSAGE",
            &format!("{} {} {} {}", event.kind, event.status, event.id, event.name),
        );
        text(&mut journal, "PRIORITY", "6");
        text(&mut journal, "SYSLOG_IDENTIFIER", "ketch");
        text(&mut journal, "PODMAN_EVENT", &event.status);
        text(&mut journal, "PODMAN_TYPE", &event.kind);
        text(&mut journal, "PODMAN_TIME", &event.time.to_string());
        text(&mut journal, "PODMAN_ID", &event.id);
        text(&mut journal, "PODMAN_NAME", &event.name);
        text(&mut journal, "PODMAN_IMAGE", &event.image);
        text(&mut journal, "KETCH_IMAGE_TYPED", &event.image_typed);
        text(&mut journal, "PODMAN_NETWORK_NAME", &event.network);
        text(&mut journal, "PODMAN_HEALTH_STATUS", &event.health_status);
        if let Some(code) = event.container_exit_code {
            text(&mut journal, "PODMAN_EXIT_CODE", &code.to_string());
        }
        if !event.attributes.is_empty() {
            text(&mut journal, "PODMAN_LABELS", &serde_json::to_string(&event.attributes)?);
        }
        if !event.dockers.is_empty() {
            text(&mut journal, "KETCH_DOCKERS", &serde_json::to_string(&event.dockers)?);
        }
        if let Some(only) = event.only {
            text(&mut journal, "KETCH_ONLY", &serde_json::to_string(&only)?);
        }
        text(&mut journal, "KETCH_COMMAND", &event.command);
        journal.send()?;
    }
    Ok(())
}

/// The event in an entry of the journal, as `journalctl -o json` prints it; `None` if it is none of ours.
pub(crate) fn parse(line: &[u8]) -> Option<Event> {
    let entry: Value = serde_json::from_slice(line).ok()?;
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    if text("SYSLOG_IDENTIFIER") != "ketch" {
        return None;
    }
    let time: Timestamp = text("PODMAN_TIME").parse().ok()?;
    let mut event = Event::new(&text("PODMAN_TYPE"), &text("PODMAN_EVENT"));
    event.time = time;
    event.id = text("PODMAN_ID");
    event.name = text("PODMAN_NAME");
    event.image = text("PODMAN_IMAGE");
    event.image_typed = text("KETCH_IMAGE_TYPED");
    event.network = text("PODMAN_NETWORK_NAME");
    event.health_status = text("PODMAN_HEALTH_STATUS");
    event.container_exit_code = text("PODMAN_EXIT_CODE").parse().ok();
    event.attributes = serde_json::from_str(&text("PODMAN_LABELS")).unwrap_or_default();
    event.dockers = serde_json::from_str(&text("KETCH_DOCKERS")).unwrap_or_default();
    event.only = serde_json::from_str(&text("KETCH_ONLY")).ok();
    event.command = text("KETCH_COMMAND");
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Only;

    #[test]
    fn entries_are_read_back() {
        let line = br#"{"SYSLOG_IDENTIFIER":"ketch","PODMAN_TYPE":"container","PODMAN_EVENT":"died","PODMAN_ID":"ab",
            "PODMAN_TIME":"2026-11-21T00:26:45.5Z","PODMAN_EXIT_CODE":"3","PODMAN_LABELS":"{\"a\":\"b\"}",
            "KETCH_DOCKERS":"{\"signal\":\"9\"}","KETCH_ONLY":"\"docker\""}"#;
        let event = parse(line).unwrap();
        assert_eq!(
            (event.kind.as_str(), event.status.as_str(), event.id.as_str()),
            ("container", "died", "ab")
        );
        assert_eq!((event.container_exit_code, event.attributes["a"].as_str()), (Some(3), "b"));
        assert_eq!((event.dockers["signal"].as_str(), event.only), ("9", Some(Only::Docker)));
        assert!(parse(br#"{"SYSLOG_IDENTIFIER":"other","PODMAN_TIME":"2026-11-21T00:26:45.5Z"}"#).is_none());
    }
}
