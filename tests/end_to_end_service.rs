//! Services from outside and from pods: node ports, load balancers, cluster IPs, health ports, as the documents of
//! `tests/seeds` ask for them with `curl NODE:PORT` and an EXTERNAL-IP, in front of the tiers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::Value;
use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::{Cluster, InTest};
use tiergate_tests::load::{self, Target};
use tiergate_tests::objects::{application, ingress, namespace_tier};
use tiergate_tests::service::{sharing, until_answered, until_refused, until_shared_by};
use tiergate_tests::wait;

fn empty(name: &str) -> Cluster {
    Cluster::start(name, &["--empty"])
}

/// A field of an object, by its JSON pointer.
fn field(cluster: &Cluster, object: &str, pointer: &str) -> Value {
    let object = cluster.kubectl().json(&format!("get {object}"));
    object.pointer(pointer).cloned().unwrap_or_default()
}

fn port(value: &Value) -> u16 {
    let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
    number.unwrap_or_else(|| panic!("{value} is no port"))
}

/// Name and address of each node, by name.
fn nodes(cluster: &Cluster) -> Vec<(String, Ipv4Addr)> {
    let list = cluster.kubectl().json("get nodes");
    let node = |node: &Value| {
        let name = node["metadata"]["name"].as_str()?.to_owned();
        let addresses = node["status"]["addresses"].as_array()?;
        let own = addresses.iter().find(|one| one["type"] == "InternalIP")?;
        Some((name, own["address"].as_str()?.parse().ok()?))
    };
    let nodes = list["items"].as_array().expect("a list").iter();
    let mut nodes: Vec<_> = nodes.filter_map(node).collect();
    nodes.sort();
    assert_eq!(nodes.len(), 3);
    nodes
}

fn until_external_ip(cluster: &Cluster, service: &str) -> Ipv4Addr {
    wait::until("an EXTERNAL-IP", wait::CHANGE_SECONDS, || {
        let status = field(cluster, service, "/status");
        let ip = status.pointer("/loadBalancer/ingress/0/ip");
        let ip = ip.and_then(Value::as_str).and_then(|ip| ip.parse().ok());
        ip.ok_or_else(|| status.to_string())
    })
}

#[test]
fn seed_000_node_ports_of_an_ingress_controller_and_of_a_service() {
    let cluster = empty("service-seed-000");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    for file in ["svc1-pod", "svc2-pod", "svc3-pod"] {
        kubectl.apply_seed("default", &format!("000/{file}.yaml"));
    }
    // The document's class, served by a controller of this namespace behind a NodePort Service, as its helm chart makes it.
    kubectl.apply_seed("default", "000/class.yaml");
    kubectl.apply_seed("default", "000/ingress1.yaml");
    let flags = ["--ingress-class=nginx", "--election-id=node-port"];
    let controller = namespace_tier("ingress-nginx-controller", "default", 1, &flags);
    kubectl.apply("default", &controller);
    let patch = r#"{"spec":{"type":"NodePort"}}"#;
    kubectl.ok(&format!(
        "patch service ingress-nginx-controller -p {patch}"
    ));
    for name in [
        "deploy1-websrv",
        "deploy2-guestsrv",
        "deploy3-adminsrv",
        "ingress-nginx-controller",
    ] {
        kubectl.rolled_out("default", name);
    }
    // `curl <node>:<node port of the controller>`, its load tests too.
    let ing_http = field(
        &cluster,
        "service ingress-nginx-controller",
        "/spec/ports/0/nodePort",
    );
    let ing_http = port(&ing_http);
    assert!((30000..=32767).contains(&ing_http));
    for (_, node) in nodes(&cluster) {
        let at = (node, ing_http);
        let web = until_answered(at, &node.to_string(), "/").echo("pod");
        assert!(web.starts_with("deploy1-websrv-"), "{web}");
        until_shared_by(at, "/guest", 2);
        until_shared_by(at, "/admin", 3);
    }
    // `svc2-guest` is a NodePort Service itself: without the controller, in even shares.
    let guest = port(&field(
        &cluster,
        "service svc2-guest",
        "/spec/ports/0/nodePort",
    ));
    let (_, node) = nodes(&cluster)[0].clone();
    until_shared_by((node, guest), "/", 2);
    let first = until_answered((node, guest), "a", "/").echo("pod");
    let hits = (0..200)
        .filter(|_| until_answered((node, guest), "a", "/").echo("pod") == first)
        .count();
    assert!(
        (60..=140).contains(&hits),
        "{hits} of 200 for one of two pods"
    );
}

