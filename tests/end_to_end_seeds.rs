//! The objects of the documents in `tests/seeds`, applied with kubectl to an empty local cluster and asked at the VIP.
//!
//! Each document has a cluster of its own: their Ingresses claim the same hosts, or none.

use std::collections::BTreeSet;
use std::process::Command;

use tiergate_tests::client::{Request, fetch};
use tiergate_tests::cluster::Cluster;
use tiergate_tests::kubectl::seed;
use tiergate_tests::objects::{cluster_tier, namespace_tier};
use tiergate_tests::{tls, wait};

fn empty(name: &str) -> Cluster {
    Cluster::start(name, &["--empty"])
}

/// Waits until so many pods share the requests for a path, of any host.
fn until_shared_by(cluster: &Cluster, path: &str, pods: usize) {
    wait::until("the load is shared", wait::CHANGE_SECONDS, || {
        let answered: BTreeSet<String> = (0..pods * 10)
            .map(|_| cluster.get("any.example", path).echo("pod"))
            .collect();
        wait::seen(answered.len() == pods, format!("{answered:?}"))
    });
}

/// Waits until a host and path are answered by a pod of this Deployment.
fn until_answered_by(cluster: &Cluster, host: &str, path: &str, deployment: &str) {
    wait::until(
        &format!("{deployment} answers {host}{path}"),
        wait::CHANGE_SECONDS,
        || {
            let response = cluster.get(host, path);
            let seen = format!("{} {}", response.status, response.text());
            let is_right = response.status == 200
                && response.echo("pod").starts_with(&format!("{deployment}-"));
            wait::seen(is_right, seen)
        },
    );
}

/// Waits until a pod of this Deployment is asked for this path and query when a client asks for another.
fn until_asked_for(
    cluster: &Cluster,
    host: &str,
    asked: &str,
    (deployment, path, query): (&str, &str, &str),
) {
    let what = format!("{host}{asked} is {path}?{query} for {deployment}");
    wait::until(&what, wait::CHANGE_SECONDS, || {
        let response = cluster.get(host, asked);
        let is_right = response.status == 200
            && response.echo("pod").starts_with(&format!("{deployment}-"))
            && (response.echo("path"), response.echo("query"))
                == (path.to_owned(), query.to_owned());
        wait::seen(is_right, format!("{} {}", response.status, response.text()))
    });
}

/// Applies a file that no current API server takes: the complaint names what is wrong, and nothing is created.
fn is_refused(cluster: &Cluster, file: &str, named: &str) {
    let kubectl = cluster.kubectl();
    let complaint = kubectl.refused(&format!("apply -f {}", seed(file)));
    assert!(complaint.contains(named), "{file}: {complaint}");
}

#[test]
fn seed_000_ports_of_the_pods_stand_for_ports_of_the_services() {
    let cluster = empty("seed-000");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("default", "000/class.yaml");
    for file in [
        "000/svc1-pod.yaml",
        "000/svc2-pod.yaml",
        "000/svc3-pod.yaml",
        "000/ingress1.yaml",
    ] {
        kubectl.apply_seed("default", file);
    }
    for deployment in ["deploy1-websrv", "deploy2-guestsrv", "deploy3-adminsrv"] {
        kubectl.rolled_out("default", deployment);
    }
    // Host-less: by address, and by any name. As the document asks, with curl and the address.
    for host in ["192.168.10.10", "anything.example", "k8s-m"] {
        until_answered_by(&cluster, host, "/", "deploy1-websrv");
        until_answered_by(&cluster, host, "/guest", "deploy2-guestsrv");
        until_answered_by(&cluster, host, "/admin", "deploy3-adminsrv");
        until_answered_by(&cluster, host, "/guests", "deploy1-websrv");
    }
    until_shared_by(&cluster, "/guest", 2);
    until_shared_by(&cluster, "/admin", 3);
    assert_eq!(cluster.get("a", "/").json()["port"], 80);
    assert_eq!(cluster.get("a", "/guest").json()["port"], 8080);

    let shown = kubectl.ok("get ingress");
    assert!(
        shown.contains("ingress-1") && shown.contains("nginx"),
        "{shown}"
    );
    let told = kubectl.ok("describe ingress ingress-1");
    assert!(told.contains("svc2-guest:8080"), "{told}");
    assert!(
        kubectl
            .ok("describe ingressclasses")
            .contains("tiergate.dev/ingress")
    );
    kubectl.ok("get pod,svc,ep");
}

