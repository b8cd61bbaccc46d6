//! From when to when a certificate is good: the one thing of it that a server should know, since
//! clients that look at it will refuse it.

use rustls_pki_types::CertificateDer;

/// Tags of DER (X.690).
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]`, where the version of a certificate is, if it says one.
const VERSION: u8 = 0xa0;

const DAY_S: i64 = 24 * 3600;

/// How long before the end an operator is told: renewals by machine come weeks earlier, so this is
/// one that has failed.
const SOON_DAYS: i64 = 14;

/// From when to when, in seconds since 1970, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Validity {
    not_before: i64,
    not_after: i64,
}

/// What is wrong with the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untimely {
    #[error("the certificate expired {days} days ago; clients that look will refuse it")]
    Expired { days: i64 },
    #[error("the certificate is good only in {days} days; clients that look will refuse it")]
    NotYet { days: i64 },
    #[error("the certificate expires in {days} days")]
    Soon { days: i64 },
}

/// What is wrong with a certificate at this time, in seconds since 1970. Nothing is, as far as
/// anybody can tell, if its times can't be read.
pub(super) fn untimely(certificate: &CertificateDer<'_>, now: i64) -> Option<Untimely> {
    let Validity { not_before, not_after } = validity(certificate)?;
    let days = |seconds: i64| seconds / DAY_S;
    if now > not_after {
        return Some(Untimely::Expired { days: days(now - not_after) });
    }
    if now < not_before {
        return Some(Untimely::NotYet { days: days(not_before - now) });
    }
    let left = days(not_after - now);
    (left < SOON_DAYS).then_some(Untimely::Soon { days: left })
}

/// Certificate, TBSCertificate and Validity are sequences within each other (RFC 5280, 4.1).
fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (signed, _) = element(certificate, SEQUENCE)?;
    let after_version = element(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = element(after_version, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (times, _) = element(rest, SEQUENCE)?;
    let (not_before, times) = time(times)?;
    let (not_after, _) = time(times)?;
    Some(Validity { not_before, not_after })
}

/// The content of the element that comes first, if it has this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // So many bytes of length follow; four are more than any certificate has.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` after it.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, year_digits) = match element(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, 2),
        None => element(bytes, GENERALIZED_TIME).map(|(text, rest)| (text, rest, 4))?,
    };
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == year_digits + 10)?;
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0, |sum: i64, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let (year, others) = digits.split_at(year_digits);
    let year = match (year_digits, number(year)?) {
        (2, year @ 0..50) => 2000 + year,
        (2, year) => 1900 + year,
        (_, year) => year,
    };
    let mut parts = [0; 5];
    for (part, digits) in parts.iter_mut().zip(others.chunks_exact(2)) {
        *part = number(digits)?;
    }
    let [month, day, hour, minute, second] = parts;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    let seconds = days_since_1970(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    is_date.then_some((seconds, rest))
}

/// Years begin in March here, so that a leap day is the last of one, and months have the lengths of
/// (153 * month + 2) / 5.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: (i32, u8, u8), to: (i32, u8, u8)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 2, 29), 11_016);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        assert_eq!(days_since_1970(2026, 11, 25), 20_782);
        assert_eq!(days_since_1970(2100, 3, 1) - days_since_1970(2100, 2, 28), 1);
    }

    #[test]
    fn a_certificate_is_good_from_its_first_to_its_last_day() {
        // The second one ends in the other way to write a time.
        for end in [2049, 2050] {
            let certificate = certificate((2026, 11, 25), (end, 1, 1));
            let of = |year: i32, month, day| {
                untimely(&certificate, days_since_1970(year.into(), month, day) * DAY_S)
            };
            assert_eq!(of(2026, 11, 23), Some(Untimely::NotYet { days: 2 }));
            assert_eq!(of(2026, 11, 25), None);
            assert_eq!(of(end - 1, 12, 17), None);
            assert_eq!(of(end - 1, 12, 31), Some(Untimely::Soon { days: 1 }));
            assert_eq!(of(end, 1, 4), Some(Untimely::Expired { days: 3 }));
        }
    }

    #[test]
    fn no_bytes_do_any_harm() {
        let certificate = certificate((2026, 11, 25), (2027, 11, 25));
        for end in 0..certificate.len() {
            let _said = untimely(&CertificateDer::from(&certificate[..end]), 0);
            let mut bytes = certificate.to_vec();
            bytes[end] ^= 0xff;
            let _said = untimely(&CertificateDer::from(bytes), 0);
        }
        assert_eq!(untimely(&CertificateDer::from(&b"\x30\x03\x30\x01\x02"[..]), 0), None);
    }
}
