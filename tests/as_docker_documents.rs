//! Through a link named docker: every field of docker's documents is there, of docker's type, and no other field.
//!
//! The tables are written from docs.docker.com, "Docker Engine API": what is marked with `-` is left out where there is nothing
//! to say, and what is marked with `?` is null there.

mod common;

use common::docker::Docker;
use serde_json::{Value, json};

const CONTAINER: &str = "Id:text Created:text Path:text Args:list State:map Image:text ResolvConfPath:text HostnamePath:text \
    HostsPath:text LogPath:text Name:text RestartCount:number Driver:text Platform:text MountLabel:text ProcessLabel:text \
    AppArmorProfile:text ExecIDs:list? HostConfig:map GraphDriver:map Mounts:list Config:map NetworkSettings:map \
    SizeRw:number- SizeRootFs:number-";

const STATE: &str = "Status:text Running:truth Paused:truth Restarting:truth OOMKilled:truth Dead:truth Pid:number \
    ExitCode:number Error:text StartedAt:text FinishedAt:text Health:map-";

const CONFIG: &str = "Hostname:text Domainname:text User:text AttachStdin:truth AttachStdout:truth AttachStderr:truth \
    ExposedPorts:map- Tty:truth OpenStdin:truth StdinOnce:truth Env:list Cmd:list? Healthcheck:map- Image:text Volumes:map? \
    WorkingDir:text Entrypoint:list? OnBuild:list? Labels:map StopSignal:text- StopTimeout:number-";

const HOST_CONFIG: &str = "Binds:list? ContainerIDFile:text LogConfig:map NetworkMode:text PortBindings:map RestartPolicy:map \
    AutoRemove:truth VolumeDriver:text VolumesFrom:list? ConsoleSize:list Annotations:map- CapAdd:list? CapDrop:list? \
    CgroupnsMode:text Dns:list DnsOptions:list DnsSearch:list ExtraHosts:list? GroupAdd:list? IpcMode:text Cgroup:text \
    Links:list? OomScoreAdj:number PidMode:text Privileged:truth PublishAllPorts:truth ReadonlyRootfs:truth SecurityOpt:list? \
    Tmpfs:map- UTSMode:text UsernsMode:text ShmSize:number Sysctls:map- Runtime:text Isolation:text CpuShares:number \
    Memory:number NanoCpus:number CgroupParent:text BlkioWeight:number BlkioWeightDevice:list? BlkioDeviceReadBps:list? \
    BlkioDeviceWriteBps:list? BlkioDeviceReadIOps:list? BlkioDeviceWriteIOps:list? CpuPeriod:number CpuQuota:number \
    CpuRealtimePeriod:number CpuRealtimeRuntime:number CpusetCpus:text CpusetMems:text Devices:list DeviceCgroupRules:list? \
    DeviceRequests:list? MemoryReservation:number MemorySwap:number MemorySwappiness:number? OomKillDisable:truth? \
    PidsLimit:number? Ulimits:list CpuCount:number CpuPercent:number IOMaximumIOps:number IOMaximumBandwidth:number \
    Mounts:list- MaskedPaths:list? ReadonlyPaths:list? Init:truth-";

const SETTINGS: &str = "Bridge:text SandboxID:text SandboxKey:text Ports:map HairpinMode:truth LinkLocalIPv6Address:text \
    LinkLocalIPv6PrefixLen:number SecondaryIPAddresses:list? SecondaryIPv6Addresses:list? EndpointID:text Gateway:text \
    GlobalIPv6Address:text GlobalIPv6PrefixLen:number IPAddress:text IPPrefixLen:number IPv6Gateway:text MacAddress:text \
    Networks:map";

const ENDPOINT: &str = "IPAMConfig:map? Links:list? Aliases:list? MacAddress:text DriverOpts:map? GwPriority:number \
    NetworkID:text EndpointID:text Gateway:text IPAddress:text IPPrefixLen:number IPv6Gateway:text GlobalIPv6Address:text \
    GlobalIPv6PrefixLen:number DNSNames:list?";

const MOUNT: &str =
    "Type:text Name:text- Source:text Destination:text Driver:text- Mode:text RW:truth Propagation:text";

