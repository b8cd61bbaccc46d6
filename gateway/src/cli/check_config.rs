//! `dunlin check-config`.

use crate::stream::entrance::Entrance;

use super::{Failure, SettingsArgs};

/// Reads and checks the configuration as `serve` would, and says what it amounts to.
pub(super) fn run(settings: &SettingsArgs) -> Result<(), Failure> {
    let checked = settings.checked()?;
    let listen = |address: Option<std::net::SocketAddr>| {
        address.map_or("off".to_owned(), |address| address.to_string())
    };
    println!("tcp             {}", listen(checked.address_of(Entrance::Tcp)));
    println!("tls             {}", listen(checked.address_of(Entrance::Tls)));
    println!("data            {}", checked.config.data.folder.display());
    println!("shards          {}", checked.shards);
    println!("connections_max {}", checked.connections_max);
    println!("workers         {}", checked.engine.workers);
    println!("registration    {}", if checked.engine.registration { "open" } else { "closed" });
    println!("issuers         {}", checked.engine.issuers.len());
    Ok(())
}
