//! Docker's API: networks and volumes.

mod common;

use serde_json::{Value, json};

use common::Sandbox;
use common::api::Api;

#[test]
fn volumes_are_made_listed_and_removed() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let asked = json!({"Name": "data", "Driver": "local", "Labels": {"a": "b"}, "DriverOpts": null});
    let made = api.post("/v1.45/volumes/create", &asked).expect(201).json();
    assert_eq!(
        (&made["Name"], &made["Driver"], &made["Scope"]),
        (&json!("data"), &json!("local"), &json!("local"))
    );
    assert_eq!(made["Labels"], json!({"a": "b"}));
    assert!(made["Mountpoint"].as_str().unwrap().ends_with("/volumes/data/data"), "{made}");
    // As docker: the same one again.
    assert_eq!(api.post("/volumes/create", &asked).expect(201).json(), made);
    let anonymous = api.post("/volumes/create", &Value::Null).expect(201).json();
    assert_eq!(anonymous["Name"].as_str().unwrap().len(), 64);

    assert_eq!(api.get("/volumes/data").expect(200).json(), made);
    let names = |query: &str| -> Vec<Value> {
        let listed = api.get(&format!("/volumes{query}")).expect(200).json();
        listed["Volumes"].as_array().unwrap().iter().map(|volume| volume["Name"].clone()).collect()
    };
    assert_eq!(names("").len(), 2);
    assert_eq!(names("?filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D"), ["data"]);
    assert_eq!(api.get("/volumes?filters=%7B%22nonsense%22%3A%5B%221%22%5D%7D").status, 400);

    let _user = sandbox.start("user", &["-v", "data:/data"], "sleep 100");
    assert!(api.delete("/volumes/data").expect(409).json()["message"].as_str().unwrap().contains("in use"));
    // Those with a name stay, unless it is said otherwise.
    let pruned = api.post("/volumes/prune", &Value::Null).expect(200).json();
    assert_eq!(pruned["VolumesDeleted"], json!([anonymous["Name"]]));
    sandbox.ok(["rm", "-f", "user"]);
    api.delete("/volumes/data").expect(204);
    api.delete("/volumes/data").expect(404);
    api.delete("/volumes/data?force=1").expect(204);
    api.get("/volumes/data").expect(404);
    let nulls = json!({"Name": null, "Driver": null, "Labels": {"a": null}, "DriverOpts": null, "ClusterVolumeSpec": null});
    assert_eq!(api.post("/volumes/create", &nulls).expect(201).json()["Labels"], json!({"a": ""}));
    let refused = api.post("/volumes/create", &json!({"Name": "x", "Driver": "nfs"})).expect(404).json();
    assert!(refused["message"].as_str().unwrap().contains("plugin \"nfs\" not found"), "{refused}");
}

/// Ansible's docker_network makes a network again whose options are others than it wants.
#[test]
fn options_of_networks_have_dockers_names() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let options = json!({
        "com.docker.network.bridge.name": "own0", "com.docker.network.driver.mtu": "1400",
        "com.docker.network.bridge.enable_icc": "false", "com.docker.network.container_iface_prefix": "lan",
    });
    api.post("/networks/create", &json!({"Name": "back", "Options": options})).expect(201);
    api.post("/networks/create", &json!({"Name": "plain"})).expect(201);
    assert_eq!(api.get("/networks/back").expect(200).json()["Options"], options);
    assert_eq!(api.get("/networks/plain").expect(200).json()["Options"], json!({}));
    assert_eq!(sandbox.ok(["network", "inspect", "back", "--format={{.Options.mtu}}"]), "1400");
}

#[test]
fn networks_are_made_joined_and_removed() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    let asked = json!({
        "Name": "back", "CheckDuplicate": true, "Labels": {"a": "b"}, "Internal": false,
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.77.1.0/24", "Gateway": "10.77.1.9"}]},
    });
    let made = api.post("/networks/create", &asked).expect(201).json();
    assert_eq!(made["Warning"], "");
    let again = api.post("/networks/create", &asked).expect(409).json();
    assert_eq!(again["message"], "network with name back already exists");

    let found = api.get("/networks/back").expect(200).json();
    assert_eq!(
        (&found["Id"], &found["Driver"], &found["Scope"]),
        (&made["Id"], &json!("bridge"), &json!("local"))
    );
    let pool = &found["IPAM"]["Config"][0];
    assert_eq!((&pool["Subnet"], &pool["Gateway"]), (&json!("10.77.1.0/24"), &json!("10.77.1.9")));
    let listed = api.get("/networks").expect(200).json();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|network| network["Name"].clone()).collect();
    assert_eq!(names, ["back", "bridge", "host", "none"]);

    sandbox.start("web", &["--network=bridge"], "sleep 100");
    let endpoint = json!({"Aliases": ["server"], "IPAMConfig": {"IPv4Address": "10.77.1.33"}});
    let connect = json!({"Container": "web", "EndpointConfig": endpoint});
    api.post("/networks/back/connect", &connect).expect(200);
    let refused = api.post("/networks/back/connect", &connect).expect(403).json();
    assert!(refused["message"].as_str().unwrap().contains("already"), "{refused}");
    let found = api.get("/networks/back").expect(200).json();
    let on = found["Containers"].as_object().unwrap().values().next().unwrap();
    assert_eq!((&on["Name"], &on["IPv4Address"]), (&json!("web"), &json!("10.77.1.33/24")));
    let seen = sandbox.ok(["exec", "web", "nslookup", "server"]);
    assert!(seen.contains("10.77.1.33"), "{seen}");
    api.delete("/networks/back").expect(403);

    api.post("/networks/back/disconnect", &json!({"Container": "web"})).expect(200);
    api.post("/networks/back/disconnect", &json!({"Container": "web"})).expect(404);
    api.post("/networks/back/disconnect", &json!({"Container": "web", "Force": true})).expect(200);
    assert_eq!(
        api.post("/networks/prune", &Value::Null).expect(200).json()["NetworksDeleted"],
        json!(["back"])
    );
    assert_eq!(api.get("/networks/back").expect(404).json()["message"], "network back not found");
    for fixed in ["bridge", "host"] {
        let by_id = api.get(&format!("/networks/{fixed}")).expect(200).json()["Id"].clone();
        for typed in [fixed, by_id.as_str().unwrap()] {
            let said = api.delete(&format!("/networks/{typed}")).expect(403).json();
            assert_eq!(said["message"], format!("{fixed} is a pre-defined network and cannot be removed"));
        }
    }
    // As docker-py sends them.
    let nulls = json!({
        "Name": "nulls", "Driver": null, "Options": null, "Labels": {"a": null}, "Internal": null,
        "IPAM": {"Driver": "default", "Options": null, "Config": [
            {"Subnet": "10.77.2.0/24", "IPRange": null, "Gateway": null, "AuxiliaryAddresses": null},
        ]},
    });
    api.post("/networks/create", &nulls).expect(201);
    assert_eq!(api.get("/networks/nulls").expect(200).json()["Labels"], json!({"a": ""}));
    let endpoint = json!({"IPAMConfig": {"IPv4Address": null, "IPv6Address": null}, "MacAddress": null, "DriverOpts": null});
    let connect = json!({"Container": "web", "EndpointConfig": endpoint});
    api.post("/networks/nulls/connect", &connect).expect(200);
    api.post("/networks/nulls/disconnect", &json!({"Container": "web", "Force": null})).expect(200);
}
