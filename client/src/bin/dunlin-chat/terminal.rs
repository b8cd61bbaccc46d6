//! The chat on the whole screen.

use std::error::Error;
use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select, tick};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind,
    KeyModifiers,
};
use ratatui::crossterm::execute;

use crate::session::{Next, Session};
use crate::signals::EndWanted;
use crate::view;

/// For clocks, "typing" and signals.
const TICK: Duration = Duration::from_millis(250);

pub(crate) fn run(mut session: Session) -> Result<(), Box<dyn Error>> {
    let outcome = Screen::open().and_then(|mut screen| show(&mut screen, &mut session));
    let waiting = session.close();
    if waiting > 0 {
        println!("{waiting} messages are not sent yet; they go out at the next start");
    }
    outcome
}

/// The terminal while it is ours; whatever ends that, it is given back as it was.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> Result<Screen, Box<dyn Error>> {
        let screen = Screen { terminal: ratatui::try_init()? };
        // Terminals that do not know it ignore it.
        execute!(io::stdout(), EnableBracketedPaste)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(io::stdout(), DisableBracketedPaste);
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

fn show(screen: &mut Screen, session: &mut Session) -> Result<(), Box<dyn Error>> {
    let end_wanted = EndWanted::watch()?;
    let keys = read_keys();
    let events = session.client.events().clone();
    let ticks = tick(TICK);
    let mut is_at_top = false;
    while !end_wanted.is_set() {
        let now_ms = session.client.now_ms();
        screen.terminal.draw(|frame| is_at_top = view::draw(frame, &session.model, now_ms))?;
        let page = isize::try_from(screen.terminal.size()?.height / 2).unwrap_or(1);
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
    Ok(())
}

fn handle(session: &mut Session, event: Event, page: isize, is_at_top: bool) -> Next {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            press(session, key, page, is_at_top)
        }
        Event::Paste(text) => {
            let now_ms = session.client.now_ms();
            session.model.paste(now_ms, &text);
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
            KeyCode::Char('a') => model.input_mut().home(),
            KeyCode::Char('e') => model.input_mut().end(),
            KeyCode::Char('u') => model.delete_line(),
            KeyCode::Char('y') => model.bring_back(),
            _ => {}
        }
        return Next::Stay;
    }
    match key.code {
        // Not within a secret, which has one line.
        KeyCode::Enter if key.modifiers.contains(KeyModifiers::ALT) && model.prompt.is_none() => {
            model.paste(now_ms, "\n");
        }
        KeyCode::Enter => model.press_enter(),
        KeyCode::Char(character) => model.press(now_ms, character),
        KeyCode::Backspace => model.input_mut().delete_before(),
        KeyCode::Delete => model.input_mut().delete_after(),
        KeyCode::Left => model.input_mut().left(),
        KeyCode::Right => model.input_mut().right(),
        KeyCode::Home => model.input_mut().home(),
        KeyCode::End => model.input_mut().end(),
        KeyCode::Esc => model.cancel(),
        KeyCode::Up => model.walk(false),
        KeyCode::Down => model.walk(true),
        KeyCode::Tab => model.walk_around(),
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
