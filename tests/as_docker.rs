//! Through a link named docker: what scripts made for it would lose or not find where podman's flags mean more.

mod common;

use common::docker::Docker;
use common::registry::Registry;
use serde_json::Value;

impl Docker {
    #[track_caller]
    fn volumes(&self) -> String {
        self.ok("volume ls -q")
    }
}

/// Docker's `volume prune` and `system prune --volumes` take anonymous volumes only, unless --all is given.
#[test]
fn prunes_leave_volumes_with_names() {
    let docker = Docker::new();
    docker.ok("volume create kept");
    docker.ok("volume create");
    docker.ok("volume prune -f");
    assert_eq!(docker.volumes(), "kept");
    docker.ok("volume create");
    let said = docker.ok("system prune -f --volumes");
    assert!(said.contains("Deleted Volumes"), "{said}");
    assert_eq!(docker.volumes(), "kept");
    let asked = docker.ok("volume prune");
    assert!(
        asked.starts_with(
            "WARNING! This will remove anonymous local volumes not used by at least one container.\n"
        ),
        "{asked}"
    );
    assert!(docker.ok("system prune --volumes").contains("all anonymous volumes not used"));
    docker.ok("volume prune -f --filter all=false");
    assert_eq!(docker.volumes(), "kept");
    for verb in ["volume prune -f -a", "volume prune -f --filter all=true"] {
        docker.ok(verb);
        assert_eq!(docker.volumes(), "", "{verb}");
        docker.ok("volume create kept");
    }
    // podman's takes all.
    docker.sandbox.ok(["volume", "prune", "-f"]);
    assert_eq!(docker.volumes(), "");
}

/// To docker `--force` means that nothing is missed; to podman, that containers in the way are removed.
#[test]
fn force_takes_no_containers() {
    let docker = Docker::new();
    docker.ok("network create net");
    docker.ok("run -d --name up --network net -v data:/d bb sleep 1000");
    let said = docker.run("volume rm -f data");
    assert!(
        said.fails(1).contains("volume is in use - [") && !said.stderr.contains("--force"),
        "{}",
        said.stderr
    );
    let said = docker.run("network rm -f net");
    assert!(
        said.fails(1).contains("network net has active endpoints") && !said.stderr.contains("-f"),
        "{}",
        said.stderr
    );
    docker.ok("volume rm -f nosuch");
    docker.ok("network rm -f nosuch");

    // By its name an image loses that; by its ID it cannot be forced while a container of it runs.
    let id = docker.ok("images -q localhost/bb");
    let said = docker.run(&format!("rmi -f {id}"));
    assert!(said.fails(1).contains("image is being used by running container"), "{}", said.stderr);
    assert_eq!(docker.ok("rmi -f localhost/bb"), "Untagged: localhost/bb:latest");
    assert_eq!(docker.ok("images --format {{.Tag}}"), "<none>");
    assert_eq!(docker.sandbox.inspect("up", ".State.Running"), "true");
    assert!(docker.run(&format!("rmi -f {id}")).fails(1).contains("running container"));

    docker.ok("kill up");
    docker.ok("wait up");
    docker.ok(&format!("tag {id} bb"));
    assert_eq!(docker.ok(&format!("rmi -f {id}")), "Untagged: bb:latest");
    docker.ok("start up");
    docker.ok("rm -f -t 0 up");
    docker.ok("network rm net");
    docker.ok("volume rm data");
    assert!(docker.ok("rmi -f nosuch").is_empty());
    assert!(docker.ok(&format!("rmi {id}")).starts_with("Deleted: "));
}

