//! The feed in memory: what was written, by the place that it got, and who has passed which.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use dunlin_protocol::LogId;

use super::log::take;
use crate::store::feed::{ConsumerName, FeedFrom, FeedItem, FeedPosition, FeedWhat};
use crate::store::{
    Consumer, ConsumerChange, FeedPage, FeedRange, Malformed, StoreError, StoredEntry,
};

/// Of something in the feed, from 1. A position is the place of the last one that was read.
pub(super) type Place = u64;

/// See the module. What is deleted or overwritten goes from here once all consumers have passed it.
#[derive(Debug, Default)]
pub(super) struct Feed {
    items: BTreeMap<Place, FeedItem>,
    last: Place,
    consumers: BTreeMap<ConsumerName, Place>,
}

impl Feed {
    /// The place of the newest item.
    pub(super) fn last_place(&self) -> Place {
        self.last
    }

    /// The place that the next item gets.
    pub(super) fn next_place(&self) -> Place {
        self.last + 1
    }

    pub(super) fn add(&mut self, log: LogId, what: FeedWhat) {
        self.last += 1;
        self.items.insert(self.last, FeedItem { log, what });
    }

    /// Something was overwritten or deleted: it is not needed for itself any more.
    pub(super) fn dead(&mut self, places: impl IntoIterator<Item = Place>) {
        let passed = self.passed();
        for place in places.into_iter().filter(|place| *place <= passed) {
            self.items.remove(&place);
        }
    }

    /// An entry has lost its body, wherever it is kept.
    pub(super) fn erase(&mut self, place: Place, erased: StoredEntry) {
        if let Some(item) = self.items.get_mut(&place) {
            item.what = FeedWhat::Entry(erased);
        }
    }

    /// Up to where nothing has to be kept for a consumer.
    fn passed(&self) -> Place {
        self.consumers.values().min().copied().unwrap_or(self.last)
    }

    pub(super) fn page(&self, range: &FeedRange) -> Result<FeedPage, StoreError> {
        let after = match &range.from {
            FeedFrom::Beginning => 0,
            FeedFrom::End => self.last,
            FeedFrom::After(position) => self.place(position)?,
        };
        let asked = self.after(after);
        let (items, more) =
            take(asked, (range.items_max, range.bytes_max), |(_, item)| item.bytes());
        // What was passed over because it is gone is passed by this as well.
        let end = if more { after } else { self.last };
        let reached = items.last().filter(|_| more).map_or(end, |(place, _)| **place);
        let items = items.into_iter().map(|(_, item)| item.clone()).collect();
        Ok(FeedPage { items, position: position(reached), more })
    }

    fn after(&self, place: Place) -> impl Iterator<Item = (&Place, &FeedItem)> {
        self.items.range((Bound::Excluded(place), Bound::Unbounded))
    }

    fn place(&self, position: &FeedPosition) -> Result<Place, StoreError> {
        let bytes = <[u8; 8]>::try_from(&position.0[..]).ok().map(u64::from_be_bytes);
        let place = bytes.filter(|place| *place <= self.last);
        place.ok_or(StoreError::Malformed(Malformed::Position))
    }

    /// `is_alive` says whether something is needed for itself.
    pub(super) fn change(
        &mut self,
        change: ConsumerChange,
        is_alive: impl Fn(&FeedItem) -> bool,
    ) -> Result<(), StoreError> {
        let before = self.passed();
        match change {
            ConsumerChange::Passed { name, position } => {
                let place = self.place(&position)?;
                let passed = self.consumers.entry(name).or_insert(place);
                *passed = place.max(*passed);
            }
            ConsumerChange::Removed { name } => drop(self.consumers.remove(&name)),
        }
        let passed = self.passed();
        if before < passed {
            let newly = self.items.range((Bound::Excluded(before), Bound::Included(passed)));
            let dead = newly.filter(|(_, item)| !is_alive(item)).map(|(place, _)| *place);
            for place in dead.collect::<Vec<_>>() {
                self.items.remove(&place);
            }
        }
        Ok(())
    }

    pub(super) fn consumers(&self) -> Vec<Consumer> {
        let behind = |place| self.after(place).map(|(_, item)| item.bytes() as u64).sum();
        let consumer = |(name, &place): (&ConsumerName, &Place)| Consumer {
            name: name.clone(),
            position: position(place),
            behind_bytes: behind(place),
        };
        self.consumers.iter().map(consumer).collect()
    }
}

fn position(place: Place) -> FeedPosition {
    FeedPosition(Bytes::copy_from_slice(&place.to_be_bytes()))
}
