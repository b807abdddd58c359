//! Docker's API as real clients use it: docker's own command line, docker-py, and Compose where Debian has it.

mod common;

use std::path::PathBuf;

use common::api::Api;
use common::process::{Invocation, Output};
use common::{Sandbox, json, skip, wait_for};

/// docker's own client, which talks to a service of ketch.
struct Client {
    sandbox: Sandbox,
    api: Api,
    clients: PathBuf,
}

impl Client {
    /// `None`, aloud, where the clients are not there.
    fn new() -> Option<Self> {
        let clients = std::env::var_os("KETCH_CLIENTS").map(PathBuf::from).filter(|path| path.exists());
        let Some(clients) = clients else {
            skip("no clients of Docker's API (tests/clients)");
            return None;
        };
        let sandbox = Sandbox::new();
        let api = Api::start(&sandbox);
        let home = sandbox.path("home/.docker");
        std::fs::create_dir_all(&home).expect("make a directory");
        std::os::unix::fs::symlink(clients.join("cli-plugins"), home.join("cli-plugins"))
            .expect("make a link");
        Some(Client { sandbox, api, clients })
    }

    /// A command line of docker; single quotes keep blanks.
    fn command(&self, line: &str) -> Invocation {
        let program = self.clients.join("bin/docker");
        let command = self.sandbox.program(program, words(line)).env("DOCKER_HOST", self.api.host());
        command.env("DOCKER_BUILDKIT", "0")
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).run()
    }

    /// What a command line prints that has to succeed.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        self.run(line).ok().to_owned()
    }
}

fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    parts
        .flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn containers_run_as_dockers_client_expects() {
    let Some(docker) = Client::new() else { return };
    assert!(docker.ok("version --format {{.Server.Version}}").starts_with("28."));
    assert_eq!(docker.ok("info --format {{.OSType}}"), "linux");
    assert_eq!(docker.ok("run --rm bb echo hello"), "hello");
    for (line, code) in [
        ("run --rm bb sh -c 'exit 3'", 3),
        ("run --rm bb /nosuch", 127),
        ("run --rm bb /etc", 126),
        ("run --rm nosuchimage.invalid/x true", 125),
        ("run --rm --name=/bad/name bb true", 125),
    ] {
        let output = docker.run(line);
        assert_eq!(output.code, code, "{line}: {}", output.stderr);
    }
    // All of it comes, however soon the container ends, and each stream by itself.
    let both = docker.run("run --rm bb sh -c 'seq 20000; echo wrong >&2'");
    assert_eq!((both.ok().lines().count(), both.stderr.trim()), (20000, "wrong"));
    let piped = docker.command("run --rm -i bb sort -r").stdin("a\nb\n").run();
    assert_eq!(piped.ok(), "b\na");
    let mut terminal = docker.command("run --rm -it bb sh").on_terminal(30, 100);
    terminal.expect("# ");
    terminal.send("stty size; exit 5\n");
    terminal.expect("30 100");
    assert_eq!(terminal.wait().code, 5);
    assert_eq!(docker.ok("ps -aq"), "");
}

