//! Where settings come from, merged into one table and then read strictly.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{Config, ConfigError, Issuer};

/// Prefix of environment variables.
const ENVIRONMENT_PREFIX: &str = "DUNLIN_";

/// The file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "dunlin.toml";

/// Tables whose keys the operator chooses.
const OPEN_TABLES: [&str; 2] = ["issuers", "devices.by_kind"];

/// Where to read a configuration from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must exist; `None` for `./dunlin.toml` if that exists.
    pub file: Option<PathBuf>,
    /// Name and value of environment variables, all of them.
    pub environment: Vec<(String, String)>,
    /// `section.key` and value, from the command line.
    pub settings: Vec<(String, String)>,
}

impl Sources {
    /// Reads and merges them.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let defaults = defaults();
        let mut table = self.file_table()?;
        for (name, value) in &self.environment {
            if let Some(key) = key_of_variable(name, &defaults) {
                set(&mut table, &defaults, &key, value)?;
            }
        }
        for (key, value) in &self.settings {
            set(&mut table, &defaults, key, value)?;
        }
        check(&table, &defaults, "")?;
        table.try_into().map_err(|error: toml::de::Error| {
            ConfigError::key("configuration", error.message().to_owned())
        })
    }

    fn file_table(&self) -> Result<Table, ConfigError> {
        let path = match &self.file {
            Some(path) => path.clone(),
            None if PathBuf::from(DEFAULT_FILE).exists() => PathBuf::from(DEFAULT_FILE),
            None => return Ok(Table::new()),
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::Unreadable { path: path.clone(), error })?;
        text.parse().map_err(|error| ConfigError::Syntax { path, error: Box::new(error) })
    }
}

/// The defaults as a table: it says which keys there are and of what type.
pub(super) fn defaults() -> Table {
    Table::try_from(Config::default()).expect("the configuration has string keys only")
}

/// `DUNLIN_LISTEN_TCP` means `listen.tcp`. Variables whose second word is no section are left
/// alone: Kubernetes makes `DUNLIN_SERVICE_HOST` and the like for a service of that name.
fn key_of_variable(name: &str, defaults: &Table) -> Option<String> {
    let name = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase();
    let (section, key) = name.split_once('_')?;
    defaults.contains_key(section).then(|| format!("{section}.{key}"))
}

/// Sets a key from text, read as the type that the key has.
fn set(table: &mut Table, defaults: &Table, path: &str, text: &str) -> Result<(), ConfigError> {
    let unknown = || ConfigError::key(path, "there is no such key");
    let (sections, key) = path.rsplit_once('.').ok_or_else(unknown)?;
    let mut table = table;
    let mut known = Some(defaults);
    for section in sections.split('.') {
        known = known.and_then(|known| known.get(section)).and_then(Value::as_table);
        let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        table = inner.as_table_mut().ok_or_else(unknown)?;
    }
    let value = match known.and_then(|known| known.get(key)) {
        Some(default) => parse(text, default).map_err(|reason| ConfigError::key(path, reason))?,
        None if is_open(path) => {
            text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Integer)
        }
        None => return Err(unknown()),
    };
    table.insert(key.to_owned(), value);
    Ok(())
}

fn parse(text: &str, default: &Value) -> Result<Value, String> {
    let mismatch = |wanted: &str| format!("{text:?} is no {wanted}");
    match default {
        Value::Integer(_) => {
            let digits = text.replace('_', "");
            digits.parse().map(Value::Integer).map_err(|_| mismatch("whole number"))
        }
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_| mismatch("true or false"))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Every key is known and has the type of its default.
fn check(table: &Table, defaults: &Table, prefix: &str) -> Result<(), ConfigError> {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(default) = defaults.get(key) else {
            if is_open(&path) {
                check_open(&path, value)?;
                continue;
            }
            let known: Vec<&str> = defaults.keys().map(String::as_str).collect();
            let reason = format!("there is no such key; there are {}", known.join(", "));
            return Err(ConfigError::key(path, reason));
        };
        match (value, default) {
            (Value::Table(inner), Value::Table(defaults)) => check(inner, defaults, &path)?,
            _ if value.type_str() != default.type_str() => {
                let reason = format!("is a {}, not a {}", value.type_str(), default.type_str());
                return Err(ConfigError::key(path, reason));
            }
            _ => {}
        }
        if let Value::Integer(number) = value
            && *number < 0
        {
            return Err(ConfigError::key(path, "is negative"));
        }
    }
    Ok(())
}

/// What the operator named: an issuer, or a number of sessions.
fn check_open(path: &str, value: &Value) -> Result<(), ConfigError> {
    let of_right_type = if path.starts_with("issuers.") {
        value.clone().try_into::<Issuer>().map(drop)
    } else {
        value.clone().try_into::<usize>().map(drop)
    };
    of_right_type.map_err(|error| ConfigError::key(path, error.message()))
}

