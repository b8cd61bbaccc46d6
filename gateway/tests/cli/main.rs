//! The program `dunlin` as an operator uses it: real processes, real files, real sockets.

mod backup;
mod config;
mod consumers;
mod documented;
mod invitations;
mod program;
mod socket;
mod status;
mod users;
mod wire;
