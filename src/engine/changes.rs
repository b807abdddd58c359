//! `--change`: one instruction of a Dockerfile, applied to what an image says about containers.
//!
//! Pure. `build` has its own reader for whole files; the instructions that only concern the
//! configuration mean the same there, so it can use [`apply`] too.

use crate::base::manifest::{ContainerDefaults, Healthcheck};
use crate::base::signal::Signal;
use crate::engine::{Error, Result};

/// Applies `instruction` (`CMD ["a"]`, `ENV A=b`, podman's `CMD=a` too).
///
/// # Errors
///
/// [`Kind::Invalid`](crate::engine::Kind::Invalid) for another instruction, or one whose words are wrong.
pub(crate) fn apply(defaults: &mut ContainerDefaults, instruction: &str) -> Result<()> {
    let text = instruction.trim();
    let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim_end();
    let name = name.to_ascii_uppercase();
    if rest.is_empty() && !matches!(name.as_str(), "CMD" | "ENTRYPOINT" | "USER") {
        return Err(Error::invalid(format!("invalid change {instruction:?}: {name} needs an argument")));
    }
    match name.as_str() {
        "CMD" => defaults.cmd = command(rest, &defaults.shell),
        "ENTRYPOINT" => defaults.entrypoint = command(rest, &defaults.shell),
        "ENV" => {
            for (key, value) in pairs(rest, instruction)? {
                set_env(defaults, &key, &value);
            }
        }
        "LABEL" => defaults.labels.extend(pairs(rest, instruction)?),
        "EXPOSE" => {
            for port in words(rest) {
                defaults.exposed_ports.insert(exposed(&port)?);
            }
        }
        "VOLUME" => defaults.volumes.extend(list(rest)),
        "WORKDIR" => defaults.working_dir = join(&defaults.working_dir, &unquote(rest)),
        "USER" => unquote(rest).clone_into(&mut defaults.user),
        "STOPSIGNAL" => {
            let signal = unquote(rest);
            signal.parse::<Signal>().map_err(|err| Error::invalid(format!("STOPSIGNAL: {err}")))?;
            defaults.stop_signal = signal;
        }
        "ONBUILD" => defaults.on_build.push(rest.to_owned()),
        "SHELL" => defaults.shell = json(rest).ok_or_else(|| Error::invalid("SHELL needs a JSON list"))?,
        "HEALTHCHECK" => defaults.healthcheck = Some(healthcheck(rest, &defaults.shell)?),
        _ => {
            return Err(Error::invalid(format!("invalid change {instruction:?}: unknown instruction {name}"))
                .hint(
                    "one of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR",
                ));
        }
    }
    Ok(())
}

/// Sets a variable in place, or adds it.
pub(crate) fn set_env(defaults: &mut ContainerDefaults, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    match defaults.env.iter_mut().find(|known| known.split('=').next() == Some(key)) {
        Some(known) => *known = entry,
        None => defaults.env.push(entry),
    }
}

/// A JSON list of words, or a line for the shell.
fn command(text: &str, shell: &[String]) -> Vec<String> {
    match json(text) {
        Some(words) => words,
        None if text.is_empty() => Vec::new(),
        None => {
            let mut words =
                if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell.to_vec() };
            words.push(text.to_owned());
            words
        }
    }
}

/// A JSON list of strings.
fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// A JSON list, or words.
fn list(text: &str) -> Vec<String> {
    json(text).unwrap_or_else(|| words(text))
}

/// Words as a shell splits them, without variables.
pub(crate) fn words(text: &str) -> Vec<String> {
    let (mut found, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => found.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word);
    found
}

fn unquote(text: &str) -> String {
    match &words(text)[..] {
        [one] => one.clone(),
        _ => text.to_owned(),
    }
}

/// `key=value …`, or `key value`.
fn pairs(text: &str, instruction: &str) -> Result<Vec<(String, String)>> {
    let words = words(text);
    let split = |word: &String| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let pairs = match words.first().and_then(split) {
        None => match text.split_once(char::is_whitespace) {
            Some((key, value)) => vec![(key.to_owned(), unquote(value.trim()))],
            None => vec![],
        },
        Some(_) => {
            let all: Option<Vec<_>> = words.iter().map(split).collect();
            all.unwrap_or_default()
        }
    };
    if pairs.is_empty() || pairs.iter().any(|(key, _)| key.is_empty()) {
        return Err(Error::invalid(format!("invalid change {instruction:?}: not of the form key=value")));
    }
    Ok(pairs)
}

