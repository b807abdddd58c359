//! Files with holes: where their data is, so that nobody reads zeros that are not stored.

use std::os::fd::AsFd;

use rustix::fs::SeekFrom;

use crate::sys::fs::Stat;

/// Holes of fewer bytes in all are packed as zeros: every reader can take those.
const HOLES_MIN: u64 = 1 << 20;

/// Where a file has data; `None` if it has no holes worth the trouble.
pub(crate) fn pieces(file: impl AsFd, stat: &Stat, size: u64) -> std::io::Result<Option<Vec<(u64, u64)>>> {
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    if size.saturating_sub(allocated) < HOLES_MIN {
        return Ok(None);
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file.as_fd(), SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let end = match rustix::fs::seek(file.as_fd(), SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(errno) => return Err(errno.into()),
        };
        if end <= start {
            break;
        }
        pieces.push((start, end - start));
        at = end;
    }
    // What ends in a hole says so by an empty piece at its end.
    if pieces.last().is_none_or(|(offset, length)| offset + length < size) {
        pieces.push((size, 0));
    }
    Ok(Some(pieces))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::sys::fs;

    #[test]
    fn holes_are_found() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(b"x", 4 << 20).unwrap();
        let file = OwnedFd::from(file);
        let stat = fs::stat(&file).unwrap();
        let found = pieces(&file, &stat, 8 << 20).unwrap().expect("holes");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0, found[1]), (4 << 20, (8 << 20, 0)));
        let dense = tempfile::tempfile().unwrap();
        dense.set_len(4096).unwrap();
        let dense = OwnedFd::from(dense);
        assert_eq!(pieces(&dense, &fs::stat(&dense).unwrap(), 4096).unwrap(), None);
    }
}
