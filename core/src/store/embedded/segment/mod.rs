//! Segment files: their names and their headers.

pub(super) mod bytes;
pub(super) mod erasure;
pub(super) mod files;
pub(super) mod frame;
pub(super) mod record;
pub(super) mod spare;

use self::bytes::{u32_at, u64_at};
use super::config::OpenError;
use super::identity::{FORMAT, Identity};

/// Bytes before the first frame of a segment: one block, so that the first batch doesn't share
/// a block with the header.
pub(super) const SEGMENT_HEAD_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"DUNLINSG";
const SUFFIX: &str = ".log";
/// Files that are being made; they are removed when the store opens.
pub(super) const UNFINISHED_SUFFIX: &str = ".tmp";

/// The name of a segment's file.
pub(super) fn segment_name(number: u32) -> String {
    format!("{number:08x}{SUFFIX}")
}

/// The number of the segment whose file has this name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (number <= SEGMENT_NUMBER_MAX && segment_name(number) == name).then_some(number)
}

/// There is always a number behind that of a segment.
const SEGMENT_NUMBER_MAX: u32 = u32::MAX - 1;

/// The segments that a file holds, both ends included: one, or after cleaning a row of neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub first: u32,
    pub last: u32,
}

impl Span {
    /// Of a file of one segment.
    pub(super) fn one(number: u32) -> Span {
        Span { first: number, last: number }
    }

    /// The name of the file.
    pub(super) fn name(self) -> String {
        if self.first == self.last {
            return segment_name(self.first);
        }
        format!("{:08x}-{:08x}{SUFFIX}", self.first, self.last)
    }

    /// What the file of this name holds, if it is one of segments.
    pub(super) fn of_name(name: &str) -> Option<Span> {
        if let Some(number) = segment_number(name) {
            return Some(Span::one(number));
        }
        let (first, last) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        let span = Span { first: number(first)?, last: number(last)? };
        let is_row = span.first < span.last && span.last <= SEGMENT_NUMBER_MAX;
        (is_row && span.name() == name).then_some(span)
    }

    pub(super) fn holds(self, segment: u32) -> bool {
        (self.first..=self.last).contains(&segment)
    }

    pub(super) fn covers(self, other: Span) -> bool {
        self.holds(other.first) && self.holds(other.last)
    }
}

/// The files of segments of a folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentFiles {
    /// Those that count, in the order of what they hold.
    pub kept: Vec<Span>,
    /// Those that a wider one covers: it took their place, and they are left from a cleaning that was
    /// interrupted at its end. They may be removed once the name of the wider one is durable.
    pub covered: Vec<Span>,
}

impl SegmentFiles {
    /// Sorts out the names of a folder.
    pub(super) fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> SegmentFiles {
        let mut found: Vec<Span> = names.into_iter().filter_map(Span::of_name).collect();
        // The longest of those that begin together comes first.
        found.sort_unstable_by_key(|span| (span.first, std::cmp::Reverse(span.last)));
        let mut files = SegmentFiles::default();
        for span in found {
            match files.kept.last() {
                Some(wider) if wider.covers(span) => files.covered.push(span),
                _ => files.kept.push(span),
            }
        }
        files
    }
}

/// The header of a file of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    /// The number of the segment; of the first one of a row.
    pub number: u32,
    /// The batch that its first frame has. Frames of this number and later ones in earlier
    /// segments were never acknowledged and do not count.
    pub first_batch: u64,
    /// The life of the store in which the file was written, a random number: another copy of the store that
    /// goes on by itself has others. 0 if that is not known.
    pub life: u64,
    /// It was cleaned: chunks are in the place of its frames.
    pub cleaned: Option<CleanedHead>,
}

/// What only the header of a cleaned file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CleanedHead {
    /// The last segment of the row.
    pub last: u32,
    /// The batch after the last one of the row.
    pub next_batch: u64,
    /// Whatever was dead when this batch was the newest is left out.
    pub cleaned_through: u64,
    /// Where the guide begins, which is where the chunks end.
    pub guide_at: u64,
    /// How many chunks there are.
    pub chunks: u64,
    /// The checksum of the fences of the guide.
    pub fences_checksum: u32,
    /// How often it was cleaned, at least once: what is older is not what it was.
    pub generation: u32,
}

