//! The reference page of metrics, from a tier that has served a little of everything.

use expect_test::expect_file;
use prometheus_client::registry::Registry;

use super::*;
use crate::objects::certificate::tests::pem;
use crate::telemetry::page;

/// One Ingress that works, with a certificate, and one that names a Service that is not there.
fn objects(upstream: SocketAddr) -> Value {
    let (chain, key) = pem("web.example", &rcgen::PKCS_ECDSA_P256_SHA256);
    let base64 = |text: String| json!(k8s_openapi::ByteString(text.into_bytes()));
    let ingress = |name: &str| {
        let backend = json!({"service": {"name": name, "port": {"number": 80}}});
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        json!({
            "metadata": {"name": name, "namespace": "a"},
            "spec": {"ingressClassName": "tiergate", "rules": [{"host": format!("{name}.example"), "http": {"paths": [path]}}], "tls": [{"secretName": "web"}]},
        })
    };
    json!({
        "ingresses": [ingress("web"), ingress("nothing")],
        "secrets": [{
            "metadata": {"name": "web", "namespace": "a"},
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": base64(chain), "tls.key": base64(key)},
        }],
        "services": [{
            "metadata": {"name": "web", "namespace": "a"},
            "spec": {"ports": [{"port": 80, "targetPort": upstream.port()}]},
        }],
        "endpointslices": [{
            "metadata": {"name": "web-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"port": upstream.port()}],
            "endpoints": [{"addresses": [upstream.ip()], "conditions": {"ready": true}}],
        }],
    })
}

/// Answers every connection with one good response.
async fn upstream() -> SocketAddr {
    let mut listener = TokioNet.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = tiergate_data_plane::net::Listener::accept(&mut listener).await;
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

/// How many families the product registers, seen by the names that a registry shows when it is printed.
async fn families() -> usize {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let cell = Arc::new(SnapshotCell::new(metrics));
    let (_gate, opened) = watch::channel(false);
    let platform = Platform {
        net: TokioNet,
        client: kubernetes(opened, json!({})),
        seed: 1,
        identity: crate::platform::Identity::new([], "here".to_owned()),
    };
    let _ = ControlPlane::new(&platform, Scope::default(), cell, &mut registry);
    let _ = crate::status::Metrics::register(&mut registry);
    Admin::<TokioNet>::bind(&TokioNet, "127.0.0.1:0".parse().unwrap(), &mut registry)
        .await
        .unwrap();
    // The version is registered beside them.
    format!("{registry:?}").matches("Descriptor {").count() + 1
}

#[tokio::test]
async fn the_reference_page_names_every_metric() {
    let serving = async {
        let tier = start(1, "1h", objects(upstream().await)).await;
        tier.gate.send_replace(true);
        until(tier.admin, "/readyz", "\nready").await;
        let answer = get_of("web.example", tier.http, "/").await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
            "{answer}"
        );
        until(tier.http, "/", "HTTP/1.1 404").await;
        let no_tls = get(tier.https, "/").await;
        assert!(no_tls.is_none_or(|answer| !answer.starts_with("HTTP")));

        let wanted = families().await;
        let count = |text: &str| text.matches("# HELP tiergate_").count();
        let asking = async {
            loop {
                let text = until(tier.admin, "/metrics", "# EOF").await;
                if count(&text) == wanted {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let Ok(text) = tokio::time::timeout(PATIENCE, asking).await else {
            let text = get(tier.admin, "/metrics").await.unwrap();
            panic!(
                "{} families of {wanted} have a series:\n{text}",
                count(&text)
            );
        };
        let (_, text) = text.split_once("\r\n\r\n").unwrap();
        expect_file!["../../../../docs/metrics.md"].assert_eq(&page::metrics(text));
    };
    LocalSet::new().run_until(serving).await;
}
