//! Prints values as Go's fmt package does: `[a b]`, `map[k:v]`, `{a b}`, and `printf`.

use jiff::tz::TimeZone;

use super::value::{Val, is_list, is_map, sorted};
use crate::base::escape::Escaped;
use crate::base::time::{go_duration, go_string};

/// Writes `value` as `%v`; with `escape`, text of the document is made safe for a terminal.
pub(crate) fn value(out: &mut String, value: &Val<'_>, escape: bool) {
    match value {
        Val::Missing => out.push_str("<no value>"),
        Val::Null(key) if is_list(key) => out.push_str("[]"),
        Val::Null(key) if is_map(key) => out.push_str("map[]"),
        Val::Null(_) => out.push_str("<nil>"),
        Val::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Val::Int(value) => out.push_str(&value.to_string()),
        Val::Duration(ns) => out.push_str(&go_duration(*ns)),
        Val::Float(value) => out.push_str(&float(*value, 'g', None)),
        Val::Foreign(text) if escape => out.push_str(&Escaped(text).to_string()),
        Val::Foreign(text) => out.push_str(text),
        Val::Text(text) => out.push_str(text),
        Val::Time(time) => out.push_str(&go_string(*time, &TimeZone::system())),
        Val::List(..) | Val::Made(_) => {
            let items = value.as_list().unwrap_or_default();
            group(out, "[", items.iter(), "]", |out, item| self::value(out, item, escape));
        }
        Val::Map(map) => group(out, "map[", sorted(map).iter(), "]", |out, (key, item)| {
            self::value(out, &Val::Foreign(key), escape);
            out.push(':');
            self::value(out, item, escape);
        }),
        Val::Struct(object, own) => group(out, "{", object.iter(), "}", |out, (key, item)| {
            self::value(out, &Val::member(own, key, item), escape);
        }),
    }
}

/// The text of a value as `%v`.
pub(crate) fn text(val: &Val<'_>, escape: bool) -> String {
    let mut out = String::new();
    value(&mut out, val, escape);
    out
}

fn group<T>(
    out: &mut String,
    open: &str,
    items: impl Iterator<Item = T>,
    close: &str,
    mut each: impl FnMut(&mut String, T),
) {
    out.push_str(open);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(' ');
        }
        each(out, item);
    }
    out.push_str(close);
}

/// `print` and `println`: blanks between all operands, or between two of which neither is a text.
pub(crate) fn sprint(args: &[Val<'_>], line: bool, escape: bool) -> String {
    let is_text = |val: &Val<'_>| matches!(val, Val::Text(_) | Val::Foreign(_));
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        if at > 0 && (line || !is_text(arg) && !is_text(&args[at - 1])) {
            out.push(' ');
        }
        value(&mut out, arg, escape);
    }
    if line {
        out.push('\n');
    }
    out
}

