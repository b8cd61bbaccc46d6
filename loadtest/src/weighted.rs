//! Values with weights, and a choice among them that everybody makes alike: it depends on a key
//! alone, so whoever knows which message it is knows what was chosen for it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text;

/// One or more values; as text `durable:3,signal:1`, or one value alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighted<T> {
    /// At least one, with weights above 0.
    values: Vec<(T, u32)>,
    weights: u64,
}

impl<T> From<T> for Weighted<T> {
    fn from(value: T) -> Weighted<T> {
        Weighted { values: vec![(value, 1)], weights: 1 }
    }
}

impl<T> Weighted<T> {
    /// What is chosen for a key: each value by its weight, over many keys.
    pub fn choose(&self, key: u64) -> &T {
        let [others @ .., (last, _)] = &*self.values else {
            unreachable!("there is at least one value");
        };
        if others.is_empty() {
            return last;
        }
        // The upper half of the product is a fair share of 0..weights.
        let mut left = ((u128::from(mixed(key)) * u128::from(self.weights)) >> 64) as u64;
        for (value, weight) in others {
            match left.checked_sub(u64::from(*weight)) {
                None => return value,
                Some(rest) => left = rest,
            }
        }
        last
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter().map(|(value, _)| value)
    }

    /// The value if there is just one.
    pub fn only(&self) -> Option<&T> {
        if let [(value, _)] = &*self.values { Some(value) } else { None }
    }
}

/// Spreads keys that are close to each other over all numbers (the finisher of SplitMix64).
fn mixed(key: u64) -> u64 {
    let key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

impl<T: FromStr> FromStr for Weighted<T>
where
    T::Err: fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Weighted<T>, String> {
        let value =
            |text: &str| text.trim().parse::<T>().map_err(|error| format!("{text:?}: {error}"));
        let parts: Vec<&str> = text.split(',').collect();
        if let [part] = parts[..]
            && !part.contains(':')
        {
            return value(part).map(Weighted::from);
        }
        let weighted = |part: &str| {
            let (of, weight) =
                part.split_once(':').ok_or_else(|| format!("{part:?} has no weight (:NUMBER)"))?;
            match weight.trim().parse::<u32>() {
                Ok(weight @ 1..) => Ok((value(of)?, weight)),
                Ok(0) | Err(_) => Err(format!("{weight:?}: weights are whole numbers above 0")),
            }
        };
        let values = parts.into_iter().map(weighted).collect::<Result<Vec<_>, String>>()?;
        let weights = values.iter().map(|(_, weight)| u64::from(*weight)).sum();
        Ok(Weighted { values, weights })
    }
}

impl<T: fmt::Display> fmt::Display for Weighted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(value) = self.only() {
            return value.fmt(f);
        }
        for (index, (value, weight)) in self.values.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{value}:{weight}")?;
        }
        Ok(())
    }
}

impl<T: fmt::Display> Serialize for Weighted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Weighted<T>
where
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Weighted<T>, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_chosen_by_its_weight_and_always_for_the_same_keys() {
        let weighted: Weighted<usize> = "100:6,4000:3,7:1".parse().unwrap();
        let chosen: Vec<usize> = (0..100_000).map(|key| *weighted.choose(key)).collect();
        for (value, expected) in [(100, 60_000_i32), (4000, 30_000), (7, 10_000)] {
            let count = chosen.iter().filter(|&&of| of == value).count() as i32;
            // 5 standard deviations are about 800; the choice is the same in every run anyway.
            assert!((count - expected).abs() < 800, "{count} of {value}");
        }
        assert!((0..1000).all(|key| *weighted.choose(key) == chosen[key as usize]));
        assert_eq!(Weighted::from(5).choose(9), &5);
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in ["200", "100:3,4000:1"] {
            let weighted: Weighted<usize> = text.parse().unwrap();
            assert_eq!(weighted.to_string(), text);
            let json = serde_json::to_string(&weighted).unwrap();
            assert_eq!(serde_json::from_str::<Weighted<usize>>(&json).unwrap(), weighted);
        }
        assert_eq!(serde_json::to_string(&Weighted::from(200)).unwrap(), "200");
        for text in ["", "x", "1:0", "1:x", "1:2,3", "1:2,", ":1", "1,2", "1:-1"] {
            assert!(text.parse::<Weighted<usize>>().is_err(), "{text}");
        }
    }
}
