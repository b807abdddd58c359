//! `Mount=`: its source, which may be what another file makes.

use crate::quadlet::unit::{Refused, Service, World};

const WRONG: &str = "incorrect mount format: should be --mount \
    type=<bind|glob|tmpfs|volume>,[src=<host-dir|volume-name>,]target=<ctr-dir>[,options]";

/// The fields of a line of comma-separated values. Nothing if its quotes are wrong.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(quoted) => quoted_field(quoted)?,
        };
        if !rest.starts_with('"') && field.contains('"') {
            return None;
        }
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(fields),
        }
    }
}

/// A field whose opening quote is gone: two quotes within it are one.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, rest)),
        }
    }
}

/// Such a line of fields.
fn line(fields: &[String]) -> String {
    let field = |text: &String| match text.contains([',', '"', '\n', '\r']) || text.starts_with([' ', '\t']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    fields.iter().map(field).collect::<Vec<_>>().join(",")
}

/// The mount as `run` shall get it.
///
/// # Errors
///
/// A mount without a type; a file that is not there.
pub(crate) fn resolved(mount: &str, service: &mut Service<'_>, world: &World<'_>) -> Result<String, Refused> {
    let mut fields = fields(mount).ok_or_else(|| Refused::new(WRONG))?;
    let kind =
        |field: &String| field.strip_prefix("type=").filter(|kind| !kind.contains('=')).map(str::to_owned);
    let Some((at, kind)) = fields.iter().enumerate().find_map(|(at, field)| Some((at, kind(field)?))) else {
        return Err(Refused::new(WRONG));
    };
    if !matches!(kind.as_str(), "bind" | "volume" | "glob" | "image") {
        return Ok(mount.to_owned());
    }
    let first = fields.remove(at);
    let source = fields.iter().enumerate().rev().find_map(|(at, field)| {
        let (key, value) = field.split_once('=')?;
        (matches!(key, "source" | "src") && !value.is_empty()).then(|| (at, value.to_owned()))
    });
    if let Some((at, source)) = source {
        fields[at] = format!("source={}", service.mount_source(&source, true, world)?);
    }
    fields.insert(0, first);
    Ok(line(&fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comma_separated_values() {
        for (text, want) in [
            ("a,b=c", Some(vec!["a", "b=c"])),
            ("\"a,b\",c", Some(vec!["a,b", "c"])),
            ("\"a\"\"b\"", Some(vec!["a\"b"])),
            ("a,", Some(vec!["a", ""])),
            ("a\"b", None),
            ("\"a\"b", None),
            ("\"a", None),
        ] {
            let got = fields(text);
            assert_eq!(got, want.map(|want| want.into_iter().map(str::to_owned).collect()), "{text}");
            if let Some(got) = got {
                assert_eq!(fields(&line(&got)), Some(got));
            }
        }
    }
}
