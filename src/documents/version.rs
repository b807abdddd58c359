//! The document about the versions of this program in docker's shape.
//!
//! # Source
//!
//! docs.docker.com, "Docker Engine API", SystemVersion.

use serde_json::{Value, json};

use crate::base::platform::Platform;
use crate::base::version::{DOCKER, DOCKER_API, DOCKER_OLDEST_API, VERSION};

/// What docker says of its server.
pub(crate) fn docker() -> Value {
    let Platform { os, arch, .. } = Platform::host();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    json!({
        "Platform": {"Name": format!("Ketch {VERSION}")},
        "Components": [{
            "Name": "Engine",
            "Version": DOCKER,
            "Details": {
                "ApiVersion": DOCKER_API,
                "Arch": arch,
                "BuildTime": "",
                "Experimental": "false",
                "GitCommit": "",
                "GoVersion": "",
                "KernelVersion": kernel,
                "MinAPIVersion": DOCKER_OLDEST_API,
                "Os": os,
            },
        }],
        "Version": DOCKER,
        "ApiVersion": DOCKER_API,
        "MinAPIVersion": DOCKER_OLDEST_API,
        "GitCommit": "",
        "GoVersion": "",
        "Os": os,
        "Arch": arch,
        "KernelVersion": kernel,
        "BuildTime": "",
    })
}

/// What docker says of its command.
pub(crate) fn docker_client() -> Value {
    let Platform { os, arch, .. } = Platform::host();
    json!({
        "Platform": {"Name": format!("Ketch {VERSION}")},
        "Version": DOCKER,
        "ApiVersion": DOCKER_API,
        "DefaultAPIVersion": DOCKER_API,
        "GitCommit": "",
        "GoVersion": "",
        "Os": os,
        "Arch": arch,
        "BuildTime": "",
        "Context": "default",
    })
}
