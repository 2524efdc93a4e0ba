//! A property: after any changes, what was made step by step is what is made at once of the objects that are left.

use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::{core, discovery, networking};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tiergate_data_plane::net::Families;

use super::*;
use crate::compile::compile;
use crate::objects::certificate::tests::pem;
use crate::objects::resolution::{Resolution, Trouble};
use crate::objects::{Change, Object};
use crate::scope::ExternalNames;
use crate::translate::translate;

mod conflicts;

const TENANTS: [&str; 2] = ["alpha", "beta"];
const NAMES: [&str; 3] = ["one", "two", "three"];
const HOSTS: [&str; 6] = [
    "",
    "a.example",
    "b.example",
    "c.example",
    "*.example",
    "Bad Host",
];

const EXTERNAL: [&str; 4] = [
    "db.example.com",
    "DB.example.com.",
    "web.example.com",
    "localhost",
];

/// Chains with keys: nobody can make one for each case.
static CHAINS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let hosts = ["a.example", "*.example"];
    hosts.map(|host| pem(host, &rcgen::PKCS_ED25519)).into()
});

fn name() -> impl Strategy<Value = (&'static str, &'static str)> {
    (select(TENANTS.to_vec()), select(NAMES.to_vec()))
}

fn backend() -> impl Strategy<Value = Value> {
    let ports = [
        json!({"number": 80}),
        json!({"number": 80}),
        json!({"name": "web"}),
        json!({"name": "80"}),
        json!({"number": 9}),
        json!({}),
    ];
    (select(NAMES.to_vec()), select(ports.to_vec()))
        .prop_map(|(service, port)| json!({"service": {"name": service, "port": port}}))
}

fn ingress() -> impl Strategy<Value = Change> {
    let path = select(vec![
        "/",
        "/a",
        "/a/",
        "bad",
        "/a(/|$)(.*)",
        "/a(.*)",
        "/(.*",
    ]);
    let kind = select(vec!["Prefix", "Prefix", "ImplementationSpecific"]);
    let rule = (select(HOSTS.to_vec()), path, kind, backend()).prop_map(|(host, path, kind, backend)| {
        json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}})
    });
    let tls = (vec(select(HOSTS.to_vec()), 0..3), select(NAMES.to_vec()))
        .prop_map(|(hosts, secret)| json!({"hosts": hosts, "secretName": secret}));
    let class = select(vec![Some("ours"), Some("ours"), Some("other"), None]);
    let default = prop::option::weighted(0.2, backend());
    let annotations = select(vec![
        json!(null),
        json!(null),
        json!({"nginx.ingress.kubernetes.io/proxy-body-size": "8m"}),
        json!({"nginx.ingress.kubernetes.io/proxy-body-size": "much"}),
        json!({"nginx.ingress.kubernetes.io/auth-url": "http://login"}),
        json!({"nginx.ingress.kubernetes.io/use-regex": "true"}),
        json!({"nginx.ingress.kubernetes.io/rewrite-target": "/$2"}),
        json!({"nginx.ingress.kubernetes.io/rewrite-target": "http://elsewhere"}),
        json!({"nginx.ingress.kubernetes.io/proxy-ssl-secret": "alpha/one"}),
        json!({"nginx.ingress.kubernetes.io/proxy-ssl-secret": "alpha/two", "nginx.ingress.kubernetes.io/proxy-ssl-verify": "on",
            "nginx.ingress.kubernetes.io/proxy-ssl-name": "pods.example"}),
        json!({"nginx.ingress.kubernetes.io/ssl-redirect": "false"}),
        json!({"nginx.ingress.kubernetes.io/force-ssl-redirect": "true"}),
    ]);
    let spec = (
        vec(rule, 0..3),
        prop::option::of(vec(tls, 1..2)),
        default,
        class,
        0..3u32,
        annotations,
    );
    (name(), spec).prop_map(|((tenant, name), (rules, tls, default, class, second, annotations))| {
        let object: networking::v1::Ingress = serde_json::from_value(json!({
            "metadata": {"namespace": tenant, "name": name, "annotations": annotations,
                "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")},
            "spec": {"ingressClassName": class, "rules": rules, "tls": tls, "defaultBackend": default},
        }))
        .unwrap();
        Change::Apply(Object::from(object))
    })
}

