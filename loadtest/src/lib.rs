//! The load harness of Dunlin and its auditor.
//!
//! - [`scenarios`]: what the users of a run do; [`chat`], [`fanout`] and [`idle`] are its commands
//! - [`capacity`]: the highest rate of a chat that meets given thresholds
//! - `phases`, `crowd`: what runs of chat and fan-out have in common
//! - [`doctor`]: whether this machine is fit for a large run
//! - [`plan`]: a scenario with its server and its output, from a file or a command line
//! - [`probe`]: one look at the server before all go there
//! - [`audit`]: what was sent, acknowledged, delivered and stored, and whether it fits together
//! - [`net`]: the event loop of a generator thread
//! - [`target`], [`spawn`], [`token`]: the server under test and how to log in to it
//! - [`process`]: its memory and processor time
//! - [`remote`]: several processes or machines that work as one run
//! - [`wire`]: the frames that make up nearly all of the traffic, by hand
//! - [`report`], [`latency`]: what comes out
//! - [`compare`]: two reports beside each other
//! - [`view`]: what is seen while it runs
//! - [`interrupt`]: how it comes to an end before its time
#![deny(unsafe_code)]

#[macro_use]
mod printing;

pub mod audit;
pub mod capacity;
pub mod compare;
mod crowd;
pub mod doctor;
mod error;
mod generators;
pub mod interrupt;
pub mod latency;
mod login;
pub mod net;
mod phases;
pub mod plan;
pub mod probe;
mod problem;
pub mod process;
pub mod remote;
pub mod report;
pub mod scenarios;
pub mod seconds;
mod shortage;
pub mod spawn;
mod sys;
pub mod target;
mod text;
pub mod token;
mod verdict;
pub mod view;
pub mod weighted;
pub mod wire;

pub use error::LoadtestError;
pub use generators::threads_for;
pub use problem::{Problem, Problems};
pub use scenarios::{fanout, idle, pairs as chat};
