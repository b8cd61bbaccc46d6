//! Plans in files.

use std::path::Path;

use clap::Args;
use serde::de::DeserializeOwned;

use crate::capacity;
use crate::chat::{self, churn, hostile, slow, storm};
use crate::error::LoadtestError;
use crate::fanout;
use crate::idle;
use crate::plan::document::Document;
use crate::plan::{
    CapacityPlan, ChatPlan, DisturbedPlan, FanoutPlan, IdlePlan, Plan, generator, output, server,
};
use crate::problem::{Problem, Problems};

/// The names of all scenarios.
const SCENARIOS: &str = "chat, capacity, storm, slow, churn, hostile, fanout, idle";

/// Reads a file.
pub fn read(path: &Path) -> Result<Plan, LoadtestError> {
    let text = std::fs::read_to_string(path)
        .map_err(LoadtestError::machine("reading the scenario's file"))?;
    Ok(parse(&text)?)
}

/// Reads a file, and says what is wrong with it as well as what this machine lacks for its run, all at
/// once. `issuer_key` is what a file may not say.
pub fn check(path: &Path, issuer_key: Option<&str>) -> Result<(), LoadtestError> {
    let text = std::fs::read_to_string(path)
        .map_err(LoadtestError::machine("reading the scenario's file"))?;
    let missing = |plan: &mut Plan| {
        plan.server_mut().issuer_key = issuer_key.map(str::to_owned);
        plan.missing()
    };
    inspect(&text, missing)?;
    Ok(())
}

/// Reads the text of a file. Everything that is wrong with it is in the error, with its line.
pub fn parse(text: &str) -> Result<Plan, Problems> {
    inspect(text, |_| Vec::new())
}

fn inspect(text: &str, further: impl FnOnce(&mut Plan) -> Vec<Problem>) -> Result<Plan, Problems> {
    let mut document = Document::parse(text)?;
    let mut plan = take_apart(&mut document);
    if let Some(plan) = &mut plan {
        let problems = plan.problems().into_iter().chain(further(plan));
        problems.for_each(|problem| document.add(problem));
        document.expect_no_more();
    } else {
        document.add(no_scenario());
    }
    Problems::check(document.finish())?;
    plan.ok_or_else(|| no_scenario().into())
}

fn no_scenario() -> Problem {
    Problem::new("", "scenario", format!("is one of: {SCENARIOS}"))
}

fn take_apart(document: &mut Document<'_>) -> Option<Plan> {
    let scenario = document.word("scenario");
    let plan = match scenario.as_deref() {
        Some("chat") => Plan::Chat(ChatPlan {
            server: document.section(server::SECTION),
            generator: document.section(generator::SECTION),
            chat: document.section(chat::SECTION),
            output: document.section(output::SECTION),
        }),
        Some("capacity") => Plan::Capacity(CapacityPlan {
            server: document.section(server::SECTION),
            generator: document.section(generator::SECTION),
            chat: document.section(chat::SECTION),
            capacity: document.section(capacity::SECTION),
            output: document.section(output::SECTION),
        }),
        Some("fanout") => Plan::Fanout(FanoutPlan {
            server: document.section(server::SECTION),
            generator: document.section(generator::SECTION),
            fanout: document.section(fanout::SECTION),
            output: document.section(output::SECTION),
        }),
        Some("storm") => Plan::Storm(disturbed(document, storm::SECTION)),
        Some("slow") => Plan::Slow(disturbed(document, slow::SECTION)),
        Some("churn") => Plan::Churn(disturbed(document, churn::SECTION)),
        Some("hostile") => Plan::Hostile(disturbed(document, hostile::SECTION)),
        Some("idle") => Plan::Idle(IdlePlan {
            server: document.section(server::SECTION),
            generator: document.section(generator::SECTION),
            idle: document.section(idle::SECTION),
            output: document.section(output::SECTION),
        }),
        Some(_) | None => return None,
    };
    Some(plan)
}

