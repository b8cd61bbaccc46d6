//! How a line looks: one JSON object for programs, or something that people read at a glance.
//!
//! In both, texts are cut and escaped: some come from strangers, who must neither begin a line of
//! their own, nor move the cursor of who reads the log in a terminal, nor make a line that has no end.

use std::fmt::{self, Write};

use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Bytes of one text in a line. What names something is shorter by far.
const TEXT_BYTES_MAX: usize = 1024;

/// Bytes of a text that is there for its length: the way to a panic.
const LONG_TEXT_BYTES_MAX: usize = 16 * 1024;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Human {
        /// For a terminal.
        colors: bool,
    },
}

/// A line that is being made: the message, and fields in their order.
#[derive(Debug)]
pub(super) struct Line {
    format: Format,
    message: String,
    fields: String,
}

impl Line {
    pub(super) fn new(format: Format) -> Line {
        Line { format, message: String::new(), fields: String::new() }
    }

    /// What happened: the same text for the same kind of event.
    pub(super) fn message(&mut self, message: &str) {
        message.clone_into(&mut self.message);
    }

    pub(super) fn said(&self) -> &str {
        &self.message
    }

    /// A value that needs no quotes in either format: a number, true, false.
    pub(super) fn plain(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        // Writing to a String can't fail.
        let _never = write!(self.fields, "{value}");
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.value(cut(text, TEXT_BYTES_MAX));
    }

    pub(super) fn long_text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.value(cut(text, LONG_TEXT_BYTES_MAX));
    }

    /// Settings by their keys: an object in JSON, fields like others for people.
    pub(super) fn settings<'a>(
        &mut self,
        name: &str,
        settings: impl Iterator<Item = (&'a str, &'a toml::Value)>,
    ) {
        if self.format == Format::Json {
            let mut inner = Line::new(self.format);
            settings.for_each(|(key, value)| inner.setting(key, value));
            let members = inner.fields.trim_start_matches(',');
            self.plain(name, format_args!("{{{members}}}"));
        } else {
            settings.for_each(|(key, value)| self.setting(key, value));
        }
    }

    fn setting(&mut self, key: &str, value: &toml::Value) {
        match value {
            toml::Value::String(text) => self.text(key, text),
            toml::Value::Integer(number) => self.plain(key, number),
            toml::Value::Float(number) if number.is_finite() => self.plain(key, number),
            toml::Value::Boolean(value) => self.plain(key, value),
            toml::Value::Float(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => {
                let json = serde_json::to_string(value);
                self.plain(key, json.unwrap_or_else(|_| "null".into()));
            }
        }
    }

    fn name(&mut self, name: &str) {
        match self.format {
            Format::Json => {
                self.fields.push(',');
                push_json(&mut self.fields, name);
                self.fields.push(':');
            }
            Format::Human { .. } => {
                self.fields.push(' ');
                self.fields.push_str(name);
                self.fields.push('=');
            }
        }
    }

    fn value(&mut self, text: (&str, &str)) {
        let (text, more) = text;
        match self.format {
            Format::Json => push_json(&mut self.fields, &format!("{text}{more}")),
            Format::Human { .. } if is_one_word(text) && more.is_empty() => {
                self.fields.push_str(text);
            }
            Format::Human { .. } => {
                let _never = write!(self.fields, "{:?}", format!("{text}{more}"));
            }
        }
    }

    /// The line, with its end. The time is now.
    pub(super) fn finish(self, level: Level, target: &str) -> String {
        let mut time = String::new();
        // A clock that can't be told is no reason to lose the line.
        let _untold = SystemTime.format_time(&mut Writer::new(&mut time));
        let (message, more) = cut(&self.message, TEXT_BYTES_MAX);
        let message = format!("{message}{more}");
        let fields = self.fields;
        match self.format {
            Format::Json => {
                let mut said = String::new();
                push_json(&mut said, &message);
                format!(
                    "{{\"timestamp\":\"{time}\",\"level\":\"{level}\",\"target\":\"{target}\",\
                     \"message\":{said}{fields}}}\n"
                )
            }
            Format::Human { colors } => {
                let message = on_one_line(&message);
                if colors {
                    let color = color(level);
                    format!(
                        "\x1b[2m{time}\x1b[0m \x1b[{color}m{level:>5}\x1b[0m \x1b[2m{target}:\x1b[0m \
                         {message}{fields}\n"
                    )
                } else {
                    format!("{time} {level:>5} {target}: {message}{fields}\n")
                }
            }
        }
    }
}

