//! HCL, as far as docker-bake.hcl files are written in it: blocks, attributes, and expressions of variables. Pure.
//!
//! ```text
//! text ─read─▶ Vec<Block{kind, labels, attributes: Expr}> ─value(Names)─▶ serde_json::Value
//! ```
//!
//! Left out, with an error that says so: those of HCL's many functions that build files have no use for.

mod functions;
mod read;
mod text;
mod value;

use serde_json::Value;

pub(crate) use read::{read, template};
pub(crate) use value::{Function, Functions, Names, text};

/// A mistake, with the line it is in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {message}")]
pub(crate) struct HclError {
    pub(crate) line: usize,
    pub(crate) message: String,
}

type Result<T, E = HclError> = std::result::Result<T, E>;

/// `kind "label" { name = value }`; the file itself is one without a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) labels: Vec<String>,
    pub(crate) attributes: Vec<(String, Expr)>,
    pub(crate) blocks: Vec<Block>,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Value(Value),
    /// Text with expressions in it.
    Template(Vec<Expr>),
    /// A variable.
    Name(String),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    /// `a.b` and `a[b]`.
    Of(Box<(Expr, Expr)>),
    Call(String, Vec<Expr>),
    /// `a ? b : c`.
    If(Box<(Expr, Expr, Expr)>),
    Not(Box<Expr>),
    Two(&'static str, Box<(Expr, Expr)>),
    For(Box<For>),
    /// `a[*].b` and `a.*.b`: what comes after it, of each item. The items stand for the name `*`.
    Each(Box<(Expr, Expr)>),
}