#[test]
fn seed_001_default_backend_hosts_and_paths() {
    let cluster = empty("seed-001");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("default", "001/class.yaml");
    kubectl.apply_seed("default", "001/upstream.yaml");
    for deployment in ["be-default", "alpaca", "bandicoot", "web"] {
        kubectl.rolled_out("default", deployment);
    }
    // The trouble-shooting of the document: two broken manifests, each refused with the name of what is wrong.
    is_refused(&cluster, "001/simple-ingress-1.refused.yaml", "\"ingress\"");
    is_refused(
        &cluster,
        "001/simple-ingress-2.refused.yaml",
        "unknown field \"spec.service\"",
    );
    assert_eq!(cluster.get("alpaca.example.com", "/").status, 404);

    kubectl.apply_seed("default", "001/simple-ingress.yaml");
    until_answered_by(&cluster, "alpaca.example.com", "/", "alpaca");
    until_answered_by(&cluster, "bandicoot.example.com", "/", "alpaca");
    kubectl.ok("delete ingress simple-ingress");

    kubectl.apply_seed("default", "001/host-ingress.yaml");
    until_answered_by(&cluster, "alpaca.example.com", "/", "alpaca");
    until_answered_by(&cluster, "bandicoot.example.com", "/", "be-default");

    kubectl.apply_seed("default", "001/path-ingress.yaml");
    for (path, deployment) in [
        ("/", "bandicoot"),
        ("/b", "bandicoot"),
        ("/a/", "alpaca"),
        ("/a", "alpaca"),
        ("/a/b", "alpaca"),
        ("/ab", "bandicoot"),
    ] {
        until_answered_by(&cluster, "bandicoot.example.com", path, deployment);
    }
    kubectl.apply_seed("default", "001/example-ingress.yaml");
    until_answered_by(&cluster, "hello-world.example", "/", "web");
    until_answered_by(&cluster, "other.example", "/", "be-default");

    // "/sub-path to /app-path", as the document says that paths are rewritten, with a regular expression.
    kubectl.apply_seed("default", "001/rewrite-ingress.yaml");
    for (asked, path) in [
        ("/sub-path/x/y?a=b", "/app-path/x/y"),
        ("/Sub-Path?a=b", "/app-path/"),
    ] {
        until_asked_for(&cluster, "hello-world.example", asked, ("web", path, "a=b"));
    }
    until_answered_by(&cluster, "hello-world.example", "/sub-pathology", "web");
    let response = cluster.get("hello-world.example", "/sub-pathology");
    assert_eq!(response.echo("path"), "/sub-pathology");
}

#[test]
fn seed_002_tls() {
    let cluster = empty("seed-002");
    cluster.allow_secrets("default");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("default", "002/class.yaml");
    kubectl.apply_seed("default", "002/upstream.yaml");
    kubectl.rolled_out("default", "test");
    is_refused(
        &cluster,
        "002/ingress.refused.yaml",
        "\"Ingress\" in version \"extensions/v1beta1\"",
    );

    // The commands of the document.
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("openssl runs");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {complaint}");
    };
    openssl("genrsa -out tls.key 2048");
    openssl("req -new -x509 -key tls.key -out tls.cert -days 360 -subj /CN=test.example.com");
    let path = |file: &str| folder.path().join(file).display().to_string();
    let (certificate, key) = (path("tls.cert"), path("tls.key"));
    kubectl.ok(&format!(
        "create secret tls tls-secret --cert={certificate} --key={key}"
    ));
    kubectl.apply_seed("default", "002/ingress.yaml");

    let wanted = tls::der(&std::fs::read_to_string(&certificate).unwrap());
    let mut connection = wait::until("the certificate is shown", wait::CHANGE_SECONDS, || {
        let opened = tls::open(cluster.https(), "test.example.com");
        let (connection, shown) = opened.map_err(|problem| problem.to_string())?;
        wait::seen(shown == wanted, "another certificate").map(|()| connection)
    });
    let response = connection
        .send(&Request::get("test.example.com", "/test/a"))
        .unwrap();
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.seen_by_app("x-forwarded-proto"), ["https"]);
    // "Even a request by HTTP is redirected to HTTPS when there is tls", as the document says.
    let response = cluster.get("test.example.com", "/test/a");
    assert_eq!(response.status, 308, "{}", response.text());
    let location = response.header("location");
    assert_eq!(location, Some("https://test.example.com/test/a"));
    // Another name gets another certificate, and TLS ends here: another path of the host is nobody's.
    let other = tls::open(cluster.https(), "other.example.com");
    assert!(other.is_err() || other.is_ok_and(|(_, shown)| shown != wanted));
    let response = connection
        .send(&Request::get("test.example.com", "/other"))
        .unwrap();
    assert_eq!(response.status, 404);
}

