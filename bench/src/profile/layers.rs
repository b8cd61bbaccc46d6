//! Which functions are which layer. Modules of the project name themselves; a library that works for
//! one layer alone is named with it.

/// A layer: part of the names of the functions that are its own.
pub(super) struct Layer {
    pub(super) name: &'static str,
    /// Threads whose names begin like this.
    threads: &'static str,
    functions: &'static [&'static str],
}

impl Layer {
    pub(super) fn knows(&self, thread: &str, function: &str) -> bool {
        thread.starts_with(self.threads)
            && self.functions.iter().any(|part| function.contains(part))
    }
}

/// In the order in which a message passes them. The first one that knows a function has it, so what
/// is special comes before what is general: `core::entry` is encoding, the machines and their
/// router are the worker.
pub(super) const LAYERS: &[Layer] = &[
    Layer {
        name: "read",
        threads: "shard",
        functions: &[
            "libc_recv",
            "shard::read::",
            "stream::read_buffer",
            "stream::Stream>::receive",
        ],
    },
    Layer { name: "frame", threads: "shard", functions: &["protocol::frame::take", "take_frames"] },
    Layer {
        name: "decode",
        threads: "",
        functions: &[
            "frame::decode",
            "::merge",
            "decode_varint",
            "Message::decode",
            "connection::Connection::receive",
            "dunlin_core::request::",
        ],
    },
    Layer {
        name: "encode",
        threads: "",
        functions: &[
            "dunlin_core::entry::",
            "frame::EncodedFrame::",
            "encode_raw",
            "encoded_len",
            "encode_varint",
            "Body::encode",
            "prost::encoding::",
        ],
    },
    Layer {
        name: "hand-over",
        threads: "",
        functions: &[
            "dunlin_core::engine::submitter::",
            "dunlin_core::placement::",
            "dunlin_core::engine::driver::",
            "dunlin_core::engine::hosted::",
            "dunlin_core::engine::gate::",
            "dunlin_core::engine::mailbox::",
            "worker::effect::",
            "crossbeam_channel",
            "shard::mailbox",
            "Shard::take_mail",
            "transport::Shard",
        ],
    },
    Layer {
        name: "worker",
        threads: "",
        functions: &[
            "dunlin_core::worker::",
            "dunlin_core::account::",
            "dunlin_core::audience::",
            "dunlin_core::cluster::",
            "dunlin_core::conversation::",
            "dunlin_core::credential::",
            "dunlin_core::identity::",
            "dunlin_core::membership::",
            "dunlin_core::presence",
            "dunlin_core::sync::",
            "dunlin_core::transaction::",
            "store::embedded::queue",
        ],
    },
    Layer {
        name: "outbox",
        threads: "shard",
        functions: &["stream::outbox::", "shard::deliver::"],
    },
    Layer {
        name: "write",
        threads: "shard",
        functions: &["shard::write::", "stream::", "writev", "libc_send"],
    },
    Layer {
        name: "poll and the rest of a tick",
        threads: "shard",
        functions: &["shard::Shard::", "shard::start::", "mio::", "shard::timer_wheel"],
    },
    Layer {
        name: "store: encode and checksum",
        threads: "store-commit",
        functions: &["record::encode_record", "lane::Frame::add"],
    },
    Layer {
        name: "store: write and fsync",
        threads: "store-commit",
        functions: &["disk::DiskFile>::", "Lane::commit"],
    },
    Layer {
        name: "store: index in memory",
        threads: "store-commit",
        functions: &["SegmentIndex", "dense_map::"],
    },
    Layer {
        name: "store: duplicates and order",
        threads: "store-commit",
        functions: &["store::embedded::"],
    },
    Layer { name: "store: index files", threads: "store-index", functions: &[""] },
    Layer { name: "store: next segment", threads: "store-spare", functions: &[""] },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(thread: &str, function: &str) -> Option<&'static str> {
        LAYERS.iter().find(|layer| layer.knows(thread, function)).map(|layer| layer.name)
    }

    #[test]
    fn what_is_special_comes_before_what_is_general() {
        let encode = "dunlin_core::entry::encode_message";
        assert_eq!(layer("shard-1", encode), Some("encode"));
        assert_eq!(layer("worker-0", "dunlin_core::worker::Worker::handle"), Some("worker"));
        let number = "dunlin_core::conversation::numbering::Conversation::number";
        assert_eq!(layer("shard-1", number), Some("worker"));
        let commit = "dunlin_core::store::embedded::lane::Lane::commit_and_answer";
        assert_eq!(layer("store-commit", commit), Some("store: write and fsync"));
        assert_eq!(layer("shard-1", commit), None);
        let run = "dunlin_core::store::embedded::lane::Lane::run";
        assert_eq!(layer("store-commit", run), Some("store: duplicates and order"));
        assert_eq!(layer("store-index", "tcp_ack"), Some("store: index files"));
    }

    #[test]
    fn the_kernel_is_no_layer_of_its_own() {
        assert_eq!(layer("shard-1", "tcp_sendmsg_locked"), None);
        assert_eq!(layer("store-commit", "ext4_block_write_begin"), None);
    }
}
