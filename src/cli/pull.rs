//! `ketch pull`: gets images from registries.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::base::digest::Digest;
use crate::base::image_ref::{ImageName, ImageRef};
use crate::base::platform::Platform;
use crate::base::time::parse_duration;
use crate::cli::error::{AlreadyReported, shown};
use crate::cli::progress::{Look, Progress, parse_look};
use crate::cli::session::Session;
use crate::cli::signing::DecryptionArgs;
use crate::engine::pull::{self, Chooser, PullPolicy, PullRequest};
use crate::engine::remote::RemoteOptions;
use crate::registry::auth::Credential;

/// Pull images from registries
///
/// The image's ID is printed on standard output when it is here, verified and unpacked; what happens
/// on the way goes to standard error. A download that breaks off continues where it was, also in a
/// later command.
#[derive(Args, Debug)]
pub(crate) struct PullArgs {
    /// Images, like `debian:12`, `quay.io/team/app@sha256:…`, `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]` or `dir:DIR` (can be repeated)
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Pull every tag of the repository
    #[arg(short, long)]
    all_tags: bool,

    #[command(flatten)]
    platform: PlatformArgs,

    /// How to show what goes on: auto, plain, json (one document per line), none
    #[arg(long, default_value = "auto", value_name = "FORM", value_parser = parse_look)]
    progress: Look,

    /// When to ask the registry: always, missing, never, newer
    #[arg(long, default_value = "always", value_name = "POLICY", value_parser = parse_policy)]
    policy: PullPolicy,

    /// Print the image's ID and nothing else
    #[arg(short, long)]
    quiet: bool,

    /// Give files whose owners are not in your range of IDs to nobody, instead of refusing the image
    #[arg(long)]
    squash_ids: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    decryption: DecryptionArgs,
}

/// Which of an index's images is wanted.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct PlatformArgs {
    /// Operating system and processor: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM", conflicts_with_all = ["os", "arch", "variant"])]
    platform: Option<AnyPlatform>,

    /// Processor to choose images for, like `arm64`, instead of this machine's
    #[arg(long, alias = "override-arch", value_name = "ARCH")]
    arch: Option<String>,

    /// Operating system to choose images for, instead of linux
    #[arg(long, alias = "override-os", value_name = "OS")]
    os: Option<String>,

    /// Variant of the processor, like `v7`
    #[arg(long, alias = "override-variant", value_name = "VARIANT")]
    variant: Option<String>,
}

impl PlatformArgs {
    /// The platform that was asked for, if any was.
    pub(crate) fn wanted(&self) -> Option<Platform> {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let any = self.os.is_some() || self.arch.is_some() || self.variant.is_some();
        let of_parts = any.then(|| Platform::new(&part(&self.os), &part(&self.arch), &part(&self.variant)));
        self.platform.clone().and_then(|any| any.0).or(of_parts)
    }
}

/// `--platform`, where nothing (an empty variable) stands for this machine's.
#[derive(Clone, Debug)]
struct AnyPlatform(Option<Platform>);

impl std::str::FromStr for AnyPlatform {
    type Err = <Platform as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        (!text.is_empty()).then(|| text.parse()).transpose().map(Self)
    }
}

/// How registries are talked to.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RegistryArgs {
    /// File with stored credentials, instead of the usual ones
    #[arg(long, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(parse_auth_file))]
    authfile: Option<PathBuf>,

    /// Directory with `*.crt`, `*.cert` and `*.key` for the registry, instead of certs.d
    #[arg(long, value_name = "DIRECTORY")]
    cert_dir: Option<PathBuf>,

    /// Name and password for the registry
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = parse_credential)]
    creds: Option<Credential>,

    /// Insist on TLS with a valid certificate; `=false` takes any certificate, and plain http too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    tls_verify: Option<bool>,

    /// How often a failed transfer is tried again, as long as it gets no further
    #[arg(long, value_name = "NUMBER")]
    retry: Option<u32>,

    /// Wait before the first repetition, doubled for each further one, like `2s`
    #[arg(long, value_name = "DURATION", value_parser = parse_delay)]
    retry_delay: Option<Duration>,

    /// Accepted for Docker's sake: ketch has no content trust to disable
    #[arg(long = "disable-content-trust", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    _content_trust: Option<bool>,
}

impl RegistryArgs {
    /// A request to pull as these options say.
    pub(crate) fn request(&self, policy: PullPolicy, platform: Option<Platform>) -> PullRequest {
        PullRequest { policy, platform, remote: self.remote(), choose: chooser() }
    }

    /// How registries are talked to.
    pub(crate) fn remote(&self) -> RemoteOptions {
        RemoteOptions {
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.clone(),
            credential: self.creds.clone(),
            credentials: BTreeMap::new(),
            auth_file: self.authfile.clone(),
            retries: self.retry,
            retry_delay: self.retry_delay,
            hang_up: None,
        }
    }
}

/// Who is asked what a short name means: the user, if a terminal is there.
fn chooser() -> Option<Chooser> {
    (io::stdin().is_terminal() && io::stderr().is_terminal()).then_some(choose)
}

/// Shows the images that `name` may mean and reads a number.
fn choose(name: &str, images: &[ImageRef]) -> Option<usize> {
    loop {
        say!("? Please select an image for {}:", shown(name));
        for (number, image) in images.iter().enumerate() {
            say!("  {}) {image}", number + 1);
        }
        say_part!("Number [1]: ");
        let mut line = String::new();
        // The end of the input is no answer.
        if io::stdin().read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim() {
            "" => return Some(0),
            text => {
                let number: Option<usize> = text.parse().ok();
                if let Some(number) = number.filter(|number| (1..=images.len()).contains(number)) {
                    return Some(number - 1);
                }
            }
        }
    }
}

