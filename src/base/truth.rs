//! Truth values as Go reads them (`strconv.ParseBool`): those of docker's and podman's flags, filters and options.

/// Reads a truth value; `None` for any other word.
pub(crate) fn parse(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, want) in [
            ("1", Some(true)),
            ("True", Some(true)),
            ("F", Some(false)),
            ("tRUE", None),
            ("yes", None),
            ("", None),
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
    }
}
