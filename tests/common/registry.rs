//! A real registry (Debian's docker-registry) on a loopback port of its own, and a client that fills it with plain HTTP.
//!
//! Several servers may stand before one storage: images are pushed through the open one, and pulled through one that
//! asks for a password or speaks TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::image::{Blob, Built, index};
use super::process::when_this_process_ends;
use super::wait_for;

/// The user that [`Access::Password`] lets in.
pub(crate) const USER: &str = "alice";
/// The password of [`USER`].
pub(crate) const PASSWORD: &str = "wonder land";
/// bcrypt of [`PASSWORD`], made with `htpasswd -nbB`.
const HTPASSWD: &str = "alice:$2y$05$dVIGzHssZiAcAv/RRpb6H.lZNNQ1E4OaJgZoHZf4xt8w2BRGd1MIe\n";

/// What a client says it understands; without it the registry would rewrite manifests in an older form.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// What a registry asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Plain HTTP, for anyone.
    Open,
    /// Plain HTTP with basic authentication.
    Password,
    /// HTTPS with a certificate that only [`Registry::certificate`] vouches for.
    Tls,
    /// HTTPS and a password, as registries in the world do.
    TlsPassword,
}

/// A running registry. It ends with the test binary.
#[derive(Debug)]
pub(crate) struct Registry {
    dir: PathBuf,
    port: u16,
}

impl Registry {
    /// The open registry of this test binary, for all its tests. Names of repositories are shared: choose your own.
    pub(crate) fn shared() -> &'static Registry {
        static SHARED: LazyLock<Registry> = LazyLock::new(|| {
            let dir = new_directory();
            Registry::start(&dir, Access::Open)
        });
        &SHARED
    }

    /// A registry with storage of its own, for a test that damages it.
    pub(crate) fn private() -> Registry {
        Registry::start(&new_directory(), Access::Open)
    }

    /// A further server before the same storage.
    pub(crate) fn guarded(&self, access: Access) -> Registry {
        Registry::start(&self.dir, access)
    }

    fn start(dir: &Path, access: Access) -> Registry {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{access:?}-{}", COUNT.fetch_add(1, Ordering::Relaxed)).to_lowercase();
        let log = dir.join(format!("{name}.log"));
        let config = dir.join(format!("{name}.yml"));
        fs::write(&config, configuration(dir, access)).expect("write the registry's configuration");
        // The shell outlives the registry and this process: it ends the one when the other has ended.
        let script = format!(
            "exec < /dev/null; docker-registry serve '{}' > '{}' 2>&1 & echo $! > '{}'",
            config.display(),
            log.display(),
            dir.join(format!("{name}.pid")).display()
        );
        assert!(
            Command::new("sh").args(["-c", &script]).status().expect("start sh").success(),
            "start docker-registry"
        );
        let end = "kill $(cat \"$1\"); sleep 0.1; rm -rf \"${1%/*}\"";
        when_this_process_ends(end, &dir.join(format!("{name}.pid")));
        let port = wait_for("the registry's port", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let at = text.find("listening on ").ok_or_else(|| text.clone())?;
            let address: String = text[at + "listening on ".len()..]
                .chars()
                .take_while(|c| !matches!(c, '"' | ',' | ' ' | '\n'))
                .collect();
            address.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or(text)
        });
        Registry { dir: dir.to_owned(), port }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate (PEM) that vouches for [`Access::Tls`].
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("tls.crt")
    }

    /// Pushes an image and gives the reference it can be pulled by here. Only an open registry takes it.
    #[track_caller]
    pub(crate) fn push(&self, repository: &str, tag: &str, image: &Built) -> String {
        for blob in image.layers.iter().chain([&image.config]) {
            self.put_blob(repository, blob);
        }
        self.put_manifest(repository, tag, &image.manifest);
        self.reference(repository, tag)
    }

    /// Pushes images for several platforms under one tag.
    #[track_caller]
    pub(crate) fn push_index(&self, repository: &str, tag: &str, images: &[&Built]) -> String {
        for image in images {
            self.push(repository, &image.manifest.digest(), image);
        }
        self.put_manifest(repository, tag, &index(images));
        self.reference(repository, tag)
    }

    /// `127.0.0.1:PORT/repository:tag`.
    pub(crate) fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address())
    }

    /// The file that holds a blob's bytes, to be damaged. Only for [`Registry::private`].
    pub(crate) fn blob_file(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.dir.join("storage/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    #[track_caller]
    pub(crate) fn put_blob(&self, repository: &str, blob: &Blob) {
        let digest = blob.digest();
        if self.request("HEAD", &format!("/v2/{repository}/blobs/{digest}"), "", &[]).status == 200 {
            return;
        }
        let started = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
        assert_eq!(started.status, 202, "start an upload: {}", started.body);
        let location = started.header("location").expect("an upload has a location");
        let path = location
            .split_once("://")
            .map_or(location.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let sign = if path.contains('?') { '&' } else { '?' };
        let done = self.request(
            "PUT",
            &format!("{path}{sign}digest={digest}"),
            "application/octet-stream",
            &blob.bytes,
        );
        assert_eq!(done.status, 201, "upload {digest}: {}", done.body);
    }

    #[track_caller]
    pub(crate) fn put_manifest(&self, repository: &str, tag: &str, manifest: &Blob) {
        let done = self.request(
            "PUT",
            &format!("/v2/{repository}/manifests/{tag}"),
            &manifest.media_type,
            &manifest.bytes,
        );
        assert_eq!(done.status, 201, "put manifest {tag}: {}", done.body);
    }

    /// One HTTP request on a connection of its own.
    pub(crate) fn request(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Response {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("connect to the registry");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: {MANIFESTS}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.address(),
            body.len()
        );
        connection.write_all(head.as_bytes()).expect("write to the registry");
        connection.write_all(body).expect("write to the registry");
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).expect("read from the registry");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("an answer has a status");
        Response { status, head: head.to_owned(), body: body.to_owned() }
    }
}

/// What a registry answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

fn new_directory() -> PathBuf {
    super::new_directory("registry")
}

/// The server's configuration. Port 0: the kernel chooses, the log tells.
fn configuration(dir: &Path, access: Access) -> String {
    let at = dir.display();
    let mut text = format!(
        "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {at}/storage\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n"
    );
    if matches!(access, Access::Tls | Access::TlsPassword) {
        make_certificate(dir);
        text.push_str(&format!("  tls:\n    certificate: {at}/tls.crt\n    key: {at}/tls.key\n"));
    }
    if matches!(access, Access::Password | Access::TlsPassword) {
        fs::write(dir.join("htpasswd"), HTPASSWD).expect("write htpasswd");
        text.push_str(&format!("auth:\n  htpasswd:\n    realm: the test\n    path: {at}/htpasswd\n"));
    }
    text
}

fn make_certificate(dir: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .arg("-keyout")
        .arg(dir.join("tls.key"))
        .arg("-out")
        .arg(dir.join("tls.crt"))
        .output()
        .expect("start openssl");
    assert!(made.status.success(), "openssl req: {}", String::from_utf8_lossy(&made.stderr));
}
