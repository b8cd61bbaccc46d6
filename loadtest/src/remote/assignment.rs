//! What a generator is told once: which share of which run against which server.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::error::LoadtestError;
use crate::net::Trust;
use crate::target::{Service, Target};
use crate::token::Issuer;
use dunlin_client::driver::Fingerprint;

/// A share of a run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment<T> {
    pub(crate) server: Server,
    /// Indices within the run.
    pub(crate) users: Range<u32>,
    /// Where the zero of the run's clock is on the generator's clock of this link.
    pub(crate) clock_zero_ns: i64,
    /// What its kind of run needs: nobody on the way looks into it.
    pub(crate) task: T,
}

/// A [`Target`] that means the same on another machine. Its process does not.
#[derive(Serialize, Deserialize)]
pub(crate) struct Server {
    address: SocketAddr,
    tls: Option<Tls>,
    web: bool,
    service: Spoken,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tls {
    Insecure,
    Fingerprint([u8; 32]),
    /// The text of the file, which is on the coordinator's machine.
    Pem(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Spoken {
    Dunlin { issuer: String, secret: String },
    Relay,
    Holder,
}

impl Server {
    pub(crate) fn new(target: &Target) -> io::Result<Server> {
        let tls = match &target.tls {
            None => None,
            Some(Trust::Insecure) => Some(Tls::Insecure),
            Some(Trust::Fingerprint(Fingerprint(digest))) => Some(Tls::Fingerprint(*digest)),
            Some(Trust::PemFile(path)) => Some(Tls::Pem(std::fs::read_to_string(path)?)),
        };
        let service = match &target.service {
            Service::Relay => Spoken::Relay,
            Service::Holder => Spoken::Holder,
            Service::Dunlin(issuer) => Spoken::Dunlin {
                issuer: issuer.name().to_owned(),
                secret: BASE64_STANDARD.encode(issuer.secret()),
            },
        };
        Ok(Server { address: target.address, tls, web: target.web, service })
    }

    /// The target, and a file that it may name: it must live as long as the target is used.
    pub(crate) fn target(&self) -> Result<(Target, Option<NamedTempFile>), LoadtestError> {
        let mut file = None;
        let tls = match &self.tls {
            None => None,
            Some(Tls::Insecure) => Some(Trust::Insecure),
            Some(Tls::Fingerprint(digest)) => Some(Trust::Fingerprint(Fingerprint(*digest))),
            Some(Tls::Pem(text)) => {
                let written = pem_file(text);
                let failed = LoadtestError::machine("keeping the certificates to trust");
                let written = written.map_err(failed)?;
                let trust = Trust::PemFile(written.path().to_owned());
                file = Some(written);
                Some(trust)
            }
        };
        let service = match &self.service {
            Spoken::Relay => Service::Relay,
            Spoken::Holder => Service::Holder,
            Spoken::Dunlin { issuer, secret } => {
                let wrong = |error: base64::DecodeError| LoadtestError::Scenario {
                    field: "issuer",
                    reason: error.to_string(),
                };
                Service::Dunlin(Issuer::new(
                    issuer,
                    &BASE64_STANDARD.decode(secret).map_err(wrong)?,
                ))
            }
        };
        Ok((Target { address: self.address, tls, web: self.web, service, pid: None }, file))
    }
}

fn pem_file(text: &str) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(target: &Target) -> (Target, Option<NamedTempFile>) {
        let json = serde_json::to_string(&Server::new(target).unwrap()).unwrap();
        serde_json::from_str::<Server>(&json).unwrap().target().unwrap()
    }

    #[test]
    fn a_server_means_the_same_on_another_machine() {
        let certificates = pem_file("-----BEGIN").unwrap();
        let mut target = Target {
            address: "10.0.0.1:7".parse().unwrap(),
            tls: Some(Trust::PemFile(certificates.path().to_owned())),
            web: true,
            service: Service::Dunlin(Issuer::new("name", &[200; 40])),
            pid: Some(1),
        };
        let (there, file) = there_and_back(&target);
        drop(certificates);
        let Some(Trust::PemFile(path)) = there.tls else { panic!("{there:?}") };
        assert_eq!(std::fs::read_to_string(path).unwrap(), "-----BEGIN");
        drop(file);
        let Service::Dunlin(issuer) = there.service else { panic!("it is Dunlin") };
        assert_eq!((issuer.name(), issuer.secret()), ("name", &[200; 40][..]));
        assert_eq!((there.address, there.pid), (target.address, None));
        for trust in [Trust::Insecure, Trust::Fingerprint(Fingerprint([3; 32]))] {
            target.tls = Some(trust.clone());
            assert_eq!(there_and_back(&target).0.tls, Some(trust));
        }
        let plain = Target { tls: None, service: Service::Relay, ..target };
        let (there, _) = there_and_back(&plain);
        assert!(there.tls.is_none() && matches!(there.service, Service::Relay));
    }
}
