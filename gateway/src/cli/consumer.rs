//! `dunlin consumer`: who reads the feed of the store, and what is kept for each.

use clap::Subcommand;

use super::{Failure, SettingsArgs, printed};
use crate::admin::{Access, Missing, Reply, Request};
use crate::log;

#[derive(Debug, Subcommand)]
pub(super) enum ConsumerCommand {
    /// List all, with the bytes that are kept until they have come so far.
    List,
    /// Forget one that will never come back: nothing is kept for it any more.
    Remove {
        /// Its name.
        name: String,
    },
}

pub(super) fn run(settings: &SettingsArgs, command: ConsumerCommand) -> Result<(), Failure> {
    let mut access = Access::open(&settings.for_command()?, Missing::Refuse)?;
    let answer = access.ask(match command {
        ConsumerCommand::List => Request::ListConsumers,
        ConsumerCommand::Remove { name } => Request::RemoveConsumer { name },
    });
    access.close();
    match answer? {
        Reply::Done => Ok(()),
        Reply::Consumers { consumers } if consumers.is_empty() => {
            // Not to standard output, which has a line for each.
            log::last_words("dunlin: there are no consumers of the feed");
            Ok(())
        }
        Reply::Consumers { consumers } => printed(|out| {
            consumers.iter().try_for_each(|consumer| {
                writeln!(out, "{} {} bytes", consumer.name, consumer.behind_bytes)
            })
        }),
        Reply::UserAdded { .. }
        | Reply::Users { .. }
        | Reply::BackedUp { .. }
        | Reply::Verifying { .. }
        | Reply::Verified { .. }
        | Reply::Status { .. }
        | Reply::InvitationMade { .. }
        | Reply::User { .. }
        | Reply::Invitations { .. } => Err("the server answered something else".into()),
    }
}
