//! Memory that goes back to the kernel: a monitor lives for months and is idle nearly always.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// A buffer outside the heap whose pages exist only while they are used.
#[derive(Debug)]
pub(crate) struct Scratch {
    start: NonNull<u8>,
    length: usize,
}

impl Scratch {
    /// Reserves `length` bytes of zeros; no page is taken until it is written.
    ///
    /// # Errors
    ///
    /// ENOMEM; EINVAL for no length.
    pub(crate) fn new(length: usize) -> io::Result<Self> {
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap answered page 0"))?;
        Ok(Self { start, length })
    }

    /// Gives all pages back; the contents are zeros again.
    pub(crate) fn release(&mut self) {
        // SAFETY: the range is exactly this mapping, which `&mut self` says nobody is looking at. If the
        // call is refused, the pages stay, which is harmless.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, libc::MADV_DONTNEED) };
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is `length` readable, initialised (zero) bytes and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, writable as well, and `&mut self` makes this the only view.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the range is exactly this mapping and nothing refers to it after its owner.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_buffer_is_zero_and_usable_again() {
        let mut scratch = Scratch::new(10_000).unwrap();
        scratch[9_999] = 7;
        scratch.release();
        assert!(scratch.iter().all(|&byte| byte == 0));
        scratch[0] = 1;
        assert_eq!(scratch.len(), 10_000);
    }
}
