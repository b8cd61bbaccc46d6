//! A blocked Bloom filter: it says "certainly not here" with one cache line.

use std::io;
use std::sync::Arc;

use super::layout::{BLOCK_BYTES, BlockBytes};

/// Bits per element: of what is not here, one in some 700 is asked for in vain. With 10 bits it was
/// one in 100, and with ten files each tenth new message cost a read of 4 KiB.
const BITS_PER_ELEMENT: u64 = 16;
const PROBES: u32 = 6;
/// Bits of a line, the part that one element uses.
const LINE_BITS: u64 = 512;
const LINE_WORDS: usize = (LINE_BITS / 64) as usize;
/// Bytes of a line.
pub(super) const LINE_BYTES: usize = (LINE_BITS / 8) as usize;
/// Words of a block of a file.
const BLOCK_WORDS: usize = BLOCK_BYTES / 8;

/// A filter in memory.
#[derive(Debug)]
pub(super) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// An empty one for so many elements, as whole blocks.
    pub(super) fn new(elements: u64) -> Filter {
        let lines_per_block = BLOCK_BYTES / LINE_BYTES;
        let lines = (elements * BITS_PER_ELEMENT).div_ceil(LINE_BITS).max(1) as usize;
        let lines = lines.next_multiple_of(lines_per_block);
        Filter { words: vec![0; lines * LINE_WORDS] }
    }

    /// From the blocks of a file. (Block by block: the largest filters take much of the memory, and should
    /// not take it twice.)
    pub(super) fn from_blocks(
        blocks: impl Iterator<Item = io::Result<Arc<BlockBytes>>>,
    ) -> io::Result<Filter> {
        let mut words = Vec::with_capacity(blocks.size_hint().0 * BLOCK_WORDS);
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("chunks of 8"));
        for block in blocks {
            words.extend(block?.chunks_exact(8).map(word));
        }
        Ok(Filter { words })
    }

    /// For a file.
    pub(super) fn blocks(&self) -> impl Iterator<Item = BlockBytes> {
        self.words.chunks_exact(BLOCK_WORDS).map(|words| {
            let mut block = [0; BLOCK_BYTES];
            for (bytes, word) in block.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            block
        })
    }

    pub(super) fn add(&mut self, hash: u64) {
        let line = line_of(hash, self.lines()) as usize * LINE_WORDS;
        for bit in bits_of(hash) {
            self.words[line + (bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let line = line_of(hash, self.lines()) as usize * LINE_WORDS;
        let line = &self.words[line..line + LINE_WORDS];
        // All bits, though one that is missing would do: what depends on none of them can't be
        // predicted wrongly, so look-ups in a row wait for many cache misses at once.
        let bit = |bit: u64| line[(bit / 64) as usize] >> (bit % 64);
        bits_of(hash).fold(1, |all, at| all & bit(at)) == 1
    }

    fn lines(&self) -> u64 {
        (self.words.len() / LINE_WORDS) as u64
    }
}

/// The line of a hash, of so many.
pub(super) fn line_of(hash: u64, lines: u64) -> u64 {
    ((u128::from(hash) * u128::from(lines)) >> 64) as u64
}

/// Whether a line from a file may hold the hash.
pub(super) fn line_may_hold(line: &[u8], hash: u64) -> bool {
    bits_of(hash).all(|bit| line[(bit / 8) as usize] & (1 << (bit % 8)) != 0)
}

fn bits_of(hash: u64) -> impl Iterator<Item = u64> {
    // The line took the high bits; the product spreads the low ones over 54.
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 10;
    (0..PROBES).map(move |probe| (mixed >> (9 * probe)) % LINE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_added_and_little_else() {
        let hash = |number: u64| (number + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(29);
        let hash = |number: u64| hash(number) ^ hash(number << 17);
        let mut filter = Filter::new(10_000);
        (0..10_000).for_each(|number| filter.add(hash(number)));
        assert!((0..10_000).all(|number| filter.may_hold(hash(number))));
        let wrong = (10_000..110_000).filter(|&number| filter.may_hold(hash(number))).count();
        assert!(wrong < 600, "{wrong} of 100,000");

        let again = Filter::from_blocks(filter.blocks().map(|block| Ok(Arc::new(block)))).unwrap();
        let bytes = filter.blocks().flatten().collect::<Vec<u8>>();
        let lines = (bytes.len() / LINE_BYTES) as u64;
        for number in 0..20_000 {
            let at = line_of(hash(number), lines) as usize * LINE_BYTES;
            let in_line = line_may_hold(&bytes[at..at + LINE_BYTES], hash(number));
            assert_eq!(in_line, filter.may_hold(hash(number)));
            assert_eq!(in_line, again.may_hold(hash(number)));
        }
    }
}
