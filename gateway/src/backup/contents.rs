//! The file that says what belongs to a backup: one line of JSON, and a second with its checksum.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The format of backups. A change that an older version can't read makes it larger.
const FORMAT: u32 = 1;

/// What belongs to a backup.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Contents {
    format: u32,
    /// Name and version of the program that made it.
    made_by: String,
    pub(super) files: Vec<Listed>,
}

/// One of its files. The segments of the store are listed in the manifest of the store.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) bytes: u64,
    sha256: String,
}

/// What stays the same in all formats.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl Default for Contents {
    fn default() -> Contents {
        let made_by = crate::node::SERVER_NAME.to_owned();
        Contents { format: FORMAT, made_by, files: Vec::new() }
    }
}

impl Listed {
    pub(super) fn new(name: &str, content: &[u8]) -> Listed {
        Listed { name: name.to_owned(), bytes: content.len() as u64, sha256: sha256(content) }
    }

    /// Whether this is what it was.
    pub(super) fn is(&self, content: &[u8]) -> bool {
        content.len() as u64 == self.bytes && sha256(content) == self.sha256
    }
}

impl Contents {
    pub(super) fn encode(&self) -> String {
        let line = serde_json::to_string(self).expect("text and numbers are always JSON");
        let checksum = sha256(line.as_bytes());
        format!("{line}\n{checksum}\n")
    }

    /// Reads it; an error says what is wrong.
    pub(super) fn decode(content: &[u8]) -> Result<Contents, String> {
        let text = std::str::from_utf8(content).map_err(|_| "it is no text")?;
        let mut lines = text.lines();
        let (Some(line), Some(checksum)) = (lines.next(), lines.next()) else {
            return Err("it is incomplete".into());
        };
        if sha256(line.as_bytes()) != checksum {
            return Err("its checksum is wrong".into());
        }
        let no_json = |error: serde_json::Error| error.to_string();
        let AnyFormat { format } = serde_json::from_str(line).map_err(no_json)?;
        if format != FORMAT {
            return Err(format!("it has format {format}; this version reads format {FORMAT}"));
        }
        serde_json::from_str(line).map_err(no_json)
    }
}

fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_come_back_and_no_flipped_bit_goes_unseen() {
        let contents =
            Contents { files: vec![Listed::new("signing.key", &[7; 32])], ..Default::default() };
        let encoded = contents.encode();
        assert_eq!(Contents::decode(encoded.as_bytes()).unwrap(), contents);
        let mut bytes = encoded.into_bytes();
        for bit in 0..(bytes.len() - 1) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Contents::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn another_format_is_named() {
        let line = r#"{"format":2,"other":true}"#;
        let text = format!("{line}\n{}\n", sha256(line.as_bytes()));
        let error = Contents::decode(text.as_bytes()).unwrap_err();
        assert_eq!(error, "it has format 2; this version reads format 1");
    }
}
