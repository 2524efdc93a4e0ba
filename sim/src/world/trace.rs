//! What happened, as one number.
//!
//! Everything that leaves a mark in a run goes into a chain of hashes: events by their words, packets with every byte, the count of random draws. Two runs
//! are the same when their chains are. A checkpoint each simulated second says when two runs parted; the events of that second say where.

use std::fmt;
use std::time::Duration;

use siphasher::sip::SipHasher13;
use std::hash::Hasher as _;
use turmoil_net::{Packet, Transport};

/// Events that are kept; older ones are only in the chain.
const EVENTS_MAX: usize = 100_000;
/// From one checkpoint to the next.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// The chain, the checkpoints, and the last events.
#[derive(Debug)]
pub struct Trace {
    chain: SipHasher13,
    checkpoints: Vec<u64>,
    next_checkpoint: Duration,
    events: std::collections::VecDeque<Event>,
    packets: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning of the world.
    pub at: Duration,
    /// Where: a host's name, or what the world did.
    pub at_host: String,
    /// What.
    pub what: String,
}

// === impl Trace ===

impl Default for Trace {
    fn default() -> Self {
        Self {
            chain: SipHasher13::new(),
            checkpoints: Vec::new(),
            next_checkpoint: CHECKPOINT,
            events: std::collections::VecDeque::new(),
            packets: 0,
        }
    }
}

impl Trace {
    /// Notes an event.
    pub(super) fn event(&mut self, at: Duration, at_host: &str, what: String) {
        self.time(at);
        self.chain.write(at_host.as_bytes());
        self.chain.write(what.as_bytes());
        // So that two words are not the same as one of both.
        self.chain.write_u8(0xff);
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            at,
            at_host: at_host.to_owned(),
            what,
        });
    }

    /// Notes a packet on its way, with all of its bytes.
    pub(super) fn packet(&mut self, at: Duration, packet: &Packet) {
        self.packets += 1;
        self.time(at);
        for address in [packet.src, packet.dst] {
            match address {
                std::net::IpAddr::V4(address) => self.chain.write(&address.octets()),
                std::net::IpAddr::V6(address) => self.chain.write(&address.octets()),
            }
        }
        match &packet.payload {
            Transport::Tcp(segment) => {
                let flags = segment.flags;
                let flags = [
                    flags.syn, flags.ack, flags.fin, flags.rst, flags.psh, flags.urg,
                ];
                for number in [
                    u32::from(segment.src_port),
                    u32::from(segment.dst_port),
                    segment.seq,
                    segment.ack,
                ] {
                    self.chain.write_u32(number);
                }
                self.chain.write(&flags.map(u8::from));
                self.chain.write_u16(segment.window);
                self.chain.write(&segment.payload);
            }
            Transport::Udp(datagram) => {
                self.chain.write_u16(datagram.src_port);
                self.chain.write_u16(datagram.dst_port);
                self.chain.write(&datagram.payload);
            }
        }
    }

    /// Ends the seconds that have passed; whether one has.
    pub(super) fn checkpoint(&mut self, now: Duration, draws: u64) -> bool {
        let before = self.checkpoints.len();
        while now >= self.next_checkpoint {
            self.chain.write_u64(draws);
            self.checkpoints.push(self.chain.finish());
            self.next_checkpoint += CHECKPOINT;
        }
        self.checkpoints.len() > before
    }

    /// The whole run so far, as one number.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.chain.finish()
    }

    /// The chain after each second.
    #[must_use]
    pub fn checkpoints(&self) -> &[u64] {
        &self.checkpoints
    }

    /// The last events, oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Packets that were sent.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    fn time(&mut self, at: Duration) {
        self.chain.write_u64(at.as_secs());
        self.chain.write_u32(at.subsec_nanos());
    }
}

// === impl Event ===

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10.3} {:<24} {}",
            self.at.as_secs_f64(),
            self.at_host,
            self.what
        )
    }
}
