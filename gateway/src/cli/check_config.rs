//! `dunlin check-config`.

use super::{Failure, SettingsArgs, printed};
use crate::stream::entrance::Entrance;

/// Reads and checks the configuration as `serve` would, and says what it amounts to.
pub(super) fn run(settings: &SettingsArgs) -> Result<(), Failure> {
    let checked = settings.checked()?;
    let listen = |address: Option<std::net::SocketAddr>| {
        address.map_or("off".to_owned(), |address| address.to_string())
    };
    let registration = if checked.engine.registration { "open" } else { "closed" };
    printed(|out| {
        writeln!(out, "tcp             {}", listen(checked.address_of(Entrance::Tcp)))?;
        writeln!(out, "tls             {}", listen(checked.address_of(Entrance::Tls)))?;
        writeln!(out, "data            {}", checked.config.data.folder.display())?;
        writeln!(out, "shards          {}", checked.shards)?;
        writeln!(out, "connections_max {}", checked.connections_max)?;
        writeln!(out, "workers         {}", checked.engine.workers)?;
        writeln!(out, "registration    {registration}")?;
        writeln!(out, "issuers         {}", checked.engine.issuers.len())
    })
}
