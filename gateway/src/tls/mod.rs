//! TLS 1.3 and 1.2 by rustls with ring: what the server shows, from files or made on first start.
//! The connections themselves are streams ([`crate::stream::tls`]).

mod certificate;
mod validity;

pub(crate) use certificate::{Certificate, TlsConfigs, TlsError, ticketer};
pub(crate) use validity::Untimely;
