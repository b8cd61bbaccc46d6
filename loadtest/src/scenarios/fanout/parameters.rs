//! What can be said about a fan-out run, wherever it is said: options of the command line, fields of
//! a file, or a message to another machine. It names no server and no thread.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::chat::{Load, MessageKind, Rate};
use crate::fanout::FanoutScenario;
use crate::problem::Problem;
use crate::seconds::Seconds;
use crate::target::Target;

/// The section of a file.
pub(crate) const SECTION: &str = "fanout";

/// A conversation's place among those of its writer must fit into a request id beside the counter,
/// and a user of Dunlin can't have more conversations.
const CONVERSATIONS_MAX: u32 = 10_000;

/// Messages per second, unless another load is asked for.
const RATE_PER_S: f64 = 100.0;

/// A fan-out run.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FanoutParameters {
    /// Users who write, each on one connection.
    #[arg(long, default_value_t = FanoutParameters::default().senders)]
    pub senders: u32,
    /// Conversations of each of them, with a user each; messages go to them in turn.
    #[arg(long, value_name = "USERS", default_value_t = FanoutParameters::default().conversations)]
    pub conversations: u32,
    /// Devices of each of those users, with a connection each. A server that runs already must
    /// allow so many (devices.sessions_per_kind, devices.sessions_max: 1000 at most).
    #[arg(long, default_value_t = FanoutParameters::default().devices)]
    pub devices: u32,
    /// What they send: durable, signal (answered, but not stored), or quiet_signal (not even
    /// answered).
    #[arg(long, value_name = "KIND", default_value_t = FanoutParameters::default().message)]
    pub message: MessageKind,
    /// Length of each content in bytes; at least 28.
    #[arg(long, value_name = "BYTES", default_value_t = FanoutParameters::default().content_bytes)]
    pub content_bytes: usize,
    /// Open load: messages per second of all senders together, constant or changing as for chat
    /// [default: 100, without --outstanding].
    #[arg(long, alias = "rate", value_name = "RATE")]
    pub rate_per_s: Option<Rate>,
    /// Closed load: messages of each sender that have not reached all devices.
    #[arg(long, value_name = "MESSAGES")]
    pub outstanding: Option<u32>,
    /// Time before the measured window.
    #[arg(long, alias = "warm-up", value_name = "SECONDS")]
    #[arg(default_value_t = FanoutParameters::default().warm_up_s)]
    pub warm_up_s: Seconds,
    /// The measured window.
    #[arg(long, alias = "duration", value_name = "SECONDS")]
    #[arg(default_value_t = FanoutParameters::default().duration_s)]
    pub duration_s: Seconds,
    /// New connections per second, at most.
    #[arg(long, alias = "connect-rate", value_name = "RATE")]
    #[arg(default_value_t = FanoutParameters::default().connects_per_s)]
    pub connects_per_s: u32,
    /// How long it may take until all are logged in.
    #[arg(long, alias = "gather-timeout", value_name = "SECONDS")]
    #[arg(default_value_t = FanoutParameters::default().gather_timeout_s)]
    pub gather_timeout_s: Seconds,
    /// How long the server may take after the window to answer and deliver everything.
    #[arg(long, alias = "drain-timeout", value_name = "SECONDS")]
    #[arg(default_value_t = FanoutParameters::default().drain_timeout_s)]
    pub drain_timeout_s: Seconds,
    /// How long the reading of all logs may take in the end.
    #[arg(long, value_name = "SECONDS")]
    #[arg(default_value_t = FanoutParameters::default().read_timeout_s)]
    pub read_timeout_s: Seconds,
}

impl Default for FanoutParameters {
    fn default() -> FanoutParameters {
        FanoutParameters {
            senders: 1,
            conversations: 1,
            devices: 8,
            message: MessageKind::Durable,
            content_bytes: 200,
            rate_per_s: None,
            outstanding: None,
            warm_up_s: Seconds::new(2),
            duration_s: Seconds::new(10),
            connects_per_s: 5000,
            gather_timeout_s: Seconds::new(120),
            drain_timeout_s: Seconds::new(30),
            read_timeout_s: Seconds::new(300),
        }
    }
}

