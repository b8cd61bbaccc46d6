//! What can be said about a chat run, wherever it is said: options of the command line, fields of
//! a file, or a message to another machine. It names no server and no thread.

use clap::Args;
use dunlin_protocol::limits::HISTORY_ENTRIES_MAX;
use serde::{Deserialize, Serialize};

use crate::chat::{Action, ChatScenario, Load, MessageKind, Rate};
use crate::problem::Problem;
use crate::seconds::Seconds;
use crate::target::Target;
use crate::weighted::Weighted;

/// The section of a file.
pub(crate) const SECTION: &str = "chat";

/// A chat run.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatParameters {
    /// Users, an even number; two and two are a pair.
    #[arg(long, default_value_t = ChatParameters::default().users)]
    pub users: u32,
    /// What they send: durable, signal (answered, but not stored), quiet_signal (not even
    /// answered), or a mix of the first two with weights: durable:3,signal:1. Beside durable messages
    /// they can also ask: history (the newest page of their conversation), mark_read, sync.
    #[arg(long, value_name = "KIND", default_value_t = ChatParameters::default().message)]
    pub message: Weighted<Action>,
    /// Length of each content in bytes, at least 28; or a mix with weights: 100:3,4000:1.
    #[arg(long, value_name = "BYTES", default_value_t = ChatParameters::default().content_bytes)]
    pub content_bytes: Weighted<usize>,
    /// Entries of a page of history, at most.
    #[arg(long, value_name = "ENTRIES")]
    #[arg(default_value_t = ChatParameters::default().history_entries)]
    pub history_entries: u32,
    /// Open load: messages and requests per second of all users together. A rate that changes has parts with
    /// commas between them: 100:10 is 100 per second for 10 s, 100..1000:60 rises within 60 s. They
    /// begin with the measured window; the last rate goes on.
    #[arg(long, alias = "rate", value_name = "RATE")]
    pub rate_per_s: Option<Rate>,
    /// Closed load: unanswered messages and requests of each user [default: 1, without --rate-per-s].
    #[arg(long, value_name = "MESSAGES")]
    pub outstanding: Option<u32>,
    /// Share of the pairs that send; the others are there, and say nothing.
    #[arg(long, value_name = "SHARE", default_value_t = ChatParameters::default().active_share)]
    pub active_share: f64,
    /// Time before the measured window.
    #[arg(long, alias = "warm-up", value_name = "SECONDS")]
    #[arg(default_value_t = ChatParameters::default().warm_up_s)]
    pub warm_up_s: Seconds,
    /// The measured window.
    #[arg(long, alias = "duration", value_name = "SECONDS")]
    #[arg(default_value_t = ChatParameters::default().duration_s)]
    pub duration_s: Seconds,
    /// New connections per second, at most.
    #[arg(long, alias = "connect-rate", value_name = "RATE")]
    #[arg(default_value_t = ChatParameters::default().connects_per_s)]
    pub connects_per_s: u32,
    /// How long it may take until all users are logged in.
    #[arg(long, alias = "gather-timeout", value_name = "SECONDS")]
    #[arg(default_value_t = ChatParameters::default().gather_timeout_s)]
    pub gather_timeout_s: Seconds,
    /// How long the server may take after the window to answer and deliver everything.
    #[arg(long, alias = "drain-timeout", value_name = "SECONDS")]
    #[arg(default_value_t = ChatParameters::default().drain_timeout_s)]
    pub drain_timeout_s: Seconds,
    /// How long the reading of all logs may take in the end.
    #[arg(long, value_name = "SECONDS")]
    #[arg(default_value_t = ChatParameters::default().read_timeout_s)]
    pub read_timeout_s: Seconds,
    /// Connections may end and are made anew: the server will be killed and started again.
    #[arg(long)]
    pub reconnect: bool,
}

impl Default for ChatParameters {
    fn default() -> ChatParameters {
        ChatParameters {
            users: 100,
            message: MessageKind::Durable.into(),
            content_bytes: 200.into(),
            history_entries: 20,
            rate_per_s: None,
            outstanding: None,
            active_share: 1.0,
            warm_up_s: Seconds::new(2),
            duration_s: Seconds::new(10),
            connects_per_s: 5000,
            gather_timeout_s: Seconds::new(120),
            drain_timeout_s: Seconds::new(30),
            read_timeout_s: Seconds::new(300),
            reconnect: false,
        }
    }
}

impl ChatParameters {
    /// The parameters of a scenario.
    pub fn of(scenario: &ChatScenario) -> ChatParameters {
        let (rate_per_s, outstanding) = scenario.load.fields();
        ChatParameters {
            users: scenario.users,
            message: scenario.message.clone(),
            content_bytes: scenario.content_bytes.clone(),
            history_entries: scenario.history_entries,
            rate_per_s,
            outstanding,
            active_share: scenario.active_share,
            warm_up_s: scenario.warm_up.into(),
            duration_s: scenario.duration.into(),
            connects_per_s: scenario.connects_per_second,
            gather_timeout_s: scenario.gather_timeout.into(),
            drain_timeout_s: scenario.drain_timeout.into(),
            read_timeout_s: scenario.read_timeout.into(),
            reconnect: scenario.reconnect,
        }
    }

