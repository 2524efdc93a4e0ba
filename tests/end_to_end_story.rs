//! The story of `cargo demo`, as a client sees it: two tenants behind one address, and nothing between them.
//!
//! All tests share one cluster and only read it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::OnceLock;

use tiergate_tests::client::{Connection, Request, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::tls;

/// Tenant and application of every host that the story serves.
const STORY: [(&str, &str); 4] = [
    ("openstack", "keystone"),
    ("openstack", "horizon"),
    ("ceph", "rgw"),
    ("ceph", "dashboard"),
];

fn cluster() -> InTest<'static> {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| Cluster::start("story", &[]))
        .in_test()
}

fn host(tenant: &str, application: &str) -> String {
    format!("{application}.{tenant}.svc.cluster.local")
}

/// Addresses of the tier's pods in a namespace, with the port where they take requests.
fn tier_addresses(cluster: &Cluster, namespace: &str) -> Vec<SocketAddr> {
    let pods = cluster.tier_pods(namespace);
    assert!(!pods.is_empty(), "no tier in {namespace}");
    let address = |ip: &IpAddr| SocketAddr::new(*ip, 8080);
    pods.iter().map(address).collect()
}

#[test]
fn every_host_of_the_story_answers_over_http_from_its_own_tenant() {
    let cluster = cluster();
    for (tenant, application) in STORY {
        let response = cluster.get(&host(tenant, application), "/v3?a=b");
        assert_eq!(response.status, 200, "{application}: {}", response.text());
        assert_eq!(response.echo("namespace"), tenant);
        assert!(
            response.echo("pod").starts_with(application),
            "{}",
            response.text()
        );
        assert_eq!(response.echo("path"), "/v3");
        assert_eq!(response.echo("query"), "a=b");
    }
}

#[test]
fn every_host_of_the_story_answers_over_https_with_the_certificate_of_the_cluster_tier() {
    let cluster = cluster();
    let (secret, certificate) = cluster.default_certificate();
    for (tenant, application) in STORY {
        let host = host(tenant, application);
        let (mut connection, shown) = tls::open(cluster.https(), &host).expect("a handshake");
        assert_eq!(
            shown,
            tls::der(&certificate),
            "the certificate of {secret} for {host}"
        );
        let response = connection.send(&Request::get(&host, "/")).unwrap();
        assert_eq!(response.status, 200, "{host}: {}", response.text());
        assert_eq!(response.echo("namespace"), tenant);
        assert_eq!(response.seen_by_app("x-forwarded-proto"), ["https"]);
        assert_eq!(response.seen_by_app("x-forwarded-port"), ["443"]);
        assert!(
            names(&certificate, &host),
            "the certificate of {secret} names {host}"
        );
    }
}

/// Whether openssl finds the host in the certificate.
fn names(certificate: &str, host: &str) -> bool {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), certificate).expect("it can be written");
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-checkhost", host, "-in"])
        .arg(file.path())
        .output()
        .expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).contains("does match certificate")
}

#[test]
fn the_path_through_both_tiers_is_visible_to_the_application() {
    let cluster = cluster();
    let stream = TcpStream::connect(cluster.http()).unwrap();
    let ours = stream.local_addr().unwrap().ip();
    let request = Request::get(&host("openstack", "keystone"), "/");
    let response = Connection::over(stream).send(&request).unwrap();
    let via = response.seen_by_app("via").join(", ");
    assert_eq!(via, "1.1 tiergate-cluster, 2.0 tiergate-namespace");

    let forwarded = response.seen_by_app("x-forwarded-for").join(", ");
    let addresses: Vec<IpAddr> = forwarded
        .split(", ")
        .map(|one| one.parse().unwrap())
        .collect();
    let [client, cluster_tier] = addresses[..] else {
        panic!("the client, then the cluster tier: {forwarded}");
    };
    assert_eq!(client, ours);
    let cluster_tiers = cluster.tier_pods("kube-system");
    assert!(
        cluster_tiers.contains(&cluster_tier),
        "{cluster_tier} of {cluster_tiers:?}"
    );
    assert!(!cluster_tiers.contains(&client), "the client comes first");
    assert_eq!(response.seen_by_app("x-real-ip"), [client.to_string()]);
    assert_eq!(
        response.seen_by_app("x-forwarded-host"),
        [host("openstack", "keystone")]
    );
    assert_eq!(response.seen_by_app("x-forwarded-proto"), ["http"]);
    assert_eq!(response.seen_by_app("x-forwarded-port"), ["80"]);
    assert_eq!(response.seen_by_app("x-request-id").len(), 1);
}

