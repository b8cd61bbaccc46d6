//! A storm among generators in other processes. The coordinator's board is copied to each of theirs
//! with its orders; what the threads there write on it comes back with the answers, as if they were
//! one thread.

use serde::{Deserialize, Serialize};

use crate::crowd::Aside;
use crate::scenarios::storm::board::{Board, Moment};
use crate::scenarios::storm::tally::Tally;

/// What all threads of a generator say of a round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct News {
    round: u32,
    /// Everybody is.
    is_back: bool,
    /// Once in each round, when all of them have handed over theirs.
    tally: Option<Tally>,
}

/// What a generator has said so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The last round in which everybody was back.
    back_in: u32,
}

impl Aside for Board {
    type Order = Moment;
    type News = News;
    type Heard = Heard;

    /// Nothing before the first round.
    fn order(&self) -> Option<Moment> {
        Some(self.moment()).filter(|moment| moment.round > 0)
    }

    fn obey(&self, moment: Moment) {
        self.go_on(moment);
    }

    fn news(&self, threads: usize) -> Option<News> {
        let Moment { round, .. } = self.order()?;
        let is_back = self.returned() >= threads;
        Some(News { round, is_back, tally: self.take_whole_tally(threads) })
    }

    fn hear(&self, news: &News, heard: &mut Heard) {
        // An answer may have crossed with the next round, of which it says nothing.
        if news.round != self.moment().round {
            return;
        }
        if news.is_back && heard.back_in != news.round {
            heard.back_in = news.round;
            self.everybody_is_back();
        }
        if let Some(tally) = &news.tally {
            self.hand_over(tally);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An order and its answer, over the wire.
    fn exchange(here: &Board, there: &Board, heard: &mut Heard) {
        let order = serde_json::to_string(&here.order()).unwrap();
        let order: Option<Moment> = serde_json::from_str(&order).unwrap();
        order.into_iter().for_each(|moment| there.obey(moment));
        let news = serde_json::to_string(&there.news(2)).unwrap();
        let news: Option<News> = serde_json::from_str(&news).unwrap();
        news.into_iter().for_each(|news| here.hear(&news, heard));
    }

    #[test]
    fn two_threads_elsewhere_are_like_one_here() {
        let (here, there, mut heard) = (Board::default(), Board::default(), Heard::default());
        exchange(&here, &there, &mut heard);
        assert_eq!(there.moment(), Moment::BEFORE);
        for round in 1..=3 {
            here.rage(1000);
            exchange(&here, &there, &mut heard);
            assert_eq!((there.moment(), there.moment().round), (here.moment(), round));
            for returned in [0, 1] {
                exchange(&here, &there, &mut heard);
                assert_eq!(here.returned(), 0, "{returned} of 2 are back");
                there.everybody_is_back();
            }
            // However often it is said.
            (0..3).for_each(|_| exchange(&here, &there, &mut heard));
            assert_eq!(here.returned(), 1);
            here.calm(2000);
            here.collect();
            exchange(&here, &there, &mut heard);
            assert_eq!((there.moment(), here.handed()), (here.moment(), 0));
            there.hand_over(&Tally { dropped: 3, ..Tally::default() });
            exchange(&here, &there, &mut heard);
            assert_eq!(here.handed(), 0);
            there.hand_over(&Tally { dropped: 4, ..Tally::default() });
            (0..3).for_each(|_| exchange(&here, &there, &mut heard));
            assert_eq!((here.handed(), here.take_tally().dropped), (1, 7));
        }
    }

    #[test]
    fn what_is_said_of_an_earlier_round_does_not_count_for_this_one() {
        let (here, there, mut heard) = (Board::default(), Board::default(), Heard::default());
        here.rage(1000);
        there.go_on(here.moment());
        (0..2).for_each(|_| there.everybody_is_back());
        let late = there.news(2).unwrap();
        here.rage(3000);
        here.hear(&late, &mut heard);
        assert_eq!(here.returned(), 0);
    }
}
