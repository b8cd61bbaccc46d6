//! A scenario with everything that a run of it needs: the server, the threads of the harness, and
//! what comes out. A command line and a file say the same things with the same names: both are
//! read into the same structs, whose fields are the options of the one and the keys of the other.
//!
//! ```toml
//! scenario = "chat"
//!
//! [server]
//! spawn = "target/release/dunlin"
//!
//! [chat]
//! users = 1000
//! rate_per_s = 5000
//! ```

mod document;
mod file;
mod generator;
mod host_port;
mod output;
mod server;
mod specimen;

pub use file::{check, parse, read};
pub use generator::GeneratorArguments;
pub use host_port::{HostPort, NoHostPort};
pub use output::OutputArguments;
pub use server::ServerArguments;

use clap::{Args, Subcommand};

use crate::capacity::{CapacityParameters, CapacityScenario};
use crate::chat::churn::Churn;
use crate::chat::hostile::Hostile;
use crate::chat::slow::Slow;
use crate::chat::storm::Storm;

use crate::chat::{self, ChatParameters, ChatScenario, Disturbance};
use crate::error::LoadtestError;
use crate::fanout::{self, FanoutParameters, FanoutScenario};
use crate::idle::{self, IdleParameters, IdleScenario};
use crate::problem::Problem;
use crate::target::Target;

/// A run of a scenario.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Plan {
    /// Users in pairs who write to each other.
    Chat(ChatPlan),
    /// Find the highest rate of such a chat that meets given thresholds.
    Capacity(CapacityPlan),
    /// One who writes to many devices, or in many conversations.
    Fanout(FanoutPlan),
    /// A chat in which connections break, all at one moment, and everybody comes back.
    Storm(DisturbedPlan<Storm>),
    /// A chat in which some readers stop reading from time to time.
    Slow(DisturbedPlan<Slow>),
    /// A chat in which users come and go.
    Churn(DisturbedPlan<Churn>),
    /// A chat beside others who attack the server.
    Hostile(DisturbedPlan<Hostile>),
    /// Users who log in and say nothing but that they are there.
    Idle(IdlePlan),
}

/// A chat run.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[allow(missing_docs, reason = "the types say it")]
pub struct ChatPlan {
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    pub generator: GeneratorArguments,
    #[command(flatten)]
    pub chat: ChatParameters,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// A chat run in which something befalls the users.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[allow(missing_docs, reason = "the types say it")]
pub struct DisturbedPlan<D: Args> {
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    pub generator: GeneratorArguments,
    #[command(flatten)]
    pub chat: ChatParameters,
    #[command(flatten)]
    pub disturbance: D,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// A search for the highest rate.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[allow(missing_docs, reason = "the types say it")]
pub struct CapacityPlan {
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    pub generator: GeneratorArguments,
    #[command(flatten)]
    pub chat: ChatParameters,
    #[command(flatten)]
    pub capacity: CapacityParameters,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// A fan-out run.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[allow(missing_docs, reason = "the types say it")]
pub struct FanoutPlan {
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    pub generator: GeneratorArguments,
    #[command(flatten)]
    pub fanout: FanoutParameters,
    #[command(flatten)]
    pub output: OutputArguments,
}

/// An idle run.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[allow(missing_docs, reason = "the types say it")]
pub struct IdlePlan {
    #[command(flatten)]
    pub server: ServerArguments,
    #[command(flatten)]
    pub generator: GeneratorArguments,
    #[command(flatten)]
    pub idle: IdleParameters,
    #[command(flatten)]
    pub output: OutputArguments,
}

impl Plan {
    /// Everything that makes no sense, whatever this machine has.
    pub fn problems(&self) -> Vec<Problem> {
        let (generator, parameters) = match self {
            Plan::Chat(plan) => {
                let mut problems = plan.chat.problems();
                problems.extend(in_vain(&plan.chat));
                (&plan.generator, problems)
            }
            Plan::Capacity(plan) => {
                let mut problems = plan.chat.problems();
                problems.extend(plan.capacity.problems(&plan.chat));
                (&plan.generator, problems)
            }
            Plan::Fanout(plan) => (&plan.generator, plan.fanout.problems()),
            Plan::Storm(plan) => (&plan.generator, plan.chat_problems()),
            Plan::Slow(plan) => (&plan.generator, plan.chat_problems()),
            Plan::Churn(plan) => (&plan.generator, plan.chat_problems()),
            Plan::Hostile(plan) => (&plan.generator, plan.chat_problems()),
            Plan::Idle(plan) => (&plan.generator, plan.idle.problems()),
        };
        let mut problems = self.server().problems();
        problems.extend(generator.problems());
        problems.extend(parameters);
        problems.extend(self.output().problems(&self.specimen()));
        problems
    }