fn disturbed<D>(document: &mut Document<'_>, section: &'static str) -> DisturbedPlan<D>
where
    D: Args + DeserializeOwned + Default,
{
    DisturbedPlan {
        server: document.section(server::SECTION),
        generator: document.section(generator::SECTION),
        chat: document.section(chat::SECTION),
        disturbance: document.section(section),
        output: document.section(output::SECTION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{MessageKind, Rate};

    fn problems(text: &str) -> Vec<String> {
        parse(text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_says_what_the_command_line_says() {
        let text = r#"
            scenario = "chat"
            [server]
            address = "127.0.0.1:7410"
            [chat]
            users = 8
            message = "signal"
            rate_per_s = 100
            warm_up_s = 0.5
            [generator]
            threads = 2
            client_cpu = [1]
        "#;
        let Plan::Chat(plan) = parse(text).unwrap() else { panic!("it is a chat") };
        assert_eq!((plan.chat.users, plan.chat.rate_per_s), (8, Some(Rate::constant(100.0))));
        assert_eq!(plan.chat.message, MessageKind::Signal.into());
        assert_eq!(plan.chat.duration_s, crate::chat::ChatParameters::default().duration_s);
        assert_eq!((plan.generator.threads, plan.generator.client_cpu), (Some(2), vec![1]));
    }

    #[test]
    fn a_disturbance_has_a_section_of_its_own_beside_the_chat() {
        let text = "scenario = \"storm\"\n\
                    [server]\n\
                    spawn = \"dunlin\"\n\
                    [chat]\n\
                    rate_per_s = 5\n\
                    [storm]\n\
                    cut = \"close\"\n\
                    calm_s = 0.5";
        let Plan::Storm(plan) = parse(text).unwrap() else { panic!("it is a storm") };
        assert_eq!(plan.disturbance.cut, storm::Cut::Close);
        assert_eq!(plan.disturbance.calm_s, "0.5".parse().unwrap());
        let wrong = "scenario = \"slow\"\n\
                     [slow]\n\
                     stalling_share = 2\n\
                     [server]\n\
                     spawn = \"dunlin\"";
        let [share, rate] = &problems(wrong)[..] else { panic!("two things are wrong") };
        assert!(share.starts_with("line 3: slow.stalling_share: "), "{share}");
        assert!(rate.starts_with("chat.rate_per_s: a closed load"), "{rate}");
    }

    #[test]
    fn all_problems_are_found_with_their_lines() {
        let text = "scenario = \"chat\"\n\
                    [chat]\n\
                    users = 7\n\
                    message = \"smoke\"\n\
                    rate = 5\n\
                    warm_up_s = -1\n\
                    [server]\n\
                    address = \"nowhere\"\n\
                    [idle]\n";
        let found = problems(text);
        let expected = [
            "line 3: chat.users: pairs need",
            "line 4: chat.message: \"smoke\": durable, signal,",
            "line 5: chat.rate: unknown field",
            "line 6: chat.warm_up_s: ",
            "line 8: server.address: invalid socket address",
            "line 9: idle: is unknown here",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_part_of_a_rate_that_would_never_come_is_in_vain() {
        let text = "scenario = \"chat\"\n[server]\nspawn = \"dunlin\"\n[chat]\nduration_s = 20\n";
        let problems_of = |rate: &str| parse(&format!("{text}rate_per_s = \"{rate}\"")).err();
        assert_eq!(problems_of("10..100:5,100:30"), None);
        assert_eq!(problems_of("10:60"), None);
        let found = problems_of("10:15,20:5,30:10").unwrap().to_string();
        let expected =
            "line 6: chat.rate_per_s: its last part begins after 20 s, when the window is over";
        assert_eq!(found, expected);
    }

    #[test]
    fn a_check_names_what_is_wrong_and_what_is_missing_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plan.toml");
        let text = "scenario = \"idle\"\n\
                    [server]\n\
                    spawn = \"./no/such/program\"\n\
                    [idle]\n\
                    connections = 0\n\
                    [output]\n\
                    json = \"no/such/folder/report.json\"\n\
                    threshold = [\"arive.p99_ms<=1\"]\n";
        std::fs::write(&file, text).unwrap();
        let found = check(&file, None).unwrap_err().to_string();
        let lines: Vec<_> = found.lines().collect();
        let expected = [
            "line 3: server.spawn: there is no file",
            "line 5: idle.connections: at least 1",
            "line 7: output.json: no/such/folder/report.json: No such file",
            "line 8: output.threshold: arive.p99_ms<=1: there will be no such figure; the nearest are \
             arrive.p99_us",
        ];
        assert_eq!(lines.len(), expected.len(), "{found}");
        for (found, expected) in lines.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn what_is_no_plan_at_all_says_so() {
        assert_eq!(
            problems("[chat]"),
            ["scenario: is one of: chat, capacity, storm, slow, churn, hostile, fanout, idle"]
        );
        assert_eq!(
            problems("scenario = \"x\""),
            [
                "line 1: scenario: is one of: chat, capacity, storm, slow, churn, hostile, fanout, idle"
            ]
        );
        assert_eq!(problems("scenario = 1"), ["line 1: scenario: is no string"]);
        assert!(problems("scenario = \"chat\"\nusers")[0].starts_with("line 2: "));
        let not_a_section = problems("scenario = \"idle\"\nidle = 1\nserver.spawn = \"x\"");
        assert_eq!(not_a_section, ["line 2: idle: is no section"]);
    }

    #[test]
    fn a_secret_is_no_field_of_a_file() {
        let text =
            "scenario = \"idle\"\n[server]\naddress = \"127.0.0.1:1\"\nissuer_key = \"AAAA\"";
        assert!(problems(text)[0].starts_with("line 4: server.issuer_key: unknown field"));
    }
}
