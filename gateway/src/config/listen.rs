//! `[listen]`: where clients connect.

use std::net::{SocketAddr, ToSocketAddrs};

use super::error::SectionFaults;
use super::section::{Section, section};
use crate::limits::SHARDS_MAX;
use crate::proxy::networks::Networks;
use crate::stream::entrance::{Entrance, ListenOn};

section! {
    /// Where clients connect.
    Listen {
        /// Address and port for plain TCP; empty for none.
        tcp: String = "127.0.0.1:7410".into(),
        /// Address and port for TLS; empty for none.
        tls: String = "127.0.0.1:7411".into(),
        /// Address and port for WebSockets; empty for none.
        web: String = String::new(),
        /// Address and port for WebSockets over TLS; empty for none.
        web_tls: String = String::new(),
        /// Addresses and networks of proxies that say whose each connection is.
        proxies: Vec<String> = Vec::new(),
        /// Address and port where health and metrics are told over HTTP; empty for none.
        http: String = "127.0.0.1:7412".into(),
        /// I/O threads; 0 for one per core, or more if `limits.connections_max` needs them.
        shards: usize = 0,
        /// Connections that may wait in the kernel to be accepted, per shard and port.
        backlog: i32 = 4096,
    }
}

/// Where to tell of health and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenHttp {
    pub(crate) address: SocketAddr,
    /// Nobody has asked for it there. So a second server of one machine starts, though the first one
    /// listens there already.
    pub(crate) is_default: bool,
}

impl Section for Listen {
    const NAME: &'static str = "listen";
    type Checked = Vec<ListenOn>;

    fn check(&self, faults: &mut SectionFaults<'_>) -> Vec<ListenOn> {
        if Entrance::ALL.iter().all(|entrance| self.text_of(*entrance).is_empty()) {
            faults
                .refuse(&["tcp"], "is empty, and so are listen.tls, listen.web and listen.web_tls");
        }
        for text in &self.proxies {
            if let Err(reason) = Networks::check(text) {
                faults.refuse(&["proxies"], format!("{text:?} {reason}"));
            }
        }
        faults.count_within("shards", self.shards, 0..=SHARDS_MAX as u64);
        faults.within("backlog", self.backlog.max(0).cast_unsigned(), 1..=65_535);
        let mut listen_on: Vec<ListenOn> = Vec::new();
        for entrance in Entrance::ALL {
            let key = entrance.name();
            let Some(address) = address(key, self.text_of(entrance), faults) else { continue };
            let same = listen_on.iter().find(|(_, other)| *other == address && address.port() != 0);
            if let Some((other, _)) = same {
                // The kernel would let both listen, and spread the clients over them.
                faults.refuse(&[key], format!("is {address}, and so is {}", other.setting()));
            }
            listen_on.push((entrance, address));
        }
        listen_on
    }
}

impl Listen {
    /// Who is believed where a client comes from.
    pub(crate) fn proxies(&self) -> Networks {
        Networks::new(&self.proxies)
    }

    /// Where to tell of health and metrics, beside where clients connect.
    pub(super) fn check_http(
        &self,
        listen_on: &[ListenOn],
        faults: &mut SectionFaults<'_>,
    ) -> Option<ListenHttp> {
        let key = "http";
        let address = address(key, &self.http, faults)?;
        let is_default = self.http == Listen::default().http;
        let same = listen_on.iter().find(|(_, other)| *other == address && address.port() != 0);
        if let Some((other, _)) = same {
            faults.refuse(&[key], format!("is {address}, and so is {}", other.setting()));
        }
        if cfg!(not(feature = "http")) && !is_default {
            faults.refuse(&[key], "this program was built without HTTP");
        }
        Some(ListenHttp { address, is_default })
    }

    fn text_of(&self, entrance: Entrance) -> &str {
        match entrance {
            Entrance::Tcp => &self.tcp,
            Entrance::Tls => &self.tls,
            Entrance::Web => &self.web,
            Entrance::WebTls => &self.web_tls,
        }
    }
}

fn address(key: &str, text: &str, faults: &mut SectionFaults<'_>) -> Option<SocketAddr> {
    if text.is_empty() {
        return None;
    }
    match text.to_socket_addrs().map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => return Some(address),
        Ok(None) => faults.refuse(&[key], format!("{text:?} has no address")),
        Err(error) => faults.refuse(&[key], format!("{text:?} is no address:port: {error}")),
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::{Checked, Config};

    #[test]
    fn one_address_is_for_one_kind_of_connection() {
        let wrong = |tcp: &str, tls: &str| {
            let mut config = Config::default();
            (config.listen.tcp, config.listen.tls) = (tcp.into(), tls.into());
            Checked::new(config, 1024, 1).err().map(|errors| errors.to_string())
        };
        let told = "listen.tls: is 127.0.0.1:7410, and so is listen.tcp";
        assert_eq!(wrong("127.0.0.1:7410", "127.0.0.1:7410").as_deref(), Some(told));
        assert_eq!(wrong("127.0.0.1:7410", "127.0.0.2:7410"), None);
        assert_eq!(wrong("127.0.0.1:0", "127.0.0.1:0"), None);
    }
}
