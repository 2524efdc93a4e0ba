use std::time::Duration;

use tokio::time::sleep;

use super::mock::{self, Call, service};
use super::*;
use crate::scope::ObjectName;

/// A watch of Services in the namespace `shop`, its API server, and what it tells.
struct World {
    calls: mpsc::Receiver<Call>,
    news: mpsc::Receiver<News>,
    metrics: prometheus_client::registry::Registry,
    troubles: Troubles,
    _task: JoinSet<()>,
}

impl World {
    fn new() -> Self {
        let (client, calls) = mock::client();
        let (sender, news) = mpsc::channel(64);
        let mut metrics = prometheus_client::registry::Registry::default();
        let troubles = Troubles::new([Kind::Service]);
        let sinks = Sinks {
            metrics: Metrics::register(&mut metrics),
            troubles: troubles.clone(),
            news: sender,
        };
        let backoff = Backoff::new(derive_rng(7, "test"));
        let source = Source::new(Kind::Service, Some("shop"), backoff, sinks);
        let mut tasks = JoinSet::new();
        tasks.spawn(source.run(namespaced::<core::v1::Service>(client, Some("shop"))));
        Self {
            calls,
            news,
            metrics,
            troubles,
            _task: tasks,
        }
    }

    async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    /// Lists these and takes the news of it.
    async fn list(&mut self, items: &[serde_json::Value], version: &str) -> Vec<String> {
        self.call().await.list(items, version, "");
        self.listed().await
    }

    /// The next change. News that nothing has changed are passed over.
    async fn change(&mut self) -> Change {
        loop {
            if let Some(change) = self.news.recv().await.unwrap().change {
                return change;
            }
        }
    }

    async fn listed(&mut self) -> Vec<String> {
        let change = self.change().await;
        let Change::Replace(Kind::Service, objects) = change else {
            panic!("{change:?} is no list");
        };
        let names = objects.iter().map(|object| object.name.to_string());
        names.collect()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        text
    }

