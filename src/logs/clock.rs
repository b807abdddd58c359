//! The current local time as text, cheaply: a chunk of output is stamped with it.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

/// Length of `2026-11-21T00:26:45.014480638+01:00`.
pub(crate) const STAMP_BYTES: usize = 35;

/// Turns times into RFC 3339 with nine digits of the second and the local offset.
///
/// It keeps the offset and when that ends, not the time zone: zone tables are large, and a monitor
/// is to be small.
#[derive(Debug)]
pub(crate) struct LocalClock {
    offset: Offset,
    /// First second, of the Unix epoch, in which `offset` may be wrong.
    offset_ends: i64,
    /// The second that `text` shows.
    second: Option<i64>,
    text: [u8; STAMP_BYTES],
}

impl LocalClock {
    /// A clock that looks at the time zone when it is first used.
    pub(crate) fn new() -> Self {
        Self { offset: Offset::UTC, offset_ends: i64::MIN, second: None, text: [b'0'; STAMP_BYTES] }
    }

    /// The text for `now`.
    pub(crate) fn stamp(&mut self, now: Timestamp) -> &[u8; STAMP_BYTES] {
        let second = now.as_second();
        if second >= self.offset_ends {
            self.look_up_offset(now);
        }
        if self.second != Some(second) {
            self.write_second(now);
            self.second = Some(second);
        }
        write_decimal(&mut self.text[20..29], now.subsec_nanosecond().unsigned_abs());
        &self.text
    }

    fn look_up_offset(&mut self, now: Timestamp) {
        let zone = TimeZone::system();
        self.offset = zone.to_offset(now);
        self.offset_ends =
            zone.following(now).next().map_or(i64::MAX, |transition| transition.timestamp().as_second());
        self.second = None;
    }

    fn write_second(&mut self, now: Timestamp) {
        let local = self.offset.to_datetime(now);
        let text = &mut self.text;
        let part = |value: i8| u32::from(value.unsigned_abs());
        write_decimal(&mut text[0..4], u32::from(local.year().unsigned_abs()));
        write_decimal(&mut text[5..7], part(local.month()));
        write_decimal(&mut text[8..10], part(local.day()));
        write_decimal(&mut text[11..13], part(local.hour()));
        write_decimal(&mut text[14..16], part(local.minute()));
        write_decimal(&mut text[17..19], part(local.second()));
        for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (32, b':')] {
            text[at] = mark;
        }
        let minutes = self.offset.seconds() / 60;
        text[29] = if minutes < 0 { b'-' } else { b'+' };
        write_decimal(&mut text[30..32], minutes.unsigned_abs() / 60);
        write_decimal(&mut text[33..35], minutes.unsigned_abs() % 60);
    }
}

/// Fills `digits` with the decimal digits of `value`, leading zeros included.
fn write_decimal(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).expect("below ten");
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let mut clock = LocalClock::new();
        clock.offset_ends = i64::MAX;
        for (offset, time, want) in [
            (0, "2026-11-21T00:26:45.014480638Z", "2026-11-21T00:26:45.014480638+00:00"),
            (3600, "2026-11-21T00:26:45.000000001Z", "2026-11-21T01:26:45.000000001+01:00"),
            (-12_600, "2026-01-01T02:00:00Z", "2025-12-31T22:30:00.000000000-03:30"),
        ] {
            clock.offset = Offset::from_seconds(offset).unwrap();
            clock.second = None;
            let stamp = clock.stamp(time.parse().unwrap());
            assert_eq!(std::str::from_utf8(stamp).unwrap(), want);
        }
    }

    #[test]
    fn a_stamp_is_the_time_it_was_made_of() {
        let mut clock = LocalClock::new();
        let now = Timestamp::now();
        for time in [now, now + std::time::Duration::from_nanos(1_500_000_000)] {
            let text = std::str::from_utf8(clock.stamp(time)).unwrap().to_owned();
            assert_eq!(text.parse::<Timestamp>().unwrap(), time, "{text}");
        }
    }
}
