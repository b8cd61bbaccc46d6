//! What a server would open when it starts, looked at without changing anything.
//!
//! Everything that is wrong is told at once. What does not exist yet is made by the server, so it is
//! asked only whether that is possible.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dunlin_core::store::embedded::{self, OpenError};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use socket2::{Domain, Protocol, Socket, Type};

use super::data::{DataError, DataFolder};
use super::secrecy::{self, Exposed};
use crate::config::Config;
use crate::stream::entrance::{Entrance, ListenOn};
use crate::tls::{Certificate, TlsError, Untimely};

/// Why a server would not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Data(#[from] DataError),
    #[error("the store: {0}")]
    Store(#[from] OpenError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{address}: {error}")]
    Listen { entrance: Entrance, address: SocketAddr, error: io::Error },
}

/// The settings that lead to what is looked at.
pub(crate) const SETTINGS: [&str; 5] =
    ["data.folder", "tls.certificate_file", "tls.key_file", "listen.tcp", "listen.tls"];

impl Problem {
    /// The setting that leads there, one of [`SETTINGS`].
    pub(crate) fn setting(&self) -> &'static str {
        match self {
            Problem::Data(_) | Problem::Store(_) => "data.folder",
            Problem::Tls(error) => error.setting(),
            Problem::Listen { entrance, .. } => entrance.setting(),
        }
    }
}

/// What an operator should know, though a server starts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Warning {
    #[error("{0}")]
    Exposed(#[from] Exposed),
    #[error("{path}: others may look into the data folder (mode {mode:o}); chmod 700 it",
        path = path.display())]
    OpenFolder { path: PathBuf, mode: u32 },
    #[error("{path}: {untimely}", path = path.display())]
    Certificate { path: PathBuf, untimely: Untimely },
}

/// What stands in the way of a server with this configuration.
pub(crate) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let folder = config.data.folder.as_path();
    match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            problems.extend(ensure_can_be_made(folder).err().map(Problem::from));
        }
        _ => problems.extend(of_folder(&DataFolder::unopened(folder))),
    }
    let certificate = certificate(config);
    problems.extend(certificate.iter().flat_map(Certificate::wrong).map(Problem::from));
    problems
}

/// Addresses that are none of this machine's, or that this user may not listen on. That somebody
/// listens there already is no problem of a configuration: it may be this very server.
pub(crate) fn of_addresses(listen_on: &[ListenOn]) -> Vec<Problem> {
    let problem = |(entrance, address): &ListenOn| {
        let error = ensure_own(*address).err()?;
        Some(Problem::Listen { entrance: *entrance, address: *address, error })
    };
    listen_on.iter().filter_map(problem).collect()
}

/// What nobody should be able to read, and can; and a certificate that clients may refuse.
pub(crate) fn warnings(config: &Config, secret_files: &[PathBuf]) -> Vec<Warning> {
    let mut warnings: Vec<Warning> =
        secrecy::exposed(secret_files).into_iter().map(Warning::from).collect();
    let path = config.data.folder.clone();
    if let Ok(folder) = fs::metadata(&path)
        && folder.is_dir()
    {
        let mode = folder.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            warnings.push(Warning::OpenFolder { path, mode });
        }
    }
    let certificate = certificate(config);
    warnings.extend(certificate.and_then(|certificate| {
        let (path, untimely) = (certificate.path().to_owned(), certificate.untimely()?);
        Some(Warning::Certificate { path, untimely })
    }));
    warnings
}

fn ensure_own(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    match socket.bind(&address.into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    }
}

/// A folder that is there, and what the server would read in it.
fn of_folder(data: &DataFolder) -> Vec<Problem> {
    if let Err(error) = ensure_usable(data.path()) {
        return vec![error.into()];
    }
    let mut wrong: Vec<DataError> = data.ensure_restored().err().into_iter().collect();
    wrong.extend(data.ensure_own().err());
    let store = data.store();
    for folder in [data.tls(), store.clone()].into_iter().filter(|folder| folder.exists()) {
        wrong.extend(ensure_usable(&folder).err());
    }
    wrong.extend(data.wrong_keys());
    for secret in [data.key_file(), data.store_identity_file()] {
        wrong.extend(data.ensure_secret(&secret).err());
    }
    let mut problems: Vec<Problem> = wrong.into_iter().map(Problem::from).collect();
    if store.exists() {
        problems.extend(embedded::inspect(&store).err().map(Problem::from));
        problems.extend(unusable_files(&store).into_iter().map(Problem::from));
    }
    problems
}

/// The certificate that a server would show, if it exists.
fn certificate(config: &Config) -> Option<Certificate> {
    if config.listen.tls.is_empty() {
        return None;
    }
    config.tls.certificate().or_else(|| {
        let data = DataFolder::unopened(&config.data.folder);
        let (certificate, key) = (data.certificate_file(), data.key_file());
        // If one of them is missing, both are made.
        let is_there = certificate.exists() && key.exists();
        is_there.then(|| Certificate::of_files(&certificate, &key))
    })
}

/// Whether a folder can be made where the first of those above it is that exists.
fn ensure_can_be_made(path: &Path) -> Result<(), DataError> {
    let absolute = std::path::absolute(path);
    let absolute = absolute.map_err(|error| DataError::Io { path: path.to_owned(), error })?;
    let above = absolute.ancestors().skip(1).find(|above| above.exists());
    above.map_or(Ok(()), ensure_usable)
}

