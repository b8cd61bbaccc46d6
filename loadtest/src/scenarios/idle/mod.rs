//! Users who log in and then say nothing but that they are there: what a connection costs.
//!
//! All connect, at a steady rate; then they are held for a while. The report says how fast they
//! came, which were closed and why, and, for a server on this machine, how its memory and
//! processor time grew with them.

mod arrivals;
mod board;
mod crew;
mod heartbeats;
mod idlers;
mod outcome;
mod parameters;
pub(crate) mod remote;
mod report;
mod run;
mod scenario;

pub use outcome::IdleGeneratorReport;
pub use parameters::IdleParameters;
pub(crate) use parameters::SECTION;
pub use report::{Closes, IdleReport, IdleServerReport, Sample};
pub use run::{run, run_watched};
pub use scenario::{IdleScenario, server_settings};
