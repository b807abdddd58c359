//! Real servers from Debian's packages in containers, used by their own clients: published, by name, by link.
//!
//! tests/servers has unpacked them; tests/setup says where. A client "on the host" is one in a container with the host's network.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Sandbox, free_port, skip, wait_for};
use serde_json::Value;

const NGINX: &str = "user www-data; daemon off; worker_processes 2; pid /tmp/nginx.pid; error_log stderr;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server { listen 80; listen [::]:80; root /var/www/html; location /who { return 200 \"$remote_addr\\n\"; } }
}
";

/// A sandbox with the image `servers`, or nothing where the packages cannot be had.
fn with_servers() -> Option<Sandbox> {
    let Some(archive) = std::env::var_os("KETCH_SERVERS").filter(|path| std::path::Path::new(path).exists())
    else {
        skip("needs the servers that tests/servers unpacks (apt-get and a mirror)");
        return None;
    };
    let sandbox = Sandbox::new();
    let archive = archive.to_str().unwrap();
    sandbox
        .command(["import", "--change=EXPOSE 80", archive, "servers"])
        .deadline(2 * common::deadline())
        .run()
        .ok();
    Some(sandbox)
}

/// The words that run a client in a new container with further options.
fn run<'a>(options: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--rm"], options, &["servers"], words].concat()
}

#[track_caller]
fn client(sandbox: &Sandbox, options: &[&str], words: &[&str]) -> String {
    sandbox.ok(run(options, words))
}

/// The same until it succeeds and says `text`.
#[track_caller]
fn client_says(sandbox: &Sandbox, options: &[&str], words: &[&str], text: &str) {
    sandbox.wait_until(&run(options, words), text);
}

const ON_HOST: &[&str] = &["--network=host"];

#[test]
fn real_servers_serve_their_own_clients() {
    let Some(sandbox) = with_servers() else { return };
    a_web_server(&sandbox);
    a_key_value_store(&sandbox);
    a_database(&sandbox);
}

fn a_web_server(sandbox: &Sandbox) {
    let conf = sandbox.write("nginx.conf", NGINX);
    let page = sandbox.write("www/index.html", "<h1>ketch</h1>\n");
    sandbox.write("www/large", vec![b'x'; 3_000_000]);
    let port = free_port().to_string();
    let mounts = [
        format!("-v={}:/etc/nginx/nginx.conf", conf.display()),
        format!("-v={}:/var/www/html", page.parent().unwrap().display()),
    ];
    let serve = |more: &[&str]| {
        let mut args = vec!["run", "-d", &mounts[0], &mounts[1]];
        args.extend(more);
        args.extend(["servers", "nginx"]);
        sandbox.ok(args)
    };
    serve(&["--name=web", &format!("-p={port}:80")]);
    let url = format!("http://127.0.0.1:{port}");
    client_says(sandbox, ON_HOST, &["wget", "-qO-", &url], "<h1>ketch</h1>");
    assert_eq!(client(sandbox, &[], &["wget", "-qO-", "http://web/"]), "<h1>ketch</h1>");
    assert_eq!(
        client(sandbox, &["--link=web:www"], &["sh", "-c", "wget -qO- http://www/large | wc -c"]),
        "3000000"
    );
    assert!(sandbox.ok(["ps", "--format={{.Ports}}"]).contains(&format!("0.0.0.0:{port}->80/tcp")));
    assert_eq!(sandbox.ok(["port", "web", "80"]), format!("0.0.0.0:{port}"));

    let load =
        client(sandbox, ON_HOST, &["wrk", "-t2", "-c32", "-d2s", "--timeout=60s", &format!("{url}/large")]);
    assert!(load.contains("Requests/sec") && !load.contains("errors") && !load.contains("Non-2xx"), "{load}");

    // What EXPOSE names, on a port of the kernel's choice.
    serve(&["--name=any", "-P"]);
    let ports: Value = serde_json::from_str(&sandbox.ok(["inspect", "any"])).unwrap();
    let chosen = ports[0]["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].as_str().unwrap().to_owned();
    assert!(chosen.parse::<u16>().unwrap() >= 1024, "{chosen}");
    client_says(
        sandbox,
        ON_HOST,
        &["wget", "-qO-", &format!("http://127.0.0.1:{chosen}/")],
        "<h1>ketch</h1>",
    );

    // A page that is changed on the host is seen in both.
    sandbox.write("www/index.html", "changed\n");
    for name in ["web", "any"] {
        assert_eq!(client(sandbox, &[], &["wget", "-qO-", &format!("http://{name}/")]), "changed");
    }
    sandbox.ok(["rm", "-f", "-t0", "web", "any"]);
}

fn a_key_value_store(sandbox: &Sandbox) {
    let port = free_port().to_string();
    let options = ["run", "-d", "--name=cache", "--expose=6379", &format!("-p={port}:6379"), "servers"];
    let serve = ["redis-server", "--protected-mode", "no", "--save", "", "--dir", "/tmp"];
    sandbox.ok(options.into_iter().chain(serve));
    client_says(sandbox, ON_HOST, &["redis-cli", "-p", &port, "SET", "answer", "42"], "OK");
    assert_eq!(client(sandbox, &[], &["redis-cli", "-h", "cache", "GET", "answer"]), "42");
    let by_link = "redis-cli -h store GET answer; redis-cli -h $STORE_PORT_6379_TCP_ADDR -p $STORE_PORT_6379_TCP_PORT GET answer";
    assert_eq!(client(sandbox, &["--link=cache:store"], &["sh", "-c", by_link]), "42\n42");
    for (options, at) in [(ON_HOST, ["-p", &port]), (&[], ["-h", "cache"])] {
        let words = [
            "redis-benchmark",
            at[0],
            at[1],
            "-q",
            "--csv",
            "-n",
            "3000",
            "-c",
            "30",
            "-d",
            "2000",
            "-t",
            "set,get",
        ];
        let table = client(sandbox, options, &words);
        assert!(table.contains("\"SET\"") && table.contains("\"GET\""), "{table}");
    }
    sandbox.ok(["rm", "-f", "-t0", "cache"]);
}

/// What asks the database at `at`: rows without headings.
fn psql<'a>(at: &[&'a str], sql: &'a str) -> Vec<&'a str> {
    [&["psql", "-X", "-At", "-U", "postgres"], at, &["-c", sql]].concat()
}

