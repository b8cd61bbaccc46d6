//! What an error code means to whoever does not know it.

/// What the hundreds of an [`ErrorCode`](crate::wire::ErrorCode) say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// 100 to 199: the request is wrong, or can't be met. It is not repeated unchanged.
    Request,
    /// 200 to 299: log in again, with the next credential.
    Credentials,
    /// 300 to 399: repeat it after `retry_after_ms`, or after a second.
    NotNow,
    /// 400 to 499: the user may not. It is not repeated.
    NotAllowed,
    /// 500 to 599, and whatever is in no class: the server is at fault. It is repeated a few times,
    /// after growing delays.
    Server,
}

/// The class of a code, as it stands on the wire: also of one that this version does not know.
pub const fn class(code: i32) -> ErrorClass {
    match code {
        100..=199 => ErrorClass::Request,
        200..=299 => ErrorClass::Credentials,
        300..=399 => ErrorClass::NotNow,
        400..=499 => ErrorClass::NotAllowed,
        _ => ErrorClass::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ErrorCode;

    #[test]
    fn each_hundred_is_a_class_and_the_rest_is_the_servers_fault() {
        let first_and_last = [
            (100, ErrorClass::Request),
            (200, ErrorClass::Credentials),
            (300, ErrorClass::NotNow),
            (400, ErrorClass::NotAllowed),
            (500, ErrorClass::Server),
        ];
        for (first, expected) in first_and_last {
            assert_eq!((class(first), class(first + 99)), (expected, expected));
        }
        for outside in [i32::MIN, -1, 0, 99, 600, 1000, i32::MAX] {
            assert_eq!(class(outside), ErrorClass::Server, "{outside}");
        }
    }

    #[test]
    fn every_code_is_within_a_class() {
        let codes = (i32::from(i16::MIN)..10_000).filter(|code| ErrorCode::try_from(*code).is_ok());
        let outside: Vec<i32> = codes.filter(|code| !(100..600).contains(code)).collect();
        assert_eq!(outside, [ErrorCode::Unspecified as i32]);
    }
}
