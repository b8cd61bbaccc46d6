//! `dunlin serve`: start, wait for signals, go down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::select;

use super::http::Http;
use super::signals::{self, Signal};
use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, AdminServer, Administration, LOCKED_RETRY, LOCKED_TIMEOUT};
use crate::config::{Checked, Config};
use crate::limits::MEMORY_RETURN_INTERVAL;
use crate::node::assembly::{self, Stored};
use crate::node::data::DataFolder;
use crate::node::keeper::Keeper;
use crate::node::{Parts, Server, inspection};
use crate::stream::entrance::Entrance;

/// How often it is looked again whether a certificate ends, or a secret can be read.
const FILES_LOOKED_AT_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What there is to be warned of in files: those of the configuration that is in force.
struct Files {
    config: Config,
    secrets: Vec<PathBuf>,
}

impl Files {
    fn of(checked: &Checked) -> Files {
        Files { config: checked.config.clone(), secrets: checked.secret_files.clone() }
    }

    /// Tells what is no reason not to start, and may be one tomorrow.
    fn warn(&self) {
        for warning in inspection::warnings(&self.config, &self.secrets) {
            tracing::warn!(problem = %warning, "something is wrong with a file");
        }
    }
}

pub(super) fn run(settings: &SettingsArgs) -> Result<(), Failure> {
    let checked = settings.checked()?;
    crate::log::start(&checked.config.log)?;
    crate::log::open(&checked.config);
    choose_pages(&checked);
    let signals = signals::listen()?;
    warn_of_plain_text(&checked);
    let mut files = Files::of(&checked);
    files.warn();
    let data = DataFolder::open(&checked.config.data.folder)?;
    let stored = open_store(&checked, &data)?;
    let running = checked.config.clone();
    let parts = Parts::of_folder(&stored, &data)?;
    let listen_http = checked.http;
    let mut server = Server::of_parts(checked, parts)?;
    let admin = start_admin(&server, stored.keeper.clone(), &data)?;
    let http = Http::start(listen_http, &server, stored.keeper.clone())?;
    announce(&server, &http);
    let tidy = crossbeam_channel::tick(MEMORY_RETURN_INTERVAL);
    let daily = crossbeam_channel::tick(FILES_LOOKED_AT_EVERY);
    loop {
        select! {
            recv(tidy) -> _now => {
                server.forget_full_budgets();
                crate::sys::give_back_memory();
            }
            recv(daily) -> _now => files.warn(),
            recv(signals) -> signal => match signal {
                Ok(Signal::Reload) => reload(&mut server, settings, &running, &mut files),
                Ok(Signal::GoDown) if !server.is_going_down() => {
                    tracing::info!("going down; a second signal makes it quick");
                    server.drain();
                }
                Ok(Signal::GoDown) => server.stop(),
                Err(_) => return Err("the thread that waits for signals has ended".into()),
            },
            recv(server.shards_ended()) -> _ended => {
                // In good order all shards end; otherwise one failed, and the others must not
                // hide it by going on with a part of the connections.
                if !server.is_going_down() {
                    server.stop();
                }
                break;
            }
        }
    }
    // The rest ends by itself, or after a second signal.
    wait_for_the_rest(&mut server, &signals);
    let finished = server.finish();
    // Until now it could be asked how far it is.
    http.stop();
    // The store is still locked, so the socket is still ours.
    admin.stop();
    drop(stored);
    finished?;
    tracing::info!("down");
    Ok(())
}

fn wait_for_the_rest(server: &mut Server, signals: &crossbeam_channel::Receiver<Signal>) {
    for _ in 1..server.shards() {
        loop {
            select! {
                recv(server.shards_ended()) -> _ended => break,
                recv(signals) -> signal => match signal {
                    Ok(Signal::GoDown) => server.stop(),
                    Ok(Signal::Reload) => {}
                    Err(_) => return,
                },
            }
        }
    }
}

/// Tells where it listens, in the log and on standard output.
fn announce(server: &Server, http: &Http) {
    let text = |entrance| server.address_of(entrance).map(|address| address.to_string());
    let (shards, data) = (server.shards(), server.data_folder().display());
    // The names of fields are part of the program, so these can't be a loop over all.
    let [tcp, tls, web, web_tls] = Entrance::ALL.map(text);
    let http = http.address().map(|address| address.to_string());
    tracing::info!(tcp, tls, web, web_tls, http, shards, %data, "listening");
    let mut lines = String::from("listening");
    for (entrance, address) in Entrance::ALL.into_iter().zip([tcp, tls, web, web_tls]) {
        if let Some(address) = address {
            lines.push_str(&format!(" {}={address}", entrance.name()));
        }
    }
    if let Some(http) = http {
        lines.push_str(&format!(" http={http}"));
    }
    lines.push_str(&format!("\ndata {data}\n"));
    if let Some(fingerprint) = server.certificate_fingerprint() {
        lines.push_str(&format!("certificate sha256 {fingerprint}\n"));
    }
    print_aside(lines);
}

