//! The reader against DNS servers that live in memory, in simulated time.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use domain::base::Message;
use domain::base::iana::Rcode;
use prometheus_client::registry::Registry;
use tiergate_data_plane::net::{Families, Listener, Net};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::message::tests::answered;
use super::plan::{NEGATIVE_TTL, PER_NAMESPACE_MAX};
use super::*;
use crate::watch::{self, News, Troubles};

/// What a server says of a name.
#[derive(Clone)]
enum Says {
    Records(Vec<(&'static str, u32, &'static str)>),
    Code(Rcode),
    Nothing,
}

/// A network with DNS servers at every address but one, which says nothing to anybody.
#[derive(Clone, Default)]
struct Zone {
    names: Arc<Mutex<BTreeMap<String, Says>>>,
    asked: Arc<Mutex<Vec<(SocketAddr, String)>>>,
}

struct NoListener;

const SILENT: &str = "10.0.0.1:53";
const SERVER: &str = "10.0.0.2:53";

impl Net for Zone {
    type Stream = DuplexStream;
    type Listener = NoListener;

    async fn bind(&self, _: SocketAddr) -> io::Result<NoListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, to: SocketAddr, _: Option<IpAddr>) -> io::Result<DuplexStream> {
        if to == SILENT.parse().unwrap() {
            std::future::pending::<()>().await;
        }
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(self.clone().serve(to, far));
        Ok(near)
    }

    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Listener for NoListener {
    type Stream = DuplexStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        std::future::pending().await
    }
}

impl Zone {
    fn says(&self, name: &str, says: Says) {
        self.names.lock().unwrap().insert(name.to_owned(), says);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn serve(self, at: SocketAddr, mut stream: DuplexStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await.unwrap();
            let message = Message::from_octets(question.as_slice()).unwrap();
            let name = message.sole_question().unwrap().qname().to_string();
            self.asked.lock().unwrap().push((at, name.clone()));
            let says = self.names.lock().unwrap().get(&name).cloned();
            let framed = [&length.to_be_bytes()[..], &question].concat();
            let answer = match says.unwrap_or(Says::Code(Rcode::NXDOMAIN)) {
                Says::Records(records) => answered(&framed, Rcode::NOERROR, &records),
                Says::Code(code) => answered(&framed, code, &[]),
                Says::Nothing => std::future::pending().await,
            };
            let length = u16::try_from(answer.len()).unwrap();
            let bytes = [&length.to_be_bytes()[..], &answer].concat();
            stream.write_all(&bytes).await.unwrap();
        }
    }
}

/// A reader, its DNS servers, and what it tells.
struct World {
    zone: Zone,
    names: tokio::sync::watch::Sender<Wanted>,
    news: mpsc::Receiver<News>,
    registry: Registry,
    _task: JoinSet<()>,
}

