//! Properties of the translation, on generated objects. The golden cases beside `explain` show what it does.

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::networking::v1;
use k8s_openapi::jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::compile::compile;
use crate::objects::certificate::tests::certificate;
use crate::objects::certificate::{Certificate, InvalidCertificate, Secret};
use crate::objects::endpoint_slice::{EndpointSlice, Readiness, SliceEndpoint, SlicePort};
use crate::objects::ingress::IngressClass;
use crate::objects::namespace::Namespace;
use crate::objects::service::{Service, ServicePort, Target};
use crate::objects::{Change, Content, Object};

/// Few names, so that objects meet; some are wrong.
const TENANTS: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 3] = ["one", "two", "three"];
const HOSTS: [&str; 7] = [
    "",
    "x.example",
    "y.example",
    "*.example",
    "10.0.0.1",
    "*",
    "A.b",
];
const PATHS: [&str; 9] = [
    "/",
    "/p",
    "/p/",
    "/p/q",
    "p",
    "/a b",
    "/p(/|$)(.*)",
    "/(.*)",
    "/(p",
];
const PATH_TYPES: [&str; 4] = ["Exact", "Prefix", "ImplementationSpecific", "Other"];
const PORT_NAMES: [&str; 3] = ["http", "admin", ""];
const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.0.2", "fd00::1", "0.0.0.0", "nonsense"];

fn scope() -> Scope {
    Scope {
        classes: vec!["tiergate".to_owned()],
        without_class: true,
        reads_cluster_objects: true,
        default_backend: Some(ObjectName::new("a", "one")),
        default_certificate: Some(ObjectName::new("a", "one")),
        ..Scope::default()
    }
}

fn text(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![9 => select(from).prop_map(str::to_owned), 1 => any::<String>()]
}

fn port() -> impl Strategy<Value = i32> {
    prop_oneof![8 => 79..82_i32, 1 => any::<i32>()]
}

fn backend() -> impl Strategy<Value = v1::IngressBackend> {
    let port = (option::of(text(&PORT_NAMES)), option::of(port()))
        .prop_map(|(name, number)| v1::ServiceBackendPort { name, number });
    option::of((text(&NAMES), option::of(port))).prop_map(|service| v1::IngressBackend {
        service: service.map(|(name, port)| v1::IngressServiceBackend { name, port }),
        resource: None,
    })
}

fn rule() -> impl Strategy<Value = v1::IngressRule> {
    let path = (option::of(text(&PATHS)), text(&PATH_TYPES), backend()).prop_map(
        |(path, path_type, backend)| v1::HTTPIngressPath {
            path,
            path_type,
            backend,
        },
    );
    let http = option::of(vec(path, 0..4).prop_map(|paths| v1::HTTPIngressRuleValue { paths }));
    (option::of(text(&HOSTS)), http).prop_map(|(host, http)| v1::IngressRule { host, http })
}

fn ingress() -> impl Strategy<Value = Content> {
    let class = option::of(select(&["tiergate", "other", ""][..]));
    let tls = (
        option::of(vec(text(&HOSTS), 0..3)),
        option::of(text(&NAMES)),
    )
        .prop_map(|(hosts, secret_name)| v1::IngressTLS { hosts, secret_name });
    (
        option::of(0..3_i64),
        class.clone(),
        class,
        option::weighted(0.3, backend()),
        option::of(vec(rule(), 0..4)),
        option::of(vec(tls, 0..3)),
        option::of(select(vec![
            ("use-regex", "true"),
            ("rewrite-target", "/$2"),
            ("ssl-redirect", "false"),
        ])),
    )
        .prop_map(
            |(created, class, annotation, default_backend, rules, tls, annotations)| {
                Content::Ingress(Arc::new(Ingress {
                    created: created.map(|second| Timestamp::from_second(second).unwrap()),
                    class_annotation: annotation.map(Into::into),
                    annotations: annotations
                        .map(|(name, value)| (name.into(), value.into()))
                        .into_iter()
                        .collect(),
                    spec: v1::IngressSpec {
                        ingress_class_name: class.map(str::to_owned),
                        default_backend,
                        rules,
                        tls,
                    }
                    .into(),
                    told: crate::objects::ingress::Told::default(),
                }))
            },
        )
}