    fn assert_metric(&self, line: &str) {
        let text = self.text();
        assert!(
            text.lines().any(|other| other == line),
            "no {line} in\n{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_first_and_then_what_changes() {
    let mut world = World::new();
    let listed = world
        .list(&[service("a", "1", 80), service("b", "2", 80)], "5")
        .await;
    assert_eq!(listed, ["shop/a", "shop/b"]);
    let watch = world.call().await;
    assert_eq!(watch.path, "/api/v1/namespaces/shop/services");
    assert_eq!(watch.parameter("resourceVersion"), Some("5"));
    assert_eq!(watch.parameter("timeoutSeconds"), Some("25"));
    assert_eq!(watch.parameter("allowWatchBookmarks"), Some("true"));
    let watch = watch.watch();
    watch.event("ADDED", service("c", "6", 80)).await;
    watch.event("DELETED", service("a", "7", 80)).await;
    let made = world.news.recv().await.unwrap();
    let Some(Change::Apply(object)) = made.change else {
        panic!("c was made");
    };
    assert_eq!(object.name, ObjectName::new("shop", "c"));
    let version = |object, seen| Version {
        kind: Kind::Service,
        object,
        seen,
    };
    assert_eq!(made.version, Some(version(6, 6)));
    let gone = world.news.recv().await.unwrap();
    assert_eq!(
        gone.change,
        Some(Change::Delete(Kind::Service, ObjectName::new("shop", "a")))
    );
    assert_eq!(gone.version, Some(version(7, 7)));
    watch.bookmark("9").await;
    let nothing = world.news.recv().await.unwrap();
    assert_eq!(nothing.change, None);
    assert_eq!(nothing.version, Some(version(0, 9)));
    drop(watch);
    let next = world.call().await;
    assert_eq!(
        next.parameter("resourceVersion"),
        Some("9"),
        "it goes on from the last"
    );
    world.assert_metric(r#"watch_events_total{kind="Service",type="apply"} 1"#);
    world.assert_metric(r#"watch_events_total{kind="Service",type="delete"} 1"#);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_given_up_after_half_a_minute() {
    let mut world = World::new();
    world.list(&[], "5").await;
    let watch = world.call().await.watch();
    watch.bookmark("9").await;
    let begun = Instant::now();
    let next = world.call().await;
    let silent = begun.elapsed();
    assert!(
        silent >= Duration::from_secs(30) && silent < Duration::from_secs(31),
        "{silent:?}"
    );
    assert!(next.is_watch());
    assert_eq!(next.parameter("resourceVersion"), Some("9"));
    world.assert_metric(r#"watch_restarts_total{kind="Service",reason="silence"} 1"#);
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_never_starts_is_given_up_as_well() {
    let mut world = World::new();
    world.list(&[], "5").await;
    let unanswered = world.call().await;
    let begun = Instant::now();
    assert!(world.call().await.is_watch());
    assert!(begun.elapsed() < Duration::from_secs(31));
    drop(unanswered);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_leads_to_a_list_whether_told_as_answer_or_in_the_stream() {
    for code in [410, 504] {
        for in_stream in [false, true] {
            let mut world = World::new();
            world
                .list(&[service("a", "1", 80), service("b", "2", 80)], "5")
                .await;
            if in_stream {
                world.call().await.watch().error(code).await;
            } else {
                world.call().await.refuse(code);
            }
            let begun = Instant::now();
            let listed = world.list(&[service("b", "2", 80)], "20").await;
            assert_eq!(listed, ["shop/b"], "a was deleted meanwhile");
            assert!(begun.elapsed() < Duration::from_millis(250), "{code}");
            assert_eq!(world.call().await.parameter("resourceVersion"), Some("20"));
            world.assert_metric(r#"watch_restarts_total{kind="Service",reason="expired"} 1"#);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_that_are_answered_lead_to_a_list() {
    let mut world = World::new();
    world.list(&[], "5").await;
    for _ in 0..FAILURES_MAX {
        let watch = world.call().await;
        assert_eq!(watch.parameter("resourceVersion"), Some("5"));
        watch.refuse(500);
    }
    let list = world.call().await;
    assert!(!list.is_watch());
    assert_eq!(
        list.parameter("resourceVersion"),
        None,
        "the version is in doubt"
    );
    world.assert_metric(r#"watch_restarts_total{kind="Service",reason="failures_max"} 1"#);
}

/// An API server that restarts is asked by every tier at once: it must not have to list everything for each of them.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_comes_back_is_watched_from_the_last_version_within_five_seconds() {
    for away in [1, 20, 600] {
        let mut world = World::new();
        world.list(&[], "5").await;
        let watch = world.call().await.watch();
        watch.event("ADDED", service("c", "6", 80)).await;
        world.news.recv().await.unwrap();
        drop(watch);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(away) {
            // Every connection is refused.
            drop(world.call().await);
        }
        // Ready for requests, and it knows no roles yet.
        let back = Instant::now();
        world.call().await.refuse(403);
        let first = world.call().await;
        assert!(first.is_watch(), "{away}: listed without need");
        assert_eq!(first.parameter("resourceVersion"), Some("6"));
        assert!(
            back.elapsed() < Duration::from_secs(5),
            "{away}: {:?}",
            back.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_a_server_ends_early_come_back_one_by_one() {
    let mut delays = Vec::new();
    for _ in 0..2 {
        let mut world = World::new();
        world.list(&[], "5").await;
        let watch = world.call().await.watch();
        sleep(Duration::from_secs(3)).await;
        let begun = Instant::now();
        drop(watch);
        assert!(world.call().await.is_watch());
        delays.push(begun.elapsed());
    }
    assert!(delays[0] >= Duration::from_millis(100), "{delays:?}");
    assert!(delays[0] <= Duration::from_millis(200), "{delays:?}");
    assert_eq!(delays[0], delays[1], "the seed decides");
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_named_with_its_cure_and_asked_for_again_without_hurry() {
    const MESSAGE: &str = "services is forbidden: User \"system:serviceaccount:shop:ingress\" cannot list resource \"services\"";
    let mut world = World::new();
    let begun = Instant::now();
    let mut calls = 0;
    while begun.elapsed() < Duration::from_secs(600) {
        world.call().await.refuse_with(403, MESSAGE);
        calls += 1;
    }
    // The last of them has been taken in when the next is there.
    let next = world.call().await;
    assert!((20..50).contains(&calls), "{calls} in ten minutes");
    world.assert_metric(&format!(
        "api_requests_forbidden_total{{kind=\"Service\",verb=\"list\"}} {calls}"
    ));
    let told = world.troubles.unread()[&Kind::Service].clone();
    assert_eq!(told, world.troubles.current()["list Service"]);
    assert!(
        told.starts_with("the ServiceAccount shop/ingress may not list services in the namespace shop; grant it with: kubectl create role "),
        "{told}"
    );
    next.list(&[service("a", "1", 80)], "5", "");
    world.listed().await;
    assert!(world.troubles.unread().is_empty() && world.troubles.current().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_stands_ends_the_trouble_though_nothing_changes() {
    let mut world = World::new();
    world.list(&[], "5").await;
    world.call().await.refuse(403);
    let _stands = world.call().await.watch();
    assert!(!world.troubles.current().is_empty());
    sleep(Duration::from_secs(2)).await;
    assert!(world.troubles.current().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_makes_sure_asks_for_nothing_newer_than_what_is_known() {
    let mut world = World::new();
    let first = world.call().await;
    assert_eq!(first.parameter("resourceVersion"), None);
    first.list(&[], "5", "");
    world.listed().await;
    world.call().await.refuse(410);
    let second = world.call().await;
    assert!(!second.is_watch());
    assert_eq!(second.parameter("resourceVersion"), Some("5"));
    assert_eq!(
        second.parameter("resourceVersionMatch"),
        Some("NotOlderThan")
    );
    assert_eq!(
        second.parameter("limit"),
        None,
        "pages would come from etcd"
    );
    // The server does not know the version any more: whatever it has will do.
    second.refuse(410);
    let third = world.call().await;
    assert_eq!(third.parameter("resourceVersion"), None);
    assert_eq!(third.parameter("limit"), Some("500"));
}

#[tokio::test(start_paused = true)]
async fn all_objects_are_listed_anew_every_ten_minutes() {
    let mut world = World::new();
    let begun = Instant::now();
    world.list(&[], "5").await;
    loop {
        let call = world.call().await;
        if !call.is_watch() {
            break;
        }
        let watch = call.watch();
        sleep(Duration::from_secs(25)).await;
        drop(watch);
    }
    let interval = begun.elapsed();
    let tenth = RELIST_INTERVAL / 10;
    let allowed = RELIST_INTERVAL - tenth..=RELIST_INTERVAL + tenth + Duration::from_secs(25);
    assert!(allowed.contains(&interval), "{interval:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_is_tried_again_with_growing_waits_and_tells_nothing_meanwhile() {
    let mut world = World::new();
    let mut waits = Vec::new();
    for _ in 0..10 {
        let begun = Instant::now();
        world.call().await.refuse(503);
        waits.push(begun.elapsed());
    }
    assert!(world.news.is_empty());
    assert!(waits[1] <= Duration::from_millis(200), "{waits:?}");
    let last = waits[9];
    assert!(last >= DELAY_MAX / 2 && last <= DELAY_MAX, "{waits:?}");
    assert_eq!(world.list(&[service("a", "1", 80)], "5").await, ["shop/a"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_several_pages_is_one_piece_of_news() {
    let mut world = World::new();
    let first = world.call().await;
    assert_eq!(first.parameter("limit"), Some("500"));
    first.list(&[service("a", "1", 80)], "5", "page-2");
    let second = world.call().await;
    assert_eq!(second.parameter("continue"), Some("page-2"));
    second.list(&[service("b", "2", 80)], "5", "");
    assert_eq!(world.listed().await, ["shop/a", "shop/b"]);
}

/// Whatever a broken server answers, a watcher asks less than once a second on average.
#[tokio::test(start_paused = true)]
async fn no_answer_leads_to_a_loop_of_requests() {
    type Answer = fn(Call);
    let answers: [(&str, Answer); 4] = [
        ("ends every watch at once", |call| drop(call.watch())),
        ("says 410 to every watch", |call| call.refuse(410)),
        ("says 403 to every watch", |call| call.refuse(403)),
        ("closes every connection", drop),
    ];
    for (name, answer) in answers {
        let mut world = World::new();
        let begun = Instant::now();
        let mut requests = 0;
        while begun.elapsed() < Duration::from_secs(120) {
            tokio::select! {
                Some(call) = world.calls.recv() => {
                    requests += 1;
                    if call.is_watch() {
                        answer(call);
                    } else {
                        call.list(&[], "5", "");
                    }
                }
                Some(_) = world.news.recv() => {}
            }
        }
        assert!(
            (10..120).contains(&requests),
            "{requests} requests to a server that {name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_tier_makes_only_namespaced_requests_and_reads_only_tls_secrets() {
    let (client, mut calls) = mock::client();
    let (news, _news) = mpsc::channel(64);
    let sinks = Sinks {
        metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        troubles: Troubles::default(),
        news,
    };
    let mut scope = Scope {
        namespace: Some("shop".to_owned()),
        ..Scope::default()
    };
    let tasks = start(&client, &scope, 1, &sinks);
    let mut paths = Vec::new();
    for _ in 0..tasks.len() {
        let call = calls.recv().await.unwrap();
        if call.path.ends_with("/secrets") {
            assert_eq!(
                call.parameter("fieldSelector"),
                Some("type%3Dkubernetes.io%2Ftls")
            );
        }
        paths.push(call.path);
    }
    paths.sort();
    let expected = [
        "/api/v1/namespaces/shop/secrets",
        "/api/v1/namespaces/shop/services",
        "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
        "/apis/networking.k8s.io/v1/namespaces/shop/ingresses",
    ];
    assert_eq!(paths, expected);
    drop(tasks);

    scope.namespace = None;
    scope.reads_cluster_objects = true;
    let tasks = start(&client, &scope, 1, &sinks);
    let mut paths = Vec::new();
    while paths.len() < tasks.len() {
        paths.push(calls.recv().await.unwrap().path);
    }
    assert!(
        paths.contains(&"/apis/networking.k8s.io/v1/ingressclasses".to_owned())
            && paths.contains(&"/api/v1/namespaces".to_owned()),
        "{paths:?}"
    );
    assert!(
        paths.iter().all(|path| !path.contains("/namespaces/")),
        "{paths:?}"
    );
    drop(tasks);

    scope.secrets = Secrets::ByName {
        namespaces: ["kube-system".to_owned()].into(),
        refresh: Duration::from_secs(30),
    };
    let tasks = start(&client, &scope, 1, &sinks);
    assert_eq!(tasks.len(), 5);
    for _ in 0..5 {
        let path = calls.recv().await.unwrap().path;
        assert!(!path.contains("secrets"), "{path}");
    }
}
