//! Bytes and numbers as people read them.

use std::fmt::Display;
use std::time::Duration;

use killick_client::internal::is_deceptive;

/// Bytes that need not be UTF-8, with nothing in them that a terminal would act on, or that is not shown as itself.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match is_deceptive(c) {
                true => shown.extend(c.escape_default()),
                false => shown.push(c),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    shown
}

/// Like [`shown`], cut in the middle of what is too long for an error message.
pub(crate) fn shortened(bytes: &[u8]) -> String {
    const KEPT: usize = 60;
    match bytes.len() > 2 * KEPT + 10 {
        false => shown(bytes),
        true => {
            let tail = &bytes[bytes.len() - KEPT..];
            format!("{}…{} ({} bytes)", shown(&bytes[..KEPT]), shown(tail), bytes.len())
        }
    }
}

/// A message on one line: line ends become spaces, control characters are escaped.
pub(crate) fn one_line(message: &str) -> String {
    let joined = message.split(['\n', '\r']).map(str::trim).filter(|s| !s.is_empty());
    shown(joined.collect::<Vec<_>>().join(" ").as_bytes())
}

/// What the parsers of numbers, addresses and files say in Rust's own words, and in those of people.
const PLAIN: [(&str, &str); 14] = [
    ("invalid digit found in string", "a whole number is expected"),
    ("cannot parse integer from empty string", "a whole number is expected"),
    ("number too large to fit in target type", "the number is too large"),
    ("number would be zero for non-zero type", "it has to be more than 0"),
    ("invalid socket address syntax", "an address is expected, as in 127.0.0.1:9102"),
    ("expected a nonzero usize", "expected a whole number above 0"),
    ("expected usize", "expected a whole number of 0 or more"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected path string", "expected a path in quotes"),
    ("expected socket address", "expected an address in quotes, as in \"127.0.0.1:9102\""),
    ("wanted string or table", "expected a word in quotes"),
    ("unknown variant", "unknown word"),
    ("floating point", "fraction"),
    (" as i128", ""),
];

/// An error without the words that only programmers know.
pub(crate) fn plain(message: &str) -> String {
    PLAIN.iter().fold(message.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What an error says, without the numbers that Rust adds to the operating system's words.
pub(crate) fn system(error: impl Display) -> String {
    let text = error.to_string();
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// How many characters have to be put in, taken out or replaced for `one` to become `other`.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (above, a) in (0..).zip(one.chars()) {
        let mut diagonal: usize = std::mem::replace(&mut row[0], above + 1);
        for (left, b) in (0..).zip(other.chars()) {
            let here = (diagonal + usize::from(a != b)).min(row[left] + 1).min(row[left + 1] + 1);
            diagonal = std::mem::replace(&mut row[left + 1], here);
        }
    }
    row[row.len() - 1]
}

/// How far a name may be from another to be taken for a misspelt one: others have theirs.
const NEAR: usize = 2;

/// The one of these names that `name` is most likely to be, if it is near to one.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let apart = names.map(|other| (distance(name, other), other));
    apart.min().filter(|(apart, _)| *apart <= NEAR).map(|(_, nearest)| nearest)
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 node`, `2,000 nodes`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// `12.3 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{number} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// The two largest units of a duration: `3 d 4 h`, `2 min 5 s`, `1.25 s`, `740 µs`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration < Duration::from_millis(1) => format!("{} µs", duration.as_micros()),
        0 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        1..60 => format!("{:.2} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration in milliseconds, to the microsecond.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// A table: the heading, then a line for each row. Columns are as wide as they have to be; one whose
/// name begins with a space is of numbers, and has them at its right.
pub(crate) fn columns<R: AsRef<[String]>>(names: &[&str], rows: &[R]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
        let cells = cells.map(|cell| cell.chars().count());
        cells.chain([names[column].trim().chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..names.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, name), &width) in cells.zip(names).zip(&widths) {
            match name.starts_with(' ') {
                true => line.push_str(&format!("{cell:>width$}  ")),
                false => line.push_str(&format!("{cell:width$}  ")),
            }
        }
        line.trim_end().to_owned()
    };
    let heading = line(&mut names.iter().map(|name| name.trim()));
    let rows = rows.iter().map(|row| line(&mut row.as_ref().iter().map(String::as_str)));
    [heading].into_iter().chain(rows).collect()
}

/// `[0, 255]` as `00ff`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_escapes_what_a_terminal_would_act_on() {
        assert_eq!(shown("é\u{1b}[0m".as_bytes()), "é\\u{1b}[0m");
        assert_eq!(shown(b"a\xff\n"), "a\\xff\\n");
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn shortened_keeps_both_ends_and_tells_the_length() {
        let long = [b"a".repeat(500), b"z".repeat(500)].concat();
        let short = shortened(&long);
        assert!(short.starts_with("aaa") && short.ends_with("zzz (1000 bytes)"), "{short}");
        assert_eq!(shortened(b"a/b"), "a/b");
    }

    #[test]
    fn the_systems_words_are_told_without_their_numbers() {
        let refused = std::io::Error::from_raw_os_error(111);
        assert_eq!(system(&refused), "Connection refused");
        assert_eq!(
            system(format!("a: {refused}, b ({refused})")),
            "a: Connection refused, b (Connection refused)"
        );
        assert_eq!(system("no number"), "no number");
    }

    #[test]
    fn words_are_as_far_apart_as_their_characters_differ() {
        for (one, other, apart) in
            [("", "", 0), ("", "ab", 2), ("node", "nodes", 1), ("lgo", "log", 2), ("max", "mix", 1)]
        {
            assert_eq!(
                (distance(one, other), distance(other, one)),
                (apart, apart),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(counted(1, "node"), "1 node");
        assert_eq!(counted(0, "node"), "0 nodes");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_at_the_right() {
        let row = |name: &str, count: &str| [name.to_owned(), count.to_owned()];
        let lines = columns(&["name", " count"], &[row("ä", "1"), row("longer", "1,000,000")]);
        assert_eq!(lines, ["name        count", "ä               1", "longer  1,000,000"]);
        assert_eq!(columns::<[String; 2]>(&["name", " count"], &[]), ["name  count"]);
    }

    #[test]
    fn milliseconds_are_told_to_the_microsecond() {
        assert_eq!(millis(Duration::from_nanos(8_256_632)).to_string(), "8.256");
        assert_eq!(millis(Duration::from_nanos(999)), 0.0);
    }

    #[test]
    fn sizes_and_durations_take_a_fitting_unit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 * 1024 * 1024 / 2), "1.5 MiB");
        assert_eq!(duration(Duration::from_micros(740)), "740 µs");
        assert_eq!(duration(Duration::from_millis(1250)), "1.25 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_secs(100_000)), "1 d 3 h");
    }
}