fn service() -> impl Strategy<Value = Content> {
    let target = prop_oneof![
        port().prop_map(Target::Number),
        text(&PORT_NAMES).prop_map(Target::Name)
    ];
    let service_port = (
        text(&PORT_NAMES),
        port(),
        target,
        select(&["TCP", "TCP", "UDP"][..]),
        option::of(select(&["kubernetes.io/h2c", "https", "http"][..])),
    )
        .prop_map(
            |(name, number, target, protocol, app_protocol)| ServicePort {
                name,
                number,
                target,
                protocol: protocol.to_owned(),
                app_protocol: app_protocol.map(str::to_owned),
            },
        );
    (
        select(&["ClusterIP", "ExternalName"][..]),
        vec(service_port, 0..3),
    )
        .prop_map(|(service_type, ports)| {
            Content::Service(Arc::new(Service {
                service_type: service_type.to_owned(),
                external_name: (service_type == "ExternalName")
                    .then(|| "db.example.com".to_owned()),
                ports,
            }))
        })
}

fn endpoint_slice() -> impl Strategy<Value = Content> {
    let slice_port = (text(&PORT_NAMES), option::of(port()))
        .prop_map(|(name, number)| SlicePort { name, number });
    let readiness = select(&[Readiness::Ready, Readiness::Draining, Readiness::NotReady][..]);
    let endpoint = (text(&ADDRESSES), readiness, option::of(text(&NAMES))).prop_map(
        |(address, readiness, pod_uid)| SliceEndpoint {
            address,
            readiness,
            pod_uid,
        },
    );
    (text(&NAMES), vec(slice_port, 0..3), vec(endpoint, 0..4)).prop_map(
        |(service, ports, endpoints)| {
            Content::EndpointSlice(Arc::new(EndpointSlice {
                service,
                address_type: "IPv4".to_owned(),
                ports,
                endpoints,
            }))
        },
    )
}

/// Made once, so that a failing case stays the same while it is made smaller.
static CERTIFICATES: LazyLock<[Certificate; 2]> =
    LazyLock::new(|| ["x.example", "*.example"].map(certificate));

fn secret() -> impl Strategy<Value = Content> {
    let [exact, wildcard] = CERTIFICATES.clone();
    select(vec![
        Ok(exact),
        Ok(wildcard),
        Err(InvalidCertificate::KeyMismatch),
    ])
    .prop_map(|certificate| {
        let authorities = Err(InvalidCertificate::Missing("ca.crt"));
        Content::Secret(Arc::new(Secret {
            certificate,
            authorities,
        }))
    })
}

fn ingress_class() -> impl Strategy<Value = Content> {
    select(&[CONTROLLER, "example.com/other"][..]).prop_map(|controller| {
        Content::IngressClass(Arc::new(IngressClass {
            controller: controller.to_owned(),
        }))
    })
}

fn object(tenants: &'static [&'static str]) -> impl Strategy<Value = Object> {
    let content = prop_oneof![
        4 => ingress(),
        3 => service(),
        3 => endpoint_slice(),
        1 => secret(),
        1 => ingress_class(),
        1 => proptest::bool::weighted(0.3).prop_map(|is_terminating| {
            Content::Namespace(Arc::new(Namespace { is_terminating }))
        }),
    ];
    (select(tenants), select(&NAMES[..]), content).prop_map(|(namespace, name, content)| {
        let name = match content {
            Content::IngressClass(_) => ObjectName::new("", "tiergate"),
            Content::Namespace(_) => ObjectName::new("", namespace),
            Content::Ingress(_)
            | Content::Service(_)
            | Content::EndpointSlice(_)
            | Content::Secret(_) => ObjectName::new(namespace, name),
        };
        Object { name, content }
    })
}

fn seen(objects: impl IntoIterator<Item = Object>) -> Objects {
    let mut seen = Objects::default();
    for object in objects {
        seen.apply(Change::Apply(object));
    }
    seen
}