    /// The scenario with these parameters against a server.
    pub fn scenario(&self, target: Target) -> ChatScenario {
        let mut scenario = ChatScenario::new(target);
        scenario.users = self.users;
        scenario.message.clone_from(&self.message);
        scenario.content_bytes.clone_from(&self.content_bytes);
        scenario.history_entries = self.history_entries;
        scenario.load = match &self.rate_per_s {
            Some(rate) => Load::Open { messages_per_second: rate.clone() },
            None => Load::Closed { outstanding: self.outstanding.unwrap_or(1) },
        };
        scenario.active_share = self.active_share;
        scenario.warm_up = self.warm_up_s.into();
        scenario.duration = self.duration_s.into();
        scenario.connects_per_second = self.connects_per_s;
        scenario.gather_timeout = self.gather_timeout_s.into();
        scenario.drain_timeout = self.drain_timeout_s.into();
        scenario.read_timeout = self.read_timeout_s.into();
        scenario.reconnect = self.reconnect;
        scenario
    }

    /// Everything that makes no sense.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
            }
        };
        let is_paired = self.users > 0 && self.users.is_multiple_of(2);
        wrong(!is_paired, "users", "pairs need an even number above 0");
        let has = |kind: MessageKind| self.message.values().any(|&action| action == kind.into());
        let is_mixed_quiet = self.message.only().is_none() && has(MessageKind::QuietSignal);
        wrong(is_mixed_quiet, "message", "quiet signals can't be told from others in a mix");
        let has_requests = self.message.values().any(|action| action.message().is_none());
        let is_vain = has_requests && !has(MessageKind::Durable);
        wrong(
            is_vain,
            "message",
            "requests need durable messages beside them: else nothing is stored",
        );
        let is_page = (1..=HISTORY_ENTRIES_MAX).contains(&self.history_entries);
        let reason = format!("from 1 to {HISTORY_ENTRIES_MAX}");
        wrong(!is_page, "history_entries", &reason);
        let kinds = self.message.values().filter_map(|action| action.message());
        let bytes_max = kinds.map(MessageKind::content_bytes_max).min();
        let is_too_long =
            bytes_max.is_some() && self.content_bytes.values().max() > bytes_max.as_ref();
        wrong(is_too_long, "content_bytes", "more than the protocol allows");
        Load::check(self.rate_per_s.as_ref(), self.outstanding, &mut wrong);
        let is_share = (0.0..=1.0).contains(&self.active_share);
        wrong(!is_share, "active_share", "from 0 to 1");
        wrong(self.connects_per_s == 0, "connects_per_s", "at least 1");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Service;

    fn target() -> Target {
        let address = "127.0.0.1:1".parse().unwrap();
        Target { address, tls: None, web: false, service: Service::Relay, pid: None }
    }

    #[test]
    fn a_scenario_gives_its_parameters_back() {
        let closed = ChatParameters { outstanding: Some(1), ..ChatParameters::default() };
        let other = ChatParameters {
            users: 8,
            message: "durable:3,signal:1,history:2,mark_read:1,sync:1".parse().unwrap(),
            content_bytes: "77:2,1000:5".parse().unwrap(),
            history_entries: 7,
            rate_per_s: "12.5..20:3".parse().ok(),
            outstanding: None,
            active_share: 0.5,
            warm_up_s: "0.5".parse().unwrap(),
            duration_s: Seconds::new(1),
            connects_per_s: 2,
            gather_timeout_s: Seconds::new(3),
            drain_timeout_s: Seconds::new(4),
            read_timeout_s: Seconds::new(5),
            reconnect: true,
        };
        for parameters in [closed, other] {
            assert_eq!(ChatParameters::of(&parameters.scenario(target())), parameters);
            let json = serde_json::to_string(&parameters).unwrap();
            assert_eq!(serde_json::from_str::<ChatParameters>(&json).unwrap(), parameters);
            assert_eq!(parameters.problems(), []);
        }
    }

    #[test]
    fn requests_are_nothing_without_something_to_read() {
        for message in ["history", "mark_read:1,signal:1", "sync:1,quiet_signal:2"] {
            let message = message.parse().unwrap();
            let problems = ChatParameters { message, ..ChatParameters::default() }.problems();
            assert!(problems.iter().any(|problem| problem.field == "message"), "{problems:?}");
        }
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let parameters = ChatParameters {
            users: 7,
            message: "durable:1,quiet_signal:1".parse().unwrap(),
            content_bytes: (1 << 30).into(),
            history_entries: 0,
            rate_per_s: Some(Rate::constant(0.0)),
            outstanding: Some(0),
            active_share: 1.5,
            connects_per_s: 0,
            ..ChatParameters::default()
        };
        let fields: Vec<_> =
            parameters.problems().into_iter().map(|problem| problem.field).collect();
        let expected = [
            "users",
            "message",
            "history_entries",
            "content_bytes",
            "rate_per_s",
            "outstanding",
            "outstanding",
            "active_share",
            "connects_per_s",
        ];
        assert_eq!(fields, expected);
    }
}
