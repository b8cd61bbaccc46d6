//! What is seen while a scenario runs: on a terminal a frame that is drawn anew each second,
//! elsewhere the lines of whoever runs it.

mod frame;
mod screen;

use std::io::{self, IsTerminal, Stderr};

use crate::interrupt::{self, Interrupt};
use crate::report::{Reasons, Second};
use screen::Screen;

/// The live view of a run, on standard error.
#[derive(Debug)]
pub struct View {
    title: String,
    mode: Mode,
    /// Until it was shown.
    interrupt: Option<Interrupt>,
    /// Since the start of the run.
    closes: Reasons,
    errors: Reasons,
}

#[derive(Debug)]
enum Mode {
    /// Drawn in place.
    Live(Screen<Stderr>),
    /// No terminal: lines that scroll by, or a file, are no place to draw.
    Lines,
    /// Nothing at all.
    Quiet,
}

impl View {
    /// For a run of this scenario.
    pub fn new(title: &str, quiet: bool, interrupt: &Interrupt) -> View {
        let mode = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Live(Screen::new(io::stderr())),
            (false, false) => Mode::Lines,
        };
        View {
            title: title.to_owned(),
            mode,
            interrupt: Some(interrupt.clone()),
            closes: Reasons::default(),
            errors: Reasons::default(),
        }
    }

    /// Another run begins, whose frames have this title. What was counted in the last one is
    /// forgotten.
    pub fn begin(&mut self, title: &str) {
        title.clone_into(&mut self.title);
        (self.closes, self.errors) = Default::default();
    }

    /// Says something that stays to be seen: frames are drawn below it.
    pub fn say(&mut self, line: &str) {
        match &mut self.mode {
            Mode::Live(screen) => {
                if screen.say(line).is_err() {
                    self.mode = Mode::Quiet;
                }
            }
            Mode::Lines => eprintln!("{line}"),
            Mode::Quiet => {}
        }
    }

    /// Whether lines of progress are wanted, since nothing is drawn.
    pub fn leaves_lines(&self) -> bool {
        matches!(self.mode, Mode::Lines)
    }

    /// Shows what a second showed.
    pub fn show(&mut self, second: &Second<'_>) {
        if self.interrupt.take_if(|interrupt| interrupt.is_told()).is_some() {
            self.say(interrupt::WORDS);
        }
        let Mode::Live(screen) = &mut self.mode else {
            return;
        };
        self.closes.merge(second.closes);
        self.errors.merge(second.errors);
        let lines = frame::lines(&self.title, second.point, &self.errors, &self.closes);
        // A terminal that is gone is no reason to end the run.
        if screen.draw(&lines).is_err() {
            self.mode = Mode::Quiet;
        }
    }
}
