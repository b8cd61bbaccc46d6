//! Who sits where: the connections of a run in the order of their slots.
//!
//! ```text
//! | writer | devices of its 1st conversation | of its 2nd | ... | writer | ...
//!  <----------------------- a fan ------------------------>
//! ```

use crate::crowd::{Place, Seat, Seating};

/// How large a fan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Conversations of one writer, each with another user.
    pub(crate) conversations: u32,
    /// Devices of each of those users.
    pub(crate) devices: u32,
}

/// The reader of each conversation who writes in it; those behind it are the devices.
pub(crate) const WRITER: usize = 0;

impl Seating for Shape {
    fn group_connections(&self) -> u32 {
        1 + self.conversations * self.devices
    }

    fn group_conversations(&self) -> u32 {
        self.conversations
    }

    fn readers(&self) -> usize {
        1 + self.devices as usize
    }

    fn writers(&self) -> usize {
        1
    }

    fn seat(&self, connection: usize) -> Seat {
        let group = self.group_connections() as usize;
        let (fan, at) = (connection / group, connection % group);
        let first_conversation = fan * self.conversations as usize;
        let Some(at) = at.checked_sub(1) else {
            let conversations = self.conversations as usize;
            return Seat { first_conversation, conversations, reader: WRITER };
        };
        let devices = self.devices as usize;
        let first_conversation = first_conversation + at / devices;
        Seat { first_conversation, conversations: 1, reader: 1 + at % devices }
    }

    fn connection(&self, Place { conversation, reader }: Place) -> usize {
        let conversations = self.conversations as usize;
        let fan = conversation / conversations * self.group_connections() as usize;
        match reader.checked_sub(1) {
            None => fan,
            Some(device) => fan + 1 + conversation % conversations * self.devices as usize + device,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_one_seat_and_leads_back_to_itself() {
        let shape = Shape { conversations: 3, devices: 4 };
        for connection in 0..3 * shape.group_connections() as usize {
            let seat = shape.seat(connection);
            for place in seat.places() {
                assert_eq!(shape.connection(place), connection);
                let writer = Place { reader: WRITER, ..place };
                assert_eq!(shape.connection(writer), connection / 13 * 13);
            }
            let count = if seat.reader == WRITER { 3 } else { 1 };
            assert_eq!(seat.places().count(), count);
        }
        let seat = Seat { first_conversation: 4, conversations: 1, reader: 1 };
        assert_eq!(shape.seat(13 + 1 + 4), seat);
    }
}
