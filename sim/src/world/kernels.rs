//! Which kernel answers for which address.
//!
//! turmoil-net knows its hosts, and their addresses, before the first packet leaves. A cluster gives addresses to pods as they come, moves a VIP, and boots
//! a node anew with none of its connections. So the kernels here are a pool with addresses that nobody outside sees, and this table says, packet by packet,
//! who has which address at present. A process that starts gets a kernel that has nothing; one that ended leaves its kernel behind until its last
//! connection is closed; one whose node lost its power never says a word again.
//!
//! In: packets as kernels send them, and packets as they arrive. Out: the same with the addresses of the other side.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use turmoil_net::{Packet, TcpFlags, TcpSegment, Transport};

use super::HostId;

/// Addresses that one kernel can have at a time.
const ALIASES: usize = 8;
/// The first address of the first kernel. RFC 6598: no cluster gives such an address to a pod.
const FIRST: u32 = u32::from_be_bytes([100, 64, 0, 0]);

/// How long a kernel waits for the other end of a connection that nobody here holds (Linux: `tcp_fin_timeout`).
const LINGER_MAX: Duration = Duration::from_secs(60);

/// The number of a kernel of the pool.
pub(super) type Slot = usize;

/// Who has which kernel, and which address.
#[derive(Debug, Default)]
pub(super) struct Kernels {
    ids: Vec<turmoil_net::HostId>,
    /// Those without a connection, the longest unused first.
    free: VecDeque<Slot>,
    /// Those of processes that ended, whose connections are still being closed, and until when they may take.
    lingering: BTreeMap<Slot, Duration>,
    hosts: BTreeMap<HostId, Slot>,
    /// By address: who has it, and as which of its aliases.
    owners: BTreeMap<IpAddr, (HostId, usize)>,
    /// By kernel and alias, for the packets that leave. An ended process keeps its own.
    names: BTreeMap<(Slot, usize), IpAddr>,
    /// Connections of kernels whose process ended, by both ends as the network sees them.
    kept: BTreeMap<(SocketAddr, SocketAddr), Slot>,
    /// Connections that nobody holds any more, by both ends as their kernel sees them: what still comes for them is refused.
    dropped: BTreeSet<(SocketAddr, SocketAddr)>,
}

/// What becomes of a packet that has arrived.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A kernel gets it.
    At(Packet),
    /// Nobody holds the connection: the kernel and the peer forget it, by these packets.
    Refused {
        /// For the kernel.
        here: Packet,
        /// For who sent it, as the network sees it.
        there: Packet,
    },
    /// Nobody has the address, or who has it is off.
    Nowhere,
}

/// No kernel is free, or a host has too many addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// So many processes run or are being closed at once.
    #[error("all {0} kernels of the world are in use: give Options::kernels a greater number")]
    Kernels(usize),
    /// A host has at most eight.
    #[error("a host has at most {ALIASES} addresses at a time")]
    Addresses,
}

// === impl Kernels ===

impl Kernels {
    /// A pool of so many kernels in this network.
    pub(super) fn new(net: &mut turmoil_net::Net, count: usize) -> Self {
        let mut kernels = Self::default();
        for slot in 0..count {
            let addresses: Vec<_> = (0..ALIASES).map(|alias| inner(slot, alias)).collect();
            kernels.ids.push(net.add_host(addresses));
            kernels.free.push_back(slot);
        }
        kernels
    }

    /// The kernel of a host, for turmoil-net.
    pub(super) fn id(&self, host: HostId) -> Option<turmoil_net::HostId> {
        self.hosts
            .get(&host)
            .and_then(|slot| self.ids.get(*slot))
            .copied()
    }

    /// Gives a host that has none a kernel without any connection.
    pub(super) fn boot(&mut self, host: HostId) -> Result<(), Full> {
        let slot = self.free.pop_front().ok_or(Full::Kernels(self.ids.len()))?;
        self.names.retain(|(owner, _), _| *owner != slot);
        self.kept.retain(|_, kernel| *kernel != slot);
        self.hosts.insert(host, slot);
        for (address, (owner, alias)) in &self.owners {
            if *owner == host {
                self.names.insert((slot, *alias), *address);
            }
        }
        Ok(())
    }

