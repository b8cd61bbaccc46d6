//! Which files to clean next, as a pure function of what is known of them.

use std::ops::Range;

use super::super::segment::Span;
use super::life::SegmentLife;

/// At most so many segments become one file: a row is cleaned, and later read, as one.
const ROW_SEGMENTS_MAX: u32 = 4096;

/// Small neighbours that are worth to become one file.
const NEIGHBOURS_MIN: usize = 8;

/// A file as the choice sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub span: Span,
    /// Its size.
    pub bytes: u64,
    pub life: SegmentLife,
    /// It may not be cleaned now: it is damaged, has no index file, or a consumer has not passed it.
    pub is_kept: bool,
}

impl Candidate {
    fn alive_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.life.dead_bytes)
    }

    /// At least as much of it is dead as is alive.
    fn is_worth_it(&self) -> bool {
        self.life.dead_bytes * 2 >= self.bytes
    }
}

/// What the choice goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub now_ms: u64,
    /// Nothing dead stays for longer.
    pub gone_within_ms: u64,
    /// A cleaned file is not larger.
    pub file_bytes_max: u64,
    /// What cleaning has freed so far beyond what it has written: it pays for joining small files, which
    /// frees nothing.
    pub credit_bytes: u64,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Find out how much of this file is alive.
    LookThrough(usize),
    /// Clean these neighbours into one file, if at least as much is freed as is written.
    Clean(Range<usize>),
    /// Clean this one whatever it costs: something in it has been dead for too long.
    Overdue(usize),
    /// Make these neighbours one file.
    Join(Range<usize>),
}

/// Chooses from all files, in their order.
pub(super) fn choose(files: &[Candidate], rules: &Rules) -> Option<Next> {
    let open = |file: &Candidate| !file.is_kept;
    let with_places = || files.iter().enumerate().filter(|(_, file)| open(file));
    let worth = with_places().filter(|(_, file)| file.life.is_known && file.is_worth_it());
    // Of what is freed, as little as possible has to be written for it.
    let best = worth.min_by_key(|(_, file)| file.alive_bytes() * 1024 / file.bytes.max(1));
    if let Some((at, _)) = best {
        return Some(Next::Clean(widen(files, at, rules)));
    }
    let is_overdue = |life: &SegmentLife| {
        life.dead_since_ms.is_some_and(|since| since + rules.gone_within_ms <= rules.now_ms)
    };
    if let Some((at, _)) = with_places().find(|(_, file)| is_overdue(&file.life)) {
        return Some(Next::Overdue(at));
    }
    if let Some((at, _)) = with_places().find(|(_, file)| !file.life.is_known) {
        return Some(Next::LookThrough(at));
    }
    join(files, rules).map(Next::Join)
}

/// The neighbours of a file that are worth it as well, and fit into one file with it.
fn widen(files: &[Candidate], at: usize, rules: &Rules) -> Range<usize> {
    let mut row = at..at + 1;
    let mut alive = files[at].alive_bytes();
    loop {
        let before = row.start.checked_sub(1);
        let places = [before, Some(row.end)].into_iter().flatten();
        let more = places.filter(|&place| {
            let Some(file) = files.get(place) else { return false };
            let segments = row_segments(files, row.start.min(place)..row.end.max(place + 1));
            let fits = alive + file.alive_bytes() <= rules.file_bytes_max;
            let takes = file.life.is_known && file.is_worth_it() && !file.is_kept;
            takes && fits && segments <= ROW_SEGMENTS_MAX
        });
        let Some(place) = more.min_by_key(|&place| files[place].alive_bytes()) else { return row };
        alive += files[place].alive_bytes();
        row = row.start.min(place)..row.end.max(place + 1);
    }
}

