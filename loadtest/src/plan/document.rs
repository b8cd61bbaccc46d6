//! A TOML document that is taken apart section by section, and remembers where everything stood,
//! so that whatever turns out to be wrong can be shown.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::problem::{Problem, Problems};

/// A document and what was found wrong with it so far.
pub(super) struct Document<'a> {
    text: &'a str,
    whole: DeTable<'a>,
    taken: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Document<'a> {
    /// Reads the syntax; an error if it is no TOML, since then nothing can be said of the rest.
    pub(super) fn parse(text: &'a str) -> Result<Document<'a>, Problems> {
        let (whole, errors) = DeTable::parse_recoverable(text);
        let problem = |error: toml::de::Error| Problem {
            line: error.span().map(|span| line(text, &span)),
            ..Problem::new("", "", error.message())
        };
        Problems::check(errors.into_iter().map(problem).collect())?;
        let whole = whole.into_inner();
        Ok(Document { text, whole, taken: Vec::new(), problems: Vec::new() })
    }

    /// A string above all sections.
    pub(super) fn word(&mut self, field: &'static str) -> Option<String> {
        self.taken.push(field);
        match self.whole.get(field).map(Spanned::get_ref) {
            Some(DeValue::String(word)) => Some(word.clone().into_owned()),
            Some(_) => {
                self.add(Problem::new("", field, "is no string"));
                None
            }
            None => None,
        }
    }

    /// The values of a section; the defaults for what is missing or wrong.
    pub(super) fn section<T: DeserializeOwned + Default>(&mut self, name: &'static str) -> T {
        self.taken.push(name);
        let Some((key, value)) = self.whole.get_key_value(name) else {
            return T::default();
        };
        let span = key.span();
        let DeValue::Table(mut table) = value.get_ref().clone() else {
            self.add(Problem::new(name, "", "is no section"));
            return T::default();
        };
        loop {
            let rest = Spanned::new(span.clone(), table.clone());
            let error = match T::deserialize(Deserializer::from(rest)) {
                Ok(section) => return section,
                Err(error) => error,
            };
            // Serde ends at the first error: take out what is wrong, and look at the rest.
            let at = error.span();
            let field = at.as_ref().and_then(|at| remove_field_at(&mut table, at));
            let is_over = field.is_none();
            self.problems.push(Problem {
                line: at.map(|at| line(self.text, &at)),
                section: name.into(),
                field: field.unwrap_or_default().into(),
                reason: error.message().to_owned(),
            });
            if is_over {
                return T::default();
            }
        }
    }

    /// Takes note of a problem, unless something is known to be wrong in that place already.
    pub(super) fn add(&mut self, mut problem: Problem) {
        let is_known =
            |known: &Problem| (&known.section, &known.field) == (&problem.section, &problem.field);
        if !self.problems.iter().any(is_known) {
            problem.line = self.find(&problem.section, &problem.field);
            self.problems.push(problem);
        }
    }

    /// Names the sections that nobody has asked for.
    pub(super) fn expect_no_more(&mut self) {
        let is_unknown = |key: &&Spanned<Cow<'_, str>>| !self.taken.contains(&&**key.get_ref());
        let problem = |key: &Spanned<Cow<'_, str>>| Problem {
            line: Some(line(self.text, &key.span())),
            section: key.get_ref().to_string().into(),
            field: "".into(),
            reason: format!("is unknown here; expected are: {}", self.taken.join(", ")),
        };
        let unknown: Vec<_> = self.whole.keys().filter(is_unknown).map(problem).collect();
        self.problems.extend(unknown);
    }

    /// Everything that is wrong, from top to bottom.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        self.problems
    }

    /// The line of a field, or of its section if the field is absent.
    fn find(&self, section: &str, field: &str) -> Option<usize> {
        let top = if section.is_empty() { field } else { section };
        let (key, value) = self.whole.get_key_value(top)?;
        let inner = match value.get_ref() {
            DeValue::Table(table) => table.get_key_value(field).map(|(key, _)| key.span()),
            _ => None,
        };
        Some(line(self.text, &inner.unwrap_or_else(|| key.span())))
    }
}

/// Removes the field whose key or value is at this place; returns its name.
fn remove_field_at(table: &mut DeTable<'_>, at: &Range<usize>) -> Option<String> {
    let holds = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
    let field = table
        .iter()
        .find(|(key, value)| holds(key.span()) || holds(value.span()))
        .map(|(key, _)| key.get_ref().clone().into_owned())?;
    table.remove(field.as_str());
    Some(field)
}

fn line(text: &str, span: &Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count()
}
