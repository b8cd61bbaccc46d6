//! Settings that the devices of the user share, as this client knows them.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_protocol::wire::Setting;

use super::Machine;
use super::event::Event;

/// The settings that are known. The server bounds their number and their bytes.
#[derive(Debug, Default)]
pub(super) struct Settings {
    held: BTreeMap<String, Setting>,
    /// Those that were named since everything is told anew, until that is done.
    named: Option<BTreeSet<String>>,
}

impl Settings {
    /// Another user.
    pub(super) fn clear(&mut self) {
        *self = Settings::default();
    }

    /// For a later run: with those that were removed, so that what is older than that is no news.
    pub(super) fn saved(&self) -> Vec<Setting> {
        self.held.values().cloned().collect()
    }

    pub(super) fn told_anew(&mut self) {
        self.named = Some(BTreeSet::new());
    }

    /// The server tells one. True if it is news.
    fn told(&mut self, setting: &Setting, by_sync: bool) -> bool {
        let is_anew = match &mut self.named {
            Some(named) if by_sync => {
                named.insert(setting.key.clone());
                true
            }
            // It may be older than what is told.
            Some(_) | None => false,
        };
        let held = self.held.get(&setting.key);
        let is_older = held.is_some_and(|held| held.version >= setting.version);
        if held == Some(setting) || (is_older && !is_anew) {
            return false;
        }
        self.held.insert(setting.key.clone(), setting.clone());
        true
    }

    /// Everything was told: gives back those that are no more.
    fn take_unnamed(&mut self) -> Vec<Setting> {
        let Some(named) = self.named.take() else { return Vec::new() };
        let unnamed: Vec<_> =
            self.held.keys().filter(|key| !named.contains(*key)).cloned().collect();
        let gone = unnamed.iter().filter_map(|key| self.held.remove(key));
        let gone: Vec<_> = gone.filter(|setting| !setting.value.is_empty()).collect();
        // What was removed needs no mark any more: whatever is older was told before.
        self.held.retain(|_, setting| !setting.value.is_empty());
        gone
    }
}

impl Machine {
    /// The settings of this user that have a value.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.settings.held.values().filter(|setting| !setting.value.is_empty())
    }

    pub(super) fn setting_told(&mut self, setting: Setting, by_sync: bool) {
        // A slice of the frame would keep all of that alive.
        let value = super::Bytes::copy_from_slice(&setting.value);
        let setting = Setting { value, ..setting };
        if self.settings.told(&setting, by_sync) {
            self.events.push_back(Event::Setting(setting));
        }
    }

    /// Everything was told anew: what was not named is no more, or was set so late that the next sync tells
    /// it. True if there was anything.
    pub(super) fn forget_unnamed_settings(&mut self) -> bool {
        let gone = self.settings.take_unnamed();
        let has_forgotten = !gone.is_empty();
        for gone in gone {
            let value = super::Bytes::new();
            self.events.push_back(Event::Setting(Setting { value, ..gone }));
        }
        has_forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, value: &str, version: u64) -> Setting {
        Setting { key: key.into(), value: value.to_owned().into(), version }
    }

    #[test]
    fn the_higher_version_holds_whatever_comes_first() {
        let mut settings = Settings::default();
        assert!(settings.told(&setting("a", "x", 7), false));
        assert!(!settings.told(&setting("a", "y", 6), true));
        assert!(!settings.told(&setting("a", "x", 7), true));
        assert!(settings.told(&setting("a", "", 8), false));
        assert!(!settings.told(&setting("a", "x", 7), false), "it was removed since");
    }

    #[test]
    fn what_is_not_named_when_all_is_told_anew_is_no_more() {
        let mut settings = Settings::default();
        for (key, version) in [("a", 7), ("b", 8), ("c", 9)] {
            settings.told(&setting(key, "x", version), true);
        }
        settings.told_anew();
        // The store was put back: lower versions hold.
        assert!(settings.told(&setting("a", "y", 3), true));
        assert!(!settings.told(&setting("b", "z", 3), false));
        // It may have been removed before it was looked at; if it was set after that, the next sync tells it.
        assert!(settings.told(&setting("d", "x", 12), false));
        let gone = [setting("b", "x", 8), setting("c", "x", 9), setting("d", "x", 12)];
        assert_eq!(settings.take_unnamed(), gone);
        assert_eq!(settings.held.len(), 1);
        assert_eq!(settings.take_unnamed(), []);
    }
}