/// One `%…` of a format.
#[derive(Default)]
struct Directive {
    minus: bool,
    plus: bool,
    zero: bool,
    sharp: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `printf`. Mistakes appear in the output, as Go puts them: `%!d(string=x)`.
pub(crate) fn sprintf(format: &str, args: &[Val<'_>], escape: bool) -> String {
    let mut out = String::new();
    let mut rest = format;
    let mut operands = Operands { args, next: 0, reordered: false, bad_index: false };
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (directive, after) = directive(&rest[at + 1..], &mut operands, &mut out);
        let Some(verb) = after.chars().next() else {
            out.push_str("%!(NOVERB)");
            return out;
        };
        rest = &after[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match operands.take() {
            _ if operands.bad_index => out.push_str(&format!("%!{verb}(BADINDEX)")),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(arg) => printed(&mut out, &directive, verb, arg, escape),
        }
    }
    out.push_str(rest);
    if let (false, Some(extra @ [_, ..])) = (operands.reordered, args.get(operands.next..)) {
        let extra: Vec<_> =
            extra.iter().map(|arg| format!("{}={}", arg.type_name("struct"), text(arg, escape))).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// What is to be printed: one after the other, unless a directive chooses by `[n]`.
struct Operands<'a, 'v> {
    args: &'a [Val<'v>],
    next: usize,
    reordered: bool,
    /// The last `[n]` names none.
    bad_index: bool,
}

impl<'a, 'v> Operands<'a, 'v> {
    fn take(&mut self) -> Option<&'a Val<'v>> {
        let arg = self.args.get(self.next);
        self.next += 1;
        arg
    }

    /// Takes `[n]`, if it is there.
    fn choose<'t>(&mut self, text: &'t str) -> &'t str {
        let Some((index, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
            return text;
        };
        self.reordered = true;
        match index.parse::<usize>().ok().filter(|n| (1..=self.args.len()).contains(n)) {
            Some(n) => self.next = n - 1,
            None => self.bad_index = true,
        }
        rest
    }

    /// Takes the number that a `*` stands for.
    fn number(&mut self) -> Option<i64> {
        match self.take() {
            Some(Val::Int(number)) => Some(*number).filter(|number| number.unsigned_abs() <= 1_000_000),
            _ => None,
        }
    }
}

/// Reads flags, width, precision and which operand; what is wrong with them goes to `out`.
fn directive<'t>(text: &'t str, operands: &mut Operands<'_, '_>, out: &mut String) -> (Directive, &'t str) {
    operands.bad_index = false;
    let mut directive = Directive::default();
    let mut rest = text;
    loop {
        match rest.as_bytes().first() {
            Some(b'-') => directive.minus = true,
            Some(b'+') => directive.plus = true,
            Some(b'0') => directive.zero = true,
            Some(b'#') => directive.sharp = true,
            Some(b' ') => directive.space = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    // A width beyond reason is cut, so that a template cannot fill the memory.
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (text[..end].parse::<usize>().ok().map(|number| number.min(10_000)), end)
    };
    let within = |number: i64| usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX).min(10_000);
    rest = operands.choose(rest);
    if let Some(after) = rest.strip_prefix('*') {
        match operands.number() {
            Some(width) => {
                directive.minus |= width < 0;
                directive.width = Some(within(width));
            }
            None => out.push_str("%!(BADWIDTH)"),
        }
        rest = after;
    } else {
        let (width, end) = number(rest);
        directive.width = width;
        rest = &rest[end..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        let after = operands.choose(after);
        if let Some(after) = after.strip_prefix('*') {
            // One below zero is none at all.
            match operands.number() {
                Some(precision) => directive.precision = (precision >= 0).then(|| within(precision)),
                None => out.push_str("%!(BADPREC)"),
            }
            rest = after;
        } else {
            let (precision, end) = number(after);
            directive.precision = Some(precision.unwrap_or(0));
            rest = &after[end..];
        }
    }
    (directive, operands.choose(rest))
}

/// Prints one argument; what is asked of a list is asked of each in it.
fn printed(out: &mut String, directive: &Directive, verb: char, arg: &Val<'_>, escape: bool) {
    match arg.as_list() {
        Some(items) if verb != 'T' => group(out, "[", items.iter(), "]", |out, item| {
            printed(out, directive, verb, item, escape);
        }),
        _ => out.push_str(&pad(verbatim(directive, verb, arg, escape), directive)),
    }
}

/// The argument in the form that `verb` asks for, not yet padded.
fn verbatim(directive: &Directive, verb: char, arg: &Val<'_>, escape: bool) -> String {
    let as_text = || {
        let text = text(arg, escape);
        match directive.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text,
        }
    };
    let signed = |digits: String, negative: bool| match (negative, directive.plus, directive.space) {
        (true, ..) => format!("-{digits}"),
        (_, true, _) => format!("+{digits}"),
        (_, _, true) => format!(" {digits}"),
        _ => digits,
    };
    match (verb, arg) {
        ('v', Val::Float(value)) => float(*value, 'g', directive.precision),
        ('v', _) => as_text(),
        ('T', _) => arg.type_name("struct"),
        ('t', Val::Bool(_)) => as_text(),
        ('q', Val::Foreign(_) | Val::Text(_)) => quote(&as_text()),
        ('q', Val::Int(value)) => quote_char(character(*value)),
        ('U', Val::Int(value)) => format!("U+{value:04X}"),
        ('s', Val::Int(_) | Val::Float(_) | Val::Bool(_)) => bad(verb, arg, escape),
        ('s', _) => as_text(),
        ('x', Val::Foreign(_) | Val::Text(_)) => {
            as_text().bytes().map(|byte| format!("{byte:02x}")).collect()
        }
        ('d', Val::Int(value) | Val::Duration(value)) => signed(value.unsigned_abs().to_string(), *value < 0),
        ('x', Val::Int(value)) => signed(
            format!("{}{:x}", if directive.sharp { "0x" } else { "" }, value.unsigned_abs()),
            *value < 0,
        ),
        ('X', Val::Int(value)) => signed(format!("{:X}", value.unsigned_abs()), *value < 0),
        ('o', Val::Int(value)) => signed(format!("{:o}", value.unsigned_abs()), *value < 0),
        ('b', Val::Int(value)) => signed(format!("{:b}", value.unsigned_abs()), *value < 0),
        ('c', Val::Int(value)) => character(*value).to_string(),
        ('f' | 'F' | 'g' | 'e', Val::Float(value)) => {
            signed(float(value.abs(), verb, directive.precision), value.is_sign_negative())
        }
        _ => bad(verb, arg, escape),
    }
}

fn bad(verb: char, arg: &Val<'_>, escape: bool) -> String {
    match arg {
        Val::Null(_) | Val::Missing => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", arg.type_name("struct"), text(arg, escape)),
    }
}

fn pad(text: String, directive: &Directive) -> String {
    let missing = directive.width.unwrap_or(0).saturating_sub(text.chars().count());
    match (directive.minus, directive.zero) {
        (true, _) => text + &" ".repeat(missing),
        (_, true) => match text.strip_prefix(['-', '+']) {
            Some(digits) => format!("{}{}{digits}", &text[..1], "0".repeat(missing)),
            None => "0".repeat(missing) + &text,
        },
        _ => " ".repeat(missing) + &text,
    }
}

/// A floating-point number as Go's verbs print it.
fn float(value: f64, verb: char, precision: Option<usize>) -> String {
    match verb {
        'f' | 'F' => format!("{value:.*}", precision.unwrap_or(6)),
        'e' => go_exponent(&format!("{value:.*e}", precision.unwrap_or(6))),
        _ if value != 0.0 && !(1e-4..1e21).contains(&value.abs()) => go_exponent(&format!("{value:e}")),
        _ => match precision {
            None => format!("{value}"),
            Some(digits) => {
                #[allow(clippy::cast_possible_truncation)] // within 1e-4 … 1e21
                let before = if value == 0.0 { 1 } else { value.abs().log10().floor() as i32 + 1 };
                let after = i32::try_from(digits.max(1)).unwrap_or(i32::MAX).saturating_sub(before);
                let text = format!("{value:.*}", usize::try_from(after).unwrap_or(0));
                match text.contains('.') {
                    true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    false => text,
                }
            }
        },
    }
}

/// `1e9` → `1e+09`.
fn go_exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// The character of this number; that for none if it has none.
fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}')
}

