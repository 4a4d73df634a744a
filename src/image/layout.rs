//! Where things lie in an image. man/cryptfs.5, "IMAGE VOLUMES", is drawn from this page and from those it names.
//!
//! All integers are little-endian, but for those in tree keys (big-endian, so that they sort). A page is 4096 bytes; page
//! n lies at byte 4096 n of the image.
//!
//! ```text
//! page 0         header, copy 0 (16 KiB; see HEADER)
//! page 16        the ring: 16 superblocks, one page each; generation g lies in slot g mod 16
//! page 1024      header, copy 1 (at 4 MiB)
//! page 1028      the log (`log`), of as many pages as the superblock says
//! last 4 pages   header, copy 2 (the size rounded down to whole pages)
//! all others     nodes of the tree, and data
//! ```
//!
//! **Superblock** (`superblock`): the only page found by its place. **Tree** (`node`, `tree`): one copy-on-write B+tree
//! holds everything else: inodes, names, attributes, small files, the pointers of large ones, the map of used pages.
//! **Pointer** (`pointer`): how a page is found and proved; every node and data page is authenticated by the pointer to it,
//! and so, up to the superblock, by the volume's key.
//!
//! **What a commit writes**: pages to which neither of the last two superblocks refers; then a flush of the medium; then the
//! superblock into the slot of its generation, which is not that of one of the last two; then a flush. Between two commits an fsync adds what changed to the
//! log, and flushes once. A medium must keep what it has flushed, and must not change pages that were not written. It may
//! lose, reorder or tear what it has not flushed.
//!
//! **What shows** (cryptfs.5 has all of it): sizes and use; that nodes and data fill segments of their own; to who compares
//! copies of different times, which pages changed. Nothing else: unused slots of the ring hold random bytes, and pages of all
//! kinds look the same.
use std::ops::Range;

/// Bytes in a page.
pub const PAGE: usize = 4096;
/// Pages in a segment (1 MiB), the unit of locality.
pub const SEGMENT: u64 = 256;
/// Pages in a scope of keys (1 TiB): a scope's keys never see more than 2^28 pages.
pub const SCOPE: u64 = 1 << 28;
/// First page of the ring.
pub const RING: u64 = 16;
/// Slots in the ring.
pub const SLOTS: u64 = 16;
/// Pages of a header copy.
pub const HEADER: u64 = 4;
/// First page of the header's second copy.
pub const SECOND_HEADER: u64 = 1024;
/// First page of the log.
pub const LOG: u64 = SECOND_HEADER + HEADER;
/// The most pages that a log has.
pub const LOG_LARGEST: u64 = 512;
/// The smallest image: 8 MiB.
pub const SMALLEST: u64 = 2048;
/// The largest image: 2^47 bytes (128 TiB). Its two maps of pages take 8 GiB of memory.
pub const LARGEST: u64 = 1 << 35;
/// Superblocks whose pages are never reused: the newest that is durable and the one before.
pub const KEPT: u64 = 2;

/// Whole pages in so many bytes.
pub const fn pages(bytes: u64) -> u64 {
    bytes / PAGE as u64
}

/// The slot of a generation.
pub const fn slot(generation: u64) -> u64 {
    RING + generation % SLOTS
}

/// Pages of the log of a new image of so many pages.
pub const fn log(pages: u64) -> u64 {
    match pages / 64 {
        few if few < LOG_LARGEST => few,
        _ => LOG_LARGEST,
    }
}

/// Pages that are not the tree's: headers, ring and log, in an image of so many pages with a log of so many.
pub const fn fixed(pages: u64, log: u64) -> [Range<u64>; 5] {
    [
        0..HEADER,
        RING..RING + SLOTS,
        SECOND_HEADER..SECOND_HEADER + HEADER,
        LOG..LOG + log,
        pages - HEADER..pages,
    ]
}
