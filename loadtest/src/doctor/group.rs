//! The memory limit of the control group that this process is in, or of one above it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The group with the least room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupMemory {
    /// What all processes of the group may use.
    pub limit_bytes: u64,
    /// What they use, without the part of the page cache that goes first.
    pub used_bytes: u64,
    /// Where the limit is set.
    pub limit_file: PathBuf,
}

/// Names of the two versions of control groups.
struct Version {
    folder: &'static str,
    limit: &'static str,
    used: &'static str,
    reclaimable: &'static str,
}

const FIRST: Version = Version {
    folder: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};

const SECOND: Version = Version {
    folder: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file",
};

/// The first version says "no limit" with a number near the largest.
const LIMIT_MAX: u64 = 1 << 60;

impl GroupMemory {
    /// Looks below `root`, which is `/` but for tests. `None` if there is no limit.
    pub(super) fn read(root: &Path) -> Option<GroupMemory> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let (version, group) = own_group(&groups)?;
        let folder = root.join(version.folder);
        // In a container, the path may be one that only the outside knows: what is there counts.
        let mut limits = Vec::new();
        for group in Path::new(group.trim_start_matches('/')).ancestors() {
            limits.extend(read_group(&folder.join(group), &version));
        }
        limits.into_iter().min_by_key(|group| group.limit_bytes.saturating_sub(group.used_bytes))
    }
}

/// Lines are `number:controllers:path`; the second version has number 0 and names no controllers.
fn own_group(groups: &str) -> Option<(Version, &str)> {
    let mut second = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some((FIRST, path));
        }
        if controllers.is_empty() {
            second = Some((SECOND, path));
        }
    }
    second
}

fn read_group(folder: &Path, version: &Version) -> Option<GroupMemory> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    // "max" is no number, and no limit.
    let limit_bytes = number(version.limit).filter(|&limit: &u64| limit < LIMIT_MAX)?;
    let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let reclaimable: u64 = statistics
        .lines()
        .find_map(|line| line.strip_prefix(version.reclaimable)?.trim().parse().ok())
        .unwrap_or(0);
    let used_bytes = number(version.used)?.saturating_sub(reclaimable);
    Some(GroupMemory { limit_bytes, used_bytes, limit_file: folder.join(version.limit) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_limit_of_a_group_above_counts() {
        let root = root(&[
            ("proc/self/cgroup", "0::/system.slice/run.service\n"),
            ("sys/fs/cgroup/system.slice/run.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/run.service/memory.current", "700\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "5000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "900\n"),
            ("sys/fs/cgroup/system.slice/memory.stat", "anon 5\ninactive_file 100\n"),
        ]);
        let group = GroupMemory::read(root.path()).unwrap();
        assert_eq!((group.limit_bytes, group.used_bytes), (5000, 800));
        assert!(group.limit_file.ends_with("system.slice/memory.max"));
    }

    #[test]
    fn the_first_version_is_still_there() {
        let root = root(&[
            ("proc/self/cgroup", "4:memory:/box\n1:cpu:/\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "4096\n"),
            ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "96\n"),
        ]);
        let group = GroupMemory::read(root.path()).unwrap();
        assert_eq!((group.limit_bytes, group.used_bytes), (4096, 96));
    }

    #[test]
    fn no_limit_is_none() {
        let unlimited = root(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.current", "7\n"),
        ]);
        assert_eq!(GroupMemory::read(unlimited.path()), None);
        assert_eq!(GroupMemory::read(Path::new("/nowhere")), None);
    }
}
