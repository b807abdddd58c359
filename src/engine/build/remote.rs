//! What a build takes from elsewhere: addresses and git repositories, as contexts and for ADD.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::base::digest::Digest;
use crate::engine::build::Builder;
use crate::engine::build::provenance::Material;
use crate::engine::build::request::BuildRequest;
use crate::engine::{Engine, Error, Kind, Result, config};
use crate::store::staging::{self, Staged};

/// Something that is in staging now.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) path: PathBuf,
    /// The file's name in it; empty if all of it is meant.
    pub(super) name: String,
    /// A checked out repository, and not a file.
    pub(super) is_tree: bool,
}

/// A repository, and what of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Repository {
    address: String,
    /// Branch, tag or commit; empty for the default branch.
    reference: String,
    /// A directory in it, or empty.
    directory: String,
    /// The commit that this has to be, or empty.
    commit: String,
    /// `.git` stays.
    keep_git: bool,
    /// Submodules are left out.
    alone: bool,
}

/// Is it an address, and no path?
pub(crate) fn is_remote(text: &str) -> bool {
    is_http(text) || repository(text).is_some()
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Reads the address of a git repository: `ADDRESS[#REF[:DIRECTORY]]` or `ADDRESS?ref=REF&subdir=DIRECTORY`.
///
/// # Source
///
/// docs.docker.com, "Build context": URL fragments and URL queries.
fn repository(text: &str) -> Option<Repository> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let is_git = address.starts_with("git://")
        || address.starts_with("ssh://")
        || address.starts_with("git@")
        || (is_http(address) && address.trim_end_matches('/').ends_with(".git"))
        || (address.starts_with("github.com/") && !std::path::Path::new(address).exists());
    if !is_git {
        return None;
    }
    let address =
        if address.starts_with("github.com/") { format!("https://{address}") } else { address.to_owned() };
    let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut repository = Repository {
        address,
        reference: reference.to_owned(),
        directory: directory.to_owned(),
        ..Repository::default()
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
        match key {
            "ref" | "tag" | "branch" => value.clone_into(&mut repository.reference),
            "commit" | "checksum" => value.clone_into(&mut repository.commit),
            "subdir" => value.clone_into(&mut repository.directory),
            "keep-git-dir" => repository.keep_git = value == "true" || value == "1",
            "submodules" => repository.alone = value == "false" || value == "0",
            // A server may mean anything by it.
            _ => return None,
        }
    }
    if repository.reference.is_empty() {
        repository.commit.clone_into(&mut repository.reference);
    }
    Some(repository)
}

impl Builder<'_> {
    /// Gets what an ADD names.
    pub(super) fn fetch(&mut self, address: &str, checksum: Option<&str>, keep_git: bool) -> Result<Fetched> {
        if let Some(repository) = repository(address) {
            let (staged, path, commit) = check_out(self.engine, &repository, keep_git)?;
            self.scratch.push(staged);
            if let Some(want) = checksum.filter(|want| !is_commit(&commit, want)) {
                return Err(Error::invalid(format!(
                    "expected checksum to match {want}, got {commit} of {address}"
                )));
            }
            self.materials.push(Material { uri: address.to_owned(), algorithm: "sha1", digest: commit });
            return Ok(Fetched { path, name: String::new(), is_tree: true });
        }
        let (staged, fetched) = download(self.engine, address)?;
        self.scratch.push(staged);
        let got = digest_of(&fetched.path.join(&fetched.name))?;
        if let Some(want) = checksum {
            let want: Digest = want.parse().map_err(|err| Error::invalid(format!("--checksum: {err}")))?;
            if got != want {
                return Err(Error::invalid(format!("digest mismatch {got}: {want} of {address}")));
            }
        }
        self.materials.push(Material { uri: address.to_owned(), algorithm: "sha256", digest: got.hex() });
        Ok(fetched)
    }
}

