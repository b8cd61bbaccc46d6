//! What this installation keeps, in a folder that only its user can read: its device id, its tokens,
//! and what [`crate::outbox`] has.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dunlin_client::driver::new_device_id;
use dunlin_client::machine::SavedTokens;
use dunlin_protocol::DeviceId;

const DEVICE: &str = "device";
const TOKENS: &str = "tokens";

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct StateFolder(PathBuf);

/// Where it is if nobody says otherwise.
pub(crate) fn default_folder(server: &str, user: &str) -> Result<PathBuf, &'static str> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = variable("XDG_STATE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")));
    let base = base.ok_or("neither HOME nor XDG_STATE_HOME is set: use --state")?;
    Ok(base.join("dunlin-chat").join(file_name(server)).join(file_name(user)))
}

/// A name that stays in its folder.
fn file_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if c == '/' || c == '\0' { '_' } else { c }).collect();
    if name.trim_matches('.').is_empty() { format!("_{name}") } else { name }
}

impl StateFolder {
    pub(crate) fn open(path: PathBuf) -> io::Result<StateFolder> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(StateFolder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The id of this device; made on the first start. Tokens are bound to it.
    pub(crate) fn device(&self) -> Result<DeviceId, Box<dyn std::error::Error>> {
        match fs::read_to_string(self.0.join(DEVICE)) {
            Ok(text) => {
                let bytes = from_hex(text.trim()).ok_or("the device file is damaged")?;
                Ok(DeviceId::from_wire(&bytes)?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let device = new_device_id()?;
                self.write(DEVICE, format!("{device}\n").as_bytes())?;
                Ok(device)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The tokens of the last login; none if they are damaged: then the password is asked for.
    pub(crate) fn tokens(&self) -> SavedTokens {
        let text = fs::read_to_string(self.0.join(TOKENS)).unwrap_or_default();
        let mut tokens = SavedTokens::default();
        for line in text.lines() {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            let Some(value) = from_hex(value) else { continue };
            let as_text = || String::from_utf8(value.clone()).unwrap_or_default();
            match name {
                "resume" => tokens.resume_token = Bytes::from(value),
                "access" => tokens.access_token = as_text(),
                "refresh" => tokens.refresh_token = as_text(),
                _ => {}
            }
        }
        tokens
    }

    pub(crate) fn store(&self, tokens: &SavedTokens) -> io::Result<()> {
        let resume = to_hex(&tokens.resume_token);
        let access = to_hex(tokens.access_token.as_bytes());
        let refresh = to_hex(tokens.refresh_token.as_bytes());
        let text = format!("resume {resume}\naccess {access}\nrefresh {refresh}\n");
        self.write(TOKENS, text.as_bytes())
    }

    /// All of a file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name))
    }

    /// A file to write at the end of, made if it is new.
    pub(crate) fn open_to_append(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(self.0.join(name))
    }

    /// Whole or not at all: a refresh token that is lost is a login that is lost.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        // One that is left over might have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn device_and_tokens_are_kept_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path().join("a/b")).unwrap();
        let device = state.device().unwrap();
        assert!(state.tokens().is_empty());
        let tokens = SavedTokens {
            resume_token: Bytes::from_static(&[0, 255, 16]),
            access_token: "a.b-c".into(),
            refresh_token: "r".into(),
        };
        state.store(&tokens).unwrap();
        let again = StateFolder::open(state.path().to_owned()).unwrap();
        assert_eq!(again.device().unwrap(), device);
        assert_eq!(again.tokens(), tokens);
        for (name, mode) in [("", 0o700), (DEVICE, 0o600), (TOKENS, 0o600)] {
            let metadata = fs::metadata(state.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
        }
        again.store(&SavedTokens::default()).unwrap();
        assert!(state.tokens().is_empty());
    }

    #[test]
    fn damaged_tokens_are_no_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path().to_owned()).unwrap();
        fs::write(folder.path().join(TOKENS), "resume xyz\nrefresh 1\n???").unwrap();
        assert!(state.tokens().is_empty());
        fs::write(folder.path().join(DEVICE), "short").unwrap();
        assert!(state.device().is_err());
    }

    #[test]
    fn names_stay_in_their_folder() {
        assert_eq!(file_name("../../etc"), ".._.._etc");
        assert_eq!(file_name(".."), "_..");
        assert_eq!(file_name("127.0.0.1:7410"), "127.0.0.1:7410");
    }
}
