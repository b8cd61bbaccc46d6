//! Clients come, act, move on and are told things.

use dunlin_core::arrival::Arrival;
use dunlin_core::placement;
use dunlin_core::request::Command;
use dunlin_core::transport::{ConnId, Delivery, Outbound};
use dunlin_core::worker::input::Input;
use dunlin_protocol::wire::DeviceKind;

use super::super::profile::Sabotage;
use super::{ANSWER_MS_MAX, Event, NODES, WORKERS, World};

impl World {
    pub(super) fn connect(&mut self, client: usize) {
        if self.clients[client].link.is_some() {
            return;
        }
        let live: Vec<_> = (0..NODES).filter(|slot| self.nodes[*slot].is_some()).collect();
        let Some(&slot) = self.chance.pick(&live) else {
            return self.soon(500, Event::Connect { client });
        };
        let node = self.nodes[slot].as_ref().expect("it lives").id;
        self.last_conn += 1;
        let conn = ConnId { shard: client as u16, slot: self.last_conn, generation: 1 };
        self.clients[client].connected(self.now, slot, node, conn);
        let session = self.clients[client].link.as_ref().expect("connected").session;
        let worker = usize::from(placement::worker_of_user(session.user, WORKERS));
        let open = Input::OpenSession { conn, session, kind: DeviceKind::Phone };
        self.input(node, worker, open);
        self.submit_requests(client);
    }

    pub(super) fn act(&mut self, client: usize) {
        if self.is_healed {
            self.clients[client].try_again(self.now);
        } else if self.chance.permille(15) {
            self.move_on(client);
        } else if self.chance.permille(15) {
            self.log_out_other_device(client);
        } else {
            self.clients[client].act(self.now, &mut self.chance);
        }
        self.submit_requests(client);
        self.check_waiting(client);
        let within = if self.is_healed { 500 } else { self.profile.client_every_ms * 2 };
        self.soon(within, Event::Act { client });
    }

    /// The client closes its connection, and comes back somewhere after a while.
    pub(super) fn move_on(&mut self, client: usize) {
        let Some(link) = self.clients[client].disconnected() else { return };
        let (conn, session) = (link.conn, link.session);
        let worker = usize::from(placement::worker_of_user(session.user, WORKERS));
        let time = self.arrival(conn, true);
        let input = Box::new(Input::Disconnected { conn, session });
        self.at(time, Event::Input { node: link.node, worker, input });
        let away = if self.chance.permille(300) { 5_000 } else { 50 };
        self.soon(away, Event::Connect { client });
    }

    pub(super) fn log_out_other_device(&mut self, client: usize) {
        let user = self.clients[client].user;
        let others = self.clients.iter().enumerate();
        let mut others = others.filter(|(other, of)| *other != client && of.user == user);
        let session = others.find_map(|(_, other)| Some(other.link.as_ref()?.session.session));
        if let Some(session) = session {
            self.clients[client].log_out(self.now, session);
        }
    }

    pub(super) fn submit_requests(&mut self, client: usize) {
        let Some(link) = &mut self.clients[client].link else { return };
        let (node, conn, session) = (link.node, link.conn, Some(link.session));
        for (request_id, request) in std::mem::take(&mut link.out) {
            let command = Command {
                conn,
                session,
                request_id,
                may_deflate: false,
                arrived: Arrival::UNKNOWN,
                request,
            };
            let worker = usize::from(placement::worker_of_command(&command, WORKERS));
            let mut time = self.arrival(conn, true);
            match self.profile.sabotage {
                Some(Sabotage::UnorderedRequests) => time += self.chance.below(50),
                Some(Sabotage::LostRequests) if self.chance.permille(5) => continue,
                _ => {}
            }
            let input = Box::new(Input::Command(command));
            self.at(time, Event::Input { node, worker, input });
        }
    }

    /// When what is sent now, in or out, arrives at the other end of a connection.
    pub(super) fn arrival(&mut self, conn: ConnId, is_request: bool) -> u64 {
        let time = self.now + self.chance.between(1, 8);
        let last = self.arrivals.entry((conn, is_request)).or_default();
        *last = time.max(*last);
        *last
    }

    pub(super) fn send_to_client(&mut self, out: Outbound) {
        let Outbound { conn, delivery, .. } = out;
        let time = self.arrival(conn, false);
        let (client, delivery) = (usize::from(conn.shard), Box::new(delivery));
        self.at(time, Event::Deliver { client, conn, delivery });
    }

    pub(super) fn deliver(&mut self, client: usize, conn: ConnId, delivery: &Delivery) {
        if self.clients[client].link.as_ref().is_none_or(|link| link.conn != conn) {
            return;
        }
        if let Delivery::Close { .. } = delivery {
            self.clients[client].disconnected();
            return self.soon(100, Event::Connect { client });
        }
        self.clients[client].take(self.now, delivery);
        self.submit_requests(client);
        self.note(u64::from(conn.slot));
    }

    /// Nobody waits for ever.
    pub(super) fn check_waiting(&mut self, client: usize) {
        let Some(link) = &self.clients[client].link else { return };
        let patience_ms = ANSWER_MS_MAX + 3 * self.profile.between.patience_ms();
        let late = link.outstanding.values().find(|(_, since)| since + patience_ms < self.now);
        if let Some((asked, _)) = late {
            self.violations.push(format!("client {client} waits for {asked:?}"));
        }
    }
}
