//! Budgets of rates: how much somebody may ask in a time, and what it costs to find out.
//!
//! ```text
//!  a request ──► Cost ──► Spending of its connection ──► a lump, now and then ──► Budgets ──► go on,
//!                what it      a few bytes                                          of user     or Overdrawn:
//!                takes                                                             and address when to come again
//! ```
//!
//! A budget is a token bucket: it fills at a rate up to a burst, and a request takes its cost out. There are some
//! [kinds](Kind), since what costs a server (the disk, the processor, other people's patience) has little to do
//! with one another. They belong to a user, whatever the number of connections, and to an address, which has as
//! much as many users: behind one there may be an office.
//!
//! Whoever asks nothing has full budgets, and of full budgets nothing is kept: they cost an idle connection nothing.
//! Who asks little is not looked up each time either: what a connection spends is added up in a few bytes of its
//! state, and goes to the budgets in lumps of `Spending`. So a connection may be ahead of its budget by less than
//! a lump, and it takes one that is overdrawn to be looked at for each request.
//!
//! A transport asks: it has the connections, and the addresses. See `Connection::spend`.

mod budgets;
mod cost;
mod rate;
mod spending;

pub use budgets::{Budgets, Overdrawn, Payer};
pub use cost::{Cost, Kind};
pub use rate::{Rate, Rates};
pub(crate) use spending::Spending;