/// `--format json` and `{{json .}}` are the same to docker: an object on each line, with docker's fields as texts.
#[test]
fn listings_are_lines_with_docker_s_fields() {
    let docker = Docker::new();
    docker.ok("volume create -l k=v vol");
    docker.ok("run -d --name box --net none -l a=b -v vol:/v bb sleep 1000");
    for format in ["json", "{{json_.}}"] {
        // The words are parted at blanks.
        let lines = |verb: &str| {
            let format = format.replace('_', " ");
            let words = verb.split(' ').map(str::to_owned).chain(["--format".to_owned(), format]);
            let said = docker.sandbox.program(&docker.link, words).run().ok().to_owned();
            let parse = |line: &str| serde_json::from_str::<Value>(line).expect("an object on a line");
            said.lines().map(parse).collect::<Vec<_>>()
        };
        let of = |verb: &str| lines(verb).swap_remove(0);
        let container = of("ps");
        assert_eq!(
            (&container["Names"], &container["Labels"]),
            (&"box".into(), &"a=b".into()),
            "{container}"
        );
        assert_eq!(container["Ports"], "", "{container}");
        let image = of("images");
        assert_eq!((&image["Repository"], &image["Tag"]), (&"localhost/bb".into(), &"latest".into()));
        assert_eq!(image["VirtualSize"], image["Size"]);
        let volume = of("volume ls");
        assert_eq!((&volume["Name"], &volume["Labels"]), (&"vol".into(), &"k=v".into()), "{volume}");
        assert_eq!(volume["Availability"], "N/A");
        let network = of("network ls");
        assert_eq!(
            (&network["Driver"], &network["Internal"]),
            (&"bridge".into(), &"false".into()),
            "{network}"
        );
        assert_eq!(network["Scope"], "local");
        let stats = of("stats --no-stream");
        assert_eq!((&stats["Name"], stats["MemUsage"].is_string()), (&"box".into(), true), "{stats}");
        let step = of("history bb");
        assert!(
            step["CreatedBy"].is_string() && !step["ID"].as_str().unwrap_or_default().is_empty(),
            "{step}"
        );
        let usage = lines("system df");
        assert_eq!(usage[2]["Type"], "Local Volumes");
        assert_eq!(usage[2]["TotalCount"], "1");
        let info = of("info");
        assert_eq!((&info["ContainersRunning"], info.get("host")), (&1.into(), None));
        let events = lines("events --stream=false --filter event=start");
        assert_eq!((&events[0]["status"], &events[0]["Action"]), (&"start".into(), &"start".into()));
        assert_eq!(events[0]["Actor"]["Attributes"]["name"], "box", "{events:?}");
    }
    assert_eq!(docker.ok("ps --format json --filter name=nosuch"), "");
    assert_eq!(docker.lines("volume ls --format json").len(), 1);

    let networks: Value = serde_json::from_str(&docker.ok("network inspect bridge")).expect("it is JSON");
    assert_eq!(networks[0]["IPAM"]["Config"][0]["Gateway"], "10.88.0.1", "{networks}");
    assert_eq!((&networks[0]["Containers"], networks[0].get("subnets")), (&serde_json::json!({}), None));
    let again: Value = serde_json::from_str(&docker.ok("inspect bridge")).expect("it is JSON");
    assert_eq!(again, networks);
    // With podman's name, podman's.
    assert!(docker.sandbox.ok(["ps", "--format", "json"]).starts_with('['));
    docker.ok("rm -f -t 0 box");
}

/// Docker makes a directory of what `-v` names and is not there; what `--mount` names has to be there.
#[test]
fn directories_that_v_names_are_made() {
    let docker = Docker::new();
    let missing = docker.sandbox.path("a/new/place");
    let place = missing.display();
    docker.ok(&format!("run --rm --net none -v {place}:/data bb touch /data/file"));
    assert!(missing.join("file").exists());
    docker.ok(&format!("create --net none -v {place}2:/data bb"));
    assert!(docker.sandbox.path("a/new/place2").is_dir());
    let refused =
        docker.run(&format!("run --rm --net none --mount type=bind,src={place}3,dst=/data bb true"));
    assert!(refused.fails(125).contains("bind source path does not exist"));
    let refused =
        docker.sandbox.ketch(["run", "--rm", "--net=none", &format!("-v={place}3:/data"), "bb", "true"]);
    assert!(refused.fails(125).contains("no such file or directory"));
    assert!(!docker.sandbox.path("a/new/place3").exists());
}

