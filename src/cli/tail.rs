//! Where a command line stops being ours: `run [FLAGS] IMAGE [COMMAND…]`.
//!
//! All that stands after the image is the command's, also what looks like a flag of ours (`run postgres -c fsync=off`,
//! `run --entrypoint sh IMAGE -c '…'`, `run IMAGE --help`, `run IMAGE -- x`): podman and docker stop reading flags there. clap reads on until
//! the second positional argument begins, so it is told by a `--` right after the first one.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use clap::{Arg, Command};

/// The arguments of a verb, with a `--` before the command that follows, if it has one: behind its first positional
/// argument, or before it where that begins the command (`exec`, whose container may be left out).
pub(super) fn mark(command: &Command, args: &[OsString]) -> Vec<OsString> {
    let mut marked = args.to_vec();
    if let Some(before) = command.get_positionals().take(2).position(Arg::is_trailing_var_arg_set)
        && let Some(first) = first_word(command, args)
        && first + before < args.len()
    {
        marked.insert(first + before, "--".into());
    }
    marked
}

/// The place of the first argument that is neither a flag nor a flag's value; `None` if there is none, or if clap tells it by itself.
fn first_word(command: &Command, args: &[OsString]) -> Option<usize> {
    let (_, end) = flags(command, args)?;
    args.get(end).filter(|arg| *arg != "--").map(|_| end)
}

/// Some of a verb's arguments: the flags that one word names (several for `-it`), and their place with the value.
pub(super) type Flags<'a> = (Vec<&'a Arg>, Range<usize>);

/// The flags at the beginning of a verb's arguments, and where they end: before the first word that is none, or before
/// `--`. `None` if one is not the verb's.
pub(super) fn flags<'a>(command: &'a Command, args: &[OsString]) -> Option<(Vec<Flags<'a>>, usize)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(arg) = args.get(at).map(|arg| arg.as_bytes()) {
        let (named, takes_next) = match arg {
            b"--" => break,
            [b'-', b'-', name @ ..] => long(command, name)?,
            [b'-', letters @ ..] if !letters.is_empty() => short(command, letters)?,
            _ => break,
        };
        let end = at + 1 + usize::from(takes_next);
        found.push((named, at..end.min(args.len())));
        at = end;
    }
    Some((found, at))
}

/// The flag `--name`, and whether it takes the next argument as its value. `None` for one that there is not.
fn long<'a>(command: &'a Command, name: &[u8]) -> Option<(Vec<&'a Arg>, bool)> {
    let (name, has_value) = match name.iter().position(|&b| b == b'=') {
        Some(end) => (&name[..end], true),
        None => (name, false),
    };
    let name = OsStr::from_bytes(name).to_str()?;
    let is_named = |arg: &&Arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    };
    let arg = command.get_arguments().find(is_named)?;
    Some((vec![arg], takes_next(arg) && !has_value))
}

/// The flags `-letters`, and whether the last takes the next argument as its value.
fn short<'a>(command: &'a Command, letters: &[u8]) -> Option<(Vec<&'a Arg>, bool)> {
    let mut named = Vec::new();
    for (at, letter) in letters.iter().enumerate() {
        let letter = char::from(*letter);
        let is_named = |arg: &&Arg| {
            arg.get_short() == Some(letter)
                || arg.get_all_short_aliases().is_some_and(|aliases| aliases.contains(&letter))
        };
        named.push(command.get_arguments().find(is_named)?);
        if named.last().is_some_and(|arg| takes_next(arg)) {
            // What follows the letter is its value.
            return Some((named, at + 1 == letters.len()));
        }
        // `-d=false`
        if letters.get(at + 1) == Some(&b'=') {
            break;
        }
    }
    Some((named, false))
}

fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    fn run() -> Command {
        let flag = |name: &'static str, short| Arg::new(name).long(name).short(short);
        Command::new("run").no_binary_name(true).args([
            flag("interactive", 'i').action(ArgAction::SetTrue),
            flag("env", 'e').action(ArgAction::Append).alias("variable"),
            flag("cpu-shares", 'c'),
            flag("rm", 'r').num_args(0..=1).require_equals(true).default_missing_value("true"),
            Arg::new("image").required(true),
            Arg::new("command").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true),
        ])
    }

    #[test]
    fn what_follows_the_image_is_the_commands() {
        for (line, want) in [
            ("img", "img||"),
            ("img true", "img|true|"),
            ("img -c x", "img|-c x|"),
            ("-i img -i --env", "img|-i --env|"),
            ("img --help", "img|--help|"),
            ("img -- x", "img|-- x|"),
            ("-- img -- -c", "img|-- -c|"),
            ("-e A img -c x", "img|-c x|A"),
            ("-eA img -c x", "img|-c x|A"),
            ("-ie A img -e B", "img|-e B|A"),
            ("--env=A --env B img --env C", "img|--env C|A B"),
            ("--variable A img -x", "img|-x|A"),
            ("--rm img -c x", "img|-c x|"),
            ("--rm=false -c 5 img -c x", "img|-c x|"),
            ("img -", "img|-|"),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found =
                run().try_get_matches_from(mark(&run(), &args)).unwrap_or_else(|err| panic!("{line}: {err}"));
            let texts = |name: &str| {
                found.get_many::<String>(name).unwrap_or_default().cloned().collect::<Vec<_>>().join(" ")
            };
            assert_eq!(format!("{}|{}|{}", texts("image"), texts("command"), texts("env")), want, "{line}");
        }
    }

    #[test]
    fn what_begins_the_command_ends_the_flags() {
        let exec = || {
            Command::new("exec").no_binary_name(true).args([
                Arg::new("env").long("env").short('e').action(ArgAction::Append),
                Arg::new("words").num_args(1..).required(true).trailing_var_arg(true),
            ])
        };
        for (line, want) in [
            ("box sh -c x", "box sh -c x|"),
            ("-eA=1 box env -e B", "box env -e B|A=1"),
            ("-e A -eB box true", "box true|A B"),
            ("--env=A -- box -x", "box -x|A"),
        ] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let found = exec()
                .try_get_matches_from(mark(&exec(), &args))
                .unwrap_or_else(|err| panic!("{line}: {err}"));
            let texts = |name: &str| {
                found.get_many::<String>(name).unwrap_or_default().cloned().collect::<Vec<_>>().join(" ")
            };
            assert_eq!(format!("{}|{}", texts("words"), texts("env")), want, "{line}");
        }
    }

    #[test]
    fn what_is_no_flag_is_left_to_clap() {
        for line in ["--nosuch img -c x", "-x img", "--env", "-i"] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(mark(&run(), &args), args, "{line}");
        }
        let list = Command::new("ls").arg(Arg::new("names").num_args(0..));
        let args: Vec<OsString> = vec!["a".into(), "-b".into()];
        assert_eq!(mark(&list, &args), args);
    }
}
