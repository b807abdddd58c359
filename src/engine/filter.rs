//! `--filter key=value` of listings and of prune.
//!
//! Values of one key are alternatives; different keys must all hold. (`label` is the exception: all
//! of its values must hold.) What a key means is the business of each listing; here is what they share.

use std::collections::BTreeMap;

use crate::base::{pattern, truth};
use crate::engine::{Error, Result};

/// The filters of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(Vec<Filter>);

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// With `!` at its end if it was `key!=value`.
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Keys for containers.
pub(crate) const CONTAINER: &[&str] = &[
    "ancestor",
    "before",
    "command",
    "exited",
    "expose",
    "health",
    "id",
    "label",
    "label!",
    "name",
    "network",
    "pod",
    "publish",
    "restart-policy",
    "should-start-on-boot",
    "since",
    "status",
    "until",
    "volume",
];

/// Keys for images.
pub(crate) const IMAGE: &[&str] = &[
    "after",
    "before",
    "containers",
    "dangling",
    "digest",
    "id",
    "intermediate",
    "label",
    "label!",
    "manifest",
    "readonly",
    "reference",
    "reference!",
    "since",
    "until",
];

/// Keys for the prune of volumes.
pub(crate) const PRUNE_VOLUMES: &[&str] = &["after", "all", "dangling", "label", "label!", "since", "until"];

/// Keys for the prune of images.
pub(crate) const PRUNE_IMAGES: &[&str] = &["dangling", "label", "label!", "until"];

/// Keys for prune.
pub(crate) const PRUNE: &[&str] = &["label", "label!", "until"];

impl Filters {
    /// Reads filters, of which `keys` are known.
    ///
    /// # Errors
    ///
    /// For an unknown key or one without a value, in podman's words.
    pub(crate) fn parse<S: AsRef<str>>(texts: &[S], keys: &[&str]) -> Result<Self> {
        let parse = |text: &S| {
            let text = text.as_ref();
            let (key, value) =
                text.split_once('=').ok_or_else(|| Error::invalid(format!("invalid filter {text:?}")))?;
            if !keys.contains(&key) {
                let known: Vec<_> = keys.iter().map(|key| format!("{key}=")).collect();
                return Err(Error::invalid(format!("{key} is an invalid filter"))
                    .hint(format!("known filters: {}", known.join(" "))));
            }
            Ok(Filter { key: key.to_owned(), value: value.to_owned() })
        };
        texts.iter().map(parse).collect::<Result<_>>().map(Self)
    }

    /// The values of a key.
    pub(crate) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |filter| filter.key == key).map(|filter| filter.value.as_str())
    }

    /// Makes a test of each filter by `make` and groups them by key.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub(crate) fn tests<T>(&self, mut make: impl FnMut(&str, &str) -> Result<T>) -> Result<Tests<T>> {
        let mut groups = BTreeMap::new();
        for Filter { key, value } in &self.0 {
            let tests: &mut Vec<T> = groups.entry(key.clone()).or_default();
            tests.push(make(key, value)?);
        }
        Ok(Tests(groups))
    }
}

/// Filters made ready, by key.
#[derive(Debug)]
pub(crate) struct Tests<T>(BTreeMap<String, Vec<T>>);

impl<T> Tests<T> {
    /// The tests of the key `one` as more of those of the key `other`, which means the same.
    pub(crate) fn joined(mut self, one: &str, other: &str) -> Self {
        if let Some(tests) = self.0.remove(one) {
            self.0.entry(other.to_owned()).or_default().extend(tests);
        }
        self
    }

    /// True if an object passes; `passes` tries one filter.
    ///
    /// # Errors
    ///
    /// Those of `passes`.
    pub(crate) fn pass(&self, mut passes: impl FnMut(&T) -> Result<bool>) -> Result<bool> {
        for (key, tests) in &self.0 {
            // Everything labelled so, nothing labelled so: these two must all hold.
            let all = key == "label" || key.ends_with('!');
            let mut any = false;
            for test in tests {
                let passed = passes(test)?;
                if all && !passed {
                    return Ok(false);
                }
                any |= passed;
            }
            if !any && !tests.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// True if one of the labels is `key`, or `key=value` if the filter has a value; both may be globs.
pub(crate) fn has_label(labels: &BTreeMap<String, String>, filter: &str) -> bool {
    let (key, value) = match filter.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (filter, None),
    };
    labels.iter().any(|(name, found)| {
        (name == key || pattern::glob(key, name, false))
            && value.is_none_or(|value| found == value || pattern::glob(value, found, false))
    })
}

/// Reads a truth value as Go does.
///
/// # Errors
///
/// For anything else, in podman's words.
pub(crate) fn boolean(key: &str, value: &str) -> Result<bool> {
    let no_truth = || {
        Error::invalid(format!(
            "non-boolean value {value:?} for {key} filter: strconv.ParseBool: parsing {value:?}: invalid syntax"
        ))
    };
    truth::parse(value).ok_or_else(no_truth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_for_one_thing_are_alternatives() {
        let filters = Filters::parse(&["status=a", "event=b"], &["event", "status"]).unwrap();
        let tests = || filters.tests(|_, value| Ok(value.to_owned())).unwrap();
        let passes = |tests: Tests<String>, is: &str| tests.pass(|value| Ok(value == is)).unwrap();
        for (is, want) in [("a", true), ("b", true), ("c", false)] {
            assert_eq!(passes(tests().joined("status", "event"), is), want, "{is}");
            assert!(!passes(tests(), is), "by themselves both must hold");
        }
    }

    #[test]
    fn unknown_filters_are_refused() {
        for (text, message) in [("foo=bar", "foo is an invalid filter"), ("name", "invalid filter \"name\"")]
        {
            let err = Filters::parse(&[text], CONTAINER).unwrap_err();
            assert_eq!(err.message, message);
        }
        let filters = Filters::parse(&["label!=a=b", "label=c", "label=d"], CONTAINER).unwrap();
        assert_eq!(filters.values("label").collect::<Vec<_>>(), ["c", "d"]);
        assert_eq!(filters.values("label!").collect::<Vec<_>>(), ["a=b"]);
    }

    #[test]
    fn values_are_alternatives_and_keys_are_not() {
        let all = |texts: &[&str], names: &[&str]| {
            let filters = Filters::parse(texts, CONTAINER).unwrap();
            let tests = filters.tests(|key, value| Ok(format!("{key}:{value}"))).unwrap();
            tests.pass(|test| Ok(names.contains(&test.as_str()))).unwrap()
        };
        assert!(all(&[], &[]));
        assert!(all(&["name=a", "name=b"], &["name:b"]));
        assert!(!all(&["name=a", "id=b"], &["name:a"]));
        assert!(!all(&["label=a", "label=b"], &["label:a"]), "labels must all be there");
        assert!(all(&["label=a", "label=b"], &["label:a", "label:b"]));
        assert!(!all(&["label!=a", "label!=b"], &["label!:a"]));
    }

    #[test]
    fn labels() {
        let labels =
            BTreeMap::from([("a".to_owned(), "b".to_owned()), ("com.x/y".to_owned(), String::new())]);
        for (filter, want) in [
            ("a", true),
            ("a=b", true),
            ("a=c", false),
            ("a=", false),
            ("com.*", true),
            ("com.x/y=", true),
            ("b", false),
            ("a=*", true),
        ] {
            assert_eq!(has_label(&labels, filter), want, "{filter}");
        }
    }
}
