//! What runs inside the containers: this test binary, mounted as `/attack`, with an order in its environment.
//!
//! Outside of a container there is no order, and [`attack`] does nothing.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Begins each line of a finding.
pub(crate) const MARK: &str = "found: ";

/// The key that the caller has, and no container sees.
pub(crate) const KEY_NAME: &str = "ketch-test-key";

const ORDER: &str = "KETCH_TEST_ATTACK";

/// The options of `run` that put this binary and its order into a container.
pub(crate) fn mounted(what: &str) -> Vec<String> {
    let me = std::env::current_exe().expect("the path of this program");
    vec![format!("--volume={}:/attack:ro", me.display()), format!("--env={ORDER}={what}")]
}

/// The command that carries out the order.
pub(crate) fn command() -> Vec<String> {
    ["/attack", "inside::attack", "--exact", "--nocapture", "--test-threads=1"].map(str::to_owned).into()
}

/// Entry point inside a container. The process ends here, so the harness reports nothing more.
#[test]
#[expect(clippy::exit, reason = "the harness has nothing to say about an attack")]
fn attack() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let words: Vec<&str> = order.split(' ').collect();
    match words[..] {
        ["calls"] => calls(),
        ["calls-32"] => calls_32(),
        ["swap", directory] => swap(Path::new(directory)),
        ["open-programs", device, inode] => open_programs(device, inode),
        ["type"] => type_into_terminal(),
        ["keys", key] => keys(key),
        _ => panic!("no attack {order:?}"),
    }
    std::process::exit(0);
}

/// One finding, on a line of its own: the harness has written the beginning of one already.
fn found(what: &str) {
    // The reader may have gone; then nobody wants to know.
    write!(io::stdout(), "\n{MARK}{what}\n").and_then(|()| io::stdout().flush()).ok();
}

fn outcome(ret: i64) -> String {
    match io::Error::last_os_error().raw_os_error() {
        Some(errno) if ret == -1 => format!("{:?}", nix::errno::Errno::from_raw(errno)),
        _ => "ok".to_owned(),
    }
}

