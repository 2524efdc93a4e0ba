//! The whole proxy: an API server, Services without selectors, and endpoints that are sockets of the test.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tiergate_control_plane::platform;
use tiergate_data_plane::net::TokioNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::api::{self, Server};

/// How long to wait for anything before it counts as never.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

const NAMESPACE: &str = "default";

struct World {
    client: Client,
    /// The third byte of every address, so that tests run side by side.
    byte: u8,
    stop: stop::Handle,
    proxy: JoinHandle<Counts>,
    _server: JoinSet<()>,
}

impl World {
    /// Services in `127.88.BYTE.0/24`, load balancers in `127.89.BYTE.0/28`, two nodes in `127.87.BYTE.0/24`.
    async fn start(byte: u8, limits: Limits) -> Self {
        let mut options = api::Options::new("secret", 1);
        options.service_range = format!("127.88.{byte}.0/24").parse().unwrap();
        let server = Server::new(options);
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = server.bind(&TokioNet, loopback, None).await.unwrap();
        let url = format!("http://{}", bound.address().unwrap());
        let mut config = kube::Config::new(url.parse().unwrap());
        config.auth_info.token = Some("secret".to_owned().into());
        let client = platform::kube_client(TokioNet, config).unwrap();
        let mut parts = JoinSet::new();
        parts.spawn(bound.run(std::future::pending()));

        let node = |number: u8| NodeIdentity {
            name: format!("node-{number}"),
            address: Ipv4Addr::new(127, 87, byte, number),
            slice: format!("127.87.{byte}.{}/28", 16 * number).parse().unwrap(),
        };
        let pool = format!("127.89.{byte}.0/28").parse().unwrap();
        let options = Options {
            net: ExclusiveNet,
            client: client.clone(),
            nodes: vec![node(1), node(2)],
            load_balancers: Some(LoadBalancers {
                pool,
                client: client.clone(),
            }),
            limits,
            rng: SmallRng::seed_from_u64(1),
        };
        let (stop, stopping) = stop::channel();
        Self {
            client,
            byte,
            stop,
            proxy: tokio::spawn(run(options, stopping)),
            _server: parts,
        }
    }

    async fn end(self) -> Counts {
        self.stop.stop();
        self.proxy.await.unwrap()
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn slices(&self) -> Api<EndpointSlice> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// A Service `name`, and its slice with these endpoints: node and port, on addresses of that node's pods.
    async fn create(&self, name: &str, spec: Value, endpoints: &[(u8, u16)]) -> Service {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        assert!(namespaces.get_opt(NAMESPACE).await.unwrap().is_some());
        let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 8080}]}});
        json_patch::merge(&mut service["spec"], &spec);
        let service = serde_json::from_value(service).unwrap();
        let params = PostParams::default();
        let created = self.services().create(&params, &service).await.unwrap();
        for (index, (node, port)) in endpoints.iter().enumerate() {
            let slice = json!({
                "metadata": {"name": format!("{name}-{index}"), "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4", "ports": [{"name": "", "port": port, "protocol": "TCP"}],
                "endpoints": [{"addresses": [self.pod(*node)], "nodeName": format!("node-{node}"), "conditions": {"ready": true}}],
            });
            let slice = serde_json::from_value(slice).unwrap();
            self.slices().create(&params, &slice).await.unwrap();
        }
        created
    }

    /// The address of the only pod of a node.
    fn pod(&self, node: u8) -> String {
        format!("127.87.{}.{}", self.byte, 16 * node + 1)
    }

    fn node(&self, node: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 87, self.byte, node)
    }

    /// A socket at a pod's address that says which node it is on and who came, and then returns every byte.
    async fn pod_server(&self, node: u8) -> u16 {
        let address = SocketAddr::new(self.pod(node).parse().unwrap(), 0);
        let mut listener: TcpListener = TokioNet.bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, peer) =
                    tiergate_data_plane::net::Listener::accept(&mut listener).await;
                tokio::spawn(async move {
                    let greeting = format!("{node} sees {}\n", peer.ip());
                    let _ = stream.write_all(greeting.as_bytes()).await;
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        port
    }

    /// Waits until the Service has what the reader looks for.
    async fn until<T>(&self, name: &str, read: impl Fn(&Service) -> Option<T>) -> T {
        until(|| async {
            let service = self.services().get(name).await.unwrap();
            read(&service)
        })
        .await
    }

    async fn until_event(&self, name: &str, reason: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        until(|| async {
            let list = events.list(&ListParams::default()).await.unwrap().items;
            let mut found = list.into_iter().filter(|event| {
                event.involved_object.name.as_deref() == Some(name)
                    && event.reason.as_deref() == Some(reason)
            });
            found.next().and_then(|event| event.message)
        })
        .await
    }
}