const IMAGE: &str = "Id:text RepoTags:list RepoDigests:list Parent:text Comment:text Created:text DockerVersion:text Author:text \
    Architecture:text Variant:text- Os:text OsVersion:text- Size:number GraphDriver:map RootFS:map Metadata:map Config:map";

const IMAGE_CONFIG: &str = "User:text ExposedPorts:map- Env:list? Entrypoint:list? Cmd:list? Volumes:map? WorkingDir:text \
    Labels:map? StopSignal:text- ArgsEscaped:truth- OnBuild:list? Shell:list- Healthcheck:map-";

const NETWORK: &str = "Name:text Id:text Created:text Scope:text Driver:text EnableIPv4:truth EnableIPv6:truth IPAM:map \
    Internal:truth Attachable:truth Ingress:truth ConfigFrom:map ConfigOnly:truth Containers:map Options:map Labels:map";

const ON_NETWORK: &str = "Name:text EndpointID:text MacAddress:text IPv4Address:text IPv6Address:text";

const VOLUME: &str =
    "CreatedAt:text Driver:text Labels:map? Mountpoint:text Name:text Options:map? Scope:text";

const INFO: &str = "ID:text Containers:number ContainersRunning:number ContainersPaused:number ContainersStopped:number \
    Images:number Driver:text DriverStatus:list Plugins:map MemoryLimit:truth SwapLimit:truth CpuCfsPeriod:truth \
    CpuCfsQuota:truth CPUShares:truth CPUSet:truth PidsLimit:truth IPv4Forwarding:truth BridgeNfIptables:truth \
    BridgeNfIp6tables:truth Debug:truth NFd:number OomKillDisable:truth NGoroutines:number SystemTime:text LoggingDriver:text \
    CgroupDriver:text CgroupVersion:text NEventsListener:number KernelVersion:text OperatingSystem:text OSVersion:text \
    OSType:text Architecture:text IndexServerAddress:text RegistryConfig:map NCPU:number MemTotal:number GenericResources:list? \
    DockerRootDir:text HttpProxy:text HttpsProxy:text NoProxy:text Name:text Labels:list ExperimentalBuild:truth \
    ServerVersion:text Runtimes:map DefaultRuntime:text Swarm:map LiveRestoreEnabled:truth Isolation:text InitBinary:text \
    ContainerdCommit:map RuncCommit:map InitCommit:map SecurityOptions:list CDISpecDirs:list Warnings:list? ServerErrors:list \
    ClientInfo:map";

/// Says where an object is not as its table says.
#[track_caller]
fn has(object: &Value, table: &str) {
    let fields = object.as_object().unwrap_or_else(|| panic!("no object: {object}"));
    let mut known = Vec::new();
    for row in table.split_whitespace() {
        let (key, kind) = row.split_once(':').expect("a field and its type");
        known.push(key);
        let is_kind = |value: &Value| match kind.trim_end_matches(['-', '?']) {
            "text" => value.is_string(),
            "number" => value.is_i64(),
            "truth" => value.is_boolean(),
            "list" => value.is_array(),
            "map" => value.is_object(),
            other => panic!("{other} is no type"),
        };
        match fields.get(key) {
            None => assert!(kind.ends_with('-'), "{key} is missing in {object:#}"),
            Some(value) => {
                let may_be = is_kind(value) || kind.ends_with('?') && value.is_null();
                assert!(may_be, "{key} is {value}, not {kind}");
            }
        }
    }
    let others: Vec<_> = fields.keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(others.is_empty(), "docker has no {others:?}");
}

#[track_caller]
fn has_container(document: &Value) {
    has(document, CONTAINER);
    has(&document["State"], STATE);
    has(&document["Config"], CONFIG);
    has(&document["HostConfig"], HOST_CONFIG);
    has(&document["HostConfig"]["LogConfig"], "Type:text Config:map");
    has(&document["HostConfig"]["RestartPolicy"], "Name:text MaximumRetryCount:number");
    has(&document["NetworkSettings"], SETTINGS);
    for endpoint in document["NetworkSettings"]["Networks"].as_object().expect("networks").values() {
        has(endpoint, ENDPOINT);
    }
    for mount in document["Mounts"].as_array().expect("a list") {
        has(mount, MOUNT);
    }
}

