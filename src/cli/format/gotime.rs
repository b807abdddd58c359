//! The methods of Go's `time.Time` that templates use, and its layouts.

use jiff::Zoned;
use jiff::tz::TimeZone;

use super::value::Val;

/// Calls a method of a time; `None` if there is none of this name.
pub(crate) fn method<'v>(
    time: jiff::Timestamp,
    name: &str,
    args: &[Val<'v>],
) -> Option<Result<Val<'v>, String>> {
    let zoned = time.to_zoned(TimeZone::system());
    let number = |value: i64| Some(Ok(Val::Int(value)));
    match (name, args) {
        ("Unix", []) => number(time.as_second()),
        ("UnixMilli", []) => number(time.as_millisecond()),
        ("UnixMicro", []) => number(time.as_microsecond()),
        ("UnixNano", []) => number(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)),
        ("Year", []) => number(zoned.year().into()),
        ("Month", []) => Some(Ok(Val::Text(zoned.strftime("%B").to_string()))),
        ("Weekday", []) => Some(Ok(Val::Text(zoned.strftime("%A").to_string()))),
        ("Day", []) => number(zoned.day().into()),
        ("YearDay", []) => number(zoned.day_of_year().into()),
        ("Hour", []) => number(zoned.hour().into()),
        ("Minute", []) => number(zoned.minute().into()),
        ("Second", []) => number(zoned.second().into()),
        ("Nanosecond", []) => number(zoned.subsec_nanosecond().into()),
        ("IsZero", []) => Some(Ok(Val::Bool(time == crate::base::time::go_zero()))),
        ("IsDST", []) => {
            Some(Ok(Val::Bool(zoned.time_zone().to_offset_info(zoned.timestamp()).dst().is_dst())))
        }
        ("Location", []) => Some(Ok(Val::Text("Local".to_owned()))),
        ("GoString", []) => {
            let clock = format!("{}, {}, {}", zoned.hour(), zoned.minute(), zoned.second());
            let day = format!("{}, time.{}, {}", zoned.year(), zoned.strftime("%B"), zoned.day());
            let text = format!("time.Date({day}, {clock}, {}, time.Local)", zoned.subsec_nanosecond());
            Some(Ok(Val::Text(text)))
        }
        ("UTC" | "Local", []) => Some(Ok(Val::Time(time))),
        ("String", []) => Some(Ok(Val::Text(super::print::text(&Val::Time(time), false)))),
        ("Format", [layout]) => Some(match layout.as_text() {
            Some(layout) => Ok(Val::Text(format(&zoned, &layout))),
            None => Err("wrong type for value; expected string".to_owned()),
        }),
        _ => None,
    }
}

/// Go's reference time, piece by piece; a longer piece before its own beginning.
const PIECES: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("2006", "%Y"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("Z07:00", "Z"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("_2", "%e"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
];

/// Prints a time by a layout like `2006-01-02 15:04:05`.
fn format(time: &Zoned, layout: &str) -> String {
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some((digits, keeps_zeros)) = fraction(rest) {
            let nanos = format!("{:09}", time.subsec_nanosecond());
            let shown = &nanos[..digits.min(9)];
            let shown = if keeps_zeros { shown } else { shown.trim_end_matches('0') };
            if !shown.is_empty() {
                out.push(c);
                out.push_str(shown);
            }
            rest = &rest[1 + digits..];
        } else if let Some((piece, directive)) = PIECES.iter().find(|(piece, _)| rest.starts_with(piece)) {
            match *directive {
                "Z" if time.offset().is_zero() => out.push('Z'),
                "Z" => out.push_str(&time.strftime("%:z").to_string()),
                _ => out.push_str(&time.strftime(directive).to_string()),
            }
            rest = &rest[piece.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// `.000` or `.999`: how many digits, and whether zeros at the end are shown.
fn fraction(layout: &str) -> Option<(usize, bool)> {
    let digits = layout.strip_prefix(['.', ','])?;
    let first = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let count = digits.chars().take_while(|c| *c == first).count();
    let ends = !digits[count..].starts_with(|c: char| c.is_ascii_digit());
    ends.then_some((count, first == '0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_of_go() {
        let time: jiff::Timestamp = "2026-03-07T05:04:09.120Z".parse().unwrap();
        let time = time.to_zoned(TimeZone::UTC);
        for (layout, want) in [
            ("2006-01-02 15:04:05", "2026-03-07 05:04:09"),
            ("2006-01-02T15:04:05.999999999Z07:00", "2026-03-07T05:04:09.12Z"),
            ("Mon Jan _2 15:04:05 2006", "Sat Mar  7 05:04:09 2026"),
            ("Monday, 02-Jan-06 03:04PM MST -0700", "Saturday, 07-Mar-26 05:04AM UTC +0000"),
            ("05.000", "09.120"),
            ("x", "x"),
        ] {
            assert_eq!(format(&time, layout), want, "{layout}");
        }
    }
}
