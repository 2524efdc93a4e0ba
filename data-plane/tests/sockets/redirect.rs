//! Who is sent to https, and what answers over https say about it.

use std::net::SocketAddr;
use std::time::Duration;

use tiergate_data_plane::config::Hsts;
use tiergate_data_plane::host::HostPattern;
use tiergate_data_plane::table::{
    Certificate, PathMatch, PathPolicy, Protocol, Redirect, Table, TableBuilder,
};

use crate::harness::client::{Client, Response, get, values};
use crate::harness::endpoint::{answering, echo};
use crate::harness::{Proxy, backend, config, owner, pattern, proxy, run};
use crate::tls::{Made, handshake, make};

fn of_path(redirect: Redirect) -> PathPolicy {
    PathPolicy {
        redirect,
        ..PathPolicy::default()
    }
}

/// What is asked of `a.example`; `b.example` asks for nothing.
fn table(redirect: Redirect, endpoint: SocketAddr, certificates: &[(&str, Certificate)]) -> Table {
    let mut builder = TableBuilder::new();
    let id = builder.backend(backend("app", Protocol::Http1, &[endpoint]));
    for (host, redirect) in [("a", redirect), ("b", Redirect::Never)] {
        let route = builder.route_of_path(owner("web"), id, of_path(redirect));
        let host = pattern(&format!("{host}.example"));
        let _ = builder.path(&host, PathMatch::Prefix, "/", route);
    }
    for (host, certificate) in certificates {
        let host = match *host {
            "" => HostPattern::Any,
            host => pattern(host),
        };
        builder.certificate(&host, Some(certificate.clone()));
    }
    builder.build()
}

fn request(host: &str, fields: &str) -> String {
    format!("GET /x/?a=b HTTP/1.1\r\nHost: {host}.example:8080\r\n{fields}\r\n")
}

async fn by_https(proxy: &Proxy, made: &Made, request: &str) -> Response {
    let tls13 = &rustls::version::TLS13;
    let stream = handshake(proxy.https, "a.example", &made.der, &[], tls13).await;
    let mut client = Client::of(stream.expect("a handshake"));
    client.send(request).await;
    client.response().await
}

#[test]
fn http_is_answered_with_the_same_url_by_https_where_https_answers() {
    run(async {
        let endpoint = echo().await;
        let certificate = make("a.example", 1).certificate;
        let of_a = [("a.example", certificate.clone())];
        let default = [("", certificate.clone())];
        let of_another = [("c.example", certificate)];
        for (redirect, certificates, has_https, status) in [
            (Redirect::WhereServed, &of_a[..], true, 308),
            (Redirect::WhereServed, &default, true, 308),
            (Redirect::WhereServed, &of_another, true, 200),
            (Redirect::WhereServed, &of_a, false, 200),
            (Redirect::Always, &[], false, 308),
            (Redirect::Never, &of_a, true, 200),
        ] {
            let mut config = config();
            if !has_https {
                config.https_addresses.clear();
            }
            let proxy = proxy(config, table(redirect, endpoint.address, certificates)).await;
            let case = format!("{redirect:?} {} {has_https}", certificates.len());
            let answer = get(proxy.http, &request("a", "")).await;
            assert_eq!(answer.status, status, "{case}");
            let location: &[&str] = match status {
                308 => &["https://a.example/x/?a=b"],
                _ => &[],
            };
            assert_eq!(values(&answer.head, "location"), location, "{case}");
            assert_eq!(
                get(proxy.http, &request("b", "")).await.status,
                200,
                "{case}"
            );
            let challenge = "GET /.well-known/acme-challenge/t HTTP/1.1\r\nHost: a.example\r\n\r\n";
            assert_eq!(get(proxy.http, challenge).await.status, 200, "{case}");
            // It is no error, and has a count of its own.
            let count = proxy.sample("tiergate_https_redirects_total{tenant=\"team\"}");
            let expected = if status == 308 { 1.0 } else { 0.0 };
            assert!((count - expected).abs() < 0.1, "{case}: {count}");
            assert!(
                !proxy.metrics().contains("\ntiergate_proxy_errors_total{"),
                "{case}"
            );
        }
    });
}