/// A character in single quotes, as `%q` of a number.
fn quote_char(c: char) -> String {
    match c {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => {
            let quoted = quote(&c.to_string());
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// A text in double quotes, as `%q`.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printf_as_go_does() {
        let (text, number, ratio) = (Val::Text("one".into()), Val::Int(-7), Val::Float(1.5));
        for (format, args, want) in [
            ("%s", vec![&text], "one"),
            ("%-6s|", vec![&text], "one   |"),
            ("%6s|", vec![&text], "   one|"),
            ("%.2s|", vec![&text], "on|"),
            ("%q", vec![&text], "\"one\""),
            ("%x", vec![&text], "6f6e65"),
            ("%d %+d %04d", vec![&number, &number, &number], "-7 -7 -007"),
            ("%d", vec![&text], "%!d(string=one)"),
            ("%s", vec![&number], "%!s(int=-7)"),
            ("%v %v", vec![&text], "one %!v(MISSING)"),
            ("%v", vec![&text, &number], "one%!(EXTRA int=-7)"),
            ("100%%", vec![], "100%"),
            ("%", vec![], "%!(NOVERB)"),
            ("%f %.1f %g %e", vec![&ratio, &ratio, &ratio, &ratio], "1.500000 1.5 1.5 1.500000e+00"),
            ("%5.2f|%T", vec![&ratio, &ratio], " 1.50|float64"),
        ] {
            let args: Vec<_> = args.into_iter().cloned().collect();
            assert_eq!(sprintf(format, &args, false), want, "{format}");
        }
        let list = Val::Made(vec![Val::Text("a".into()), Val::Text("b c".into())]);
        let (two, five, letter) = (Val::Int(2), Val::Int(5), Val::Int(39));
        for (format, args, want) in [
            ("%q", vec![&list], "[\"a\" \"b c\"]"),
            ("%s|%v", vec![&list, &list], "[a b c]|[a b c]"),
            ("%4s|", vec![&list], "[   a  b c]|"),
            ("%d", vec![&list], "[%!d(string=a) %!d(string=b c)]"),
            ("%q %U", vec![&letter, &letter], "'\\'' U+0027"),
            ("%[2]s %[1]s", vec![&text, &list], "[a b c] one"),
            ("%[1]s %[1]q", vec![&text, &five], "one \"one\""),
            ("%[3]s", vec![&text], "%!s(BADINDEX)"),
            ("%*d|%-*d|", vec![&five, &five, &five, &five], "    5|5    |"),
            ("%[2]*[1]s|", vec![&text, &five], "  one|"),
            ("%.*s", vec![&two, &text], "on"),
            ("%*s", vec![&text, &text], "%!(BADWIDTH)one"),
        ] {
            let args: Vec<_> = args.into_iter().cloned().collect();
            assert_eq!(sprintf(format, &args, false), want, "{format}");
        }
        assert_eq!(float(1e21, 'g', None), "1e+21");
        assert_eq!(float(123_456.0, 'g', Some(4)), "123456");
        assert_eq!(
            sprint(&[Val::Int(1), Val::Int(2), Val::Text("a".into()), Val::Int(3)], false, false),
            "1 2a3"
        );
        assert_eq!(sprint(&[Val::Int(1), Val::Text("a".into())], true, false), "1 a\n");
    }
}