/// `[for key, value in of : item if condition]`, and with braces `{for … : key => item...}`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct For {
    pub(crate) key: Option<String>,
    pub(crate) value: String,
    pub(crate) of: Expr,
    /// What makes the key of a map.
    pub(crate) to: Option<Expr>,
    pub(crate) item: Expr,
    /// `...`: items of the same key become a list.
    pub(crate) grouped: bool,
    pub(crate) condition: Option<Expr>,
    /// `%{ for }` in text: the items are put together.
    pub(crate) joined: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> Result<Value, String> {
        let file = read(&format!("x = {text}\n")).map_err(|err| err.to_string())?;
        let lookup = |name: &str| {
            Ok(match name {
                "TAG" => Some(json!("v1")),
                "N" => Some(json!(3)),
                "LIST" => Some(json!(["a", "b"])),
                "MAP" => Some(json!({"k": "v"})),
                _ => None,
            })
        };
        let twice = Function {
            params: vec!["n".to_owned()],
            rest: None,
            result: read("r = n * 2").map_err(|err| err.to_string())?.attributes.remove(0).1,
        };
        let endless = Function {
            params: vec![],
            rest: Some("more".to_owned()),
            result: read("r = \"${endless()}${endless(more)}\"")
                .map_err(|err| err.to_string())?
                .attributes
                .remove(0)
                .1,
        };
        let functions = Functions::from([("twice".to_owned(), twice), ("endless".to_owned(), endless)]);
        file.attributes[0].1.value(&Names::new(&lookup, &functions))
    }

    #[test]
    fn expressions_have_their_value() {
        for (text, want) in [
            ("\"a\"", json!("a")),
            ("\"app:${TAG}-${N}\"", json!("app:v1-3")),
            ("\"$${TAG} \\\"q\\\" \\u00e9\"", json!("${TAG} \"q\" é")),
            ("N", json!(3)),
            ("\"${LIST}\"", json!(["a", "b"])),
            ("[\"a\", TAG,\n # last\n N,]", json!(["a", "v1", 3])),
            ("{ a = 1, \"b\" : TAG\n c = null }", json!({"a": 1, "b": "v1", "c": null})),
            ("equal(TAG, \"v1\") ? \"yes\" : \"no\"", json!("yes")),
            ("TAG == \"\" || !(N > 2 && N <= 3)", json!(false)),
            ("1 + 2 * 3 - 8 / 2", json!(3)),
            ("MAP.k", json!("v")),
            ("LIST[1]", json!("b")),
            ("join(\",\", concat(LIST, [\"c\"]))", json!("a,b,c")),
            ("split(\"/\", \"a/b\")", json!(["a", "b"])),
            ("replace(upper(TAG), \"V\", \"\")", json!("1")),
            ("<<-EOT\n    one ${TAG}\n      two\n  EOT", json!("one v1\n  two\n")),
            ("coalesce(\"\", TAG)", json!("v1")),
            ("[for x in LIST : upper(x)]", json!(["A", "B"])),
            ("[for i, x in LIST : \"${i}${x}\" if x != \"a\"]", json!(["1b"])),
            ("{for x in LIST : x => \"${x}!\"}", json!({"a": "a!", "b": "b!"})),
            ("{for k, v in {a = 1, b = 2, c = 1} : v => k...}", json!({"1": ["a", "c"], "2": ["b"]})),
            ("[for k, v in MAP : \"${k}=${v}\"]", json!(["k=v"])),
            ("twice(N) + twice(1)", json!(8)),
            ("[{n = 1}, {n = 2}][*].n", json!([1, 2])),
            ("[{n = [1]}, {n = [2]}].*.n[0]", json!([1, 2])),
            ("\"%{ if N > 2 }big%{ else }small%{ endif }!\"", json!("big!")),
            ("\"%{ for x in LIST }<${x}>%{ endfor }\"", json!("<a><b>")),
            ("\"a %{~ if true ~} b %{~ endif ~} c\"", json!("abc")),
            ("-N", json!(-3)),
            ("format(\"%s-%03d-%v\", TAG, N, true)", json!("v1-003-true")),
            ("flatten([[1], [2, [3]]])", json!([1, 2, 3])),
            ("distinct([1, 1, 2])", json!([1, 2])),
            ("sort([\"b\", \"a\"])", json!(["a", "b"])),
            ("keys(MAP)", json!(["k"])),
            ("lookup(MAP, \"x\", \"none\")", json!("none")),
            ("element(LIST, 3)", json!("b")),
            ("slice([1, 2, 3], 1, 3)", json!([2, 3])),
            ("range(3)", json!([0, 1, 2])),
            ("max(1, N, 2)", json!(3)),
            ("substr(\"hello\", 1, 3)", json!("ell")),
            ("sanitize(\"a/b.c\")", json!("a_b_c")),
            ("title(\"a word\")", json!("A Word")),
            ("setproduct([1, 2], [\"x\"])", json!([[1, "x"], [2, "x"]])),
            ("zipmap([\"a\"], [1])", json!({"a": 1})),
            ("jsondecode(\"[1]\")", json!([1])),
            ("jsonencode(MAP)", json!("{\"k\":\"v\"}")),
            ("base64decode(base64encode(\"x\"))", json!("x")),
            ("sha256(\"\")", json!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
            ("basename(\"a/b.c\")", json!("b.c")),
            ("dirname(\"a/b.c\")", json!("a")),
        ] {
            assert_eq!(value(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, want) in [
            ("\"a", "line 2: text is not ended"),
            ("[1 2]", "line 1: a comma or \"]\" is expected"),
            ("[for x in LIST]", "line 1: \":\" is expected"),
            ("[for x in TAG : x]", "for takes a list or a map, not \"v1\""),
            (
                "{for x in LIST : \"k\" => x}",
                "two values for the key \"k\": write ... behind the value to have both",
            ),
            ("twice()", "twice takes 1 arguments, not 0"),
            ("endless()", "expressions need too many steps"),
            ("\"%{ if true }x\"", "line 1: %{ endif } is expected"),
            ("\"%{ endif }\"", "line 1: %{ endif } has no beginning"),
            ("WRONG", "there is no variable named \"WRONG\""),
            ("regex(\"a\")", "the function regex is not supported"),
            ("lower()", "lower does not take these 0 arguments"),
            ("1 / 0", "division by zero"),
            ("\"${LIST}x\"", "[\"a\",\"b\"] is no text"),
            ("\"a\" \"b\"", "line 1: the end of the line is expected"),
        ] {
            assert_eq!(value(text), Err(want.to_owned()), "{text}");
        }
        assert!(read(&format!("x = {}", "[".repeat(100_000))).is_err(), "no stack is used up");
        assert!(read(&"a {".repeat(100_000)).is_err());
        assert!(read(&format!("x = {}1", "!".repeat(100_000))).is_ok());
        assert!(read(&format!("x = a{}", ".b".repeat(100_000))).is_err());
        assert!(read(&format!("x = 1{}", " + 1".repeat(100_000))).is_err());
    }

    #[test]
    fn files_are_blocks_and_attributes() {
        let file = read(
            "// c\nTAG = \"x\"\ngroup \"default\" { targets = [\"a\"] }\n/* d */ target \"a\" {\n  inherits = [\"b\"]\n  args = {\n    V = \"1\"\n  }\n}\n",
        )
        .unwrap();
        assert_eq!(file.attributes[0].0, "TAG");
        let kinds: Vec<_> = file.blocks.iter().map(|b| (b.kind.as_str(), b.labels[0].as_str())).collect();
        assert_eq!(kinds, [("group", "default"), ("target", "a")]);
        assert_eq!(file.blocks[1].attributes.len(), 2);
        assert_eq!(read("target \"a\" {\n x = 1\n").unwrap_err().to_string(), "line 3: \"}\" is expected");
    }
}
