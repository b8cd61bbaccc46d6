//! Memory of this machine's kernel. Connections cost more of it than of the server's own.

use std::io::BufRead;

use serde::Serialize;

/// Kernel memory of the whole machine; with a harness on the same one, both ends of each
/// connection are in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KernelMemory {
    /// `Slab` of /proc/meminfo: the objects of sockets, descriptors and epoll.
    pub slab_bytes: u64,
    /// `mem` of TCP in /proc/net/sockstat: what waits in buffers of sockets.
    pub tcp_bytes: u64,
}

impl KernelMemory {
    /// Looks at it; `None` where /proc does not say.
    pub(crate) fn now(page_bytes: u64) -> Option<KernelMemory> {
        let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
        let sockstat = std::fs::read_to_string("/proc/net/sockstat").ok()?;
        Some(KernelMemory {
            slab_bytes: slab_kib(&meminfo)? * 1024,
            tcp_bytes: tcp_pages(&sockstat)? * page_bytes,
        })
    }
}

/// The unit of `mem`. Each mapping in smaps names it; the first is enough.
pub(crate) fn page_bytes() -> Option<u64> {
    let smaps = std::io::BufReader::new(std::fs::File::open("/proc/self/smaps").ok()?);
    let line = smaps.lines().map_while(Result::ok).find(|line| line.starts_with("KernelPageSize:"));
    line.and_then(|line| Some(kib(line.strip_prefix("KernelPageSize:")?)? * 1024))
}

fn slab_kib(meminfo: &str) -> Option<u64> {
    meminfo.lines().find_map(|line| kib(line.strip_prefix("Slab:")?))
}

fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    line.split_whitespace().skip_while(|&word| word != "mem").nth(1)?.parse().ok()
}

fn kib(value: &str) -> Option<u64> {
    value.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_proc_are_understood() {
        let meminfo = "MemFree:  12 kB\nSlab:         8824888 kB\nSReclaimable: 1 kB\n";
        assert_eq!(slab_kib(meminfo), Some(8_824_888));
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 3 alloc 7 mem 12821\n\
                        UDP: inuse 0 mem 4\n";
        assert_eq!(tcp_pages(sockstat), Some(12_821));
        assert_eq!((slab_kib(""), tcp_pages("TCP: inuse 5")), (None, None));
    }

    #[test]
    fn this_machine_has_some() {
        let page_bytes = page_bytes().unwrap();
        assert!(page_bytes.is_power_of_two() && page_bytes >= 4096);
        assert!(KernelMemory::now(page_bytes).unwrap().slab_bytes > 0);
    }
}
