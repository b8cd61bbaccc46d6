//! Addresses and networks that an operator names.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An address with the number of its bits that count: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    /// IPv4 mapped into IPv6.
    address: u128,
    mask: u128,
}

/// Some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Networks(Vec<Network>);

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoNetwork(&'static str);

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Networks {
    /// Of these texts, without those that are none: [`check`](Networks::check) has told of them.
    pub(crate) fn new(texts: &[String]) -> Networks {
        Networks(texts.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// What is wrong with one of them.
    pub(crate) fn check(text: &str) -> Result<(), NoNetwork> {
        text.parse::<Network>().map(|_| ())
    }

    /// Whether an address is in one of them.
    pub(crate) fn contain(&self, ip: IpAddr) -> bool {
        let address = mapped(ip);
        self.0.iter().any(|network| address & network.mask == network.address)
    }
}

/// `::ffff:192.0.2.7` and `192.0.2.7` are one.
fn mapped(ip: IpAddr) -> u128 {
    let ip: Ipv6Addr = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    ip.to_bits()
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| NoNetwork("is no address"))?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse::<u32>).ok().filter(|bits| *bits <= most);
        let bits = bits.ok_or(NoNetwork("has more bits than its address, or none"))?;
        let mask = u128::MAX.checked_shl(most - bits).unwrap_or(0);
        // In front of an IPv4 address are those that map it.
        let mask = if ip.is_ipv4() { mask | u128::MAX << 32 } else { mask };
        let address = mapped(ip);
        if address & !mask != 0 {
            return Err(NoNetwork("has bits behind its network: write those as 0"));
        }
        Ok(Network { address, mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(texts: &[&str], ip: &str) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Networks::new(&texts).contain(ip.parse().unwrap())
    }

    #[test]
    fn an_address_is_in_a_network_or_not() {
        for (text, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("::/0", "2001:db8::1", "never"),
            ("10.0.0.0/31", "10.0.0.1", "10.0.0.2"),
        ] {
            assert!(contain(&[text], inside), "{inside} in {text}");
            assert!(outside == "never" || !contain(&[text], outside), "{outside} in {text}");
        }
        assert!(contain(&["10.0.0.0/8"], "::ffff:10.1.1.1"));
        assert!(!contain(&[], "10.0.0.1"));
        assert!(contain(&["::1", "10.0.0.0/8"], "10.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_told() {
        for text in ["", "proxy", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.1/8", "10.0.0.0/-1"]
        {
            assert!(Networks::check(text).is_err(), "{text}");
        }
        assert_eq!(Networks::check("10.0.0.1/32"), Ok(()));
    }
}
