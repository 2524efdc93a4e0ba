//! The simulated world: hosts with clocks of their own, and the packets between them, from a seed.
//!
//! Everything of a world runs on one thread. Each host has a tokio runtime whose time stands still; a step lets the same time pass on each of them, one
//! after another in an order that the seed gives, and then moves packets. Kernels and their TCP are turmoil-net's (docs/adr/0038-the-simulated-world.md); hosts,
//! clocks and the way between the kernels are here. Nothing asks the machine that it runs on for the time or for chance (`interpose`), so the same seed
//! gives the same run, byte for byte.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngCore as _, SeedableRng as _};
use turmoil_net::{EnterGuard, KernelConfig, Packet};

pub mod clock;
mod host;
mod interpose;
mod kernels;
mod network;
mod sockets;
mod trace;

#[cfg(test)]
mod tests;

pub use self::clock::Skew;
pub use self::kernels::Full;
pub use self::network::{Network, Rule, RuleId, Verdict};
pub use self::sockets::{SimListener, SimNet, SimStream};
pub use self::trace::{Event, Trace};

use self::host::Host;
use self::interpose::Interposed;
use self::kernels::{Arrival, Kernels};
use self::sockets::Switchboard;

/// Bytes that a kernel keeps for a reader.
const RECEIVE_BUFFER: usize = 16 << 10;
/// A packet's greatest size. As on loopback: a real one's 1,500 would only make more packets of the same bytes.
const MTU: u32 = 16 << 10;
/// How long TCP waits for an answer before it sends again: Linux's least.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);
/// How often it sends again before it gives up: after some 200 s, Linux after 924. No wait of the tiers or of Kubernetes between the two decides anything.
const RETRANSMITS_MAX: u32 = 1_000;

/// One of the hosts of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(usize);

/// How a world is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// How many processes can run or be on their way out at once.
    pub kernels: usize,
    /// The time that passes at once, whole milliseconds. Packets leave and arrive at its ends: a longer one is faster to run, and coarser.
    pub step: Duration,
}

/// A world, on this thread. A thread has one at a time.
#[derive(Debug)]
pub struct World {
    hosts: Vec<Host>,
    board: Rc<RefCell<Switchboard>>,
    network: Network,
    now: Duration,
    step: Duration,
    rng: SmallRng,
    trace: Trace,
    /// What left the kernels in this step, kept for its room.
    leaving: Vec<Packet>,
    guard: Guard,
    interposed: Interposed,
}

/// turmoil-net's hold of the thread.
struct Guard(EnterGuard);

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

// === impl Options ===

impl Options {
    /// With room for 128 processes, in steps of a millisecond.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            kernels: 128,
            step: Duration::from_millis(1),
        }
    }
}

// === impl World ===

