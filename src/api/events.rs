//! `GET /events`.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fault::Fault;
use super::http::exchange::{Answer, Exchange, Stream};
use crate::base::time::parse_when;
use crate::documents::event;
use crate::engine::events::{self, Event, EventQuery};

/// Where messages go: the head of the answer is sent once nothing that happens is missed any more.
struct Outlet<'a, 'b> {
    exchange: Option<&'a mut Exchange<'b>>,
    stream: Option<Stream<'a>>,
}

impl<'a> Outlet<'a, '_> {
    fn open(&mut self) -> io::Result<Option<&mut Stream<'a>>> {
        if let Some(exchange) = self.exchange.take() {
            self.stream = Some(exchange.stream(200, "application/json", &[])?);
        }
        Ok(self.stream.as_mut())
    }
}

/// Tells what has happened since `since`, and what happens until `until`, or until the client goes.
///
/// # Errors
///
/// For a filter or a time that means nothing; where no events are kept.
pub(crate) fn events(exchange: &mut Exchange<'_>) -> Result<Answer, Fault> {
    let engine = exchange.engine()?;
    let (now, zone) = (Timestamp::now(), TimeZone::UTC);
    let time = |key: &str| {
        let text = exchange.query(key).filter(|text| !text.is_empty() && *text != "0");
        let time = text.map(|text| parse_when(text, now, &zone).map_err(|err| (text, err)));
        time.transpose().map_err(|(text, err)| Fault::new(400, format!("invalid {key} {text:?}: {err}")))
    };
    let filters = exchange.filters_of(events::FILTERS)?;
    let (since, until) = (time("since")?, time("until")?);
    let client = exchange.client().try_clone_to_owned()?;
    let query = EventQuery {
        since,
        until,
        filters,
        follow: until.is_none_or(|until| until > now),
        outlet: Some(client.as_fd()),
    };
    let outlet = RefCell::new(Outlet { exchange: Some(exchange), stream: None });
    let mut dockers = event::Dockers::default();
    let tell = |event: &Event| match outlet.borrow_mut().open()? {
        Some(stream) if dockers.tell(event) => stream.document(&event::message(&engine, event)),
        _ => Ok(()),
    };
    let outcome = engine.events(&query, tell, || outlet.borrow_mut().open().map(drop));
    match (outcome, outlet.into_inner().stream) {
        (Ok(()), Some(stream)) => stream.finish()?,
        // It has begun, and whoever reads it sees that it breaks off.
        (Err(_), Some(_)) => {}
        (Err(err), None) => return Err(err.into()),
        (Ok(()), None) => return Ok(Answer::Empty(200)),
    }
    Ok(Answer::Sent)
}
