//! What scripts look for in messages: podman's established phrases, with its exit codes (asked of podman 5.4.2).

mod common;

use common::Sandbox;

/// Command lines, with blanks between arguments; exit code; what standard error holds. `up` runs, `made` does not, `used` is a volume of `made`.
const LINES: &[(&str, i32, &str)] = &[
    // What is not there.
    ("rm nosuch", 1, "no container with ID or name \"nosuch\" found: no such container"),
    ("rm -f nosuch", 0, ""),
    ("rm nosuch up", 1, "no such container"),
    ("rm up nosuch", 1, "container state improper"),
    ("stop nosuch", 125, "no container with name or ID \"nosuch\" found: no such container"),
    ("start nosuch", 125, "no container with name or ID \"nosuch\" found: no such container"),
    ("kill nosuch", 125, "no container with name or ID \"nosuch\" found: no such container"),
    ("restart nosuch", 125, "no such container"),
    ("pause nosuch", 125, "no such container"),
    ("unpause nosuch", 125, "no such container"),
    ("logs nosuch", 125, "no such container"),
    ("exec nosuch true", 125, "no container with name or ID \"nosuch\" found: no such container"),
    ("attach nosuch", 125, "no such container"),
    ("top nosuch", 125, "no such container"),
    ("port nosuch", 125, "no such container"),
    ("wait nosuch", 125, "no such container"),
    ("rename nosuch x", 125, "no such container"),
    ("export nosuch", 125, "no such container"),
    ("commit nosuch", 125, "no such container"),
    ("stats --no-stream nosuch", 125, "no such container"),
    ("update --memory=1g nosuch", 125, "no such container"),
    ("healthcheck run nosuch", 125, "no such container"),
    ("container clone nosuch", 125, "no such container"),
    ("container inspect nosuch", 125, "no such container nosuch"),
    ("inspect nosuch", 125, "no such object: \"nosuch\""),
    ("cp nosuch:/x .", 125, "no such container"),
    ("cp up:/nosuch .", 125, "\"/nosuch\" could not be found"),
    (
        "cp /nosuch-host up:/x",
        125,
        "\"/nosuch-host\" could not be found on the host: no such file or directory",
    ),
    ("container exists nosuch", 1, ""),
    ("rmi nosuch", 1, "nosuch: image not known"),
    ("image inspect nosuch", 125, "nosuch: image not known"),
    ("tag nosuch x", 125, "nosuch: image not known"),
    ("history nosuch", 125, "nosuch: image not known"),
    ("save nosuch", 125, "nosuch: image not known"),
    ("inspect --type=image up", 125, "up: image not known"),
    ("run --pull=never nosuch", 125, "nosuch: image not known"),
    ("create --pull=never nosuch.test/x:1", 125, "nosuch.test/x:1: image not known"),
    ("volume rm nosuch", 1, "no volume with name \"nosuch\" found: no such volume"),
    ("volume inspect nosuch", 125, "no such volume nosuch"),
    ("volume export nosuch", 125, "no such volume"),
    ("volume import nosuch -", 125, "no such volume"),
    ("inspect --type=volume nosuch", 125, "no such volume nosuch"),
    ("network rm nosuch", 1, "unable to find network with name or ID nosuch: network not found"),
    ("network inspect nosuch", 125, "unable to find network with name or ID nosuch: network not found"),
    ("run --network=nosuch bb", 125, "unable to find network with name or ID nosuch: network not found"),
    (
        "run --network=none --ip=10.0.0.5 bb",
        125,
        "--ip can only be set when the network mode is bridge: invalid argument",
    ),
    (
        "run --network=none --mac-address=02:00:00:00:00:01 bb",
        125,
        "--mac-address can only be set when the network mode is bridge",
    ),
    (
        "run --network=none --network-alias=x bb",
        125,
        "--network-alias can only be set when the network mode is bridge",
    ),
    ("run --network=ketch --ip=nonsense bb", 125, "\"nonsense\" is not an ip address"),
    ("run --network=ketch --mac-address=zz bb", 125, "address zz: invalid MAC address"),
    ("run --network=host --network=none bb", 125, "selected mode host: invalid argument"),
    ("run --network=container: bb", 125, "namespace mode container requires a value"),
    ("run --network=none --add-host=a bb", 125, "bad format for add-host: \"a\""),
    ("run --network=none --add-host=a:x bb", 125, "invalid IP address in add-host: \"x\""),
    (
        "run --network=ketch -p 70000:80 bb",
        125,
        "port numbers must be between 1 and 65535 (inclusive), got 70000",
    ),
    ("run --network=ketch -p 18084: bb", 125, "must provide a non-empty container port to publish"),
    ("run --network=ketch -p x bb", 125, "invalid port number: \"x\""),
    (
        "run --network=ketch -p 10-5:10-5 bb",
        125,
        "the end port of a range must be higher than the start port - 5 is not higher than 10",
    ),
    (
        "run --network=ketch -p 18084-18085:80 bb",
        125,
        "host and container port ranges have different lengths: 2 vs 1",
    ),
    ("run --network=ketch -p 1.2.3:18084:80 bb", 125, "cannot parse \"1.2.3\" as an IP address"),
    ("run --network=ketch -p 18084:80/what bb", 125, "unrecognized protocol \"what\" in port mapping"),
    (
        "network create bad!name",
        125,
        "network name bad!name invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
    ),
    (
        "network create none",
        125,
        "cannot create network with name \"none\" because it conflicts with a valid network mode",
    ),
    ("network create -d nosuch x", 125, "failed to find driver or plugin \"nosuch\""),
    ("network create -o nosuch=1 x", 125, "unsupported bridge network option nosuch"),
    ("network create --subnet=nonsense x", 125, "invalid CIDR address: nonsense"),
    (
        "network create --subnet=127.0.0.0/8 --subnet=127.0.1.0/24 x",
        125,
        "is already used on the host or by another config",
    ),
    ("network create --gateway=10.1.1.1 x", 125, "cannot set gateway or range without subnet"),
    ("network create --ip-range=10.1.1.0/25 x", 125, "cannot set gateway or range without subnet"),
    (
        "network create --subnet=10.211.5.0/24 --gateway=10.1.1.1 x",
        125,
        "gateway 10.1.1.1 not in subnet 10.211.5.0/24",
    ),
    ("network create --subnet=10.211.5.0/24 --ip-range=10.1.1.0/25 x", 125, "not in subnet 10.211.5.0/24"),
    ("network create --route=nonsense x", 125, "invalid route: nonsense"),
    ("network rm -t 0 nosuch", 125, "--force option must be specified to use the --time option"),
    ("secret rm nosuch", 125, "no secret with name or id \"nosuch\": no such secret"),
    ("secret inspect nosuch", 125, "no secret with name or id \"nosuch\": no such secret"),
    ("run --secret=nosuch bb", 125, "no secret with name or id \"nosuch\": no such secret"),
    ("run --volumes-from=nosuch bb", 125, "no such container"),
    ("run --pid=container:nosuch bb", 125, "no such container"),
    ("run -v /nosuch:/x bb", 125, "statfs /nosuch: no such file or directory"),
    ("run --mount=type=bind,src=/nosuch,dst=/x bb", 125, "statfs /nosuch: no such file or directory"),
    ("run --env-file=/nosuch bb", 125, "open /nosuch: no such file or directory"),
    ("run --device=/dev/nosuch bb", 125, "/dev/nosuch: no such file or directory"),
    ("run --user=nosuch bb true", 126, "unable to find user nosuch: no matching entries in passwd file"),
    ("run --group-add=nosuch bb true", 126, "no matching entries in group file"),
    ("run bb nosuchcommand", 127, "executable file `nosuchcommand` not found in $PATH"),
    ("exec up nosuchcommand", 127, "executable file `nosuchcommand` not found in $PATH"),
    ("run bb /etc", 126, "the path `/etc` is not a regular file"),
    // What is in the way.
    ("create --name=up bb", 125, "the container name \"up\" is already in use by "),
    ("run --name=up bb", 125, "that name is already in use"),
    ("rename made up", 125, "is already in use by "),
    ("rm up", 2, "running or paused containers cannot be removed without force: container state improper"),
    ("rmi bb", 2, "image is in use by a container"),
    ("volume rm used", 2, "volume used is being used by the following container(s): "),
    ("volume rm used nosuch", 2, "volume is being used"),
    ("volume create used", 125, "volume with name used already exists: volume already exists"),
    ("pause made", 125, "is not running, can't pause: container state improper"),
    ("unpause up", 125, "is not paused, can't unpause: container state improper"),
    ("kill made", 125, "can only kill running containers"),
    ("kill made", 125, "container state improper"),
    ("exec made true", 255, "can only create exec sessions on running containers: container state improper"),
    ("attach made", 125, "you can only attach to running containers"),
    ("top made", 125, "container state improper"),
    ("healthcheck run up", 125, "has no defined healthcheck"),
    ("start -a up made", 125, "you cannot start and attach multiple containers at once"),
    // What means nothing.
    ("create --name=bad/name bb", 125, "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"),
    ("volume create bad/name", 125, "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"),
    ("create --replace bb", 125, "cannot replace container without --name being set"),
    ("run --rm --restart=always bb", 125, "the --rm option conflicts with --restart"),
    ("run --restart=nosuch bb", 125, "is not a valid restart policy"),
    ("run -v /tmp:relative bb", 125, "invalid container path \"relative\", must be an absolute path"),
    ("run -v a:b:c:d bb", 125, "incorrect volume format, should be [host-dir:]ctr-dir[:option]"),
    ("run --mount=type=nosuch,dst=/x bb", 125, "invalid filesystem type \"nosuch\""),
    ("run --mount=type=tmpfs bb", 125, "must set volume destination"),
    ("run --mount=type=volume,dst=/x,nosuch=1 bb", 125, "invalid mount option"),
    ("run --tmpfs=/x:nosuch bb", 125, "unknown mount option \"nosuch\": invalid mount option"),
    ("run --cap-add=NOSUCH bb", 125, "unknown capability"),
    ("run --dns=nonsense bb", 125, "nonsense is not an ip address"),
    ("run --network=none --network=host bb", 125, "cannot set multiple networks without bridge network mode"),
    ("run --env-merge=nonsense bb", 125, "missing `=` for --env-merge substitution nonsense"),
    ("run --label==x bb", 125, "invalid label format"),
    ("run --stop-signal=NOSUCH bb", 125, "invalid signal: NOSUCH"),
    ("kill -s NOSUCH up", 125, "invalid signal: NOSUCH"),
    ("run --ulimit=nofile=2:1 bb", 125, "ulimit soft limit must be less than or equal to hard limit"),
    ("run --userns=keep-id --uidmap=0:0:1 bb", 125, "--subuidname/--subgidname are mutually exclusive"),
    ("run --nosuch bb", 125, "unknown flag: --nosuch"),
    ("exec --nosuch up true", 125, "unknown flag: --nosuch"),
    ("exec up", 125, "must provide a non-empty command to start an exec session"),
    ("ps --filter=nosuch=x", 125, "nosuch is an invalid filter"),
    ("ps --filter=status=nosuch", 125, "unknown container state: nosuch: invalid argument"),
    ("ps --format={{.NoSuch}}", 125, "can't evaluate field NoSuch in type"),
    ("inspect --type=nosuch up", 125, "invalid type \"nosuch\": must be \"image\", \"container\""),
    ("stop", 125, "you must provide at least one name or id"),
    ("nosuch", 125, "unrecognized command `"),
];

#[test]
fn messages_hold_the_phrases_that_scripts_look_for() {
    let sandbox = Sandbox::new();
    sandbox.start("up", &[], "exec sleep 1000");
    sandbox.ok(["create", "--name=made", "--net=none", "--volume=used:/v", "bb", "true"]);
    let mut wrong = Vec::new();
    for (line, code, phrase) in LINES {
        let mut args: Vec<&str> = line.split(' ').collect();
        // None of them shall need a network.
        if matches!(args[0], "run" | "create") && !line.contains("--network") {
            args.insert(1, "--net=none");
        }
        let output = sandbox.ketch(&args);
        if output.code != *code || !output.stderr.contains(phrase) {
            wrong.push(format!(
                "{line}: {code} {phrase:?}\n    but {}: {}",
                output.code,
                output.stderr.trim()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
