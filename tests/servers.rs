//! Real servers from Debian's packages in containers, used by their own clients: published, by name, by link.
//!
//! tests/servers has unpacked them; tests/setup says where. A client "on the host" is one in a container with the host's network.

#![allow(clippy::unwrap_used)]

mod common;

use common::compose::Compose;
use common::{Output, Sandbox, free_port, skip, wait_for};
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

/// The same servers as projects: what the introductions to Compose show.
#[test]
fn real_servers_are_projects() {
    let Some(sandbox) = with_servers() else { return };
    a_page_beside_a_database(&sandbox);
    an_application_that_waits_for_its_database(&sandbox);
    projects_that_share_a_network(&sandbox);
}

fn compose_in(sandbox: &Sandbox, dir: &str, args: &[&str]) -> Output {
    sandbox
        .command(["compose"].iter().chain(args))
        .env("KETCH_NETWORK_LINGER", "0")
        .current_dir(sandbox.path(dir))
        .deadline(2 * common::deadline())
        .run()
}

fn a_page_beside_a_database(sandbox: &Sandbox) {
    let port = free_port().to_string();
    sandbox.write("p/nginx.conf", NGINX);
    sandbox.write("p/index.html", "<h1>before</h1>\n");
    sandbox.write(
        "p/docker-compose.yml",
        format!(
            "version: '3'
services:
  web:
    image: servers
    command: nginx
    ports:
      - \"{port}:80\"
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf
      - ./index.html:/var/www/html/index.html
    restart: always
  store:
    image: servers
    command: redis-server --protected-mode no --dir /data
    volumes:
      - store:/data
volumes:
  store:
"
        ),
    );
    sandbox.compose(&["up", "-d"]).ok();
    let url = format!("http://127.0.0.1:{port}/");
    client_says(sandbox, ON_HOST, &["wget", "-qO-", &url], "<h1>before</h1>");
    sandbox.write("p/index.html", "<h1>after</h1>\n");
    assert_eq!(client(sandbox, ON_HOST, &["wget", "-qO-", &url]), "<h1>after</h1>");
    let redis = |args: &[&str]| {
        let words = [&["exec", "-T", "web", "redis-cli", "-h", "store"], args].concat();
        sandbox.compose(&words).ok().to_owned()
    };
    // The page is there; the other server may not be yet.
    wait_for("the other server", || {
        let answer =
            sandbox.compose(&["exec", "-T", "web", "redis-cli", "-h", "store", "SET", "answer", "42"]);
        if answer.stdout == "OK\n" { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    assert_eq!(redis(&["SAVE"]), "OK");
    let ps = sandbox.compose(&["ps", "--format", "{{.Service}} {{.State}} {{.Ports}}"]);
    assert!(ps.ok().contains(&format!("web running 0.0.0.0:{port}->80/tcp")), "{}", ps.stdout);
    // What is in the volume outlives the containers; the page is gone with them.
    sandbox.compose(&["down"]).ok();
    assert_ne!(sandbox.ketch(run(ON_HOST, &["wget", "-qO-", "-T", "5", &url])).code, 0);
    sandbox.compose(&["up", "-d"]).ok();
    wait_for("what the volume has kept", || match redis_get(sandbox) {
        kept if kept == "42" => Ok(()),
        other => Err(other),
    });
    sandbox.compose(&["down", "-v"]).ok();
    std::fs::remove_file(sandbox.path("p/docker-compose.yml")).unwrap();
}

fn redis_get(sandbox: &Sandbox) -> String {
    let words = ["exec", "-T", "web", "redis-cli", "-h", "store", "GET", "answer"];
    sandbox.compose(&words).stdout.trim_end().to_owned()
}

fn an_application_that_waits_for_its_database(sandbox: &Sandbox) {
    let port = free_port().to_string();
    sandbox.write("p/nginx.conf", NGINX);
    sandbox.write("p/.env", format!("PORT={port}\nPOSTGRES_PASSWORD=hush\n"));
    // What an application does at its first start: tables, and a page of what they hold.
    sandbox.write(
        "p/start.sh",
        "set -e
export PGPASSWORD=$DB_PASSWORD
psql -X -q -h \"$DB_HOST\" -U postgres -c 'create table if not exists visits (n serial)' -c 'insert into visits default values'
echo \"visits: $(psql -X -At -h \"$DB_HOST\" -U postgres -c 'select count(*) from visits')\" > /var/www/html/index.html
exec nginx
",
    );
    sandbox.write(
        "p/compose.yaml",
        "services:
  db:
    image: servers
    user: postgres
    command:
      - sh
      - -c
      - |
        test -d $$PGDATA || { echo $$POSTGRES_PASSWORD > /tmp/pw; initdb -A scram-sha-256 --pwfile /tmp/pw -E UTF8 --locale=C -N > /dev/null; echo 'host all all all scram-sha-256' >> $$PGDATA/pg_hba.conf; }
        exec postgres -k /tmp -c 'listen_addresses=*' -c fsync=off
    environment:
      PGDATA: /var/lib/postgresql/data
      POSTGRES_PASSWORD:
    volumes: [db_data:/var/lib/postgresql]
    stop_signal: SIGINT
    healthcheck:
      test: [CMD, pg_isready, -h, 127.0.0.1, -U, postgres]
      interval: 200ms
      timeout: 30s
      retries: 600
  app:
    image: servers
    command: sh /start.sh
    depends_on:
      db: {condition: service_healthy}
    ports: ['127.0.0.1:${PORT}:80']
    environment:
      - DB_HOST=db
      - DB_PASSWORD=${POSTGRES_PASSWORD:?the database needs one}
    volumes:
      - ./nginx.conf:/etc/nginx/nginx.conf:ro
      - ./start.sh:/start.sh:ro
    healthcheck: {test: wget -qO /dev/null http://127.0.0.1/, interval: 200ms, timeout: 30s, retries: 600}
volumes:
  db_data:
",
    );
    let url = format!("http://127.0.0.1:{port}/");
    for visits in ["visits: 1", "visits: 2"] {
        let up = compose_in(sandbox, "p", &["up", "-d", "--wait"]);
        assert_eq!(up.code, 0, "{}\n{:?}", up.stderr, sandbox.compose(&["logs"]));
        let place = |text: &str| up.stderr.find(text).unwrap_or_else(|| panic!("no {text}: {}", up.stderr));
        assert!(place("p-db-1  Healthy") < place("p-app-1  Starting"), "{}", up.stderr);
        assert_eq!(client(sandbox, ON_HOST, &["wget", "-qO-", &url]), visits);
        let ps = sandbox.compose(&["ps", "--format", "{{.Service}} {{.Health}}"]);
        assert_eq!(ps.ok(), "app healthy\ndb healthy");
        sandbox.compose(&["down"]).ok();
    }
    sandbox.compose(&["down", "-v"]).ok();
}

fn projects_that_share_a_network(sandbox: &Sandbox) {
    let file = |services: &str| format!("services:\n{services}networks:\n  shared:\n    external: true\n");
    sandbox.write(
        "cache/compose.yaml",
        file("  redis: {image: servers, command: redis-server --protected-mode no --dir /tmp, networks: [shared]}\n  private: {image: servers, command: redis-server --protected-mode no --dir /tmp}\n"),
    );
    let client = "until redis-cli -h redis SET from client; do sleep 0.1; done; nslookup private || echo private is not known";
    sandbox.write(
        "app/compose.yaml",
        file(&format!(
            "  client: {{image: servers, command: [sh, -c, '{client}'], networks: [shared, default]}}\n"
        )),
    );
    sandbox.ok(["network", "create", "shared"]);
    compose_in(sandbox, "cache", &["up", "-d"]).ok();
    let up = compose_in(sandbox, "app", &["up", "--no-log-prefix"]);
    assert!(up.ok().contains("OK\n") && up.stdout.contains("private is not known"), "{}", up.stdout);
    let got = compose_in(sandbox, "cache", &["exec", "-T", "redis", "redis-cli", "GET", "from"]);
    assert_eq!(got.ok(), "client");
    let refused = sandbox.ketch(["network", "rm", "shared"]);
    assert_ne!(refused.code, 0, "it is in use");
    compose_in(sandbox, "app", &["down"]).ok();
    compose_in(sandbox, "cache", &["down", "-t", "0"]).ok();
    sandbox.ok(["network", "rm", "shared"]);
}
