//! Points in time and durations as Go programs write them, and as people read them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Why a text is not a time or a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TimeError {
    /// Not in any of the forms that are read.
    #[error(
        "invalid time {0:?}: expected a date like 2026-01-02T15:04:05Z, Unix seconds or a duration like 10m"
    )]
    Time(String),
    /// Not a duration.
    #[error("invalid duration {0:?}: expected numbers with units, like 1h30m")]
    Duration(String),
}

/// Go's zero time, year 1, which stands for "never" in Docker's JSON.
pub(crate) fn go_zero() -> Timestamp {
    Timestamp::from_second(-62_135_596_800).unwrap_or(Timestamp::MIN)
}

/// A time as Go's `time.Time` prints itself: `2026-11-21 05:42:00.832540052 +0000 UTC`.
pub(crate) fn go_string(time: Timestamp, zone: &TimeZone) -> String {
    let zoned = time.to_zoned(zone.clone());
    zoned.strftime("%Y-%m-%d %H:%M:%S%.f %z %Z").to_string()
}

/// A duration in the words of `docker ps`: `Less than a second`, `5 minutes`, `About an hour`.
pub(crate) fn human(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago `time` was: `5 minutes ago`.
pub(crate) fn human_ago(time: Timestamp, now: Timestamp) -> String {
    format!("{} ago", human(now.duration_since(time)))
}

/// Reads what `--since` and `--until` take: a date with or without time and zone, Unix seconds with
/// or without a fraction, or a duration before `now`.
pub(crate) fn parse_when(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, TimeError> {
    let bad = || TimeError::Time(text.to_owned());
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    // Without a zone: the local one. jiff takes `2026-01-02`, `…T15:04`, `…T15:04:05.678`.
    if text.contains('-')
        && let Ok(civil) = text.parse::<DateTime>()
    {
        return civil.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|_| bad());
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && !text.is_empty() {
        return parse_unix(text).ok_or_else(bad);
    }
    let before = parse_duration(text).map_err(|_| bad())?;
    now.checked_sub(before).map_err(|_| bad())
}

/// As [`parse_when`], but a duration is a time to come: `10s` is in ten seconds.
///
/// # Errors
///
/// As [`parse_when`].
pub(crate) fn parse_when_ahead(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, TimeError> {
    let ahead = parse_duration(text).ok().filter(|ahead| ahead.is_positive());
    match ahead.and_then(|ahead| now.checked_add(ahead).ok()) {
        Some(time) => Ok(time),
        None => parse_when(text, now, zone),
    }
}

/// `1795239720.25` → the time.
fn parse_unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = &format!("{:0<9}", fraction.get(..fraction.len().min(9))?);
    Timestamp::new(seconds.parse().ok()?, digits.parse().ok()?).ok()
}

/// Units of durations in nanoseconds, Go's and then days and weeks; longer names before their own beginnings.
const UNITS: [(&str, i128); 10] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// How many of them Go has.
const GO_UNITS: usize = 8;

/// A span of time as Go prints it: `1m2.5s`, `56.7ms`, `-1h0m0s`.
pub(crate) fn go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let part = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let part = part.trim_end_matches('0');
        let dot = if part.is_empty() { "" } else { "." };
        format!("{}{dot}{part}", value / unit)
    };
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{ns}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(ns, 1_000_000)),
        _ => {
            let seconds = fraction(ns % 60_000_000_000, 1_000_000_000);
            let minutes = ns / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// Reads a Go duration: `10m`, `1h30m`, `1.5s`, `-2h`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<SignedDuration, TimeError> {
    parse_units(text, &UNITS[..GO_UNITS])
}

/// The same with days and weeks, as Compose files have them: `2d`, `1w`.
pub(crate) fn parse_long_duration(text: &str) -> Result<SignedDuration, TimeError> {
    parse_units(text, &UNITS)
}

