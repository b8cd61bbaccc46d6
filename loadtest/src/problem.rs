//! What is wrong with a scenario. All of it is said at once, so that a file is mended in one go.

use std::borrow::Cow;
use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, counted from 1, if it came from one.
    pub line: Option<usize>,
    /// Section of the file: `chat`, `server` and so on; empty above all sections.
    pub section: Cow<'static, str>,
    /// Field of the section; empty if it is about the whole section.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub reason: String,
}

impl Problem {
    /// A problem of a field that this program knows.
    pub fn new(section: &'static str, field: &'static str, reason: impl Into<String>) -> Problem {
        let (section, field) = (section.into(), field.into());
        Problem { line: None, section, field, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        match (&*self.section, &*self.field) {
            ("", "") => {}
            ("", name) | (name, "") => write!(f, "{name}: ")?,
            (section, field) => write!(f, "{section}.{field}: ")?,
        }
        f.write_str(&self.reason)
    }
}

/// Everything that is wrong; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// An error if there are any.
    pub fn check(problems: Vec<Problem>) -> Result<(), Problems> {
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let end_of_line = if index > 0 { "\n" } else { "" };
            write!(f, "{end_of_line}{problem}")?;
        }
        Ok(())
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_it_is_as_far_as_it_is_known() {
        let mut problem = Problem::new("chat", "users", "is odd");
        assert_eq!(problem.to_string(), "chat.users: is odd");
        problem.line = Some(7);
        let whole = Problem::new("", "", "is no file");
        let both = Problems::check(vec![problem, whole]).unwrap_err();
        assert_eq!(both.to_string(), "line 7: chat.users: is odd\nis no file");
        assert!(Problems::check(Vec::new()).is_ok());
    }
}
