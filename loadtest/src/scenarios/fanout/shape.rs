//! Who sits where: the connections of a run in the order of their slots.
//!
//! ```text
//! | writer | devices of its 1st conversation | of its 2nd | ... | writer | ...
//!  <----------------------- a fan ------------------------>
//! ```

/// How large a fan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Conversations of one writer, each with another user.
    pub(crate) conversations: u32,
    /// Devices of each of those users.
    pub(crate) devices: u32,
}

/// What a connection is for. Fans and conversations are counted within the run, or within a thread
/// if the slot was one of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seat {
    /// It writes in all conversations of its fan.
    Writer { fan: usize },
    /// It is one device of the user who reads in a conversation.
    Reader { conversation: usize, device: usize },
}

impl Shape {
    /// Connections of a fan.
    pub(crate) fn connections(self) -> u32 {
        1 + self.conversations * self.devices
    }

    pub(crate) fn seat(self, slot: usize) -> Seat {
        let (fan, at) = (slot / self.connections() as usize, slot % self.connections() as usize);
        let Some(reader) = at.checked_sub(1) else {
            return Seat::Writer { fan };
        };
        let devices = self.devices as usize;
        let conversation = fan * self.conversations as usize + reader / devices;
        Seat::Reader { conversation, device: reader % devices }
    }

    /// The slot of a conversation's writer.
    pub(crate) fn writer_of(self, conversation: usize) -> usize {
        conversation / self.conversations as usize * self.connections() as usize
    }

    /// The slot of a conversation's first device; the others follow.
    pub(crate) fn first_reader_of(self, conversation: usize) -> usize {
        let at = conversation % self.conversations as usize * self.devices as usize;
        self.writer_of(conversation) + 1 + at
    }

    /// The conversations of a fan.
    pub(crate) fn conversations_of(self, fan: usize) -> std::ops::Range<usize> {
        let conversations = self.conversations as usize;
        fan * conversations..(fan + 1) * conversations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_seat_and_leads_back_to_itself() {
        let shape = Shape { conversations: 3, devices: 4 };
        for slot in 0..3 * shape.connections() as usize {
            match shape.seat(slot) {
                Seat::Writer { fan } => {
                    for conversation in shape.conversations_of(fan) {
                        assert_eq!(shape.writer_of(conversation), slot);
                    }
                }
                Seat::Reader { conversation, device } => {
                    assert_eq!(shape.first_reader_of(conversation) + device, slot);
                    assert_eq!(shape.writer_of(conversation), slot / 13 * 13);
                }
            }
        }
        assert_eq!(shape.seat(13 + 1 + 4), Seat::Reader { conversation: 4, device: 0 });
    }
}