/// Does `typed` name the commit: all of its digits, or the first seven and more?
fn is_commit(commit: &str, typed: &str) -> bool {
    typed.len() >= 7 && commit.starts_with(&typed.to_ascii_lowercase())
}

/// The digest of a file.
pub(super) fn digest_of(path: &std::path::Path) -> Result<Digest> {
    use sha2::{Digest as _, Sha256};
    let mut hash = Sha256::new();
    let failed = |err| Error::system(format!("read {}", path.display()), err);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    std::io::copy(&mut file, &mut hash_writer(&mut hash)).map_err(failed)?;
    Ok(Digest::from_hash(hash))
}

/// Lets a hash be written to.
fn hash_writer(hash: &mut sha2::Sha256) -> impl std::io::Write + '_ {
    struct Writer<'a>(&'a mut sha2::Sha256);
    impl std::io::Write for Writer<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            sha2::Digest::update(self.0, bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    Writer(hash)
}

/// Downloads `address` to a directory in staging.
pub(super) fn download(engine: &Engine, address: &str) -> Result<(Staged, Fetched)> {
    let staged = staging::dir(engine.store())?;
    drop(staged.subdir("download")?);
    let path = staged.path().join("download");
    let name = file_name(address);
    let file =
        std::fs::File::create(path.join(&name)).map_err(|err| Error::system("write a download", err))?;
    crate::engine::remote::download(address, file)?;
    use std::os::unix::fs::PermissionsExt as _;
    // As Docker has it: what comes from afar is for its owner alone.
    std::fs::set_permissions(path.join(&name), std::fs::Permissions::from_mode(0o600))
        .map_err(|err| Error::system("write a download", err))?;
    Ok((staged, Fetched { path, name, is_tree: false }))
}

/// The last part of an address, without query and fragment.
fn file_name(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let name = path.split_once('/').map_or("", |(_, rest)| rest).rsplit('/').next().unwrap_or_default();
    if matches!(name, "" | "." | "..") { "download".to_owned() } else { name.to_owned() }
}

/// Checks the repository of an address out, as a context: without its .git, unless the request has Docker's argument for
/// that. `None` if it is the address of none.
pub(super) fn context_of_repository(
    engine: &Engine,
    request: &BuildRequest,
    address: &str,
) -> Option<Result<CheckedOut>> {
    let keep = request.args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
    let keep = keep.is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    // A repository of this machine is the caller's to name, and never a Dockerfile's.
    let found = match address.strip_prefix("file://") {
        Some(path) => repository(&format!("git://{path}"))
            .map(|found| Repository { address: format!("file://{}", &found.address[6..]), ..found }),
        None => repository(address),
    };
    Some(check_out(engine, &found?, keep))
}

/// A repository in staging, the directory of it that was asked for, and the commit.
type CheckedOut = (Staged, PathBuf, String);

