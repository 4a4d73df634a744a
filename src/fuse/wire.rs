//! Bytes of the kernel's requests and of our replies, without `unsafe`: a bounds-checked reader, a reply buffer.
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Page size that data is aligned to; a larger one of the kernel does no harm.
const PAGE: usize = 4096;
/// Bytes of `fuse_out_header`.
const HEADER: usize = 16;

/// A request that is shorter than its kind demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads a request from front to back.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` bytes, for `from_ne_bytes`.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// A string that ends in NUL: a name, or the target of a symbolic link.
    pub(super) fn name(&mut self) -> Result<&'a OsStr, Malformed> {
        let end = self.0.iter().position(|&b| b == 0).ok_or(Malformed)?;
        let name = self.bytes(end)?;
        self.bytes(1)?;
        Ok(OsStr::from_bytes(name))
    }
}

/// A buffer in which the byte at `align_at` begins a page.
///
/// The ciphers and the kernel copy whole pages faster from and to page boundaries. Untouched pages cost no memory.
#[derive(Debug)]
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new(len: usize, align_at: usize) -> Self {
        let bytes = vec![0; len + PAGE];
        let start = (bytes.as_ptr() as usize + align_at).wrapping_neg() % PAGE;
        Self { bytes, start }
    }
}

/// Where the kernel puts a request. The data of a WRITE begins a page.
#[derive(Debug)]
pub(super) struct RequestBuffer(Aligned);

impl RequestBuffer {
    /// Bytes before the data of a WRITE: `fuse_in_header` and `fuse_write_in`.
    const BEFORE_DATA: usize = 80;

    /// For writes of at most `max_write` bytes.
    pub(super) fn new(max_write: usize) -> Self {
        Self(Aligned::new(max_write + PAGE, Self::BEFORE_DATA))
    }

    /// Room for the next request.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.0.bytes[self.0.start..]
    }

    /// The first `len` bytes of the room.
    pub(super) fn filled(&self, len: usize) -> &[u8] {
        let room = &self.0.bytes[self.0.start..];
        &room[..len.min(room.len())]
    }
}

/// A reply under construction: room for the header, then the payload, which begins a page.
#[derive(Debug)]
pub(super) struct Reply {
    buffer: Aligned,
    len: usize,
    capacity: usize,
}

impl Reply {
    /// For payloads of at most `capacity` bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            buffer: Aligned::new(HEADER + capacity, HEADER),
            len: 0,
            capacity,
        }
    }

    /// Starts anew.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes of payload so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends; what does not fit is an error, and nothing of it is kept.
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let room = self.space(bytes.len())?;
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// Room for `len` bytes of payload after those already there; [`Reply::advance`] keeps them.
    pub(super) fn space(&mut self, len: usize) -> Result<&mut [u8], Malformed> {
        if len > self.capacity - self.len {
            return Err(Malformed);
        }
        let from = self.buffer.start + HEADER + self.len;
        Ok(&mut self.buffer.bytes[from..from + len])
    }

    /// Keeps `len` bytes of the room given by [`Reply::space`].
    pub(super) fn advance(&mut self, len: usize) {
        self.len = self.capacity.min(self.len + len);
    }

    /// The whole reply to request `unique`; with an `errno` (0: none) the payload is dropped.
    pub(super) fn finish(&mut self, unique: u64, errno: i32) -> &[u8] {
        if errno != 0 {
            self.len = 0;
        }
        self.finish_with(unique, -errno)
    }

    /// The whole message, with these fields in its header.
    pub(super) fn finish_with(&mut self, unique: u64, error: i32) -> &[u8] {
        let start = self.buffer.start;
        let total = HEADER + self.len;
        let header = &mut self.buffer.bytes[start..start + HEADER];
        header[..4].copy_from_slice(&(total as u32).to_ne_bytes());
        header[4..8].copy_from_slice(&error.to_ne_bytes());
        header[8..].copy_from_slice(&unique.to_ne_bytes());
        &self.buffer.bytes[start..start + total]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_past_the_end_is_an_error() {
        let mut reader = Reader::new(b"ab\0c");
        assert_eq!(reader.name(), Ok(OsStr::new("ab")));
        assert_eq!(reader.name(), Err(Malformed));
        assert_eq!(reader.array::<2>(), Err(Malformed));
        assert_eq!(reader.bytes(1), Ok(&b"c"[..]));
        assert_eq!(reader.bytes(1), Err(Malformed));
    }

    #[test]
    fn data_is_page_aligned() {
        let request = RequestBuffer::new(1 << 20);
        let data = &request.filled(200)[RequestBuffer::BEFORE_DATA..];
        assert_eq!(data.as_ptr() as usize % PAGE, 0);
        let mut reply = Reply::new(100);
        assert_eq!(reply.space(100).unwrap().as_ptr() as usize % PAGE, 0);
    }

    #[test]
    fn a_reply_never_grows_past_its_capacity() {
        let mut reply = Reply::new(10);
        reply.put(b"12345678").unwrap();
        assert_eq!(reply.put(b"abc"), Err(Malformed));
        reply.advance(9);
        assert_eq!(reply.len(), 10);
        assert_eq!(reply.finish(7, 0).len(), 26);
        let error = reply.finish(7, 2).to_vec();
        assert_eq!(error[..4], 16u32.to_ne_bytes());
        assert_eq!(error[4..8], (-2i32).to_ne_bytes());
        assert_eq!(error[8..], 7u64.to_ne_bytes());
    }
}
