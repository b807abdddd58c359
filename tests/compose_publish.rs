//! Compose: projects in registries, their volumes, options of networks, and builds side by side.

mod common;

use common::Sandbox;
use common::compose::{Compose, SERVE, project};
use common::registry::Registry;

#[test]
fn a_published_project_runs_from_the_registry() {
    if !common::have("docker-registry") {
        return;
    }
    let name = Registry::shared().reference("compose/published", "1");
    let sandbox = project(
        "services: {a: {image: bb, command: [cat, /etc/hostname], network_mode: none, hostname: one, extends: {file: parts/base.yaml, service: base}}}\n",
    );
    sandbox.write("p/parts/base.yaml", "services: {base: {extends: {file: labels.yaml, service: all}}}\n");
    sandbox.write("p/parts/labels.yaml", "services: {all: {labels: {from: labels.yaml}}}\n");
    sandbox.write(
        "p/more.yaml",
        "services: {a: {hostname: two}, b: {image: bb, command: ['true'], env_file: [v/b.env]}}\n",
    );
    sandbox.write("p/v/b.env", "FROM_FILE=yes\n");
    let both = ["-f", "compose.yaml", "-f", "more.yaml"];
    let refused = sandbox.compose(&[&both[..], &["publish", &name]].concat());
    assert!(refused.fails(1).contains("service \"b\" has env_file declared."), "{}", refused.stderr);
    let published = sandbox.compose(&[&both[..], &["publish", "--with-env", &name]].concat());
    published.ok();
    assert!(published.stderr.contains("published (sha256:"), "{}", published.stderr);

    let other = Sandbox::new();
    other.write("p/unused", "");
    let from = format!("oci://{name}");
    let config = other.compose(&["-f", &from, "config"]);
    let text = config.ok();
    assert!(text.starts_with("name: p\n") && text.contains("hostname: two"), "{text}");
    assert!(text.contains("from: labels.yaml"), "{text}");
    assert!(text.contains("FROM_FILE: \"yes\"") || text.contains("FROM_FILE: yes"), "{text}");
    let up = other.compose(&["-f", &from, "up", "--no-log-prefix", "a"]);
    assert!(up.ok().contains("two\n"), "{}", up.stdout);
    other.compose(&["-f", &from, "down"]).ok();

    // An image is no project.
    let image = Registry::shared().reference("compose/image", "1");
    sandbox.ok(["push", "-q", "bb", &format!("docker://{image}")]);
    let wrong = other.compose(&["-f", &format!("oci://{image}"), "config"]);
    assert_ne!(wrong.code, 0);
    assert!(wrong.stderr.contains("is not a compose project OCI artifact"), "{}", wrong.stderr);
}

#[test]
fn what_others_could_not_run_is_not_published() {
    for (text, message) in [
        (
            "include: [b.yaml]\nservices: {a: {image: bb}}\n",
            "compose.yaml:1:10: cannot publish a file that includes others",
        ),
        ("services: {a: {build: .}}\n", "only contains a build section for service(s):\n- \"a\""),
        (
            "services: {a: {image: bb, environment: {A: 1}}}\n",
            "service \"a\" has environment variable(s) declared.",
        ),
    ] {
        let sandbox = project(text);
        sandbox.write("p/b.yaml", "services: {b: {image: bb}}\n");
        let said = sandbox.compose(&["publish", "localhost:1/x"]);
        assert!(said.fails(1).contains(message), "{}", said.stderr);
    }
    let sandbox = project("services: {a: {image: bb, volumes: ['.:/x']}}\n");
    let asked = sandbox.compose(&["publish", "localhost:1/x"]);
    asked.ok();
    assert!(
        asked.stderr.contains("Are you ok to publish these bind mount declarations?"),
        "{}",
        asked.stderr
    );
}

#[test]
fn volumes_of_a_project_are_listed() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none, volumes: ['one:/o', 'two:/t', '/anonymous']}}
  b: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none, volumes: ['two:/t']}}
