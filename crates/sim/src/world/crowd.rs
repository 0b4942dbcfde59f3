//! What clients do, and what they are answered.

use super::client::{Asked, Op, Reply, Request};
use super::message::Message;
use super::net::{ConnNumber, Port, Who};
use super::trace::{Kind, Words};
use super::{Event, World};
use crate::check::Wish;

/// After how long without an answer a client leaves its server, in ticks.
const PATIENCE_TICKS: u64 = 6;

impl World {
    pub(super) fn wake_client(&mut self, c: usize) {
        let think = self.setup.think.draw(&mut self.rng);
        let client = &mut self.clients[c];
        client.calls += 1;
        let call = client.calls;
        self.queue.push(self.now_us + think, Event::Client { client: c, call });
    }

    pub(super) fn on_client(&mut self, c: usize, call: u32) {
        let now_us = self.now_us;
        let patience_us = self.setup.tick_ms * 1000 * PATIENCE_TICKS;
        let client = &mut self.clients[c];
        if client.calls != call {
            return;
        }
        let is_waiting = !client.asked.is_empty();
        match client.conn {
            None if client.is_done => return,
            None if now_us < self.later.quiet_until_us => {}
            None => self.client_connects(c),
            Some(conn) if is_waiting && now_us > client.heard_us + patience_us => {
                self.client_lost(c);
                self.close_end(conn, 0);
            }
            Some(_) if client.is_connected && !client.is_done && now_us >= self.later.quiet_until_us => {
                let burst = if self.setup.pipelined > 1 { self.rng.between(1, self.setup.pipelined as u64) } else { 1 };
                for _ in 0..burst {
                    let draw = self.rng.below(10);
                    let op = if draw < 5 {
                        Op::Write
                    } else if draw < 9 {
                        Op::Read
                    } else {
                        Op::Sync
                    };
                    self.ask(c, op);
                }
            }
            Some(_) => {}
        }
        self.wake_client(c);
    }

    fn client_connects(&mut self, c: usize) {
        let s = self.rng.below(self.servers.len() as u64) as usize;
        let Some(process) = &self.servers[s].process else { return };
        let conn = self.net.open(Port::Client, Who::Client(c), Who::Server(s, process.number));
        let client = &mut self.clients[c];
        client.conn = Some(conn);
        client.heard_us = self.now_us;
        client.next_xid = 0;
        let seen = client.seen;
        self.ask(c, Op::Connect(seen));
    }

    /// A client asks, if it may.
    pub(super) fn ask(&mut self, c: usize, op: Op) {
        let floor = self.truth.acknowledged;
        let pipelined = self.setup.pipelined;
        let client = &mut self.clients[c];
        let Some(conn) = client.conn.filter(|_| client.asked.len() < pipelined) else { return };
        client.next_xid += 1;
        let request = Request { xid: client.next_xid, op };
        if client.asked.is_empty() {
            client.heard_us = self.now_us;
        }
        client.asked.push_back(Asked { request, floor });
        self.send_from(conn, 0, Message::Request(request));
    }

    fn client_lost(&mut self, c: usize) {
        let client = &mut self.clients[c];
        client.conn = None;
        client.is_connected = false;
        client.asked.clear();
    }

    pub(super) fn on_client_message(&mut self, c: usize, conn: ConnNumber, message: Message) {
        if self.clients[c].conn != Some(conn) {
            return;
        }
        match message {
            Message::Reply(reply) => self.on_reply(c, reply),
            Message::End => {
                self.client_lost(c);
                self.close_end(conn, 0);
            }
            _ => {}
        }
    }

    fn on_reply(&mut self, c: usize, reply: Reply) {
        let client = &mut self.clients[c];
        client.heard_us = self.now_us;
        let Some(asked) = client.asked.pop_front() else {
            return self.truth.wrong("answers", format!("client {c} is answered, and asked for nothing"));
        };
        if asked.request.xid != reply.xid {
            let what = format!("client {c} asked {}, and is answered {}", asked.request.xid, reply.xid);
            return self.truth.wrong("answers", what);
        }
        let wish = match asked.request.op {
            Op::Connect(_) => {
                client.is_connected = true;
                Wish::Read
            }
            Op::Write => Wish::Write,
            Op::Read => Wish::Read,
            Op::Sync => Wish::Sync,
        };
        let seen = std::mem::replace(&mut client.seen, reply.zxid);
        self.tally.answers += 1;
        self.trace.event(self.now_us, Kind::Client, [c as u64, reply.xid as u64, reply.zxid.0 as u64], || {
            Words::world(format!("client {c}: {:?} is answered at {}", asked.request.op, reply.zxid))
        });
        self.truth.on_answer(c, wish, asked.floor, seen, reply.zxid, reply.link);
    }
}