#[test]
fn seed_003_paths_and_a_node_port_service() {
    let cluster = empty("seed-003");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("default", "003/class.yaml");
    kubectl.apply_seed("default", "003/upstream.yaml");
    kubectl.apply_seed("default", "003/np-svc.yaml");
    is_refused(
        &cluster,
        "003/ingress-1.refused.yaml",
        "\"Ingress\" in version \"networking.k8s.io/v1beta1\"",
    );
    is_refused(&cluster, "003/ingress-2.refused.yaml", "serviceName");
    is_refused(
        &cluster,
        "003/controller-service.refused.yaml",
        "unknown field \"spec.ports[0].target\"",
    );
    for deployment in ["in-hname-pod", "in-ip-pod", "np-pods"] {
        kubectl.rolled_out("default", deployment);
    }
    kubectl.apply_seed("default", "003/ingress.yaml");
    until_answered_by(&cluster, "192.168.1.101", "/", "in-hname-pod");
    until_answered_by(&cluster, "192.168.1.101", "/ip", "in-ip-pod");

    // With the annotation of the document: what the pods of /ip are asked for is the target, "/". The target of / is / itself.
    kubectl.apply_seed("default", "003/ingress-rewrite.yaml");
    until_asked_for(
        &cluster,
        "192.168.1.101",
        "/ip/a?b=c",
        ("in-ip-pod", "/", "b=c"),
    );
    until_asked_for(
        &cluster,
        "192.168.1.101",
        "/other?b=c",
        ("in-hname-pod", "/other", "b=c"),
    );

    let services = kubectl.ok("get services");
    assert!(services.contains("80:30000/TCP"), "{services}");
    kubectl.ok("scale deployment np-pods --replicas=3");
    kubectl.rolled_out("default", "np-pods");
    let slices =
        "--namespace default get endpointslices --selector kubernetes.io/service-name=np-svc";
    wait::until("the Service follows the pods", wait::CHANGE_SECONDS, || {
        let list = kubectl.json(slices);
        let endpoints = list["items"][0]["endpoints"].as_array().map_or(0, Vec::len);
        wait::seen(endpoints == 3, list.to_string())
    });
}

#[test]
fn seed_004_two_tiers_of_two_classes() {
    let cluster = empty("seed-004");
    let cluster = cluster.in_test();
    let kubectl = cluster.kubectl();
    kubectl.apply_seed("openstack", "004/openstack.yaml");
    is_refused(
        &cluster,
        "004/openstack-ingress.refused.yaml",
        "\"Ingress\" in version \"extensions/v1beta1\"",
    );
    // What the two `helm install`s of the document leave behind, with its flags.
    let trusted = format!("--trusted-proxies={}", cluster.pod_network());
    let flags = ["--ingress-class=nginx", "--election-id=ingress", &trusted];
    kubectl.apply(
        "openstack",
        &namespace_tier("ingress", "openstack", 1, &flags),
    );
    kubectl.apply(
        "kube-system",
        &cluster_tier(
            "ingress-cluster",
            "kube-system",
            &["--ingress-class=nginx-cluster"],
        ),
    );
    kubectl.rolled_out("openstack", "ingress");
    kubectl.rolled_out("openstack", "keystone-api");
    kubectl.rolled_out("openstack", "horizon");
    kubectl.rolled_out("kube-system", "ingress-cluster");

    let address = |namespace: &str, name: &str| {
        let pods = cluster.ready_pods(namespace, &format!("app={name}"));
        let (_, ip) = pods.first().expect("it is rolled out");
        format!("{ip}:8080").parse().expect("an address")
    };
    let front = address("kube-system", "ingress-cluster");
    let tenant = address("openstack", "ingress");
    let status = |at, host: &str, path: &str, status: u16| {
        wait::until(
            &format!("{status} for {host} at {at}"),
            wait::CHANGE_SECONDS,
            || {
                let response = fetch(at, &Request::get(host, path)).map_err(|e| e.to_string())?;
                let seen = format!("{} {}", response.status, response.text());
                wait::seen(response.status == status, seen).map(|()| response)
            },
        )
    };
    for (name, pod) in [("keystone", "keystone-api-"), ("horizon", "horizon-")] {
        let full = format!("{name}.openstack.svc.cluster.local");
        let response = status(front, &full, "/v3", 200);
        assert!(response.echo("pod").starts_with(pod), "{}", response.text());
        let via = response.seen_by_app("via").join(", ");
        assert_eq!(via, "1.1 tiergate-cluster, 1.1 tiergate-namespace");
        for host in [name.to_owned(), format!("{name}.openstack"), full] {
            assert!(status(tenant, &host, "/", 200).echo("pod").starts_with(pod));
        }
        // Only the whole name reaches the front door.
        status(front, name, "/", 404);
        status(front, &format!("{name}.openstack"), "/", 404);
    }
    let listed = kubectl.ok("get ingress -n openstack");
    assert!(
        listed.contains("keystone,keystone.openstack,keystone.openstack.svc.cluster.local"),
        "{listed}"
    );
    assert!(listed.contains("*.openstack.svc.cluster.local"), "{listed}");
    let told = kubectl.ok("describe ingress -n openstack keystone");
    assert!(told.contains("keystone-api:ks-pub"), "{told}");
}
