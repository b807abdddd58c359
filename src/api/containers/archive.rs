//! Files of containers: `GET`, `HEAD` and `PUT /containers/{}/archive`, and `GET /containers/{}/export`.

use std::io::{self, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustix::fs::FileType;
use serde_json::json;

use crate::api::fault::Fault;
use crate::api::http::exchange::{Answer, Exchange};
use crate::api::named;
use crate::base::bytes::Bytes;
use crate::base::id::ContainerId;
use crate::base::path::clean;
use crate::base::spec::ContainerSpec;
use crate::engine::copy::{Archiving, Copy};
use crate::engine::{Engine, Error, Kind};
use crate::runtime::copy::Found;

type Result<T> = std::result::Result<T, Fault>;

/// Where clients look for what a path leads to: Base64 of JSON.
const STAT: &str = "X-Docker-Container-Path-Stat";
/// Moved at once, in bytes.
const PIECE: usize = 64 << 10;

/// `HEAD /containers/{}/archive`.
pub(crate) fn look(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let path = path(exchange)?;
    let found = engine.look_into(&id, &path).map_err(|err| missing(err, &path, exchange.param(0)))?;
    Ok(Answer::Headers(200, vec![(STAT, stat(&path, &found))]))
}

/// `GET /containers/{}/archive`.
pub(crate) fn get(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let path = path(exchange)?;
    let archiving = engine.begin_archive(&id, &path).map_err(|err| missing(err, &path, exchange.param(0)))?;
    let header = archiving.source().map(|found| (STAT, stat(&path, found)));
    send(exchange, archiving, header.as_slice())
}

/// `GET /containers/{}/export`.
pub(crate) fn export(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let archiving = engine.begin_export(&id)?;
    send(exchange, archiving, &[])
}

/// Sends an archive as it comes. If it cannot be completed, the answer is not either.
fn send(exchange: &mut Exchange<'_>, mut archiving: Archiving, headers: &[(&str, String)]) -> Result<Answer> {
    let mut stream = exchange.stream(200, "application/x-tar", headers)?;
    let mut writer = io::BufWriter::with_capacity(PIECE, &mut stream);
    let sent = io::copy(&mut archiving.archive, &mut writer).and_then(|_| writer.flush());
    drop(writer);
    if archiving.finish().is_ok() && sent.is_ok() {
        // A client that has gone needs no end.
        stream.finish().ok();
    }
    Ok(Answer::Sent)
}

/// `PUT /containers/{}/archive`.
pub(crate) fn put(exchange: &mut Exchange<'_>) -> Result<Answer> {
    let (engine, id) = named::container(exchange)?;
    let typed = exchange.param(0).to_owned();
    let path = path(exchange)?;
    if let Some(what) = read_only(&engine.container_spec(&id)?, &path) {
        return Err(Fault::new(400, format!("{what} is marked read-only")));
    }
    let how = Copy {
        chown: exchange.flag("copyUIDGID"),
        overwrite: !exchange.flag("noOverwriteDirNonDir"),
        follow: true,
    };
    let mut body = exchange.body();
    let copied = engine.copy_from_feed(&id, &path, how, |into| {
        let mut into = io::BufWriter::with_capacity(PIECE, into);
        io::copy(&mut body, &mut into)?;
        into.flush()
    });
    copied.map_err(|err| not_unpacked(&engine, &id, err, &path, &typed))?;
    Ok(Answer::Empty(200))
}

/// The query's `path`, absolute.
fn path(exchange: &Exchange<'_>) -> Result<Bytes> {
    match exchange.query("path").unwrap_or_default() {
        "" => Err(Fault::new(400, "missing path: bad parameter")),
        path if path.contains('\0') => Err(Fault::new(400, "invalid path: it contains a NUL")),
        path if path.starts_with('/') => Ok(path.into()),
        path => Ok(format!("/{path}").as_str().into()),
    }
}

/// What forbids to write at `path`, as far as its words tell.
fn read_only(spec: &ContainerSpec, path: &Bytes) -> Option<&'static str> {
    let place = clean(Path::new(path.as_os_str()));
    let above = spec.mounts.iter().filter(|mount| place.starts_with(mount.target.as_os_str()));
    match above.max_by_key(|mount| mount.target.as_bytes().len()) {
        Some(mount) => mount.read_only.then_some("mounted volume"),
        None => spec.read_only.then_some("container rootfs"),
    }
}

/// Clients tell a path that is not there from other failures.
fn missing(err: Error, path: &Bytes, typed: &str) -> Fault {
    match err.kind {
        Kind::Invalid | Kind::NotFound => {
            let path = path.to_string_lossy();
            Fault::new(404, format!("Could not find the file {path} in container {typed}"))
        }
        _ => err.into(),
    }
}

fn not_unpacked(engine: &Engine, id: &ContainerId, err: Error, path: &Bytes, typed: &str) -> Fault {
    match engine.look_into(id, path) {
        Err(look) if err.kind == Kind::Invalid && look.kind == Kind::Invalid => missing(look, path, typed),
        _ => err.into(),
    }
}

fn stat(path: &Bytes, found: &Found) -> String {
    let text = path.to_string_lossy();
    let name = text.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/");
    let (seconds, ns) = found.mtime;
    let time = Timestamp::new(seconds, i32::try_from(ns).unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    let document = json!({
        "name": name,
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": time.to_string(),
        "linkTarget": found.link.to_string_lossy(),
    });
    STANDARD.encode(document.to_string())
}

/// A mode as Go numbers it: its kinds are bits from the top.
///
/// # Source
///
/// Go's `io/fs`, `FileMode`.
fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let bits = [(libc::S_ISUID, 1 << 23), (libc::S_ISGID, 1 << 22), (libc::S_ISVTX, 1 << 20)];
    let bits = bits.iter().filter(|(bit, _)| mode & bit != 0).fold(0, |all, (_, bit)| all | bit);
    kind | bits | mode & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (mode, want) in [
            (0o100_644, 0o644),
            (0o040_755, 1 << 31 | 0o755),
            (0o041_777, 1 << 31 | 1 << 20 | 0o777),
            (0o120_777, 1 << 27 | 0o777),
            (0o104_755, 1 << 23 | 0o755),
            (0o020_666, 1 << 26 | 1 << 21 | 0o666),
        ] {
            assert_eq!(go_mode(mode), want, "{mode:o}");
        }
    }

    #[test]
    fn stats() {
        let found = Found { mode: 0o120_777, size: 3, mtime: (1, 500_000_000), link: "x".into() };
        let text = STANDARD.decode(stat(&"/a/b/".into(), &found)).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((document["name"].as_str(), document["linkTarget"].as_str()), (Some("b"), Some("x")));
        assert_eq!(document["mtime"], "1970-01-01T00:00:01.5Z");
    }
}