/// `80`, `80/udp`, `8000-8010/tcp` as the configuration has them.
fn exposed(port: &str) -> Result<String> {
    let (numbers, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let fits = numbers.split('-').count() <= 2
        && numbers.split('-').all(|number| number.parse::<u16>().is_ok_and(|n| n > 0))
        && matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    if fits {
        Ok(format!("{numbers}/{protocol}"))
    } else {
        Err(Error::invalid(format!("EXPOSE: {port:?} is no port")))
    }
}

fn join(base: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", base.trim_end_matches('/')) }
}

/// `NONE`, or options and `CMD` with a command.
fn healthcheck(text: &str, shell: &[String]) -> Result<Healthcheck> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
    }
    let invalid = |why: &str| Error::invalid(format!("HEALTHCHECK {text}: {why}"));
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or_else(|| invalid("no CMD"))?;
        let (key, value) = option.split_once('=').ok_or_else(|| invalid("an option without a value"))?;
        let time = || -> Result<i64> {
            let duration = crate::base::time::parse_duration(value).map_err(|_| invalid("no duration"))?;
            i64::try_from(duration.as_nanos()).map_err(|_| invalid("too long"))
        };
        match key {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => check.retries = value.parse().map_err(|_| invalid("no number"))?,
            _ => return Err(invalid("an unknown option")),
        }
        rest = after.trim_start();
    }
    let Some(command) =
        rest.get(..3).filter(|word| word.eq_ignore_ascii_case("cmd")).map(|_| rest[3..].trim())
    else {
        return Err(invalid("neither NONE nor CMD"));
    };
    check.test = match json(command) {
        Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
        None if command.is_empty() => return Err(invalid("an empty command")),
        None if shell.is_empty() => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        None => {
            let words = shell.iter().cloned().chain([command.to_owned()]);
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
    };
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> ContainerDefaults {
        let mut defaults = ContainerDefaults::default();
        changes.iter().for_each(|change| apply(&mut defaults, change).unwrap());
        defaults
    }

    #[test]
    fn instructions() {
        let got = applied(&[
            "CMD [\"a\", \"b c\"]",
            "entrypoint echo hi",
            "ENV A=1 B=\"two words\"",
            "ENV A=2",
            "ENV C the rest",
            "EXPOSE 80 53/UDP",
            "LABEL x=y 'a b'=c",
            "ONBUILD RUN make",
            "STOPSIGNAL SIGINT",
            "USER app:app",
            "VOLUME [\"/data\"]",
            "VOLUME /a /b",
            "WORKDIR /srv",
            "WORKDIR sub",
            "HEALTHCHECK --interval=5s --retries=2 CMD curl x",
        ]);
        assert_eq!(got.cmd, ["a", "b c"]);
        assert_eq!(got.entrypoint, ["/bin/sh", "-c", "echo hi"]);
        assert_eq!(got.env, ["A=2", "B=two words", "C=the rest"]);
        assert!(got.exposed_ports.iter().eq(["53/udp", "80/tcp"]));
        assert_eq!((got.labels["x"].as_str(), got.labels["a b"].as_str()), ("y", "c"));
        assert_eq!((got.on_build, got.stop_signal.as_str()), (vec!["RUN make".into()], "SIGINT"));
        assert_eq!((got.user.as_str(), got.working_dir.as_str()), ("app:app", "/srv/sub"));
        assert!(got.volumes.iter().eq(["/a", "/b", "/data"]));
        let check = got.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (5_000_000_000, 2));
        assert_eq!(check.test, ["CMD-SHELL", "curl x"]);
    }

    #[test]
    fn other_spellings() {
        assert_eq!(applied(&["CMD=/bin/sh"]).cmd, ["/bin/sh", "-c", "/bin/sh"]);
        assert_eq!(applied(&["CMD a", "CMD []"]).cmd, Vec::<String>::new());
        assert_eq!(applied(&["HEALTHCHECK NONE"]).healthcheck.unwrap().test, ["NONE"]);
        let shell = applied(&["SHELL [\"/bin/bash\",\"-c\"]", "CMD x"]);
        assert_eq!(shell.cmd, ["/bin/bash", "-c", "x"]);
    }

    #[test]
    fn refuses_what_is_no_instruction() {
        for change in [
            "RUN x",
            "",
            "ENV",
            "ENV A",
            "EXPOSE http",
            "EXPOSE 0",
            "STOPSIGNAL NOPE",
            "LABEL =x",
            "HEALTHCHECK maybe",
            "HEALTHCHECK --interval=5s",
            "HEALTHCHECK --x=1 CMD a",
            "SHELL bash",
        ] {
            let mut defaults = ContainerDefaults::default();
            assert!(apply(&mut defaults, change).is_err(), "{change}");
            assert_eq!(defaults, ContainerDefaults::default(), "{change}");
        }
    }
}
