//! A page of history that begins at a time: where that is, is searched for first.
//!
//! Forwards it begins at the first entry of the time or later, backwards at the last one before it: so the two
//! pages of a moment have no entry in common, and none between them is missing. Where times go back, since a
//! clock was set right, there is more than one such place; the search finds one of them. A damaged entry has no
//! time, and belongs to what follows it.

use super::ConversationPage;
use super::history::{self, FlooredPage};
use crate::refusal::DATA_CORRUPT;
use crate::store::Page;
use crate::time_search::{Step, TimeSearch};
use crate::worker::flow::{Answer, PagesFlow};
use crate::worker::turn::Turn;

/// A page whose time is searched for. There is room for it, and so for the one entry that is looked at.
#[derive(Debug)]
pub(crate) struct Searching {
    pub(crate) page: FlooredPage,
    floor: u64,
    search: TimeSearch,
}

impl Searching {
    pub(super) fn new(page: FlooredPage, floor: u64, time_ms: u64) -> Searching {
        let search = TimeSearch::new(page.log, time_ms);
        Searching { page, floor, search }
    }
}

/// Looks at the next entry.
pub(super) fn ask(searching: Searching, turn: &mut Turn<'_>) {
    let range = searching.search.range();
    let page = ConversationPage::Search(Box::new(searching));
    turn.ask_pages(vec![range], PagesFlow::Conversation(page));
}

/// It was looked at. False if the page was refused.
pub(crate) fn searched(
    mut searching: Searching,
    answer: Answer<Page>,
    turn: &mut Turn<'_>,
) -> bool {
    if let Err(refusal) = answer
        && refusal != DATA_CORRUPT
    {
        searching.page.reader.refuse(refusal, turn);
        return false;
    }
    let first = match searching.search.take(answer) {
        Step::Next => {
            ask(searching, turn);
            return true;
        }
        // There is nothing before that time.
        Step::Nothing => 1,
        Step::Below(first) => first,
    };
    let Searching { mut page, floor, .. } = searching;
    if page.history.backwards {
        page.history.to = page.history.to.min(first - 1);
    } else {
        page.history.from = page.history.from.max(first);
    }
    history::ask(page, floor, turn);
    true
}
