//! What can be said about an idle run, wherever it is said: options of the command line, fields of
//! a file, or a message to another machine. It names no server and no thread.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::error::LoadtestError;
use crate::problem::{Problem, Problems};
use crate::scenarios::idle::scenario::IdleScenario;
use crate::seconds::Seconds;
use crate::target::{Service, Target};

/// The section of a file.
pub(crate) const SECTION: &str = "idle";

/// An idle run.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdleParameters {
    /// Connections, each with a user of its own.
    #[arg(long, default_value_t = IdleParameters::default().connections)]
    pub connections: u32,
    /// How long all are held.
    #[arg(long, alias = "hold", value_name = "SECONDS")]
    #[arg(default_value_t = IdleParameters::default().hold_s)]
    pub hold_s: Seconds,
    /// A heartbeat of each connection this often [default: half of what the server asks for]. The
    /// server closes those that are silent for twice what it asks for (60 s unless configured).
    #[arg(long, alias = "heartbeat", value_name = "SECONDS")]
    pub heartbeat_s: Option<Seconds>,
    /// Call the users PREFIX-0 and so on, and find them again in the next run.
    #[arg(long, value_name = "PREFIX")]
    pub user_prefix: Option<String>,
    /// New connections per second, at most.
    #[arg(long, alias = "connect-rate", value_name = "RATE")]
    #[arg(default_value_t = IdleParameters::default().connects_per_s)]
    pub connects_per_s: u32,
    /// How long it may take until all users are logged in.
    #[arg(long, alias = "gather-timeout", value_name = "SECONDS")]
    #[arg(default_value_t = IdleParameters::default().gather_timeout_s)]
    pub gather_timeout_s: Seconds,
    /// How long one attempt to connect and log in may take.
    #[arg(long, value_name = "SECONDS")]
    #[arg(default_value_t = IdleParameters::default().arrive_timeout_s)]
    pub arrive_timeout_s: Seconds,
}

impl Default for IdleParameters {
    fn default() -> IdleParameters {
        IdleParameters {
            connections: 1000,
            hold_s: Seconds::new(30),
            heartbeat_s: None,
            user_prefix: None,
            connects_per_s: 5000,
            gather_timeout_s: Seconds::new(120),
            arrive_timeout_s: Seconds::new(30),
        }
    }
}

impl IdleParameters {
    /// The parameters of a scenario.
    pub fn of(scenario: &IdleScenario) -> IdleParameters {
        IdleParameters {
            connections: scenario.connections,
            hold_s: scenario.hold.into(),
            heartbeat_s: scenario.heartbeat_interval.map(Seconds::from),
            user_prefix: scenario.user_prefix.clone(),
            connects_per_s: scenario.connects_per_second,
            gather_timeout_s: scenario.gather_timeout.into(),
            arrive_timeout_s: scenario.arrive_timeout.into(),
        }
    }

    /// The scenario with these parameters against a server.
    pub fn scenario(&self, target: Target) -> IdleScenario {
        let mut scenario = IdleScenario::new(target, self.connections);
        scenario.connects_per_second = self.connects_per_s;
        scenario.gather_timeout = self.gather_timeout_s.into();
        scenario.arrive_timeout = self.arrive_timeout_s.into();
        scenario.hold = self.hold_s.into();
        scenario.heartbeat_interval = self.heartbeat_s.map(Into::into);
        scenario.user_prefix.clone_from(&self.user_prefix);
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
        wrong(self.connections == 0, "connections", "at least 1");
        wrong(self.heartbeat_s == Some(Seconds::new(0)), "heartbeat_s", "more than 0");
        wrong(self.connects_per_s == 0, "connects_per_s", "at least 1");
        wrong(self.arrive_timeout_s == Seconds::new(0), "arrive_timeout_s", "more than 0");
        problems
    }
}

impl IdleScenario {
    /// Refuses what can't be run.
    pub(super) fn check(&self) -> Result<(), LoadtestError> {
        let mut problems = IdleParameters::of(self).problems();
        if self.threads == 0 {
            problems.push(Problem::new("generator", "threads", "at least 1"));
        }
        if matches!(self.target.service, Service::Relay) {
            problems.push(Problem::new("server", "", "the relay knows no logins"));
        }
        Ok(Problems::check(problems)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_gives_its_parameters_back() {
        let address = "127.0.0.1:1".parse().unwrap();
        let target = Target { address, tls: None, web: false, service: Service::Relay, pid: None };
        let other = IdleParameters {
            connections: 7,
            hold_s: "0.5".parse().unwrap(),
            heartbeat_s: Some(Seconds::new(2)),
            user_prefix: Some("u".to_owned()),
            connects_per_s: 3,
            gather_timeout_s: Seconds::new(4),
            arrive_timeout_s: Seconds::new(5),
        };
        for parameters in [IdleParameters::default(), other] {
            assert_eq!(IdleParameters::of(&parameters.scenario(target.clone())), parameters);
            let json = serde_json::to_string(&parameters).unwrap();
            assert_eq!(serde_json::from_str::<IdleParameters>(&json).unwrap(), parameters);
        }
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let parameters = IdleParameters {
            connections: 0,
            heartbeat_s: Some(Seconds::new(0)),
            connects_per_s: 0,
            arrive_timeout_s: Seconds::new(0),
            ..IdleParameters::default()
        };
        assert_eq!(parameters.problems().len(), 4);
        assert_eq!(IdleParameters::default().problems(), []);
    }
}
