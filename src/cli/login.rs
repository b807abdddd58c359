//! `ketch login` and `ketch logout`.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::cli::session::Session;
use crate::cli::usage::UsageError;
use crate::engine::login::{self, AuthFile, Login};
use crate::engine::remote::RemoteOptions;
use crate::engine::{self, Kind};
use crate::registry::auth::Credential;
use crate::registry::keyring::Kept;
use crate::sys::poll::{Interest, PollSet};
use crate::sys::signal::{self, SignalFd, SignalSet};
use crate::sys::tty::NoEcho;

/// Longest password that is read, in bytes.
const MAX_PASSWORD: usize = 64 << 10;

/// Log into a registry
///
/// The credentials are tried out before they are kept: for the session in
/// $XDG_RUNTIME_DIR/containers/auth.json (called as docker, in ~/.docker/config.json), or with a credential
/// helper, if the file names one. Without options they are asked for.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Registry, or a path on it, like `quay.io/team`; the first one that short names are looked for in
    #[arg(value_name = "REGISTRY")]
    registry: Option<String>,

    #[command(flatten)]
    files: FileArgs,

    /// Directory with `*.crt`, `*.cert` and `*.key` for the registry, instead of certs.d
    #[arg(long, value_name = "DIRECTORY")]
    cert_dir: Option<PathBuf>,

    /// Print who is logged in, and do nothing else
    #[arg(long)]
    get_login: bool,

    /// Password; everybody on this machine may see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,

    /// Take the password from this secret; its name is that of the user, too, unless --username says another
    #[arg(long, value_name = "SECRET", conflicts_with_all = ["password", "password_stdin"])]
    secret: Option<String>,

    /// Insist on TLS with a valid certificate; `=false` takes any certificate, and plain http too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    tls_verify: Option<bool>,

    /// Name of the user
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,

    /// Say which file is used
    #[arg(short, long)]
    verbose: bool,
}

/// Log out of a registry
///
/// Removes its credentials from the file, or has the credential helper forget them.
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// Registry, or a path on it; the first one that short names are looked for in
    #[arg(value_name = "REGISTRY", conflicts_with = "all")]
    registry: Option<String>,

    /// Remove all credentials
    #[arg(short, long)]
    all: bool,

    #[command(flatten)]
    files: FileArgs,
}

/// The file that credentials are kept in.
#[derive(Args, Clone, Debug, Default)]
struct FileArgs {
    /// File to keep credentials in, instead of the usual one
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,

    /// File of Docker's kind to keep credentials in, like ~/.docker/config.json
    #[arg(long, value_name = "FILE", conflicts_with = "authfile")]
    compat_auth_file: Option<PathBuf>,
}

impl FileArgs {
    fn kind(&self) -> AuthFile {
        self.compat_auth_file.clone().map_or(AuthFile::Own, AuthFile::Docker)
    }

    /// The options, with this file as the only one to look into, if one was named.
    fn remote(&self) -> RemoteOptions {
        let auth_file = self.authfile.clone().or_else(|| self.compat_auth_file.clone());
        RemoteOptions { auth_file, ..RemoteOptions::default() }
    }
}

/// Runs `login`.
pub(crate) fn login(session: &mut Session<'_>, args: LoginArgs) -> anyhow::Result<()> {
    let remote =
        RemoteOptions { tls_verify: args.tls_verify, cert_dir: args.cert_dir.clone(), ..args.files.remote() };
    let login = Login::new(args.registry.as_deref(), &remote, args.files.kind(), session.conf()?)?;
    let stored = login.stored()?;
    if args.get_login {
        let user = match stored {
            Some(Credential::Password { user, .. }) => user,
            Some(Credential::IdentityToken(_)) => "<token>".to_owned(),
            None => bail!(engine::Error::not_found(format!("not logged into {}", login.key()))),
        };
        return Ok(writeln!(session.out, "{user}")?);
    }
    let interactive =
        args.username.is_none() && args.password.is_none() && !args.password_stdin && args.secret.is_none();
    if let Some(stored) = stored.as_ref().filter(|_| interactive) {
        writeln!(session.out, "Authenticating with existing credentials for {}", login.key())?;
        match login.check(stored) {
            Ok(()) => {
                let key = login.key();
                return Ok(writeln!(
                    session.out,
                    "Existing credentials are valid. Already logged in to {key}"
                )?);
            }
            Err(err) if err.kind == Kind::Unauthorized => writeln!(
                session.out,
                "Existing credentials are invalid, please enter valid username and password"
            )?,
            Err(err) => return Err(err.into()),
        }
    }
    let known = match &stored {
        Some(Credential::Password { user, .. }) => Some(user.as_str()),
        _ => None,
    };
    let credential = ask(session, &args, known)?;
    login.check(&credential)?;
    let kept = login.store(&credential)?;
    if session.globals.called.is_docker()
        && kept == Kept::Plain
        && matches!(credential, Credential::Password { .. })
    {
        warn_as_docker(session, login.file());
    }
    if args.verbose {
        writeln!(session.out, "Used:  {}", login.file().display())?;
    }
    let end = if session.globals.called.is_docker() { "" } else { "!" };
    Ok(writeln!(session.out, "Login Succeeded{end}")?)
}

/// Docker's warning about a password that anybody can read who reads the file.
fn warn_as_docker(session: &Session<'_>, file: &Path) {
    for line in [
        "",
        &format!("WARNING! Your credentials are stored unencrypted in '{}'.", file.display()),
        "Configure a credential helper to remove this warning. See",
        "https://docs.docker.com/go/credential-store/",
        "",
    ] {
        session.note(line);
    }
}