fn parse_units(text: &str, units: &[(&str, i128)]) -> Result<SignedDuration, TimeError> {
    let bad = || TimeError::Duration(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, after) = rest.split_at(end);
        let (name, unit) = units.iter().find(|(name, _)| after.starts_with(name)).ok_or_else(bad)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || number.len() > 30 {
            return Err(bad());
        }
        let digits =
            |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<i128>().map_err(|_| bad()) };
        let fraction = &fraction[..fraction.len().min(15)];
        let scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
        let part = digits(whole)?.checked_mul(*unit).ok_or_else(bad)? + digits(fraction)? * unit / scale;
        total = total.checked_add(part).ok_or_else(bad)?;
        rest = &after[name.len()..];
    }
    let total = i64::try_from(if negative { -total } else { total }).map_err(|_| bad())?;
    Ok(SignedDuration::from_nanos(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_prints_them() {
        for (ns, want) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (56_700_000, "56.7ms"),
            (2_000_000_000, "2s"),
            (62_500_000_000, "1m2.5s"),
            (-3_600_000_000_000, "-1h0m0s"),
        ] {
            assert_eq!(go_duration(ns), want, "{ns}");
        }
        assert_eq!(parse_long_duration("1w2d").unwrap().as_secs(), 9 * 86_400);
        assert!(parse_duration("1d").is_err());
    }

    #[test]
    fn durations_in_words() {
        for (seconds, want) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86400, "13 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (729 * 86400, "24 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(human(SignedDuration::from_secs(seconds)), want, "{seconds}");
        }
    }

    #[test]
    fn go_durations_both_ways() {
        for (text, canonical) in [
            ("0", "0s"),
            ("10m", "10m0s"),
            ("1h30m", "1h30m0s"),
            ("90m", "1h30m0s"),
            ("1.5s", "1.5s"),
            ("1500ms", "1.5s"),
            ("100ms", "100ms"),
            ("1.5µs", "1.5µs"),
            ("3ns", "3ns"),
            ("-2h", "-2h0m0s"),
            ("+1s", "1s"),
            (".5h", "30m0s"),
            ("24h", "24h0m0s"),
            ("1h0.001s", "1h0m0.001s"),
        ] {
            assert!(
                parse_duration(text).is_ok() && parse_duration(text) == parse_duration(canonical),
                "{text}"
            );
        }
        for bad in
            ["", "1", "h", "1x", "1h-2m", ".s", "1..2s", "-", "99999999999999999999999999h", "9999999999h"]
        {
            assert_eq!(parse_duration(bad), Err(TimeError::Duration(bad.into())), "{bad}");
        }
    }

    #[test]
    fn times_in_every_form() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (text, want) in [
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20T10:00:00.25+02:00", "2026-11-20T08:00:00.25Z"),
            ("2026-11-20T10:00:00", "2026-11-20T10:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("1795239720", "2026-11-21T05:42:00Z"),
            ("1795239720.5", "2026-11-21T05:42:00.5Z"),
            ("10m", "2026-11-21T11:50:00Z"),
            ("1h30m", "2026-11-21T10:30:00Z"),
            ("-1h", "2026-11-21T13:00:00Z"),
        ] {
            let got = parse_when(text, now, &TimeZone::UTC).map(|time| time.to_string());
            assert_eq!(got.as_deref(), Ok(want), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "1.2.3", "99999999999999999999"] {
            assert!(parse_when(bad, now, &TimeZone::UTC).is_err(), "{bad}");
        }
    }

    #[test]
    fn prints_like_go() {
        for (time, want) in [
            ("2026-11-21T05:42:00.832540052Z", "2026-11-21 05:42:00.832540052 +0000 UTC"),
            ("2026-11-21T05:42:00.5Z", "2026-11-21 05:42:00.5 +0000 UTC"),
            ("2026-11-21T05:42:00Z", "2026-11-21 05:42:00 +0000 UTC"),
        ] {
            assert_eq!(go_string(time.parse().unwrap(), &TimeZone::UTC), want);
        }
        assert_eq!(go_string(go_zero(), &TimeZone::UTC), "0001-01-01 00:00:00 +0000 UTC");
        assert_eq!(go_zero().to_string(), "0001-01-01T00:00:00Z");
    }
}