/// Checks a repository out in staging.
fn check_out(engine: &Engine, repository: &Repository, keep_git: bool) -> Result<CheckedOut> {
    let staged = staging::dir(engine.store())?;
    drop(staged.subdir("repository")?);
    let path = staged.path().join("repository");
    let git = |args: &[&str]| run_git(&path, args).map(drop);
    git(&["init", "-q"])?;
    // What looks like an option or a local path of git's is neither.
    if repository.reference.starts_with('-') || repository.address.starts_with('-') {
        return Err(Error::invalid(format!("{:?} is no git reference", repository.reference)));
    }
    git(&["remote", "add", "origin", &repository.address])?;
    let reference = if repository.reference.is_empty() { "HEAD" } else { repository.reference.as_str() };
    // Not every server gives single commits away; then all of it is fetched.
    let shallow = git(&["fetch", "-q", "--depth=1", "origin", reference]);
    let target = match shallow {
        Ok(()) => "FETCH_HEAD",
        Err(_) => {
            git(&[
                "fetch",
                "-q",
                "origin",
                "+refs/heads/*:refs/remotes/origin/*",
                "+refs/tags/*:refs/tags/*",
            ])?;
            if repository.reference.is_empty() {
                git(&["remote", "set-head", "origin", "--auto"])?;
                "refs/remotes/origin/HEAD"
            } else {
                reference
            }
        }
    };
    git(&["checkout", "-q", target]).map_err(|err| match target {
        "FETCH_HEAD" => err,
        _ => Error::invalid(format!("{}: no branch, tag or commit {reference:?}", repository.address)),
    })?;
    let commit = run_git(&path, &["rev-parse", "HEAD"])?.trim().to_owned();
    if !repository.commit.is_empty() && !is_commit(&commit, &repository.commit) {
        let (wanted, address) = (&repository.commit, &repository.address);
        return Err(Error::invalid(format!(
            "expected checksum to match {wanted}, got {commit} of {address}"
        )));
    }
    if path.join(".gitmodules").exists() && !repository.alone {
        git(&["submodule", "update", "-q", "--init", "--recursive", "--depth=1"])?;
    }
    if !keep_git && !repository.keep_git {
        std::fs::remove_dir_all(path.join(".git")).map_err(|err| Error::system("remove .git", err))?;
    }
    let root = rustix::fs::open(
        &path,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|errno| Error::system("open the repository", std::io::Error::from(errno)))?;
    let directory = if repository.directory.is_empty() { "." } else { repository.directory.as_str() };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    let found = crate::sys::fs::open_within(root, directory, crate::sys::fs::Within::Root, flags, 0);
    let found = found.map_err(|err| {
        Error::invalid(format!("no directory {directory:?} in the repository")).because(err)
    })?;
    use std::os::fd::AsRawFd as _;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .map_err(|err| Error::system("find the directory in the repository", err))?;
    Ok((staged, real, commit))
}

/// Runs git in `dir`; returns what it has printed.
fn run_git(dir: &std::path::Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    // It asks nobody, and runs no hook or file of the repository's.
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"]);
    command.args(["-c", "advice.detachedHead=false"]).args(args);
    command.current_dir(dir).env("GIT_TERMINAL_PROMPT", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().map_err(|err| {
        let path = config::search_path().unwrap_or_default();
        Error::new(Kind::Unsupported, "a git repository needs the program git")
            .because(err)
            .hint(format!("install git; it was looked for in {}", path.to_string_lossy()))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it failed");
    Err(Error::invalid(format!("git {}: {last}", args.first().unwrap_or(&""))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("https://h/a.git", Some(("https://h/a.git", "", ""))),
            ("https://h/a.git#v1:sub/dir", Some(("https://h/a.git", "v1", "sub/dir"))),
            ("git@h:a/b#:d", Some(("git@h:a/b", "", "d"))),
            ("git://h/a#main", Some(("git://h/a", "main", ""))),
            ("https://h/a.git?branch=b&subdir=s/t", Some(("https://h/a.git", "b", "s/t"))),
            ("https://h/a.git?commit=0123456&keep-git-dir", Some(("https://h/a.git", "0123456", ""))),
            ("https://h/a.git?token=x", None),
            ("github.com/a/b", Some(("https://github.com/a/b", "", ""))),
            ("https://h/a.tar.gz", None),
            ("./a.git", None),
        ] {
            let got = repository(text);
            let got = got.as_ref().map(|r| (r.address.as_str(), r.reference.as_str(), r.directory.as_str()));
            assert_eq!(got, want, "{text}");
        }
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (typed, want) in
            [(commit, true), ("0123456", true), ("012345", false), ("0123457", false), ("", false)]
        {
            assert_eq!(is_commit(commit, typed), want, "{typed}");
        }
        assert!(is_remote("http://h/x") && !is_remote("a/b.git"));
        for (address, name) in [
            ("http://h/a/b.txt?x=1", "b.txt"),
            ("http://h", "download"),
            ("http://h/a/", "download"),
            ("http://h/..", "download"),
        ] {
            assert_eq!(file_name(address), name, "{address}");
        }
    }
}