#[test]
fn the_tenants_pods_share_the_requests() {
    let cluster = cluster();
    let pods = cluster.ready_pods("openstack", "");
    let keystones = pods
        .iter()
        .filter(|(name, _)| name.starts_with("keystone"))
        .count();
    let answered: BTreeSet<String> = (0..60)
        .map(|_| cluster.get(&host("openstack", "keystone"), "/").echo("pod"))
        .collect();
    assert_eq!(answered.len(), keystones, "{answered:?} of {pods:?}");
}

#[test]
fn a_host_of_one_tenant_never_reaches_another() {
    let cluster = cluster();
    for (tenant, application) in STORY {
        for _ in 0..20 {
            let response = cluster.get(&host(tenant, application), "/");
            assert_eq!(response.echo("namespace"), tenant);
        }
    }
    // Each tenant has a wildcard at the cluster tier; what it does not serve, nobody else does.
    for (tenant, application) in [
        ("ceph", "keystone"),
        ("openstack", "rgw"),
        ("ceph", "nothing"),
    ] {
        let response = cluster.get(&host(tenant, application), "/");
        assert_eq!(response.status, 404, "{}", response.text());
    }
    // Past the cluster tier as well: the tier of one tenant does not know the hosts of the other.
    for address in tier_addresses(&cluster, "openstack") {
        let request = Request::get(&host("ceph", "rgw"), "/");
        assert_eq!(fetch(address, &request).unwrap().status, 404);
    }
}

#[test]
fn no_spelling_of_a_host_leads_to_another_tenant() {
    let cluster = cluster();
    let theirs = host("ceph", "rgw");
    let ours = host("openstack", "keystone");
    let spellings = [
        format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", theirs.to_uppercase()),
        format!("GET / HTTP/1.1\r\nHost: {theirs}.\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {theirs}:80\r\n\r\n"),
        // An absolute-form target replaces Host (RFC 9112 §3.2.2).
        format!("GET http://{theirs}/ HTTP/1.1\r\nHost: {ours}\r\n\r\n"),
    ];
    for spelling in spellings {
        let mut connection = Connection::open(cluster.http()).unwrap();
        connection.send_bytes(spelling.as_bytes()).unwrap();
        let response = connection.read_response(false).unwrap();
        assert_eq!(response.status, 200, "{spelling}: {}", response.text());
        assert_eq!(response.echo("namespace"), "ceph", "{spelling}");
    }
    let refused = [
        format!("GET / HTTP/1.1\r\nHost: {theirs}\r\nHost: {ours}\r\n\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: {ours},{theirs}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: user@{ours}\r\n\r\n"),
    ];
    for request in refused {
        let mut connection = Connection::open(cluster.http()).unwrap();
        connection.send_bytes(request.as_bytes()).unwrap();
        let response = connection.read_response(false).unwrap();
        assert_eq!(response.status, 400, "{request}: {}", response.text());
    }
}

#[test]
fn bare_names_answer_at_the_namespace_tier_and_not_at_the_vip() {
    let cluster = cluster();
    for name in [
        "keystone",
        "keystone.openstack",
        "horizon",
        "horizon.openstack",
    ] {
        assert_eq!(cluster.get(name, "/").status, 404, "{name} at the VIP");
        for address in tier_addresses(&cluster, "openstack") {
            let response = fetch(address, &Request::get(name, "/")).unwrap();
            assert_eq!(
                response.status,
                200,
                "{name} at {address}: {}",
                response.text()
            );
            assert_eq!(response.echo("namespace"), "openstack");
        }
    }
}

#[test]
fn forged_headers_never_reach_the_application() {
    let cluster = cluster();
    const FORGED: &str = "203.0.113.66";
    let forged = |request: Request| {
        request
            .header("x-forwarded-for", FORGED)
            .header("x-forwarded-proto", FORGED)
            .header("x-forwarded-host", FORGED)
            .header("x-forwarded-port", FORGED)
            .header("x-real-ip", FORGED)
            .header("x-request-id", FORGED)
            .header("forwarded", &format!("for={FORGED}"))
    };
    // At the VIP, and past it at the namespace tier, which trusts the cluster tier only.
    let mut addresses = tier_addresses(&cluster, "openstack");
    addresses.push(cluster.http());
    for address in addresses {
        let request = forged(Request::get(&host("openstack", "keystone"), "/"));
        let response = fetch(address, &request).unwrap();
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(
            !response.text().contains(FORGED),
            "at {address}: {}",
            response.text()
        );
    }
}

