//! Settings: registers of the account log that the devices of a user share, and how much they are altogether.

use bytes::Bytes;
use dunlin_protocol::limits::{SETTINGS_BYTES_MAX, SETTINGS_MAX};
use dunlin_protocol::wire::ErrorCode;
use dunlin_protocol::{LogId, UserId, wire};
use smallvec::smallvec;

use super::changes::{Decision, Told};
use crate::refusal::{INTERNAL, Refusal};
use crate::store::{Fence, Register, RegisterKey, Rule, Set, Write};
use crate::stored::{self, SettingsTotal};

/// How the keys of settings begin; the names of the settings follow.
pub(crate) const SETTING: u8 = b's';

const VERSION_CONFLICT: Refusal =
    Refusal::new(ErrorCode::VersionConflict, "the setting has another version");

const LIMIT_REACHED: Refusal =
    Refusal::new(ErrorCode::LimitReached, "the account has as many settings as it may have");

/// The register of a setting, by a name that was checked.
pub(super) fn setting_key(name: &str) -> RegisterKey {
    let bytes = [&[SETTING], name.as_bytes()].concat();
    RegisterKey::new(&bytes).expect("the name of a setting is shorter than a key may be")
}

/// The register of how much all of them are.
pub(super) fn total_key() -> RegisterKey {
    RegisterKey::letter(b't')
}

/// A setting that a user wants to have another value.
#[derive(Debug)]
pub(crate) struct SettingChange {
    key: RegisterKey,
    /// Empty: it is to be removed.
    value: Bytes,
    /// Only if it has this version.
    if_version: Option<u64>,
}

impl SettingChange {
    /// `name` and `value` were checked.
    pub(crate) fn new(name: &str, value: Bytes, if_version: Option<u64>) -> SettingChange {
        SettingChange { key: setting_key(name), value, if_version }
    }

    /// Memory beside its own size.
    pub(super) fn bytes(&self) -> usize {
        self.value.len() + self.key.as_bytes().len()
    }

    /// The registers that decide about it.
    pub(super) fn keys(&self) -> [RegisterKey; 2] {
        [self.key.clone(), total_key()]
    }

    pub(super) fn decide(
        &self,
        user: UserId,
        setting: &Register,
        total: &Register,
    ) -> Result<Decision, Refusal> {
        let held = setting_of(setting).ok_or(INTERNAL)?;
        // Of one that was removed the version is forgotten after a while.
        let version = if held.value.is_empty() { 0 } else { held.version };
        if self.if_version.is_some_and(|expected| expected != version) {
            let setting = Some(wire::Setting { version, ..held });
            let error = wire::Error { setting, ..VERSION_CONFLICT.into() };
            return Ok(Decision::Told(Err(Box::new(error))));
        }
        if held.value == self.value {
            return Ok(Decision::Told(Ok(Told::Setting(held))));
        }
        let Some(after) = total_with(total, setting, &self.value)? else {
            return Ok(Decision::Told(Err(Box::new(LIMIT_REACHED.into()))));
        };
        let write = setting_write(user, setting, &self.value, (total, after));
        let told = wire::Setting { value: self.value.clone(), ..held };
        Ok(Decision::Write(Box::new(write), Told::Setting(told)))
    }
}

/// What a user is told of a setting, by its register. `None` if it is about something else.
pub(crate) fn setting_of(register: &Register) -> Option<wire::Setting> {
    let [SETTING, name @ ..] = register.key.as_bytes() else { return None };
    let key = std::str::from_utf8(name).ok()?.to_owned();
    let value = register.value.clone().unwrap_or_default();
    Some(wire::Setting { key, value, version: register.version })
}

/// How much all settings are, if one of them becomes this; `None` if that is too much. What makes them less is
/// never too much.
pub(super) fn total_with(
    total: &Register,
    setting: &Register,
    value: &Bytes,
) -> Result<Option<SettingsTotal>, Refusal> {
    let before: SettingsTotal = match &total.value {
        Some(total) => stored::decode(total)?,
        None => SettingsTotal::default(),
    };
    let name = setting.key.as_bytes().len() as u32 - 1;
    let counts = |value: Option<&Bytes>| value.map_or((0, 0), |it| (1, name + it.len() as u32));
    let (fewer, less) = counts(setting.value.as_ref());
    let (one, bytes) = counts(Some(value).filter(|value| !value.is_empty()));
    let after = SettingsTotal {
        settings: before.settings.saturating_sub(fewer) + one,
        bytes: before.bytes.saturating_sub(less) + bytes,
    };
    let grows = one > fewer || bytes > less;
    let fits = after.settings <= SETTINGS_MAX && after.bytes <= SETTINGS_BYTES_MAX;
    Ok((fits || !grows).then_some(after))
}

/// Sets a setting as it was read, and how much all of them are then.
pub(super) fn setting_write(
    user: UserId,
    setting: &Register,
    value: &Bytes,
    total: (&Register, SettingsTotal),
) -> Write {
    let value = Some(value.clone()).filter(|value| !value.is_empty());
    let rule = Rule::IfVersion(setting.version);
    let setting = Set { key: setting.key.clone(), value, rule };
    let (read, total) = total;
    let rule = Rule::IfVersion(read.version);
    let total = Set { key: read.key.clone(), value: Some(stored::encode(&total)), rule };
    let sets = smallvec![setting, total];
    Write { log: LogId::account(user), fence: Fence::default(), entry: None, sets }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(key: RegisterKey, version: u64, value: Option<Bytes>) -> Register {
        Register { key, version, value }
    }

    fn setting(value: Option<&[u8]>) -> Register {
        register(setting_key("theme"), 7, value.map(Bytes::copy_from_slice))
    }

    fn total(settings: u32, bytes: u32) -> Register {
        register(total_key(), 7, Some(stored::encode(&SettingsTotal { settings, bytes })))
    }

    #[test]
    fn a_setting_is_told_by_its_name_and_one_that_is_gone_is_empty() {
        let told = setting_of(&setting(Some(b"dark"))).unwrap();
        assert_eq!((&told.key[..], &told.value[..], told.version), ("theme", &b"dark"[..], 7));
        assert!(setting_of(&setting(None)).unwrap().value.is_empty());
        assert_eq!(setting_of(&total(1, 1)), None);
    }

    #[test]
    fn names_and_values_count_once() {
        let with = |before, held: Option<&[u8]>, value: &[u8]| {
            let after = total_with(&before, &setting(held), &Bytes::copy_from_slice(value));
            after.unwrap().map(|total| (total.settings, total.bytes))
        };
        let nothing = register(total_key(), 0, None);
        assert_eq!(with(nothing, None, b"dark"), Some((1, 9)));
        assert_eq!(with(total(3, 100), Some(b"dark"), b"l"), Some((3, 97)));
        assert_eq!(with(total(3, 100), Some(b"dark"), b""), Some((2, 91)));
        assert_eq!(with(total(3, 100), None, b""), Some((3, 100)));
        assert_eq!(with(total(SETTINGS_MAX, 100), None, b"x"), None);
        assert_eq!(with(total(SETTINGS_MAX, 100), Some(b"x"), b"y"), Some((SETTINGS_MAX, 100)));
        let full = SETTINGS_BYTES_MAX;
        assert_eq!(with(total(3, full), Some(b"x"), b"yy"), None);
        assert_eq!(with(total(3, full + 9), Some(b"xx"), b"y"), Some((3, full + 8)), "it is less");
    }
}