/// Reads a pull policy by podman's and Docker's names.
pub(crate) fn parse_policy(text: &str) -> Result<PullPolicy, String> {
    match text.to_ascii_lowercase().as_str() {
        "always" | "true" | "1" => Ok(PullPolicy::Always),
        "missing" | "ifnotpresent" | "" => Ok(PullPolicy::Missing),
        "never" | "false" | "0" => Ok(PullPolicy::Never),
        "newer" | "ifnewer" => Ok(PullPolicy::Newer),
        _ => Err("choose from: always, missing, never, newer".to_owned()),
    }
}

pub(crate) fn parse_credential(text: &str) -> Result<Credential, String> {
    match text.split_once(':') {
        Some((name, _)) if !name.is_empty() => Ok(Credential::from_option(text)),
        _ => Err("not of the form NAME:PASSWORD".to_owned()),
    }
}

/// A file that is named must be there, needed or not: so it is with podman.
fn parse_auth_file(text: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let there = if path.as_os_str().is_empty() { Ok(()) } else { path.metadata().map(drop) };
    match there {
        Ok(()) => Ok(path),
        Err(err) => {
            let why = match err.kind() {
                io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => err.to_string(),
            };
            Err(format!("credential file is not accessible: faccessat {}: {why}", path.display()))
        }
    }
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|err| err.to_string())?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

/// Runs the verb.
pub(crate) fn run(session: &mut Session<'_>, args: PullArgs) -> anyhow::Result<()> {
    args.decryption.refuse()?;
    session.engine()?.squash_ids(args.squash_ids);
    let request = args.registry.request(args.policy, args.platform.wanted());
    let is_docker = session.globals.called.is_docker();
    let mut failed = false;
    for image in &args.images {
        if is_docker && !args.quiet && !args.all_tags && has_default_tag(image) {
            writeln!(session.out, "Using default tag: latest")?;
        }
        let known = if is_docker { session.engine()?.named_images()? } else { Vec::new() };
        let progress = Progress::with(if args.quiet { Look::None } else { args.progress });
        let mut all = Vec::new();
        let engine = session.engine()?;
        let events = |event: &pull::PullEvent<'_>| progress.show(event);
        let result = if args.all_tags {
            pull::pull_all_tags(engine, image, &request, &events, &mut |pulled| all.push(pulled))
        } else {
            pull::pull(engine, image, &request, &events).map(|pulled| all.push(pulled))
        };
        drop(progress);
        for pulled in all {
            match &pulled.name {
                Some(name) if is_docker => tell_as_docker(session, &pulled, name, &known, args.quiet)?,
                _ => {
                    for id in [&pulled.id].into_iter().chain(&pulled.further) {
                        writeln!(session.out, "{}", id.hex())?;
                    }
                }
            }
        }
        if let Err(err) = result {
            session.report(err);
            failed = true;
        }
    }
    if failed { Err(AlreadyReported { code: crate::cli::error::FAILED }.into()) } else { Ok(()) }
}

/// Whether a name of an image says neither its tag nor its digest.
pub(crate) fn has_default_tag(typed: &str) -> bool {
    typed.parse::<ImageName>().is_ok_and(|name| name.tag().is_none() && name.digest().is_none())
}

/// What docker says of an image that it has pulled; `known` are the names that there were before. Scripts look for
/// `Image is up to date`.
fn tell_as_docker(
    session: &mut Session<'_>,
    pulled: &pull::Pulled,
    name: &ImageRef,
    known: &[(ImageRef, Digest)],
    quiet: bool,
) -> anyhow::Result<()> {
    if !quiet {
        let digest = pulled.digest_of(session.engine()?, name)?;
        let tag = name.tag().map_or_else(|| name.to_string(), str::to_owned);
        writeln!(session.out, "{tag}: Pulling from {}", name.repository())?;
        if let Some(digest) = digest {
            writeln!(session.out, "Digest: {digest}")?;
        }
        let was_here = known.iter().any(|(other, image)| other == name && *image == pulled.id);
        let status = if was_here { "Image is up to date" } else { "Downloaded newer image" };
        writeln!(session.out, "Status: {status} for {}", name.familiar())?;
    }
    writeln!(session.out, "{name}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn option_values() {
        for (text, want) in [
            ("always", Ok(PullPolicy::Always)),
            ("IfNotPresent", Ok(PullPolicy::Missing)),
            ("newer", Ok(PullPolicy::Newer)),
            ("never", Ok(PullPolicy::Never)),
        ] {
            assert_eq!(parse_policy(text), want);
        }
        assert!(parse_policy("sometimes").is_err());
        assert!(parse_credential("me").is_err() && parse_credential(":pw").is_err());
        assert_eq!(parse_delay("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse_delay("-1s").is_err() && parse_delay("soon").is_err());
    }

    #[test]
    fn platforms_from_their_parts() {
        let parts =
            PlatformArgs { arch: Some("arm".into()), variant: Some("v6".into()), ..Default::default() };
        assert_eq!(parts.wanted().unwrap().to_string(), "linux/arm/v6");
        assert_eq!(PlatformArgs::default().wanted(), None);
    }
}
