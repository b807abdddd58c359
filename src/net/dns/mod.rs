//! Names: which of them ketch answers, which it passes on, and to whom. Pure; the sockets are in `netd`.
//!
//! ```text
//! name of a container, alias, ID prefix, host name   ─▶ its addresses on the networks of the asker
//! reverse name of an address of a ketch network      ─▶ name, or "no such name"
//! one label, or below dns.podman / dns.ketch         ─▶ "no such name": never asked for outside
//! everything else                                    ─▶ the host's name servers
//! ```
//!
//! A name of one label is a container's or nobody's. Sent to the outside it would tell others what
//! runs here, and let them answer.

pub(crate) mod resolv_conf;

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Domains of ketch itself, in containers' search lists so that short names become one of ours.
pub(crate) const DOMAINS: [&str; 2] = ["dns.podman", "dns.ketch"];
/// Addresses of containers change with every restart: clients ask again soon.
const TTL_S: u32 = 10;
/// The largest answer over UDP that is not truncated, whatever the client says it takes:
/// beyond this, answers of ours would be worth abusing.
const MAX_UDP_BYTES: u16 = 4096;

/// Length of the header of a message.
const HEADER_BYTES: usize = 12;
/// In its third byte: it is an answer.
const IS_RESPONSE: u8 = 0x80;

/// What containers are called, as one of them may know it.
pub(crate) trait Names {
    /// Addresses of the container with this name (lower case, no final dot); `None` if there is none.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>>;
    /// Names of the container with this address, the best first; none if there is no such container.
    fn names_of(&self, ip: IpAddr) -> Vec<String>;
    /// Whether the address belongs to a network of ketch.
    fn is_inside(&self, ip: IpAddr) -> bool;
}

/// What to do with a query.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask a server outside.
    Forward,
    /// Not a query.
    Drop,
}

/// Decides about a query as it came over UDP, or (`stream`) TCP. Whether a server outside may be asked is looked up
/// only where that matters.
pub(crate) fn answer(
    bytes: &[u8],
    names: &impl Names,
    may_forward: impl FnOnce() -> bool,
    stream: bool,
) -> Answer {
    let Ok(query) = Message::from_vec(bytes) else { return malformed(bytes) };
    if query.metadata.message_type != MessageType::Query {
        return Answer::Drop;
    }
    let [question] = &query.queries[..] else {
        return reply(&query, ResponseCode::FormErr, Vec::new(), stream);
    };
    if query.metadata.op_code != OpCode::Query {
        return reply(&query, ResponseCode::NotImp, Vec::new(), stream);
    }
    match decide(question, names) {
        Decision::Records(records) => reply(&query, ResponseCode::NoError, records, stream),
        Decision::NoSuchName => reply(&query, ResponseCode::NXDomain, Vec::new(), stream),
        Decision::Outside if may_forward() => Answer::Forward,
        Decision::Outside => reply(&query, ResponseCode::NXDomain, Vec::new(), stream),
    }
}

/// The answer "something went wrong here", when no server outside has answered.
pub(crate) fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    match reply(&query, ResponseCode::ServFail, Vec::new(), true) {
        Answer::Reply(bytes) => Some(bytes),
        _ => None,
    }
}

/// Whether `response` can be the answer to `query`: same number, same question, or none at all, as some servers refuse.
/// What else is in it is for who has asked: one odd record makes no name unknown.
pub(crate) fn answers(response: &[u8], query: &[u8]) -> bool {
    if response.len() < HEADER_BYTES || response.get(..2) != query.get(..2) || response[2] & IS_RESPONSE == 0
    {
        return false;
    }
    if response[4..6] == [0, 0] {
        return true;
    }
    match (question(response), question(query)) {
        (Some((name, kind)), Some((wanted, of))) => name.eq_ignore_ascii_case(wanted) && kind == of,
        _ => false,
    }
}

/// The first question of a message as it stands there: its name, and its type and class. A name that refers to another
/// place has nothing before it to refer to.
fn question(message: &[u8]) -> Option<(&[u8], &[u8])> {
    const MAX_LABEL: usize = 63;
    const MAX_NAME: usize = 255;
    let mut end = HEADER_BYTES;
    loop {
        let length = usize::from(*message.get(end)?);
        end += 1 + length;
        if length > MAX_LABEL || end - HEADER_BYTES > MAX_NAME {
            return None;
        }
        if length == 0 {
            return Some((&message[HEADER_BYTES..end], message.get(end..end + 4)?));
        }
    }
}

/// Whether another server should be asked instead: this one did not know, or refused.
pub(crate) fn is_failure(response: &[u8]) -> bool {
    const SERVFAIL: u8 = 2;
    const NOTIMP: u8 = 4;
    const REFUSED: u8 = 5;
    response.get(3).is_some_and(|byte| matches!(byte & 15, SERVFAIL | NOTIMP | REFUSED))
}

