//! The model on the screen.
//!
//! ```text
//! ┌ conversations ┐┌ bob ─────────────────────────┐
//! │ bob         2 ││ 12:03 alice hello bob ✓✓     │
//! │ carol         ││ 12:04 bob hello alice        │
//! │               ││ bob is typing                │
//! │               │└──────────────────────────────┘
//! │               │┌ to bob ──────────────────────┐
//! └───────────────┘└──────────────────────────────┘
//!  alice · connected
//! ```

use dunlin_client::machine::Status;
use dunlin_protocol::UserId;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use crate::model::Model;
use crate::model::addressee::Addressee;
use crate::model::chat::{Chat, Mark};
use crate::text;

const LIST_COLUMNS: u16 = 24;
/// Narrower screens show the conversation alone.
const COLUMNS_FOR_LIST: u16 = 60;
/// Names are shown up to this width in front of messages.
const NAME_COLUMNS: usize = 12;
/// Time and a space.
const TIME_COLUMNS: usize = 6;

/// Draws everything. Returns whether the oldest message that is there is in view.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model, now_ms: u64) -> bool {
    let [body, status] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    let list_columns = if body.width >= COLUMNS_FOR_LIST { LIST_COLUMNS } else { 0 };
    let [list, right] =
        Layout::horizontal([Constraint::Length(list_columns), Constraint::Min(1)]).areas(body);
    let [messages, input] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(3)]).areas(right);
    if list_columns > 0 {
        draw_list(frame, list, model);
    }
    let is_at_top = draw_messages(frame, messages, model, now_ms);
    draw_input(frame, input, model);
    draw_status(frame, status, model, now_ms);
    is_at_top
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let columns = usize::from(area.width.saturating_sub(2));
    let lines: Vec<Line<'_>> = model
        .order()
        .into_iter()
        .map(|conversation| {
            let remark = model.chats[&conversation].remark();
            let name_columns = columns.saturating_sub(text::width(&remark));
            let name = text::shorten(&model.name_of_chat(conversation), name_columns);
            let padding = " ".repeat(name_columns.saturating_sub(text::width(&name)));
            let style = if model.open() == Some(conversation) {
                Style::new().add_modifier(Modifier::REVERSED)
            } else if remark.is_empty() {
                Style::new()
            } else {
                Style::new().add_modifier(Modifier::BOLD)
            };
            Line::styled(format!("{name}{padding}{remark}"), style)
        })
        .collect();
    frame
        .render_widget(Paragraph::new(lines).block(Block::bordered().title("conversations")), area);
}

fn draw_messages(frame: &mut Frame<'_>, area: Rect, model: &Model, now_ms: u64) -> bool {
    let block = Block::bordered();
    let inner = block.inner(area);
    let (columns, rows) = (usize::from(inner.width), usize::from(inner.height));
    let mut bottom: Vec<Line<'_>> = Vec::new();
    for notice in &model.notices {
        let lines = text::wrap(notice, columns);
        bottom.extend(lines.into_iter().map(|line| Line::styled(line, Color::Yellow)));
    }
    bottom.drain(..bottom.len().saturating_sub(rows));
    let open = model.open().and_then(|id| Some((id, model.chats.get(&id)?)));
    let Some((conversation, chat)) = open else {
        if bottom.is_empty() {
            bottom.push(Line::from("/to NAME opens a conversation, /help says more"));
        }
        frame.render_widget(Paragraph::new(bottom).block(block), area);
        return false;
    };
    let name = model.name_of_chat(conversation);
    if chat.typing_until_ms > now_ms {
        bottom.insert(0, Line::styled(format!("{name} is typing"), Color::DarkGray));
    }
    let rows = rows.saturating_sub(bottom.len());
    let (mut lines, is_at_top) = message_lines(model, chat, columns, rows);
    // A short conversation stands at the bottom, next to what is typed.
    let empty = std::iter::repeat_n(Line::default(), rows.saturating_sub(lines.len()));
    lines.splice(0..0, empty);
    lines.extend(bottom);
    let title = match (chat.is_loading, chat.scroll) {
        (true, _) => format!("{name} (reading older messages)"),
        (false, 0) => name,
        (false, _) => format!("{name} (older messages)"),
    };
    frame.render_widget(Paragraph::new(lines).block(block.title(title)), area);
    is_at_top
}

