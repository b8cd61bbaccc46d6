//! The first line of a server: what runs here, and what differs from the defaults.

use toml::{Table, Value};
use tracing::Level;

use super::line::Line;
use super::writer::TARGET;
use crate::config::Config;

/// The version of this build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from; empty if nobody knows.
pub(crate) const COMMIT: &str = env!("COMMIT_OF_BUILD");

/// What stands for a key: that there is one is no secret.
const SECRET: &str = "(not shown)";

/// See the module.
pub(super) fn opening(mut line: Line, config: &Config) -> String {
    line.message("starting");
    line.text("version", VERSION);
    if !COMMIT.is_empty() {
        line.text("commit", COMMIT);
    }
    line.plain("pid", std::process::id());
    let settings = changed(config);
    line.settings("settings", settings.iter().map(|(key, value)| (key.as_str(), value)));
    line.finish(Level::INFO, TARGET)
}

/// The settings that differ from the defaults, by `section.key`.
fn changed(config: &Config) -> Vec<(String, Value)> {
    let table = |config: &Config| Table::try_from(config).unwrap_or_default();
    let mut changed = Vec::new();
    add_changed("", &table(config), &table(&Config::default()), &mut changed);
    changed
}

fn add_changed(within: &str, table: &Table, defaults: &Table, changed: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = format!("{within}{key}");
        match (value, defaults.get(key)) {
            (Value::Table(table), default) => {
                let none = Table::new();
                let defaults = default.and_then(Value::as_table).unwrap_or(&none);
                add_changed(&format!("{path}."), table, defaults, changed);
            }
            (value, default) if Some(value) == default => {}
            // `issuers.NAME.key` is the one secret that a configuration may have in it.
            (_, _) if key == "key" => changed.push((path, SECRET.into())),
            (value, _) => changed.push((path, value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Issuer;
    use crate::log::line::Format;

    #[test]
    fn it_names_what_was_changed_and_no_secret() {
        let mut config = Config::default();
        config.limits.handshakes_max = 7;
        config.listen.tls = String::new();
        config.devices.by_kind.insert("bot".into(), 1);
        let issuer = Issuer {
            algorithm: "HS256".into(),
            key: "this-is-the-secret".into(),
            ..Issuer::default()
        };
        config.issuers.insert("my-app".into(), issuer);
        let line = opening(Line::new(Format::Json), &config);
        assert!(!line.contains("this-is-the-secret"), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "starting");
        assert_eq!(line["version"], VERSION);
        assert_eq!(line["pid"], std::process::id());
        let settings = line["settings"].as_object().unwrap();
        assert_eq!(settings["limits.handshakes_max"], 7);
        assert_eq!(settings["listen.tls"], "");
        assert_eq!(settings["devices.by_kind.bot"], 1);
        assert_eq!(settings["issuers.my-app.key"], SECRET);
        assert_eq!(settings["issuers.my-app.algorithm"], "HS256");
        assert!(settings.len() <= 8, "{settings:?}");
    }

    #[test]
    fn the_defaults_say_nothing() {
        assert_eq!(changed(&Config::default()), []);
    }
}