#[test]
fn seed_003_a_node_port_follows_its_pods_and_metallb_gives_an_external_ip() {
    let cluster = empty("service-seed-003");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("default", "003/upstream.yaml");
    kubectl.apply_seed("default", "003/np-svc.yaml");
    kubectl.rolled_out("default", "np-pods");
    // The document's loop over 192.168.1.101:30000 while `kubectl scale` runs.
    for (_, node) in nodes(&cluster) {
        let pod = until_answered((node, 30000), "a", "/").echo("pod");
        assert!(pod.starts_with("np-pods-"), "{pod}");
    }
    kubectl.ok("scale deployment np-pods --replicas=3");
    for (_, node) in nodes(&cluster) {
        until_shared_by((node, 30000), "/", 3);
    }
    // A port that is taken is refused, and one that is not named is chosen.
    let complaint = kubectl.refused("create service nodeport taken --tcp=80 --node-port=30000");
    assert!(
        complaint.contains("provided port is already allocated"),
        "{complaint}"
    );
    kubectl.ok("expose deployment in-ip-pod --type=NodePort --name=chosen --port=80");
    let chosen = port(&field(&cluster, "service chosen", "/spec/ports/0/nodePort"));
    until_answered((nodes(&cluster)[0].1, chosen), "a", "/");

    // `kubectl expose … --type=LoadBalancer`, then its EXTERNAL-IP.
    kubectl.ok("expose deployment in-hname-pod --type=LoadBalancer --name=lb-svc --port=80");
    let ip = until_external_ip(&cluster, "service lb-svc");
    let shown = kubectl.ok("get service lb-svc");
    assert!(shown.contains(&ip.to_string()), "{shown}");
    let pod = until_answered((ip, 80), "a", "/").echo("pod");
    assert!(pod.starts_with("in-hname-pod-"), "{pod}");
    until_event(
        &cluster,
        "lb-svc",
        "IPAllocated",
        &format!("Assigned IP [\"{ip}\"]"),
    );
    // The address is released with the Service, and the next one gets it.
    kubectl.ok("delete service lb-svc");
    until_refused((ip, 80));
    kubectl.ok("expose deployment in-ip-pod --type=LoadBalancer --name=next-svc --port=80");
    assert_eq!(until_external_ip(&cluster, "service next-svc"), ip);
    let pod = until_answered((ip, 80), "a", "/").echo("pod");
    assert!(pod.starts_with("in-ip-pod-"), "{pod}");
}

fn until_event(cluster: &Cluster, service: &str, reason: &str, message: &str) {
    wait::until(reason, wait::CHANGE_SECONDS, || {
        let told = cluster.kubectl().ok(&format!("describe service {service}"));
        wait::seen(told.contains(reason) && told.contains(message), told)
    });
}

/// `web` with a pod on one node, behind a load balancer that keeps clients' addresses. Returns node port and health port.
fn local_load_balancer(cluster: &InTest<'_>, name: &str) -> (u16, u16) {
    let kubectl = cluster.kubectl();
    kubectl.apply("default", &application(name, 1));
    kubectl.rolled_out("default", name);
    let patch = r#"{"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local"}}"#;
    kubectl.ok(&format!("patch service {name} -p {patch}"));
    let spec = field(cluster, &format!("service {name}"), "/spec");
    (
        port(&spec["ports"][0]["nodePort"]),
        port(&spec["healthCheckNodePort"]),
    )
}