/// Fields of an event, as what they are.
impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field.name(), value);
        } else {
            self.text(field.name(), &value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message(value),
            name => self.text(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The beginning of a text, and what stands for the rest.
fn cut(text: &str, bytes_max: usize) -> (&str, &'static str) {
    if text.len() <= bytes_max {
        return (text, "");
    }
    (&text[..text.floor_char_boundary(bytes_max)], "…")
}

/// Whether a text is understood without quotes.
fn is_one_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !is_awkward(c) && !matches!(c, ' ' | '"' | '=' | '\\'))
}

/// Characters that a terminal or an editor does not merely show: controls, invisible ones, and those
/// that change the direction of what follows.
fn is_awkward(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // All of them are below U+10000, so four digits name them.
            c if is_awkward(c) => {
                let _never = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A message is a sentence: quotes in it are fine, new lines are not.
fn on_one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for c in message.chars() {
        if is_awkward(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Of a terminal: red, yellow, green, blue, magenta.
fn color(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(line: &str) -> serde_json::Value {
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1, "{line}");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn json_has_values_of_their_kind() {
        let mut line = Line::new(Format::Json);
        line.message("closed");
        line.plain("shard", 3);
        line.plain("secure", true);
        line.text("peer", "192.0.2.1");
        let line = json(&line.finish(Level::WARN, "dunlin_gateway::shard"));
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["target"], "dunlin_gateway::shard");
        assert_eq!(line["message"], "closed");
        assert_eq!((&line["shard"], &line["secure"]), (&3.into(), &true.into()));
        assert_eq!(line["peer"], "192.0.2.1");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_stranger_can_neither_begin_a_line_nor_move_the_cursor() {
        let nasty = "a\"\\\n\r\t\u{1b}[2J\u{9b}1A\u{7f}\u{202e}\u{2028}ä😀";
        for format in [Format::Json, Format::Human { colors: false }] {
            let mut line = Line::new(format);
            line.message(nasty);
            line.text("name", nasty);
            let line = line.finish(Level::INFO, "test");
            let (last, rest) = (line.chars().next_back(), &line[..line.len() - 1]);
            assert_eq!(last, Some('\n'));
            assert!(!rest.contains(is_awkward), "{rest:?}");
            if format == Format::Json {
                assert_eq!(json(&line)["name"], nasty);
                assert_eq!(json(&line)["message"], nasty);
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut line = Line::new(Format::Json);
        line.text("name", &"ä".repeat(5000));
        let line = json(&line.finish(Level::INFO, "test"));
        let name = line["name"].as_str().unwrap();
        assert_eq!(name, format!("{}…", "ä".repeat(TEXT_BYTES_MAX / 2)));
    }

    #[test]
    fn for_people_a_text_has_quotes_where_it_needs_them() {
        let mut line = Line::new(Format::Human { colors: false });
        line.message("login failed");
        line.text("peer", "192.0.2.1");
        line.text("name", "ada lovelace");
        line.text("device", "");
        line.plain("left_out", 7);
        let line = line.finish(Level::INFO, "test");
        let expected = "  INFO test: login failed peer=192.0.2.1 name=\"ada lovelace\" device=\"\" left_out=7\n";
        assert!(line.ends_with(expected), "{line}");
        let mut line = Line::new(Format::Human { colors: true });
        line.message("failed");
        assert!(line.finish(Level::ERROR, "test").contains("\u{1b}[31mERROR\u{1b}[0m"));
    }

    #[test]
    fn settings_are_an_object() {
        let table: toml::Table = "a = 7\nb = \"x y\"\nc = true\nd = [1]".parse().unwrap();
        let settings = || table.iter().map(|(key, value)| (key.as_str(), value));
        let mut line = Line::new(Format::Json);
        line.settings("settings", settings());
        let line = json(&line.finish(Level::INFO, "test"));
        let expected = serde_json::json!({"a": 7, "b": "x y", "c": true, "d": [1]});
        assert_eq!(line["settings"], expected);
        let mut line = Line::new(Format::Json);
        line.settings("settings", std::iter::empty());
        assert_eq!(json(&line.finish(Level::INFO, "test"))["settings"], serde_json::json!({}));
        let mut line = Line::new(Format::Human { colors: false });
        line.settings("settings", settings());
        assert!(line.finish(Level::INFO, "test").ends_with(" a=7 b=\"x y\" c=true d=[1]\n"));
    }
}
