//! What takes how much space, over the API.

mod common;

use common::Sandbox;
use common::api::Api;

#[test]
fn everything_is_measured_or_one_kind() {
    let sandbox = Sandbox::new();
    let api = Api::start(&sandbox);
    sandbox.ok(["volume", "create", "data"]);
    sandbox.ok([
        "run",
        "--name=box",
        "--net=none",
        "-v=data:/d",
        "bb",
        "sh",
        "-c",
        "echo text > /file; echo more > /d/x",
    ]);
    sandbox.write("ctx/Dockerfile", "FROM localhost/bb\nRUN echo made > /made\n");
    let context = sandbox.path("ctx").display().to_string();
    sandbox.ok(["build", "--network=none", "-q", "-t", "made", &context]);

    let all = api.get("/v1.45/system/df").expect(200).json();
    assert!(all["LayersSize"].as_u64().is_some_and(|bytes| bytes > 0), "{all}");
    let of = |list: &str, key: &str, value: &str| {
        let items = all[list].as_array().expect("a list").iter();
        let found = items.into_iter().find(|item| item[key].to_string().contains(value));
        found.unwrap_or_else(|| panic!("{value}: {all:#}")).clone()
    };
    let container = of("Containers", "Names", "/box");
    assert!(container["SizeRw"].as_u64().is_some_and(|bytes| bytes > 0), "{container}");
    assert!(container["SizeRootFs"].as_u64() > container["SizeRw"].as_u64(), "{container}");
    assert_eq!(container["State"], "exited");
    let image = of("Images", "RepoTags", "localhost/bb");
    assert_eq!(image["Containers"], 1);
    assert!(image["SharedSize"].as_u64().is_some_and(|bytes| bytes > 0), "{image}");
    let volume = of("Volumes", "Name", "data");
    assert_eq!(volume["UsageData"]["RefCount"], 1);
    assert!(volume["UsageData"]["Size"].as_u64().is_some_and(|bytes| bytes > 0), "{volume}");
    let kept = of("BuildCache", "Type", "regular");
    assert!(kept["ID"].is_string() && kept["CreatedAt"].is_string() && kept["InUse"] == false, "{kept}");
    assert_eq!(all.get("BuilderSize"), None);
    assert!(api.get("/v1.41/system/df").expect(200).json()["BuilderSize"].is_u64());

    let some = api.get("/system/df?type=volume&type=image").expect(200).json();
    let mut keys: Vec<_> = some.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["Images", "LayersSize", "Volumes"]);
    api.get("/system/df?type=nonsense").expect(400);
    sandbox.ok(["rm", "-v", "box"]);
}
