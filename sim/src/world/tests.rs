use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use tiergate_data_plane::net::{Listener as _, Net as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::*;

mod tier;

const SECOND: Duration = Duration::from_secs(1);
const SERVER: &str = "10.244.1.2";
const CLIENT: &str = "10.244.2.2";
const VIP: &str = "10.0.0.254";

/// What the hosts of a test saw, in order.
type Seen = Rc<RefCell<Vec<String>>>;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    SocketAddr::new(ip(text), 80)
}

struct Pair {
    world: World,
    server: HostId,
    client: HostId,
    seen: Seen,
}

/// A server and a client that are off.
fn pair(seed: u64) -> Pair {
    let mut world = World::new(Options::new(seed));
    let (server, client) = (world.add_host("server"), world.add_host("client"));
    world.assign(ip(SERVER), server).unwrap();
    world.assign(ip(CLIENT), client).unwrap();
    Pair {
        world,
        server,
        client,
        seen: Seen::default(),
    }
}

/// Answers every byte with itself.
async fn echo(address: SocketAddr) {
    let mut listener = SimNet.bind(address).await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await;
        tokio::task::spawn_local(async move {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                if stream.write_all(&bytes[..count]).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn ask(stream: &mut SimStream) -> io::Result<()> {
    stream.write_all(b"x").await?;
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).await.map(drop)
}

fn word(result: &Result<io::Result<()>, tokio::time::error::Elapsed>) -> String {
    match result {
        Ok(Ok(())) => "answered".to_owned(),
        Ok(Err(error)) => format!("{:?}", error.kind()),
        Err(_) => "silence".to_owned(),
    }
}

impl Pair {
    fn start_echo(&mut self) {
        self.world.start(self.server, echo(at(SERVER))).unwrap();
    }

    /// The client asks once on a new connection, waits for as long, and asks again on the same one.
    fn ask_twice(&mut self, pause: Duration) {
        let seen = self.seen.clone();
        let asking = async move {
            let connected = timeout(SECOND, SimNet.connect(at(SERVER), None)).await;
            let mut stream = match connected {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return seen.borrow_mut().push(format!("{:?}", error.kind())),
                Err(_) => return seen.borrow_mut().push("silence".to_owned()),
            };
            for _ in 0..2 {
                let asked = timeout(5 * SECOND, ask(&mut stream)).await;
                seen.borrow_mut().push(word(&asked));
                sleep(pause).await;
            }
        };
        self.world.start(self.client, asking).unwrap();
    }

    fn seen(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }
}

#[test]
fn a_host_answers_another_one() {
    let mut pair = pair(1);
    pair.start_echo();
    pair.ask_twice(SECOND);
    pair.world.run_for(3 * SECOND);
    assert_eq!(pair.seen(), ["answered", "answered"]);
    assert_eq!(pair.world.now(), 3 * SECOND);
}

#[test]
fn a_port_that_nobody_has_is_refused_and_a_host_that_is_off_is_silent() {
    let mut refusing = pair(1);
    refusing
        .world
        .start(refusing.server, async { sleep(100 * SECOND).await })
        .unwrap();
    refusing.ask_twice(SECOND);
    refusing.world.run_for(3 * SECOND);
    assert_eq!(refusing.seen(), ["ConnectionRefused"]);
    drop(refusing);

    let mut silent = pair(1);
    silent.ask_twice(SECOND);
    silent.world.run_for(3 * SECOND);
    assert_eq!(silent.seen(), ["silence"]);
}

/// What a client sees on a connection whose server ends in this way between two questions.
fn second_answer(end: impl FnOnce(&mut Pair)) -> String {
    let mut pair = pair(1);
    pair.start_echo();
    pair.ask_twice(2 * SECOND);
    pair.world.run_for(SECOND);
    end(&mut pair);
    pair.world.run_for(10 * SECOND);
    let seen = pair.seen();
    assert_eq!(seen.first().map(String::as_str), Some("answered"));
    seen.last().cloned().unwrap_or_default()
}

#[test]
fn a_killed_process_closes_its_connections_and_lost_power_does_not() {
    assert_eq!(second_answer(|_| {}), "answered");
    let killed = second_answer(|pair| pair.world.kill(pair.server));
    assert!(
        ["UnexpectedEof", "ConnectionReset", "BrokenPipe"].contains(&killed.as_str()),
        "{killed}"
    );
    assert_eq!(
        second_answer(|pair| pair.world.power_off(pair.server)),
        "silence"
    );
}

#[test]
fn a_host_that_was_booted_anew_knows_no_connection_of_before() {
    let answer = second_answer(|pair| {
        pair.world.power_off(pair.server);
        pair.start_echo();
    });
    assert_eq!(answer, "ConnectionReset");
}

#[test]
fn a_host_that_hangs_answers_when_it_goes_on_and_its_clock_has_run() {
    assert_eq!(
        second_answer(|pair| pair.world.hang(pair.server, true)),
        "silence"
    );
    let mut pair = pair(1);
    let seen = pair.seen.clone();
    let counting = async move {
        loop {
            sleep(SECOND).await;
            seen.borrow_mut()
                .push(clock::elapsed().as_secs().to_string());
        }
    };
    pair.world.start(pair.server, counting).unwrap();
    pair.world.run_for(7 * SECOND / 2);
    pair.world.hang(pair.server, true);
    pair.world.run_for(10 * SECOND);
    pair.world.hang(pair.server, false);
    pair.world.run_for(5 * SECOND / 2);
    assert_eq!(pair.seen(), ["1", "2", "3", "13", "14", "15"]);
}

#[test]
fn what_was_sent_in_a_partition_arrives_when_it_heals() {
    let mut pair = pair(1);
    pair.start_echo();
    pair.ask_twice(2 * SECOND);
    pair.world.run_for(SECOND);
    let cut = pair
        .world
        .network()
        .add(|_: &Packet, _: &mut SmallRng| Verdict::Drop);
    pair.world.run_for(4 * SECOND);
    assert_eq!(pair.seen(), ["answered"]);
    assert!(pair.world.network().lost() > 0);
    pair.world.network().remove(cut);
    pair.world.run_for(SECOND);
    assert_eq!(pair.seen(), ["answered", "answered"]);
}

#[test]
fn packets_that_are_lost_late_or_twice_do_no_harm_to_what_is_read() {
    let mut pair = pair(3);
    pair.start_echo();
    pair.world.network().add(|_: &Packet, rng: &mut SmallRng| {
        match rand::Rng::random_range(rng, 0..10) {
            0 => Verdict::Drop,
            1 => Verdict::Duplicate,
            2 => Verdict::Delay(Duration::from_millis(20)),
            _ => Verdict::Pass,
        }
    });
    let seen = pair.seen.clone();
    let asking = async move {
        let mut stream = SimNet.connect(at(SERVER), None).await.unwrap();
        for number in 0..200_u32 {
            stream.write_all(&number.to_be_bytes()).await.unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(u32::from_be_bytes(answer), number);
        }
        seen.borrow_mut().push("all".to_owned());
    };
    pair.world.start(pair.client, asking).unwrap();
    let seen = pair.seen.clone();
    assert!(
        pair.world
            .run_until(120 * SECOND, |_| !seen.borrow().is_empty())
    );
}

/// turmoil-net alone would stop the sender for ever: it tells of room only after a read of half of its buffer.
#[test]
fn a_reader_of_small_pieces_gets_everything() {
    const ALL: usize = 400_000;
    let mut pair = pair(1);
    let reading = async {
        let mut listener = SimNet.bind(at(SERVER)).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        sleep(SECOND).await;
        let (mut count, mut bytes) = (0, [0; 100]);
        while let Ok(more @ 1..) = stream.read(&mut bytes).await {
            count += more;
        }
        assert_eq!(count, ALL);
        stream.write_all(b"all").await.unwrap();
    };
    pair.world.start(pair.server, reading).unwrap();
    let seen = pair.seen.clone();
    let writing = async move {
        let mut stream = SimNet.connect(at(SERVER), None).await.unwrap();
        stream.write_all(&vec![7; ALL]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        seen.borrow_mut().push(answer);
    };
    pair.world.start(pair.client, writing).unwrap();
    let seen = pair.seen.clone();
    assert!(
        pair.world
            .run_until(30 * SECOND, |_| !seen.borrow().is_empty())
    );
    assert_eq!(pair.seen(), ["all"]);
}

/// turmoil-net alone would take what comes for a closed socket until its buffer is full, and say nothing.
#[test]
fn whoever_sends_to_a_closed_connection_is_told() {
    let mut pair = pair(1);
    let closing = async {
        let mut listener = SimNet.bind(at(SERVER)).await.unwrap();
        let (mut stream, _) = listener.accept().await;
        stream.read_exact(&mut [0; 1]).await.unwrap();
        drop(stream);
        sleep(1_000 * SECOND).await;
    };
    pair.world.start(pair.server, closing).unwrap();
    let seen = pair.seen.clone();
    let writing = async move {
        let mut stream = SimNet.connect(at(SERVER), None).await.unwrap();
        let result = loop {
            match timeout(10 * SECOND, stream.write_all(&[7; 1000])).await {
                Ok(Ok(())) => sleep(Duration::from_millis(10)).await,
                other => break word(&other),
            }
        };
        seen.borrow_mut().push(result);
    };
    pair.world.start(pair.client, writing).unwrap();
    pair.world.run_for(20 * SECOND);
    let seen = pair.seen();
    assert!(
        ["ConnectionReset", "BrokenPipe"].contains(&seen[0].as_str()),
        "{seen:?}"
    );
}

#[test]
fn an_address_can_move_and_the_new_owner_refuses_old_connections() {
    let mut world = World::new(Options::new(1));
    let seen = Seen::default();
    let (one, two, client) = (
        world.add_host("one"),
        world.add_host("two"),
        world.add_host("client"),
    );
    for (host, address) in [(one, "10.0.0.1"), (two, "10.0.0.2"), (client, CLIENT)] {
        world.assign(ip(address), host).unwrap();
    }
    world.assign(ip(VIP), one).unwrap();
    let unspecified: SocketAddr = "0.0.0.0:80".parse().unwrap();
    world.start(one, echo(unspecified)).unwrap();
    world.start(two, echo(unspecified)).unwrap();
    let saw = seen.clone();
    let asking = async move {
        let mut old = SimNet.connect(at(VIP), None).await.unwrap();
        for _ in 0..2 {
            let mut new = SimNet.connect(at(VIP), None).await.unwrap();
            for stream in [&mut old, &mut new] {
                let asked = timeout(SECOND, ask(stream)).await;
                saw.borrow_mut().push(word(&asked));
            }
            sleep(2 * SECOND).await;
        }
    };
    world.start(client, asking).unwrap();
    world.run_for(SECOND);
    world.assign(ip(VIP), two).unwrap();
    assert_eq!(world.owner(ip(VIP)), Some(two));
    world.run_for(5 * SECOND);
    assert_eq!(
        *seen.borrow(),
        ["answered", "answered", "ConnectionReset", "answered"]
    );
}

#[test]
fn a_server_binds_the_addresses_that_its_host_has_and_no_others() {
    let mut pair = pair(1);
    pair.world.assign(ip(VIP), pair.server).unwrap();
    let seen = pair.seen.clone();
    let binding = async move {
        let of_vip = SimNet.bind(at(VIP)).await.unwrap();
        seen.borrow_mut()
            .push(of_vip.local_addr().unwrap().to_string());
        // The same port of another address of this host is free.
        SimNet.bind(at(SERVER)).await.unwrap();
        let foreign = SimNet.bind(at(CLIENT)).await.unwrap_err();
        seen.borrow_mut().push(format!("{:?}", foreign.kind()));
        let taken = SimNet.bind(at(VIP)).await.unwrap_err();
        seen.borrow_mut().push(format!("{:?}", taken.kind()));
    };
    pair.world.start(pair.server, binding).unwrap();
    pair.world.run_for(SECOND);
    assert_eq!(
        pair.seen(),
        ["10.0.0.254:80", "AddrNotAvailable", "AddrInUse"]
    );
}

#[test]
fn each_host_has_a_clock_of_its_own() {
    let mut pair = pair(1);
    let skew = Skew {
        rate: 1.25,
        offset_ms: -3_600_000,
    };
    pair.world.skew(pair.server, skew);
    for host in [pair.server, pair.client] {
        let seen = pair.seen.clone();
        let telling = async move {
            let begun = Instant::now();
            sleep(10 * SECOND).await;
            let now = crate::clock::wall_now();
            seen.borrow_mut()
                .push(format!("{now:.0} {}", begun.elapsed().as_secs()));
        };
        pair.world.start(host, telling).unwrap();
    }
    pair.world.run_for(9 * SECOND);
    // Ten of its seconds have passed where the clock is fast.
    assert_eq!(pair.seen(), ["2025-12-31T23:00:10Z 10"]);
    pair.world.run_for(2 * SECOND);
    assert_eq!(pair.seen()[1], "2026-01-01T00:00:10Z 10");
}

/// A run with some of everything: its digest, its checkpoints, and what hash maps and keys were seeded with.
fn a_run(seed: u64) -> (u64, Vec<u64>, u64) {
    let mut pair = pair(seed);
    pair.start_echo();
    pair.world.network().add(|_: &Packet, rng: &mut SmallRng| {
        if rand::Rng::random_ratio(rng, 1, 20) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    });
    pair.ask_twice(2 * SECOND);
    pair.world.run_for(3 * SECOND);
    pair.world.kill(pair.server);
    pair.start_echo();
    pair.ask_twice(SECOND);
    pair.world.run_for(5 * SECOND);
    let state = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1);
    (
        pair.world.trace().digest(),
        pair.world.trace().checkpoints().to_vec(),
        state,
    )
}

/// On a thread of its own, as each run is: std seeds its hash maps once for each thread.
fn on_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let first = on_a_thread(|| a_run(7));
    assert_eq!(first.1.len(), 8);
    assert_eq!(on_a_thread(|| a_run(7)), first);
    let other = on_a_thread(|| a_run(8));
    assert_ne!(other.0, first.0);
    assert_ne!(other.2, first.2);
}

#[test]
fn keys_and_ids_come_from_the_seed_on_a_thread_with_a_world_and_from_the_kernel_on_others() {
    let key = || {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .unwrap()
            .serialize_der()
    };
    let in_a_world = |seed| {
        on_a_thread(move || {
            let _world = World::new(Options::new(seed));
            (key(), uuid_like())
        })
    };
    assert_eq!(in_a_world(1), in_a_world(1));
    assert_ne!(in_a_world(1), in_a_world(2));
    assert_ne!(key(), key());
    assert_ne!(uuid_like(), uuid_like());
}

/// Sixteen bytes as crates that make ids ask for them.
fn uuid_like() -> [u8; 16] {
    let mut bytes = [0; 16];
    rand::TryRngCore::try_fill_bytes(&mut rand::rngs::OsRng, &mut bytes).unwrap();
    bytes
}

#[test]
fn kernels_go_back_to_the_pool_and_a_full_pool_is_told() {
    let mut options = Options::new(1);
    options.kernels = 2;
    let mut world = World::new(options);
    let hosts = [
        world.add_host("a"),
        world.add_host("b"),
        world.add_host("c"),
    ];
    world
        .start(hosts[0], async { sleep(SECOND).await })
        .unwrap();
    world
        .start(hosts[1], async { sleep(SECOND).await })
        .unwrap();
    assert_eq!(
        world.start(hosts[2], async { sleep(SECOND).await }),
        Err(Full::Kernels(2))
    );
    world.kill(hosts[0]);
    world.run_for(2 * SECOND);
    for _ in 0..10 {
        world
            .start(hosts[2], async { sleep(SECOND).await })
            .unwrap();
        world.run_for(2 * SECOND);
        world.power_off(hosts[2]);
        world.run_for(2 * SECOND);
    }
}
