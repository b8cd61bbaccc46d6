//! The text that `perf script -F comm,ip,sym` prints: for each sample the name of the thread, then
//! a line for each frame, the innermost first, then an empty line.

use std::io::{self, BufRead, Lines};

/// Where a thread was at a moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// The name of the thread.
    pub(super) thread: String,
    /// It was in the kernel.
    pub(super) in_kernel: bool,
    /// The names of functions, the innermost first.
    pub(super) functions: Vec<String>,
}

/// Samples, one after the other.
pub(super) struct Stacks<R> {
    lines: Lines<R>,
}

impl<R: BufRead> Stacks<R> {
    pub(super) fn new(input: R) -> Stacks<R> {
        Stacks { lines: input.lines() }
    }

    fn sample(&mut self) -> io::Result<Option<Sample>> {
        let mut sample = Sample::default();
        for line in self.lines.by_ref() {
            let line = line?;
            let line = line.trim();
            match (line.is_empty(), sample.thread.is_empty()) {
                (true, true) => {}
                (true, false) => return Ok(Some(sample)),
                (false, true) => line.clone_into(&mut sample.thread),
                (false, false) => {
                    let (address, function) = line.split_once(' ').unwrap_or((line, ""));
                    // The upper half of the addresses is the kernel's.
                    let is_kernel = address.len() == 16 && address.starts_with('f');
                    sample.in_kernel |= sample.functions.is_empty() && is_kernel;
                    sample.functions.push(function.trim().to_owned());
                }
            }
        }
        Ok((!sample.thread.is_empty()).then_some(sample))
    }
}

impl<R: BufRead> Iterator for Stacks<R> {
    type Item = io::Result<Sample>;

    fn next(&mut self) -> Option<io::Result<Sample>> {
        self.sample().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_told_apart_by_empty_lines() {
        let text =
            "shard-0 \n\tffffffff81b69d34 tcp_ack\n\t  22f468 a b\n\n\nstore index\n\t 1 c\n";
        let samples: Vec<Sample> = Stacks::new(text.as_bytes()).map(Result::unwrap).collect();
        let functions = ["tcp_ack".to_owned(), "a b".to_owned()].to_vec();
        let first = Sample { thread: "shard-0".to_owned(), in_kernel: true, functions };
        assert_eq!(samples[0], first);
        assert_eq!((&*samples[1].thread, samples[1].in_kernel), ("store index", false));
        assert_eq!(samples.len(), 2);
    }
}
