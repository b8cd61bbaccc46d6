//! The command line of `dunlin`.

mod backup;
mod check_config;
mod config;
mod consumer;
mod http;
mod invite;
mod log_level;
mod new_epoch;
mod password;
mod restore;
mod serve;
mod session;
mod signals;
mod status;
mod user;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dunlin_core::auth::display;

use crate::config::{Checked, ConfigErrors, Flag, Loaded, Sources};
use crate::log;

/// Why a command failed, in one line for the terminal.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// An instant-messaging server. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "dunlin", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve,
    /// Read and check the configuration, then say what it amounts to.
    CheckConfig,
    /// Print every setting as it counts, with where it was said; secrets are left out.
    Config {
        /// Only what is not at its default.
        #[arg(long)]
        changed: bool,
    },
    /// Set what a running server logs, until it is told to read its configuration again.
    Log {
        /// off, error, warn, info, debug, trace, or by module as in "info,dunlin_gateway=debug".
        level: String,
    },
    /// What a running server counts: connections, rates, queues, disk, how long things take.
    Status(status::StatusArgs),
    /// Make, list and change accounts; with or without a server that runs.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Invitations to register, for `engine.registration = "invitation"`.
    #[command(subcommand)]
    Invite(invite::InviteCommand),
    /// List and forget the consumers of the feed; with or without a server that runs.
    #[command(subcommand)]
    Consumer(consumer::ConsumerCommand),
    /// Copy everything to a folder, also while the server runs.
    Backup {
        /// New or empty; outside of the data folder.
        folder: PathBuf,
        /// An earlier backup on the same file system: files that have not changed since are linked to
        /// its files, and take no more room. Both are whole: either can be restored, or deleted.
        #[arg(long, value_name = "FOLDER")]
        since: Option<PathBuf>,
    },
    /// Fill an empty data folder from a backup, after checking all of it.
    Restore {
        /// What `dunlin backup` has made.
        backup: PathBuf,
        /// The store was damaged when the backup was made: restore what of it is whole.
        #[arg(long)]
        accept_damage: bool,
    },
    /// Read everything that is stored, and compare the index with it.
    Verify {
        /// Check this backup instead of the data folder.
        #[arg(long, value_name = "FOLDER")]
        backup: Option<PathBuf>,
        /// You have seen the damage that was told at a start: from now on it is not listed.
        #[arg(long, conflicts_with = "backup")]
        acknowledge: bool,
    },
    /// Begin a new epoch, after a data folder was put back from a copy; no server may run.
    NewEpoch,
    /// Print the version.
    Version,
}

/// Settings that every command takes. Later sources win: file, environment
/// (`DUNLIN_SECTION_KEY`), these.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// Configuration file [default: ./dunlin.toml if it exists].
    #[arg(long, global = true, env = "DUNLIN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder (data.folder).
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<OsString>,
    /// Address for plain TCP, empty for none (listen.tcp).
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen_tcp: Option<String>,
    /// Address for TLS, empty for none (listen.tls).
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen_tls: Option<String>,
    /// Address for health and metrics over HTTP, empty for none (listen.http).
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen_http: Option<String>,
    /// What is logged: error, warn, info, debug, trace (log.level).
    #[arg(long, global = true, value_name = "LEVEL")]
    log: Option<String>,
    /// Any other setting; may be repeated.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("section.key=value is expected")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl SettingsArgs {
    fn sources(&self) -> Sources {
        let flag = |name: &str, key: &str, value: &str| Flag {
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let data = self.data.as_ref().map(|folder| folder.to_string_lossy().into_owned());
        let named = [
            ("--data", "data.folder", &data),
            ("--listen-tcp", "listen.tcp", &self.listen_tcp),
            ("--listen-tls", "listen.tls", &self.listen_tls),
            ("--listen-http", "listen.http", &self.listen_http),
            ("--log", "log.level", &self.log),
        ];
        let mut flags: Vec<Flag> =
            self.set.iter().map(|(key, value)| flag("--set", key, value)).collect();
        for (name, key, value) in named {
            flags.extend(value.as_ref().map(|value| flag(name, key, value)));
        }
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Sources { file: self.config.clone(), environment: environment.collect(), flags }
    }

    fn load(&self) -> Loaded {
        self.sources().load()
    }

    /// Reads all sources and checks them against this machine.
    fn checked(&self) -> Result<Checked, ConfigErrors> {
        check(self.load())
    }

    /// For a command that ends: it has a terminal and one thing to say, so only what is wrong is
    /// logged.
    fn for_command(&self) -> Result<Checked, Failure> {
        let mut checked = self.checked()?;
        if self.log.is_none() {
            checked.config.log.level = "error".into();
        }
        log::start(&checked.config.log)?;
        Ok(checked)
    }
}

