//! The HTTP/2 connections to one endpoint: how many, who gets which, and what happens when one ends.

use std::rc::Rc;
use std::time::Duration;

use h2::Reason;
use h2::server::Builder;
use tiergate_data_plane::table::Protocol;

use crate::harness::client::get;
use crate::harness::http2::{answer, holding, scripted};
use crate::harness::{config, proxy, run, table, until};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n";

fn settings(streams_max: u32) -> Builder {
    let mut settings = Builder::new();
    settings.max_concurrent_streams(streams_max);
    settings
}

#[test]
fn a_burst_opens_the_connections_that_it_needs_and_no_more() {
    for (streams_max, requests, at_least, at_most) in [
        (128, 30, 1, 1),
        (128, 64, 1, 3),
        (4, 10, 3, 3),
        (1, 20, 20, 20),
    ] {
        run(async move {
            let endpoint = holding(settings(streams_max), move |most| most >= requests).await;
            let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
            let all = (0..requests).map(|_| get(proxy.http, GET));
            for response in futures::future::join_all(all).await {
                assert_eq!((response.status, response.text()), (200, "done"));
            }
            assert_eq!(endpoint.most(), requests, "none waits for another");
            let connections = endpoint.connections();
            assert!(
                (at_least..=at_most).contains(&connections),
                "{requests} requests, {streams_max} at a time: {connections} connections"
            );
        });
    }
}

#[test]
fn a_request_that_was_not_processed_is_sent_again_whatever_its_method() {
    for is_goaway in [true, false] {
        run(async move {
            let script = move |mut connection: crate::harness::http2::Http2, number| async move {
                let mut asked = 0;
                while let Some(Ok(request)) = connection.accept().await {
                    asked += 1;
                    if number > 0 || asked != 2 {
                        answer(request, "done");
                        continue;
                    }
                    let (_, mut respond) = request;
                    respond.send_reset(Reason::REFUSED_STREAM);
                    if is_goaway {
                        connection.graceful_shutdown();
                    }
                }
            };
            let first = scripted(Builder::new(), script).await;
            let second = scripted(Builder::new(), script).await;
            let endpoints = [first.address, second.address];
            let proxy = proxy(config(), table(Protocol::H2c, &endpoints)).await;
            for n in 0..8 {
                assert_eq!(get(proxy.http, POST).await.status, 200, "request {n}");
            }
        });
    }
}

#[test]
fn a_reset_that_says_nothing_of_processing_repeats_only_what_may_be_repeated() {
    run(async {
        let resets = |mut connection: crate::harness::http2::Http2, _| async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
        };
        let answers = |mut connection: crate::harness::http2::Http2, _| async move {
            while let Some(Ok(asked)) = connection.accept().await {
                answer(asked, "done");
            }
        };
        let broken = scripted(Builder::new(), resets).await;
        let whole = scripted(Builder::new(), answers).await;
        let endpoints = [broken.address, whole.address];
        let proxy = proxy(config(), table(Protocol::H2c, &endpoints)).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            assert_eq!(get(proxy.http, GET).await.status, 200);
            statuses.push(get(proxy.http, POST).await.status);
        }
        assert!(statuses.contains(&502), "{statuses:?}");
    });
}

#[test]
fn what_is_sent_again_is_what_was_sent() {
    run(async {
        let heads = Rc::new(std::cell::RefCell::new(Vec::new()));
        let log = heads.clone();
        let resets = move |mut connection: crate::harness::http2::Http2, _| {
            let log = log.clone();
            async move {
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let (head, _) = request.into_parts();
                    let target = format!("{} {} {:?}", head.method, head.uri, head.version);
                    log.borrow_mut().push((target, head.headers));
                    respond.send_reset(Reason::INTERNAL_ERROR);
                }
            }
        };
        let mut addresses = Vec::new();
        for _ in 0..3 {
            addresses.push(scripted(Builder::new(), resets.clone()).await.address);
        }
        let proxy = proxy(config(), table(Protocol::H2c, &addresses)).await;
        let request = "GET /a%2Fb?c=d HTTP/1.1\r\nHost: A.example:80\r\nX-Twice: one, two\r\nX-Empty:\r\n\
            X-Twice: \u{e9}: three\r\nTE: trailers\r\nCookie: a=1\r\n\r\n";
        assert_eq!(get(proxy.http, request).await.status, 502);
        let heads = heads.borrow();
        assert_eq!(heads.len(), 2);
        assert_eq!(heads[0].0, "GET http://A.example:80/a%2Fb?c=d HTTP/2.0");
        assert_eq!(heads[0].1.get_all("x-twice").iter().count(), 2);
        assert_eq!(heads[0].1["te"], "trailers");
        assert_eq!(heads[1], heads[0]);
    });
}

#[test]
fn an_idle_connection_is_closed_and_the_busy_one_kept() {
    run(async {
        let is_free = Rc::new(std::cell::Cell::new(false));
        let free = is_free.clone();
        let endpoint = holding(settings(128), move |_| free.get()).await;
        let mut config = config();
        config.timeouts.upstream_idle = Duration::from_millis(100);
        let proxy = proxy(config, table(Protocol::H2c, &[endpoint.address])).await;
        let open = "tiergate_upstream_connections";
        let many = (0..40).map(|_| get(proxy.http, GET));
        let many = tokio::task::spawn_local(futures::future::join_all(many));
        until(|| endpoint.most() == 40).await;
        proxy.until(open, 2.0).await;
        is_free.set(true);
        many.await.expect("no panic");
        proxy.until(open, 0.0).await;
    });
}