enum Decision {
    /// These, possibly none: the name is ours.
    Records(Vec<Record>),
    NoSuchName,
    Outside,
}

fn decide(question: &Query, names: &impl Names) -> Decision {
    let name = question.name();
    if question.query_class() != DNSClass::IN {
        return Decision::Outside;
    }
    if let Some(ip) = reverse(name) {
        return match names.names_of(ip) {
            own if !own.is_empty() => Decision::Records(pointers(question, &own)),
            _ if names.is_inside(ip) => Decision::NoSuchName,
            _ => Decision::Outside,
        };
    }
    let text = name.to_ascii().to_ascii_lowercase();
    let text = text.trim_end_matches('.');
    let below = |domain: &str| text == domain || text.strip_suffix(domain).is_some_and(|s| s.ends_with('.'));
    let domain = DOMAINS.into_iter().find(|domain| below(domain));
    let short = domain.map_or(text, |domain| text[..text.len() - domain.len()].trim_end_matches('.'));
    if let Some(ips) = names.addresses(short) {
        return Decision::Records(addresses(question, &ips));
    }
    // The servers of a top-level domain are asked for by validating resolvers, not by programs that
    // look for a container.
    let of_domain = matches!(
        question.query_type(),
        RecordType::NS | RecordType::SOA | RecordType::DS | RecordType::DNSKEY
    );
    if domain.is_some() || (!text.contains('.') && !text.is_empty() && !of_domain) {
        return Decision::NoSuchName;
    }
    Decision::Outside
}

fn reverse(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

fn pointers(question: &Query, own: &[String]) -> Vec<Record> {
    if !matches!(question.query_type(), RecordType::PTR | RecordType::ANY) {
        return Vec::new();
    }
    let targets = own.iter().filter_map(|own| Name::from_ascii(format!("{own}.")).ok());
    let record = |target| Record::from_rdata(question.name().clone(), TTL_S, RData::PTR(PTR(target)));
    targets.map(record).collect()
}

fn addresses(question: &Query, ips: &[IpAddr]) -> Vec<Record> {
    let any = question.query_type() == RecordType::ANY;
    let data = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) if any || question.query_type() == RecordType::A => Some(RData::A(A(*ip))),
        IpAddr::V6(ip) if any || question.query_type() == RecordType::AAAA => Some(RData::AAAA(AAAA(*ip))),
        _ => None,
    };
    ips.iter().filter_map(data).map(|data| Record::from_rdata(question.name().clone(), TTL_S, data)).collect()
}

fn reply(query: &Message, code: ResponseCode, records: Vec<Record>, stream: bool) -> Answer {
    let mut message = Message::response(query.metadata.id, query.metadata.op_code);
    message.metadata.response_code = code;
    message.metadata.recursion_desired = query.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.authoritative = true;
    message.add_queries(query.queries.iter().cloned());
    message.add_answers(records);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_BYTES);
        message.set_edns(edns);
    }
    let limit = if stream { usize::from(u16::MAX) } else { query.max_payload().min(MAX_UDP_BYTES).into() };
    match message.to_vec() {
        Ok(bytes) if bytes.len() <= limit => Answer::Reply(bytes),
        Ok(_) => message.truncate().to_vec().map_or(Answer::Drop, Answer::Reply),
        Err(_) => Answer::Drop,
    }
}