#[test]
fn with_the_local_policy_only_the_node_of_the_pod_answers_and_the_client_is_seen() {
    let cluster = empty("service-local");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    let (node_port, health_port) = local_load_balancer(&cluster, "web");
    let home = cluster.kubectl().json("get pods --selector=app=web");
    let home = home["items"][0]["spec"]["nodeName"]
        .as_str()
        .unwrap()
        .to_owned();
    for (name, node) in nodes(&cluster) {
        let health = wait::until("the health port", wait::CHANGE_SECONDS, || {
            let request = Request::get("a", "/");
            fetch((node, health_port).into(), &request).map_err(|error| error.to_string())
        });
        let (status, endpoints) = if name == home { (200, 1) } else { (503, 0) };
        assert_eq!(health.status, status, "{name}: {}", health.text());
        assert_eq!(health.json()["localEndpoints"], endpoints);
        assert_eq!(health.json()["service"]["name"], "web");
        if name == home {
            let client = seen_client((node, node_port));
            assert_eq!(
                until_answered((node, node_port), "a", "/").echo("client"),
                client
            );
        } else {
            until_refused((node, node_port));
        }
    }
    let ip = until_external_ip(&cluster, "service web");
    let client = seen_client((ip, 80));
    assert_eq!(until_answered((ip, 80), "a", "/").echo("client"), client);

    // With the other policy every node answers, and the pod sees a node.
    let patch = r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#;
    kubectl.ok(&format!("patch service web -p {patch}"));
    for (_, node) in nodes(&cluster) {
        wait::until("the node hides the client", wait::CHANGE_SECONDS, || {
            let response = fetch((node, node_port).into(), &Request::get("a", "/"));
            let seen = response.map_err(|error| error.to_string())?.echo("client");
            wait::seen(seen == node.to_string(), seen)
        });
        until_refused((node, health_port));
    }
}

/// The address from which this program comes to another one on this machine.
fn seen_client(to: (Ipv4Addr, u16)) -> String {
    let stream = tiergate_tests::client::connect(to.into()).expect("somebody listens");
    let own = stream.local_addr().expect("it is connected");
    own.ip().to_string()
}

#[test]
fn a_rollout_behind_a_cluster_ip_fails_no_request_and_an_empty_service_refuses() {
    let cluster = empty("service-cluster-ip");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    // As every application behind kube-proxy has to: it goes on accepting until the news of its end has travelled.
    let patient =
        "      containers:\n      - name: app\n        lifecycle: {preStop: {sleep: {seconds: 5}}}";
    let manifest = application("web", 3).replace("      containers:\n      - name: app", patient);
    assert!(manifest.contains("preStop"));
    kubectl.apply("default", &manifest);
    kubectl.rolled_out("default", "web");
    let ip = field(&cluster, "service web", "/spec/clusterIP");
    let ip: Ipv4Addr = ip.as_str().unwrap().parse().unwrap();
    until_shared_by((ip, 80), "/", 3);
    let before = sharing((ip, 80), "/");
    let target = Target {
        address: SocketAddr::from((ip, 80)),
        host: "web".to_owned(),
        path: "/load".to_owned(),
        is_tls: false,
    };
    let (report, ()) = load::during(&target, || {
        kubectl.ok("rollout restart deployment web");
        kubectl.rolled_out("default", "web");
        // What the load asks after the change then meets new pods only.
        wait::until(
            "the old pods get no connections",
            wait::CHANGE_SECONDS,
            || {
                let now = sharing((ip, 80), "/");
                wait::seen(now.is_disjoint(&before), format!("{now:?}"))
            },
        );
        kubectl.ok("scale deployment web --replicas 1");
        kubectl.rolled_out("default", "web");
    });
    report.assert_nothing_failed();
    let is_old = |pod: &String| before.contains(pod);
    assert!(report.pods.keys().any(is_old), "{:?}", report.pods);
    assert!(!report.pods.keys().all(is_old), "{:?}", report.pods);

    kubectl.ok("scale deployment web --replicas 0");
    until_refused((ip, 80));
}