#[test]
fn a_container_that_runs() {
    let docker = Docker::new();
    let place = docker.sandbox.path("www");
    std::fs::create_dir(&place).expect("make a directory");
    docker.ok("network create net");
    docker.ok(&format!(
        "run -d --name box --network net --network-alias web -p 80 --expose 90 -v data:/d:ro -v /own -v {place}:/w \
         --mount type=volume,src=other,dst=/o --cap-add net_admin --pids-limit -1 --sysctl net.core.somaxconn=100 \
         --stop-timeout 3 -e A=b --health-cmd true --health-interval 1h --init bb sleep 1000",
        place = place.display()
    ));
    docker.ok("healthcheck run box");
    let document = &docker.json("inspect -s box")[0];
    has_container(document);
    assert!(document["SizeRw"].is_i64() && document["SizeRootFs"].is_i64());
    assert_eq!(
        (&document["Name"], &document["Driver"], &document["Platform"]),
        (&json!("/box"), &json!("overlay2"), &json!("linux"))
    );
    has(&document["State"]["Health"], "Status:text FailingStreak:number Log:list");
    has(&document["State"]["Health"]["Log"][0], "Start:text End:text ExitCode:number Output:text");

    let (host, config) = (&document["HostConfig"], &document["Config"]);
    assert_eq!(host["Binds"], json!(["data:/d:ro", format!("{}:/w", place.display())]));
    let asked = json!([{"Type": "volume", "Source": "other", "Target": "/o"}]);
    assert_eq!((&host["Mounts"], &config["Volumes"]), (&asked, &json!({"/own": {}})));
    assert_eq!(
        (&host["PidsLimit"], &host["CapAdd"], &host["Init"]),
        (&json!(-1), &json!(["CAP_NET_ADMIN"]), &json!(true))
    );
    assert_eq!(
        (&host["Sysctls"], &config["StopTimeout"]),
        (&json!({"net.core.somaxconn": "100"}), &json!(3))
    );
    let variables = config["Env"].as_array().expect("a list");
    assert!(variables.contains(&json!("A=b")), "{variables:?}");
    assert!(
        !variables.iter().any(|of| of.as_str().is_some_and(|of| of.starts_with("HOSTNAME="))),
        "{variables:?}"
    );
    assert_eq!((&host["LogConfig"]["Type"], &host["UsernsMode"]), (&json!("json-file"), &json!("")));
    assert!(
        host["MaskedPaths"].as_array().is_some_and(|paths| paths.contains(&json!("/proc/kcore"))),
        "{host}"
    );
    assert_eq!(host["PortBindings"]["80/tcp"][0]["HostIp"], "");
    let modes: Vec<_> = document["Mounts"].as_array().expect("a list").iter().map(|m| &m["Mode"]).collect();
    assert_eq!(modes.iter().filter(|mode| **mode == "ro").count(), 1, "{modes:?}");

    let settings = &document["NetworkSettings"];
    assert_eq!(settings["Ports"]["90/tcp"], Value::Null);
    let bound = settings["Ports"]["80/tcp"].as_array().expect("bindings");
    assert_eq!(bound[0]["HostIp"], "0.0.0.0");
    assert!(bound[0]["HostPort"].as_str().is_some_and(|port| port.parse::<u16>().is_ok()));
    assert_eq!(
        bound.len(),
        1 + usize::from(std::path::Path::new("/proc/net/if_inet6").exists()),
        "{bound:?}"
    );
    let endpoint = &settings["Networks"]["net"];
    let id = document["Id"].as_str().expect("an ID");
    assert_eq!(
        (&endpoint["Aliases"], &endpoint["DNSNames"]),
        (&json!(["web"]), &json!(["box", "web", id[..12]]))
    );
    let network = &docker.json("network inspect net")[0];
    has(network, NETWORK);
    has(&network["IPAM"], "Driver:text Options:map? Config:list");
    has(&network["IPAM"]["Config"][0], "Subnet:text Gateway:text");
    let on = &network["Containers"][id];
    has(on, ON_NETWORK);
    assert_eq!((&endpoint["NetworkID"], &endpoint["EndpointID"]), (&network["Id"], &on["EndpointID"]));
    assert_eq!(
        format!("{}/{}", endpoint["IPAddress"].as_str().unwrap_or_default(), endpoint["IPPrefixLen"]),
        on["IPv4Address"].as_str().unwrap_or_default()
    );
    // Templates find what JSON leaves out.
    assert_eq!(docker.ok("inspect -f {{.State.Health.Status}};{{.HostConfig.Tmpfs}} box"), "healthy;map[]");
    docker.ok("rm -f -t 0 -v box");
    docker.ok("network rm net");
}

