//! Reads a profile in the JSON format of Docker and podman (`--security-opt seccomp=FILE`).
//!
//! Names of system calls that the table does not have are skipped, as every engine does: profiles list
//! the calls of all architectures and of kernels to come.

use serde::Deserialize;

use crate::base::caps;
use crate::runtime::seccomp::SeccompError;
use crate::runtime::seccomp::calls::find;
use crate::runtime::seccomp::rules::{Abi, Abis, Action, Compare, Condition, Rule, Rules};

/// What a profile's `includes` and `excludes` ask about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// All ABIs of the machine.
    pub(crate) abis: Abis,
    /// The container's bounding set.
    pub(crate) caps: u64,
    /// Major and minor version.
    pub(crate) kernel: (u32, u32),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u64>,
    default_errno: Option<String>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Syscall>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Syscall {
    #[serde(default)]
    names: Option<Vec<String>>,
    /// The form of Docker 1.10.
    #[serde(default)]
    name: Option<String>,
    action: String,
    errno_ret: Option<u64>,
    errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u64,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// The rules of the profile `text` that apply to `target`.
///
/// # Errors
///
/// Malformed JSON, unknown words, numbers out of range, notifications (there is nobody to notify).
pub(crate) fn parse(text: &str, target: &Target) -> Result<Rules, SeccompError> {
    let profile: Profile = serde_json::from_str(text)?;
    if let Some(path) = profile.listener_path.filter(|path| !path.is_empty()) {
        return Err(SeccompError::Unsupported { what: "listenerPath", value: path });
    }
    check_flags(profile.flags.unwrap_or_default())?;
    let default = action(&profile.default_action, profile.default_errno_ret, profile.default_errno)?;
    let abis = abis(profile.architectures, profile.arch_map, target)?;
    let mut rules = Vec::new();
    for syscall in profile.syscalls.unwrap_or_default() {
        if applies(&syscall, target)? {
            extend(&mut rules, syscall)?;
        }
    }
    Ok(Rules { default, abis, foreign: Action::KillProcess, rules })
}

/// Refuses flags that would have to change how a filter is loaded. The others change nothing here: the
/// filter is loaded by a process of one thread, and without the flag that gives up a mitigation.
fn check_flags(flags: Vec<String>) -> Result<(), SeccompError> {
    let idle = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
    match flags.into_iter().find(|flag| !idle.contains(&flag.as_str())) {
        Some(value) => Err(SeccompError::Unsupported { what: "flag", value }),
        None => Ok(()),
    }
}

/// The ABIs that the profile is for: the machine's own, and what is listed beside it.
fn abis(list: Option<Vec<String>>, map: Option<Vec<ArchMap>>, target: &Target) -> Result<Abis, SeccompError> {
    let (list, map) = (list.unwrap_or_default(), map.unwrap_or_default());
    if !list.is_empty() && !map.is_empty() {
        return Err(SeccompError::TwoArchitectureLists);
    }
    let native = native(target);
    let of_map = map
        .iter()
        .filter(|entry| Abi::from_scmp(&entry.architecture) == Some(native))
        .flat_map(|entry| entry.sub_architectures.iter().flatten());
    let listed: Vec<Abi> = list.iter().chain(of_map).filter_map(|name| Abi::from_scmp(name)).collect();
    Ok(Abis::of(&[native]).or(Abis::of(&listed)).and(target.abis))
}

fn native(target: &Target) -> Abi {
    if target.abis.contain(Abi::X86_64) { Abi::X86_64 } else { Abi::Aarch64 }
}

/// Whether a group of calls is for this target: everything `includes` names is there, nothing that
/// `excludes` names is.
fn applies(syscall: &Syscall, target: &Target) -> Result<bool, SeccompError> {
    let arch = if native(target) == Abi::X86_64 { "amd64" } else { "arm64" };
    if let Some(wanted) = &syscall.includes {
        let arches = wanted.arches.as_deref().unwrap_or_default();
        let kernel = wanted.min_kernel.as_deref().map(kernel_version).transpose()?;
        let caps = wanted.caps.iter().flatten().all(|cap| has(target, cap));
        let arch = arches.is_empty() || arches.iter().any(|name| name == arch);
        if !(arch && caps && kernel.is_none_or(|min| target.kernel >= min)) {
            return Ok(false);
        }
    }
    if let Some(unwanted) = &syscall.excludes {
        let kernel = unwanted.min_kernel.as_deref().map(kernel_version).transpose()?;
        let caps = unwanted.caps.iter().flatten().any(|cap| has(target, cap));
        let arch = unwanted.arches.iter().flatten().any(|name| name == arch);
        if arch || caps || kernel.is_some_and(|min| target.kernel >= min) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A capability that this program does not know is one that the container does not have.
fn has(target: &Target, cap: &str) -> bool {
    caps::parse(cap).is_ok_and(|bits| target.caps & bits == bits)
}

fn kernel_version(text: &str) -> Result<(u32, u32), SeccompError> {
    version(text).ok_or_else(|| SeccompError::Unsupported { what: "minKernel", value: text.to_owned() })
}

/// `4.8`, `6.18.44-amd64` → major and minor number.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

fn extend(rules: &mut Vec<Rule>, syscall: Syscall) -> Result<(), SeccompError> {
    let action = action(&syscall.action, syscall.errno_ret, syscall.errno)?;
    let conditions = syscall.args.unwrap_or_default().iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    for name in syscall.names.iter().flatten().chain(&syscall.name) {
        let Some(call) = find(name) else { continue };
        for conditions in alternatives(&conditions) {
            rules.push(Rule { call, abis: Abis::ALL, action, conditions });
        }
    }
    Ok(())
}

/// The conditions of one group, as the rules they make.
///
/// All must hold; but if two are about one argument, each is a rule of its own: so runc and crun read
/// it, because libseccomp could not compare one argument twice, and profiles are written to that.
fn alternatives(conditions: &[Condition]) -> Vec<Vec<Condition>> {
    let twice = (0..6).any(|i| conditions.iter().filter(|condition| condition.argument == i).count() > 1);
    if twice { conditions.iter().map(|one| vec![*one]).collect() } else { vec![conditions.to_vec()] }
}

fn condition(argument: &Argument) -> Result<Condition, SeccompError> {
    let index = within("an argument's index", argument.index, 5)?;
    let (compare, value) = match argument.op.as_str() {
        "SCMP_CMP_EQ" => (Compare::Equal, argument.value),
        "SCMP_CMP_NE" => (Compare::NotEqual, argument.value),
        "SCMP_CMP_LT" => (Compare::Less, argument.value),
        "SCMP_CMP_LE" => (Compare::LessOrEqual, argument.value),
        "SCMP_CMP_GT" => (Compare::Greater, argument.value),
        "SCMP_CMP_GE" => (Compare::GreaterOrEqual, argument.value),
        "SCMP_CMP_MASKED_EQ" => (Compare::MaskedEqual(argument.value), argument.value_two),
        op => return Err(SeccompError::Unsupported { what: "operator", value: op.to_owned() }),
    };
    Ok(Condition { argument: u8::try_from(index).expect("at most 5"), compare, value })
}

/// An action by its libseccomp name. Without a number, ERRNO and TRACE carry EPERM.
fn action(name: &str, number: Option<u64>, errno: Option<String>) -> Result<Action, SeccompError> {
    // The largest error number the kernel returns is 4095 (`MAX_ERRNO`).
    let max = if name == "SCMP_ACT_TRACE" { u64::from(u16::MAX) } else { 4095 };
    let number = || -> Result<u16, SeccompError> {
        let named = errno.filter(|errno| !errno.is_empty()).map(|errno| errno_number(&errno)).transpose()?;
        within("errnoRet", number.or(named).unwrap_or(1), max)
    };
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_ERRNO" => Action::Errno(number()?),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_TRACE" => Action::Trace(number()?),
        _ => return Err(SeccompError::Unsupported { what: "action", value: name.to_owned() }),
    })
}

/// An error number by name; only podman's profiles have it, and they have the number beside it.
fn errno_number(name: &str) -> Result<u64, SeccompError> {
    use nix::errno::Errno;
    let number = (1..=133).find(|number| format!("{:?}", Errno::from_raw(*number)) == name);
    number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| SeccompError::Unsupported { what: "errno", value: name.to_owned() })
}

