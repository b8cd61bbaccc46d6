//! What is logged: a level for everything, and others for single modules.
//!
//! `log.level` is read strictly. A word that is no level, or a module that does not exist, would
//! otherwise mean that nothing is logged, errors included, and nobody would know why.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};

/// The modules that log something, and those that they are in: found in the sources when this was
/// built.
const MODULES: &str = env!("MODULES_THAT_LOG");

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// For modules without a level where only others have one.
const DEFAULT: LevelFilter = LevelFilter::INFO;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Levels {
    /// Of everything that no module of the list has in it.
    rest: LevelFilter,
    /// Those with a level of their own, inner ones first.
    modules: Vec<(String, LevelFilter)>,
}

impl Levels {
    pub(super) fn allow(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.of(metadata.target())
    }

    pub(super) fn allow_info_of(&self, target: &str) -> bool {
        Level::INFO <= self.of(target)
    }

    fn of(&self, target: &str) -> LevelFilter {
        let own = self.modules.iter().find(|(module, _)| is_within(target, module));
        own.map_or(self.rest, |&(_, level)| level)
    }

    /// The most that anything logs.
    pub(super) fn highest(&self) -> LevelFilter {
        self.modules.iter().map(|&(_, level)| level).fold(self.rest, LevelFilter::max)
    }
}

fn is_within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl FromStr for Levels {
    type Err = String;

    /// Reads `info` or `info,dunlin_core::store=debug`.
    fn from_str(text: &str) -> Result<Levels, String> {
        let mut levels = Levels { rest: DEFAULT, modules: Vec::new() };
        for directive in text.split(',').map(str::trim) {
            match directive.split_once('=') {
                None => levels.rest = level(directive)?,
                Some((module, word)) => {
                    let module = known_module(module.trim())?;
                    levels.modules.push((module.to_owned(), level(word.trim())?));
                }
            }
        }
        // A longer name is further in. Of two that are the same, the later one counts.
        levels.modules.reverse();
        levels.modules.sort_by_key(|(module, _)| std::cmp::Reverse(module.len()));
        Ok(levels)
    }
}

fn level(word: &str) -> Result<LevelFilter, String> {
    let found = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|&(_, level)| level).ok_or_else(|| {
        let names: Vec<&str> = LEVELS.iter().map(|&(name, _)| name).collect();
        let names = names.join(", ");
        format!("{word:?} is none of {names}, nor module=level, as in info,dunlin_core=debug")
    })
}

fn known_module(module: &str) -> Result<&str, String> {
    let mut known = MODULES.split(',');
    if known.any(|name| name == module) {
        return Ok(module);
    }
    let names = MODULES.replace(',', ", ");
    Err(format!("{module:?} is no module that logs something; there are {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Levels {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<Levels>().expect_err(text)
    }

    #[test]
    fn one_level_is_for_everything() {
        for (text, level) in [("error", LevelFilter::ERROR), (" Debug ", LevelFilter::DEBUG)] {
            let levels = parsed(text);
            assert_eq!((levels.of("dunlin_core::engine"), levels.highest()), (level, level));
        }
        assert_eq!(parsed("off").of("dunlin_core"), LevelFilter::OFF);
    }

    #[test]
    fn the_innermost_module_decides() {
        let text = "warn,dunlin_core=info,dunlin_core::store=trace,dunlin_gateway=debug";
        let levels = parsed(text);
        let of = |target| levels.of(target);
        assert_eq!(of("dunlin_core::store::embedded::lane"), LevelFilter::TRACE);
        assert_eq!(of("dunlin_core::engine"), LevelFilter::INFO);
        assert_eq!(of("dunlin_core"), LevelFilter::INFO);
        assert_eq!(of("dunlin_core_of_another"), LevelFilter::WARN);
        assert_eq!(of("rustls::server"), LevelFilter::WARN);
        assert_eq!(levels.highest(), LevelFilter::TRACE);
        assert_eq!(
            parsed("info,dunlin_core=warn,dunlin_core=debug").of("dunlin_core"),
            Level::DEBUG
        );
    }

    #[test]
    fn errors_are_logged_where_only_a_module_has_a_level() {
        assert_eq!(parsed("dunlin_gateway=debug").of("dunlin_core::store"), LevelFilter::INFO);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for text in ["loud", "", "info,", "info loud", "4", "dunlin_core", "dunlin_core=loud"] {
            let error = refused(text);
            assert!(error.contains("off, error, warn, info, debug, trace"), "{text}: {error}");
        }
        for text in ["dunlin_gatway=debug", "=debug", "dunlin_core::stor=debug", "info,a=b=c"] {
            let error = refused(text);
            assert!(error.contains("dunlin_core::store, "), "{text}: {error}");
        }
    }

    #[test]
    fn the_modules_of_this_build_are_known() {
        assert_eq!(known_module("dunlin_gateway::shard"), Ok("dunlin_gateway::shard"));
        assert_eq!(known_module("dunlin_core::store"), Ok("dunlin_core::store"));
        assert!(MODULES.split(',').is_sorted(), "{MODULES}");
    }
}
