//! Bake files: which targets there are, and what each is once inheritance, matrices and variables are resolved.
//!
//! ```text
//! docker-bake.hcl  ─hcl::read─╮
//! docker-bake.json ─serde─────┴▶ Definitions ─ --set ─▶ resolve(names) ─▶ groups, targets: {attribute: value}
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::base::dockerfile::ignore::Glob;
use crate::base::hcl::{self, Block, Expr, Function, Functions, Names};
use crate::base::order;
use crate::engine::Error;

type Result<T, E = Error> = std::result::Result<T, E>;

/// Maps whose entries are put together where a target inherits, and not replaced as a whole.
const MAPS: [&str; 4] = ["args", "labels", "contexts", "extra-hosts"];

/// A target as it is written: attributes, later ones before earlier ones of the same name.
type Target = BTreeMap<String, Expr>;

/// A target with its attributes, resolved.
type Named = (String, Map<String, Value>);

/// All that files define.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    variables: BTreeMap<String, Option<Expr>>,
    groups: BTreeMap<String, Expr>,
    targets: BTreeMap<String, Target>,
    functions: Functions,
    /// `--set`: pattern of targets, attribute, key within it, value.
    overrides: Vec<(Glob, String, Option<String>, String)>,
}

/// What is to be built.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) groups: BTreeMap<String, Vec<String>>,
    /// In the order in which they are built: one that another uses comes before it.
    pub(super) targets: Vec<Named>,
}

impl Definitions {
    /// Adds what the file `name` says; its ending tells its language.
    pub(super) fn read(&mut self, name: &str, text: &str) -> Result<()> {
        let wrong = |message: String| Error::invalid(format!("{name}: {message}"));
        if name.ends_with(".json") {
            let value = serde_json::from_str(text).map_err(|err| wrong(err.to_string()))?;
            return self.json(&value).map_err(wrong);
        }
        let file = hcl::read(text).map_err(|err| wrong(err.to_string()))?;
        self.hcl(file).map_err(wrong)
    }

    fn hcl(&mut self, file: Block) -> Result<(), String> {
        for (name, value) in file.attributes {
            self.variables.insert(name, Some(value));
        }
        for block in file.blocks {
            let [label] = &block.labels[..] else {
                return Err(format!("{} needs one name", block.kind));
            };
            let mut attributes: Target = order::map(block.attributes);
            match block.kind.as_str() {
                "variable" => drop(self.variables.insert(label.clone(), attributes.remove("default"))),
                "group" => {
                    let targets = attributes.remove("targets");
                    self.groups.insert(
                        label.clone(),
                        targets.ok_or_else(|| format!("group {label:?} has no targets"))?,
                    );
                }
                "target" => self.add_target(label, attributes),
                "function" => drop(self.functions.insert(label.clone(), function(label, attributes)?)),
                kind => {
                    return Err(format!("{kind:?} is not known: write target, group, variable or function"));
                }
            }
        }
        Ok(())
    }

    fn json(&mut self, file: &Value) -> Result<(), String> {
        let entries = |key: &str| file[key].as_object().cloned().unwrap_or_default();
        for (name, variable) in entries("variable") {
            let default = variable.get("default").map(expression).transpose()?;
            self.variables.insert(name, default);
        }
        for (name, group) in entries("group") {
            self.groups.insert(name, expression(&group["targets"])?);
        }
        for (name, function_) in entries("function") {
            let attributes = function_.as_object().cloned().unwrap_or_default();
            let expr = |(key, value): (&String, &Value)| {
                // The names of parameters stand as texts in JSON.
                let is_name = matches!(key.as_str(), "params" | "variadic_param" | "variadic_params");
                Ok((key.clone(), if is_name { names_of(value) } else { expression(value)? }))
            };
            let attributes = attributes.iter().map(expr).collect::<Result<Target, String>>()?;
            let made = function(&name, attributes)?;
            self.functions.insert(name, made);
        }
        for (name, target) in entries("target") {
            let attributes = target.as_object().cloned().unwrap_or_default();
            let attributes = attributes.iter().map(|(key, value)| Ok((key.clone(), expression(value)?)));
            self.add_target(&name, attributes.collect::<Result<Target, String>>()?);
        }
        Ok(())
    }