/// The credential of the options; what they do not say is asked for.
fn ask(session: &mut Session<'_>, args: &LoginArgs, known: Option<&str>) -> anyhow::Result<Credential> {
    if let Some(name) = &args.secret {
        let engine = session.engine()?;
        let secret = engine.secret(name)?;
        let data = engine.store().secrets().data(&secret.name).map_err(engine::Error::from)?;
        let password = String::from_utf8(data).map_err(|_| {
            engine::Error::invalid(format!("the secret {name} is no text, and so no password"))
        })?;
        let user = args.username.clone().unwrap_or_else(|| secret.name.clone());
        return Ok(Credential::Password { user, password });
    }
    if args.password_stdin {
        let Some(user) = args.username.clone() else {
            return Err(UsageError::new("must provide --username with --password-stdin").into());
        };
        let mut password = String::new();
        io::stdin()
            .lock()
            .take(MAX_PASSWORD as u64)
            .read_to_string(&mut password)
            .context("read the password")?;
        // What `echo` puts behind it is not part of it.
        let password = password.strip_suffix('\n').unwrap_or(&password);
        let password = password.strip_suffix('\r').unwrap_or(password).to_owned();
        return Ok(Credential::Password { user, password });
    }
    if args.password.is_some() {
        match session.globals.called.is_docker() {
            true => session.note("WARNING! Using --password via the CLI is insecure. Use --password-stdin."),
            false => session.warn(
                "a password on the command line can be seen by all of this machine: use --password-stdin",
            ),
        }
    }
    let user = match (&args.username, known) {
        (Some(user), _) => user.clone(),
        (None, Some(known)) => {
            let typed = prompt(session, &format!("Username ({known}): "))?;
            if typed.trim().is_empty() { known.to_owned() } else { typed }
        }
        (None, None) => prompt(session, "Username: ")?,
    };
    let user = user.trim().to_owned();
    if user.is_empty() {
        bail!(engine::Error::invalid("a username is needed").hint("login --username NAME"));
    }
    let password = match &args.password {
        Some(password) => password.clone(),
        None => prompt_password(session)?,
    };
    Ok(Credential::Password { user, password })
}

/// Asks on standard output, and reads a line.
fn prompt(session: &mut Session<'_>, question: &str) -> anyhow::Result<String> {
    write!(session.out, "{question}")?;
    session.out.flush()?;
    answer()
}

/// Reads a line.
fn answer() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(MAX_PASSWORD as u64).read_line(&mut line).context("read the answer")?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Asks for a password, which the terminal does not show.
pub(crate) fn prompt_password(session: &mut Session<'_>) -> anyhow::Result<String> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!(
            engine::Error::invalid("cannot ask for a password: standard input is not a terminal")
                .hint("give it with --password-stdin")
        );
    }
    let ends = SignalSet::of(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT]);
    let before = signal::block(&ends).context("block signals")?;
    let line = read_unseen(session, stdin.as_fd(), &ends, &before);
    signal::set_mask(&before).context("unblock signals")?;
    line
}

/// Asks, and reads a line that is not shown. The signals `ends`, which are blocked, do what they do with the mask `before`
/// once the terminal is as it was.
fn read_unseen(
    session: &mut Session<'_>,
    terminal: BorrowedFd<'_>,
    ends: &SignalSet,
    before: &SignalSet,
) -> anyhow::Result<String> {
    let signals = SignalFd::new(ends).context("watch for signals")?;
    // As it is typed: Ctrl-D hands over what there is of a line.
    let (mut typed, mut piece) = (Vec::new(), [0; 4096]);
    let mut silent = None;
    loop {
        if silent.is_none() {
            silent = Some(NoEcho::enter(terminal).context("switch the terminal's echo off")?);
            write!(session.out, "Password: ")?;
            session.out.flush()?;
        }
        let mut set = PollSet::default();
        set.add(Some(signals.as_fd()), Interest::READ);
        let readable = set.add(Some(terminal), Interest::READ);
        set.wait(None).context("wait for the password")?;
        if let Some(number) = signals.read()? {
            silent = None;
            typed.clear();
            writeln!(session.out)?;
            session.out.flush()?;
            signal::set_mask(before)?;
            signal::raise(number);
            // It is ignored here.
            signal::block(ends)?;
        } else if set.ready(readable).read {
            let length = rustix::io::read(terminal, &mut piece).context("read the answer")?;
            typed.extend_from_slice(&piece[..length]);
            if length == 0 || typed.ends_with(b"\n") || typed.len() >= MAX_PASSWORD {
                let line = String::from_utf8(typed).context("read the answer")?;
                return Ok(line.trim_end_matches(['\n', '\r']).to_owned());
            }
        }
    }
}

/// Runs `logout`.
pub(crate) fn logout(session: &mut Session<'_>, args: LogoutArgs) -> anyhow::Result<()> {
    if args.all {
        login::forget_all(&args.files.remote(), args.files.kind(), session.conf()?)?;
        return Ok(writeln!(session.out, "Removed login credentials for all registries")?);
    }
    let files = &args.files;
    let login = Login::new(args.registry.as_deref(), &files.remote(), files.kind(), session.conf()?)?;
    let word = if session.globals.called.is_docker() { "Removing" } else { "Removed" };
    match login.forget(&files.remote()) {
        // To docker no failure.
        Err(err) if err.kind == Kind::NotFound && session.globals.called.is_docker() => {}
        done => done?,
    }
    Ok(writeln!(session.out, "{word} login credentials for {}", login.key())?)
}
