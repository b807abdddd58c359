//! Which handler answers which request: the one table of the API.

use super::containers::{archive, create, lifecycle, list, stats};
use super::fault::Fault;
use super::http::exchange::{Answer, Exchange, Handler};
use super::http::head::decoded;
use super::{
    ANSWERED, LATEST, OLDEST, attach, build, events, exec, images, logs, networks, system, usage, volumes,
    wait,
};

/// A method, a pattern, and who answers. `{}` stands for one segment of the path, `{*}` for one or more.
type Route = (&'static str, &'static str, Handler);

/// In order: the first one that fits answers.
const ROUTES: &[Route] = &[
    ("GET", "/_ping", system::ping),
    ("HEAD", "/_ping", system::ping),
    ("GET", "/version", system::version),
    ("GET", "/system/df", usage::usage),
    ("GET", "/info", system::info),
    ("GET", "/plugins", system::plugins),
    ("GET", "/swarm", system::swarm),
    ("GET", "/nodes", system::swarm),
    ("GET", "/services", system::swarm),
    ("GET", "/tasks", system::swarm),
    ("GET", "/secrets", system::swarm),
    ("GET", "/configs", system::swarm),
    ("POST", "/swarm/{}", system::swarm),
    ("POST", "/secrets/create", system::swarm),
    ("POST", "/configs/create", system::swarm),
    ("POST", "/services/create", system::swarm),
    ("GET", "/networks", networks::list),
    ("POST", "/networks/create", networks::create),
    ("POST", "/networks/prune", networks::prune),
    ("GET", "/networks/{}", networks::inspect),
    ("DELETE", "/networks/{}", networks::remove),
    ("POST", "/networks/{}/connect", networks::connect),
    ("POST", "/networks/{}/disconnect", networks::disconnect),
    ("GET", "/volumes", volumes::list),
    ("POST", "/volumes/create", volumes::create),
    ("POST", "/volumes/prune", volumes::prune),
    ("GET", "/volumes/{*}", volumes::inspect),
    ("DELETE", "/volumes/{*}", volumes::remove),
    ("POST", "/containers/{}/attach", attach::attach),
    ("GET", "/containers/{}/attach/ws", attach::by_websocket),
    ("POST", "/containers/{}/resize", attach::resize),
    ("POST", "/containers/{}/wait", wait::wait),
    ("GET", "/containers/{}/logs", logs::logs),
    ("POST", "/containers/{}/exec", exec::create),
    ("POST", "/exec/{}/start", exec::start),
    ("POST", "/exec/{}/resize", exec::resize),
    ("GET", "/exec/{}/json", exec::inspect),
    ("GET", "/images/json", images::list::list),
    ("POST", "/images/create", images::pull::create),
    ("GET", "/images/search", images::registry::search),
    ("POST", "/images/prune", images::prune::images),
    ("GET", "/images/get", images::archive::save_several),
    ("POST", "/images/load", images::archive::load),
    ("GET", "/images/{*}/json", images::inspect::inspect),
    ("GET", "/images/{*}/history", images::inspect::history),
    ("GET", "/images/{*}/get", images::archive::save_one),
    ("POST", "/images/{*}/push", images::push::push),
    ("POST", "/images/{*}/tag", images::names::tag),
    ("DELETE", "/images/{*}", images::names::remove),
    ("POST", "/commit", images::commit::commit),
    ("GET", "/distribution/{*}/json", images::registry::offered),
    ("POST", "/auth", images::registry::auth),
    ("POST", "/build", build::build),
    ("POST", "/build/prune", images::prune::builds),
    ("POST", "/session", build::without_buildkit),
    ("POST", "/grpc", build::without_buildkit),
    ("GET", "/events", events::events),
    ("GET", "/containers/json", list::list),
    ("POST", "/containers/create", create::create),
    ("POST", "/containers/prune", lifecycle::prune),
    ("GET", "/containers/{}/json", lifecycle::inspect),
    ("GET", "/containers/{}/top", lifecycle::top),
    ("GET", "/containers/{}/changes", lifecycle::changes),
    ("GET", "/containers/{}/stats", stats::stats),
    ("GET", "/containers/{}/export", archive::export),
    ("HEAD", "/containers/{}/archive", archive::look),
    ("GET", "/containers/{}/archive", archive::get),
    ("PUT", "/containers/{}/archive", archive::put),
    ("POST", "/containers/{}/start", lifecycle::start),
    ("POST", "/containers/{}/stop", lifecycle::stop),
    ("POST", "/containers/{}/restart", lifecycle::restart),
    ("POST", "/containers/{}/kill", lifecycle::kill),
    ("POST", "/containers/{}/pause", lifecycle::pause),
    ("POST", "/containers/{}/unpause", lifecycle::unpause),
    ("POST", "/containers/{}/rename", lifecycle::rename),
    ("POST", "/containers/{}/update", lifecycle::update),
    ("DELETE", "/containers/{}", lifecycle::remove),
];

