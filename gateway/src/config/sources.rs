//! Where settings come from, and which of them counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::error::{ConfigError, ConfigErrors, Fault, Faults};
use super::key::{Key, Origin, Place};
use super::known::Known;
use super::{Checked, Config, Issuers};

/// Prefix of environment variables.
const ENVIRONMENT_PREFIX: &str = "DUNLIN_";

/// The file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "dunlin.toml";

/// Where to read a configuration from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must exist; `None` for `./dunlin.toml` if that exists.
    pub file: Option<PathBuf>,
    /// Name and value of environment variables, all of them.
    pub environment: Vec<(String, String)>,
    /// From the command line; of two for a key the last one counts.
    pub flags: Vec<Flag>,
}

/// A setting from the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// What the operator wrote, for messages: `--listen-tcp`.
    pub name: String,
    /// `section.key`.
    pub key: String,
    /// Read as the type that the key has.
    pub value: String,
}

/// A configuration as far as it can be read, and what could not.
#[derive(Debug)]
pub struct Loaded {
    config: Config,
    /// What was set, and the sections of the file.
    origins: BTreeMap<Key, Origin>,
    faults: Faults,
}

/// What a source says about a key.
struct Said {
    origin: Origin,
    value: Result<Value, Fault>,
}

impl Sources {
    /// Reads and merges them, with everything that is wrong.
    pub fn load(&self) -> Loaded {
        let known = Known::new();
        let mut reading = Reading::default();
        if let Some(path) = self.file() {
            reading.file(&path);
        }
        for (name, text) in &self.environment {
            if let Some(key) = key_of_variable(name, &known) {
                let value = known.parse(&key, text);
                let origin = Origin::Variable(name.clone());
                reading.said.insert(key, Said { origin, value });
            }
        }
        for flag in &self.flags {
            let key = Key::dotted(&flag.key);
            let value = known.parse(&key, &flag.value);
            let origin = Origin::Flag(flag.name.clone());
            reading.said.insert(key, Said { origin, value });
        }
        reading.finish(&known)
    }

    /// Reads them, and checks no more than that each setting can be what it is said to be.
    pub fn read(&self) -> Result<Config, ConfigErrors> {
        let loaded = self.load();
        loaded.faults.into_result(loaded.config)
    }

    fn file(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        self.file.clone().or_else(default)
    }
}

impl Loaded {
    /// Checks all of it; see [`Checked::new`].
    pub fn check(self, descriptors: u64, cores: usize) -> Result<Checked, ConfigErrors> {
        let secret_files = self.secret_files();
        let Loaded { config, origins, mut faults } = self;
        let mut found = Faults::default();
        let checked = Checked::gather(config, descriptors, cores, &mut found);
        let checked = Checked { secret_files, ..checked };
        found.locate(|key| origin_of(&origins, key));
        faults.append(found);
        faults.into_result(checked)
    }

    /// As far as it can be read.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where a setting was said; `None` for one that is at its default.
    pub fn origin(&self, key: &Key) -> Option<Origin> {
        origin_of(&self.origins, key)
    }

    /// Files that hold secrets: keys that are named in the configuration, and its own file if the
    /// secret of an issuer is in it. They belong to the operator, and nobody else should read them.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let mut files = self.config.secret_files();
        files.extend(self.own_secret_file().map(Path::to_owned));
        files
    }

    fn own_secret_file(&self) -> Option<&Path> {
        let secrets = self.config.issuers.iter().filter(|(_, issuer)| issuer.is_secret());
        let mut keys = secrets.map(|(name, _)| Key::new(&[ISSUERS, name, "key"]));
        keys.find_map(|key| match self.origins.get(&key)? {
            Origin::File(place) => Some(place.path.as_path()),
            Origin::Variable(_) | Origin::Flag(_) => None,
        })
    }
}

const ISSUERS: &str = <Issuers as super::section::Section>::NAME;

/// Where a key was said, or the section or table around it.
fn origin_of(origins: &BTreeMap<Key, Origin>, key: &Key) -> Option<Origin> {
    let outwards = (1..=key.segments().len()).rev();
    outwards.map(|segments| key.outer(segments)).find_map(|key| origins.get(&key).cloned())
}

/// The setting that has its value at this byte.
fn key_at(places: &DeTable<'_>, outer: &Key, byte: usize) -> Option<Key> {
    places.iter().find_map(|(name, place)| {
        let key = outer.inside(name.get_ref());
        match place.get_ref() {
            DeValue::Table(inner) => key_at(inner, &key, byte),
            _ => place.span().contains(&byte).then_some(key),
        }
    })
}

/// `DUNLIN_LISTEN_TCP` means `listen.tcp`. Variables whose second word is no section are left
/// alone: Kubernetes makes `DUNLIN_SERVICE_HOST` and the like for a service of that name.
fn key_of_variable(name: &str, known: &Known) -> Option<Key> {
    let name = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase();
    let (section, key) = name.split_once('_')?;
    known.is_section(section).then(|| Key::new(&[section, key]))
}