async fn until<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("it comes within a minute")
}

fn quick() -> Limits {
    Limits {
        sync_period: Duration::from_millis(10),
        ..Limits::default()
    }
}

fn cluster_ip(service: &Service) -> Ipv4Addr {
    let spec = service.spec.as_ref().unwrap();
    spec.cluster_ip.as_ref().unwrap().parse().unwrap()
}

fn node_port(service: &Service) -> u16 {
    let ports = service.spec.as_ref().unwrap().ports.as_ref().unwrap();
    u16::try_from(ports[0].node_port.unwrap()).unwrap()
}

/// The first line that comes back; none when nobody takes the connection.
async fn greeting(at: (Ipv4Addr, u16), from: Option<&str>) -> Option<String> {
    let from = from.map(|ip| ip.parse().unwrap());
    let mut stream = TokioNet.connect(at.into(), from).await.ok()?;
    Some(read_line(&mut stream).await)
}

async fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        if byte == b'\n' {
            break;
        }
        line.push(byte);
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn connections_reach_endpoints_and_survive_the_service() {
    let world = World::start(1, quick()).await;
    let port = world.pod_server(1).await;
    let service = world.create("web", json!({}), &[(1, port)]).await;
    let at = (cluster_ip(&service), 8080);
    let pod_of_2 = world.pod(2);
    let expected = format!("1 sees {pod_of_2}");
    let seen = until(|| greeting(at, Some(&pod_of_2))).await;
    assert_eq!(seen, expected);
    // Nobody's pod comes from a node.
    assert_eq!(
        greeting(at, None).await.unwrap(),
        format!("1 sees {}", world.node(1))
    );

    let mut open = TokioNet.connect(at.into(), None).await.unwrap();
    read_line(&mut open).await;
    let params = DeleteParams::default();
    world.services().delete("web", &params).await.unwrap();
    until(|| async {
        TokioNet
            .connect(at.into(), None)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    open.write_all(b"still here\n").await.unwrap();
    assert_eq!(read_line(&mut open).await, "still here");
    drop(open);
    let counts = world.end().await;
    assert!(counts.accepted >= 3 && counts.bytes > 0, "{counts:?}");
}

#[tokio::test]
async fn without_endpoints_a_connection_is_refused_until_one_comes() {
    let world = World::start(2, quick()).await;
    let service = world.create("web", json!({}), &[]).await;
    let at = (cluster_ip(&service), 8080);
    let port = world.pod_server(2).await;
    // A Service that is served shows that the other one was looked at.
    let other = world.create("other", json!({}), &[(2, port)]).await;
    until(|| greeting((cluster_ip(&other), 8080), None)).await;
    let error = TokioNet.connect(at.into(), None).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);

    let label = json!({"metadata": {"labels": {"kubernetes.io/service-name": "web"}}});
    let params = PatchParams::default();
    let patch = Patch::Merge(label);
    world
        .slices()
        .patch("other-0", &params, &patch)
        .await
        .unwrap();
    until(|| greeting(at, None)).await;
    world.end().await;
}

#[tokio::test]
async fn with_the_local_policy_a_node_answers_for_its_own_and_the_health_port_says_so() {
    let world = World::start(3, quick()).await;
    let port = world.pod_server(2).await;
    let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let service = world.create("web", spec, &[(2, port)]).await;
    let node_port = node_port(&service);
    let on = |node| (world.node(node), node_port);
    let seen = until(|| greeting(on(2), Some("127.0.0.99"))).await;
    assert_eq!(seen, "2 sees 127.0.0.99");
    assert_eq!(greeting(on(1), None).await, None);

    let ip = world.until("web", load_balancer_ip).await;
    let seen = until(|| greeting((ip, 8080), Some("127.0.0.99"))).await;
    assert_eq!(seen, "2 sees 127.0.0.99");

    let health = service.spec.unwrap().health_check_node_port.unwrap();
    let health = u16::try_from(health).unwrap();
    for (node, status, count) in [(1, "503", 0), (2, "200", 1)] {
        let at = SocketAddr::from((world.node(node), health));
        let mut stream = until(|| async { TokioNet.connect(at, None).await.ok() }).await;
        let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer.contains(&format!("\"localEndpoints\":{count},")),
            "{answer}"
        );
    }
    world.end().await;
}

