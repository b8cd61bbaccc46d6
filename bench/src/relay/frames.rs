//! Counts the frames of a stream by their length prefixes, wherever the reads cut it.

/// Where in a frame the stream stands.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FrameCounter {
    /// Bytes of the current body that are still to come.
    body_left: usize,
    /// The bytes of an incomplete prefix, and how many they are.
    prefix: [u8; 4],
    prefix_filled: usize,
}

impl FrameCounter {
    /// Goes over what was read; returns how many frames ended in it.
    pub(crate) fn advance(&mut self, mut input: &[u8]) -> u64 {
        let mut frames = 0;
        while !input.is_empty() {
            if self.body_left > 0 {
                let step = self.body_left.min(input.len());
                self.body_left -= step;
                input = &input[step..];
                frames += u64::from(self.body_left == 0);
                continue;
            }
            let step = (4 - self.prefix_filled).min(input.len());
            self.prefix[self.prefix_filled..self.prefix_filled + step]
                .copy_from_slice(&input[..step]);
            self.prefix_filled += step;
            input = &input[step..];
            if self.prefix_filled == 4 {
                self.prefix_filled = 0;
                self.body_left = u32::from_be_bytes(self.prefix) as usize;
                frames += u64::from(self.body_left == 0);
            }
        }
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_wherever_the_stream_is_cut() {
        let stream = [0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut counter = FrameCounter::default();
                let frames = counter.advance(&stream[..first])
                    + counter.advance(&stream[first..second])
                    + counter.advance(&stream[second..]);
                assert_eq!(frames, 3, "cut at {first} and {second}");
            }
        }
    }
}