fn service() -> impl Strategy<Value = Change> {
    let kind = select(vec!["ClusterIP", "ClusterIP", "ExternalName"]);
    let protocol = select(vec![None, Some("kubernetes.io/h2c"), Some("https")]);
    let number = select(vec![80, 80, 81]);
    let external = select(EXTERNAL.to_vec());
    let of_service = (kind, protocol, number, external);
    (name(), of_service).prop_map(|((tenant, name), (kind, protocol, number, external))| {
        let object: core::v1::Service = serde_json::from_value(json!({
            "metadata": {"namespace": tenant, "name": name},
            "spec": {"type": kind, "externalName": external, "ports": [{"name": "web", "port": number, "appProtocol": protocol}]},
        }))
        .unwrap();
        Change::Apply(Object::from(object))
    })
}

/// What DNS says of a name: nothing, or some addresses, of which one is not public.
fn resolution() -> impl Strategy<Value = Change> {
    let name = select(vec!["db.example.com", "web.example.com"]);
    let addresses = vec(
        select(vec!["93.184.215.14", "2606:2800:21f::1", "10.0.0.1"]),
        0..3,
    );
    let trouble = select(vec![None, None, Some(Trouble::Unanswered)]);
    (name, any::<bool>(), addresses, trouble).prop_map(|(name, is_known, addresses, trouble)| {
        let resolution = Resolution {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            aliases: Vec::new(),
            trouble,
        };
        let name = ExternalName::parse(name, "").unwrap();
        Change::Resolve(name, is_known.then(|| Arc::new(resolution)))
    })
}

