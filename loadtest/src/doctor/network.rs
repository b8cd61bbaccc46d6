//! Ports, memory of sockets, and the queues on the way of a connection.

use super::{Facts, Finding, Plan, Severity};

/// The server's `listen.backlog`, unless it is configured otherwise.
const SERVER_BACKLOG: u64 = 4096;

/// The kernel's default for packets that wait for a processor; loopback goes through there, too.
const DEVICE_QUEUE_MIN: u64 = 1000;

/// The whole range that is left beside the well-known ports.
const PORT_RANGE_WIDEST: (u16, u16) = (1024, 65_535);

/// A share of the sockets that has unread bytes as soon as one end stops for a few seconds:
/// heartbeats come twice a minute from each.
const UNREAD_SHARE: u64 = 10;

pub(super) fn findings(plan: &Plan, facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![ports(plan, facts), socket_memory(plan, facts), tracking(plan, facts)];
    if plan.is_local() {
        findings.extend([accept_queue(facts), syn_queue(facts), device_queue(facts)]);
    }
    findings
}

fn ports(plan: &Plan, facts: &Facts) -> Finding {
    const CHECK: &str = "net.ipv4.ip_local_port_range";
    const WHY: &str = "Each connection from one address to one server needs a port of its own. \
                       Towards a loopback address the harness uses as many addresses of 127/8 as it \
                       needs.";
    let Some((first, last)) = facts.ports else {
        return Finding::unknown(CHECK, WHY);
    };
    let count = |(first, last): (u16, u16)| u64::from(last.saturating_sub(first)) + 1;
    let sources = plan.sources();
    let needed = u64::from(plan.connections).div_ceil(sources);
    let (room, widest) = (count((first, last)), count(PORT_RANGE_WIDEST));
    let severity = if room < needed { Severity::Blocks } else { Severity::Ok };
    let mend = if needed <= widest {
        format!("sysctl -w {CHECK}=\"{} {}\"", PORT_RANGE_WIDEST.0, PORT_RANGE_WIDEST.1)
    } else {
        let runs = u64::from(plan.connections).div_ceil(widest);
        format!("no range is wide enough: use {runs} machines or addresses")
    };
    Finding {
        check: CHECK,
        found: format!("{room} ports ({first} to {last})"),
        needed: format!("{needed} from each of {sources} addresses"),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok).then_some(mend),
    }
}

fn socket_memory(plan: &Plan, facts: &Facts) -> Finding {
    const CHECK: &str = "net.ipv4.tcp_mem";
    const WHY: &str = "A socket with unread or unsent bytes takes at least a page, an idle one takes \
                       none. Beyond the maximum the kernel drops packets; beyond the second figure \
                       it shrinks windows.";
    let Some(pages) = facts.tcp_pages else {
        return Finding::unknown(CHECK, WHY);
    };
    let needed = plan.sockets();
    let severity = if pages[2] >= needed {
        Severity::Ok
    } else if pages[2] >= needed / UNREAD_SHARE {
        Severity::Warning
    } else {
        Severity::Blocks
    };
    let mend = format!("sysctl -w {CHECK}=\"{} {} {needed}\"", needed / 2, needed / 4 * 3);
    Finding {
        check: CHECK,
        found: format!(
            "{} pages ({} MiB) at most",
            pages[2],
            pages[2].saturating_mul(facts.page_bytes) >> 20
        ),
        needed: format!("{needed} pages if all have unread data"),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok).then_some(mend),
    }
}

fn tracking(plan: &Plan, facts: &Facts) -> Finding {
    const CHECK: &str = "net.netfilter.nf_conntrack_max";
    const WHY: &str = "A firewall that follows connections has an entry for each, and drops packets \
                       of those for which it has no room.";
    let (Some(tracked), Some(limit)) = (facts.tracked, facts.tracked_max) else {
        let (found, needed) = ("no tracking".to_owned(), "-".to_owned());
        let (severity, mend) = (Severity::Ok, None);
        return Finding { check: CHECK, found, needed, why: WHY, severity, mend };
    };
    let needed = tracked + u64::from(plan.connections);
    // Where connections are followed, some are: this machine is reached by one.
    let severity = match (limit >= needed, tracked) {
        (true, _) => Severity::Ok,
        (false, 0) => Severity::Warning,
        (false, _) => Severity::Blocks,
    };
    Finding {
        check: CHECK,
        found: format!("{limit}, {tracked} in use"),
        needed: needed.to_string(),
        why: WHY,
        severity,
        mend: (severity > Severity::Ok).then(|| format!("sysctl -w {CHECK}={needed}")),
    }
}