volumes: {{one: {{labels: {{k: v}}}}, two: {{}}}}
"
    ));
    sandbox.ok(["volume", "create", "foreign"]);
    sandbox.compose(&["up", "-d"]).ok();
    assert_eq!(
        sandbox.compose(&["volumes"]).ok(),
        "DRIVER      VOLUME NAME\nlocal       p_one\nlocal       p_two"
    );
    assert_eq!(sandbox.compose(&["volumes", "-q"]).ok(), "p_one\np_two");
    assert_eq!(sandbox.compose(&["volumes", "-q", "b"]).ok(), "p_two");
    let template = sandbox.compose(&["volumes", "--format", "{{.Name}}={{.Scope}}", "b"]);
    assert_eq!(template.ok(), "p_two=local");
    let lines = sandbox.compose(&["volumes", "--format", "json"]);
    let row: serde_json::Value =
        serde_json::from_str(lines.ok().lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&row["Name"], &row["Driver"], &row["Size"]),
        (&"p_one".into(), &"local".into(), &"N/A".into())
    );
    assert!(row["Labels"].as_str().is_some_and(|labels| labels.contains("k=v")), "{row}");
    assert!(sandbox.compose(&["volumes", "nosuch"]).fails(1).contains("no such service: nosuch"));
    // As docker compose: `exec -d` prints nothing.
    let silent = sandbox.compose(&["exec", "-d", "-e", "A=b", "a", "sh", "-c", "echo $A > /o/done"]);
    assert_eq!(silent.ok(), "");
    common::wait_for("the detached command", || {
        let said = sandbox.compose(&["exec", "-T", "a", "cat", "/o/done"]);
        if said.stdout == "b\n" { Ok(()) } else { Err(said.stderr) }
    });
    sandbox.compose(&["down", "-v", "-t", "0"]).ok();
}

