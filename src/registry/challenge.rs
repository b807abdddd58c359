//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1), as registries use it.
//!
//! ```text
//! Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull"
//! Basic realm="Registry"
//! ```
//!
//! The parser reads hostile text: it never fails, it leaves out what it does not understand.

/// One way to authenticate that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Fetch a token from `realm` and send that.
    Bearer { realm: String, service: Option<String> },
    /// Send name and password.
    Basic,
}

/// Reads the challenges of all `WWW-Authenticate` headers and picks the one to answer: Bearer
/// before Basic. `None` if there is nothing that ketch can answer.
pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.flat_map(parse).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

/// All challenges of one header that ketch knows, in order.
fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim_start_matches(is_separator);
    while !rest.is_empty() {
        let (scheme, after) = split_token(rest);
        if scheme.is_empty() {
            // Not a token: skip one character so that the loop ends.
            rest = rest.trim_start_matches(|c: char| !is_separator(c)).trim_start_matches(is_separator);
            continue;
        }
        let (params, after) = params(after.trim_start_matches([' ', '\t']));
        let get = |name: &str| {
            params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service") });
        }
        rest = after.trim_start_matches(is_separator);
    }
    found
}

/// Reads `name=value` pairs up to the next scheme; gives back the text after them.
fn params(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut pairs = Vec::new();
    loop {
        let (name, after) = split_token(rest);
        let Some(after) = after.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            return (pairs, rest);
        };
        if name.is_empty() {
            return (pairs, after);
        }
        let (value, after) = value(after.trim_start_matches([' ', '\t']));
        pairs.push((name.to_owned(), value));
        rest = after.trim_start_matches(is_separator);
    }
}

/// Reads a token or a quoted string with its backslash escapes.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(is_separator).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn is_separator(c: char) -> bool {
    matches!(c, ',' | ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) }
    }

    #[test]
    fn reads_what_registries_send() {
        for (header, want) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#,
                Some(bearer("https://auth.docker.io/token", Some("registry.docker.io"))),
            ),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            (r#"bearer REALM="http://x/""#, Some(bearer("http://x/", None))),
            ("Bearer realm=http://x/t, service=s", Some(bearer("http://x/t", Some("s")))),
            (r#"Basic realm="a", Bearer realm="http://x""#, Some(bearer("http://x", None))),
            (r#"Bearer realm="a\"b""#, Some(bearer("a\"b", None))),
            (r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic)),
            (r#"Digest realm="x", nonce="y""#, None),
            ("Bearer", None),
            (r#"Bearer service="s""#, None),
            (r#"Bearer realm="unclosed"#, Some(bearer("unclosed", None))),
            ("", None),
            (",,, =\"", None),
        ] {
            assert_eq!(choose([header].into_iter()), want, "{header}");
        }
        let two = [r#"Basic realm="x""#, r#"Bearer realm="http://y""#];
        assert_eq!(choose(two.into_iter()), Some(bearer("http://y", None)));
    }

    proptest! {
        #[test]
        fn ends_on_any_text(text in "[ -~\\t]{0,80}|\\PC{0,40}") {
            choose([text.as_str()].into_iter());
        }
    }
}
