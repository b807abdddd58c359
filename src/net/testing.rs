//! Namespaces for tests: each test that needs some runs again as a process of its own, as an
//! unprivileged user would: root of a user namespace made with unshare(1), nothing more.

use std::process::Command;

const INSIDE: &str = "KETCH_TEST_INSIDE";

/// Runs `test` inside new user, network and mount namespaces.
///
/// `name` is the full path of the calling test, by which the test binary is started again.
pub(crate) fn in_namespaces(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let own = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--mount", "--"])
        .arg(own)
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare of util-linux");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} inside:\n{text}\n{errors}");
    assert!(text.contains("1 passed"), "{name} is not the test's name:\n{text}");
}
