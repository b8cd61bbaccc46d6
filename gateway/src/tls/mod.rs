//! TLS 1.3 and 1.2 by rustls with ring.
//!
//! - [`stream`]: one connection, over buffers that are not its own
//! - [`certificate`]: what the server shows, from files or made on first start

mod certificate;
mod stream;

pub(crate) use certificate::{Certificate, TlsError, ticketer};
pub(crate) use stream::TlsStream;