/// Prints texts so that none of them, whoever has chosen it, does anything to a terminal. What is written at a time
/// is whole text: formatting writes no parts of characters.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let shown = String::from_utf8_lossy(text);
        self.0.write_all(display::escaped(&shown).as_bytes())?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints; that the reader has gone (`| head`) is no failure.
fn printed(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = Escaping(io::stdout().lock());
    match print(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Checks a configuration against this machine.
fn check(loaded: Loaded) -> Result<Checked, ConfigErrors> {
    let descriptors = raise_descriptor_limit();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    loaded.check(descriptors, cores)
}

/// Raises the soft limit of open files to the hard one, and returns it.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let reached =
        if setrlimit(Resource::Nofile, wanted).is_ok() { limit.maximum } else { limit.current };
    // No limit at all means as many as the kernel's largest descriptor number.
    reached.unwrap_or(1 << 20)
}

/// Runs the program.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&cli.settings),
        Command::CheckConfig => check_config::run(&cli.settings),
        Command::Config { changed } => config::run(&cli.settings, changed),
        Command::Log { level } => log_level::run(&cli.settings, level),
        Command::Status(arguments) => status::run(&cli.settings, &arguments),
        Command::User(command) => user::run(&cli.settings, command),
        Command::Invite(command) => invite::run(&cli.settings, command),
        Command::Consumer(command) => consumer::run(&cli.settings, command),
        Command::Backup { folder, since } => backup::run(&cli.settings, &folder, since.as_deref()),
        Command::Restore { backup, accept_damage } => {
            restore::run(&cli.settings, &backup, accept_damage)
        }
        Command::Verify { backup, acknowledge } => {
            verify::run(&cli.settings, backup.as_deref(), acknowledge)
        }
        Command::NewEpoch => new_epoch::run(&cli.settings),
        Command::Version => printed(|out| writeln!(out, "{}", crate::node::SERVER_NAME)),
    };
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure);
            ExitCode::FAILURE
        }
    };
    log::finish();
    code
}

/// More than one thing that is wrong, each of which is told in a line of its own.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", lines.join("; "))]
struct Wrong {
    lines: Vec<String>,
}

impl Wrong {
    fn extend(&mut self, lines: impl Iterator<Item = String>) {
        self.lines.extend(lines);
    }

    fn into_result(self) -> Result<(), Failure> {
        if self.lines.is_empty() { Ok(()) } else { Err(self.into()) }
    }
}

/// Says why a command failed: a line for each thing that is wrong.
fn tell(failure: &Failure) {
    let lines = if let Some(errors) = failure.downcast_ref::<ConfigErrors>() {
        errors.each().iter().map(ToString::to_string).collect()
    } else if let Some(Wrong { lines }) = failure.downcast_ref::<Wrong>() {
        lines.clone()
    } else {
        vec![failure.to_string()]
    };
    for line in lines {
        log::last_words(&display::escaped(&format!("dunlin: {line}")));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_a_command_prints_does_nothing_to_a_terminal() {
        let mut out = Escaping(Vec::new());
        let (one, other) = ("a\u{1b}[2J", "\u{202e}b");
        writeln!(out, "{one} {other}").unwrap();
        assert_eq!(String::from_utf8(out.0).unwrap(), "a\\u001b[2J \\u202eb\n");
    }

    #[test]
    fn flags_are_settings() {
        let cli = Cli::parse_from([
            "dunlin",
            "--listen-tcp",
            "127.0.0.1:0",
            "serve",
            "--set",
            "limits.handshakes_max = 7",
            "--data",
            "/tmp/x",
        ]);
        let mut sources = cli.settings.sources();
        (sources.environment, sources.file) = (Vec::new(), None);
        let config = sources.read().unwrap();
        assert_eq!(config.limits.handshakes_max, 7);
        assert_eq!(config.listen.tcp, "127.0.0.1:0");
        assert_eq!(config.data.folder, PathBuf::from("/tmp/x"));
    }
}
