//! How this program was called, as a line that can be called again, but for its secrets.

use clap::CommandFactory;

use crate::arguments::Arguments;

/// What stands for a secret.
const HIDDEN: &str = "...";

/// Settings of a started server, by the last part of their keys, of which the values are secrets.
const SECRET_SETTINGS: [&str; 4] = ["key", "secret", "password", "token"];

/// The line of these words, of which the first is the program.
pub(crate) fn line(words: impl IntoIterator<Item = String>) -> String {
    let secrets = secret_options();
    let mut hides_next = false;
    let words = words.into_iter().enumerate().map(|(number, word)| {
        if std::mem::take(&mut hides_next) {
            return HIDDEN.to_owned();
        }
        if number == 0 {
            return program(&word);
        }
        let keys = word.match_indices('=').map(|(at, _)| &word[..at]);
        let is_secret = |key: &&str| secrets.iter().any(|secret| secret == key) || is_setting(key);
        if let Some(key) = keys.into_iter().find(is_secret) {
            return format!("{key}={HIDDEN}");
        }
        hides_next = secrets.contains(&word);
        quoted(&word)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Options whose values the help hides, since they come from the environment as secrets.
fn secret_options() -> Vec<String> {
    let command = Arguments::command();
    let options = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let secrets = options.filter(|option| option.is_hide_env_values_set());
    let mut names: Vec<_> = secrets.filter_map(|option| option.get_long()).collect();
    names.dedup();
    names.into_iter().map(|name| format!("--{name}")).collect()
}

/// `issuers.someone.key`, with or without its option in front.
fn is_setting(key: &str) -> bool {
    key.rsplit_once('.').is_some_and(|(_, last)| SECRET_SETTINGS.contains(&last))
}

/// Where it lies says nothing to others.
fn program(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:,=@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(words: &[&str]) -> String {
        line(words.iter().map(|&word| word.to_owned()))
    }

    #[test]
    fn a_line_can_be_called_again() {
        let words =
            ["/a/dunlin-loadtest", "chat", "--threshold", "closes<=0", "--rate-per-s", "1..2:3"];
        assert_eq!(
            line_of(&words),
            "dunlin-loadtest chat --threshold 'closes<=0' --rate-per-s 1..2:3"
        );
        assert_eq!(line_of(&["x", "it's", ""]), "x 'it'\\''s' ''");
    }

    #[test]
    fn secrets_are_left_out_however_they_are_given() {
        let secret = "BwcHBwc=";
        let issuer_key = format!("--issuer-key={secret}");
        let (setting, option) =
            (format!("issuers.x.key={secret}"), format!("--server-set=issuers.x.key={secret}"));
        let ways: [&[&str]; 4] = [
            &["x", "chat", "--issuer-key", secret, "--users", "2"],
            &["x", "chat", &issuer_key],
            &["x", "chat", "--server-set", &setting],
            &["x", "chat", &option],
        ];
        for words in ways {
            let line = line_of(words);
            assert!(!line.contains(secret) && line.contains(HIDDEN), "{line}");
        }
        assert_eq!(line_of(ways[0]), "x chat --issuer-key ... --users 2");
        let file = line_of(&["x", "--server-set", "issuers.x.key_file=a"]);
        assert_eq!(file, "x --server-set issuers.x.key_file=a");
    }
}