/// The last object of each kind and name, so that the order of arrival cannot tell two versions of one object apart.
fn one_of_each(objects: Vec<Object>) -> Vec<Object> {
    let by_name: BTreeMap<_, _> = objects
        .into_iter()
        .map(|object| ((object.content.kind(), object.name.clone()), object))
        .collect();
    by_name.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_arrival_gives_the_same_table(
        objects in vec(object(&TENANTS), 0..24).prop_map(one_of_each),
        picks in vec(any::<Index>(), 24),
    ) {
        let mut shuffled = objects.clone();
        for (position, pick) in picks.iter().enumerate().take(shuffled.len()) {
            let other = pick.index(shuffled.len());
            shuffled.swap(position, other);
        }
        let one = translate(&seen(objects), &scope());
        let other = translate(&seen(shuffled), &scope());
        prop_assert_eq!(compile(&one.model), compile(&other.model));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_path_of_news_does_not_matter_only_where_it_ends(
        before in vec(object(&TENANTS), 0..12),
        after in vec(object(&TENANTS), 0..24).prop_map(one_of_each),
    ) {
        let mut travelled = seen(before);
        for kind in Kind::ALL {
            let of_kind = after.iter().filter(|object| object.content.kind() == kind);
            travelled.apply(Change::Replace(kind, of_kind.cloned().collect()));
        }
        let direct = seen(after);
        prop_assert_eq!(&travelled, &direct);
        prop_assert_eq!(translate(&travelled, &scope()), translate(&direct, &scope()));
    }

    #[test]
    fn every_route_has_a_backend_and_every_condition_an_object(
        objects in vec(object(&TENANTS), 0..24),
    ) {
        let translation = translate(&seen(objects), &scope());
        for (tenant, model) in &translation.model.tenants {
            for target in model.routes.values() {
                prop_assert!(model.backends.contains_key(&target.backend), "{:?}", target);
                prop_assert_eq!(&*target.backend.namespace, tenant.as_str());
            }
        }
        for condition in &translation.conditions {
            prop_assert!(!condition.field.is_empty() && !condition.message.is_empty());
        }
    }

    /// Hosts of one tenant only: whatever it does, the part of the other tenants stays, and so does what they are told.
    #[test]
    fn objects_of_one_tenant_change_only_its_part(
        others in vec(object(&["a", "b"]), 0..16).prop_map(one_of_each),
        own in vec(object(&["c"]), 0..12),
    ) {
        let is_class = |object: &Object| object.content.kind() == Kind::IngressClass;
        let own: Vec<Object> = own
            .into_iter()
            .filter(|object| !is_class(object))
            .map(younger_than_all)
            .collect();
        let before = translate(&seen(others.clone()), &scope());
        let after = translate(&seen(others.into_iter().chain(own)), &scope());
        let without_c = |translation: &Translation| {
            let mut tenants = translation.model.tenants.clone();
            tenants.retain(|tenant, _| tenant.as_str() != "c");
            let conditions: Vec<_> = translation
                .conditions
                .iter()
                .filter(|condition| condition.object.name.namespace != "c")
                .cloned()
                .collect();
            (tenants, conditions)
        };
        prop_assert_eq!(without_c(&before), without_c(&after));
        prop_assert_eq!(&before.model.default_backend, &after.model.default_backend);
    }
}

/// A claim that is younger than those of the generated Ingresses, which have no time or one of the first seconds of 1970. The
/// names decide between two without a time, and tenant `c` comes last.
fn younger_than_all(object: Object) -> Object {
    match object.content {
        Content::Ingress(ingress) => Object {
            name: object.name,
            content: Content::Ingress(Arc::new(Ingress {
                created: None,
                ..(*ingress).clone()
            })),
        },
        content @ (Content::IngressClass(_)
        | Content::Service(_)
        | Content::EndpointSlice(_)
        | Content::Secret(_)
        | Content::Namespace(_)) => Object {
            name: object.name,
            content,
        },
    }
}

/// How many of these paths of one Ingress are left out as too many expressions, and how many are served.
fn expressions(paths: impl Iterator<Item = String>) -> (usize, usize) {
    let paths: Vec<_> = paths
        .map(|path| {
            serde_json::json!({"path": path, "pathType": "ImplementationSpecific",
                "backend": {"service": {"name": "one", "port": {"number": 80}}}})
        })
        .collect();
    let ingress: v1::Ingress = serde_json::from_value(serde_json::json!({
        "metadata": {"namespace": "a", "name": "one", "annotations": {"nginx.ingress.kubernetes.io/use-regex": "true"}},
        "spec": {"ingressClassName": "tiergate", "rules": [{"host": "x.example", "http": {"paths": paths}}]},
    }))
    .unwrap();
    let mut objects = Objects::default();
    objects.apply(Change::Apply(Object::from(ingress)));
    let translation = translate(&objects, &scope());
    let reasons = translation.conditions.iter();
    let refused = reasons.filter(|condition| condition.reason == Reason::TooManyExpressions);
    let table = compile(&translation.model);
    let paths = table.hosts().get("x.example").unwrap();
    (refused.count(), paths.expressions().count())
}

#[test]
fn a_namespace_has_so_many_expressions_for_a_host_and_no_more() {
    let paths = (0..102).map(|number| format!("/p{number}/(.*)"));
    assert_eq!(expressions(paths), (2, 100));
}

#[test]
fn large_expressions_count_for_what_they_cost() {
    // Each needs some 20 KiB, of 128 KiB: a hundred stopped a worker for eight seconds with one request.
    let large = (500..600).map(|number| format!("/[ab]*a[ab]{{{number}}}c"));
    let (refused, served) = expressions(large);
    assert_eq!(refused + served, 100);
    assert!((1..10).contains(&served), "{served}");
    // What is small has its place behind them.
    let large = (500..600).map(|number| format!("/[ab]*a[ab]{{{number}}}c"));
    let (_, with_small) = expressions(large.chain(["/small/(.*)".to_owned()]));
    assert_eq!(with_small, served + 1);
}
