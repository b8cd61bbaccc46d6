//! The messaging engine of Dunlin, to embed behind any transport.
//!
//! ```text
//!  transport threads                       worker threads                    store
//!  (gateway shards, or yours)
//!                       commands, batched
//!  Connection::receive ──────────────────► Worker::handle ── appends ──────► commit lane
//!      bytes -> Request    bounded queue     pure state       one batch        one fsync
//!                                            machine                              │
//!  Transport::deliver  ◄────────────────── effects        ◄───────────────────────┘
//!      frames -> bytes     one call per       acks only        completions
//!                          shard and tick     when durable
//!                                              │      ▲
//!                          one envelope per    ▼      │  envelopes, members
//!                          worker and tick    bus ────┘
//!                                              │      ▲
//!                                              ▼      │
//!                                             other nodes, over the same store
//! ```
//!
//! Data flows one way round this ring. A [`request::Request`] is validated once, on the thread
//! that read it; a worker owns the conversations and users that hash to it, so it needs no locks;
//! an entry is acknowledged and pushed only when the store says that it is durable. One node needs
//! no bus. Several nodes forward what another one should append, and tell each other what to push;
//! what the bus loses is found by the numbers on the envelopes, and made good from the store
//! (docs/decisions/0050).
//!
//! - [`engine`]: builds, starts and stops it all; [`engine::submitter`]: the way in;
//!   [`engine::hosted`]: workers on threads of the transport instead of their own
//! - [`statistics`]: what it counts
//! - [`request`]: requests in types that can't be wrong
//! - [`connection`]: what may be said on a connection, and when
//! - [`attempt`]: logins that are under way, and what becomes of them when a connection ends
//! - [`config`]: settings of the engine
//! - [`transport`]: the trait that a transport implements, and what is delivered through it
//! - [`store`]: the trait of durable logs, in memory and embedded; `stored`: what registers hold
//! - [`worker`]: the state machine between all of these, made of machines: `conversation`, `account`,
//!   `credential`, `identity`, `sync`, [`cluster`]; `retention`: how long messages are kept
//! - `audience`: sessions, and what is pushed to them; `membership`: who belongs to a log; `entry`: entries as
//!   bytes; `transaction`: changes that are decided on what is durable
//! - [`auth`]: tokens, passwords, issuers; [`admin`]: what the operator asks; [`refusal`]: why something is
//!   not done
//! - [`placement`]: which worker owns what, on which node
//! - [`bus`], [`presence`]: how nodes talk, and where users are
//! - [`limits`]: bounds of memory and work; `room`: where large answers wait for memory; `dense_map`: tables that give their room back
//! - [`rates`]: how much somebody may ask in a time
//! - [`clock`], [`random`]: time and chance, injected, so that a simulation replays a seed
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod account;
pub mod admin;
pub mod arrival;
pub mod attempt;
mod audience;
pub mod auth;
pub mod bus;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod connection;
mod conversation;
mod credential;
mod dense_map;
pub mod engine;
mod entry;
mod identity;
pub mod limits;
mod membership;
pub mod placement;
pub mod presence;
pub mod random;
pub mod rates;
pub mod refusal;
pub mod request;
mod retention;
mod room;
pub mod statistics;
pub mod store;
mod stored;
mod sync;
mod time_search;
mod transaction;
pub mod transport;
pub mod welcome;
pub mod worker;