impl FanoutParameters {
    /// The parameters of a scenario.
    pub fn of(scenario: &FanoutScenario) -> FanoutParameters {
        let (rate_per_s, outstanding) = scenario.load.fields();
        FanoutParameters {
            senders: scenario.senders,
            conversations: scenario.conversations,
            devices: scenario.devices,
            message: scenario.message,
            content_bytes: scenario.content_bytes,
            rate_per_s,
            outstanding,
            warm_up_s: scenario.warm_up.into(),
            duration_s: scenario.duration.into(),
            connects_per_s: scenario.connects_per_second,
            gather_timeout_s: scenario.gather_timeout.into(),
            drain_timeout_s: scenario.drain_timeout.into(),
            read_timeout_s: scenario.read_timeout.into(),
        }
    }

    /// The scenario with these parameters against a server.
    pub fn scenario(&self, target: Target) -> FanoutScenario {
        let mut scenario = FanoutScenario::new(target);
        scenario.senders = self.senders;
        scenario.conversations = self.conversations;
        scenario.devices = self.devices;
        scenario.message = self.message;
        scenario.content_bytes = self.content_bytes;
        scenario.load = match (&self.rate_per_s, self.outstanding) {
            (None, Some(outstanding)) => Load::Closed { outstanding },
            (rate, _) => Load::Open {
                messages_per_second: rate.clone().unwrap_or_else(|| Rate::constant(RATE_PER_S)),
            },
        };
        scenario.warm_up = self.warm_up_s.into();
        scenario.duration = self.duration_s.into();
        scenario.connects_per_second = self.connects_per_s;
        scenario.gather_timeout = self.gather_timeout_s.into();
        scenario.drain_timeout = self.drain_timeout_s.into();
        scenario.read_timeout = self.read_timeout_s.into();
        scenario
    }

    /// Connections of all senders and devices; `None` if nobody can count so many.
    pub(crate) fn connections(&self) -> Option<u32> {
        let readers = self.conversations.checked_mul(self.devices)?;
        readers.checked_add(1)?.checked_mul(self.senders)
    }

    /// Everything that makes no sense.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |is_wrong: bool, field, reason: &str| {
            if is_wrong {
                problems.push(Problem::new(SECTION, field, reason));
            }
        };
        wrong(self.senders == 0, "senders", "at least 1");
        let is_possible = (1..=CONVERSATIONS_MAX).contains(&self.conversations);
        wrong(!is_possible, "conversations", "1 to 10000");
        wrong(self.devices == 0, "devices", "at least 1");
        wrong(self.connections().is_none(), "devices", "more connections than can be");
        let fits = self.content_bytes <= self.message.content_bytes_max();
        wrong(!fits, "content_bytes", "more than the protocol allows");
        Load::check(self.rate_per_s.as_ref(), self.outstanding, &mut wrong);
        wrong(self.connects_per_s == 0, "connects_per_s", "at least 1");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Service;

    #[test]
    fn a_scenario_gives_its_parameters_back() {
        let address = "127.0.0.1:1".parse().unwrap();
        let target = Target { address, tls: None, web: false, service: Service::Relay, pid: None };
        let rate_per_s = Some(Rate::constant(RATE_PER_S));
        let open = FanoutParameters { rate_per_s, ..FanoutParameters::default() };
        let scenario = FanoutParameters::default().scenario(target.clone());
        assert_eq!(FanoutParameters::of(&scenario), open);
        let other = FanoutParameters {
            senders: 2,
            conversations: 3,
            devices: 4,
            message: MessageKind::QuietSignal,
            content_bytes: 77,
            rate_per_s: None,
            outstanding: Some(5),
            warm_up_s: "0.5".parse().unwrap(),
            duration_s: Seconds::new(1),
            connects_per_s: 2,
            gather_timeout_s: Seconds::new(3),
            drain_timeout_s: Seconds::new(4),
            read_timeout_s: Seconds::new(5),
        };
        assert_eq!(other.connections(), Some(26));
        for parameters in [open, other] {
            assert_eq!(FanoutParameters::of(&parameters.scenario(target.clone())), parameters);
            let json = serde_json::to_string(&parameters).unwrap();
            assert_eq!(serde_json::from_str::<FanoutParameters>(&json).unwrap(), parameters);
            assert_eq!(parameters.problems(), []);
        }
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let parameters = FanoutParameters {
            senders: 0,
            conversations: 10_001,
            devices: 0,
            content_bytes: 1 << 30,
            rate_per_s: Some(Rate::constant(0.0)),
            outstanding: Some(0),
            connects_per_s: 0,
            ..FanoutParameters::default()
        };
        assert_eq!(parameters.problems().len(), 8);
        let many = FanoutParameters { senders: 1 << 16, devices: 1 << 16, ..Default::default() };
        assert_eq!(many.problems().len(), 1);
    }
}