impl World {
    fn new(servers: &[&str]) -> Self {
        let (sender, news) = mpsc::channel(1024);
        let mut registry = Registry::default();
        let sinks = Sinks {
            metrics: watch::Metrics::register(&mut registry),
            troubles: Troubles::new([]),
            news: sender,
        };
        let metrics = Metrics::register(&mut registry);
        let zone = Zone::default();
        let servers = servers.iter().map(|text| text.parse().unwrap()).collect();
        let resolver = Resolver::new(zone.clone(), servers, Families::Both);
        let (names, receiver) = tokio::sync::watch::channel(Wanted::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(Reader::new(resolver, 7, metrics, sinks).run(receiver));
        Self {
            zone,
            names,
            news,
            registry,
            _task: tasks,
        }
    }

    fn want(&self, names: &[&str]) {
        let name = |text: &&str| {
            let name = ExternalName::parse(text, "shop").unwrap();
            ("shop".to_owned(), name)
        };
        self.names
            .send_replace(Arc::new(names.iter().map(name).collect()));
    }

    /// The next thing that it tells: the name, and what is known of it.
    async fn told(&mut self) -> (String, Option<Resolution>) {
        match self.news.recv().await.unwrap().change.unwrap() {
            Change::Resolve(name, resolution) => {
                (name.to_string(), resolution.map(|shared| (*shared).clone()))
            }
            other @ (Change::Apply(_) | Change::Delete(..) | Change::Replace(..)) => {
                panic!("{other:?} is not about a name")
            }
        }
    }

    async fn known(&mut self) -> Resolution {
        self.told().await.1.unwrap()
    }

    fn metric(&self, line: &str) {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        assert!(
            text.lines().any(|other| other == line),
            "no {line} in\n{text}"
        );
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_when_it_is_wanted_and_again_when_its_time_is_over() {
    let mut world = World::new(&[SERVER]);
    let records = vec![
        ("db.example.com", 60, "cdn.example.net"),
        ("cdn.example.net", 20, "93.184.215.14"),
        ("cdn.example.net", 20, "2606:2800:21f::1"),
    ];
    world.zone.says("db.example.com", Says::Records(records));
    world.want(&["db.example.com"]);
    let known = world.known().await;
    assert_eq!(
        known.addresses,
        addresses(&["93.184.215.14", "2606:2800:21f::1"])
    );
    assert_eq!(
        (known.aliases, known.trouble),
        (vec!["cdn.example.net".to_owned()], None)
    );
    let since = Instant::now();
    // It leads elsewhere now, as a name may at any time.
    let records = vec![("db.example.com", 60, "127.0.0.1")];
    world.zone.says("db.example.com", Says::Records(records));
    let known = world.known().await;
    assert_eq!(known.addresses, addresses(&["127.0.0.1"]));
    let waited = since.elapsed();
    assert!(
        waited > Duration::from_secs(17) && waited <= Duration::from_secs(20),
        "{waited:?}"
    );
    world.want(&[]);
    assert_eq!(world.told().await, ("db.example.com".to_owned(), None));
    let asked = world.zone.asked();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.zone.asked(), asked, "it is asked for no more");
    world.metric("external_name_lookups_total{result=\"answered\"} 2");
    world.metric("external_names 0");
}

#[tokio::test(start_paused = true)]
async fn while_dns_is_silent_the_last_addresses_are_kept_and_it_is_told() {
    let mut world = World::new(&[SERVER]);
    let records = vec![("db.example.com", 5, "93.184.215.14")];
    world
        .zone
        .says("db.example.com", Says::Records(records.clone()));
    world.want(&["db.example.com"]);
    let good = world.known().await;
    assert_eq!(good.trouble, None);
    for silence in [Says::Nothing, Says::Code(Rcode::SERVFAIL)] {
        world.zone.says("db.example.com", silence);
        for _ in 0..3 {
            let known = world.known().await;
            assert_eq!(known.addresses, good.addresses);
            assert_eq!(known.trouble, Some(Trouble::Unanswered));
        }
    }
    world.zone.says("db.example.com", Says::Records(records));
    assert_eq!(world.known().await, good);
    // That there is no such name is an answer.
    world
        .zone
        .says("db.example.com", Says::Code(Rcode::NXDOMAIN));
    let gone = world.known().await;
    assert_eq!(
        (gone.addresses.len(), gone.trouble),
        (0, Some(Trouble::NoSuchName))
    );
    let early = timeout(NEGATIVE_TTL.mul_f64(0.8), world.told()).await;
    assert!(early.is_err(), "{early:?}");
    world.metric("external_name_lookups_total{result=\"failed\"} 6");
    world.metric("external_name_lookups_total{result=\"missing\"} 1");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_passed_over() {
    let mut world = World::new(&[SILENT, SERVER]);
    let records = vec![("db.example.com", 60, "93.184.215.14")];
    world.zone.says("db.example.com", Says::Records(records));
    world.want(&["db.example.com"]);
    assert_eq!(world.known().await.addresses.len(), 1);
    let mut world = World::new(&[]);
    world.want(&["db.example.com"]);
    assert_eq!(world.known().await.trouble, Some(Trouble::Unanswered));
}

#[tokio::test(start_paused = true)]
async fn one_namespace_has_its_share_of_names_and_the_rest_are_told() {
    let mut world = World::new(&[SERVER]);
    let texts: Vec<String> = (0..PER_NAMESPACE_MAX + 1)
        .map(|number| format!("n{number:04}.example.com"))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    world.want(&texts);
    let (name, known) = world.told().await;
    assert_eq!(name, texts[PER_NAMESPACE_MAX]);
    assert_eq!(known.unwrap().trouble, Some(Trouble::TooMany));
    for _ in 0..PER_NAMESPACE_MAX {
        assert_eq!(world.known().await.trouble, Some(Trouble::NoSuchName));
    }
    world.metric("external_names_refused 1");
    // One less, and the last has its turn.
    world.want(&texts[1..]);
    let mut told = [world.told().await, world.told().await];
    told.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(told[0], (texts[0].to_owned(), None));
    assert_eq!(told[1].0, texts[PER_NAMESPACE_MAX]);
    world.metric("external_names_refused 0");
}
