//! Clients behind a proxy: the header of the PROXY protocol, which says from where they come.
//!
//! A proxy that passes connections on as they are (haproxy, nginx `stream`, the load balancers of clouds) would make
//! all clients come from its own address, with one budget for all of them. So it says before the first byte of each
//! connection whose it is, in a line of text (version 1) or in bytes (version 2):
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.
//!
//! Whoever can say where he comes from can say that he comes from anywhere. So a header is only read where
//! `listen.proxies` names the peer, and there it must come; from everybody else it is as wrong as any other bytes.
//!
//! - [`header`]: the two versions of it; [`networks`]: who is believed

pub(crate) mod header;
pub(crate) mod networks;
