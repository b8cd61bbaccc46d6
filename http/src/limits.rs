//! How many may ask, how much, and how long that may take.

use std::time::Duration;

/// Connections at a time; the next one waits in the kernel until one of them ends. One scraper, one health
/// check and a few people need a handful. With the two bounds below the memory of all of them is less than
/// a megabyte.
pub const CONNECTIONS_MAX: usize = 32;

/// Bytes of the head of a request, which is all of it that is read: the least that hyper takes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Headers of a request. A browser sends some twenty.
pub const HEADERS_MAX: usize = 64;

/// From the end of a response, or the beginning of a connection, to the end of the next head: who holds a
/// connection without a word gives it back soon, since there are few. A scraper that asks less often
/// connects anew, which costs it nothing on a local network.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Of a connection, whatever happens on it: who reads a response byte by byte has an end, too.
pub const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);

/// How long a node may take for an answer. Scrapers give up after ten seconds by default, health checks
/// after less.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// How long the end of the server waits for responses that are being written, and for what the node was
/// asked.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// After an accept that failed for want of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

// Who waits for an answer is not taken for somebody who says nothing.
const _: () = assert!(ANSWER_TIMEOUT.as_secs() < CONNECTION_LIFETIME.as_secs());
