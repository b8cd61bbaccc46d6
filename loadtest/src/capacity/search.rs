//! The search for the highest rate that is met: doubling until one is not, then halving what is
//! between the two. It knows nothing of servers, so it is tested without one.

use serde::Serialize;

/// What a measured window said about its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// The thresholds were met.
    Met,
    /// The server missed a threshold.
    Missed,
    /// The harness was too late for the window to say anything about the server.
    HarnessLate,
    /// The server broke its promise, which no rate excuses, or could not be measured at all.
    Broken,
    /// It was cut short, and says nothing.
    CutShort,
}

/// What stands in the way of a higher rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The server misses a threshold.
    Server,
    /// The harness can't send fast enough: the server may bear more.
    Harness,
    /// Nothing: the highest rate that was asked for was met.
    Asked,
    /// The server broke its promise, and the search ended there.
    Broken,
    /// Nothing: the search was told to end, and higher rates were not looked at.
    Interrupted,
}

/// Where to search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) from_per_s: f64,
    pub(crate) to_per_s: f64,
    /// How far apart the highest rate that was met and the lowest that was not may be, as a share
    /// of the former.
    pub(crate) precision: f64,
    /// A rate is given up after so many windows that did not meet it.
    pub(crate) tries: u32,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub(crate) highest_met_per_s: Option<f64>,
    pub(crate) lowest_unmet_per_s: Option<f64>,
    pub(crate) limit: Limit,
}

/// Searches with a measurement of one window at a rate; ends early with its error.
///
/// A rate at which the harness is late bounds the search like one that the server misses: below it
/// there may be one that the server misses as well. Which of the two it was in the end, at the
/// lowest rate that was not met, is the limit.
pub(crate) fn search<E>(
    bounds: Bounds,
    mut measure: impl FnMut(f64) -> Result<Judgement, E>,
) -> Result<Found, E> {
    let mut found =
        Found { highest_met_per_s: None, lowest_unmet_per_s: None, limit: Limit::Asked };
    let mut next_per_s = Some(bounds.from_per_s);
    while let Some(rate_per_s) = next_per_s {
        let limit = match judge(rate_per_s, bounds.tries, &mut measure)? {
            Judgement::Met => {
                found.highest_met_per_s = Some(rate_per_s);
                next_per_s = found.next_per_s(bounds);
                continue;
            }
            Judgement::Missed => Limit::Server,
            Judgement::HarnessLate => Limit::Harness,
            Judgement::Broken => Limit::Broken,
            Judgement::CutShort => return Ok(Found { limit: Limit::Interrupted, ..found }),
        };
        found = Found { lowest_unmet_per_s: Some(rate_per_s), limit, ..found };
        next_per_s = if limit == Limit::Broken { None } else { found.next_per_s(bounds) };
    }
    Ok(found)
}

/// Machines have hiccups: what was met once can be met.
fn judge<E>(
    rate_per_s: f64,
    tries: u32,
    measure: &mut impl FnMut(f64) -> Result<Judgement, E>,
) -> Result<Judgement, E> {
    let mut judgement = measure(rate_per_s)?;
    for _ in 1..tries {
        match judgement {
            Judgement::Met | Judgement::Broken | Judgement::CutShort => break,
            Judgement::Missed | Judgement::HarnessLate => judgement = measure(rate_per_s)?,
        }
    }
    Ok(judgement)
}