#[test]
fn a_client_cannot_say_for_itself_that_it_came_by_https() {
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table(Redirect::Always, endpoint.address, &[])).await;
        let forged = request("a", "X-Forwarded-Proto: https\r\n");
        assert_eq!(get(proxy.http, &forged).await.status, 308);
        // The body of a request that is sent elsewhere is read by nobody: the connection ends.
        let mut client = Client::connect(proxy.http).await;
        client
            .send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n")
            .await;
        let answer = client.response().await;
        assert_eq!(
            (answer.status, values(&answer.head, "connection")),
            (308, vec!["close"])
        );
        assert_eq!(endpoint.received().len(), 0);
    });
}

/// Whether the inner tier was told to trust the outer one decides who sends the client to https: never both, and never for ever.
#[test]
fn through_two_tiers_a_client_is_sent_to_https_once() {
    run(async {
        let endpoint = echo().await;
        let made = make("a.example", 1);
        let certificate = [("a.example", made.certificate.clone())];
        for (is_trusted, outer, inner, by_http) in [
            (true, Redirect::Never, Redirect::WhereServed, 308),
            (true, Redirect::Never, Redirect::Always, 308),
            (true, Redirect::WhereServed, Redirect::WhereServed, 308),
            (false, Redirect::Never, Redirect::WhereServed, 200),
            (false, Redirect::Never, Redirect::Always, 200),
            (false, Redirect::WhereServed, Redirect::Always, 308),
        ] {
            let mut config_inner = config();
            if is_trusted {
                config_inner.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
            }
            let behind = table(inner, endpoint.address, &certificate);
            let behind = proxy(config_inner, behind).await;
            let front = proxy(config(), table(outer, behind.http, &certificate)).await;
            let case = format!("{is_trusted} {outer:?} {inner:?}");
            let answer = get(front.http, &request("a", "")).await;
            assert_eq!(answer.status, by_http, "{case}");
            if by_http == 308 {
                let location = values(&answer.head, "location");
                assert_eq!(location, ["https://a.example/x/?a=b"], "{case}");
            }
            let answer = by_https(&front, &made, &request("a", "")).await;
            assert_eq!(answer.status, 200, "{case}: {}", answer.head);
        }
    });
}

#[test]
fn answers_over_https_say_so_unless_the_application_has() {
    const HSTS: &str = "strict-transport-security";
    run(async {
        let made = make("a.example", 1);
        let certificate = [("a.example", made.certificate.clone())];
        let plain = echo().await;
        let own =
            "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nContent-Length: 0\r\n\r\n";
        let own = answering(own).await;
        let mut config = config();
        config.trusted_proxies = vec!["127.0.0.2/32".parse().expect("an address")];
        for hsts in [None, Some("max-age=31536000; includeSubDomains; preload")] {
            config.hsts = hsts.map(|_| Hsts {
                max_age: Duration::from_secs(365 * 24 * 3600),
                includes_subdomains: true,
                preload: true,
            });
            let ours: Vec<&str> = hsts.into_iter().collect();
            for (endpoint, said) in [(&plain, &ours[..]), (&own, &["max-age=0"])] {
                let table = table(Redirect::Never, endpoint.address, &certificate);
                let proxy = proxy(config.clone(), table).await;
                let answer = by_https(&proxy, &made, &request("a", "")).await;
                assert_eq!(
                    (answer.status, values(&answer.head, HSTS)),
                    (200, said.to_vec())
                );
                let nobody = by_https(&proxy, &made, &request("nobody", "")).await;
                assert_eq!(
                    (nobody.status, values(&nobody.head, HSTS)),
                    (404, ours.clone())
                );
                // Over http, nobody may say it (RFC 6797 §7.2); a forged field is no https.
                let forged = request("a", "X-Forwarded-Proto: https\r\n");
                let answer = get(proxy.http, &forged).await;
                let of_app = if said == ours { &[][..] } else { said };
                assert_eq!(values(&answer.head, HSTS), of_app);
            }
        }
    });
}