fn is_open(path: &str) -> bool {
    let below = |table: &&str| path.strip_prefix(*table).is_some_and(|rest| rest.starts_with('.'));
    OPEN_TABLES.iter().any(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, environment: &[(&str, &str)], settings: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dunlin.toml");
        std::fs::write(&path, file).unwrap();
        let own = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
        };
        let sources =
            Sources { file: Some(path), environment: own(environment), settings: own(settings) };
        match sources.read() {
            Ok(config) => config.listen.tcp,
            Err(ConfigError::Key { key, reason }) => format!("{key}: {reason}"),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn later_sources_win() {
        let file = "[listen]\ntcp = \"file\"";
        let environment = [("DUNLIN_LISTEN_TCP", "environment")];
        assert_eq!(read("", &[], &[]), "127.0.0.1:7410");
        assert_eq!(read(file, &[], &[]), "file");
        assert_eq!(read(file, &environment, &[]), "environment");
        assert_eq!(read(file, &environment, &[("listen.tcp", "flag")]), "flag");
    }

    #[test]
    fn errors_name_the_key() {
        let begins = |text: String, with: &str| assert!(text.starts_with(with), "{text}");
        begins(read("[listne]\ntcp = \"\"", &[], &[]), "listne: there is no such key");
        begins(read("[listen]\ntpc = \"\"", &[], &[]), "listen.tpc: there is no such key");
        begins(read("[listen]\ntcp = 1", &[], &[]), "listen.tcp: is a integer, not a string");
        begins(read("[limits]\nhandshakes_max = -1", &[], &[]), "limits.handshakes_max: is neg");
        begins(read("", &[("DUNLIN_LIMITS_FOO", "1")], &[]), "limits.foo: there is no such key");
        begins(read("", &[], &[("limits.handshakes_max", "x")]), "limits.handshakes_max: \"x\"");
        begins(read("", &[], &[("limits", "x")]), "limits: there is no such key");
        begins(read("[listen", &[], &[]), "error: ");
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        assert_eq!(read("", &[("DUNLIN_PORT_7410_TCP", "x")], &[]), "127.0.0.1:7410");
    }

    #[test]
    fn open_tables_take_any_key() {
        let file = "[issuers.app]\nalgorithm = \"HS256\"\nkey = \"x\"";
        assert_eq!(read(file, &[], &[("devices.by_kind.phone", "1")]), "127.0.0.1:7410");
    }

    #[test]
    fn what_the_operator_named_is_checked_and_named_too() {
        let begins = |text: String, with: &str| assert!(text.starts_with(with), "{text}");
        let issuer = "[issuers.app]\nalgoritm = \"HS256\"\nkey = \"x\"";
        begins(read(issuer, &[], &[]), "issuers.app: unknown field `algoritm`");
        begins(read("[devices.by_kind]\nphone = \"x\"", &[], &[]), "devices.by_kind.phone: inv");
        begins(read("", &[], &[("devices.by_kind.phone", "-1")]), "devices.by_kind.phone: inv");
    }

    const EXAMPLE: &str = include_str!("../../dunlin.example.toml");

    /// The example is the documentation: it must say all, and say the truth.
    #[test]
    fn the_example_names_every_key_with_its_default() {
        let example: Table = EXAMPLE.parse().unwrap();
        assert_eq!(example, defaults());
    }

    #[test]
    fn the_example_explains_every_key() {
        let mut explained = false;
        for line in EXAMPLE.lines() {
            match line.chars().next() {
                None | Some('[') => explained = false,
                Some('#') => explained = true,
                // Keys that belong together share what is written above them.
                Some(_) => assert!(explained, "{line}"),
            }
        }
    }

    /// The unit of a time or of a size is in the name, and numbers of both kinds say so.
    #[test]
    fn names_carry_their_unit() {
        let times = ["timeout", "interval", "delay", "lifetime"];
        let sizes = ["memory", "outbox", "segment", "filter"];
        let sections = defaults();
        let keys = sections.values().filter_map(Value::as_table).flat_map(Table::keys);
        for key in keys {
            let is = |words: &[&str]| words.iter().any(|word| key.contains(word));
            assert!(!is(&times) || key.ends_with("_ms") || key.ends_with("_s"), "{key}");
            assert!(!is(&sizes) || key.contains("_bytes") || key.ends_with("_kib"), "{key}");
        }
    }

    #[test]
    fn what_the_example_has_in_comments_can_be_used() {
        let uncommented = |first: &str| -> String {
            let (_, rest) = EXAMPLE.split_once(first).expect(first);
            let lines = rest.lines().map_while(|line| line.strip_prefix("# "));
            let lines = lines.filter(|line| line.contains(" = "));
            lines.collect::<Vec<_>>().join("\n")
        };
        let issuer = format!("[issuers.my-app]\n{}", uncommented("# [issuers.my-app]\n"));
        assert_eq!(issuer.matches(" = ").count(), 3, "{issuer}");
        assert_eq!(read(&issuer, &[], &[]), "127.0.0.1:7410");
        let kinds =
            format!("[devices.by_kind]\n{}", uncommented("(phone, tablet, desktop, web, bot):\n"));
        assert!(kinds.contains("phone = 1"), "{kinds}");
        assert_eq!(read(&kinds, &[], &[]), "127.0.0.1:7410");
    }
}
