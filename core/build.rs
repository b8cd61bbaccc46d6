//! Generates the types of what registers hold from the .proto files with protox, so that no protoc is
//! needed.

use std::error::Error;

/// One file for each noun. No client gets them.
const PROTOS: [&str; 4] = [
    "dunlin/store/v1/account.proto",
    "dunlin/store/v1/identity.proto",
    "dunlin/store/v1/invitation.proto",
    "dunlin/store/v1/name.proto",
];

/// Messages that hold a credential: `src/stored.rs` prints them without it.
const SECRET: [&str; 1] = ["Credentials"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    prost_build::Config::new().bytes(["."]).skip_debug(SECRET).compile_fds(descriptors)?;
    Ok(())
}
