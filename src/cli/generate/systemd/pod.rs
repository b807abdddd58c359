//! Units of a pod: its own, and one for each container, which starts after it and ends with it.
//!
//! ```text
//! as it is   start INFRA         the others start by their units, which the pod's wants
//! --new      pod create …; pod start      the others are made by their units, and join by the file with the pod's ID
//! ```

use std::ffi::OsString;
use std::path::Path;

use super::maker::{Maker, escaped};
use super::{Commands, SystemdArgs, Unit, add_root, as_it_is, line_of, of_container, seconds_of};
use crate::base::pod::PodId;
use crate::cli::session::Session;
use crate::cli::tail;
use crate::cli::unit_text::{program, quoted};
use crate::cli::usage::UsageError;
use crate::engine::Error;

/// The units of a pod, its own first.
pub(super) fn units(
    session: &Session<'_>,
    root: Option<&Path>,
    args: &SystemdArgs,
    id: &PodId,
) -> anyhow::Result<Vec<Unit>> {
    if args.template {
        return Err(UsageError::new("--template is not supported for pods").into());
    }
    let engine = session.engine()?;
    let pod = engine.pod_details(id)?;
    let Some(infra) = pod.infra() else {
        let message =
            format!("generating systemd unit files: Pod {:?} has no infra container", args.container);
        return Err(Error::invalid(message).into());
    };
    let name = if args.name { pod.record.name.as_str() } else { id.as_str() };
    let base = args.base(&args.pod_prefix, name);
    let members = pod.containers.iter().filter(|one| !one.is_infra());
    let members: Vec<Unit> = members
        .map(|one| of_container(session, root, args, &one.id, Some(&base)))
        .collect::<anyhow::Result<_>>()?;
    let spec = engine.container_spec(&infra.id)?;
    let stop_timeout_s = args.stop_timeout.unwrap_or(spec.stop.timeout_s);
    let words: Vec<OsString> =
        pod.record.create_command.iter().map(|word| word.as_os_str().to_owned()).collect();
    let program = quoted(program(words.first())?.as_os_str())?;
    let mut made = Made::of(&words);
    let mut globals = made.as_mut().map(|made| std::mem::take(&mut made.globals)).unwrap_or_default();
    add_root(&mut globals, root)?;
    let commands = if args.makes_anew() {
        let made = made.ok_or_else(|| {
            let message = format!("cannot use --new on pod {name:?}: no create command found");
            Error::invalid(message).hint("only pods made by `pod create` have one")
        })?;
        made.commands(&program, &globals, stop_timeout_s, &base)
    } else {
        let infra = if args.name { infra.name.as_str() } else { infra.id.as_str() };
        as_it_is(&program, &globals, infra, stop_timeout_s, spec.monitor_pid_file.as_deref())?
    };
    let wanted = members.iter().map(Unit::file).collect::<Vec<_>>().join(" ");
    let binds =
        if wanted.is_empty() { Vec::new() } else { vec![("Wants", wanted.clone()), ("Before", wanted)] };
    let own = Unit {
        base,
        is_template: false,
        store: engine.store().root().to_path_buf(),
        binds,
        restart: args.restart_policy.clone().unwrap_or_else(|| "on-failure".to_owned()),
        restarts: None,
        stop_timeout_s,
        commands,
    };
    Ok(std::iter::once(own).chain(members).collect())
}

/// The words that made a pod, each as it stands in a unit.
#[derive(Debug)]
struct Made {
    globals: Vec<String>,
    /// The flags of `pod create`, but for those that the unit sets itself, and the name.
    words: Vec<String>,
    is_named: bool,
    replaces: bool,
}

impl Made {
    /// Reads a whole command line. `None` if it is none of `pod create`, or cannot stand in a unit.
    fn of(words: &[OsString]) -> Option<Self> {
        let Maker { globals, command, mut rest, .. } = Maker::of(words, &["pod create"])?;
        let mut made = Self { globals, words: Vec::new(), is_named: false, replaces: false };
        loop {
            let (flags, end) = tail::flags(&command, rest)?;
            for (named, at) in flags {
                let is = |id: &str| named.iter().any(|arg| arg.get_long() == Some(id));
                if ["infra-conmon-pidfile", "pod-id-file", "exit-policy"].iter().any(|id| is(id)) {
                    continue;
                }
                made.is_named |= is("name");
                made.replaces |= is("replace");
                made.words.extend(escaped(rest.get(at)?)?);
            }
            // Its name may stand between the flags.
            let Some(word) = rest.get(end) else { return Some(made) };
            if word != "--" {
                made.is_named = true;
                made.words.extend(escaped(std::slice::from_ref(word))?);
            }
            rest = rest.get(end + 1..)?;
        }
    }

    /// The pod is made and removed by the unit, which keeps its ID in a file.
    fn commands(self, program: &str, globals: &[String], stop_timeout_s: u32, base: &str) -> Commands {
        let id_file = format!("%t/{base}.pod-id");
        let pid_file = format!("%t/{base}.pid");
        let mut words = vec!["pod", "create", "--infra-conmon-pidfile", &pid_file];
        words.extend(["--pod-id-file", &id_file, "--exit-policy=stop"]);
        words.extend(self.words.iter().map(String::as_str));
        // Without a name there is nothing to take the place of.
        words.extend((self.is_named && !self.replaces).then_some("--replace"));
        let seconds = seconds_of(stop_timeout_s);
        let line = |words: &[&str]| line_of(program, globals, words);
        Commands {
            prepare: Some(line(&words)),
            start: line(&["pod", "start", "--pod-id-file", &id_file]),
            stop: line(&["pod", "stop", "--ignore", "--pod-id-file", &id_file, "-t", &seconds]),
            clean: line(&["pod", "rm", "--ignore", "-f", "--pod-id-file", &id_file]),
            kind: format!("forking\nPIDFile={pid_file}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_made_it_makes_it_again() {
        const OWN: &str =
            "pod create --infra-conmon-pidfile %t/pod-p.pid --pod-id-file %t/pod-p.pod-id --exit-policy=stop";
        for (line, want) in [
            ("ketch pod create", Some("K OWN")),
            ("ketch pod create p", Some("K OWN p --replace")),
            ("ketch pod create p -l a=b", Some("K OWN p -l a=b --replace")),
            ("ketch pod create --replace --name p", Some("K OWN --replace --name p")),
            (
                "ketch --root /r pod create --exit-policy continue --pod-id-file=x --name=p",
                Some("K --root /r OWN --name=p --replace"),
            ),
            ("ketch run --pod new:p img", None),
            ("ketch pod create --nosuch p", None),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let made = Made::of(&words).map(|made| {
                let globals = made.globals.clone();
                made.commands("K", &globals, 10, "pod-p").prepare.unwrap().replace(" \\\n\t", " ")
            });
            assert_eq!(made, want.map(|want| want.replace("OWN", OWN)), "{line}");
        }
    }
}