/// Prints one line that programs can read, and a few for people, on a thread of its own: nobody needs
/// to read them, and the thread that waits for signals must not wait for a reader.
fn print_aside(lines: String) {
    let print = move || {
        crate::log::be_spared_by_the_descriptor();
        if let Err(error) = printed(|out| out.write_all(lines.as_bytes())) {
            tracing::warn!(%error, "what it listens on can't be printed");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("announce".into()).spawn(print) {
        tracing::warn!(%error, "no thread to print what it listens on");
    }
}

/// The allocator asks for huge pages, of which each counts as resident as a whole: between the
/// connections of a million users, and what they have left, lies much that nobody uses. (What was
/// allocated before is little.)
fn choose_pages(checked: &Checked) {
    if !checked.config.engine.huge_pages
        && let Err(error) = rustix::thread::disable_transparent_huge_pages(true)
    {
        tracing::warn!(%error, "can't do without huge pages; memory will be higher");
    }
}

fn warn_of_plain_text(checked: &Checked) {
    for entrance in Entrance::ALL.into_iter().filter(|entrance| !entrance.is_secure()) {
        if let Some(address) = checked.address_of(entrance)
            && !address.ip().is_loopback()
        {
            let setting = entrance.setting();
            tracing::warn!(%address, setting, "it is open beyond this machine, and what is said there can \
                be read and changed on the way: use the entrance with TLS, or a proxy that speaks it");
        }
    }
}

fn reload(server: &mut Server, settings: &SettingsArgs, running: &Config, files: &mut Files) {
    let reloaded = settings.checked().map_err(Failure::from).and_then(|checked| {
        let sections = running.waits_for_restart(&checked.config);
        let mut waits: Vec<String> = sections.iter().map(|name| format!("[{name}]")).collect();
        if checked.shards != server.shards() {
            // It has no room for more connections, and none to give away.
            waits.push("limits.connections_max".into());
        }
        let now = Files::of(&checked);
        now.warn();
        let log = checked.config.log.clone();
        server.reload(checked)?;
        *files = now;
        // It was read when it was checked, so all of it is new now.
        crate::log::reload(&log)?;
        Ok(waits)
    });
    match reloaded {
        Ok(waits) if waits.is_empty() => {
            tracing::info!("log, limits, timeouts and certificates are reloaded");
        }
        Ok(waits) => {
            let waits = format!("what has changed in {} waits for a restart", waits.join(", "));
            tracing::warn!(waits, "log, limits, timeouts and certificates are reloaded");
        }
        Err(error) => tracing::error!(%error, "not reloaded; everything is as before"),
    }
}

/// Opened here, on the main thread: its descriptors belong to the process, not to a shard.
///
/// A command may have it open for a while, or a server that goes down: whoever starts servers should not
/// have to start this one again for that.
fn open_store(checked: &Checked, data: &DataFolder) -> Result<Stored, Failure> {
    let until = Instant::now() + LOCKED_TIMEOUT;
    let mut is_told = false;
    loop {
        let error = match assembly::open_store(&checked.store, data) {
            Err(error) if error.is_locked() => error,
            opened => return Ok(opened?),
        };
        if Access::is_served(data.path())? {
            return Err(format!("{error}: another server runs on this data folder").into());
        }
        if Instant::now() >= until {
            let by = "by a command, or by a server that starts or goes down";
            return Err(format!("{error}, {by}; start again when that has ended").into());
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::info!(%error, "waiting for the store");
        }
        std::thread::sleep(LOCKED_RETRY);
    }
}

fn start_admin(
    server: &Server,
    keeper: Option<Arc<dyn Keeper>>,
    data: &DataFolder,
) -> Result<AdminServer, Failure> {
    let accounts = server.engine().door();
    let administration = Administration::new(accounts, keeper, data.clone());
    let administration = administration.witness(server.witness());
    let path = data.admin_socket();
    let started = AdminServer::start(path.clone(), administration);
    started.map_err(|error| format!("{}: {error}", path.display()).into())
}