impl Found {
    /// The next rate to look at, if there is anything left to find.
    fn next_per_s(&self, bounds: Bounds) -> Option<f64> {
        match (self.highest_met_per_s, self.lowest_unmet_per_s) {
            (None, None) => Some(bounds.from_per_s),
            // Not even the lowest rate was met.
            (None, Some(_)) => None,
            (Some(met), None) => (met < bounds.to_per_s).then(|| (met * 2.0).min(bounds.to_per_s)),
            (Some(met), Some(unmet)) => {
                (unmet - met > met * bounds.precision).then(|| f64::midpoint(met, unmet))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { from_per_s: 100.0, to_per_s: 1e6, precision: 0.02, tries: 2 };

    /// A server and a harness with known limits, and how often they were asked.
    fn find(bounds: Bounds, server_per_s: f64, harness_per_s: f64) -> (Found, usize) {
        let mut windows = 0;
        let found = search(bounds, |rate_per_s| {
            windows += 1;
            assert!(windows < 100, "it does not end");
            Ok::<_, ()>(if rate_per_s > harness_per_s {
                Judgement::HarnessLate
            } else if rate_per_s > server_per_s {
                Judgement::Missed
            } else {
                Judgement::Met
            })
        });
        (found.unwrap(), windows)
    }

    #[test]
    fn any_limit_of_the_server_is_found_within_the_precision() {
        for limit_per_s in [100.0, 101.0, 199.0, 200.0, 12_345.0, 777_777.0, 999_999.0] {
            let (found, windows) = find(BOUNDS, limit_per_s, f64::INFINITY);
            let (met, unmet) =
                (found.highest_met_per_s.unwrap(), found.lowest_unmet_per_s.unwrap());
            assert_eq!(found.limit, Limit::Server);
            assert!(met <= limit_per_s && limit_per_s < unmet, "{found:?}");
            assert!(unmet - met <= met * BOUNDS.precision, "{found:?}");
            assert!(windows <= 14 + 2 * 8, "{windows} windows for {limit_per_s}");
        }
    }

    #[test]
    fn the_lower_of_the_two_limits_is_named() {
        let (found, _) = find(BOUNDS, f64::INFINITY, 5_000.0);
        assert_eq!(found.limit, Limit::Harness);
        assert!((4_900.0..=5_000.0).contains(&found.highest_met_per_s.unwrap()), "{found:?}");
        // The first rate above both is one at which the harness is late; the server is below it.
        let (found, _) = find(BOUNDS, 4_000.0, 6_000.0);
        assert_eq!(found.limit, Limit::Server);
        let (found, _) = find(BOUNDS, 6_000.0, 4_000.0);
        assert_eq!(found.limit, Limit::Harness);
    }

    #[test]
    fn the_ends_of_what_was_asked_are_ends() {
        let (found, windows) = find(BOUNDS, 1e9, 1e9);
        assert_eq!((found.highest_met_per_s, found.limit), (Some(1e6), Limit::Asked));
        assert_eq!(windows, 15);
        let (found, windows) = find(BOUNDS, 99.0, 1e9);
        assert_eq!((found.highest_met_per_s, found.limit), (None, Limit::Server));
        assert_eq!((found.lowest_unmet_per_s, windows), (Some(100.0), 2));
    }

    #[test]
    fn one_bad_window_is_forgiven_if_the_next_one_is_good() {
        let (mut windows, tries) = (0, BOUNDS.tries);
        let bounds = Bounds { to_per_s: 400.0, ..BOUNDS };
        let found = search(bounds, |_| {
            windows += 1;
            Ok::<_, ()>(if windows % tries == 1 { Judgement::Missed } else { Judgement::Met })
        });
        assert_eq!(found.unwrap().highest_met_per_s, Some(400.0));
        assert_eq!(windows, 6);
    }

    #[test]
    fn a_window_that_was_cut_short_ends_the_search_and_says_nothing_of_its_rate() {
        let mut windows = 0;
        let found = search(BOUNDS, |rate_per_s| {
            windows += 1;
            Ok::<_, ()>(if rate_per_s < 400.0 { Judgement::Met } else { Judgement::CutShort })
        });
        let expected = Found {
            highest_met_per_s: Some(200.0),
            lowest_unmet_per_s: None,
            limit: Limit::Interrupted,
        };
        assert_eq!((found, windows), (Ok(expected), 3));
    }

    #[test]
    fn a_broken_promise_and_an_error_end_the_search_at_once() {
        let mut windows = 0;
        let found = search(BOUNDS, |rate_per_s| {
            windows += 1;
            Ok::<_, ()>(if rate_per_s < 400.0 { Judgement::Met } else { Judgement::Broken })
        });
        let expected = Found {
            highest_met_per_s: Some(200.0),
            lowest_unmet_per_s: Some(400.0),
            limit: Limit::Broken,
        };
        assert_eq!((found, windows), (Ok(expected), 3));
        assert_eq!(search(BOUNDS, |_| Err("no")), Err("no"));
    }
}