    /// What is missing on this machine: files that can't be read or written, descriptors, processors.
    pub fn missing(&self) -> Vec<Problem> {
        let mut problems = self.server().missing();
        problems.extend(self.generator().missing(self.connections()));
        problems.extend(self.output().missing());
        problems
    }

    /// Connections of a run.
    fn connections(&self) -> u32 {
        match self {
            Plan::Chat(ChatPlan { chat, .. })
            | Plan::Capacity(CapacityPlan { chat, .. })
            | Plan::Storm(DisturbedPlan { chat, .. })
            | Plan::Slow(DisturbedPlan { chat, .. })
            | Plan::Churn(DisturbedPlan { chat, .. }) => chat.users,
            Plan::Hostile(plan) => plan.chat.users.saturating_add(plan.disturbance.attackers),
            Plan::Fanout(plan) => plan.fanout.connections().unwrap_or_default(),
            Plan::Idle(plan) => plan.idle.connections,
        }
    }

    /// Where the load is made.
    pub fn generator(&self) -> &GeneratorArguments {
        match self {
            Plan::Chat(ChatPlan { generator, .. })
            | Plan::Capacity(CapacityPlan { generator, .. })
            | Plan::Fanout(FanoutPlan { generator, .. })
            | Plan::Storm(DisturbedPlan { generator, .. })
            | Plan::Slow(DisturbedPlan { generator, .. })
            | Plan::Churn(DisturbedPlan { generator, .. })
            | Plan::Hostile(DisturbedPlan { generator, .. })
            | Plan::Idle(IdlePlan { generator, .. }) => generator,
        }
    }

    /// What comes out.
    pub fn output(&self) -> &OutputArguments {
        match self {
            Plan::Chat(ChatPlan { output, .. })
            | Plan::Capacity(CapacityPlan { output, .. })
            | Plan::Fanout(FanoutPlan { output, .. })
            | Plan::Storm(DisturbedPlan { output, .. })
            | Plan::Slow(DisturbedPlan { output, .. })
            | Plan::Churn(DisturbedPlan { output, .. })
            | Plan::Hostile(DisturbedPlan { output, .. })
            | Plan::Idle(IdlePlan { output, .. }) => output,
        }
    }

    /// The server under test.
    pub fn server(&self) -> &ServerArguments {
        match self {
            Plan::Chat(ChatPlan { server, .. })
            | Plan::Capacity(CapacityPlan { server, .. })
            | Plan::Fanout(FanoutPlan { server, .. })
            | Plan::Storm(DisturbedPlan { server, .. })
            | Plan::Slow(DisturbedPlan { server, .. })
            | Plan::Churn(DisturbedPlan { server, .. })
            | Plan::Hostile(DisturbedPlan { server, .. })
            | Plan::Idle(IdlePlan { server, .. }) => server,
        }
    }