    /// Takes the kernel of a host away, whose connections are closed in order from now on.
    pub(super) fn release(&mut self, host: HostId, now: Duration) {
        let Some(slot) = self.hosts.remove(&host) else {
            return;
        };
        for (local, peer) in connections(slot) {
            if let Some(name) = self.outer_of(local.ip()) {
                let local = SocketAddr::new(name, local.port());
                self.kept.insert((local, peer), slot);
            }
        }
        self.lingering.insert(slot, now + LINGER_MAX);
    }

    /// Takes the kernel of a host away. Nothing of it is heard again. Returns what makes it forget its connections.
    pub(super) fn silence(&mut self, host: HostId, now: Duration) -> Vec<Packet> {
        let Some(slot) = self.hosts.remove(&host) else {
            return Vec::new();
        };
        self.names.retain(|(owner, _), _| *owner != slot);
        self.lingering.insert(slot, now + LINGER_MAX);
        connections(slot)
            .map(|(local, peer)| reset(peer, local))
            .collect()
    }

    /// Nobody on the host that runs holds this connection any more.
    pub(super) fn drop_connection(&mut self, local: SocketAddr, peer: SocketAddr) {
        self.dropped.insert((local, peer));
    }

    /// Gives an address to a host, also one that another host had: the last one who was given it has it.
    pub(super) fn assign(&mut self, address: IpAddr, host: HostId) -> Result<(), Full> {
        self.unassign(address);
        let taken: BTreeSet<_> = self
            .owners
            .values()
            .filter(|(owner, _)| *owner == host)
            .map(|(_, alias)| *alias)
            .collect();
        let alias = (0..ALIASES)
            .find(|alias| !taken.contains(alias))
            .ok_or(Full::Addresses)?;
        self.owners.insert(address, (host, alias));
        if let Some(slot) = self.hosts.get(&host) {
            self.names.insert((*slot, alias), address);
        }
        Ok(())
    }

    /// Nobody has the address any more. Packets of connections that used it leave no host.
    pub(super) fn unassign(&mut self, address: IpAddr) {
        if let Some((host, alias)) = self.owners.remove(&address)
            && let Some(slot) = self.hosts.get(&host)
        {
            self.names.remove(&(*slot, alias));
        }
    }

    /// The host that has an address.
    pub(super) fn owner(&self, address: IpAddr) -> Option<HostId> {
        self.owners.get(&address).map(|(host, _)| *host)
    }

    /// What a host must bind to be reached at `address`: nothing, when it does not have it.
    pub(super) fn inner_of(&self, host: HostId, address: IpAddr) -> Option<IpAddr> {
        if address.is_unspecified() || address.is_loopback() {
            return Some(address);
        }
        let slot = self.hosts.get(&host)?;
        let (owner, alias) = self.owners.get(&address)?;
        (*owner == host).then(|| inner(*slot, *alias))
    }

    /// The address by which the network knows what a kernel calls `address`.
    pub(super) fn outer_of(&self, address: IpAddr) -> Option<IpAddr> {
        if address.is_unspecified() || address.is_loopback() {
            return Some(address);
        }
        self.names
            .get(&(slot_of(address)?, alias_of(address)))
            .copied()
    }

    /// A packet as the network sees it. Nothing: who sent it has no such address any more.
    pub(super) fn outbound(&self, mut packet: Packet) -> Option<Packet> {
        packet.src = self.outer_of(packet.src)?;
        Some(packet)
    }

    /// A packet that has arrived, as the kernel sees it that it is for.
    pub(super) fn inbound(&self, mut packet: Packet) -> Arrival {
        let (to, from) = ends(&packet);
        let Some(inner) = self.inner_at(to, from) else {
            return Arrival::Nowhere;
        };
        let local = SocketAddr::new(inner, to.port());
        if has_payload(&packet) && self.dropped.contains(&(local, from)) {
            return Arrival::Refused {
                here: reset(from, local),
                there: reset(to, from),
            };
        }
        packet.dst = inner;
        Arrival::At(packet)
    }