/// The lines that are in view, made from the newest upwards, so that a long conversation costs no
/// more than a short one.
fn message_lines(
    model: &Model,
    chat: &Chat,
    columns: usize,
    rows: usize,
) -> (Vec<Line<'static>>, bool) {
    let wanted = rows + chat.scroll;
    let mut upwards: Vec<Line<'static>> = Vec::new();
    let mine = model.me.map_or(0, UserId::get);
    let unsent = chat.unsent.iter().rev();
    let unsent = unsent.map(|unsent| (None, mine, unsent.text.as_str(), Some(unsent.mark())));
    let stored = chat.lines.iter().rev().map(|line| {
        let mark = (line.sender == mine).then(|| chat.mark(line.seq));
        (Some(line.time_ms), line.sender, line.text.as_str(), mark)
    });
    let mut all = unsent.chain(stored);
    while upwards.len() < wanted
        && let Some((time_ms, sender, words, mark)) = all.next()
    {
        let time = time_ms.map_or_else(|| "     ".into(), text::clock);
        let is_mine = sender == mine;
        // Before the login this user has no number.
        let name = if is_mine { text::clean(&model.username) } else { model.name(sender) };
        let lines = message(&time, &name, is_mine, words, mark, columns);
        upwards.extend(lines.into_iter().rev());
    }
    let is_at_top = upwards.len() <= wanted && all.next().is_none();
    // Whoever scrolled beyond the top sees the top.
    let scroll = chat.scroll.min(upwards.len().saturating_sub(rows));
    let mut lines: Vec<Line<'static>> = upwards.into_iter().skip(scroll).take(rows).collect();
    lines.reverse();
    (lines, is_at_top)
}

fn message(
    time: &str,
    name: &str,
    is_mine: bool,
    words: &str,
    mark: Option<Mark>,
    columns: usize,
) -> Vec<Line<'static>> {
    let name = text::shorten(name, NAME_COLUMNS);
    let indent = TIME_COLUMNS + text::width(&name) + 1;
    // Marks take two columns and a space.
    let lines = text::wrap(words, columns.saturating_sub(indent + 3));
    let color = if is_mine { Color::Cyan } else { Color::Green };
    let last = lines.len() - 1;
    let mut shown = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let mut spans = match index {
            0 => vec![
                Span::styled(format!("{time} "), Color::DarkGray),
                Span::styled(format!("{name} "), color),
            ],
            _ => vec![Span::raw(" ".repeat(indent))],
        };
        spans.push(Span::raw(line));
        if let Some(mark) = mark.filter(|_| index == last) {
            let color = if mark == Mark::Failed { Color::Red } else { Color::DarkGray };
            spans.push(Span::styled(format!(" {}", mark.sign()), color));
        }
        shown.push(Line::from(spans));
    }
    shown
}

fn draw_input(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let title = match (&model.prompt, &model.addressee) {
        (Some(prompt), _) => prompt.question().to_owned(),
        (None, Addressee::Nobody) => "to nobody yet: /to NAME".to_owned(),
        (None, Addressee::Sought(sought)) => format!("looking for {}", sought.name),
        (None, Addressee::Chat(conversation)) => {
            format!("to {}", model.name_of_chat(*conversation))
        }
    };
    let block = Block::bordered().title(title);
    let inner = block.inner(area);
    let is_secret = model.prompt.is_some();
    let (shown, column) = model.input().visible(usize::from(inner.width), is_secret);
    frame.render_widget(Paragraph::new(shown).block(block), area);
    let column = u16::try_from(column).unwrap_or(inner.width);
    frame.set_cursor_position(Position::new(inner.x.saturating_add(column), inner.y));
}

fn draw_status(frame: &mut Frame<'_>, area: Rect, model: &Model, now_ms: u64) {
    let color = match model.status {
        Some(Status::Online) => Color::Green,
        Some(Status::Stopped(_)) => Color::Red,
        _ => Color::Yellow,
    };
    let status = text::clean(&model.status_line(now_ms));
    let name = text::clean(&model.username);
    let line = Line::from(vec![Span::raw(format!(" {name} · ")), Span::styled(status, color)]);
    frame.render_widget(Paragraph::new(line), area);
}

#[cfg(test)]
mod tests;
