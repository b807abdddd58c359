//! Finding images on a registry by a word.
//!
//! ```text
//! GET /v1/search?q=word   Docker Hub and those that imitate it: descriptions, stars
//!      ╰ 404 … ─▶ GET /v2/_catalog, page by page: the names that hold the word
//! ```
//!
//! # Source
//!
//! Docker's "Registry API v1", Search; OCI distribution-spec's ancestor for `_catalog`.

use serde::Deserialize;

use crate::base::manifest::or_default;
use crate::registry::client::{Client, Session};
use crate::registry::error::{Error, Result};

/// Most results of one request.
const PAGE: usize = 100;

/// Most names of a catalogue that are looked through.
const MAX_NAMES: usize = 1_000_000;

/// A repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Hit {
    /// Its path on the registry, as the registry writes it.
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) description: String,
    #[serde(default, rename = "star_count")]
    pub(crate) stars: u64,
    #[serde(default, rename = "is_official")]
    pub(crate) official: bool,
    #[serde(default, rename = "is_automated")]
    pub(crate) automated: bool,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    results: Vec<Hit>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

impl Client<'_> {
    /// Repositories whose name (or description, where the registry knows one) holds `word`, at most
    /// `limit`. An empty word finds all that are listed.
    ///
    /// # Errors
    ///
    /// What a request can fail with.
    pub(crate) fn search(&self, word: &str, limit: usize) -> Result<Vec<Hit>> {
        self.wait(self.session.search(word, limit))
    }
}

impl Session<'_> {
    async fn search(&self, word: &str, limit: usize) -> Result<Vec<Hit>> {
        if !word.is_empty() {
            match self.search_index(word, limit).await {
                // Registries that never heard of it answer in many ways; the catalogue decides.
                Err(Error::NotFound { .. } | Error::Status { .. } | Error::Unauthorized { .. }) => {}
                Err(Error::Transport { transient: false, reason, .. }) if reason.starts_with("search: ") => {}
                other => return other,
            }
        }
        self.search_catalog(word, limit).await
    }

    async fn search_index(&self, word: &str, limit: usize) -> Result<Vec<Hit>> {
        let mut url = self.url("v1/search").await?;
        url.query_pairs_mut().append_pair("q", word).append_pair("n", &limit.min(PAGE).to_string());
        let path = format!("v1/search?{}", url.query().unwrap_or_default());
        let (found, _) = self.page::<Found>(&path, "search").await?;
        Ok(found.results.into_iter().take(limit).collect())
    }

    async fn search_catalog(&self, word: &str, limit: usize) -> Result<Vec<Hit>> {
        let (mut hits, mut seen) = (Vec::new(), 0);
        let mut path = format!("v2/_catalog?n={PAGE}");
        loop {
            let (page, next) = self.page::<Catalog>(&path, "list of repositories").await?;
            let names = page.repositories.unwrap_or_default();
            seen += names.len();
            let last = names.is_empty() || seen > MAX_NAMES;
            let fitting = names.into_iter().filter(|name| name.contains(word));
            hits.extend(fitting.map(|name| Hit { name, ..Hit::default() }));
            match next {
                Some(next) if !last && hits.len() < limit => path = next,
                _ => break,
            }
        }
        hits.truncate(limit);
        Ok(hits)
    }
}
