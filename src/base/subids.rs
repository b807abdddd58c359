//! Ranges of subordinate IDs: the lines of /etc/subuid and /etc/subgid, and the room between ranges.

use std::ops::Range;

use crate::base::order::InOrder as _;

/// The lines of a subuid or subgid file: owner, start, length. What is none is left out.
///
/// # Source
///
/// subuid(5): `name-or-uid:start:count`.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], u32, u32)> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        let mut fields = line.split(|&b| b == b':');
        let owner = fields.next()?;
        let mut number = || std::str::from_utf8(fields.next()?).ok()?.trim().parse::<u32>().ok();
        let (start, len) = (number()?, number()?);
        (len > 0 && start.checked_add(len).is_some()).then_some((owner, start, len))
    })
}

/// The first of `size` IDs in `room` that none of the ranges `taken` (start, length) has.
pub(crate) fn free_range(taken: &[(u32, u32)], size: u32, room: Range<u32>) -> Option<u32> {
    let mut taken = taken.to_vec();
    taken.order();
    let mut first = room.start;
    for (start, len) in taken {
        if start >= first && start - first >= size {
            break;
        }
        first = first.max(start.saturating_add(len));
    }
    (u64::from(first) + u64::from(size) <= u64::from(room.end)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_that_are_some() {
        let text = b"root:1:5\nana:100000:65536\n1000: 300000:10 \nana:bad:1\nana:4294967295:9\nbob:7:0\n";
        let want: [(&[u8], u32, u32); 3] =
            [(b"root", 1, 5), (b"ana", 100_000, 65_536), (b"1000", 300_000, 10)];
        assert_eq!(lines(text).collect::<Vec<_>>(), want);
    }

    #[test]
    fn ranges_do_not_touch() {
        for (taken, size, want) in [
            (&[][..], 1024, Some(1)),
            (&[(1, 1024)], 1024, Some(1025)),
            (&[(1, 1024), (2000, 10)], 500, Some(1025)),
            (&[(1, 1024), (2000, 10)], 1000, Some(2010)),
            (&[(1, 60_000)], 6000, None),
        ] {
            assert_eq!(free_range(taken, size, 1..65_537), want, "{taken:?} {size}");
        }
    }

    #[test]
    fn ranges_lie_in_their_room() {
        for (taken, size, room, want) in [
            (&[][..], 1024, 5000..7000, Some(5000)),
            (&[(5000, 1024)], 900, 5000..7000, Some(6024)),
            (&[(5000, 1024)], 1024, 5000..7000, None),
            (&[(1, 1024)], 2000, 5000..7000, Some(5000)),
        ] {
            assert_eq!(free_range(taken, size, room.clone()), want, "{taken:?} {size} {room:?}");
        }
    }
}
