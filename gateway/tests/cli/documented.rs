//! docs/operating.md knows everything that an operator can meet.

use dunlin_protocol::wire::CloseReason;

use crate::program::Place;

const DOCUMENT: &str = include_str!("../../../docs/operating.md");

#[test]
fn every_close_reason_is_explained() {
    let reasons: Vec<CloseReason> =
        (1..).map_while(|number| CloseReason::try_from(number).ok()).collect();
    assert!(reasons.contains(&CloseReason::RateLimited));
    for reason in reasons {
        let name = reason.as_str_name().trim_start_matches("CLOSE_REASON_");
        assert!(DOCUMENT.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_command_is_used() {
    let place = Place::new();
    for parent in ["", "user "] {
        let arguments: Vec<&str> = parent.split_whitespace().chain(["--help"]).collect();
        let help = place.run(&arguments).done();
        let (_, commands) = help.split_once("Commands:\n").unwrap();
        let commands: Vec<&str> = commands
            .lines()
            .map_while(|line| line.split_whitespace().next())
            .filter(|name| !["help", "version"].contains(name))
            .collect();
        assert!(commands.len() >= 5, "{help}");
        for command in commands {
            assert!(DOCUMENT.contains(&format!("dunlin {parent}{command}")), "{parent}{command}");
        }
    }
}