    /// Files are put on top of each other.
    fn add_target(&mut self, name: &str, attributes: Target) {
        let target = self.targets.entry(name.to_owned()).or_default();
        for (key, value) in attributes {
            let value = match target.remove(&key) {
                Some(below) if MAPS.contains(&key.as_str()) => {
                    Expr::Call("merge".to_owned(), vec![below, value])
                }
                _ => value,
            };
            target.insert(key, value);
        }
    }

    /// Takes a `--set TARGET.ATTRIBUTE[.KEY]=VALUE`.
    pub(super) fn set(&mut self, text: &str) -> Result<()> {
        let wrong = || Error::invalid(format!("--set {text:?}: write TARGET.ATTRIBUTE[.KEY]=VALUE"));
        let (place, value) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = place.splitn(3, '.');
        let (Some(pattern), Some(attribute)) = (parts.next(), parts.next()) else { return Err(wrong()) };
        let glob = Glob::parse(pattern.as_bytes()).map_err(|()| wrong())?;
        let attribute = match attribute {
            "platform" => "platforms",
            "tag" => "tags",
            other => other,
        };
        self.overrides.push((glob, attribute.to_owned(), parts.next().map(str::to_owned), value.to_owned()));
        Ok(())
    }

    /// Finds what is to be built. `caller` gives variables of the environment, which go before those of the files.
    pub(super) fn plan(&self, wanted: &[String], caller: &dyn Fn(&str) -> Option<String>) -> Result<Plan> {
        let resolver = Resolver { all: self, caller, known: RefCell::default() };
        let mut plan = Plan::default();
        let default = ["default".to_owned()];
        let wanted = if wanted.is_empty() { &default[..] } else { wanted };
        let members = resolver.add_all(wanted, &mut plan, 0)?;
        plan.groups.insert("default".to_owned(), members);
        Ok(plan)
    }
}

/// Texts that are names.
fn names_of(value: &Value) -> Expr {
    match value {
        Value::String(name) => Expr::Name(name.clone()),
        Value::Array(items) => Expr::List(items.iter().map(names_of).collect()),
        other => Expr::Value(other.clone()),
    }
}

/// A function that a file defines: `params`, `variadic_params` and `result`.
fn function(name: &str, mut attributes: Target) -> Result<Function, String> {
    let wrong = |what: &str| format!("function {name:?}: {what}");
    let params = match attributes.remove("params") {
        None => vec![],
        Some(Expr::List(params)) => params
            .into_iter()
            .map(|param| match param {
                Expr::Name(name) => Ok(name),
                _ => Err(wrong("params is a list of names")),
            })
            .collect::<Result<_, String>>()?,
        Some(_) => return Err(wrong("params is a list of names")),
    };
    let rest = match attributes.remove("variadic_params").or_else(|| attributes.remove("variadic_param")) {
        None => None,
        Some(Expr::Name(name)) => Some(name),
        Some(_) => return Err(wrong("variadic_params is a name")),
    };
    let result = attributes.remove("result").ok_or_else(|| wrong("it needs a result"))?;
    match attributes.into_keys().next() {
        Some(key) => Err(wrong(&format!("{key} is not known"))),
        None => Ok(Function { params, rest, result }),
    }
}

/// A JSON value whose texts may have `${…}` in them.
fn expression(value: &Value) -> Result<Expr, String> {
    Ok(match value {
        Value::String(text) => hcl::template(text).map_err(|err| err.message)?,
        Value::Array(items) => Expr::List(items.iter().map(expression).collect::<Result<_, _>>()?),
        Value::Object(entries) => {
            let entry =
                |(key, value): (&String, &Value)| Ok((Expr::Value(key.as_str().into()), expression(value)?));
            Expr::Map(entries.iter().map(entry).collect::<Result<_, String>>()?)
        }
        other => Expr::Value(other.clone()),
    })
}

struct Resolver<'a> {
    all: &'a Definitions,
    caller: &'a dyn Fn(&str) -> Option<String>,
    /// Variables; `None` while one is being found.
    known: RefCell<BTreeMap<String, Option<Value>>>,
}