/// Has the right handler answer.
///
/// # Errors
///
/// What the handler says; 404 if there is none; 400 for a version of the API that is not spoken here.
pub(crate) fn answer(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    // What a browser asks before it sends a request from another origin (`--cors`).
    if exchange.asked().0 == "OPTIONS" {
        return Ok(Answer::Empty(200));
    }
    check_version(exchange.version())?;
    let (method, path) = exchange.asked();
    let Some((params, handler)) = find(method, path) else { return Err(Fault::new(404, "page not found")) };
    exchange.set_params(params);
    handler(exchange)
}

/// Who answers, and what the places of the route's pattern stand for.
fn find(method: &str, path: &str) -> Option<(Vec<String>, Handler)> {
    ROUTES.iter().find_map(|(known, pattern, handler)| {
        (*known == method).then(|| matched(pattern, path)).flatten().map(|params| (params, *handler))
    })
}

/// Whether anybody answers such a request.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn is_known(method: &str, path: &str) -> bool {
    find(method, path).is_some()
}

fn check_version(asked: (u32, u32)) -> Result<(), Fault> {
    let text = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    if asked > LATEST {
        let message = "is too new. Maximum supported API version is";
        return Err(Fault::new(400, format!("client version {} {message} {}", text(asked), text(LATEST))));
    }
    if asked < ANSWERED {
        let message = "is too old. Minimum supported API version is";
        let advice = "please upgrade your client to a newer version";
        let message = format!("client version {} {message} {}, {advice}", text(asked), text(OLDEST));
        return Err(Fault::new(400, message));
    }
    Ok(())
}

/// What the places of `pattern` stand for in `path`, decoded, if it fits.
fn matched(pattern: &str, path: &str) -> Option<Vec<String>> {
    let pattern: Vec<_> = pattern.split('/').collect();
    let path: Vec<_> = path.split('/').collect();
    if let Some(at) = pattern.iter().position(|part| *part == "{*}") {
        let after = pattern.len() - at - 1;
        let end = path.len().checked_sub(after).filter(|end| *end > at)?;
        let mut params = same_length(&pattern[..at], &path[..at])?;
        params.push(decoded(&path[at..end].join("/")));
        params.extend(same_length(&pattern[at + 1..], &path[end..])?);
        return params.iter().all(|param| !param.is_empty()).then_some(params);
    }
    same_length(&pattern, &path)
}

fn same_length(pattern: &[&str], path: &[&str]) -> Option<Vec<String>> {
    if pattern.len() != path.len() {
        return None;
    }
    let mut params = Vec::new();
    for (pattern, part) in pattern.iter().zip(path) {
        match *pattern {
            "{}" if !part.is_empty() => params.push(decoded(part)),
            fixed if fixed == *part => {}
            _ => return None,
        }
    }
    Some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let want = |params: &[&str]| Some(params.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        for (pattern, path, params) in [
            ("/_ping", "/_ping", want(&[])),
            ("/_ping", "/_ping/", None),
            ("/containers/{}/json", "/containers/a%2fb/json", want(&["a/b"])),
            ("/containers/{}/json", "/containers//json", None),
            ("/containers/{}/json", "/containers/a/b/json", None),
            ("/images/{*}/json", "/images/a/json", want(&["a"])),
            ("/images/{*}/json", "/images/localhost:5000/a/b:1/json", want(&["localhost:5000/a/b:1"])),
            ("/images/{*}/json", "/images/json", None),
            ("/images/{*}", "/images/a/b", want(&["a/b"])),
            ("/images/{*}", "/images/", None),
        ] {
            assert_eq!(matched(pattern, path), params, "{pattern} {path}");
        }
    }

    #[test]
    fn versions() {
        assert!(check_version((1, 24)).is_ok() && check_version(LATEST).is_ok());
        assert_eq!(check_version((1, 21)).unwrap_err().status, 400);
        assert!(check_version((1, 99)).unwrap_err().message.starts_with("client version 1.99 is too new."));
    }
}
