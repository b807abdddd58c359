//! Docker's words for what ketch has not: several machines as one, plugins, and the like.

use crate::engine::{Error, Kind};

/// Why a word of docker's cannot work here, if it is one: in one line, with the words that scripts look for.
pub(crate) fn refusal(group: &str, word: &str) -> Option<Error> {
    let word = if group.is_empty() { word } else { group };
    let why = match word {
        "swarm" | "node" | "service" | "stack" | "config" => {
            "This node is not a swarm manager, nor can it be one: ketch runs containers of this machine alone"
        }
        "plugin" => "ketch loads no plugins",
        "trust" => "ketch signs no tags for Notary: push --sign-by-sigstore-private-key signs images",
        "checkpoint" => "ketch writes no checkpoints of containers",
        _ => return None,
    };
    let hint = match word {
        "swarm" | "node" | "service" | "stack" | "config" => "compose runs several containers as one project",
        _ => return Some(Error::new(Kind::Unsupported, why)),
    };
    Some(Error::new(Kind::Unsupported, why).hint(hint))
}
