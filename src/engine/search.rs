//! Use case: find images on registries, or the tags of one.

use crate::base::image_ref::{DOCKER_HUB, ImageName, ImageRef};
use crate::engine::config::containers_conf::ContainersConf;
use crate::engine::error::{Error, Result};
use crate::engine::filter::{Filters, boolean};
use crate::engine::remote::error::{of_short_name, unresolved};
use crate::engine::remote::{Remote, RemoteOptions};
use crate::registry::client::{Client, Notice, Purpose};
use crate::registry::search::Hit;

/// Keys of `--filter`.
pub(crate) const FILTERS: &[&str] = &["stars", "is-official", "is-automated"];

/// What to look for.
#[derive(Clone, Debug, Default)]
pub(crate) struct SearchRequest {
    /// A word, perhaps with a registry before it: `quay.io/word`.
    pub(crate) term: String,
    /// Most results of each registry.
    pub(crate) limit: usize,
    pub(crate) filters: Filters,
    pub(crate) remote: RemoteOptions,
}

/// An image that was found.
#[derive(Clone, Debug)]
pub(crate) struct FoundImage {
    /// The registry.
    pub(crate) index: String,
    /// The full name.
    pub(crate) name: String,
    pub(crate) hit: Hit,
}

/// The results, and which registries gave none because of what.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) images: Vec<FoundImage>,
    pub(crate) failures: Vec<Error>,
}

/// Asks the registry that the term names, or all that short names are looked for in.
///
/// # Errors
///
/// If configuration or filters are wrong. What goes wrong with one registry is in [`Found::failures`].
pub(crate) fn search(conf: &ContainersConf, request: &SearchRequest) -> Result<Found> {
    let remote = Remote::new(&request.remote, conf)?;
    let tests = request.filters.tests(test)?;
    let (registries, word) = split(&request.term, remote.registries.search());
    if registries.is_empty() {
        return Err(Error::invalid("no registries to search: registries.conf names none for short names")
            .hint("put the registry before the term, like docker.io/nginx"));
    }
    let mut found = Found::default();
    for registry in registries {
        match search_one(&remote, &registry, &word, request.limit) {
            Ok(hits) => {
                for hit in hits {
                    if tests.pass(|test| Ok(test.passes(&hit)))? {
                        let name = full_name(&registry, &hit.name);
                        found.images.push(FoundImage { index: registry.clone(), name, hit });
                    }
                }
            }
            Err(err) => found.failures.push(err),
        }
    }
    Ok(found)
}

/// The tags of the repository that the term names.
///
/// # Errors
///
/// For a term that is no name of a repository, and what a request can fail with.
pub(crate) fn tags(conf: &ContainersConf, request: &SearchRequest) -> Result<(ImageRef, Vec<String>)> {
    let remote = Remote::new(&request.remote, conf)?;
    let name: ImageName = request.term.parse().map_err(|err| Error::invalid(format!("{err}")))?;
    if name.tag().is_some() || name.digest().is_some() {
        return Err(Error::invalid(format!("{name}: tags are listed of a repository, without a tag")));
    }
    let candidates = remote.registries.resolve(&name).map_err(unresolved)?;
    let image = candidates.into_iter().next();
    let image = image.ok_or_else(|| Error::invalid(format!("{name} leads to no registry")))?;
    let image = image.without_reference();
    let mut tags = remote
        .reading("search", &image, &|_| {}, &|_| {}, |client| Ok(client.tags()?))
        .map_err(|err| of_short_name(&remote.registries, &name, err))?;
    tags.truncate(request.limit);
    Ok((image, tags))
}

fn search_one(remote: &Remote, registry: &str, word: &str, limit: usize) -> Result<Vec<Hit>> {
    let image: ImageRef = format!("{registry}/search")
        .parse()
        .map_err(|_| Error::invalid(format!("{registry:?} is not the name of a registry")))?;
    let failed = |err| Error::system(format!("search {registry}"), err);
    let endpoint = remote.registries.endpoints(&image).map_err(failed)?.pop();
    let endpoint =
        endpoint.ok_or_else(|| Error::invalid(format!("no server is configured for {registry}")))?;
    let notices = |_: &Notice<'_>| {};
    let client = Client::new(&endpoint, Purpose::Catalog, &remote.options, &notices).map_err(failed)?;
    client.search(word, limit).map_err(failed)
}

/// The registries to ask and the word to ask for.
fn split(term: &str, search: &[String]) -> (Vec<String>, String) {
    match term.split_once('/') {
        Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => {
            (vec![first.to_owned()], rest.to_owned())
        }
        None if term.contains(':') => (vec![term.to_owned()], String::new()),
        _ => (search.to_vec(), term.to_owned()),
    }
}

/// The full name of a result: Docker Hub leaves `library` out.
fn full_name(registry: &str, name: &str) -> String {
    if registry == DOCKER_HUB && !name.contains('/') {
        return format!("{registry}/library/{name}");
    }
    format!("{registry}/{name}")
}

/// One filter, ready to be used.
enum Test {
    Stars(u64),
    Official(bool),
    Automated(bool),
}

impl Test {
    fn passes(&self, hit: &Hit) -> bool {
        match *self {
            Self::Stars(least) => hit.stars >= least,
            Self::Official(want) => hit.official == want,
            Self::Automated(want) => hit.automated == want,
        }
    }
}

fn test(key: &str, value: &str) -> Result<Test> {
    // podman lets `--filter is-official` stand for `=true`.
    let truth = || if value.is_empty() { Ok(true) } else { boolean(key, value) };
    match key {
        "stars" => {
            let stars = value.parse();
            stars
                .map(Test::Stars)
                .map_err(|_| Error::invalid(format!("incorrect value {value:?} for the filter stars")))
        }
        "is-official" => truth().map(Test::Official),
        _ => truth().map(Test::Automated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms() {
        let search = ["docker.io".to_owned(), "quay.io".to_owned()];
        for (term, registries, word) in [
            ("nginx", "docker.io quay.io", "nginx"),
            ("team/nginx", "docker.io quay.io", "team/nginx"),
            ("quay.io/nginx", "quay.io", "nginx"),
            ("localhost:5000/a/b", "localhost:5000", "a/b"),
            ("localhost:5000", "localhost:5000", ""),
            ("quay.io/", "quay.io", ""),
        ] {
            assert_eq!(
                split(term, &search),
                (registries.split(' ').map(str::to_owned).collect(), word.to_owned())
            );
        }
        assert_eq!(full_name("docker.io", "nginx"), "docker.io/library/nginx");
        assert_eq!(full_name("docker.io", "a/b"), "docker.io/a/b");
        assert_eq!(full_name("quay.io", "b"), "quay.io/b");
    }
}