/// A message that cannot be read, but has a header, is answered so that its sender need not wait.
fn malformed(bytes: &[u8]) -> Answer {
    let [high, low, flags, ..] = *bytes else { return Answer::Drop };
    if bytes.len() < HEADER_BYTES || flags & IS_RESPONSE != 0 {
        return Answer::Drop;
    }
    let id = u16::from_be_bytes([high, low]);
    Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().map_or(Answer::Drop, Answer::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Few;

    impl Names for Few {
        fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
            match name {
                "web" => Some(vec!["10.88.0.2".parse().unwrap(), "fd00::2".parse().unwrap()]),
                "many" => Some((0..100_u8).map(|n| IpAddr::from([10, 88, 1, n])).collect()),
                _ => None,
            }
        }
        fn names_of(&self, ip: IpAddr) -> Vec<String> {
            let names: &[&str] = if ip.to_string() == "10.88.0.2" { &["web", "www"] } else { &[] };
            names.iter().map(|name| (*name).to_owned()).collect()
        }
        fn is_inside(&self, ip: IpAddr) -> bool {
            ip.to_string().starts_with("10.88.")
        }
    }

    fn query(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message.to_vec().unwrap()
    }

    fn ask(name: &str, kind: RecordType, may_forward: bool) -> String {
        match answer(&query(name, kind), &Few, || may_forward, false) {
            Answer::Forward => "forward".into(),
            Answer::Drop => "drop".into(),
            Answer::Reply(bytes) => {
                let message = Message::from_vec(&bytes).unwrap();
                assert_eq!(message.metadata.id, 7);
                let data: Vec<String> =
                    message.answers.iter().map(|record| record.data.to_string()).collect();
                format!("{:?} {}", message.metadata.response_code, data.join(" ")).trim().into()
            }
        }
    }

    #[test]
    fn ours_theirs_and_nobodys() {
        use RecordType as T;
        for (name, kind, want) in [
            ("web.", T::A, "NoError 10.88.0.2"),
            ("WeB.", T::A, "NoError 10.88.0.2"),
            ("web.dns.podman.", T::AAAA, "NoError fd00::2"),
            ("web.dns.ketch.", T::A, "NoError 10.88.0.2"),
            ("web.", T::MX, "NoError"),
            ("web.", T::ANY, "NoError 10.88.0.2 fd00::2"),
            ("nobody.", T::A, "NXDomain"),
            ("nobody.dns.podman.", T::A, "NXDomain"),
            ("dns.podman.", T::A, "NXDomain"),
            ("com.", T::NS, "forward"),
            ("com.", T::A, "NXDomain"),
            (".", T::NS, "forward"),
            ("example.com.", T::A, "forward"),
            ("web.example.com.", T::A, "forward"),
            ("notdns.podman.", T::A, "forward"),
            ("2.0.88.10.in-addr.arpa.", T::PTR, "NoError web. www."),
            ("3.0.88.10.in-addr.arpa.", T::PTR, "NXDomain"),
            ("1.2.0.192.in-addr.arpa.", T::PTR, "forward"),
            ("88.10.in-addr.arpa.", T::PTR, "forward"),
        ] {
            assert_eq!(ask(name, kind, true), want, "{name} {kind}");
        }
        assert_eq!(ask("example.com.", T::A, false), "NXDomain", "an internal network asks nobody");
    }

    #[test]
    fn long_answers_are_truncated_over_udp_only() {
        let bytes = query("many.", RecordType::A);
        let Answer::Reply(short) = answer(&bytes, &Few, || true, false) else { panic!("no reply") };
        assert!(short.len() <= 512 && Message::from_vec(&short).unwrap().metadata.truncation);
        let Answer::Reply(long) = answer(&bytes, &Few, || true, true) else { panic!("no reply") };
        assert_eq!(Message::from_vec(&long).unwrap().answers.len(), 100);
    }

    #[test]
    fn rubbish_and_answers_are_not_answered_with_more() {
        let good = query("web.", RecordType::A);
        for length in 0..good.len() {
            // Never a panic; a header alone is answered with an error.
            match answer(&good[..length], &Few, || true, false) {
                Answer::Drop => assert!(length < 12, "{length}"),
                Answer::Reply(bytes) => assert_eq!(bytes[3] & 15, 1, "{length}"),
                Answer::Forward => panic!("{length} bytes forwarded"),
            }
        }
        let Answer::Reply(response) = answer(&good, &Few, || true, false) else { panic!("no reply") };
        assert!(matches!(answer(&response, &Few, || true, false), Answer::Drop), "no loops");
        assert!(answers(&response, &good));
        assert!(!answers(&response, &query("other.", RecordType::A)));
        let mut other = response.clone();
        other[1] ^= 1;
        assert!(!answers(&other, &good), "another number");
        assert!(!answers(&good, &good), "a question");
        for length in 0..response.len() {
            // Never a panic.
            answers(&response[..length], &good);
            answers(&response, &good[..length.min(good.len())]);
        }
        assert!(is_failure(&server_failure(&good).unwrap()));
    }

    #[test]
    fn odd_records_make_no_name_unknown() {
        let asked = query("Example.COM.", RecordType::A);
        let answer = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = query("example.com.", RecordType::A);
            bytes[2] |= IS_RESPONSE;
            change(&mut bytes);
            answers(&bytes, &asked)
        };
        // A record of 65,535 bytes that are not there, and half a header.
        assert!(answer(&|bytes| {
            bytes[7] = 2;
            bytes.extend([0xc0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0xff, 0xff, 1, 2, 3]);
        }));
        assert!(answer(&|bytes| {
            bytes.truncate(HEADER_BYTES);
            bytes[5] = 0;
        }));
        for what in [RecordType::AAAA, RecordType::MX] {
            let mut other = query("example.com.", what);
            other[2] |= IS_RESPONSE;
            assert!(!answers(&other, &asked), "{what}");
        }
        assert!(!answer(&|bytes| bytes[13] = b'f'), "another name");
        assert!(!answer(&|bytes| bytes[12] = 0xc0), "a name that leads elsewhere");
    }
}
