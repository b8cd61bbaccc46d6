//! A client of Dunlin: the part that is easy to get wrong, done once.
//!
//! - [`machine`]: what a client must know, without I/O: reconnects, resends, order, gaps, sync
//! - [`driver`]: a thread that runs it over TCP or TLS, for programs that block
//!
//! ```no_run
//! use dunlin_client::driver::{Client, ClientConfig, Transport, new_device_id};
//! use dunlin_client::machine::{Config, Credentials, Device, Event, Password, Request, Response};
//! use dunlin_protocol::LogId;
//! use dunlin_protocol::wire::DeviceKind;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A real program makes the device id once, and keeps it.
//! let device = Device { id: new_device_id()?, kind: DeviceKind::Bot, name: "example".into() };
//! let password = Password { username: "alice".into(), password: "correct horse".into() };
//! let client = Client::connect(ClientConfig {
//!     machine: Config::new("127.0.0.1:7410", device),
//!     transport: Transport::Tcp,
//!     credentials: Credentials { password: Some(password), ..Credentials::default() },
//! })?;
//! client.request(Request::FindUsers { usernames: vec!["bob".into()], users: Vec::new() })?;
//! for event in client.events() {
//!     match event {
//!         Event::Completed { result: Ok(Response::Users(users)), .. } => {
//!             let bob = users.first().ok_or("there is no bob")?;
//!             client.send_text(LogId::from_wire(&bob.conversation_id)?, "hello")?;
//!         }
//!         Event::Completed { result: Ok(Response::Sent { seq, .. }), .. } => {
//!             println!("it is on the server's disk, as number {seq}");
//!             break;
//!         }
//!         Event::Completed { result: Err(failure), .. } => return Err(failure.into()),
//!         _ => {}
//!     }
//! }
//! client.close();
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod driver;
pub mod machine;