impl Resolver<'_> {
    /// What an expression is worth where names mean this.
    fn value(
        &self,
        expr: &Expr,
        lookup: &dyn Fn(&str) -> Result<Option<Value>, String>,
    ) -> Result<Value, String> {
        expr.value(&Names::new(lookup, &self.all.functions))
    }

    /// A variable: of the caller, in the type that its default has, or its default.
    fn variable(&self, name: &str) -> Result<Option<Value>, String> {
        let Some(default) = self.all.variables.get(name) else {
            return Ok((name == "BAKE_LOCAL_PLATFORM")
                .then(|| crate::base::platform::Platform::host().to_string().into()));
        };
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone().map(Some).ok_or_else(|| format!("the variable {name} needs itself"));
        }
        self.known.borrow_mut().insert(name.to_owned(), None);
        let default = match default {
            Some(expr) => self.value(expr, &|name| self.variable(name))?,
            None => "".into(),
        };
        let value = match ((self.caller)(name), &default) {
            (None, _) => default,
            (Some(text), Value::Bool(_) | Value::Number(_)) => serde_json::from_str(&text)
                .map_err(|_| format!("the variable {name} is {text:?}, and {default} by default"))?,
            (Some(text), _) => text.into(),
        };
        self.known.borrow_mut().insert(name.to_owned(), Some(value.clone()));
        Ok(Some(value))
    }

    /// Adds several. Returns the targets that their names mean, each once.
    fn add_all(&self, names: &[String], plan: &mut Plan, depth: usize) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for name in names {
            for target in self.add(name, plan, depth)? {
                if !all.contains(&target) {
                    all.push(target);
                }
            }
        }
        Ok(all)
    }

    /// Adds a group or a target, with those it needs. Returns the targets that the name means.
    fn add(&self, name: &str, plan: &mut Plan, depth: usize) -> Result<Vec<String>> {
        let wrong = |message: String| Error::invalid(format!("{name}: {message}"));
        if depth > 32 {
            return Err(wrong("groups or targets need themselves".to_owned()));
        }
        if let Some(group) = self.all.groups.get(name) {
            let members =
                texts(&self.value(group, &|name| self.variable(name)).map_err(wrong)?).map_err(wrong)?;
            let all = self.add_all(&members, plan, depth + 1)?;
            plan.groups.insert(name.to_owned(), all.clone());
            return Ok(all);
        }
        let mut names = Vec::new();
        for (name, target) in self.targets(name).map_err(wrong)? {
            if !plan.targets.iter().any(|(known, _)| *known == name) {
                let contexts = target.get("contexts").and_then(Value::as_object);
                for used in contexts.into_iter().flat_map(Map::values) {
                    if let Some(used) = used.as_str().and_then(|text| text.strip_prefix("target:")) {
                        self.add(used, plan, depth + 1)?;
                    }
                }
                plan.targets.push((name.clone(), target));
            }
            names.push(name);
        }
        if self.all.targets.get(name).is_some_and(|target| target.contains_key("matrix")) {
            plan.groups.insert(name.to_owned(), names.clone());
        }
        Ok(names)
    }

    /// The targets that a name means: one, or with a matrix several.
    fn targets(&self, name: &str) -> Result<Vec<Named>, String> {
        let Some(target) = self.all.targets.get(name) else {
            // A target of some matrix, by its own name.
            for (of, target) in self.all.targets.iter().filter(|(_, target)| target.contains_key("matrix")) {
                if let Some(found) = self.matrix(of, target)?.into_iter().find(|(own, _)| own == name) {
                    return Ok(vec![found]);
                }
            }
            return Err(format!("failed to find target {name}"));
        };
        if target.contains_key("matrix") {
            return self.matrix(name, target);
        }
        Ok(vec![(name.to_owned(), self.resolved(name, target, &Map::new(), 0)?)])
    }

    fn matrix(&self, name: &str, target: &Target) -> Result<Vec<Named>, String> {
        let axes = self.value(&target["matrix"], &|name| self.variable(name))?;
        let axes = axes.as_object().ok_or("matrix is no map")?;
        let mut points = vec![Map::new()];
        for (axis, values) in axes {
            let values = values.as_array().ok_or_else(|| format!("matrix: {axis} is no list"))?;
            let with = |point: &Map<String, Value>, value: &Value| {
                let mut point = point.clone();
                point.insert(axis.clone(), value.clone());
                point
            };
            points =
                points.iter().flat_map(|point| values.iter().map(move |value| with(point, value))).collect();
        }
        let expr = target.get("name").ok_or_else(|| format!("{name}: a matrix needs a name"))?;
        let mut all = Vec::new();
        for point in points {
            let own = hcl::text(&self.value(expr, &|name| self.at(name, &point))?)?;
            let attributes = self.resolved(&own, target, &point, 0)?;
            all.push((own, attributes));
        }
        Ok(all)
    }

    /// A variable at a point of a matrix.
    fn at(&self, name: &str, point: &Map<String, Value>) -> Result<Option<Value>, String> {
        point.get(name).map_or_else(|| self.variable(name), |value| Ok(Some(value.clone())))
    }

    /// The attributes of a target: inherited ones below its own, and `--set` on top.
    fn resolved(
        &self,
        name: &str,
        target: &Target,
        point: &Map<String, Value>,
        depth: usize,
    ) -> Result<Map<String, Value>, String> {
        if depth > 32 {
            return Err("targets inherit from themselves".to_owned());
        }
        let lookup = |name: &str| self.at(name, point);
        let mut all = Map::new();
        if let Some(parents) = target.get("inherits") {
            for parent in texts(&self.value(parents, &lookup)?)? {
                let of = self.all.targets.get(&parent);
                let of = of.ok_or_else(|| format!("failed to find target {parent}"))?;
                put_on(&mut all, self.resolved("", of, point, depth + 1)?);
            }
        }
        let own = target.iter().filter(|(key, _)| !["inherits", "matrix", "name"].contains(&key.as_str()));
        let own = own.map(|(key, expr)| {
            Ok((key.clone(), self.value(expr, &lookup).map_err(|err| format!("{key}: {err}"))?))
        });
        put_on(&mut all, own.collect::<Result<_, String>>()?);
        if depth == 0 {
            self.override_(name, &mut all);
        }
        Ok(all)
    }

    /// `--set`: the first value for a list replaces it, those after it are added.
    fn override_(&self, name: &str, target: &mut Map<String, Value>) {
        let mut lists = Vec::new();
        for (pattern, attribute, key, value) in &self.all.overrides {
            if !pattern.is_match(name.as_bytes()) {
                continue;
            }
            match (key, attribute.as_str()) {
                (Some(key), _) => target.entry(attribute).or_insert_with(|| json!({}))[key] = json!(value),
                (None, "no-cache" | "pull") => drop(target.insert(attribute.clone(), json!(value == "true"))),
                (None, "context" | "dockerfile" | "target" | "network" | "shm-size" | "call") => {
                    target.insert(attribute.clone(), json!(value));
                }
                (None, _) => {
                    let list = target.entry(attribute).or_insert_with(|| json!([]));
                    if !lists.contains(&attribute) {
                        *list = json!([]);
                        lists.push(attribute);
                    }
                    if let Value::Array(list) = list {
                        list.push(json!(value));
                    }
                }
            }
        }
    }
}

