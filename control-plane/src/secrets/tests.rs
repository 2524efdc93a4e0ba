use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::watch::mock::{self, Call};
use crate::watch::{self, News, Troubles};

/// A reader with a refresh of 30 s, its API server, and what it tells.
struct World {
    calls: mpsc::Receiver<Call>,
    news: mpsc::Receiver<News>,
    names: tokio::sync::watch::Sender<Names>,
    registry: Registry,
    troubles: Troubles,
    _task: JoinSet<()>,
}

const REFRESH: Duration = Duration::from_secs(30);

impl World {
    fn new() -> Self {
        let (client, calls) = mock::client();
        let (sender, news) = mpsc::channel(64);
        let mut registry = Registry::default();
        let troubles = Troubles::new([Kind::Secret]);
        let sinks = Sinks {
            metrics: watch::Metrics::register(&mut registry),
            troubles: troubles.clone(),
            news: sender,
        };
        let metrics = Metrics::register(&mut registry);
        let (names, receiver) = tokio::sync::watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(Reader::new(client, REFRESH, 7, metrics, sinks).run(receiver));
        Self {
            calls,
            news,
            names,
            registry,
            troubles,
            _task: tasks,
        }
    }

    fn want(&self, names: &[&str]) {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        self.names.send_replace(Some(Arc::new(names)));
    }

    async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    async fn change(&mut self) -> Change {
        self.news.recv().await.unwrap().change.unwrap()
    }

    /// The names of the first change, each with why it cannot be used.
    async fn first(&mut self) -> Vec<String> {
        let change = self.change().await;
        let Change::Replace(Kind::Secret, objects) = change else {
            panic!("{change:?} is no list");
        };
        objects.iter().map(told).collect()
    }

    async fn applied(&mut self) -> String {
        match self.change().await {
            Change::Apply(object) => told(&object),
            other @ (Change::Delete(..) | Change::Replace(..) | Change::Resolve(..)) => {
                panic!("{other:?} is no new Secret")
            }
        }
    }

    fn assert_metric(&self, line: &str) {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        assert!(
            text.lines().any(|other| other == line),
            "no {line} in\n{text}"
        );
    }
}

fn told(object: &Object) -> String {
    let crate::objects::Content::Secret(secret) = &object.content else {
        panic!("{object:?} is no Secret");
    };
    match &secret.certificate {
        Ok(_) => object.name.to_string(),
        Err(error) => format!("{}: {error}", object.name),
    }
}

/// A TLS Secret without anything in it: that it was read can be told by what is missing.
fn secret(path: &str, version: &str) -> Value {
    secret_of_type(path, version, SECRET_TYPE)
}

fn secret_of_type(path: &str, version: &str, of_type: &str) -> Value {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap();
    let namespace = parts.nth(1).unwrap();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": of_type,
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": version},
    })
}

