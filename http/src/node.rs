//! What is asked of a node.

use crate::metrics::Metrics;

/// A node that can say how it is. Each question is asked on a thread that may wait, at most once at a time;
/// an answer that takes longer than [`ANSWER_TIMEOUT`](crate::limits::ANSWER_TIMEOUT) is not waited for, and
/// counts as a bad one.
pub trait Node: Send + Sync + 'static {
    /// Whether it lives: if not, nothing helps but to start it again.
    fn health(&self) -> Verdict;

    /// Whether it takes connections and does what is asked there: if not, others should.
    fn readiness(&self) -> Verdict;

    /// All that it measures.
    fn metrics(&self) -> Metrics;
}

/// What is wrong; nothing, if all is well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    problems: Vec<String>,
}

impl Verdict {
    /// Nothing is wrong.
    pub fn good() -> Verdict {
        Verdict::default()
    }

    /// Something is wrong: a line for people.
    pub fn but(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    /// Whether all is well.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// What is wrong, a line each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}
