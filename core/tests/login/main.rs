//! Becoming somebody, staying it, and ceasing to be: every flow of credentials and sessions
//! through the workers of a node, with a store in memory.

mod administration;
mod attempts;
mod dates;
mod failures;
mod fetching;
mod invitations;
mod issuers;
mod node;
mod passwords;
mod registers;
mod sessions;
mod tokens;
mod two_nodes;
