//! Endpoints that fail again and again are left alone for a while, and no longer than that.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tiergate_data_plane::config::Config;

use crate::harness::client::get;
use crate::harness::endpoint::{Endpoint, Peer, nobody, scripted};
use crate::harness::{Proxy, config, new_pods, proxy, run, table_of};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
const EJECTIONS: &str = "tiergate_endpoint_ejections_total{tenant=\"team\"}";
const EJECTED: &str = "tiergate_endpoints_ejected";

/// An endpoint that resets each connection while it is broken, and answers with this status otherwise.
async fn breakable(is_broken: &Rc<Cell<bool>>, status: u16) -> Endpoint {
    let is_broken = is_broken.clone();
    scripted(move |mut peer: Peer| {
        let is_broken = is_broken.clone();
        async move {
            while peer.receive().await.is_some() {
                if is_broken.get() {
                    return;
                }
                let head = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
                peer.wire.send(head).await;
            }
        }
    })
    .await
}

async fn well() -> Endpoint {
    breakable(&Rc::default(), 200).await
}

/// After three failures, for as long as no test waits.
fn strict() -> Config {
    let mut config = config();
    config.ejection.failures = 3;
    config.ejection.time = Duration::from_secs(600);
    config.ejection.time_max = Duration::from_secs(600);
    config
}

async fn ask(proxy: &Proxy, request: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(get(proxy.http, request).await.status);
    }
    statuses
}

fn addresses(endpoints: &[&Endpoint]) -> Vec<SocketAddr> {
    endpoints.iter().map(|endpoint| endpoint.address).collect()
}

#[test]
fn an_endpoint_that_closes_before_it_answers_is_left_alone_also_by_the_next_table() {
    run(async {
        let is_broken = Rc::new(Cell::new(true));
        let (broken, well) = (breakable(&is_broken, 200).await, well().await);
        let all = addresses(&[&broken, &well]);
        let proxy = proxy(strict(), table_of(&all)).await;
        // Not sent again: each other one fails.
        let statuses = ask(&proxy, POST, 6).await;
        assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 3);
        assert_eq!(ask(&proxy, POST, 10).await, [200; 10]);
        assert_eq!(broken.received().len(), 3);
        assert!((proxy.sample(EJECTIONS) - 1.0).abs() < 0.1);
        assert!((proxy.sample(EJECTED) - 1.0).abs() < 0.1);
        // The same pods in another table: what is known of them stays.
        let further = self::well().await;
        let three = [all.clone(), vec![further.address]].concat();
        proxy.cell.publish(table_of(&three));
        assert_eq!(ask(&proxy, POST, 10).await, [200; 10]);
        assert_eq!(broken.received().len(), 3);
        // A new pod at its address is another endpoint.
        is_broken.set(false);
        new_pods();
        proxy.cell.publish(table_of(&all));
        assert_eq!(ask(&proxy, POST, 4).await, [200; 4]);
        assert_eq!(broken.received().len(), 5);
        proxy.until(EJECTED, 0.0).await;
    });
}

#[test]
fn a_dead_endpoint_costs_a_few_requests_a_try_and_then_none() {
    run(async {
        let well = well().await;
        let all = [nobody().await, well.address];
        let proxy = proxy(strict(), table_of(&all)).await;
        assert_eq!(ask(&proxy, GET, 40).await, [200; 40]);
        let failed = proxy.sample("tiergate_upstream_connects_total{result=\"failed\"}");
        assert!((failed - 3.0).abs() < 0.1, "{failed}");
    });
}

#[test]
fn after_its_time_an_endpoint_gets_requests_again() {
    run(async {
        let is_broken = Rc::new(Cell::new(true));
        let (broken, well) = (breakable(&is_broken, 200).await, well().await);
        let mut config = strict();
        config.ejection.time = Duration::from_millis(50);
        config.ejection.time_max = Duration::from_millis(50);
        let proxy = proxy(config, table_of(&addresses(&[&broken, &well]))).await;
        while proxy.sample(EJECTIONS) < 0.5 {
            ask(&proxy, POST, 1).await;
        }
        is_broken.set(false);
        let before = broken.received().len();
        while broken.received().len() == before {
            assert_eq!(ask(&proxy, POST, 1).await, [200]);
        }
        proxy.until(EJECTED, 0.0).await;
        assert!((proxy.sample(EJECTIONS) - 1.0).abs() < 0.1);
    });
}

#[test]
fn what_an_endpoint_answers_is_no_failure_of_it() {
    run(async {
        let (errors, well) = (breakable(&Rc::default(), 503).await, well().await);
        let proxy = proxy(strict(), table_of(&addresses(&[&errors, &well]))).await;
        let statuses = ask(&proxy, GET, 40).await;
        assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 20);
        assert!(proxy.sample(EJECTIONS) < 0.1);
    });
}

#[test]
fn with_most_endpoints_failing_all_are_asked() {
    run(async {
        let is_broken = Rc::new(Cell::new(true));
        let (one, two) = (
            breakable(&is_broken, 200).await,
            breakable(&is_broken, 200).await,
        );
        let well = well().await;
        let proxy = proxy(strict(), table_of(&addresses(&[&one, &two, &well]))).await;
        ask(&proxy, POST, 30).await;
        assert!((proxy.sample(EJECTIONS) - 2.0).abs() < 0.1);
        let arrived = one.received().len() + two.received().len();
        assert!(arrived > 10, "{arrived}");
        // So that they are found well as soon as they are.
        is_broken.set(false);
        assert_eq!(ask(&proxy, POST, 9).await, [200; 9]);
        assert_eq!(one.received().len() + two.received().len(), arrived + 6);
    });
}

#[test]
fn nobody_is_left_alone_where_that_is_switched_off() {
    run(async {
        let is_broken = Rc::new(Cell::new(true));
        let (broken, well) = (breakable(&is_broken, 200).await, well().await);
        let mut config = strict();
        config.ejection.is_on = false;
        let proxy = proxy(config, table_of(&addresses(&[&broken, &well]))).await;
        let statuses = ask(&proxy, POST, 40).await;
        assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 20);
        assert!(proxy.sample(EJECTIONS) < 0.1);
    });
}