/// x86-64 and x32: system calls that a container may make, may not, or that do not exist.
fn calls() {
    const ANY: i64 = 0;
    let garbage = 0x7eee_0000_0000_0000_i64;
    let x32 = 0x4000_0000;
    for (name, number, args) in [
        ("clone3", libc::SYS_clone3, [ANY, 0, 0, 0]),
        ("unshare", libc::SYS_unshare, [1, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [-1, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [0, 0, 0, 0]),
        ("request_key", libc::SYS_request_key, [0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, 0, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, -1, -1]),
        ("userfaultfd", libc::SYS_userfaultfd, [-1, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ("io_uring_enter", libc::SYS_io_uring_enter, [-1, 0, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, -1]),
        ("kexec_file_load", libc::SYS_kexec_file_load, [-1, -1, 0, 0]),
        ("init_module", libc::SYS_init_module, [0, 0, 0, 0]),
        ("swapon", libc::SYS_swapon, [0, 0, 0, 0]),
        ("personality", libc::SYS_personality, [0x4_0000, 0, 0, 0]),
        ("ioctl TIOCSTI", libc::SYS_ioctl, [-1, 0x5412, 0, 0]),
        ("ioctl TIOCSTI and garbage", libc::SYS_ioctl, [-1, garbage | 0x5412, 0, 0]),
        ("ioctl TIOCLINUX", libc::SYS_ioctl, [-1, 0x541c, 0, 0]),
        ("ioctl TCGETS", libc::SYS_ioctl, [-1, 0x5401, 0, 0]),
        ("socket unix", libc::SYS_socket, [1, 1, 0, 0]),
        ("socket alg", libc::SYS_socket, [38, 5, 0, 0]),
        ("socket alg and garbage", libc::SYS_socket, [garbage | 38, 5, 0, 0]),
        ("socket vsock", libc::SYS_socket, [40, 1, 0, 0]),
        ("socket audit", libc::SYS_socket, [16, 3, 9, 0]),
        ("socket audit and garbage", libc::SYS_socket, [garbage | 16, 3, garbage | 9, 0]),
        ("9999", 9999, [0, 0, 0, 0]),
        ("x32 getpid", x32 | libc::SYS_getpid, [0, 0, 0, 0]),
        ("x32 ptrace", x32 | 521, [0, 0, 0, 0]),
    ] {
        // SAFETY: every pointer argument is 0 or names nothing; no call here can change memory of this process.
        let ret = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) };
        found(&format!("{name}: {}", outcome(ret)));
    }
}

/// The 32-bit ABI, by the interrupt that 32-bit programs use; the kernel does not ask who uses it.
#[cfg(target_arch = "x86_64")]
fn calls_32() {
    for (name, number, args) in [
        ("getpid", 20, [0, 0, 0]),
        ("modify_ldt", 123, [0, 0, 0]),
        ("clone3", 435, [0, 0, 0]),
        ("add_key", 286, [0, 0, 0]),
        ("io_uring_setup", 425, [1, 0, 0]),
        ("bpf", 357, [0, 0, 0]),
        ("userfaultfd", 374, [u32::MAX, 0, 0]),
        ("open_by_handle_at", 342, [u32::MAX, 0, 0]),
        ("ioctl TIOCSTI", 54, [u32::MAX, 0x5412, 0]),
        ("socket alg", 359, [38, 5, 0]),
        ("socket vsock", 359, [40, 1, 0]),
        ("9999", 9999, [0, 0, 0]),
    ] {
        let ret = interrupt_80(number, args);
        let outcome =
            if ret < 0 { format!("{:?}", nix::errno::Errno::from_raw(-ret)) } else { "ok".to_owned() };
        found(&format!("{name}: {outcome}"));
    }
}

#[cfg(target_arch = "x86_64")]
fn interrupt_80(number: i32, args: [u32; 3]) -> i32 {
    let ret: i32;
    // SAFETY: enters the kernel with numbers and null pointers; rbx, which the compiler keeps for itself, is restored,
    // and what the kernel may change is declared.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {first:e}",
            "int 0x80",
            "pop rbx",
            first = in(reg) args[0],
            inlateout("eax") number => ret,
            in("ecx") args[1],
            in("edx") args[2],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    ret
}

#[cfg(not(target_arch = "x86_64"))]
fn calls_32() {
    panic!("this machine has no such programs");
}

/// Exchanges `directory/real` and `directory/link` as fast as it can, until it is killed.
fn swap(directory: &Path) {
    let path = |name: &str| CString::new(directory.join(name).as_os_str().as_bytes()).expect("no NUL");
    let (real, link) = (path("real"), path("link"));
    let mut announced = false;
    loop {
        // SAFETY: two NUL-terminated paths that live until the call returns.
        let ret = unsafe {
            libc::renameat2(
                libc::AT_FDCWD,
                real.as_ptr(),
                libc::AT_FDCWD,
                link.as_ptr(),
                libc::RENAME_EXCHANGE,
            )
        };
        if !announced {
            found(&format!("swapping: {}", outcome(ret.into())));
            announced = true;
        }
    }
}

/// Opens whatever program any process runs, for writing, until it is killed. Tells of each that is the file
/// `device`:`inode`, or none that has a name: ketch's own.
fn open_programs(device: &str, inode: &str) {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let ketch = (device.parse().expect("a number"), inode.parse().expect("a number"));
    let mut rounds = 0_u64;
    loop {
        for pid in fs::read_dir("/proc").expect("read /proc").flatten() {
            let program = pid.path().join("exe");
            let name = fs::read_link(&program).unwrap_or_default();
            let by_path = fs::File::options().read(true).custom_flags(libc::O_PATH).open(&program);
            let reopened = by_path
                .as_ref()
                .map(|file| format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
            let attempts = [
                fs::File::options().write(true).open(&program),
                fs::File::options().read(true).write(true).open(&program),
                fs::File::options().write(true).open(reopened.unwrap_or_default()),
            ];
            for file in attempts.into_iter().flatten() {
                let meta = file.metadata().expect("metadata of an open file");
                if (meta.dev(), meta.ino()) == ketch || name.to_string_lossy().starts_with("/memfd:") {
                    found(&format!("writable: {} {}", pid.path().display(), name.display()));
                }
            }
        }
        rounds += 1;
        if rounds == 1 {
            found("watching");
        }
    }
}

/// Types into every standard stream that is a terminal.
fn type_into_terminal() {
    for number in 0..=2 {
        let name = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        // SAFETY: isatty takes a number.
        let terminal = unsafe { libc::isatty(number) } == 1;
        found(&format!("stream {number}: terminal {terminal} {}", name.display()));
        for byte in b"INJECTED\n" {
            // SAFETY: the kernel reads one byte, which lives until the call returns.
            let ret = unsafe { libc::ioctl(number, libc::TIOCSTI, std::ptr::from_ref(byte)) };
            if *byte == b'\n' {
                found(&format!("TIOCSTI {number}: {}", outcome(ret.into())));
            }
        }
        // Subcode 3, paste: types the selection of a virtual console.
        let paste = 3_u8;
        // SAFETY: as above.
        let ret = unsafe { libc::ioctl(number, libc::TIOCLINUX, std::ptr::from_ref(&paste)) };
        found(&format!("TIOCLINUX {number}: {}", outcome(ret.into())));
    }
}

/// Looks for the caller's key: by its name from this session, by its number, and in the list.
fn keys(key: &str) {
    const SESSION: i64 = -3;
    const SEARCH: i64 = 10;
    const READ: i64 = 11;
    let (kind, name) = (CString::new("user").expect("no NUL"), CString::new(KEY_NAME).expect("no NUL"));
    // SAFETY: two NUL-terminated strings that live until the call returns.
    let searched =
        unsafe { libc::syscall(libc::SYS_keyctl, SEARCH, SESSION, kind.as_ptr(), name.as_ptr(), 0) };
    found(if searched < 0 { "search: hidden" } else { "search: there" });
    let number: i64 = key.parse().expect("a number");
    let mut value = [0_u8; 64];
    // SAFETY: the kernel writes at most the bytes that the buffer has.
    let read = unsafe { libc::syscall(libc::SYS_keyctl, READ, number, value.as_mut_ptr(), value.len()) };
    found(if read < 0 { "read: hidden" } else { "read: there" });
    let listed = fs::read_to_string("/proc/keys").unwrap_or_default();
    found(if listed.contains(KEY_NAME) { "list: there" } else { "list: hidden" });
}
