//! Generates the message types from the .proto with protox, so that no protoc is needed.

use std::error::Error;

const PROTO: &str = "proto/dunlin/v1/dunlin.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile([PROTO], ["proto"])?;
    prost_build::Config::new()
        // Contents stay slices of the bytes that were read from the socket.
        .bytes(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