impl World {
    /// An empty world, at the beginning of its time.
    ///
    /// # Panics
    /// When this thread has a world already.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let mut rng = SmallRng::seed_from_u64(options.seed);
        let interposed = Interposed::new(rng.next_u64());
        clock::leave(Duration::ZERO);
        // It counts passes, of which each step has one.
        let passes = RETRANSMIT_AFTER.as_nanos() / options.step.as_nanos().max(1);
        let config = KernelConfig::default()
            .recv_buf_cap(RECEIVE_BUFFER)
            .mtu(MTU)
            .retx_threshold(u32::try_from(passes).unwrap_or(u32::MAX).max(1))
            .retx_max(RETRANSMITS_MAX);
        let mut net = turmoil_net::Net::with_config(config);
        let board = Rc::new(RefCell::new(Switchboard {
            kernels: Kernels::new(&mut net, options.kernels),
            running: None,
            names: BTreeMap::new(),
        }));
        sockets::install(Some(board.clone()));
        Self {
            hosts: Vec::new(),
            board,
            network: Network::new(SmallRng::seed_from_u64(rng.next_u64())),
            now: Duration::ZERO,
            step: options.step,
            rng,
            trace: Trace::default(),
            leaving: Vec::new(),
            guard: Guard(net.enter()),
            interposed,
        }
    }

    /// Adds a host, which is off.
    pub fn add_host(&mut self, name: &str) -> HostId {
        self.hosts.push(Host::new(name.to_owned()));
        HostId(self.hosts.len() - 1)
    }

    /// Gives a host an address, also one that another host had.
    ///
    /// # Errors
    /// When the host has too many.
    pub fn assign(&mut self, address: IpAddr, host: HostId) -> Result<(), Full> {
        self.note(host, format!("has the address {address}"));
        self.board.borrow_mut().kernels.assign(address, host)
    }

    /// Takes an address away from whoever has it.
    pub fn unassign(&mut self, address: IpAddr) {
        let owner = self.owner(address);
        if let Some(host) = owner {
            self.note(host, format!("has the address {address} no more"));
        }
        self.board.borrow_mut().kernels.unassign(address);
    }

    /// Who has an address.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<HostId> {
        self.board.borrow().kernels.owner(address)
    }

    /// What a name stands for, for every host.
    pub fn name(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.board
            .borrow_mut()
            .names
            .insert(name.to_owned(), addresses);
    }

    /// Switches a host on: it runs `main` until that ends, it is killed, or its power goes. It begins without any connection.
    ///
    /// # Errors
    /// When too many processes run.
    pub fn start(
        &mut self,
        host: HostId,
        main: impl Future<Output = ()> + 'static,
    ) -> Result<(), Full> {
        self.kill(host);
        self.board.borrow_mut().kernels.boot(host)?;
        self.note(host, "starts".to_owned());
        if let Some(started) = self.hosts.get_mut(host.0) {
            started.start(main);
        }
        Ok(())
    }

    /// Ends what runs on a host, as SIGKILL does: its kernel closes the connections.
    pub fn kill(&mut self, host: HostId) {
        self.stop(host, true, "is killed");
    }

    /// Takes a host's power: nobody is told anything.
    pub fn power_off(&mut self, host: HostId) {
        self.stop(host, false, "loses its power");
    }

    /// Whether anything runs on a host.
    #[must_use]
    pub fn is_running(&self, host: HostId) -> bool {
        self.hosts.get(host.0).is_some_and(Host::is_running)
    }

    /// Stops a host's code, or lets it go on. Its clocks run all the time, and its kernel answers.
    pub fn hang(&mut self, host: HostId, is_hung: bool) {
        self.note(host, if is_hung { "hangs" } else { "goes on" }.to_owned());
        if let Some(host) = self.hosts.get_mut(host.0) {
            host.hang(is_hung);
        }
    }

    /// Sets a host's clocks.
    pub fn skew(&mut self, host: HostId, skew: Skew) {
        self.note(
            host,
            format!(
                "has a clock of rate {} and offset {} ms",
                skew.rate, skew.offset_ms
            ),
        );
        if let Some(host) = self.hosts.get_mut(host.0) {
            host.skew = skew;
        }
    }

    /// What happens to packets.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// What has happened.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Notes that something happened on a host.
    pub fn note(&mut self, host: HostId, what: String) {
        let name = self.hosts.get(host.0).map_or("?", |host| &host.name);
        self.trace.event(self.now, name, what);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step_once();
        }
    }

    /// Lets time pass until something is so, or for `limit`. Whether it is.
    pub fn run_until(&mut self, limit: Duration, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if is_so(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.step_once();
        }
    }

    fn step_once(&mut self) {
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        order.shuffle(&mut self.rng);
        for index in order {
            self.enter(HostId(index));
            if let Some(host) = self.hosts.get_mut(index) {
                host.run(self.step);
            }
        }
        self.now += self.step;
        self.leave();
        self.move_packets();
        if self.trace.checkpoint(self.now, self.interposed.draws()) {
            let overdue = self.board.borrow_mut().kernels.reap(self.now);
            self.forget(overdue);
        }
    }

    /// Takes what left the kernels, and gives them what has arrived.
    fn move_packets(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        self.guard.0.egress_all(&mut leaving);
        let board = self.board.borrow();
        for packet in leaving.drain(..) {
            if let Some(packet) = board.kernels.outbound(packet) {
                self.trace.packet(self.now, &packet);
                self.network.send(self.now, packet);
            }
        }
        self.leaving = leaving;
        while let Some(packet) = self.network.next_due(self.now) {
            match board.kernels.inbound(packet) {
                Arrival::At(packet) => self.guard.0.deliver(packet),
                Arrival::Refused { here, there } => {
                    self.guard.0.deliver(here);
                    self.network.send(self.now, there);
                }
                Arrival::Nowhere => {}
            }
        }
    }

    /// Makes kernels forget connections, by packets that only they see.
    fn forget(&self, resets: Vec<Packet>) {
        for packet in resets {
            self.guard.0.deliver(packet);
        }
    }

    fn stop(&mut self, host: HostId, speaks_on: bool, what: &str) {
        if !self.is_running(host) {
            return;
        }
        self.note(host, what.to_owned());
        // Its sockets close in its kernel; whether anybody hears of it is the question.
        self.enter(host);
        if let Some(host) = self.hosts.get_mut(host.0) {
            host.stop();
        }
        self.leave();
        let kernels = &mut self.board.borrow_mut().kernels;
        if speaks_on {
            kernels.release(host, self.now);
        } else {
            self.forget(kernels.silence(host, self.now));
        }
    }

    /// From here on sockets are those of this host.
    fn enter(&mut self, host: HostId) {
        let mut board = self.board.borrow_mut();
        board.running = Some(host);
        if let Some(id) = board.kernels.id(host) {
            self.guard.0.set_current(id);
        }
    }

    fn leave(&mut self) {
        self.board.borrow_mut().running = None;
        clock::leave(self.now);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Sockets that are dropped ask for turmoil-net, so all of them go before it does.
        for index in 0..self.hosts.len() {
            self.stop(HostId(index), false, "ends with its world");
        }
        sockets::install(None);
    }
}
