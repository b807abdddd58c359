//! Leaves the tables for unwinding out of a program that never unwinds, and keeps one of functions that are the same, byte by byte.
//!
//! Where a panic aborts (the release profiles), nothing reads `.eh_frame` and its kin, yet they are a twelfth of the binary; the linker keeps
//! them because the precompiled standard library and glibc bring them along. Tests and the dev profile unwind and keep them.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=linker.ld");
    // What a profile says of panics is not told to build scripts (CARGO_CFG_PANIC is the compiler's default); `fast` counts as release.
    if std::env::var_os("PROFILE").is_some_and(|profile| profile == "release") {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}/linker.ld", env!("CARGO_MANIFEST_DIR"));
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
