//! A time as people write it: a number of seconds, with a fraction if need be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Seconds of a command line, of a file, or of a message between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Seconds(Duration);

impl Seconds {
    /// So many whole seconds.
    pub const fn new(seconds: u64) -> Seconds {
        Seconds(Duration::from_secs(seconds))
    }
}

impl From<Duration> for Seconds {
    fn from(duration: Duration) -> Seconds {
        Seconds(duration)
    }
}

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Duration {
        seconds.0
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> f64 {
        seconds.0.as_secs_f64()
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Seconds, String> {
        let duration = Duration::try_from_secs_f64(seconds);
        duration.map(Seconds).map_err(|error| error.to_string())
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        text.parse::<f64>().map_err(|_| "seconds are expected".to_owned())?.try_into()
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_written_as_they_are_read() {
        for text in ["0", "0.25", "30", "86400"] {
            let seconds: Seconds = text.parse().unwrap();
            assert_eq!(seconds.to_string(), text);
            let json = serde_json::to_string(&seconds).unwrap();
            assert_eq!(serde_json::from_str::<Seconds>(&json).unwrap(), seconds);
        }
        assert_eq!(serde_json::from_str::<Seconds>("30").unwrap(), Seconds::new(30));
        for text in ["-1", "NaN", "inf", "x", "30 s"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }
}