/// A limit that is judged by one number.
fn at_least(check: &'static str, why: &'static str, found: Option<u64>, needed: u64) -> Finding {
    let Some(found) = found else {
        return Finding::unknown(check, why);
    };
    let severity = if found >= needed { Severity::Ok } else { Severity::Warning };
    Finding {
        check,
        found: found.to_string(),
        needed: needed.to_string(),
        why,
        severity,
        mend: (severity > Severity::Ok).then(|| format!("sysctl -w {check}={needed}")),
    }
}

fn accept_queue(facts: &Facts) -> Finding {
    const WHY: &str = "Connections that wait to be accepted, for each listener of the server \
                       (listen.backlog is cut to this). Beyond it, connects are delayed by a second \
                       and more.";
    at_least("net.core.somaxconn", WHY, facts.accept_queue_max, SERVER_BACKLOG)
}

fn syn_queue(facts: &Facts) -> Finding {
    const WHY: &str = "Connections whose handshake is not complete. With net.ipv4.tcp_syncookies an \
                       overflow is answered by cookies; without, it is dropped.";
    let cookies = facts.syn_cookies.is_some_and(|cookies| cookies > 0);
    let needed = if cookies { 1 } else { SERVER_BACKLOG };
    at_least("net.ipv4.tcp_max_syn_backlog", WHY, facts.syn_queue_max, needed)
}

fn device_queue(facts: &Facts) -> Finding {
    const WHY: &str = "Packets that wait for a processor, those over loopback too; beyond it they \
                       are dropped and sent again 200 ms later.";
    at_least("net.core.netdev_max_backlog", WHY, facts.device_queue_max, DEVICE_QUEUE_MIN)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{judge, million, roomy};
    use super::*;

    const PORTS: &str = "net.ipv4.ip_local_port_range";
    const MEMORY: &str = "net.ipv4.tcp_mem";
    const TRACKING: &str = "net.netfilter.nf_conntrack_max";

    fn elsewhere(connections: u32) -> Plan {
        let address = "192.0.2.1:7410".parse().unwrap();
        Plan { connections, address, ..million() }
    }

    #[test]
    fn one_address_has_as_many_connections_as_ports() {
        assert_eq!(judge(PORTS, million(), &roomy()).severity, Severity::Ok);
        assert_eq!(judge(PORTS, elsewhere(28_232), &roomy()).severity, Severity::Ok);
        let found = judge(PORTS, elsewhere(28_233), &roomy());
        assert_eq!(found.severity, Severity::Blocks);
        let command = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"";
        assert_eq!(found.mend.as_deref(), Some(command));
        let found = judge(PORTS, elsewhere(1_000_000), &roomy());
        assert!(found.mend.unwrap().contains("16 machines"));
        let narrow = Facts { ports: Some((40_000, 48_000)), ..roomy() };
        assert_eq!(judge(PORTS, million(), &narrow).severity, Severity::Blocks);
    }

    #[test]
    fn sockets_with_unread_data_need_a_page_each() {
        let with = |maximum| Facts { tcp_pages: Some([1, 2, maximum]), ..roomy() };
        let found = judge(MEMORY, million(), &with(575_802));
        assert_eq!(found.severity, Severity::Warning);
        let command = "sysctl -w net.ipv4.tcp_mem=\"1000000 1500000 2000000\"";
        assert_eq!(found.mend.as_deref(), Some(command));
        assert_eq!(judge(MEMORY, million(), &with(90_000)).severity, Severity::Blocks);
        assert_eq!(judge(MEMORY, elsewhere(1000), &with(90_000)).severity, Severity::Ok);
    }

    #[test]
    fn a_firewall_that_follows_needs_an_entry_for_each() {
        let with = |tracked| Facts { tracked, tracked_max: Some(262_144), ..roomy() };
        let found = judge(TRACKING, million(), &with(Some(20)));
        assert_eq!(found.severity, Severity::Blocks);
        let command = "sysctl -w net.netfilter.nf_conntrack_max=1000020";
        assert_eq!(found.mend.as_deref(), Some(command));
        assert_eq!(judge(TRACKING, million(), &with(Some(0))).severity, Severity::Warning);
        assert_eq!(judge(TRACKING, million(), &with(None)).severity, Severity::Ok);
    }

    #[test]
    fn queues_matter_where_the_server_is() {
        let facts = Facts { accept_queue_max: Some(128), syn_cookies: Some(0), ..roomy() };
        let found = judge("net.core.somaxconn", million(), &facts);
        assert_eq!(found.mend.as_deref(), Some("sysctl -w net.core.somaxconn=4096"));
        let found = judge("net.ipv4.tcp_max_syn_backlog", million(), &facts);
        assert_eq!(found.severity, Severity::Warning);
        let checks = findings(&elsewhere(1000), &facts);
        assert!(checks.iter().all(|finding| finding.check != "net.core.somaxconn"));
    }
}