#[test]
fn hop_by_hop_headers_end_at_the_first_hop() {
    let cluster = cluster();
    let request = Request::get(&host("openstack", "keystone"), "/")
        .header("connection", "x-private, keep-alive")
        .header("x-private", "one")
        .header("keep-alive", "timeout=5")
        .header("te", "gzip")
        .header("proxy-authorization", "Basic eDp5")
        .header("x-public", "two");
    let mut connection = Connection::open(cluster.http()).unwrap();
    let response = connection.send(&request).unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    for name in ["x-private", "keep-alive", "te", "proxy-authorization"] {
        assert_eq!(response.seen_by_app(name), Vec::<String>::new(), "{name}");
    }
    assert_eq!(response.seen_by_app("x-public"), ["two"]);
}

#[test]
fn admin_paths_are_served_on_the_admin_port_only() {
    let cluster = cluster();
    for path in [
        "/metrics",
        "/livez",
        "/readyz",
        "/debug/table",
        "/debug/objects",
    ] {
        // For a tenant's host it is the tenant's path; for no host it is nothing.
        assert_eq!(
            cluster
                .get(&host("openstack", "keystone"), path)
                .echo("path"),
            path
        );
        assert_eq!(cluster.get("127.0.0.1", path).status, 404, "{path}");
        for namespace in ["kube-system", "openstack", "ceph"] {
            for admin in cluster.admin_addresses(namespace) {
                let response = fetch(admin, &Request::get("admin", path)).unwrap();
                assert_eq!(
                    response.status,
                    200,
                    "{path} at {admin}: {}",
                    response.text()
                );
            }
        }
    }
    let admin = cluster.admin_addresses("kube-system")[0];
    let metrics = fetch(admin, &Request::get("admin", "/metrics"))
        .unwrap()
        .text();
    assert!(metrics.contains("tiergate_requests_total{"), "{metrics}");
    for secret in ["PRIVATE KEY", "tls.key\":\"LS0"] {
        for path in ["/debug/objects", "/debug/model", "/debug/table"] {
            let shown = fetch(admin, &Request::get("admin", path)).unwrap().text();
            assert!(!shown.contains(secret), "{path} shows a key");
        }
    }
}

#[test]
fn http2_is_spoken_with_and_without_tls() {
    let cluster = cluster();
    let host = host("openstack", "keystone");
    let plain = format!("http://{host}:8080/h2?x=1");
    let secure = format!("https://{host}:8443/h2?x=1");
    for (flag, url, address) in [
        ("--http2-prior-knowledge", plain, cluster.http()),
        ("--http2", secure, cluster.https()),
    ] {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--insecure",
                "--max-time",
                "30",
                flag,
            ])
            .args([
                "--resolve",
                &format!("{host}:{}:{}", address.port(), address.ip()),
            ])
            .args(["--write-out", "\n%{http_version} %{http_code}", &url])
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.ends_with("\n2 200"),
            "{text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("\"namespace\":\"openstack\""), "{text}");
    }
}

#[test]
fn bodies_pass_whole_in_both_directions() {
    let cluster = cluster();
    let host = host("openstack", "keystone");
    let body = vec![b'x'; 3_000_000];
    let request = Request::new("POST", &host, "/").body(&body);
    let response = fetch(cluster.http(), &request).unwrap();
    assert_eq!(
        response.json()["body_bytes"],
        3_000_000,
        "{}",
        response.text()
    );
    let response = cluster.get(&host, "/?bytes=3000000");
    assert_eq!(response.status, 200);
    assert!(
        response.body.len() >= 3_000_000,
        "{} bytes",
        response.body.len()
    );
}

#[test]
fn the_status_of_the_application_is_the_status_of_the_answer() {
    let cluster = cluster();
    for status in [201, 204, 302, 404, 418, 500, 503] {
        let path = format!("/?status={status}");
        let response = cluster.get(&host("openstack", "horizon"), &path);
        assert_eq!(response.status, status);
    }
}
