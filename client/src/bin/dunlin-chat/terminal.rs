//! The chat on the whole screen.

use std::error::Error;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select, tick};
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind,
    KeyModifiers,
};
use ratatui::crossterm::execute;

use crate::session::{Next, Session};
use crate::view;

/// For clocks and "typing".
const TICK: Duration = Duration::from_millis(250);

pub(crate) fn run(mut session: Session) -> Result<(), Box<dyn Error>> {
    let mut terminal = ratatui::try_init()?;
    // Terminals that do not know it ignore it.
    execute!(io::stdout(), EnableBracketedPaste)?;
    let result = show(&mut terminal, &mut session);
    let _ = execute!(io::stdout(), DisableBracketedPaste);
    ratatui::try_restore()?;
    session.client.close();
    result
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    session: &mut Session,
) -> Result<(), Box<dyn Error>> {
    let keys = read_keys();
    let events = session.client.events().clone();
    let ticks = tick(TICK);
    let mut is_at_top = false;
    loop {
        let now_ms = session.client.now_ms();
        terminal.draw(|frame| is_at_top = view::draw(frame, &session.model, now_ms))?;
        let page = isize::try_from(terminal.size()?.height / 2).unwrap_or(1);
        select! {
            recv(events) -> event => {
                session.apply(event?);
                // Many at a time are drawn once.
                while let Ok(event) = events.try_recv() {
                    session.apply(event);
                }
            }
            recv(keys) -> event => {
                if handle(session, event??, page, is_at_top) == Next::Quit {
                    return Ok(());
                }
            }
            recv(ticks) -> _ => {}
        }
        session.model.tick(session.client.now_ms());
        if session.perform(|_| {})? == Next::Quit {
            return Ok(());
        }
    }
}

fn handle(session: &mut Session, event: Event, page: isize, is_at_top: bool) -> Next {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            press(session, key, page, is_at_top)
        }
        Event::Paste(text) => {
            let input = &mut session.model.input;
            text.chars().for_each(|character| match character {
                '\n' | '\r' | '\t' => input.insert(' '),
                other => input.insert(other),
            });
            Next::Stay
        }
        _ => Next::Stay,
    }
}

fn press(session: &mut Session, key: KeyEvent, page: isize, is_at_top: bool) -> Next {
    let now_ms = session.client.now_ms();
    let model = &mut session.model;
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        match key.code {
            KeyCode::Char('c' | 'd') => return Next::Quit,
            KeyCode::Char('a') => model.input.home(),
            KeyCode::Char('e') => model.input.end(),
            KeyCode::Char('u') => drop(model.input.take()),
            _ => {}
        }
        return Next::Stay;
    }
    match key.code {
        KeyCode::Enter => {
            let line = model.input.take();
            model.enter(&line);
        }
        KeyCode::Char(character) => {
            model.input.insert(character);
            model.typed(now_ms);
        }
        KeyCode::Backspace => model.input.delete_before(),
        KeyCode::Delete => model.input.delete_after(),
        KeyCode::Left => model.input.left(),
        KeyCode::Right => model.input.right(),
        KeyCode::Home => model.input.home(),
        KeyCode::End => model.input.end(),
        KeyCode::Esc => model.cancel(),
        KeyCode::Up => model.walk(false),
        KeyCode::Down | KeyCode::Tab => model.walk(true),
        KeyCode::PageUp => model.scroll(page, is_at_top),
        KeyCode::PageDown => model.scroll(-page, is_at_top),
        _ => {}
    }
    Next::Stay
}

/// A thread of its own, since the terminal can't be waited for together with a channel.
fn read_keys() -> Receiver<io::Result<Event>> {
    let (sender, receiver) = bounded(256);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_over = event.is_err();
            if sender.send(event).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}
