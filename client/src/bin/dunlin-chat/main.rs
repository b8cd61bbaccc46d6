//! `dunlin-chat`: two people talk in two terminals.
//!
//! - `model`: what is known and shown; no terminal, no connection
//! - `view`: the model on a screen; `plain`: the model as lines
//! - `session`: joins the model and the client
//! - `state`, `outbox`: what is kept between starts
//! - `signals`: how others end it
#![forbid(unsafe_code)]

mod arguments;
mod model;
mod outbox;
mod plain;
mod session;
mod signals;
mod state;
mod terminal;
mod text;
mod view;

use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser;
use dunlin_client::driver::{Client, ClientConfig};
use dunlin_client::machine::{Backlog, Config, Credentials, Device, Password};
use dunlin_protocol::wire::DeviceKind;
use model::Model;
use model::refusal::{check_new_password, password_length};
use model::unsent::{MESSAGES_BYTES_MAX, MESSAGES_MAX};
use outbox::{Opened, Outbox};
use session::{Disk, Session};
use state::StateFolder;

/// Messages of each conversation that are there from the start; older ones come by scrolling.
const NEWEST_MESSAGES: u32 = 50;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The terminal may be gone, and nobody left to tell.
            let _ = writeln!(io::stderr(), "dunlin-chat: {}", text::clean(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let path = match &arguments.state {
        Some(path) => path.clone(),
        None => state::default_folder(arguments.server(), &arguments.user)?,
    };
    let name = path.display().to_string();
    let state = StateFolder::open(path).map_err(|error| format!("{name}: {error}"))?;
    let id = state.device().map_err(|error| format!("{name}: {error}"))?;
    let opened = Outbox::open(state.clone()).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => {
            format!("{name}: another dunlin-chat uses it; --state names another")
        }
        _ => format!("{name}: {error}"),
    })?;
    let device = Device { id, kind: DeviceKind::Desktop, name: "dunlin-chat".into() };
    let credentials = credentials(arguments, &state)?;
    let given = credentials.password.as_ref().filter(|_| arguments.password_env.is_some());
    let password = given.map(|given| given.password.clone());
    let client = Client::connect(ClientConfig {
        machine: Config {
            backlog: Backlog::Newest(NEWEST_MESSAGES),
            client: concat!("dunlin-chat ", env!("CARGO_PKG_VERSION")).into(),
            // What the outbox keeps must fit.
            outbox_messages_max: MESSAGES_MAX,
            outbox_bytes_max: MESSAGES_BYTES_MAX,
            ..Config::new(arguments.server(), device)
        },
        transport: arguments.transport(),
        credentials,
    })?;
    let session = Session::new(
        client,
        model(arguments, &opened, &name),
        Disk { state, outbox: opened.outbox },
    );
    if arguments.plain || !io::stdout().is_terminal() {
        plain::run(session, password.as_deref())
    } else {
        terminal::run(session)
    }
}

fn model(arguments: &Arguments, opened: &Opened, folder: &str) -> Model {
    let mut model = Model::new(arguments.user.clone());
    model.reads_privately = arguments.private;
    model.restore(opened.outbox.kept().cloned());
    if opened.damaged > 0 {
        let damaged = opened.damaged;
        model.notice(format!("{damaged} lines of {folder}/outbox.damaged can't be read"));
    }
    model
}

/// Tokens of an earlier login need no password. One that is given is tried after them: the account
/// that somebody wants to make may have been one of a server whose data is gone.
fn credentials(arguments: &Arguments, state: &StateFolder) -> Result<Credentials, Box<dyn Error>> {
    let tokens = state.tokens();
    let username = arguments.user.clone();
    let password = match &arguments.password_env {
        Some(variable) => {
            let password = std::env::var(variable);
            let password = password.map_err(|error| format!("{variable}: {error}"))?;
            if arguments.register {
                check_new_password(&password).map_err(|why| format!("{variable}: {why}"))?;
            }
            Some(password)
        }
        None if tokens.is_empty() || arguments.register => Some(ask_password(arguments.register)?),
        None => None,
    };
    let register = arguments.register.then(String::new);
    let password = password.map(|password| Password { username, password });
    let invitation = arguments.invitation.clone().unwrap_or_default();
    Ok(Credentials { tokens, password, register, invitation, issuer_token: None })
}

fn ask_password(is_new: bool) -> Result<String, Box<dyn Error>> {
    if !io::stdin().is_terminal() {
        return Err("there is no password: use --password-env, or a terminal".into());
    }
    if !is_new {
        return Ok(rpassword::prompt_password("password: ")?);
    }
    let password = rpassword::prompt_password(format!("password, {}: ", password_length()))?;
    check_new_password(&password)?;
    if rpassword::prompt_password("again: ")? != password {
        return Err("the two are not the same".into());
    }
    Ok(password)
}
