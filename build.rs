//! Leaves the tables for unwinding out of a program that never unwinds, keeps one of functions that are the same, byte by byte, and leaves
//! out how glibc looks up names.
//!
//! Where a panic aborts (the release profiles), nothing reads `.eh_frame` and its kin, yet they are a twelfth of the binary; the linker keeps
//! them because the precompiled standard library and glibc bring them along. Tests and the dev profile unwind and keep them.
//!
//! A static program must not ask NSS, which loads the machine's libraries of another version; `tests/house.rs` keeps the sources from it.
//! The standard library has functions that would, for addresses of hosts and a home without HOME, and dependencies refer to them though they
//! are given another resolver: 36 KB of glibc. Here these functions always fail (any number but 0 is an error).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=linker.ld");
    // What a profile says of panics is not told to build scripts (CARGO_CFG_PANIC is the compiler's default); `fast` counts as release.
    if std::env::var_os("PROFILE").is_none_or(|profile| profile != "release") {
        return;
    }
    for name in ["getaddrinfo", "freeaddrinfo", "__res_init", "getpwuid_r"] {
        println!("cargo::rustc-link-arg-bins=-Wl,--defsym={name}=getpagesize");
    }
    // Elsewhere rustc's linker is not LLVM's: GNU's has no such choice, and stumbles over glibc's references to the tables.
    if std::env::var_os("CARGO_CFG_TARGET_ARCH").is_some_and(|arch| arch == "x86_64") {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/linker.ld", env!("CARGO_MANIFEST_DIR"));
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