fn within(what: &'static str, value: u64, max: u64) -> Result<u16, SeccompError> {
    u16::try_from(value).ok().filter(|_| value <= max).ok_or(SeccompError::TooLarge { what, value, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target =
        Target { abis: Abis::of(&[Abi::X86_64, Abi::I386, Abi::X32]), caps: caps::DEFAULT, kernel: (6, 1) };

    fn parsed(syscalls: &str) -> Result<Vec<Rule>, String> {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{syscalls}]}}"#);
        parse(&text, &TARGET).map(|rules| rules.rules).map_err(|err| err.to_string())
    }

    fn rule(name: &str, action: Action, conditions: &[Condition]) -> Rule {
        let call = find(name).unwrap();
        Rule { call, abis: Abis::ALL, action, conditions: conditions.to_vec() }
    }

    #[test]
    fn actions_and_their_numbers() {
        for (fields, want) in [
            (r#""action": "SCMP_ACT_ALLOW""#, Action::Allow),
            (r#""action": "SCMP_ACT_ERRNO""#, Action::Errno(1)),
            (r#""action": "SCMP_ACT_ERRNO", "errnoRet": 38"#, Action::Errno(38)),
            (r#""action": "SCMP_ACT_ERRNO", "errno": "ENOSYS""#, Action::Errno(38)),
            (r#""action": "SCMP_ACT_ERRNO", "errnoRet": 22, "errno": "EINVAL""#, Action::Errno(22)),
            (r#""action": "SCMP_ACT_ERRNO", "errnoRet": 0"#, Action::Errno(0)),
            (r#""action": "SCMP_ACT_KILL""#, Action::KillThread),
            (r#""action": "SCMP_ACT_KILL_THREAD""#, Action::KillThread),
            (r#""action": "SCMP_ACT_KILL_PROCESS""#, Action::KillProcess),
            (r#""action": "SCMP_ACT_TRAP""#, Action::Trap),
            (r#""action": "SCMP_ACT_LOG""#, Action::Log),
            (r#""action": "SCMP_ACT_TRACE", "errnoRet": 65535"#, Action::Trace(65535)),
        ] {
            let got = parsed(&format!(r#"{{"names": ["read"], {fields}}}"#));
            assert_eq!(got, Ok(vec![rule("read", want, &[])]), "{fields}");
        }
    }

    #[test]
    fn conditions() {
        use Compare::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, MaskedEqual, NotEqual};
        for (op, compare, value) in [
            ("EQ", Equal, 7),
            ("NE", NotEqual, 7),
            ("LT", Less, 7),
            ("LE", LessOrEqual, 7),
            ("GT", Greater, 7),
            ("GE", GreaterOrEqual, 7),
            ("MASKED_EQ", MaskedEqual(7), 3),
        ] {
            let got = parsed(&format!(
                r#"{{"names": ["clone"], "action": "SCMP_ACT_ALLOW",
                    "args": [{{"index": 2, "value": 7, "valueTwo": 3, "op": "SCMP_CMP_{op}"}}]}}"#
            ));
            let want = Condition { argument: 2, compare, value };
            assert_eq!(got, Ok(vec![rule("clone", Action::Allow, &[want])]), "{op}");
        }
    }

    #[test]
    fn two_conditions_on_one_argument_are_alternatives() {
        let arg = |index: u8, value: u64| Condition { argument: index, compare: Compare::Equal, value };
        let text = |first: u8, second: u8| {
            format!(
                r#"{{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                    {{"index": {first}, "value": 1, "op": "SCMP_CMP_EQ"}},
                    {{"index": {second}, "value": 2, "op": "SCMP_CMP_EQ"}}]}}"#
            )
        };
        let both = rule("socket", Action::Allow, &[arg(0, 1), arg(1, 2)]);
        assert_eq!(parsed(&text(0, 1)), Ok(vec![both]));
        let each = [arg(0, 1), arg(0, 2)].map(|one| rule("socket", Action::Allow, &[one]));
        assert_eq!(parsed(&text(0, 0)), Ok(each.to_vec()));
    }

    #[test]
    fn includes_and_excludes() {
        for (fields, applies) in [
            (r#""includes": {}, "excludes": {}"#, true),
            (r#""includes": null"#, true),
            (r#""includes": {"arches": ["amd64", "arm64"]}"#, true),
            (r#""includes": {"arches": ["s390x"]}"#, false),
            (r#""excludes": {"arches": ["amd64"]}"#, false),
            (r#""excludes": {"arches": ["s390x"]}"#, true),
            (r#""includes": {"caps": ["CAP_CHOWN"]}"#, true),
            (r#""includes": {"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}"#, false),
            (r#""includes": {"caps": ["CAP_FROM_THE_FUTURE"]}"#, false),
            (r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#, true),
            (r#""excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}"#, false),
            (r#""includes": {"minKernel": "4.8"}"#, true),
            (r#""includes": {"minKernel": "6.1"}"#, true),
            (r#""includes": {"minKernel": "6.2"}"#, false),
            (r#""includes": {"minKernel": "6.10"}"#, false),
            (r#""excludes": {"minKernel": "6.0"}"#, false),
        ] {
            let got = parsed(&format!(r#"{{"name": "read", "action": "SCMP_ACT_ALLOW", {fields}}}"#));
            assert_eq!(got.map(|rules| rules.len()), Ok(usize::from(applies)), "{fields}");
        }
    }

    #[test]
    fn architectures() {
        let x86_64 = Abis::of(&[Abi::X86_64]);
        for (fields, want) in [
            ("", x86_64),
            (r#""architectures": [],"#, x86_64),
            (r#""architectures": ["SCMP_ARCH_X86"],"#, Abis::of(&[Abi::X86_64, Abi::I386])),
            (r#""architectures": ["SCMP_ARCH_ARM", "SCMP_ARCH_PARISC"],"#, x86_64),
            (
                r#""archMap": [
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
                    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"]}],"#,
                Abis::of(&[Abi::X86_64, Abi::X32]),
            ),
        ] {
            let text = format!(r#"{{{fields} "defaultAction": "SCMP_ACT_ALLOW"}}"#);
            assert_eq!(parse(&text, &TARGET).unwrap().abis, want, "{fields}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        let entry = |fields: &str| parsed(&format!(r#"{{"names": ["read"], {fields}}}"#)).unwrap_err();
        let arg = |arg: &str| entry(&format!(r#""action": "SCMP_ACT_ALLOW", "args": [{{{arg}}}]"#));
        for (got, want) in [
            (entry(r#""action": "SCMP_ACT_NOTIFY""#), r#"action "SCMP_ACT_NOTIFY" is not supported"#),
            (entry(r#""action": "ALLOW""#), r#"action "ALLOW" is not supported"#),
            (entry(r#""action": "SCMP_ACT_ERRNO", "errnoRet": 4096"#), "errnoRet is 4096, more than 4095"),
            (entry(r#""action": "SCMP_ACT_ERRNO", "errno": "ENONE""#), r#"errno "ENONE" is not supported"#),
            (arg(r#""index": 6, "value": 0, "op": "SCMP_CMP_EQ""#), "index is 6, more than 5"),
            (arg(r#""index": 0, "value": 0, "op": "EQ""#), r#"operator "EQ" is not supported"#),
            (arg(r#""index": 0, "value": -1, "op": "SCMP_CMP_EQ""#), "read seccomp profile"),
            (parse("{}", &TARGET).unwrap_err().to_string(), "read seccomp profile"),
        ] {
            assert!(got.contains(want), "{got:?} says {want:?}");
        }
        for (field, want) in [
            (r#""listenerPath": "/run/x""#, "listenerPath"),
            (r#""flags": ["SECCOMP_FILTER_FLAG_LOG"]"#, "SECCOMP_FILTER_FLAG_LOG"),
            (
                r#""architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]"#,
                "both",
            ),
        ] {
            let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {field}}}"#);
            let got = parse(&text, &TARGET).unwrap_err().to_string();
            assert!(got.contains(want), "{got}");
        }
    }

    #[test]
    fn skips_calls_it_does_not_know() {
        let got = parsed(r#"{"names": ["s390_runtime_instr", "read"], "action": "SCMP_ACT_ALLOW"}"#);
        assert_eq!(got, Ok(vec![rule("read", Action::Allow, &[])]));
    }
}
