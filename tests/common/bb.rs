//! The image `bb`: Debian's static busybox with its applets, what most tests run.
//!
//! It is pushed to a real registry and pulled from there once per run; every sandbox starts with a copy of that store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::image::{Compression, Image, Layer};
use super::process::Invocation;
use super::registry::Registry;
use super::{ketch_binary, test_dir};

/// Where Debian's busybox-static puts its program.
fn busybox() -> PathBuf {
    ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("busybox is not installed: tests/setup --install")
}

/// A root file system of busybox: `/bin/busybox`, a link for each applet, and the usual directories.
pub(crate) fn root_layer() -> Layer {
    let mut layer = Layer::new();
    for dir in ["bin", "sbin", "etc", "home", "root", "usr", "usr/bin", "usr/sbin", "var"] {
        layer = layer.dir(dir, 0o755);
    }
    layer = layer.dir("tmp", 0o1777).file("bin/busybox", 0o755, fs::read(busybox()).expect("read busybox"));
    let applets =
        Command::new(busybox()).arg("--list-full").output().expect("run busybox --list-full").stdout;
    for applet in String::from_utf8(applets).expect("applet names are ASCII").lines() {
        if applet != "bin/busybox" {
            layer = layer.symlink(applet, "/bin/busybox");
        }
    }
    layer
}

/// The second layer: users and groups.
pub(crate) fn users_layer() -> Layer {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    let group = "root:x:0:\nbin:x:1:\nstaff:x:50:app\napp:x:1000:\nvideo:x:44:app\nnogroup:x:65534:\n";
    Layer::new()
        .dir("etc", 0o755)
        .file("etc/passwd", 0o644, passwd)
        .file("etc/group", 0o644, group)
        .dir("home", 0o755)
        .owner(1000, 1000)
        .dir("home/app", 0o755)
        .file("home/app/mine", 0o600, "of app\n")
}

/// The image, ready to be pushed or extended.
pub(crate) fn image() -> Image {
    Image::new()
        .layer(root_layer(), Compression::Gzip)
        .layer(users_layer(), Compression::Gzip)
        .env("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .cmd(["sh"])
}

/// Puts a root file system of busybox into the directory `to`, for `--rootfs` and for tools that are not ketch.
pub(crate) fn extract_to(to: &Path) {
    fs::create_dir_all(to).expect("make the root file system");
    root_layer().unpack_plainly(to);
    users_layer().unpack_plainly(to);
}

/// Makes `store` a copy of the store that holds `bb`.
#[track_caller]
pub(crate) fn copy_store_to(store: &Path) {
    // As root of a user namespace with the user's range: a layer holds files of others, which only they may read.
    let copied = Command::new("unshare")
        .args(["--user", "--map-root-user", "--map-auto", "cp", "-a", "--reflink=auto"])
        .arg(prepared())
        .arg(store)
        .output()
        .expect("start unshare");
    assert!(copied.status.success(), "copy the store: {}", String::from_utf8_lossy(&copied.stderr));
}

/// The prepared store; the first test binary of a run makes it.
fn prepared() -> &'static Path {
    static STORE: LazyLock<Result<PathBuf, String>> = LazyLock::new(prepare);
    match &*STORE {
        Ok(store) => store,
        Err(why) => panic!("{why}"),
    }
}

fn prepare() -> Result<PathBuf, String> {
    let cache = test_dir().join("cache");
    fs::create_dir_all(&cache).expect("make the cache");
    let lock = File::create(cache.join("lock")).expect("make the cache's lock");
    lock.lock().expect("lock the cache");
    let store = cache.join("bb-store");
    if store.exists() {
        return Ok(store);
    }
    let making = cache.join("bb-store.making");
    let from = Registry::shared().push("bb", "latest", &image().build());
    for args in
        [vec!["pull", "--quiet", &from], vec!["tag", &from, "localhost/bb:latest"], vec!["rmi", &from]]
    {
        let home = cache.join("home");
        fs::create_dir_all(&home).expect("make a home");
        let output = Invocation::new(ketch_binary(), &args)
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &home)
            .env("KETCH_ROOT", &making)
            .run();
        if output.code != 0 {
            return Err(format!(
                "prepare the image bb: ketch {}: {}: {}",
                args.join(" "),
                output.code,
                output.stderr
            ));
        }
    }
    fs::rename(&making, &store).expect("name the prepared store");
    Ok(store)
}
