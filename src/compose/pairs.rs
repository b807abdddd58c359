//! The long forms of what may be a mapping or a list: variables, labels, hosts, keys for ssh.

use crate::base::order::InOrder as _;
use crate::compose::canonical::Walk;
use crate::compose::node::{Kind, Map, Node, Place, Tag};
use crate::engine::Result;

impl Walk<'_, '_> {
    pub(super) fn pairs(&mut self, node: Node, keep_null: bool) -> Result<Node> {
        let at = node.at;
        let mut pairs = Map::new();
        let missing = |at: Place| if keep_null { Node::null(at) } else { Node::text("", at) };
        match node.kind {
            Kind::Map(map) => {
                for (name, value) in map {
                    let at = value.at;
                    let value = match (&value.kind, value.scalar_text()) {
                        _ if value.tag == Tag::Reset => value,
                        (_, Some(text)) => Node { kind: Kind::Text(text), at, tag: value.tag },
                        (Kind::Null, _) => missing(at),
                        _ => {
                            return self.under(&name, |walk| {
                                Err(walk.error(at, "must be a string, number, boolean or null"))
                            });
                        }
                    };
                    pairs.insert(name, value);
                }
            }
            Kind::List(list) => {
                for item in list {
                    let text =
                        item.scalar_text().ok_or_else(|| self.error(item.at, "must be a list of words"))?;
                    match text.split_once('=') {
                        Some((name, value)) => pairs.insert(name.to_owned(), Node::text(value, item.at)),
                        None => pairs.insert(text, missing(item.at)),
                    };
                }
            }
            _ => return Err(self.error(at, "must be a mapping or a list")),
        }
        pairs.order();
        Ok(Node::map(pairs, at))
    }

    pub(super) fn hosts(&mut self, node: Node) -> Result<Node> {
        let at = node.at;
        let mut hosts = Vec::new();
        let mut add = |host: &str, address: &str, at: Place| {
            let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            hosts.push(Node::text(format!("{host}={address}"), at));
        };
        match &node.kind {
            Kind::Map(map) => {
                for (host, value) in map {
                    match (&value.kind, value.as_str()) {
                        (_, Some(address)) => add(host, address, value.at),
                        (Kind::List(list), _) => {
                            list.iter()
                                .filter_map(Node::as_str)
                                .for_each(|address| add(host, address, value.at));
                        }
                        _ => return Err(self.error(value.at, "must be an address or a list of them")),
                    }
                }
            }
            Kind::List(list) => {
                for item in list {
                    let text = item.as_str().ok_or_else(|| self.error(item.at, "must be a string"))?;
                    let (host, address) = text
                        .split_once('=')
                        .or_else(|| text.split_once(':'))
                        .ok_or_else(|| self.error(item.at, format!("bad host name '{text}'")))?;
                    add(host, address, item.at);
                }
            }
            _ => return Err(self.error(at, "must be a mapping or a list")),
        }
        hosts.order_by(|a, b| a.as_str().cmp(&b.as_str()));
        Ok(Node::list(hosts, at))
    }

    /// `id` alone, or `id: path` as docker compose prints it.
    pub(super) fn ssh(&self, node: &Node) -> Result<Node> {
        let entry = |id: &str, path: Option<&str>, at: Place| match path {
            Some(path) => Node::text(format!("{id}: {}", self.context.path(path)), at),
            None => Node::text(id, at),
        };
        let list = match &node.kind {
            Kind::Text(id) => vec![entry(id, None, node.at)],
            Kind::Map(map) => map.iter().map(|(id, path)| entry(id, path.as_str(), path.at)).collect(),
            Kind::List(list) => list
                .iter()
                .map(|item| {
                    let text = item.as_str().ok_or_else(|| self.error(item.at, "must be a string"))?;
                    Ok(match text.split_once('=') {
                        Some((id, path)) => entry(id, Some(path), item.at),
                        None => entry(text, None, item.at),
                    })
                })
                .collect::<Result<_>>()?,
            _ => return Err(self.error(node.at, "must be a list or a mapping")),
        };
        Ok(Node::list(list, node.at))
    }
}
