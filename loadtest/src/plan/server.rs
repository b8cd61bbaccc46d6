//! The server under test, as a command line or a file names it.

use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::error::LoadtestError;
use crate::net::Trust;
use crate::plan::{HostPort, generator};
use crate::problem::{Problem, Problems};
use crate::spawn::{ISSUER, LISTEN_FOR_WEB, SpawnedServer};
use crate::target::{Service, Target};
use crate::token::Issuer;

/// The section of a file.
pub(crate) const SECTION: &str = "server";

/// The server under test: one that runs at an address, or a program to start.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerArguments {
    /// Where a running server listens.
    #[arg(long, value_name = "HOST:PORT")]
    pub address: Option<HostPort>,
    /// Start this program (dunlin) with an empty data folder for the run.
    #[arg(long, value_name = "PROGRAM")]
    pub spawn: Option<PathBuf>,
    /// Processors for the started server.
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    pub server_cpu: Vec<usize>,
    /// A setting for the started server; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub server_set: Vec<String>,
    /// Process of a running server on this machine, to report its memory and processor time.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// Connect with TLS.
    #[arg(long)]
    pub tls: bool,
    /// How to connect; tcp if nothing is said, and by --tls tls.
    #[arg(long, value_enum, value_name = "ENTRANCE", conflicts_with = "tls")]
    pub entrance: Option<Entrance>,
    /// PEM file of whom to trust; without it any certificate is accepted.
    #[arg(long, value_name = "FILE")]
    pub tls_authority: Option<PathBuf>,
    /// Name of the issuer that the server trusts ("iss").
    #[arg(long, value_name = "NAME", default_value = ISSUER)]
    pub issuer: String,
    /// Its HS256 secret in base64. No field of a file: secrets have files of their own.
    #[arg(long, value_name = "BASE64", env = "DUNLIN_LOADTEST_ISSUER_KEY", hide_env_values = true)]
    #[serde(skip)]
    pub issuer_key: Option<String>,
    /// A file with the same.
    #[arg(long, value_name = "FILE")]
    pub issuer_key_file: Option<PathBuf>,
}

/// The ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entrance {
    /// Frames on a bare socket.
    Tcp,
    /// Frames over TLS.
    Tls,
    /// Frames in a WebSocket, as browsers have them.
    Web,
    /// The same over TLS.
    WebTls,
}

impl Default for ServerArguments {
    fn default() -> ServerArguments {
        ServerArguments {
            address: None,
            spawn: None,
            server_cpu: Vec::new(),
            server_set: Vec::new(),
            server_pid: None,
            tls: false,
            entrance: None,
            tls_authority: None,
            issuer: ISSUER.to_owned(),
            issuer_key: None,
            issuer_key_file: None,
        }
    }
}