/// What the sources have said so far; what comes later takes the place of what came before.
#[derive(Default)]
struct Reading {
    said: BTreeMap<Key, Said>,
    sections: BTreeMap<Key, Origin>,
    faults: Faults,
}

impl Reading {
    fn file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                return self.faults.push(ConfigError::Unreadable { path: path.to_owned(), error });
            }
        };
        let (places, errors) = DeTable::parse_recoverable(&text);
        let values = text.parse::<Table>();
        // A number that is too large is seen only when the value is made.
        let of_values = values.as_ref().err().filter(|_| errors.is_empty());
        for error in errors.iter().chain(of_values) {
            let place = Place::of(path, &text, error.span().map_or(0, |span| span.start));
            let mut reason = error.message().replace('\n', ", ");
            let key =
                error.span().and_then(|span| key_at(places.get_ref(), &Key::new(&[]), span.start));
            if let Some(key) = key.filter(|_| errors.is_empty()) {
                reason = format!("{key}: {reason}");
            }
            self.faults.push(ConfigError::Syntax { place, reason });
        }
        // Where the file is broken, nobody knows what the rest of it means.
        if let Ok(values) = values {
            let file = File { path, text: &text };
            self.table(&file, &Key::new(&[]), places.get_ref(), &values);
        }
    }

    fn table(&mut self, file: &File<'_>, outer: &Key, places: &DeTable<'_>, values: &Table) {
        for (name, place) in places {
            let key = outer.inside(name.get_ref());
            let Some(value) = values.get(name.get_ref().as_ref()) else { continue };
            let at = |byte| Origin::File(Place::of(file.path, file.text, byte));
            match (place.get_ref(), value) {
                (DeValue::Table(places), Value::Table(values)) if !values.is_empty() => {
                    self.sections.insert(key.clone(), at(name.span().start));
                    self.table(file, &key, places, values);
                }
                _ => {
                    let said = Said { origin: at(name.span().start), value: Ok(value.clone()) };
                    self.said.insert(key, said);
                }
            }
        }
    }

    /// Checks what was said last of each key, and makes a configuration of what is right.
    fn finish(mut self, known: &Known) -> Loaded {
        let mut table = Table::new();
        let mut origins = self.sections;
        for (key, Said { origin, value }) in self.said {
            origins.insert(key.clone(), origin.clone());
            let checked = value.map_err(|fault| (key.clone(), fault));
            let checked = checked.and_then(|value| known.check(&key, &value).map(|()| value));
            match checked {
                Ok(value) => put(&mut table, key.segments(), value),
                Err((key, fault)) => self.faults.setting(key, Some(origin), fault),
            }
        }
        // Each setting can be read by itself, so all of them can be.
        let config = table.try_into().unwrap_or_else(|error: toml::de::Error| {
            let fault = Fault::Refused(error.message().to_owned());
            self.faults.setting(Key::new(&["configuration"]), None, fault);
            Config::default()
        });
        Loaded { config, origins, faults: self.faults }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

/// Puts a value into tables inside of tables. An empty table takes nothing away.
fn put(table: &mut Table, segments: &[String], value: Value) {
    let Some((first, rest)) = segments.split_first() else { return };
    if rest.is_empty() {
        match value {
            Value::Table(inner) if inner.is_empty() => {
                table.entry(first).or_insert(Value::Table(inner));
            }
            value => drop(table.insert(first.clone(), value)),
        }
        return;
    }
    let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        put(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(
        path: Option<PathBuf>,
        environment: &[(&str, &str)],
        settings: &[(&str, &str)],
    ) -> Sources {
        let own = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
        let flag = |(key, value): &(&str, &str)| Flag {
            name: "--set".into(),
            key: key.to_string(),
            value: value.to_string(),
        };
        Sources {
            file: path,
            environment: environment.iter().map(own).collect(),
            flags: settings.iter().map(flag).collect(),
        }
    }

    fn read(file: &str, environment: &[(&str, &str)], settings: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dunlin.toml");
        std::fs::write(&path, file).unwrap();
        let sources = sources(Some(path), environment, settings);
        match sources.read() {
            Ok(config) => config.listen.tcp,
            Err(errors) => match &errors.each()[0] {
                ConfigError::Setting { key, fault, .. } => format!("{key}: {fault}"),
                error => format!("error: {error}"),
            },
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
        begins(read("[listen]\ntcp = 1", &[], &[]), "listen.tcp: is an integer, not a string");
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
        begins(read(issuer, &[], &[]), "issuers.app.algoritm: there is no such key; did you mean");
        begins(read("[devices.by_kind]\nphone = \"x\"", &[], &[]), "devices.by_kind.phone: inv");
        begins(read("", &[], &[("devices.by_kind.phone", "-1")]), "devices.by_kind.phone: inv");
    }

    /// What is wrong with a file and others, a line for each, with `F` for the path of the file.
    fn wrong(file: &str, environment: &[(&str, &str)], settings: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dunlin.toml");
        std::fs::write(&path, file).unwrap();
        let loaded = sources(Some(path.clone()), environment, settings).load();
        let errors = loaded.check(1024, 2).expect_err("something is wrong");
        let path = path.display().to_string();
        errors.each().iter().map(|error| error.to_string().replace(&path, "F")).collect()
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_its_place() {
        let file = "\
[listen]
tpc = \"127.0.0.1:1\"
backlog = \"many\"
tls = \"nowhere\"

[store]
readers = 1

[issuers.app]
algorithm = \"HS257\"
key = \"x\"
";
        let environment = [("DUNLIN_LIMITS_HANDSHAKES_MAX", "-1"), ("DUNLIN_LOG_LEVLE", "info")];
        let settings = [("engine.workers", "257"), ("tls.key_file", "key.pem")];
        let wrong = wrong(file, &environment, &settings);
        let expected = [
            "F:2:1: listen.tpc: there is no such key; did you mean listen.tcp?",
            "F:3:1: listen.backlog: is a string, not an integer",
            "F:4:1: listen.tls: \"nowhere\" is no address:port: invalid socket address",
            "F:7:1: store.readers: 1 is not in 2 to 256",
            "F:10:1: issuers.app.algorithm: \"HS257\" is none of HS256, EdDSA, ES256",
            "DUNLIN_LIMITS_HANDSHAKES_MAX: limits.handshakes_max: is negative",
            "DUNLIN_LOG_LEVLE: log.levle: there is no such key; did you mean log.level?",
            "--set: tls.key_file: and tls.certificate_file go together",
            "--set: engine.workers: 257 is not in 0 to 256",
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn what_is_missing_is_looked_for_where_it_should_be() {
        let wrong = wrong("[issuers.\"https://a.example\"]\nalgorithm = \"HS256\"\n", &[], &[]);
        let expected = "F:1:10: issuers.https://a.example: needs one of key and key_file";
        assert_eq!(wrong, [expected]);
    }

    #[test]
    fn what_is_wrong_and_overruled_is_not_wrong() {
        let overruled = read("[listen]\ntcp = 5", &[("DUNLIN_LISTEN_TCP", "x")], &[]);
        assert_eq!(overruled, "x");
        assert_eq!(read("", &[("DUNLIN_LISTEN_SHARDS", "x")], &[("listen.shards", "1")]), {
            "127.0.0.1:7410"
        });
    }

    #[test]
    fn a_number_that_is_too_large_is_told_with_its_key() {
        let wrong = wrong("[limits]\nhandshakes_max = 99999999999999999999999999\n", &[], &[]);
        assert!(wrong[0].starts_with("F:2:18: limits.handshakes_max: "), "{wrong:?}");
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }

    #[test]
    fn a_broken_file_hides_nothing_of_the_other_sources() {
        let wrong = wrong("[listen]\ntcp = \n[limits\n", &[], &[("store.color", "red")]);
        assert!(wrong.len() >= 3, "{wrong:?}");
        assert!(wrong[0].starts_with("F:2:") && wrong[1].starts_with("F:3:"), "{wrong:?}");
        assert!(wrong[wrong.len() - 1].starts_with("--set: store.color: there is no such key"));
        let missing = sources(Some("none.toml".into()), &[], &[]).read().unwrap_err();
        assert!(missing.to_string().starts_with("none.toml: "), "{missing}");
    }

    #[test]
    fn files_with_secrets_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dunlin.toml");
        let secret_files = |text: &str, settings: &[(&str, &str)]| {
            std::fs::write(&path, text).unwrap();
            sources(Some(path.clone()), &[], settings).load().secret_files()
        };
        let issuer = |algorithm: &str, key: &str| {
            format!("[issuers.app]\nalgorithm = \"{algorithm}\"\n{key} = \"x\"\n")
        };
        let none: [&Path; 0] = [];
        assert_eq!(secret_files(&issuer("HS256", "key"), &[]), [path.as_path()]);
        assert_eq!(secret_files(&issuer("HS256", "key"), &[("issuers.app.key", "y")]), none);
        assert_eq!(secret_files(&issuer("HS256", "key_file"), &[]), [Path::new("x")]);
        assert_eq!(secret_files(&issuer("ES256", "key"), &[]), none);
        assert_eq!(secret_files(&issuer("ES256", "key_file"), &[]), none);
        assert_eq!(secret_files("[tls]\nkey_file = \"y\"", &[]), [Path::new("y")]);
    }
}
