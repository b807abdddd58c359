//! info, system df, prune, check and reset, history, unshare.

mod common;

use std::fs;

use common::Sandbox;
use serde_json::Value;

#[test]
fn info_tells_of_the_machine_and_the_store() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=box", "bb"]);
    let root = sandbox.store();

    let yaml = sandbox.ok(["info"]);
    let json: Value = serde_json::from_str(&sandbox.ok(["info", "-f", "json"])).expect("it is JSON");

    assert!(yaml.starts_with("host:\n  arch: amd64\n"), "{yaml}");
    assert!(yaml.contains(&format!("\n  graphRoot: {}\n", root.display())), "{yaml}");
    assert_eq!(json["store"]["containerStore"]["number"], 1);
    assert_eq!(json["store"]["imageStore"]["number"], 1);
    let fields = "{{.Store.GraphRoot}} {{.Host.OCIRuntime.Name}} {{.Store.GraphDriverName}} {{.Host.Security.Rootless}}";
    let rootless = !rustix::process::getuid().is_root();
    assert_eq!(sandbox.ok(["info", "-f", fields]), format!("{} ketch overlay {rootless}", root.display()));
    assert_eq!(json["host"]["idMappings"]["uidmap"].is_null(), !rootless);
    // What editors ask before they start a container.
    assert_eq!(sandbox.ok(["info", "-f", "{{.Runtimes.nvidia}} {{.DefaultRuntime}}"]), "<no value> ketch");
}

#[test]
fn docker_scripts_learn_who_the_engine_is() {
    let sandbox = Sandbox::empty();
    let info = |field: &str| sandbox.ok(["info", &format!("--format={field}")]);
    let version = |field: &str| sandbox.ok(["version", &format!("--format={field}")]);

    let id = info("{{.ID}}");
    assert_eq!((id.len(), id.matches('-').count()), (36, 4), "{id}");
    assert_eq!(info("{{.ID}}"), id, "the same at every question");
    assert_eq!(
        info(
            "{{.Driver}} {{.Swarm.LocalNodeState}} {{.ClientInfo.Context}} {{.DefaultRuntime}} {{len .ServerErrors}}"
        ),
        "overlay2 inactive default ketch 0"
    );
    assert_eq!(info("{{.NCPU}}"), info("{{.Host.CPUs}}"));
    assert_eq!(info("{{.ServerVersion}}"), version("{{.Server.Version}}"));
    assert_eq!(
        version("{{.Server.Os}}/{{.Server.Arch}} {{.Client.Context}} {{.Server.Platform.Name}}"),
        "linux/amd64 default Ketch"
    );
    let both = common::json(&version("{{json .}}"));
    assert_eq!(both["Server"]["Version"], both["Client"]["Version"]);
}

#[test]
fn there_is_one_context() {
    let sandbox = Sandbox::empty();
    for (args, stdout) in [
        ("show", "default"),
        ("ls -q", "default"),
        ("ls --format {{.Name}}:{{.Current}}", "default:true"),
        ("use default", "default"),
        ("inspect --format {{.Name}}:{{.Endpoints.docker.SkipTLSVerify}}", "default:false"),
        ("rm -f other", ""),
    ] {
        let done = sandbox.ketch(["context"].into_iter().chain(args.split(' ')));
        assert_eq!((done.code, done.stdout.trim_end()), (0, stdout), "{args}: {}", done.stderr);
    }
    let table = sandbox.ok(["context", "ls"]);
    assert!(table.starts_with("NAME") && table.contains("\ndefault *"), "{table}");
    assert_eq!(common::json(&sandbox.ok(["context", "ls", "--format=json"]))["Current"], true);
    assert_eq!(common::json(&sandbox.ok(["context", "inspect", "default"]))[0]["Name"], "default");
    assert_eq!(sandbox.ketch(["--context", "default", "ps", "-q"]).code, 0);

    for (args, code, message) in [
        ("context use far", 125, "context \"far\": context not found"),
        ("context inspect far", 125, "context \"far\": context not found"),
        ("context rm default", 125, "context \"default\" cannot be removed"),
        ("context rm far", 1, "context \"far\": context not found"),
        ("context create far --docker host=ssh://far", 125, "context \"far\": ketch has no daemon"),
        ("context update --description x default", 125, "ketch has no daemon"),
        ("context export default -", 125, "ketch has no daemon"),
        ("context import far -", 125, "ketch has no daemon"),
        ("--context far ps", 125, "context \"far\": context not found"),
    ] {
        let done = sandbox.ketch(args.split(' '));
        assert_eq!((done.code, done.stdout.as_str()), (code, ""), "{args}: {}", done.stderr);
        assert!(done.stderr.contains(message), "{args}: {}", done.stderr);
    }
}

