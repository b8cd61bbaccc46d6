//! Where the socket is. An address has 108 bytes at most, and paths may be longer: then the folder
//! is opened, and the socket is named through the descriptor.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Bytes of a path in an address, without the 0 at the end.
const ADDRESS_BYTES_MAX: usize = 107;

/// A path that fits into an address.
struct Reachable {
    path: PathBuf,
    /// The path leads through it.
    _folder: Option<File>,
}

impl Reachable {
    fn new(path: &Path) -> io::Result<Reachable> {
        if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
            return Ok(Reachable { path: path.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        if path.parent().is_some_and(Path::exists) {
            return Ok(Reachable { path, _folder: Some(folder) });
        }
        let reason = format!("a path of over {ADDRESS_BYTES_MAX} bytes needs /proc");
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }
}

/// Listens, for the owner alone. It takes the place of a socket that a killed server has left;
/// that there is no other server is known by the lock of the store. The new socket is complete
/// before it gets its name, so that a command never finds one that nobody listens on.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let unfinished = path.with_extension("new");
    remove(&unfinished)?;
    let listener = UnixListener::bind(&Reachable::new(&unfinished)?.path)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
    fs::rename(&unfinished, path)?;
    Ok(listener)
}

/// Connects; `None` if nobody listens.
pub(super) fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    let connected = Reachable::new(path).and_then(|at| UnixStream::connect(&at.path));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        },
    }
}

/// Removes a socket that may not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn talk(path: &Path) {
        let listener = listen(path).unwrap();
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let mut here = connect(path).unwrap().expect("somebody listens");
        let (mut there, _) = listener.accept().unwrap();
        here.write_all(b"x").unwrap();
        there.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn a_socket_is_reached_at_short_and_at_long_paths() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        fs::create_dir(&long).unwrap();
        for folder in [folder.path(), &long] {
            talk(&folder.join("admin.sock"));
        }
    }

    #[test]
    fn a_socket_without_a_listener_is_nobody_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        assert!(connect(&path).unwrap().is_none());
        drop(listen(&path).unwrap());
        assert!(path.exists());
        assert!(connect(&path).unwrap().is_none());
        talk(&path);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(connect(&path).unwrap().is_none());
    }
}