const CLEANED: u32 = 1;

impl SegmentHead {
    /// Of a segment that was not cleaned.
    pub(super) fn plain(number: u32, first_batch: u64, life: u64) -> SegmentHead {
        SegmentHead { number, first_batch, life, cleaned: None }
    }

    /// Bytes at the beginning that are known of any file of this number and store.
    pub(super) const NAMED_BYTES: usize = 32;

    pub(super) fn encode(&self, identity: &Identity) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut bytes = [0; SEGMENT_HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..32].copy_from_slice(&identity.store_id);
        bytes[32..40].copy_from_slice(&identity.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_batch.to_le_bytes());
        if let Some(cleaned) = &self.cleaned {
            bytes[48..52].copy_from_slice(&CLEANED.to_le_bytes());
            bytes[52..56].copy_from_slice(&cleaned.last.to_le_bytes());
            bytes[56..64].copy_from_slice(&cleaned.next_batch.to_le_bytes());
            bytes[64..72].copy_from_slice(&cleaned.cleaned_through.to_le_bytes());
            bytes[72..80].copy_from_slice(&cleaned.guide_at.to_le_bytes());
            bytes[80..88].copy_from_slice(&cleaned.chunks.to_le_bytes());
            bytes[88..92].copy_from_slice(&cleaned.fences_checksum.to_le_bytes());
            bytes[92..96].copy_from_slice(&cleaned.generation.to_le_bytes());
        }
        bytes[96..104].copy_from_slice(&self.life.to_le_bytes());
        let at = SEGMENT_HEAD_BYTES - 4;
        let checksum = crc32c::crc32c(&bytes[..at]);
        bytes[at..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the one of the file that holds these segments; `None` if it is damaged or was never written.
    pub(super) fn decode(
        identity: &Identity,
        span: Span,
        bytes: &[u8],
    ) -> Result<Option<SegmentHead>, OpenError> {
        let Some(head) = bytes.get(..SEGMENT_HEAD_BYTES) else { return Ok(None) };
        let at = SEGMENT_HEAD_BYTES - 4;
        if &head[..8] != MAGIC || u32_at(head, at) != crc32c::crc32c(&head[..at]) {
            return Ok(None);
        }
        let name = span.name();
        let found = u32_at(head, 8);
        if found != FORMAT {
            return Err(OpenError::Version { name, found, known: FORMAT });
        }
        if head[16..32] != identity.store_id {
            return Err(OpenError::Foreign { name });
        }
        let cleaned = (u32_at(head, 48) == CLEANED).then(|| CleanedHead {
            last: u32_at(head, 52),
            next_batch: u64_at(head, 56),
            cleaned_through: u64_at(head, 64),
            guide_at: u64_at(head, 72),
            chunks: u64_at(head, 80),
            fences_checksum: u32_at(head, 88),
            generation: u32_at(head, 92),
        });
        let (number, first_batch, life) = (u32_at(head, 12), u64_at(head, 40), u64_at(head, 96));
        let head = SegmentHead { number, first_batch, life, cleaned };
        match head.span() {
            own if own == span => Ok(Some(head)),
            Span { first, last } => Err(OpenError::Misplaced { name, first, last }),
        }
    }

    /// How often its file was cleaned.
    pub(super) fn generation(&self) -> u32 {
        self.cleaned.map_or(0, |cleaned| cleaned.generation)
    }

    /// What the file of this header holds.
    pub(super) fn span(&self) -> Span {
        Span { first: self.number, last: self.cleaned.map_or(self.number, |cleaned| cleaned.last) }
    }
}

/// By the batches that segments begin with, in their order: the batch at which each ends at the
/// latest, since it counts where it came later. A segment without a whole header says nothing: it was
/// opened for a batch that failed, and so may have been the one before it.
pub(super) fn first_batches_behind(firsts: &[Option<u64>]) -> Vec<Option<u64>> {
    let mut behind = vec![None; firsts.len()];
    let mut lowest: Option<u64> = None;
    for (behind, first) in behind.iter_mut().zip(firsts).rev() {
        *behind = lowest;
        lowest = lowest.into_iter().chain(*first).min();
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemSource;

    #[test]
    fn names_are_numbers() {
        assert_eq!(segment_name(0x1f), "0000001f.log");
        assert_eq!(segment_number("0000001f.log"), Some(0x1f));
        for other in ["1f.log", "0000001F.log", "+000001f.log", "0000001f.idx", "STORE"] {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_is_of_one_store_and_one_number() {
        let identity = Identity::random(&SystemSource::new());
        let head = SegmentHead::plain(3, 9, 7);
        let bytes = head.encode(&identity);
        let decode =
            |identity, number, bytes| SegmentHead::decode(identity, Span::one(number), bytes);
        assert_eq!(decode(&identity, 3, &bytes[..]).unwrap(), Some(head));
        assert!(matches!(
            decode(&identity, 4, &bytes),
            Err(OpenError::Misplaced { name, first: 3, last: 3 }) if name == "00000004.log"
        ));
        let other = Identity::random(&SystemSource::new());
        assert!(matches!(decode(&other, 3, &bytes), Err(OpenError::Foreign { .. })));
        assert_eq!(decode(&identity, 3, &bytes[1..]).unwrap(), None);
    }

    #[test]
    fn a_row_has_a_name_of_both_ends_and_takes_the_place_of_what_it_covers() {
        let row = Span { first: 2, last: 0x1f };
        assert_eq!(row.name(), "00000002-0000001f.log");
        assert_eq!(Span::of_name("00000002-0000001f.log"), Some(row));
        for other in ["0000001f-00000002.log", "00000002-00000002.log", "00000002-0000001f.idx"] {
            assert_eq!(Span::of_name(other), None, "{other}");
        }
        let names = ["00000001.log", "00000002.log", "00000002-00000004.log", "STORE"];
        let more = ["00000003-00000004.log", "00000005.log"];
        let files = SegmentFiles::of_names(names.into_iter().chain(more));
        let span = |first, last| Span { first, last };
        assert_eq!(files.kept, [span(1, 1), span(2, 4), span(5, 5)]);
        assert_eq!(files.covered, [span(2, 2), span(3, 4)]);
    }

    #[test]
    fn the_header_of_a_cleaned_file_says_more() {
        let identity = Identity::random(&SystemSource::new());
        let cleaned = CleanedHead {
            last: 6,
            next_batch: 90,
            cleaned_through: 120,
            guide_at: 5000,
            chunks: 7,
            fences_checksum: 8,
            generation: 2,
        };
        let head = SegmentHead { number: 3, first_batch: 9, life: 7, cleaned: Some(cleaned) };
        let bytes = head.encode(&identity);
        let span = Span { first: 3, last: 6 };
        assert_eq!(SegmentHead::decode(&identity, span, &bytes).unwrap(), Some(head));
        assert_eq!(head.span(), span);
        // Under the name of one of its segments, or of another row, it is not taken for what its name says.
        for other in [Span::one(3), Span::one(6), Span { first: 3, last: 5 }] {
            assert!(matches!(
                SegmentHead::decode(&identity, other, &bytes),
                Err(OpenError::Misplaced { name, first: 3, last: 6 }) if name == other.name()
            ));
        }
    }

    /// Two segments in a row were opened for a batch that failed, and could not be removed.
    #[test]
    fn what_failed_is_overruled_by_whatever_comes_later() {
        let firsts = [Some(1), Some(4), None, Some(4), Some(9), None];
        let behind = [Some(4), Some(4), Some(4), Some(9), None, None];
        assert_eq!(first_batches_behind(&firsts), behind);
        assert_eq!(first_batches_behind(&[]), []);
    }
}
