//! Generates the message types from the .proto files with protox, so that no protoc is needed.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

/// The file that imports all others.
const PROTO: &str = "proto/dunlin/v1/frame.proto";

/// Messages that hold a credential. `src/redacted.rs` prints them without it, so that no log line
/// can ever show one.
const SECRET: [&str; 7] =
    ["Register", "PasswordCredential", "Login", "LoggedIn", "Tokens", "Refresh", "ChangePassword"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile([PROTO], ["proto"])?;

    let mut without_comments = descriptors.clone();
    for file in &mut without_comments.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("dunlin.v1.descriptors"), without_comments.encode_to_vec())?;

    prost_build::Config::new()
        // Contents stay slices of the bytes that were read from the socket.
        .bytes(["."])
        .skip_debug(SECRET)
        .compile_fds(descriptors)?;
    Ok(())
}