#[test]
fn df_counts_and_measures() {
    let sandbox = Sandbox::new();
    let script = "head -c 5000 /dev/zero > /file; head -c 70 /dev/zero > /v/f";
    let run = sandbox.ketch(["run", "--name=box", "-v", "vol:/v", "bb", "sh", "-c", script]);
    assert_eq!(run.code, 0, "{}", run.stderr);

    let table = sandbox.ok(["system", "df"]);
    let lines = sandbox.ok(["system", "df", "--format={{.Type}}:{{.Total}}:{{.Active}}:{{.RawSize}}"]);

    assert!(
        table.starts_with("TYPE           TOTAL       ACTIVE      SIZE        RECLAIMABLE\nImages "),
        "{table}"
    );
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].starts_with("Images:1:1:"), "{lines:?}");
    let container: u64 =
        lines[1].strip_prefix("Containers:1:0:").and_then(|n| n.parse().ok()).expect("a number");
    assert!((5000..50_000).contains(&container), "{lines:?}");
    assert_eq!(lines[2], "Local Volumes:1:1:70");
    let verbose = sandbox.ok(["system", "df", "-v"]);
    assert!(
        verbose.contains("Containers space usage:") && verbose.contains("vol          1           70B"),
        "{verbose}"
    );
}

/// Layers that were unpacked once more for other IDs.
#[test]
fn df_counts_layers_in_every_form() {
    let sandbox = Sandbox::new();
    let images = || {
        let lines = sandbox.ok(["system", "df", "--format={{.RawSize}} {{.RawReclaimable}}"]);
        let numbers: Vec<u64> =
            lines.lines().next().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1])
    };
    let (plain, all) = images();
    assert_eq!(plain, all, "no container uses it");
    sandbox.ok(["run", "--rm", "--net=none", "--userns=keep-id", "bb", "true"]);
    assert_eq!(images(), (2 * plain, 2 * plain));
    sandbox.ok(["create", "--name=plain", "bb"]);
    assert_eq!(images(), (2 * plain, plain));
    sandbox.ok(["create", "--name=kept", "--userns=keep-id", "bb"]);
    assert_eq!(images(), (2 * plain, 0));
    let verbose = sandbox.ok(["system", "df", "-v"]);
    let size = sandbox.ok(["system", "df", "--format={{.Size}}"]).lines().next().unwrap().to_owned();
    let image = verbose.lines().find(|line| line.contains("latest")).unwrap();
    assert_eq!(image.split_whitespace().filter(|word| *word == size).count(), 2, "{verbose}");
    sandbox.ok(["rm", "kept"]);
    sandbox.ok(["system", "prune", "-f"]);
    assert_eq!(images().0, images().1);
}

#[test]
fn prune_and_reset_leave_what_they_should() {
    let sandbox = Sandbox::new();
    sandbox.ok(["create", "--name=old", "-v", "vol:/v", "bb"]);
    sandbox.start("up", &[], "sleep 1000");

    let pruned = sandbox.ok(["system", "prune", "--force"]);

    assert!(
        pruned.starts_with("Deleted Containers\n") && pruned.contains("\nTotal reclaimed space: "),
        "{pruned}"
    );
    assert_eq!(sandbox.names(), ["up"]);
    assert_eq!(sandbox.ketch(["image", "exists", "bb"]).code, 0);
    assert!(sandbox.store().join("volumes/vol").exists(), "volumes go with --volumes only");
    let pruned = sandbox.ok(["system", "prune", "--force", "--volumes"]);
    assert!(pruned.contains("Deleted Volumes\nvol\n"), "{pruned}");
    // Networks that nobody is on go, as with podman and docker; that of a container stays, and the default one.
    for network in ["idle", "used"] {
        sandbox.ok(["network", "create", network]);
    }
    sandbox.ok(["create", "--name=member", "--network=used", "bb"]);
    sandbox.ok(["run", "-d", "--name=runs", "--network=used", "bb", "sleep", "1000"]);
    let asked = sandbox.command(["system", "prune"]).stdin("y\n").run();
    assert!(asked.ok().contains("\t- all networks not used by at least one container\n"), "{}", asked.stdout);
    assert!(asked.stdout.contains("Deleted Networks\nidle\nTotal"), "{}", asked.stdout);
    assert_eq!(sandbox.ok(["network", "ls", "-q"]), "ketch\nused");
    sandbox.ok(["rm", "-f", "-t0", "runs"]);

    sandbox.ok(["system", "reset", "--force"]);

    for below in ["containers", "names", "images", "refs", "layers", "blobs/sha256", "volumes", "staging"] {
        let left = fs::read_dir(sandbox.store().join(below)).expect("list").count();
        assert_eq!(left, 0, "{below}");
    }
    assert_eq!(sandbox.names(), Vec::<String>::new());
}