#[test]
fn clients_stay_with_their_pod_when_the_service_says_so() {
    let cluster = empty("service-affinity");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.apply("default", &application("web", 3));
    kubectl.rolled_out("default", "web");
    let ip = field(&cluster, "service web", "/spec/clusterIP");
    let ip: Ipv4Addr = ip.as_str().unwrap().parse().unwrap();
    until_shared_by((ip, 80), "/", 3);
    let patch = r#"{"spec":{"sessionAffinity":"ClientIP"}}"#;
    kubectl.ok(&format!("patch service web -p {patch}"));
    until_shared_by((ip, 80), "/", 1);
    let before = until_answered((ip, 80), "a", "/").echo("pod");
    kubectl.ok(&format!("delete pod {before}"));
    kubectl.rolled_out("default", "web");
    wait::until("another pod", wait::CHANGE_SECONDS, || {
        let pods = sharing((ip, 80), "/");
        wait::seen(
            pods.len() == 1 && !pods.contains(&before),
            format!("{pods:?}"),
        )
    });
}

#[test]
fn a_tier_is_reached_by_its_cluster_ip_its_node_port_and_its_external_ip() {
    let cluster = empty("service-tier");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.ok("create namespace shop");
    kubectl.apply("shop", &application("web", 2));
    kubectl.apply(
        "shop",
        &ingress("web", Some("tiergate"), "web.example", "web"),
    );
    kubectl.apply("shop", &namespace_tier("ingress", "shop", 2, &[]));
    for name in ["web", "ingress"] {
        kubectl.rolled_out("shop", name);
    }
    let patch = r#"{"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local"}}"#;
    kubectl.ok(&format!("patch service ingress -n shop -p {patch}"));
    let external = until_external_ip(&cluster, "service -n shop ingress");
    let spec = field(&cluster, "service -n shop ingress", "/spec");
    let cluster_ip = spec["clusterIP"].as_str().unwrap().parse().unwrap();
    for at in [(external, 80), (cluster_ip, 80)] {
        let response = until_answered(at, "web.example", "/");
        assert!(
            response.echo("pod").starts_with("web-"),
            "{}",
            response.text()
        );
        assert_eq!(response.seen_by_app("via"), ["1.1 tiergate-namespace"]);
    }
    // By the local policy the tier knows who asked, and tells the application.
    let response = until_answered((external, 80), "web.example", "/");
    let client = seen_client((external, 80));
    assert_eq!(response.seen_by_app("x-forwarded-for"), [client]);
}

#[test]
fn the_api_server_answers_at_its_cluster_ip_and_a_port_that_is_taken_is_told() {
    let cluster = empty("service-own");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    let ip = field(&cluster, "service kubernetes", "/spec/clusterIP");
    let server = format!("https://{}:443", ip.as_str().unwrap());
    wait::until("the API server's cluster IP", wait::CHANGE_SECONDS, || {
        let said = kubectl.run(&format!("--server {server} get --raw /version"));
        wait::seen(said.is_good, said.err)
    });
    // A program of this machine has the port on one node.
    let (_, node) = nodes(&cluster)[0].clone();
    let _other = TcpListener::bind((node, 30123)).expect("nobody else has it");
    kubectl.apply("default", &application("web", 1));
    kubectl.rolled_out("default", "web");
    kubectl.ok("create service nodeport web-out --tcp=80:8080 --node-port=30123");
    let patch = r#"{"spec":{"selector":{"app":"web"}}}"#;
    kubectl.ok(&format!("patch service web-out -p {patch}"));
    until_event(
        &cluster,
        "web-out",
        "ListenFailed",
        &format!("cannot listen on {node}:30123"),
    );
    for (_, other) in &nodes(&cluster)[1..] {
        until_answered((*other, 30123), "a", "/");
    }
}