fn slice() -> impl Strategy<Value = Change> {
    let address = select(vec!["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "bad"]);
    let pods = vec((address, any::<bool>()), 0..3);
    (name(), select(NAMES.to_vec()), pods).prop_map(|((tenant, name), service, pods)| {
        let endpoint = |(address, ready): &(&str, bool)| json!({"addresses": [address], "conditions": {"ready": ready}});
        let object: discovery::v1::EndpointSlice = serde_json::from_value(json!({
            "metadata": {"namespace": tenant, "name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "ports": [{"name": "web", "port": 8080}],
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
        }))
        .unwrap();
        Change::Apply(Object::from(object))
    })
}

fn secret() -> impl Strategy<Value = Change> {
    (name(), 0..3usize).prop_map(|((tenant, name), chain)| {
        let entry = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = CHAINS.get(chain).map(|(chain, key)| {
            let entries = [("tls.crt", chain), ("tls.key", key), ("ca.crt", chain)];
            entries
                .map(|(name, text)| (name.to_owned(), entry(text)))
                .into()
        });
        let metadata = serde_json::from_value(json!({"namespace": tenant, "name": name})).unwrap();
        Change::Apply(Object::from(core::v1::Secret {
            metadata,
            data,
            ..core::v1::Secret::default()
        }))
    })
}

fn class() -> impl Strategy<Value = Change> {
    select(vec!["tiergate.dev/ingress", "example.com/other"]).prop_map(|controller| {
        let object: networking::v1::IngressClass = serde_json::from_value(json!({
            "metadata": {"name": "ours"}, "spec": {"controller": controller},
        }))
        .unwrap();
        Change::Apply(Object::from(object))
    })
}

fn namespace() -> impl Strategy<Value = Change> {
    (name(), proptest::bool::ANY).prop_map(|((tenant, _), is_terminating)| {
        let deleted = is_terminating.then_some("2026-01-01T00:00:00Z");
        let object: core::v1::Namespace = serde_json::from_value(json!({
            "metadata": {"name": tenant, "deletionTimestamp": deleted},
        }))
        .unwrap();
        Change::Apply(Object::from(object))
    })
}

fn change() -> impl Strategy<Value = Change> {
    let delete = (select(Kind::ALL.to_vec()), name()).prop_map(|(kind, (tenant, name))| {
        let name = match kind {
            Kind::IngressClass => ObjectName::new("", "ours"),
            Kind::Namespace => ObjectName::new("", tenant),
            Kind::Ingress | Kind::Service | Kind::EndpointSlice | Kind::Secret => {
                ObjectName::new(tenant, name)
            }
        };
        Change::Delete(kind, name)
    });
    let ingresses = vec(ingress(), 0..4).prop_map(|changes| {
        let object = |change| match change {
            Change::Apply(object) => Some(object),
            Change::Delete(..) | Change::Replace(..) | Change::Resolve(..) => None,
        };
        Change::Replace(
            Kind::Ingress,
            changes.into_iter().filter_map(object).collect(),
        )
    });
    prop_oneof![
        8 => ingress(),
        1 => namespace(),
        3 => service(),
        4 => slice(),
        2 => secret(),
        1 => class(),
        4 => delete,
        1 => ingresses,
        2 => resolution(),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    let by_name = Secrets::ByName {
        namespaces: [TENANTS[0].to_owned()].into(),
        refresh: Duration::from_secs(1),
    };
    let one = || Some(ObjectName::new(TENANTS[0], NAMES[0]));
    let named = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        select(vec![Secrets::Watched, by_name]),
        select(vec![Families::Both, Families::Ipv4, Families::Ipv6]),
        any::<bool>(),
    );
    named.prop_map(
        move |(has_backend, has_certificate, ssl_redirect, secrets, families, is_on)| Scope {
            namespace: None,
            classes: vec!["ours".to_owned()],
            without_class: true,
            reads_cluster_objects: true,
            default_backend: one().filter(|_| has_backend),
            default_certificate: one().filter(|_| has_certificate),
            secrets,
            families,
            ssl_redirect,
            external_names: is_on.then(ExternalNames::default),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_is_the_same_as_at_once(
        batches in vec(vec(change(), 1..4), 1..16), scope in scope(), low: u64,
    ) {
        let mut objects = Objects::default();
        let mut increment = Increment::new(HashKey::new(low, 3));
        let mut served = Table::default();
        let mut known = BTreeSet::new();
        for batch in batches {
            let mut changes = Changes::default();
            for change in batch {
                objects.take_in(change, &mut changes);
            }
            let outcome = increment.follow(&objects, &scope, &changes);
            let whole = translate(&objects, &scope);
            let expected = compile(&whole.model);
            let is_told = outcome.table.is_some();
            if let Some(table) = outcome.table {
                prop_assert!(table != served, "an equal table is no news");
                served = table;
            }
            prop_assert_eq!(&served, &expected, "told: {}", is_told);
            let conditions: Vec<_> = increment.conditions().cloned().collect();
            prop_assert_eq!(&conditions, &whole.conditions);
            for gone in &outcome.gone {
                prop_assert!(known.remove(gone), "{:?} was not there", gone);
            }
            known.extend(outcome.came);
            prop_assert_eq!(known.iter().collect::<Vec<_>>(), conditions.iter().collect::<Vec<_>>());
            prop_assert_eq!(increment.wanted(), &whole.secrets);
            let ours: BTreeSet<_> = whole.ingresses.iter().collect();
            prop_assert_eq!(increment.ingresses().collect::<BTreeSet<_>>(), ours);
        }
    }
}

/// A change of one Ingress, and of the endpoints of one Service, beside many others.
#[test]
fn what_has_nothing_to_do_with_a_change_is_shared() {
    let scope = Scope {
        without_class: true,
        ..Scope::default()
    };
    let ingress = |number: usize, path: &str| {
        let backend =
            json!({"service": {"name": format!("s{}", number % 10), "port": {"number": 80}}});
        let object: networking::v1::Ingress = serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": format!("i{number}")},
            "spec": {"rules": [{"host": format!("h{number}.example"), "http": {"paths": [
                {"path": path, "pathType": "Prefix", "backend": backend}]}}]},
        }))
        .unwrap();
        Change::Apply(Object::from(object))
    };
    let (mut objects, mut increment) = (Objects::default(), Increment::new(HashKey::default()));
    for number in 0..1000 {
        objects.apply(ingress(number, "/"));
    }
    let first = increment.follow(&objects, &scope, &Changes::default());
    let mut changes = Changes::default();
    objects.take_in(ingress(7, "/new"), &mut changes);
    let second = increment.follow(&objects, &scope, &changes);
    let [first, second] = [first, second].map(|outcome| outcome.table.unwrap());
    let shared = |name: &str| {
        let [one, another] = [&first, &second].map(|table| table.hosts().get(name).unwrap());
        Arc::ptr_eq(one, another)
    };
    let unshared: Vec<usize> = (0..1000)
        .filter(|n| !shared(&format!("h{n}.example")))
        .collect();
    assert_eq!(unshared, [7]);
}
