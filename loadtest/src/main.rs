//! `dunlin-loadtest`: the harness as a program. docs/loadtest.md is its manual.
#![forbid(unsafe_code)]

#[macro_use]
mod printing;

mod arguments;
mod command_line;
mod output;
mod terminal;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use dunlin_loadtest::capacity;
use dunlin_loadtest::chat::{self, ChatScenario, Progress};
use dunlin_loadtest::doctor::{self, Facts};
use dunlin_loadtest::fanout::{self, FanoutScenario};
use dunlin_loadtest::idle::{self, IdleScenario};
use dunlin_loadtest::interrupt::{Interrupt, SAID_TO_GENERATORS};
use dunlin_loadtest::plan::{OutputArguments, Plan, ServerArguments};
use dunlin_loadtest::probe::probe;
use dunlin_loadtest::remote::{Event, Listener, Place};
use dunlin_loadtest::report::{Report, Second, Verdict};
use dunlin_loadtest::target::Target;
use dunlin_loadtest::view::View;
use dunlin_loadtest::{LoadtestError, Problems};

use arguments::{Arguments, Command, DoctorArguments, FileArguments, GenerateArguments};
use output::{Session, compare, render};
use terminal::{print_capacity, print_chat, print_fanout, print_idle, words_of};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong usage.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Plan(plan) => Session::begin().and_then(|session| run(&plan, &session)),
        Command::Run(arguments) => {
            if let Some(code) = refused(&arguments, |_| {}) {
                return code;
            }
            run_files(&arguments)
        }
        Command::Check(arguments) => {
            let sound = |file: &Path| println!("{}: ok", file.display());
            return refused(&arguments, sound).unwrap_or(ExitCode::SUCCESS);
        }
        Command::Generate(arguments) => generate(arguments),
        Command::Doctor(arguments) => return doctor(&arguments),
        Command::Render(arguments) => render(&arguments).map(|()| Verdict::Ok),
        Command::Compare(arguments) => {
            return compare(&arguments).unwrap_or_else(|error| failed(&error));
        }
    };
    outcome.map_or_else(|error| failed(&error), Verdict::exit_code)
}

/// Nothing came of it.
fn failed(error: &LoadtestError) -> ExitCode {
    // Each line is for itself, whoever picks it out of a log.
    for line in error.to_string().lines() {
        eprintln!("dunlin-loadtest: {line}");
    }
    error.exit_code()
}

/// A plan in which everything makes sense, to its report.
fn run(plan: &Plan, session: &Session) -> Result<Verdict, LoadtestError> {
    Problems::check(plan.problems().into_iter().chain(plan.missing()).collect())?;
    let stop = || Some(session.interrupt.flag());
    // A coordinator of generators need not have a way to the server.
    let is_here = plan.generator().generators.is_empty();
    let look = |target: &Target| if is_here { probe(target) } else { Ok(()) };
    let chat = |name, server: &ServerArguments, output, scenario: &dyn Fn(Target) -> Chat| {
        server.with_target(|target| {
            look(&target)?;
            let scenario = ChatScenario { stop: stop(), ..scenario(target)? };
            watch(name, session, output, print_chat, |on_progress, on_second| {
                chat::run_watched(&scenario, on_progress, on_second)
            })
        })
    };
    match plan {
        Plan::Chat(plan) => {
            chat("chat", &plan.server, &plan.output, &|target| plan.scenario(target))
        }
        Plan::Storm(plan) => {
            chat("storm", &plan.server, &plan.output, &|target| plan.scenario(target))
        }
        Plan::Slow(plan) => {
            chat("slow", &plan.server, &plan.output, &|target| plan.scenario(target))
        }
        Plan::Churn(plan) => {
            chat("churn", &plan.server, &plan.output, &|target| plan.scenario(target))
        }
        Plan::Hostile(plan) => {
            chat("hostile", &plan.server, &plan.output, &|target| plan.scenario(target))
        }
        Plan::Capacity(plan) => plan.server.with_target(|target| {
            look(&target)?;
            let mut scenario = plan.scenario(target)?;
            scenario.chat.stop = stop();
            let run = session.circumstances();
            let mut view = View::new("capacity", plan.output.quiet, &session.interrupt);
            let on_event = &mut |event: capacity::Event<'_>| show_event(&mut view, &event);
            let report = capacity::run(&scenario, on_event)?;
            session.print(&plan.output, run, report, print_capacity)
        }),
        Plan::Fanout(plan) => plan.server().with_target(|target| {
            look(&target)?;
            let scenario = FanoutScenario { stop: stop(), ..plan.scenario(target)? };
            watch("fanout", session, &plan.output, print_fanout, |on_progress, on_second| {
                fanout::run_watched(&scenario, on_progress, on_second)
            })
        }),
        Plan::Idle(plan) => plan.server().with_target(|target| {
            look(&target)?;
            let scenario = IdleScenario { stop: stop(), ..plan.scenario(target)? };
            let run = session.circumstances();
            let mut view = View::new("idle", plan.output.quiet, &session.interrupt);
            let lines = view.leaves_lines();
            let on_progress = &mut |doing: &str, connections: u32| {
                if lines {
                    eprintln!("{doing}: {connections} connections");
                }
            };
            let on_second = &mut |second: &Second<'_>| view.show(second);
            let report = idle::run_watched(&scenario, on_progress, on_second)?;
            session.print(&plan.output, run, report, print_idle)
        }),
    }
}

