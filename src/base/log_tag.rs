//! `--log-opt tag=…`: a text with a few fields of the container, like `{{.ImageName}}/{{.Name}}`.

/// What a tag may name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TagFacts<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) image_id: &'a str,
    pub(crate) image_name: &'a str,
    pub(crate) command: &'a str,
}

/// A tag that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TagError {
    #[error("log tag: {{{{ without }}}}")]
    Open,
    #[error(
        "log tag: field {0:?} is not known; known are .ID .FullID .Name .ImageID .ImageFullID .ImageName .Command .DaemonName"
    )]
    Field(String),
}

/// Puts the fields into a tag.
///
/// # Errors
///
/// For a field that is not known.
pub(crate) fn render(tag: &str, facts: &TagFacts<'_>) -> Result<String, TagError> {
    let mut text = String::new();
    let mut rest = tag;
    while let Some(start) = rest.find("{{") {
        text.push_str(&rest[..start]);
        let (field, after) = rest[start + 2..].split_once("}}").ok_or(TagError::Open)?;
        text.push_str(value(field.trim(), facts)?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

fn value<'a>(field: &str, facts: &TagFacts<'a>) -> Result<&'a str, TagError> {
    let short = |id: &'a str| id.get(..12).unwrap_or(id);
    Ok(match field {
        ".ID" => short(facts.id),
        ".FullID" => facts.id,
        ".Name" => facts.name,
        ".ImageID" => short(facts.image_id),
        ".ImageFullID" => facts.image_id,
        ".ImageName" => facts.image_name,
        ".Command" => facts.command,
        ".DaemonName" => "ketch",
        other => return Err(TagError::Field(other.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        let facts =
            TagFacts { id: "0123456789abcdef", name: "web", image_name: "nginx", ..TagFacts::default() };
        for (tag, want) in [
            ("plain", Ok("plain")),
            ("{{.ImageName}}/{{ .Name }}!", Ok("nginx/web!")),
            ("{{.ID}} {{.FullID}}", Ok("0123456789ab 0123456789abcdef")),
            ("{{.Nose}}", Err(TagError::Field(".Nose".into()))),
            ("{{.Name", Err(TagError::Open)),
        ] {
            assert_eq!(render(tag, &facts), want.map(str::to_owned), "{tag}");
        }
    }
}