/// A folder in which files can be read and made.
fn ensure_usable(path: &Path) -> Result<(), DataError> {
    let io_error = |error| DataError::Io { path: path.to_owned(), error };
    if !fs::metadata(path).map_err(io_error)?.is_dir() {
        return Err(io_error(io::ErrorKind::NotADirectory.into()));
    }
    ensure_allowed(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
}

/// The files of the store that could not be read and written: those of another user, say.
fn unusable_files(store: &Path) -> Vec<DataError> {
    // That it can't be listed was said when it was looked at as a folder.
    let files = fs::read_dir(store).into_iter().flatten().flatten();
    let rights = Access::READ_OK | Access::WRITE_OK;
    files.filter_map(|file| ensure_allowed(&file.path(), rights).err()).collect()
}

fn ensure_allowed(path: &Path, rights: Access) -> Result<(), DataError> {
    let allowed = accessat(CWD, path, rights, AtFlags::EACCESS);
    allowed.map_err(|error| DataError::Io { path: path.to_owned(), error: error.into() })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn config(folder: &Path) -> Config {
        let mut config = Config::default();
        config.data.folder = folder.join("data");
        config
    }

    fn told(config: &Config) -> Vec<String> {
        let line = |problem: &Problem| format!("{}: {problem}", problem.setting());
        problems(config).iter().map(line).collect()
    }

    #[test]
    fn what_is_not_there_yet_is_no_problem_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        assert_eq!(told(&config), [""; 0]);
        assert!(!config.data.folder.exists());
    }

    #[test]
    fn a_file_where_a_folder_should_be_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        fs::write(&config.data.folder, "").unwrap();
        assert!(told(&config)[0].ends_with("data: not a directory"), "{:?}", told(&config));
        assert_eq!(told(&config).len(), 1);
        config.data.folder.push("deeper");
        assert!(told(&config)[0].contains("ot a directory"), "{:?}", told(&config));
    }

    #[test]
    fn all_that_is_wrong_with_a_data_folder_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let data = DataFolder::open(&config.data.folder).unwrap();
        data.signing_keys().unwrap();
        Certificate::own(&data).unwrap();
        fs::create_dir(data.store()).unwrap();
        assert_eq!(told(&config), [""; 0]);

        let chmod = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        chmod(&data.path().join("signing.key"), 0o640).unwrap();
        fs::write(data.path().join("signing.key.1"), [1; 31]).unwrap();
        chmod(&data.path().join("signing.key.1"), 0o600).unwrap();
        chmod(&data.key_file(), 0o644).unwrap();
        fs::write(data.certificate_file(), "no PEM").unwrap();
        fs::write(data.path().join("RESTORING"), "").unwrap();
        fs::write(data.store_identity_file(), "no store").unwrap();
        chmod(&data.store_identity_file(), 0o600).unwrap();
        let told = told(&config);
        for (problem, contains) in told.iter().zip([
            "its restore did not end",
            "signing.key: others may read it (mode 640)",
            "signing.key.1: 31 bytes, where a signing key has 32",
            "key.pem: others may read it (mode 644)",
            "data.folder: the store: STORE is damaged",
            "tls.certificate_file: ",
        ]) {
            assert!(problem.contains(contains), "{contains}: {told:?}");
        }
        assert_eq!(told.len(), 6, "{told:?}");
    }

    #[test]
    fn a_certificate_and_a_key_are_read_each_by_itself_and_must_fit() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| {
            let data = DataFolder::open(&folder.path().join(name)).unwrap();
            Certificate::own(&data).unwrap();
            data
        });
        let mut config = config(folder.path());
        let mut wrong = |certificate: PathBuf, key: PathBuf| {
            (config.tls.certificate_file, config.tls.key_file) = (certificate, key);
            told(&config)
        };
        assert_eq!(wrong(one.certificate_file(), one.key_file()), [""; 0]);
        assert_eq!(wrong(one.certificate_file(), other.key_file()).len(), 1);
        let none = folder.path().join("none");
        assert_eq!(wrong(none.clone(), none.clone()).len(), 2);
        assert_eq!(wrong(one.key_file(), none).len(), 2);
    }

    #[test]
    fn others_who_may_look_in_are_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        DataFolder::open(&config.data.folder).unwrap();
        assert_eq!(warnings(&config, &[]).len(), 0);
        fs::set_permissions(&config.data.folder, Permissions::from_mode(0o755)).unwrap();
        let warnings = warnings(&config, &[]);
        assert!(matches!(warnings[..], [Warning::OpenFolder { mode: 0o755, .. }]));
    }

    #[test]
    fn a_certificate_that_has_expired_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let data = DataFolder::open(&config.data.folder).unwrap();
        Certificate::own(&data).unwrap();
        assert_eq!(warnings(&config, &[]).len(), 0);
        let key = rcgen::KeyPair::from_pem(&fs::read_to_string(data.key_file()).unwrap()).unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        let expired = params.self_signed(&key).unwrap();
        fs::write(data.certificate_file(), expired.pem()).unwrap();
        assert_eq!(told(&config), [""; 0]);
        let warnings = warnings(&config, &[]);
        let untimely = matches!(
            warnings[..],
            [Warning::Certificate { untimely: Untimely::Expired { days: 100.. }, .. }]
        );
        assert!(untimely, "{warnings:?}");
    }

    #[test]
    fn an_address_that_is_taken_is_one_of_ours_and_a_foreign_one_is_not() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let foreign = "192.0.2.1:1".parse().unwrap();
        let own = (Entrance::Tcp, taken.local_addr().unwrap());
        let problems = of_addresses(&[own, (Entrance::Tls, foreign)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].setting(), "listen.tls");
        assert!(problems[0].to_string().starts_with("192.0.2.1:1: "), "{problems:?}");
    }
}