#[test]
fn containers_that_do_not_run_or_have_no_network() {
    let docker = Docker::new();
    docker.ok("run --name ended -p 80 bb true");
    docker.ok("create --name host --network host bb true");
    docker.ok("run -d --name none --network none bb sleep 1000");
    docker.ok("create --name with --network container:none bb true");
    let all = docker.json("inspect ended host none with");
    for document in all.as_array().expect("a list") {
        has_container(document);
        assert_eq!(document.get("SizeRw"), None);
    }
    let of = |at: usize| &all[at]["NetworkSettings"];
    assert_eq!((&of(0)["Ports"], &of(0)["SandboxID"]), (&json!({}), &json!("")));
    assert!(of(0)["Networks"]["bridge"]["NetworkID"].as_str().is_some_and(|id| id.len() == 64), "{}", of(0));
    assert_eq!(all[0]["HostConfig"]["PidsLimit"], Value::Null);
    for (at, name) in [(1, "host"), (2, "none")] {
        let network = &docker.json(&format!("network inspect {name}"))[0];
        has(network, NETWORK);
        assert_eq!(of(at)["Networks"][name]["NetworkID"], network["Id"]);
        let id = network["Id"].as_str().expect("an ID");
        assert_eq!(docker.ok(&format!("network inspect -f {{{{.Name}}}} {id}")), name);
    }
    assert_eq!((&of(3)["Networks"], &of(3)["Ports"]), (&json!({}), &json!({})));
    assert!(all[3]["HostConfig"]["NetworkMode"].as_str().is_some_and(|mode| mode.starts_with("container:")));
    docker.ok("rm -f -t 0 with none host ended");
}

#[test]
fn one_that_waits_for_its_next_life() {
    let docker = Docker::new();
    docker.ok("run -d --name box --network none --restart always bb false");
    let mut seen = false;
    for _ in 0..200 {
        let state = &docker.json("inspect box")[0]["State"];
        seen = state["Status"] == "restarting";
        if seen {
            assert_eq!((&state["Running"], &state["Restarting"]), (&json!(true), &json!(true)), "{state}");
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(seen, "it is never restarting");
    docker.ok("rm -f -t 0 box");
}

#[test]
fn images_volumes_and_the_machine() {
    let docker = Docker::new();
    docker.sandbox.write(
        "ctx/Dockerfile",
        "FROM localhost/bb\nVOLUME /v\nEXPOSE 80\nHEALTHCHECK CMD true\nSTOPSIGNAL SIGINT\nLABEL a=b\n",
    );
    docker.ok(&format!("build -q -t made {}", docker.sandbox.path("ctx").display()));
    for name in ["made", "localhost/bb"] {
        let image = &docker.json(&format!("image inspect {name}"))[0];
        has(image, IMAGE);
        has(&image["Config"], IMAGE_CONFIG);
        has(&image["RootFS"], "Type:text Layers:list");
        assert_eq!(image["GraphDriver"]["Name"], "overlay2");
    }
    let made = &docker.json("image inspect made")[0];
    assert_eq!(
        (&made["Config"]["Volumes"], &made["Config"]["StopSignal"], &made["RepoTags"]),
        (&json!({"/v": {}}), &json!("SIGINT"), &json!(["made:latest"]))
    );
    docker.ok("volume create plain");
    docker.ok("volume create --label a=b marked");
    for volume in docker.json("volume inspect plain marked").as_array().expect("a list") {
        has(volume, VOLUME);
        let created = volume["CreatedAt"].as_str().expect("a time");
        assert_eq!((created.len(), created.ends_with('Z')), (20, true), "{created}");
    }
    let info = docker.json("info --format json");
    has(&info, INFO);
    assert_eq!(info["LoggingDriver"], "json-file");
    has(&info["Plugins"], "Volume:list Network:list Authorization:list? Log:list");
    assert!(info["Runtimes"][info["DefaultRuntime"].as_str().expect("a name")]["path"].is_string(), "{info}");
    docker.run("info --format {{.Host.Kernel}}").fails(1);
}