#[test]
fn a_containers_life_through_dockers_client() {
    let Some(docker) = Client::new() else { return };
    let id =
        docker.ok("run -d --name web -e A=b --label l=1 -v data:/data bb sh -c 'echo ready; sleep 1000'");
    assert_eq!(id.len(), 64);
    let row = docker.ok("ps --format '{{.ID}} {{.Image}} {{.Names}} {{.State}} {{.Labels}}'");
    assert_eq!(row, format!("{} bb web running l=1", &id[..12]));
    assert_eq!(docker.ok("ps -q --no-trunc --filter label=l=1"), id);
    assert_eq!(docker.ok("ps -q --filter label=l=2"), "");
    wait_for("the log", || match docker.ok("logs web").as_str() {
        "ready" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(docker.ok("exec web sh -c 'echo $A'"), "b");
    let failed = docker.run("exec web sh -c 'exit 4'");
    assert_eq!(failed.code, 4, "{}", failed.stderr);
    assert_eq!(docker.command("exec -i web cat").stdin("typed").run().ok(), "typed");
    docker.ok("exec -d web touch /data/later");
    wait_for("the command in the background", || match docker.run("exec web ls /data/later").code {
        0 => Ok(()),
        code => Err(code.to_string()),
    });
    assert_eq!(docker.ok("inspect web --format '{{.State.Status}} {{.Name}} {{.Config.Image}} {{index .Config.Labels \"l\"}}'"), "running /web bb 1");
    assert_eq!(
        docker.ok("inspect web --format '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}{{end}}'"),
        "volume data /data"
    );
    assert!(docker.ok("top web").contains("sleep 1000"));
    assert!(docker.ok("stats --no-stream --format {{.Name}}").contains("web"));

    docker.sandbox.write("file", "from outside");
    docker.ok(&format!("cp {} web:/tmp/copied", docker.sandbox.path("file").display()));
    assert_eq!(docker.ok("exec web cat /tmp/copied"), "from outside");
    docker.ok(&format!("cp web:/tmp/copied {}", docker.sandbox.path("back").display()));
    assert_eq!(docker.sandbox.read("back"), "from outside");
    assert!(docker.ok("diff web").contains("A /tmp/copied"));

    docker.ok("rename web server");
    docker.ok("pause server");
    assert_eq!(docker.ok("inspect server --format {{.State.Status}}"), "paused");
    docker.ok("unpause server");
    docker.ok("stop -t 0 server");
    assert_eq!(docker.ok("wait server"), "137");
    assert!(docker.run("exec server true").fails(1).contains("is not running"));
    docker.ok("start server");
    docker.ok("restart -t 0 server");
    docker.ok("kill server");
    assert!(docker.run("volume rm data").fails(1).contains("volume is in use"));
    assert_eq!(docker.ok("rm server"), "server");
    assert!(docker.run("inspect server").fails(1).contains("No such object: server"));
    assert_eq!(docker.ok("volume rm data"), "data");

    // A container that was made before it is started, with its output and its exit code.
    docker.ok("create --name once -i bb sh -c 'read line; echo got $line; exit 7'");
    let started = docker.command("start -ai once").stdin("this\n").run();
    assert_eq!((started.code, started.stdout.as_str()), (7, "got this\n"));
    docker.ok("container prune -f");
    assert_eq!(docker.ok("ps -aq"), "");
}

#[test]
fn networks_and_ports_through_dockers_client() {
    let Some(docker) = Client::new() else { return };
    docker.ok("network create --label a=b back");
    docker
        .ok("run -d --name web --network back -p 127.0.0.1::80 --hostname served bb httpd -f -p 80 -h /etc");
    let port = docker.ok("port web 80/tcp");
    assert!(port.starts_with("127.0.0.1:"), "{port}");
    let page = wait_for("the server", || {
        let output = docker.run("run --rm --network back bb wget -qO- http://web/hostname");
        if output.code == 0 { Ok(output.stdout) } else { Err(output.stderr) }
    });
    assert_eq!(page, "served\n");
    assert!(docker.ok("ps --format {{.Ports}}").contains(&format!("{port}->80/tcp")));
    let networks = docker.ok("network ls --format {{.Name}}");
    assert_eq!(networks.lines().collect::<Vec<_>>(), ["back", "bridge", "host", "none"]);
    assert_eq!(docker.ok("network inspect back --format '{{range .Containers}}{{.Name}}{{end}}'"), "web");
    docker.ok("network disconnect back web");
    docker.ok("network connect --alias other back web");
    docker.ok("run --rm --network back bb nslookup other");
    docker.ok("rm -f web");
    assert_eq!(docker.ok("network rm back"), "back");
}

#[test]
fn images_are_built_kept_and_carried_by_dockers_client() {
    let Some(docker) = Client::new() else { return };
    docker.sandbox.write(
        "context/Dockerfile",
        "FROM bb\nARG V=1\nCOPY file /file\nRUN echo $V >> /file\nCMD cat /file\n",
    );
    docker.sandbox.write("context/file", "copied\n");
    docker.sandbox.write("context/.dockerignore", "ignored\n");
    let context = docker.sandbox.path("context");
    let built = docker.ok(&format!("build -t app --build-arg V=2 {}", context.display()));
    assert!(built.contains("Successfully tagged app:latest"), "{built}");
    assert_eq!(docker.ok("run --rm app"), "copied\n2");
    assert!(docker.ok("images --format {{.Repository}}:{{.Tag}}").lines().any(|line| line == "app:latest"));
    assert!(docker.ok("history app").contains("CMD"));
    docker.ok("tag app app:2");
    let archive = docker.sandbox.path("app.tar");
    docker.ok(&format!("save -o {} app:2", archive.display()));
    assert!(docker.ok("rmi app:2").contains("Untagged: app:2"));
    assert!(docker.ok(&format!("load -i {}", archive.display())).contains("Loaded image: app:2"));
    docker.ok("run --name changed app sh -c 'echo more > /more'");
    docker.ok("commit -m why changed app:3");
    assert_eq!(docker.ok("run --rm app:3 cat /more"), "more");
    assert!(docker.run("rmi app:nosuch").fails(1).contains("No such image: app:nosuch"));
    let broken = docker.sandbox.write("broken/Dockerfile", "FROM bb\nRUN exit 3\n");
    let failed = docker.run(&format!("build {}", broken.parent().unwrap().display()));
    assert!(failed.code != 0 && failed.stderr.contains("returned a non-zero code: 3"), "{}", failed.stderr);
    docker.ok("rm changed");
    docker.ok("rmi app:3 app:2 app");
}

/// docker-py: keeps connections, and reads streams by itself.
#[test]
fn docker_py_works() {
    let Some(docker) = Client::new() else { return };
    let python = docker.clients.join("python");
    if !python.join("docker").exists() {
        skip("no docker-py");
        return;
    }
    let script = r#"
import docker, io, tarfile
client = docker.from_env()
assert client.ping() and client.version()["ApiVersion"]
assert client.containers.run("bb", "echo hi", remove=True) == b"hi\n"
try:
    client.containers.run("bb", ["sh", "-c", "echo no >&2; exit 3"])
    raise SystemExit("no error")
except docker.errors.ContainerError as err:
    assert err.exit_status == 3 and b"no" in err.stderr, err
web = client.containers.run("bb", ["sh", "-c", "echo up; sleep 1000"], detach=True, name="web", labels={"a": "b"},
    environment={"X": "y"}, volumes={"data": {"bind": "/data", "mode": "rw"}}, ports={"80/tcp": None}, tmpfs={"/t": "size=1m"})
assert next(web.logs(stream=True, follow=True)) == b"up\n"
code, out = web.exec_run(["sh", "-c", "echo $X; df /t | grep -c tmpfs; exit 2"])
assert (code, out) == (2, b"y\n1\n"), (code, out)
code, (out, err) = web.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
assert (code, out, err) == (0, b"o\n", b"e\n")
assert client.containers.get("web").status == "running"
assert [one.name for one in client.containers.list(filters={"label": "a=b"})] == ["web"]
data = io.BytesIO()
with tarfile.open(fileobj=data, mode="w") as archive:
    info = tarfile.TarInfo("in/file"); info.size = 3
    archive.addfile(info, io.BytesIO(b"abc"))
assert web.put_archive("/tmp", data.getvalue())
chunks, stat = web.get_archive("/tmp/in/file")
assert stat["name"] == "file" and stat["size"] == 3, stat
with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
    assert archive.extractfile("file").read() == b"abc"
web.reload()
assert web.attrs["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].isdigit(), web.attrs["NetworkSettings"]
assert web.stats(stream=False)["memory_stats"] is not None
web.stop(timeout=0)
assert web.wait()["StatusCode"] == 137
web.remove(v=True)
image, lines = client.images.build(fileobj=io.BytesIO(b"FROM bb\nLABEL k=v\n"), tag="built:1", rm=True)
assert image.labels["k"] == "v" and "built:1" in image.tags, image.attrs
client.images.remove("built:1")
try:
    client.images.get("built:1")
    raise SystemExit("still there")
except docker.errors.ImageNotFound:
    pass
net = client.networks.create("n", driver="bridge")
assert net.id in [one.id for one in client.networks.list()]
net.remove()
client.volumes.get("data").remove()
print("done")
"#;
    let command = docker.sandbox.program("python3", ["-c", script]).env("PYTHONPATH", python);
    let output = command.env("DOCKER_HOST", docker.api.host()).run();
    assert_eq!(output.ok(), "done", "{}", output.stderr);
}

#[test]
fn compose_through_the_api() {
    let Some(docker) = Client::new() else { return };
    if !docker.clients.join("cli-plugins/docker-compose").exists() {
        // Debian 12 has the first Compose only.
        common::skip_anywhere("no second Compose");
        return;
    }
    docker.sandbox.write(
        "app/compose.yaml",
        "services:\n  web:\n    image: bb\n    command: httpd -f -p 80 -h /etc\n    healthcheck: {test: [CMD, 'true'], interval: 1s}\n  \
         user:\n    image: bb\n    command: sh -c 'wget -qO- http://web/hostname && sleep 1000'\n    depends_on: {web: {condition: service_healthy}}\n",
    );
    let compose = |line: &str| {
        docker.command(&format!("compose -f {} {line}", docker.sandbox.path("app/compose.yaml").display()))
    };
    let up = compose("up -d --wait").run();
    assert_eq!(up.code, 0, "{}", up.stderr);
    let rows = compose("ps --format json").run();
    assert_eq!(
        rows.ok().lines().map(|row| json(row)["State"].clone()).collect::<Vec<_>>(),
        ["running", "running"]
    );
    assert_eq!(compose("exec -T web echo in").run().ok(), "in");
    assert!(compose("logs user").run().ok().contains("user-1  |"));
    let down = compose("down -v -t 0").run();
    assert_eq!(down.code, 0, "{}", down.stderr);
    assert_eq!(docker.ok("ps -aq"), "");
    assert_eq!(docker.ok("network ls -q --filter name=app"), "");
}