#[test]
fn check_finds_damage_and_repairs_it() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok(["system", "check"]), "");
    let id = sandbox.ok(["image", "inspect", "-f", "{{.Id}}", "bb"]);
    let config = sandbox.store().join("blobs/sha256").join(&id);
    let mut text = fs::read(&config).expect("read the configuration");
    *text.last_mut().expect("not empty") ^= 1;
    fs::remove_file(&config).expect("replace it");
    fs::write(&config, text).expect("replace it");

    assert_eq!(sandbox.ok(["system", "check", "--quick"]), "", "a quick check reads no contents");
    let found = sandbox.ketch(["system", "check"]);
    assert!(found.fails(125).contains("damage detected in local storage"));
    assert!(found.stdout.contains(&format!("blob sha256:{id} has digest ")), "{}", found.stdout);

    sandbox.ok(["system", "check", "--repair"]);

    assert_eq!(sandbox.ketch(["image", "exists", "bb"]).code, 1, "it is to be pulled again");
    assert_eq!(sandbox.ok(["system", "check"]), "");
}

#[test]
fn history_goes_from_the_last_step_to_the_first() {
    let sandbox = Sandbox::new();
    let id = sandbox.ok(["image", "inspect", "-f", "{{.Id}}", "bb"]);

    let table = sandbox.ok(["history", "bb"]);

    let mut lines = table.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("ID            CREATED")), "{table}");
    assert!(lines.next().is_some_and(|line| line.starts_with(&id[..12])), "{table}");
    assert!(lines.all(|line| line.starts_with("<missing>")), "{table}");
    let json: Value =
        serde_json::from_str(&sandbox.ok(["history", "--format=json", "bb"])).expect("it is JSON");
    assert_eq!(json[0]["id"], id.as_str());
    assert_eq!(json[0]["tags"], serde_json::json!(["localhost/bb:latest"]));
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    let tree = sandbox.ok(["image", "tree", "bb"]);
    assert!(tree.contains("Top Layer of: [localhost/bb:latest]"), "{tree}");
}

#[test]
fn unshare_runs_a_command_as_root_of_the_user_namespace() {
    let sandbox = Sandbox::empty();
    assert_eq!(sandbox.ok(["unshare", "id", "-u"]), "0");
    assert_eq!(sandbox.ketch(["unshare", "sh", "-c", "exit 7"]).code, 7);
    let roots = sandbox.ok([
        "unshare",
        "sh",
        "-c",
        "test -d \"$CONTAINERS_GRAPHROOT$CONTAINERS_RUNROOT\"; \
        test -d \"$CONTAINERS_GRAPHROOT/containers\" && echo $CONTAINERS_RUNROOT",
    ]);
    assert_eq!(roots, sandbox.path("store").display().to_string());
    let missing = sandbox.ketch(["unshare", "nosuch"]);
    assert_eq!(missing.fails(127), "Error: exec: \"nosuch\": executable file not found in $PATH\n");
    assert_eq!(sandbox.ketch(["unshare", "/etc"]).code, 126);
    let kept = sandbox.command(["unshare", "sh", "-c", "echo $MARK; pwd"]).env("MARK", "here").run();
    assert_eq!(kept.stdout, format!("here\n{}\n", sandbox.path("").display()).replace("/\n", "\n"));
}

#[test]
fn there_are_no_other_machines() {
    let sandbox = Sandbox::new();
    for (verb, heading, why) in [
        ("machine", "NAME VM TYPE CREATED LAST UP CPUS MEMORY DISK SIZE", "no virtual machines"),
        ("farm", "Name Connections Default ReadWrite", "no farms"),
    ] {
        let headings = sandbox.ok([verb, "ls"]);
        assert_eq!(headings.split_ascii_whitespace().collect::<Vec<_>>().join(" "), heading);
        assert_eq!(sandbox.ok([verb, "list", "--format=json"]), "[]");
        assert_eq!(sandbox.ok([verb, "ls", "--format={{.Name}}"]), "");
        assert!(sandbox.ketch([verb, "create", "x"]).fails(125).contains(why));
    }
    assert_eq!(sandbox.ok(["machine", "ls", "--noheading"]), "");
}

#[test]
fn there_are_no_connections() {
    let sandbox = Sandbox::empty();
    let heads = sandbox.ok(["system", "connection", "list"]);
    assert_eq!(
        heads.split_whitespace().collect::<Vec<_>>(),
        ["Name", "URI", "Identity", "Default", "ReadWrite"]
    );
    assert_eq!(sandbox.ok(["system", "connection", "ls", "--format=json"]), "[]");
    for quiet in ["-q", "--format={{.Name}}"] {
        assert_eq!(sandbox.ok(["system", "connection", "ls", quiet]), "");
    }
    let add = sandbox.ketch(["system", "connection", "add", "x", "unix:///x"]);
    assert!(add.fails(125).contains("no connections"), "{}", add.stderr);
}