#[test]
fn a_network_s_options_reach_the_interface() {
    let sandbox = project(&format!(
        "services:
  a:
    image: bb
    command: [sh, -c, '{SERVE}']
    networks:
      one:
        driver_opts:
          com.docker.network.endpoint.ifname: lan7
          com.docker.network.endpoint.sysctls: net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.rp_filter=2
          com.docker.network.else: x
      two: {{gw_priority: 1}}
networks: {{one: {{}}, two: {{}}}}
"
    ));
    let up = sandbox.compose(&["up", "-d"]);
    up.ok();
    assert!(
        up.stderr.contains("service a: networks.one.driver_opts.com.docker.network.else has no effect"),
        "{}",
        up.stderr
    );
    assert_eq!(up.stderr.matches("has no effect").count(), 1, "{}", up.stderr);
    let look = "cd /proc/sys/net/ipv4/conf; cat lan7/log_martians lan7/rp_filter; ls; ip route | grep -c 'default.* lan7'";
    let said = sandbox.compose(&["exec", "-T", "a", "sh", "-c", look]);
    assert!(said.stdout.starts_with("1\n2\n"), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.ends_with("\n0\n"), "the other network is the way out: {}", said.stdout);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

/// Its process 1 belongs to another container's user namespace, and is a program of ketch's that nobody may look into.
#[test]
fn a_service_in_another_s_namespaces_with_an_init_is_entered() {
    let sandbox = project(&format!(
        "services:
  a: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: none}}
  b: {{image: bb, command: [sh, -c, '{SERVE}'], network_mode: 'service:a', pid: 'service:a', ipc: 'service:a', init: true}}
"
    ));
    sandbox.compose(&["up", "-d"]).ok();
    assert_eq!(sandbox.compose(&["exec", "-T", "b", "echo", "inside"]).ok(), "inside");
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn services_are_built_side_by_side() {
    let sandbox = project(
        "services:
  a: {build: {context: ., dockerfile_inline: \"FROM bb\\nRUN echo built-a\\n\"}, command: [echo, one], network_mode: none}
  b: {build: {context: ., dockerfile_inline: \"FROM bb\\nRUN echo built-b\\n\"}, command: [echo, two], network_mode: none}
",
    );
    let up = sandbox.compose(&["up", "--build", "--no-log-prefix"]);
    let said = up.ok();
    for line in ["one\n", "two\n"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // Standard output is for what containers write, as with docker compose.
    for line in ["[a] built-a\n", "[b] built-b\n"] {
        assert!(up.stderr.contains(line) && !said.contains(line), "{line}: {}", up.stderr);
    }
    let plain = sandbox.compose(&["--progress", "plain", "build", "a"]);
    plain.ok();
    assert!(plain.stderr.contains("#0 building with"), "{}", plain.stderr);
    assert!(sandbox.compose(&["build", "--check", "a"]).ok().contains("no warnings found"));
    let limited = sandbox.compose(&["--parallel", "1", "up", "--build", "--force-recreate"]);
    limited.ok();
    assert!(!limited.stderr.contains("[a] "), "{}", limited.stderr);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn up_waits_for_what_lasts_and_scales_what_there_is() {
    let sandbox = project("services: {a: {image: bb, command: [sh, -c, 'exit 5'], network_mode: none}}\n");
    let up = sandbox.compose(&["up", "--wait"]);
    assert!(up.fails(1).contains("container p-a-1 exited (5)"), "{}", up.stderr);
    let scaled = sandbox.compose(&["up", "-d", "--scale", "nosuch=2"]);
    assert!(scaled.fails(1).contains("no such service: nosuch"), "{}", scaled.stderr);
    let run = sandbox.compose(&["run", "-q", "--rm", "--pull", "never", "a", "echo", "said"]);
    assert_eq!((run.ok(), run.stderr.as_str()), ("said", ""));
    // No limit needs no cgroup.
    sandbox.write(
        "p/compose.yaml",
        "services: {a: {image: bb, network_mode: none, pids_limit: -1, container_name: own}}\n",
    );
    assert_eq!(sandbox.compose(&["run", "--rm", "a", "echo", "free"]).ok(), "free");
    let scaled = sandbox.compose(&["up", "-d", "--scale", "a=2"]);
    assert!(scaled.fails(1).contains("only one container can have"), "{}", scaled.stderr);
    sandbox.compose(&["down", "-t", "0"]).ok();
}

#[test]
fn limits_are_those_of_either_spelling() {
    let sandbox = project(
        "services:\n  \
           a: {image: bb, network_mode: none, mem_limit: 64m, cpus: 0.5, pids_limit: 50}\n  \
           b: {image: bb, network_mode: none, deploy: {resources: {limits: {cpus: '0.25', memory: 32M, pids: 20}, reservations: {memory: 16M}}}}\n  \
           c: {image: bb, network_mode: none, mem_limit: 64m, memswap_limit: 80m, cpus: 0.5, cpu_period: 50000}\n  \
           d: {image: bb, network_mode: none, mem_limit: 0, memswap_limit: 0, cpus: 0, cpu_quota: 30000}\n  \
           e: {image: bb, network_mode: none, mem_limit: 0, memswap_limit: 0, cpus: 0, ipc: host, shm_size: 32m}\n",
    );
    sandbox.compose(&["create"]).ok();
    let fields = "{{.Name}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.MemoryReservation}} \
                  {{.HostConfig.NanoCpus}} {{.HostConfig.CpuQuota}} {{.HostConfig.CpuPeriod}} {{.HostConfig.PidsLimit}}";
    let made = sandbox.ok(["inspect", "--format", fields, "p-a-1", "p-b-1", "p-c-1", "p-d-1"]);
    let wanted = "p-a-1 67108864 134217728 0 500000000 50000 100000 50\n\
                  p-b-1 33554432 67108864 16777216 250000000 25000 100000 20\n\
                  p-c-1 67108864 83886080 0 500000000 25000 50000 2048\n\
                  p-d-1 0 0 0 0 30000 0 2048";
    assert_eq!(made, wanted);
    // Where there are no controllers as well: there is nothing to limit.
    assert_eq!(sandbox.compose(&["run", "--rm", "e", "echo", "free"]).ok(), "free");
    sandbox.compose(&["down", "-t", "0"]).ok();
}