fn a_database(sandbox: &Sandbox) {
    let port = free_port().to_string();
    sandbox.ok(["network", "create", "backend"]);
    let script = "initdb -D /tmp/pg -A trust -E UTF8 --locale=C -N > /dev/null && echo 'host all all all trust' >> /tmp/pg/pg_hba.conf && exec postgres -D /tmp/pg -k /tmp -c 'listen_addresses=*' -c fsync=off";
    let publish = format!("-p={port}:5432");
    let options = [
        "run",
        "-d",
        "--name=db",
        "--network=backend:alias=postgres",
        "--user=postgres",
        &publish,
        "servers",
    ];
    sandbox.ok(options.into_iter().chain(["sh", "-c", script]));
    // The second network is for those that know it by a link.
    sandbox.ok(["network", "connect", "ketch", "db"]);
    let host = ["-h", "127.0.0.1", "-p", &port];
    let fill = "create table t as select generate_series(1, 100000) n";
    client_says(sandbox, ON_HOST, &psql(&host, fill), "SELECT 100000");
    let sum = "select sum(n) from t";
    assert_eq!(client(sandbox, &["--network=backend"], &psql(&["-h", "postgres"], sum)), "5000050000");
    assert_eq!(client(sandbox, &["--link=db:mysql"], &psql(&["-h", "mysql"], sum)), "5000050000");
    let refused = sandbox.ketch(["run", "--rm", "servers", "nslookup", "postgres"]);
    assert_ne!(refused.code, 0, "the alias belongs to the other network: {}", refused.stdout);
    let bench = "pgbench -q -i -s 1 -U postgres -h db postgres 2>&1 && pgbench -n -c 8 -j 2 -t 50 -U postgres -h db postgres";
    let table = client(sandbox, &["--network=backend"], &["sh", "-c", bench]);
    assert!(table.contains("actually processed: 400/400"), "{table}");
    let rows = wait_for("all rows by way of the published port", || {
        let select = psql(&host, "select n, repeat('x', 50) from t");
        let lines = client(sandbox, ON_HOST, &select).lines().count();
        if lines == 100_000 { Ok(lines) } else { Err(lines.to_string()) }
    });
    assert_eq!(rows, 100_000);
    sandbox.ok(["rm", "-f", "-t0", "db"]);
}
