//! How docker's commands are used, as a mistake in a command line is answered.
//!
//! # Source
//!
//! docs.docker.com, "docker (base command)": the usage of each command of docker 28.

/// What stands behind a verb; verbs that docker has twice (`container run`) stand here once.
const LINES: &[(&str, &str)] = &[
    ("attach", "[OPTIONS] CONTAINER"),
    ("build", "[OPTIONS] PATH | URL | -"),
    ("commit", "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]"),
    ("cp", "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-"),
    ("create", "[OPTIONS] IMAGE [COMMAND] [ARG...]"),
    ("diff", "CONTAINER"),
    ("events", "[OPTIONS]"),
    ("exec", "[OPTIONS] CONTAINER COMMAND [ARG...]"),
    ("export", "[OPTIONS] CONTAINER"),
    ("history", "[OPTIONS] IMAGE"),
    ("image inspect", "[OPTIONS] IMAGE [IMAGE...]"),
    ("image ls", "[OPTIONS] [REPOSITORY[:TAG]]"),
    ("image prune", "[OPTIONS]"),
    ("image rm", "[OPTIONS] IMAGE [IMAGE...]"),
    ("images", "[OPTIONS] [REPOSITORY[:TAG]]"),
    ("import", "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]"),
    ("info", "[OPTIONS]"),
    ("inspect", "[OPTIONS] NAME|ID [NAME|ID...]"),
    ("container inspect", "[OPTIONS] CONTAINER [CONTAINER...]"),
    ("container ls", "[OPTIONS]"),
    ("container prune", "[OPTIONS]"),
    ("kill", "[OPTIONS] CONTAINER [CONTAINER...]"),
    ("load", "[OPTIONS]"),
    ("login", "[OPTIONS] [SERVER]"),
    ("logout", "[SERVER]"),
    ("logs", "[OPTIONS] CONTAINER"),
    ("network connect", "[OPTIONS] NETWORK CONTAINER"),
    ("network create", "[OPTIONS] NETWORK"),
    ("network disconnect", "[OPTIONS] NETWORK CONTAINER"),
    ("network inspect", "[OPTIONS] NETWORK [NETWORK...]"),
    ("network ls", "[OPTIONS]"),
    ("network prune", "[OPTIONS]"),
    ("network rm", "NETWORK [NETWORK...]"),
    ("pause", "CONTAINER [CONTAINER...]"),
    ("port", "CONTAINER [PRIVATE_PORT[/PROTO]]"),
    ("ps", "[OPTIONS]"),
    ("pull", "[OPTIONS] NAME[:TAG|@DIGEST]"),
    ("push", "[OPTIONS] NAME[:TAG]"),
    ("rename", "CONTAINER NEW_NAME"),
    ("restart", "[OPTIONS] CONTAINER [CONTAINER...]"),
    ("rm", "[OPTIONS] CONTAINER [CONTAINER...]"),
    ("rmi", "[OPTIONS] IMAGE [IMAGE...]"),
    ("run", "[OPTIONS] IMAGE [COMMAND] [ARG...]"),
    ("save", "[OPTIONS] IMAGE [IMAGE...]"),
    ("search", "[OPTIONS] TERM"),
    ("start", "[OPTIONS] CONTAINER [CONTAINER...]"),
    ("stats", "[OPTIONS] [CONTAINER...]"),
    ("stop", "[OPTIONS] CONTAINER [CONTAINER...]"),
    ("system df", "[OPTIONS]"),
    ("system prune", "[OPTIONS]"),
    ("tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"),
    ("top", "CONTAINER [ps OPTIONS]"),
    ("unpause", "CONTAINER [CONTAINER...]"),
    ("update", "[OPTIONS] CONTAINER [CONTAINER...]"),
    ("version", "[OPTIONS]"),
    ("volume create", "[OPTIONS] [VOLUME]"),
    ("volume inspect", "[OPTIONS] VOLUME [VOLUME...]"),
    ("volume ls", "[OPTIONS]"),
    ("volume prune", "[OPTIONS]"),
    ("volume rm", "[OPTIONS] VOLUME [VOLUME...]"),
    ("wait", "CONTAINER [CONTAINER...]"),
];

/// What docker has behind `verb`; `None` for what it does not know.
pub(super) fn of(verb: &str) -> Option<&'static str> {
    let find = |verb: &str| LINES.iter().find(|(known, _)| *known == verb).map(|(_, line)| *line);
    let plain =
        ["container ", "image ", "builder ", "system "].iter().find_map(|group| verb.strip_prefix(group));
    find(verb).or_else(|| find(plain?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_have_their_lines() {
        for (verb, want) in [
            ("run", Some("[OPTIONS] IMAGE [COMMAND] [ARG...]")),
            ("container run", Some("[OPTIONS] IMAGE [COMMAND] [ARG...]")),
            ("container inspect", Some("[OPTIONS] CONTAINER [CONTAINER...]")),
            ("image history", Some("[OPTIONS] IMAGE")),
            ("pod ps", None),
        ] {
            assert_eq!(of(verb), want, "{verb}");
        }
    }

    #[test]
    fn all_of_them_are_verbs() {
        for (verb, _) in LINES {
            assert!(crate::cli::verbs::arguments(verb).is_some(), "{verb}");
        }
    }
}
