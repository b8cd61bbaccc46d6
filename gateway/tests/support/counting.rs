//! An allocator that counts what is in use, in all and by size, as mimalloc would round it.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement; it hands all on to another")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

/// Sizes up to here are counted one by one, larger ones by power of two.
const EXACT_MAX: usize = 4096;
const SIZES: usize = EXACT_MAX + usize::BITS as usize;

static BY_SIZE: [(AtomicIsize, AtomicIsize); SIZES] =
    [const { (AtomicIsize::new(0), AtomicIsize::new(0)) }; SIZES];

/// See the module.
#[derive(Debug)]
pub struct Counting;

fn count(size: usize, difference: isize) {
    let index = if size < EXACT_MAX { size } else { EXACT_MAX + size.ilog2() as usize };
    let (count, bytes) = &BY_SIZE[index];
    count.fetch_add(difference, Ordering::Relaxed);
    bytes.fetch_add(difference * size_class(size).cast_signed(), Ordering::Relaxed);
}

/// What mimalloc, the allocator of the server, takes for this size: it has four classes between a
/// power of two and the next.
fn size_class(size: usize) -> usize {
    let step = if size <= 64 { 8 } else { 1 << ((size - 1).ilog2() - 2) };
    size.next_multiple_of(step)
}

// SAFETY: every call is handed on to the system's allocator with the same arguments, and what it
// returns is returned; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: `memory` came from `alloc` above, so from `System`, with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What is in use at a moment.
#[derive(Debug)]
pub struct InUse {
    /// In all.
    pub bytes: usize,
    by_size: Vec<(isize, isize)>,
}

impl InUse {
    /// Now.
    pub fn now() -> InUse {
        // Its own memory is counted with what was there before.
        let mut by_size = Vec::with_capacity(SIZES);
        let read = |(count, bytes): &(AtomicIsize, AtomicIsize)| {
            (count.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
        };
        by_size.extend(BY_SIZE.iter().map(read));
        let own = size_of::<(isize, isize)>() * by_size.capacity();
        let bytes: isize = by_size.iter().map(|(_, bytes)| bytes).sum();
        InUse { bytes: bytes.cast_unsigned() - own, by_size }
    }

    /// Prints what was added, by size, where it is more than a byte for each connection.
    pub fn print_since(&self, before: &InUse, connections: usize) {
        for (index, (after, before)) in self.by_size.iter().zip(&before.by_size).enumerate() {
            let (count, bytes) = (after.0 - before.0, after.1 - before.1);
            let per_connection = bytes as f64 / connections as f64;
            if per_connection.abs() < 1.0 {
                continue;
            }
            let size = match index.checked_sub(EXACT_MAX) {
                None => index.to_string(),
                Some(power) => format!(">={}", 1usize << power),
            };
            println!("  {per_connection:>8.1} B: {count} of {size} B");
        }
    }
}