/// Scripts cut the slash off a name, give times to `date -d`, and compare IDs with those of `images --no-trunc`.
#[test]
fn inspect_names_things_as_docker_does() {
    let docker = Docker::new();
    docker.ok("run --name box --net none bb true");
    let said: Value = serde_json::from_str(&docker.ok("inspect box bb")).expect("it is JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    assert_eq!(said[0]["Name"], "/box");
    assert_eq!(docker.ok("inspect -f {{.Name}} box"), "/box");
    let id = docker.ok("images --no-trunc -q localhost/bb");
    assert_eq!((text(&said[0]["Image"]), text(&said[1]["Id"])), (id.clone(), id.clone()));
    assert_eq!(docker.ok("image inspect -f {{.Id}} bb"), id);
    for field in ["StartedAt", "FinishedAt"] {
        let told = docker.ok(&format!("inspect -f {{{{.State.{field}}}}} box"));
        assert_eq!(told, text(&said[0]["State"][field]));
        assert!(told.contains('T') && told.ends_with('Z'), "{told}");
    }
    assert_eq!(docker.ok("inspect -f {{.Created}} box"), text(&said[0]["Created"]));
    assert_eq!(docker.ok("inspect -f {{.Created}} bb"), text(&said[1]["Created"]));
    // Any of these words is taken again.
    docker.ok(&format!("rm {}", text(&said[0]["Name"])));
    docker.ok(&format!("create --net none {id} true"));
    docker.sandbox.ok(["create", "--name=own", "--net=none", "bb"]);
    assert_eq!(docker.sandbox.inspect("own", ".Name"), "own");
}

#[test]
fn numbers_of_use_have_docker_s_units() {
    let docker = Docker::new();
    docker.ok("run -d --net=none --name=box bb sleep 1000");
    let row = &docker.lines("stats --no-stream --format json")[0];
    let memory = row["MemUsage"].as_str().unwrap();
    assert!(memory.split(" / ").all(|part| part == "0B" || part.ends_with("iB")), "{row}");
    // What python-on-whales reads has to be a number.
    for key in ["BlockIO", "NetIO"] {
        let pair = row[key].as_str().unwrap();
        let is_number = |part: &str| part.starts_with(|c: char| c.is_ascii_digit()) && part.ends_with('B');
        assert!(pair.split(" / ").all(is_number), "{row}");
    }
    docker.ok("kill box");
    let row = &docker.lines("stats --no-stream -a --format json")[0];
    assert_eq!((&row["CPUPerc"], &row["PIDs"]), (&"0.00%".into(), &"0".into()), "{row}");
    assert_eq!(row["MemUsage"].as_str().unwrap().split(' ').next(), Some("0B"));
}

#[test]
fn the_file_of_an_id_stays() {
    let docker = Docker::new();
    let file = docker.sandbox.path("cid");
    docker.ok(&format!("run --rm --net=none --cidfile={} bb true", file.display()));
    assert_eq!(std::fs::read(&file).expect("the file stays").len(), 64);
}

#[test]
fn programs_ask_a_context_for_the_address() {
    let docker = Docker::new();
    let host = "{{.Endpoints.docker.Host}}";
    assert_eq!(docker.json("context inspect")[0]["Name"], "default");
    assert_eq!(docker.json("context inspect default --format json")[0]["Endpoints"]["docker"]["Host"], "");
    let api = common::api::Api::start(&docker.sandbox);
    assert_eq!(docker.ok(&format!("context inspect --format {host}")), api.host());
    assert_eq!(docker.ok("context ls --format {{.DockerEndpoint}}"), api.host());
    // The tutorials of Testcontainers ask podman for it.
    let socket = docker
        .sandbox
        .ok(["info", "--format={{.Host.RemoteSocket.Exists}} unix://{{.Host.RemoteSocket.Path}}"]);
    assert_eq!(socket, format!("true {}", api.host()));
    // With that address, this machine is meant (ansible's docker_image_build, Compose).
    assert_eq!(docker.ok(&format!("--host {} ps -q", api.host())), "");
}

#[test]
fn events_of_health_say_how_it_is() {
    let docker = Docker::new();
    docker.ok("run -d --name box --net none --health-cmd true --health-interval 1h bb sleep 1000");
    docker.ok("healthcheck run box");
    let said = docker.ok("events --stream=false --filter event=health_status --format {{.Action}}");
    assert!(said.lines().any(|line| line.ends_with("health_status: healthy")), "{said}");
    docker.ok("rm -f -t 0 box");
}

/// `docker pull IMAGE | grep 'up to date'` and `docker push IMAGE | awk '/digest:/ {print $3}'`.
#[test]
fn pull_and_push_tell_what_scripts_look_for() {
    let docker = Docker::new();
    let registry = Registry::shared();
    let name = registry.push("as-docker/pulled", "latest", &common::bb::image().build());
    let pull = docker.ok(&format!("pull {name}"));
    let lines: Vec<&str> = pull.lines().collect();
    assert_eq!(lines[0], "latest: Pulling from as-docker/pulled");
    assert!(lines[1].starts_with("Digest: sha256:"), "{pull}");
    assert_eq!(lines[2..], [format!("Status: Downloaded newer image for {name}"), name.clone()]);
    assert!(
        docker.ok(&format!("pull {name}")).contains(&format!("\nStatus: Image is up to date for {name}\n"))
    );
    assert_eq!(docker.ok(&format!("pull -q {name}")), name);
    let untagged = name.trim_end_matches(":latest");
    assert!(
        docker
            .ok(&format!("pull {untagged}"))
            .starts_with("Using default tag: latest\nlatest: Pulling from ")
    );
    assert_eq!(docker.ok(&format!("pull -q {untagged}")), name);

    let to = registry.reference("as-docker/pushed", "one");
    docker.ok(&format!("tag {name} {to}"));
    let push = docker.ok(&format!("push {to}"));
    let push = push.lines().next_back().unwrap_or_default();
    let words: Vec<&str> = push.split(' ').collect();
    assert_eq!((words[0], words[1], words[3]), ("one:", "digest:", "size:"), "{push}");
    assert!(lines[1].ends_with(words[2]), "{push}");
    assert_eq!(docker.ok(&format!("push -q {to}")), to);
}

/// `docker volume create` in a script that runs again; `-w` to a place that the image has not.
#[test]
fn what_is_missing_is_made_and_what_is_there_is_taken() {
    let docker = Docker::new();
    assert_eq!(docker.ok("volume create data"), "data");
    assert_eq!(docker.ok("volume create data"), "data");
    assert!(docker.sandbox.ketch(["volume", "create", "data"]).fails(125).contains("already exists"));
    assert_eq!(docker.ok("run --rm --net none -w /new/place bb pwd"), "/new/place");
    let refused = docker.sandbox.ketch(["run", "--rm", "--net=none", "-w=/new/place", "bb", "pwd"]);
    assert!(refused.fails(126).contains("does not exist on container"));
}

/// In a script; podman's warning comes before a shell that waits for ever.
#[test]
fn a_terminal_that_is_not_there_is_no_terminal() {
    let docker = Docker::new();
    let refused = docker.run("run --rm -it --net none bb sh");
    assert!(refused.fails(1).contains("the input device is not a TTY"), "{}", refused.stderr);
    docker.ok("run -d --name box --net none bb sleep 1000");
    assert!(docker.run("exec -it box sh").fails(1).contains("the input device is not a TTY"));
    docker.ok("exec -i box true");
    docker.ok("rm -f -t 0 box");
    assert!(docker.sandbox.names().is_empty());
}