type Chat = Result<ChatScenario, LoadtestError>;

/// Shows a run while it goes on, and then its report.
fn watch<R: Report>(
    name: &'static str,
    session: &Session,
    output: &OutputArguments,
    for_people: impl FnOnce(&R),
    watched: impl FnOnce(
        &mut dyn FnMut(&str, Progress),
        &mut dyn FnMut(&Second<'_>),
    ) -> Result<R, LoadtestError>,
) -> Result<Verdict, LoadtestError> {
    let run = session.circumstances();
    let mut view = View::new(name, output.quiet, &session.interrupt);
    let lines = view.leaves_lines();
    let on_progress = &mut |doing: &str, progress: Progress| {
        if lines {
            eprintln!(
                "{doing}: {} connections, {} sent, {} acknowledged, {} delivered",
                progress.active, progress.sent, progress.acknowledged, progress.delivered
            );
        }
    };
    let report = watched(on_progress, &mut |second: &Second<'_>| view.show(second))?;
    session.print(output, run, report, for_people)
}

/// One after the other, until one is not ok. All are read before the first one is run.
fn run_files(arguments: &FileArguments) -> Result<Verdict, LoadtestError> {
    let plans = arguments.files.iter().map(|file| arguments.read(file));
    let plans = plans.collect::<Result<Vec<_>, _>>()?;
    let session = Session::begin()?;
    for plan in plans {
        let verdict = run(&plan, &session)?;
        if verdict != Verdict::Ok {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Ok)
}

/// Says what is wrong with all of the files; with what exit code, if anything is.
fn refused(arguments: &FileArguments, sound: impl Fn(&Path)) -> Option<ExitCode> {
    let mut code = None;
    for file in &arguments.files {
        let name = file.display();
        match arguments.check(file) {
            Ok(()) => sound(file),
            Err(LoadtestError::Problems(problems)) => {
                problems.iter().for_each(|problem| eprintln!("{name}: {problem}"));
                code = Some(ExitCode::from(USAGE));
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                code = Some(error.exit_code());
            }
        }
    }
    code
}

/// Works for one coordinator after the other.
fn generate(arguments: GenerateArguments) -> Result<Verdict, LoadtestError> {
    let GenerateArguments { listen, secret_file, threads, client_cpu } = arguments;
    let place = Place { threads, processors: client_cpu };
    let listener = Listener::bind(listen, &secret_file, place)?;
    let interrupt = Interrupt::listen().map_err(LoadtestError::machine("listening for signals"))?;
    println!("listening at {}", listener.local_addr()?);
    let told = interrupt.clone();
    thread::spawn(move || {
        told.wait();
        eprintln!("{SAID_TO_GENERATORS}");
    });
    listener.serve(&interrupt, |peer, event| match event {
        Event::Begun(users) => {
            eprintln!("{peer}: users {} to {}", users.start, users.end.saturating_sub(1));
        }
        Event::Done => eprintln!("{peer}: done"),
        Event::Refused(error) => eprintln!("{peer}: no run: {error}"),
        Event::Lost(error) => eprintln!("{peer}: the run was stopped: {error}"),
    });
    Ok(Verdict::Ok)
}

/// Judges this machine; the exit code is not that of a run.
fn doctor(arguments: &DoctorArguments) -> ExitCode {
    let diagnosis = doctor::evaluate(arguments.plan(), &Facts::gather());
    let text = if arguments.json {
        serde_json::to_string_pretty(&diagnosis).map_err(io::Error::other)
    } else {
        Ok(diagnosis.to_string())
    };
    match text.and_then(|text| writeln!(io::stdout(), "{text}")) {
        Ok(()) => diagnosis.exit_code(),
        Err(error) => {
            let error = LoadtestError::machine("writing the findings")(error);
            eprintln!("dunlin-loadtest: {error}");
            error.exit_code()
        }
    }
}

fn show_event(view: &mut View, event: &capacity::Event<'_>) {
    match event {
        capacity::Event::Begun { rate_per_s } => view.begin(&format!("{rate_per_s:.0}/s")),
        capacity::Event::Progress { rate_per_s, doing, progress } => {
            if view.leaves_lines() {
                eprintln!(
                    "{rate_per_s:.0}/s: {doing}: {} users, {} sent",
                    progress.active, progress.sent
                );
            }
        }
        capacity::Event::Second(second) => view.show(second),
        capacity::Event::Step(step) => {
            view.say(&format!("{:.0}/s: {}", step.rate_per_s, words_of(step.judgement)));
            step.reasons.iter().for_each(|reason| view.say(&format!("  {reason}")));
        }
    }
}