    /// The same, to add what a file may not say.
    pub fn server_mut(&mut self) -> &mut ServerArguments {
        match self {
            Plan::Chat(ChatPlan { server, .. })
            | Plan::Capacity(CapacityPlan { server, .. })
            | Plan::Fanout(FanoutPlan { server, .. })
            | Plan::Storm(DisturbedPlan { server, .. })
            | Plan::Slow(DisturbedPlan { server, .. })
            | Plan::Churn(DisturbedPlan { server, .. })
            | Plan::Hostile(DisturbedPlan { server, .. })
            | Plan::Idle(IdlePlan { server, .. }) => server,
        }
    }
}

/// A part of a rate for which there is no time. (Where something befalls the users, the load goes on
/// after the window.)
fn in_vain(chat: &ChatParameters) -> Option<Problem> {
    let begins_s = chat.rate_per_s.as_ref()?.last_begins_s();
    let reason = format!("its last part begins after {begins_s} s, when the window is over");
    let is_late = begins_s > 0.0 && begins_s >= f64::from(chat.duration_s);
    is_late.then(|| Problem::new(chat::SECTION, "rate_per_s", reason))
}

impl ChatPlan {
    /// What to run against the server.
    pub fn scenario(&self, target: Target) -> Result<ChatScenario, LoadtestError> {
        chat_scenario(&self.chat, &self.generator, target)
    }
}

impl CapacityPlan {
    /// What to run against the server.
    pub fn scenario(&self, target: Target) -> Result<CapacityScenario, LoadtestError> {
        let chat = chat_scenario(&self.chat, &self.generator, target)?;
        Ok(CapacityScenario { chat, search: self.capacity.clone() })
    }
}

fn chat_scenario(
    chat: &ChatParameters,
    generator: &GeneratorArguments,
    target: Target,
) -> Result<ChatScenario, LoadtestError> {
    let mut scenario = chat.scenario(target);
    scenario.threads = generator.threads(chat.users)?;
    scenario.processors.clone_from(&generator.client_cpu);
    scenario.generators = generator.elsewhere();
    Ok(scenario)
}

impl FanoutPlan {
    /// The server under test, which must allow so many devices of a user if it is started for the
    /// run.
    pub fn server(&self) -> ServerArguments {
        let mut server = self.server.clone();
        if server.spawn.is_some() {
            server.server_set.splice(0..0, fanout::server_settings(self.fanout.devices));
        }
        server
    }

    /// What to run against the server.
    pub fn scenario(&self, target: Target) -> Result<FanoutScenario, LoadtestError> {
        let mut scenario = self.fanout.scenario(target);
        scenario.threads = self.generator.threads(scenario.check()?)?;
        scenario.processors.clone_from(&self.generator.client_cpu);
        scenario.generators = self.generator.elsewhere();
        Ok(scenario)
    }
}

impl<D: Args + Clone + Into<Disturbance>> DisturbedPlan<D> {
    /// What to run against the server.
    pub fn scenario(&self, target: Target) -> Result<ChatScenario, LoadtestError> {
        let mut scenario = chat_scenario(&self.chat, &self.generator, target)?;
        scenario.disturbance = Some(self.disturbance.clone().into());
        Ok(scenario)
    }

    fn chat_problems(&self) -> Vec<Problem> {
        let disturbance: Disturbance = self.disturbance.clone().into();
        let mut problems = self.chat.problems();
        problems.extend(disturbance.problems(&self.chat));
        problems
    }
}

impl IdlePlan {
    /// The server under test, which must have room for so many connections if it is started for the run.
    pub fn server(&self) -> ServerArguments {
        let mut server = self.server.clone();
        if server.spawn.is_some() {
            server.server_set.splice(0..0, idle::server_settings(self.idle.connections));
        }
        server
    }

    /// What to run against the server.
    pub fn scenario(&self, target: Target) -> Result<IdleScenario, LoadtestError> {
        let mut scenario = self.idle.scenario(target);
        scenario.threads = self.generator.threads(self.idle.connections)?;
        scenario.processors.clone_from(&self.generator.client_cpu);
        scenario.generators = self.generator.elsewhere();
        Ok(scenario)
    }
}
