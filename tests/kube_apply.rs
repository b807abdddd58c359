//! `kube apply`, against an API server of the test's own.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use common::{Sandbox, json};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto::ring};

/// A request as the server has seen it.
#[derive(Debug)]
struct Seen {
    line: String,
    token: String,
    has_certificate: bool,
    object: serde_json::Value,
}

/// Makes `ca.pem`, and `server.pem` and `client.pem` that it has signed, with their keys.
fn make_certificates(sandbox: &Sandbox) {
    let script = "set -e; new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $new -days 30 -subj /CN=ca -keyout ca.key -out ca.pem
        for one in server client; do
            openssl req $new -subj /CN=$one -keyout $one.key -out $one.csr
            printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > $one.ext
            openssl x509 -req -in $one.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile $one.ext -out $one.pem
        done";
    let made = Command::new("sh").args(["-c", script]).current_dir(sandbox.path("")).output();
    let made = made.expect("start openssl");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

/// Answers as many requests as there are answers; the address, and what was seen.
fn serve(sandbox: &Sandbox, answers: &'static [(u16, &'static str)]) -> (String, JoinHandle<Vec<Seen>>) {
    let provider = Arc::new(ring::default_provider());
    let pem = |name: &str| CertificateDer::from_pem_file(sandbox.path(name)).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(pem("ca.pem")).expect("a root");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.allow_unauthenticated().build().expect("a verifier");
    let key = PrivateKeyDer::from_pem_file(sandbox.path("server.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![pem("server.pem")], key)
        .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("https://{}", listener.local_addr().expect("an address"));
    let config = Arc::new(config);
    let served =
        std::thread::spawn(move || answers.iter().map(|answer| one(&listener, &config, *answer)).collect());
    (address, served)
}

fn one(listener: &TcpListener, config: &Arc<ServerConfig>, (status, body): (u16, &str)) -> Seen {
    let (socket, _) = listener.accept().expect("a client");
    let connection = ServerConnection::new(config.clone()).expect("a connection");
    let mut stream = BufReader::new(StreamOwned::new(connection, socket));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a head");
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let field = |name: &str| {
        let is_it = |line: &&String| line.to_lowercase().starts_with(&format!("{name}: "));
        head.iter().find(is_it).map_or(String::new(), |line| line[name.len() + 2..].to_owned())
    };
    let mut object = vec![0; field("content-length").parse().expect("a length")];
    stream.read_exact(&mut object).expect("a body");
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let tls = stream.get_mut();
    tls.write_all(answer.as_bytes()).and_then(|()| tls.flush()).expect("an answer");
    Seen {
        line: head[0].clone(),
        token: field("authorization"),
        has_certificate: tls.conn.peer_certificates().is_some(),
        object: json(std::str::from_utf8(&object).expect("text")),
    }
}

fn kubeconfig(sandbox: &Sandbox, server: &str, cluster: &str, user: &str) -> String {
    let text = format!(
        "current-context: here\ncontexts: [{{name: here, context: {{cluster: c, user: u, namespace: team}}}}]\n\
        clusters: [{{name: c, cluster: {{server: '{server}'{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    );
    sandbox.write("kubeconfig", text).display().to_string()
}

#[test]
fn objects_of_a_manifest_are_made_in_a_cluster() {
    let sandbox = Sandbox::new();
    make_certificates(&sandbox);
    let (server, served) = serve(&sandbox, &[(201, "{}"), (201, "{}")]);
    let user = "client-certificate: client.pem, client-key: client.key";
    let config = kubeconfig(&sandbox, &server, ", certificate-authority: ca.pem", user);
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 3}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: Yg==}\n";
    let file = sandbox.write("m.yaml", text).display().to_string();
    let said = sandbox.ok(["kube", "apply", "--kubeconfig", &config, "-f", &file]);
    assert_eq!(said, "Successfully deployed workloads to cluster!");
    let seen = served.join().expect("two requests");
    assert_eq!(seen[0].line, "POST /api/v1/namespaces/team/secrets HTTP/1.1", "others may need it");
    assert_eq!(seen[1].line, "POST /apis/apps/v1/namespaces/team/deployments HTTP/1.1");
    assert!(seen.iter().all(|one| one.has_certificate && one.token.is_empty()), "{seen:?}");
    assert_eq!(seen[1].object["spec"]["replicas"], 3);
    assert_eq!(seen[0].object["data"]["a"], "Yg==");
}

#[test]
fn containers_and_volumes_are_made_in_a_cluster() {
    let sandbox = Sandbox::new();
    make_certificates(&sandbox);
    sandbox.ok(["create", "--name=web", "-p=127.0.0.1:18480:80", "-v=data:/d", "bb", "sleep", "5"]);
    let (server, served) = serve(
        &sandbox,
        &[(201, "{}"), (200, "{}"), (409, r#"{"message":"pods \"web-pod\" already exists"}"#)],
    );
    let config = kubeconfig(&sandbox, &server, "", "token: secret-word");
    let ca = sandbox.path("ca.pem").display().to_string();
    let apply = ["kube", "apply", "--ca-cert-file", &ca, "--ns=other", "--service", "web", "data"];
    let refused = sandbox.command(apply).env("KUBECONFIG", &config).run();
    assert!(
        refused.fails(125).contains("create Pod web-pod in the cluster: pods \"web-pod\" already exists"),
        "{}",
        refused.stderr
    );
    assert!(!refused.stderr.contains("secret-word"));
    let seen = served.join().expect("three requests");
    let lines: Vec<_> = seen.iter().map(|one| one.line.split(' ').nth(1).unwrap().to_owned()).collect();
    let of = |collection: &str| format!("/api/v1/namespaces/other/{collection}");
    assert_eq!(lines, [of("persistentvolumeclaims"), of("services"), of("pods")]);
    assert!(seen.iter().all(|one| one.token == "Bearer secret-word" && !one.has_certificate), "{seen:?}");
    assert_eq!(seen[2].object["spec"]["containers"][0]["name"], "web");

    // Who is not trusted hears nothing.
    let (server, served) = serve(&sandbox, &[]);
    let config = kubeconfig(&sandbox, &server, "", "token: secret-word");
    let refused = sandbox.ketch(["kube", "apply", "-k", &config, "web"]);
    assert!(!refused.fails(125).contains("Successfully"), "{}", refused.stderr);
    drop(served);
    for (args, want) in [
        (&["kube", "apply"][..], "give names of containers, pods or volumes, or a manifest with --file"),
        (&["kube", "apply", "-k", "/nowhere/config", "web"], "open /nowhere/config"),
        (&["kube", "apply", "-k", &config, "nosuch"], "name or ID \"nosuch\" not found"),
        (&["kube", "apply", "web"], "there is no kubeconfig file"),
    ] {
        let refused = sandbox.ketch(args.iter().copied());
        assert!(refused.fails(125).contains(want), "{args:?}: {}", refused.stderr);
    }
}
