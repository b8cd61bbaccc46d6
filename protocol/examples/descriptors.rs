//! Writes the `google.protobuf.FileDescriptorSet` of the protocol to the standard output, for
//! languages that build their messages at run time and so need no protoc:
//!
//! ```sh
//! cargo run -p dunlin-protocol --example descriptors > dunlin.desc
//! ```

use std::io::{self, Write};

fn main() -> io::Result<()> {
    io::stdout().lock().write_all(dunlin_protocol::FILE_DESCRIPTOR_SET)
}