fn load_balancer_ip(service: &Service) -> Option<Ipv4Addr> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    let point = balancer.ingress.as_ref()?.first()?;
    assert_eq!(point.ip_mode.as_deref(), Some("VIP"));
    point.ip.as_ref()?.parse().ok()
}

#[tokio::test]
async fn load_balancers_get_addresses_and_give_them_back() {
    let world = World::start(4, quick()).await;
    let spec = || json!({"type": "LoadBalancer"});
    world.create("a", spec(), &[]).await;
    let first = world.until("a", load_balancer_ip).await;
    assert_eq!(first, Ipv4Addr::new(127, 89, 4, 1));
    let message = world.until_event("a", "IPAllocated").await;
    assert_eq!(message, "Assigned IP [\"127.89.4.1\"]");

    let wish = json!({"type": "LoadBalancer", "loadBalancerIP": first});
    world.create("b", wish, &[]).await;
    let message = world.until_event("b", "AllocationFailed").await;
    assert!(
        message.contains("address also in use by default/a"),
        "{message}"
    );
    let patch = Patch::Merge(json!({"spec": {"type": "ClusterIP"}}));
    let params = PatchParams::default();
    world.services().patch("a", &params, &patch).await.unwrap();
    assert_eq!(world.until("b", load_balancer_ip).await, first);
    world
        .until("a", |service| {
            load_balancer_ip(service).is_none().then_some(())
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn an_address_that_somebody_has_is_told_and_taken_when_it_is_free() {
    let world = World::start(5, quick()).await;
    let port = world.pod_server(1).await;
    let taken = Ipv4Addr::new(127, 88, 5, 77);
    let other = TokioNet.bind((taken, 8080).into()).await.unwrap();
    world
        .create("web", json!({"clusterIP": taken}), &[(1, port)])
        .await;
    let message = world.until_event("web", "ListenFailed").await;
    assert!(
        message.starts_with("cannot listen on 127.88.5.77:8080: "),
        "{message}"
    );
    assert!(message.ends_with("another program has it"), "{message}");
    drop(other);
    until(|| greeting((taken, 8080), None)).await;
    world.end().await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_and_counted() {
    let limits = Limits {
        connections_max: 1,
        ..quick()
    };
    let world = World::start(6, limits).await;
    let port = world.pod_server(1).await;
    let service = world.create("web", json!({}), &[(1, port)]).await;
    let at = (cluster_ip(&service), 8080);
    let mut first = until(|| async { TokioNet.connect(at.into(), None).await.ok() }).await;
    assert!(!read_line(&mut first).await.is_empty());
    assert_eq!(greeting(at, None).await.unwrap(), "");
    drop(first);
    until(|| async { greeting(at, None).await.filter(|line| !line.is_empty()) }).await;
    assert!(world.end().await.over_limit >= 1);
}

#[tokio::test]
async fn ports_of_other_protocols_are_told_to_the_owner() {
    let world = World::start(7, quick()).await;
    let ports = json!({"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]});
    world.create("dns", ports, &[]).await;
    let message = world.until_event("dns", "UnsupportedProtocol").await;
    assert_eq!(
        message,
        "port 53/UDP: the service proxy of this cluster forwards TCP only"
    );
    world.end().await;
}