const A: &str = "/api/v1/namespaces/shop/secrets/a";
const READ: &str = "shop/a: it has no entry tls.crt in data";

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_before_names_are_known_and_nothing_without_names() {
    let mut world = World::new();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.calls.is_empty() && world.news.is_empty());
    world.want(&[]);
    assert!(world.first().await.is_empty());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.calls.is_empty() && world.news.is_empty());
    assert!(world.troubles.unread().is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_name_is_read_once_before_the_first_news_whatever_comes_of_it() {
    let mut world = World::new();
    world.want(&["shop/a", "shop/b", "shop/c", "shop/d"]);
    for _ in 0..4 {
        let call = world.call().await;
        assert!(!call.is_watch() && call.parameter("resourceVersion").is_none());
        assert!(world.news.is_empty());
        match call.path.clone().as_str() {
            A => call.object(&secret(A, "1")),
            "/api/v1/namespaces/shop/secrets/b" => call.refuse(404),
            "/api/v1/namespaces/shop/secrets/c" => call.refuse(403),
            other => call.object(&secret_of_type(other, "1", "Opaque")),
        }
    }
    assert_eq!(
        world.first().await,
        [
            READ,
            "shop/c: the API server does not let this tier read it"
        ]
    );
    for (result, count) in [("read", 1), ("missing", 2), ("forbidden", 1)] {
        world.assert_metric(&format!(
            "secret_reads_total{{result=\"{result}\"}} {count}"
        ));
    }
    world.assert_metric("secrets_named 4");
    world.assert_metric(r#"api_requests_forbidden_total{kind="Secret",verb="get"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_delays_the_start_by_ten_seconds_at_most() {
    let mut world = World::new();
    world.want(&["shop/a"]);
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        tokio::select! {
            Some(call) = world.calls.recv() => {
                tries += 1;
                drop(call);
            }
            Some(_) = world.news.recv() => break,
        }
    }
    assert_eq!(begun.elapsed().as_secs(), START_TIMEOUT.as_secs());
    assert!((3..20).contains(&tries), "{tries}");
    world.call().await.object(&secret(A, "1"));
    assert_eq!(world.applied().await, READ);
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_anew_in_time_and_told_of_only_when_it_has_changed() {
    let mut world = World::new();
    world.want(&["shop/a"]);
    world.call().await.object(&secret(A, "1"));
    world.first().await;
    for (version, is_news) in [("1", false), ("1", false), ("2", true), ("2", false)] {
        let begun = Instant::now();
        let call = world.call().await;
        let waited = begun.elapsed();
        assert!(
            (REFRESH - REFRESH / 10..=REFRESH).contains(&waited),
            "{waited:?}"
        );
        assert_eq!(call.parameter("resourceVersion"), Some("0"));
        call.object(&secret(A, version));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(!world.news.is_empty(), is_news, "{version}");
        while world.news.try_recv().is_ok() {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_name_is_read_at_once_and_a_forgotten_one_is_taken_back() {
    let mut world = World::new();
    world.want(&[]);
    world.first().await;
    world.want(&["shop/a"]);
    let begun = Instant::now();
    world.call().await.object(&secret(A, "1"));
    assert_eq!(world.applied().await, READ);
    assert!(begun.elapsed() <= PACE, "{:?}", begun.elapsed());
    world.want(&[]);
    let gone = Change::Delete(Kind::Secret, ObjectName::new("shop", "a"));
    assert_eq!(world.change().await, gone);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(world.calls.is_empty(), "nobody names it");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_kept_in_trouble_and_given_up_when_it_is_deleted() {
    let mut world = World::new();
    world.want(&["shop/a"]);
    world.call().await.object(&secret(A, "1"));
    world.first().await;
    for code in [500, 403, 403, 429, 401] {
        world.call().await.refuse(code);
    }
    drop(world.call().await);
    assert!(world.news.is_empty());
    assert_eq!(world.troubles.current().len(), 1);
    world.call().await.refuse(404);
    let gone = Change::Delete(Kind::Secret, ObjectName::new("shop", "a"));
    assert_eq!(world.change().await, gone);
    assert!(world.troubles.current().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_comes_late_is_found_soon() {
    let mut world = World::new();
    world.want(&["shop/a"]);
    let begun = Instant::now();
    for _ in 0..3 {
        world.call().await.refuse(404);
    }
    world.first().await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    // cert-manager has made it.
    world.call().await.object(&secret(A, "1"));
    while !matches!(world.change().await, Change::Apply(_)) {}
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

/// However many Ingresses a tenant has, and whatever they name.
#[tokio::test(start_paused = true)]
async fn thousands_of_names_make_no_storm_and_do_not_delay_those_of_others() {
    let mut world = World::new();
    let many: Vec<String> = (0..2000).map(|n| format!("noisy/{n:04}")).collect();
    let mut names: Vec<&str> = many.iter().map(String::as_str).collect();
    names.push("shop/a");
    world.want(&names);
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut place_of_a = None;
    while begun.elapsed() < Duration::from_secs(300) {
        tokio::select! {
            Some(call) = world.calls.recv() => {
                if call.path == A && place_of_a.is_none() {
                    place_of_a = Some(times.len());
                }
                times.push(begun.elapsed());
                let path = call.path.clone();
                call.object(&secret(&path, "1"));
            }
            Some(_) = world.news.recv() => {}
        }
    }
    assert!(
        place_of_a.unwrap() <= 1,
        "namespaces take turns: {place_of_a:?}"
    );
    let in_second = |second: u64| times.iter().filter(|at| at.as_secs() == second).count();
    let busiest = (0..300).map(in_second).max().unwrap();
    assert!(busiest <= 200, "{busiest} in one second");
    let later = times.iter().filter(|at| at.as_secs() >= 200).count();
    let rate = u32::try_from(later).unwrap() / 100;
    assert!(
        rate <= plan::REFRESHES_PER_SECOND_MAX * 11 / 10 + 1,
        "{rate} a second"
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_not_asked_for_every_name() {
    let mut world = World::new();
    let many: Vec<String> = (0..500).map(|n| format!("shop/{n}")).collect();
    world.want(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let begun = Instant::now();
    let mut calls = 0;
    while begun.elapsed() < Duration::from_secs(120) {
        tokio::select! {
            Some(call) = world.calls.recv() => {
                calls += 1;
                drop(call);
            }
            Some(_) = world.news.recv() => {}
        }
    }
    assert!(calls < 120, "{calls} in two minutes");
}