impl ServerArguments {
    /// Everything that makes no sense.
    pub fn problems(&self) -> Vec<Problem> {
        let (named, started) = (self.address.is_some(), self.spawn.is_some());
        if !named && !started {
            return vec![nowhere()];
        }
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
            }
        };
        wrong(named && started, "spawn", "a server that is started chooses its own address");
        let of_started = "only for a server that is started (spawn)";
        wrong(!started && !self.server_cpu.is_empty(), "server_cpu", of_started);
        wrong(!started && !self.server_set.is_empty(), "server_set", of_started);
        let of_named = "only for a server with an address";
        wrong(started && self.server_pid.is_some(), "server_pid", of_named);
        wrong(started && self.tls_authority.is_some(), "tls_authority", of_named);
        wrong(started && self.issuer_key_file.is_some(), "issuer_key_file", of_named);
        let said_twice = self.tls && self.entrance.is_some();
        wrong(said_twice, "entrance", "either this or tls");
        wrong(!self.is_secure() && self.tls_authority.is_some(), "tls_authority", "only with tls");
        problems
    }

    /// What is missing on this machine: files that are named and can't be read.
    pub fn missing(&self) -> Vec<Problem> {
        if let Some(program) = &self.spawn {
            // A name without a slash is looked for in PATH when it is started.
            let is_missing = program.components().count() > 1 && !program.is_file();
            let reason = format!("there is no file {}", program.display());
            let missing = is_missing.then(|| Problem::new(SECTION, "spawn", reason));
            let reason = generator::no_processor(&self.server_cpu);
            let processor = reason.map(|reason| Problem::new(SECTION, "server_cpu", reason));
            return missing.into_iter().chain(processor).collect();
        }
        let mut problems: Vec<_> = self.secret().err().into_iter().collect();
        if let Some(address) = &self.address
            && let Err(reason) = address.resolve()
        {
            problems.push(Problem::new(SECTION, "address", format!("{address}: {reason}")));
        }
        if let Some(Err(error)) = self.trust().map(|trust| trust.client_config()) {
            problems.push(Problem::new(SECTION, "tls_authority", error.to_string()));
        }
        problems
    }

    /// Hands a running server to `run`, or one that is started for it.
    pub fn with_target<T>(
        &self,
        run: impl FnOnce(Target) -> Result<T, LoadtestError>,
    ) -> Result<T, LoadtestError> {
        match (&self.spawn, &self.address) {
            (Some(program), _) => {
                let (processors, mut settings) = (&self.server_cpu, self.server_set.clone());
                if self.is_web() {
                    settings.extend(LISTEN_FOR_WEB.map(str::to_owned));
                }
                let server =
                    SpawnedServer::start(program, processors, &settings, Stdio::inherit())?;
                if !self.is_web() {
                    return run(server.target(self.is_secure()));
                }
                let target = server.web_target(self.is_secure());
                run(target.ok_or_else(|| LoadtestError::Server("it knows no WebSocket".into()))?)
            }
            (None, Some(address)) => {
                let secret = self.secret().map_err(Problems::from)?;
                let of_host =
                    |reason| LoadtestError::Target { address: address.to_string(), reason };
                run(Target {
                    address: address.resolve().map_err(of_host)?,
                    tls: self.trust(),
                    web: self.is_web(),
                    service: Service::Dunlin(Issuer::new(&self.issuer, &secret)),
                    pid: self.server_pid,
                })
            }
            (None, None) => Err(Problems::from(nowhere()).into()),
        }
    }

    fn trust(&self) -> Option<Trust> {
        let trust = || self.tls_authority.clone().map_or(Trust::Insecure, Trust::PemFile);
        self.is_secure().then(trust)
    }

    fn is_secure(&self) -> bool {
        self.tls || matches!(self.entrance, Some(Entrance::Tls | Entrance::WebTls))
    }

    fn is_web(&self) -> bool {
        matches!(self.entrance, Some(Entrance::Web | Entrance::WebTls))
    }

    fn secret(&self) -> Result<Vec<u8>, Problem> {
        let field = if self.issuer_key_file.is_some() { "issuer_key_file" } else { "issuer_key" };
        let wrong = |reason: String| Problem::new(SECTION, field, reason);
        let text = match (&self.issuer_key_file, &self.issuer_key) {
            (Some(path), _) => std::fs::read_to_string(path)
                .map_err(|error| wrong(format!("{}: {error}", path.display())))?,
            (None, Some(key)) => key.clone(),
            (None, None) => {
                let reason = "users log in by an issuer's token: its key is needed, in an \
                              issuer_key_file or in DUNLIN_LOADTEST_ISSUER_KEY";
                return Err(wrong(reason.to_owned()));
            }
        };
        BASE64_STANDARD.decode(text.trim()).map_err(|error| wrong(error.to_string()))
    }
}

fn nowhere() -> Problem {
    Problem::new(SECTION, "address", "a server has an address, or is started (spawn)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(arguments: &ServerArguments) -> Vec<String> {
        arguments.problems().into_iter().map(|problem| problem.field.into_owned()).collect()
    }

    #[test]
    fn a_server_is_named_or_started() {
        let nowhere = ServerArguments::default();
        assert_eq!(fields(&nowhere), ["address"]);
        let named = ServerArguments { address: "127.0.0.1:1".parse().ok(), ..nowhere.clone() };
        assert_eq!(fields(&named), [""; 0]);
        let both = ServerArguments { spawn: Some("dunlin".into()), server_pid: Some(1), ..named };
        assert_eq!(fields(&both), ["spawn", "server_pid"]);
        let started = ServerArguments { spawn: Some("dunlin".into()), ..nowhere };
        assert_eq!(fields(&started), [""; 0]);
    }

    #[test]
    fn files_that_cannot_be_read_are_missing() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let mut arguments = ServerArguments {
            address: "127.0.0.1:1".parse().ok(),
            tls: true,
            tls_authority: Some(folder.path().join("authority.pem")),
            issuer_key_file: Some(key.clone()),
            ..ServerArguments::default()
        };
        let missing = |arguments: &ServerArguments| -> Vec<_> {
            arguments.missing().into_iter().map(|problem| problem.field).collect()
        };
        assert_eq!(missing(&arguments), ["issuer_key_file", "tls_authority"]);
        std::fs::write(&key, "AAAA\n").unwrap();
        arguments.tls_authority = None;
        assert_eq!(missing(&arguments), [""; 0]);
        std::fs::write(&key, "no base64!").unwrap();
        assert_eq!(missing(&arguments), ["issuer_key_file"]);
        arguments.spawn = Some(folder.path().join("dunlin"));
        assert_eq!(missing(&arguments), ["spawn"]);
    }
}