/// Small neighbours whose joining is paid for.
fn join(files: &[Candidate], rules: &Rules) -> Option<Range<usize>> {
    let is_small = |file: &Candidate| {
        !file.is_kept && file.bytes * NEIGHBOURS_MIN as u64 <= rules.file_bytes_max
    };
    let mut start = 0;
    while start < files.len() {
        let mut end = start;
        let mut bytes = 0;
        while end < files.len()
            && is_small(&files[end])
            && bytes + files[end].bytes <= rules.file_bytes_max
            && row_segments(files, start..end + 1) <= ROW_SEGMENTS_MAX
        {
            bytes += files[end].bytes;
            end += 1;
        }
        if end - start >= NEIGHBOURS_MIN && bytes <= rules.credit_bytes {
            return Some(start..end);
        }
        start = end.max(start + 1);
    }
    None
}

fn row_segments(files: &[Candidate], row: Range<usize>) -> u32 {
    let (first, last) = (files[row.start].span.first, files[row.end - 1].span.last);
    last - first + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules =
        Rules { now_ms: 10_000, gone_within_ms: 5_000, file_bytes_max: 1_000, credit_bytes: 0 };

    /// Files of one segment each, of so many bytes and so many of them dead.
    fn files(sizes: &[(u64, u64)]) -> Vec<Candidate> {
        let file = |(segment, &(bytes, dead_bytes)): (u32, &(u64, u64))| Candidate {
            span: Span::one(segment),
            bytes,
            life: SegmentLife { dead_bytes, is_known: true, ..SegmentLife::default() },
            is_kept: false,
        };
        (1..).zip(sizes).map(file).collect()
    }

    #[test]
    fn what_frees_most_by_what_it_writes_comes_first_with_its_neighbours() {
        let sizes = [(1000, 600), (1000, 400), (1000, 700), (1000, 990), (1000, 800), (1000, 600)];
        let mut files = files(&sizes);
        // 300 + 10 + 200 + 400 bytes are alive; the one with 400 dead stops it.
        assert_eq!(choose(&files, &RULES), Some(Next::Clean(2..6)));
        let tight = Rules { file_bytes_max: 520, ..RULES };
        assert_eq!(choose(&files, &tight), Some(Next::Clean(2..5)));
        files[4].is_kept = true;
        assert_eq!(choose(&files, &RULES), Some(Next::Clean(2..4)));
        files.iter_mut().for_each(|file| file.is_kept = true);
        assert_eq!(choose(&files, &RULES), None);
    }

    #[test]
    fn less_than_half_dead_is_not_enough_unless_it_has_been_dead_for_too_long() {
        let mut files = files(&[(1000, 499), (1000, 1)]);
        assert_eq!(choose(&files, &RULES), None);
        files[1].life.dead_since_ms = Some(5_001);
        assert_eq!(choose(&files, &RULES), None);
        files[1].life.dead_since_ms = Some(5_000);
        assert_eq!(choose(&files, &RULES), Some(Next::Overdue(1)));
    }

    #[test]
    fn what_is_not_known_is_looked_through() {
        let mut files = files(&[(1000, 0), (1000, 0)]);
        files[1].life.is_known = false;
        assert_eq!(choose(&files, &RULES), Some(Next::LookThrough(1)));
        files[1].is_kept = true;
        assert_eq!(choose(&files, &RULES), None);
    }

    #[test]
    fn small_neighbours_are_joined_when_enough_was_freed() {
        let mut files = files(&[(900, 0); 3]);
        files.extend(
            self::files(&[(100, 0); 9])
                .into_iter()
                .map(|file| Candidate { span: Span::one(file.span.first + 3), ..file }),
        );
        assert_eq!(choose(&files, &RULES), None);
        assert_eq!(choose(&files, &Rules { credit_bytes: 899, ..RULES }), None);
        let rich = Rules { credit_bytes: 900, ..RULES };
        assert_eq!(choose(&files, &rich), Some(Next::Join(3..12)));
        files[5].is_kept = true;
        assert_eq!(choose(&files, &rich), None);
    }
}