    /// The address of the kernel that a connection between these ends is in, or would be.
    fn inner_at(&self, to: SocketAddr, from: SocketAddr) -> Option<IpAddr> {
        if let Some(slot) = self.kept.get(&(to, from)) {
            return Some(inner(*slot, self.alias_kept(to, from)?));
        }
        let (owner, alias) = self.owners.get(&to.ip())?;
        Some(inner(*self.hosts.get(owner)?, *alias))
    }

    fn alias_kept(&self, local: SocketAddr, peer: SocketAddr) -> Option<usize> {
        let slot = self.kept.get(&(local, peer))?;
        let mut names = self.names.range((*slot, 0)..(*slot, ALIASES));
        names
            .find(|(_, name)| **name == local.ip())
            .map(|((_, alias), _)| *alias)
    }

    /// Puts kernels back whose last connection is closed, and forgets what is over. Returns what ends connections whose other end never answers.
    pub(super) fn reap(&mut self, now: Duration) -> Vec<Packet> {
        let mut overdue = Vec::new();
        let lingering: Vec<_> = self
            .lingering
            .iter()
            .map(|(slot, until)| (*slot, *until))
            .collect();
        for (slot, until) in lingering {
            let mut open = connections(slot).peekable();
            if open.peek().is_none() {
                self.lingering.remove(&slot);
                self.free.push_back(slot);
            } else if until <= now {
                overdue.extend(open.map(|(local, peer)| reset(peer, local)));
            }
        }
        let slots: BTreeSet<_> = self
            .dropped
            .iter()
            .filter_map(|(local, _)| slot_of(local.ip()))
            .collect();
        let open: BTreeSet<_> = slots.into_iter().flat_map(connections).collect();
        self.dropped.retain(|ends| open.contains(ends));
        overdue
    }
}

/// A packet that ends a connection at `to`, as if `from` had sent it.
fn reset(from: SocketAddr, to: SocketAddr) -> Packet {
    Packet {
        src: from.ip(),
        dst: to.ip(),
        ttl: 64,
        payload: Transport::Tcp(TcpSegment {
            src_port: from.port(),
            dst_port: to.port(),
            seq: 0,
            ack: 0,
            flags: TcpFlags {
                rst: true,
                ..TcpFlags::default()
            },
            window: 0,
            payload: Bytes::new(),
        }),
    }
}

fn has_payload(packet: &Packet) -> bool {
    match &packet.payload {
        Transport::Tcp(segment) => !segment.payload.is_empty(),
        Transport::Udp(_) => false,
    }
}

/// The address of a kernel that only it and this table know.
fn inner(slot: Slot, alias: usize) -> IpAddr {
    let number = u32::try_from(slot * ALIASES + alias).unwrap_or(u32::MAX);
    IpAddr::V4(Ipv4Addr::from_bits(FIRST + number))
}

fn number_of(inner: IpAddr) -> Option<usize> {
    let IpAddr::V4(address) = inner else {
        return None;
    };
    usize::try_from(address.to_bits().checked_sub(FIRST)?).ok()
}

fn slot_of(inner: IpAddr) -> Option<Slot> {
    number_of(inner).map(|number| number / ALIASES)
}

fn alias_of(inner: IpAddr) -> usize {
    number_of(inner).unwrap_or_default() % ALIASES
}

/// Both ends of every connection of a kernel, its own as the kernel calls it.
fn connections(slot: Slot) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
    let entries = turmoil_net::netstat(inner(slot, 0)).entries;
    entries
        .into_iter()
        .filter_map(|entry| Some((entry.local, entry.peer?)))
}

/// Where a packet goes to, and where it comes from.
pub(super) fn ends(packet: &Packet) -> (SocketAddr, SocketAddr) {
    let (from, to) = match &packet.payload {
        Transport::Tcp(segment) => (segment.src_port, segment.dst_port),
        Transport::Udp(datagram) => (datagram.src_port, datagram.dst_port),
    };
    (
        SocketAddr::new(packet.dst, to),
        SocketAddr::new(packet.src, from),
    )
}
