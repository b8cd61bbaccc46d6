//! The command line.

use std::path::PathBuf;

use clap::Parser;
use dunlin_client::driver::{Fingerprint, Transport, Trust};

/// A chat in the terminal.
///
/// In it, /to NAME opens a conversation, and /help lists what else there is.
#[derive(Debug, Parser)]
#[command(name = "dunlin-chat", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Your user name.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// Make the account first, if it does not exist.
    #[arg(long)]
    pub(crate) register: bool,
    /// The code of the invitation to register by.
    #[arg(long, value_name = "CODE", requires = "register")]
    pub(crate) invitation: Option<String>,
    /// Where the server listens [default: 127.0.0.1:7410, with --tls 127.0.0.1:7411].
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    server: Option<String>,
    /// Use TLS; the server proves itself by --fingerprint or --ca.
    #[arg(long, requires = "trust")]
    tls: bool,
    /// SHA-256 of the server's certificate, as `dunlin serve` prints it.
    #[arg(long, value_name = "HEX", requires = "tls", group = "trust")]
    fingerprint: Option<Fingerprint>,
    /// PEM file of the certificates that may sign the server's, or of the server's own.
    #[arg(long, value_name = "FILE", requires = "tls", group = "trust")]
    ca: Option<PathBuf>,
    /// Believe any server: anyone on the way can read and change everything.
    #[arg(long, requires = "tls", group = "trust")]
    insecure: bool,
    /// Take the password from this environment variable. Otherwise it is asked for.
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) password_env: Option<String>,
    /// Folder of this device's id, its tokens, and the messages that are not sent yet
    /// [default: dunlin-chat/SERVER/USER in $XDG_STATE_HOME or ~/.local/state].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// Do not tell others how far you have read what they write.
    #[arg(long)]
    pub(crate) private: bool,
    /// Lines instead of a screen; so it is by itself if the output is no terminal.
    #[arg(long)]
    pub(crate) plain: bool,
}

impl Arguments {
    /// The ports are those of a server that was told nothing else.
    pub(crate) fn server(&self) -> &str {
        match &self.server {
            Some(server) => server,
            None if self.tls => "127.0.0.1:7411",
            None => "127.0.0.1:7410",
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match (self.tls, self.fingerprint, &self.ca) {
            (false, ..) => Transport::Tcp,
            (true, Some(fingerprint), _) => Transport::Tls(Trust::Fingerprint(fingerprint)),
            (true, None, Some(file)) => Transport::Tls(Trust::PemFile(file.clone())),
            // One of the three is there: the parser has seen to it.
            (true, None, None) => Transport::Tls(Trust::Insecure),
        }
    }
}

/// What is no address is said at once: to try it again and again would not help.
fn host_port(text: &str) -> Result<String, &'static str> {
    let is_host = |host: &str| {
        let is_bare = !host.is_empty() && !host.contains(':');
        is_bare || (host.starts_with('[') && host.ends_with(']'))
    };
    let parts = text.rsplit_once(':');
    match parts.is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok()) {
        true => Ok(text.to_owned()),
        false => Err("HOST:PORT is expected, for example 127.0.0.1:7410"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(arguments.split(' '))
    }

    #[test]
    fn a_server_has_a_host_and_a_port() {
        let server = |server| parse(&format!("dunlin-chat --user alice --server {server}"));
        for good in ["im.example.org:7410", "127.0.0.1:1", "[::1]:7410"] {
            assert_eq!(server(good).unwrap().server(), good);
        }
        for bad in ["im.example.org", ":7410", "::1", "a:b", "a:70000", "a:"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn trust_is_never_left_out_by_accident() {
        let plain = parse("dunlin-chat --user alice").unwrap();
        assert_eq!(plain.transport(), Transport::Tcp);
        assert_eq!(plain.server(), "127.0.0.1:7410");
        assert!(parse("dunlin-chat --user alice --tls").is_err());
        assert!(parse("dunlin-chat --user alice --insecure").is_err());
        assert!(parse("dunlin-chat --user alice --tls --insecure --ca file").is_err());
        assert!(parse("dunlin-chat --user alice --tls --fingerprint AB").is_err());
        let insecure = parse("dunlin-chat --user alice --tls --insecure").unwrap();
        assert_eq!(insecure.transport(), Transport::Tls(Trust::Insecure));
        assert_eq!(insecure.server(), "127.0.0.1:7411");
        let elsewhere = parse("dunlin-chat --user alice --tls --insecure --server a:1").unwrap();
        assert_eq!(elsewhere.server(), "a:1");
        let by_file = parse("dunlin-chat --user alice --tls --ca file").unwrap();
        assert_eq!(by_file.transport(), Transport::Tls(Trust::PemFile("file".into())));
    }
}
