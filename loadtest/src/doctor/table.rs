//! A diagnosis for people: one line for each limit, and under it what it is about.

use std::fmt;

use super::{Diagnosis, Finding, Severity};

/// Reasons are wrapped at this width.
const WIDTH: usize = 96;

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        writeln!(
            f,
            "{} {} connections to {}, {} generator threads\n",
            plan.connections,
            if plan.tls { "TLS" } else { "plain" },
            plan.address,
            self.threads
        )?;
        let widest = |column: fn(&Finding) -> &str| {
            self.findings.iter().map(|finding| column(finding).len()).max().unwrap_or(0)
        };
        let (check, found) = (widest(|it| it.check), widest(|it| &it.found));
        writeln!(f, "{:<8} {:<check$}  {:<found$}  needed", "", "limit", "found")?;
        for finding in &self.findings {
            let word = word(finding.severity);
            writeln!(
                f,
                "{word:<8} {:<check$}  {:<found$}  {}",
                finding.check, finding.found, finding.needed
            )?;
            for line in wrapped(finding.why) {
                writeln!(f, "         {line}")?;
            }
            if let Some(mend) = &finding.mend {
                writeln!(f, "         > {mend}")?;
            }
        }
        let count = |severity| self.findings.iter().filter(|it| it.severity == severity).count();
        let (blocks, warnings) = (count(Severity::Blocks), count(Severity::Warning));
        write!(f, "\n{}: {blocks} block the run, {warnings} warnings", word(self.severity))
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Warning => "warning",
        Severity::Blocks => "BLOCKS",
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line from the beginning, and none goes");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tests::{million, roomy};
    use super::super::{Facts, evaluate};
    use super::*;

    #[test]
    fn each_limit_has_its_line_and_what_is_wrong_its_command() {
        let facts = Facts { tcp_pages: Some([1, 2, 3]), ..roomy() };
        let diagnosis = evaluate(million(), &facts);
        let text = diagnosis.to_string();
        for finding in &diagnosis.findings {
            assert!(text.contains(finding.check), "{text}");
        }
        assert!(text.contains("\n         > sysctl -w net.ipv4.tcp_mem=\"1000000"), "{text}");
        assert!(text.ends_with("\nBLOCKS: 1 block the run, 0 warnings"), "{text}");
    }

    #[test]
    fn reasons_are_wrapped_between_words() {
        let text = "word ".repeat(60);
        let lines = wrapped(text.trim_end());
        assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(lines.join(" "), text.trim_end());
    }
}