/// Puts attributes on top of others; maps are put together, nothing stays what it was.
fn put_on(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(known)), Value::Object(more)) if MAPS.contains(&key.as_str()) => {
                known.extend(more);
            }
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// A list of texts, or one; a map in it is `key=value,key=value`.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| Ok(format!("{key}={}", hcl::text(value)?));
            Ok(fields.iter().map(field).collect::<Result<Vec<_>, String>>()?.join(","))
        }
        other => hcl::text(other),
    };
    match value {
        Value::Null => Ok(vec![]),
        Value::Array(items) => items.iter().filter(|item| !item.is_null()).map(one).collect(),
        other => Ok(vec![one(other)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(files: &[(&str, &str)], wanted: &[&str], set: &[&str]) -> Result<Plan> {
        let mut all = Definitions::default();
        for (name, text) in files {
            all.read(name, text)?;
        }
        set.iter().try_for_each(|text| all.set(text))?;
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        all.plan(&wanted, &|name| (name == "TAG").then(|| "env".to_owned()))
    }

    const HCL: &str = r#"
variable "TAG" { default = "latest" }
variable "DEBUG" { default = false }
group "default" { targets = ["app", "db"] }
target "base" {
  context = "src"
  args = { A = "1", B = "2" }
  platforms = ["linux/amd64"]
}
target "app" {
  inherits = ["base"]
  args = { B = "3" }
  tags = ["app:${TAG}", DEBUG ? "app:debug" : ""]
  contexts = { lib = "target:lib" }
}
target "lib" { output = [{ type = "cacheonly" }] }
target "db" { dockerfile-inline = "FROM x" }
target "many" {
  matrix = { v = ["1", "2"], os = ["a"] }
  name = "many-${os}-${v}"
  args = { V = v }
}
"#;

    #[test]
    fn targets_are_found_in_their_order() {
        let plan = plan(&[("docker-bake.hcl", HCL)], &[], &[]).unwrap();
        let names: Vec<&str> = plan.targets.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lib", "app", "db"]);
        assert_eq!(plan.groups["default"], ["app", "db"]);
        let app = &plan.targets[1].1;
        assert_eq!(app["args"], json!({"A": "1", "B": "3"}));
        assert_eq!(app["tags"], json!(["app:env", ""]));
        assert_eq!((&app["context"], &app["platforms"]), (&json!("src"), &json!(["linux/amd64"])));
        assert_eq!(texts(&plan.targets[0].1["output"]).unwrap(), ["type=cacheonly"]);
    }

    #[test]
    fn matrices_json_and_overrides() {
        let more = r#"{"target": {"app": {"args": {"C": "${TAG}"}, "inherits": []}}, "variable": {"TAG": {"default": "x"}}}"#;
        let files = [("docker-bake.hcl", HCL), ("docker-bake.override.json", more)];
        let set =
            ["*.platform=linux/arm64", "app.args.A=9", "app.tags=t:1", "app.tags=t:2", "app.no-cache=true"];
        let made = plan(&files, &["app", "many"], &set).unwrap();
        let names: Vec<&str> = made.targets.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["lib", "app", "many-a-1", "many-a-2"]);
        let app = &made.targets[1].1;
        assert_eq!(app["args"], json!({"A": "9", "B": "3", "C": "env"}));
        assert_eq!((&app["tags"], &app["no-cache"]), (&json!(["t:1", "t:2"]), &json!(true)));
        assert_eq!(app["platforms"], json!(["linux/arm64"]));
        assert_eq!(made.targets[3].1["args"], json!({"V": "2"}));
        assert_eq!(made.groups["many"], ["many-a-1", "many-a-2"]);
        assert_eq!(plan(&files, &["many-a-2"], &[]).unwrap().targets.len(), 1);
    }

    #[test]
    fn functions_of_files() {
        let hcl = "variable \"REG\" { default = \"r.io\" }\nfunction \"tag\" {\n  params = [name]\n  variadic_params = more\n  result = concat([\"${REG}/${name}\"], [for m in more : \"${REG}/${name}:${m}\"])\n}\ntarget \"default\" {\n  tags = tag(\"app\", \"1\", \"2\")\n}\n";
        let made = plan(&[("a.hcl", hcl)], &[], &[]).unwrap();
        assert_eq!(made.targets[0].1["tags"], json!(["r.io/app", "r.io/app:1", "r.io/app:2"]));
        let text = r#"{"function": {"inc": {"params": ["n"], "result": "${n + 1}"}}, "target": {"default": {"args": {"V": "${inc(4)}"}}}}"#;
        let made = plan(&[("a.json", text)], &[], &[]).unwrap();
        assert_eq!(made.targets[0].1["args"], json!({"V": 5}));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, wanted, want) in [
            ("target \"a\" {}", "b", "failed to find target b"),
            ("target \"a\" { inherits = [\"a\"] }", "a", "inherit from themselves"),
            ("variable \"x\" { default = x }\ntarget \"a\" { context = x }", "a", "needs itself"),
            ("target \"a\" { context = y }", "a", "no variable named \"y\""),
            ("group \"a\" { targets = [\"a\"] }", "a", "need themselves"),
            ("function \"f\" {}", "a", "it needs a result"),
            ("function \"f\" {\nparams = [\"x\"]\nresult = 1 }", "a", "a list of names"),
            ("function \"f\" {\nresult = f() }\ntarget \"a\" { context = f() }", "a", "too many steps"),
            ("other \"f\" {}", "a", "is not known"),
            ("target \"a\" {", "a", "x.hcl: line 1"),
        ] {
            let err = plan(&[("x.hcl", text)], &[wanted], &[]).unwrap_err();
            assert!(err.to_string().contains(want), "{text}: {err}");
        }
    }
}
