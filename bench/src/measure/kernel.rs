//! What the kernel keeps for connections. It counts for the whole machine, so only the difference
//! between two looks means something, and only if nobody else connects between them.

use std::io;

use serde::Serialize;

/// The kernel counts the memory of TCP in pages.
const PAGE_BYTES: u64 = 4096;

/// The kernel's memory at one moment, or what was added per connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct KernelMemory {
    /// Slabs in bytes: sockets, files, epoll items and all other objects of the kernel.
    pub slab_bytes: f64,
    /// Bytes in the queues of TCP sockets: 0 while nobody has said what is not yet read.
    pub tcp_bytes: f64,
}

impl KernelMemory {
    /// Looks at this machine.
    pub fn look() -> io::Result<KernelMemory> {
        let meminfo = std::fs::read_to_string("/proc/meminfo")?;
        let sockstat = std::fs::read_to_string("/proc/net/sockstat")?;
        parse(&meminfo, &sockstat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Slab or no TCP mem"))
    }

    /// What one of so many connections added since `before`.
    pub fn per_connection(self, before: KernelMemory, connections: u32) -> KernelMemory {
        let each = |after: f64, before: f64| (after - before) / f64::from(connections.max(1));
        KernelMemory {
            slab_bytes: each(self.slab_bytes, before.slab_bytes),
            tcp_bytes: each(self.tcp_bytes, before.tcp_bytes),
        }
    }
}

fn parse(meminfo: &str, sockstat: &str) -> Option<KernelMemory> {
    let slab = meminfo.lines().find_map(|line| line.strip_prefix("Slab:"))?;
    let slab_kib: u64 = slab.trim().strip_suffix(" kB")?.parse().ok()?;
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = tcp.split_whitespace();
    words.find(|&word| word == "mem")?;
    let tcp_pages: u64 = words.next()?.parse().ok()?;
    Some(KernelMemory {
        slab_bytes: (slab_kib * 1024) as f64,
        tcp_bytes: (tcp_pages * PAGE_BYTES) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_and_queues_are_found_and_divided() {
        let meminfo = "MemTotal:  24 kB\nSlab:              100 kB\nSReclaimable: 3 kB\n";
        let sockstat = "sockets: used 9\nTCP: inuse 6 orphan 0 tw 0 alloc 8 mem 3\nUDP: mem 1\n";
        let one = parse(meminfo, sockstat).unwrap();
        assert_eq!(one, KernelMemory { slab_bytes: 102_400.0, tcp_bytes: 12_288.0 });
        let each = one.per_connection(KernelMemory { slab_bytes: 2_400.0, tcp_bytes: 0.0 }, 100);
        assert_eq!(each, KernelMemory { slab_bytes: 1000.0, tcp_bytes: 122.88 });
        assert_eq!(parse(meminfo, "UDP: mem 1"), None);
        assert!(KernelMemory::look().unwrap().slab_bytes > 0.0);
    }
}
