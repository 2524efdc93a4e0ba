//! What holds for any set of objects: the order of arrival does not matter, nothing panics, and one tenant's objects change
//! only that tenant's part. Properties of the pure steps, tried with generated objects.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest,
};
use proptest::sample::select;
use serde_json::{Value, json};
use tiergate_control_plane::explain::{Documents, explain, table};
use tiergate_control_plane::scope::{Scope, Secrets};
use tiergate_data_plane::lookup;
use tiergate_data_plane::net::Families;
use tiergate_data_plane::table::{Met, Table};

const TENANTS: [&str; 3] = ["alpha", "beta", "gamma"];
const NAMES: [&str; 3] = ["one", "two", "three"];

/// An object and what it is called by: kind, namespace, name.
type Named = ((String, String, String), Value);

fn metadata(tenant: &str, name: &str, second: u32) -> Value {
    json!({"namespace": tenant, "name": name, "uid": format!("{tenant}-{name}"),
        "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")})
}

fn ingress() -> impl Strategy<Value = Named> {
    let path = select(vec!["/", "/a", "/a/", "/a/b", "relative", ""]);
    let kind = select(vec!["Exact", "Prefix", "ImplementationSpecific", "Other"]);
    let host = select(vec!["", "web.", "*.", "*.*.", "Bad Host."]);
    let port = select(vec![
        json!({"number": 80}),
        json!({"name": "web"}),
        json!({"number": 8080}),
        json!({}),
    ]);
    let class = select(vec![
        json!("ours"),
        json!("ours"),
        json!("other"),
        Value::Null,
    ]);
    let names = (
        select(TENANTS.to_vec()),
        select(NAMES.to_vec()),
        select(NAMES.to_vec()),
    );
    (names, path, kind, host, port, class, 0..4u32, any::<bool>()).prop_map(
        |((tenant, name, service), path, kind, host, port, class, second, is_default)| {
            let backend = json!({"service": {"name": service, "port": port}});
            let mut spec = json!({"rules": [{"host": format!("{host}{tenant}.example"), "http": {"paths": [
                {"path": path, "pathType": kind, "backend": backend}]}}],
                "tls": [{"hosts": [format!("web.{tenant}.example")], "secretName": name}]});
            if is_default {
                spec["defaultBackend"] = backend;
            }
            if !class.is_null() {
                spec["ingressClassName"] = class;
            }
            object("networking.k8s.io/v1", "Ingress", metadata(tenant, name, second), json!({"spec": spec}))
        },
    )
}

fn service() -> impl Strategy<Value = Named> {
    let kind = select(vec!["ClusterIP", "NodePort", "ExternalName"]);
    let names = (select(TENANTS.to_vec()), select(NAMES.to_vec()));
    let target = select(vec![json!(8080), json!("web"), Value::Null]);
    (names, kind, target).prop_map(|((tenant, name), kind, target)| {
        let mut port = json!({"name": "web", "port": 80, "protocol": "TCP"});
        if !target.is_null() {
            port["targetPort"] = target;
        }
        let spec = json!({"type": kind, "ports": [port]});
        object(
            "v1",
            "Service",
            metadata(tenant, name, 0),
            json!({"spec": spec}),
        )
    })
}

fn slice() -> impl Strategy<Value = Named> {
    let names = (select(TENANTS.to_vec()), select(NAMES.to_vec()));
    let address = select(vec!["10.0.0.1", "10.0.0.2", "not-an-address"]);
    (names, vec((address, any::<bool>(), any::<bool>()), 0..3)).prop_map(|((tenant, name), pods)| {
        let endpoint = |(address, ready, terminating): &(&str, bool, bool)| {
            json!({"addresses": [address], "conditions": {"ready": ready, "serving": ready, "terminating": terminating}})
        };
        let mut metadata = metadata(tenant, &format!("{name}-slice"), 0);
        metadata["labels"] = json!({"kubernetes.io/service-name": name});
        let rest = json!({"addressType": "IPv4", "ports": [{"name": "web", "port": 8080}],
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>()});
        object("discovery.k8s.io/v1", "EndpointSlice", metadata, rest)
    })
}

fn object(version: &str, kind: &str, metadata: Value, mut rest: Value) -> Named {
    let text = |key: &str| metadata[key].as_str().unwrap_or_default().to_owned();
    let name = (kind.to_owned(), text("namespace"), text("name"));
    rest["apiVersion"] = json!(version);
    rest["kind"] = json!(kind);
    rest["metadata"] = metadata;
    (name, rest)
}

/// Objects with names of their own.
fn objects() -> impl Strategy<Value = Vec<Value>> {
    let all = (
        vec(ingress(), 0..8),
        vec(service(), 0..6),
        vec(slice(), 0..6),
    );
    all.prop_map(|(ingresses, services, slices)| {
        let named = ingresses.into_iter().chain(services).chain(slices);
        named.collect::<BTreeMap<_, _>>().into_values().collect()
    })
}

fn scope() -> Scope {
    Scope {
        namespace: None,
        classes: vec!["ours".to_owned()],
        without_class: true,
        reads_cluster_objects: false,
        default_backend: None,
        default_certificate: None,
        secrets: Secrets::Watched,
        families: Families::Both,
        ssl_redirect: true,
        external_names: None,
    }
}

fn text(objects: &[Value]) -> String {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    documents.join("\n---\n")
}

fn explained(objects: &[Value]) -> String {
    let documents = Documents::parse(&text(objects), "default").expect("well-formed objects");
    explain(&documents, &scope(), &[])
}

/// The model's part of a tenant.
fn part_of(explained: &str, tenant: &str) -> Value {
    let all: Value = serde_norway::from_str(explained).expect("explain writes YAML");
    all["model"]["tenants"][tenant].clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        (objects, shuffled) in objects().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
    ) {
        prop_assert_eq!(explained(&objects), explained(&shuffled));
    }

    #[test]
    fn one_tenants_objects_change_only_that_tenants_part(objects in objects()) {
        let mut objects = objects;
        // A default backend claims the hosts that nobody names: those have one holder, the oldest.
        for spec in objects.iter_mut().filter_map(|object| object["spec"].as_object_mut()) {
            spec.remove("defaultBackend");
        }
        let of_tenant = |object: &&Value| object["metadata"]["namespace"] == TENANTS[0];
        let alone: Vec<Value> = objects.iter().filter(of_tenant).cloned().collect();
        prop_assert_eq!(part_of(&explained(&alone), TENANTS[0]), part_of(&explained(&objects), TENANTS[0]));
    }

    #[test]
    fn no_object_stops_the_translation(
        objects in objects(), which in any::<proptest::sample::Index>(), field in any::<proptest::sample::Index>(),
        junk in select(vec![Value::Null, json!(-1), json!(""), json!("\u{0}é\n"), json!([]), json!({}), json!("x".repeat(300))])
    ) {
        let mut objects = objects;
        if !objects.is_empty() {
            let place = which.index(objects.len());
            let pointers = pointers(&objects[place], "");
            let pointer = &pointers[field.index(pointers.len())];
            if let Some(value) = objects[place].pointer_mut(pointer) {
                *value = junk;
            }
        }
        // What the decoder refuses never reaches a tier; everything else must be explained.
        if let Ok(documents) = Documents::parse(&text(&objects), "default") {
            let _ = explain(&documents, &scope(), &[]);
        }
    }
}

/// An Ingress for `h.example` whose paths are expressions, to the Service `web` of its namespace.
fn of_expressions(tenant: &str, second: u32, paths: &[(&str, &str)]) -> Value {
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let path =
        |(kind, path): &(&str, &str)| json!({"path": path, "pathType": kind, "backend": backend});
    let paths: Vec<Value> = paths.iter().map(path).collect();
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"namespace": tenant, "name": "web", "creationTimestamp": format!("2026-01-01T00:00:0{second}Z"),
            "annotations": {"nginx.ingress.kubernetes.io/use-regex": "true"}},
        "spec": {"ingressClassName": "ours", "rules": [{"host": "h.example", "http": {"paths": paths}}]}})
}

fn table_of(objects: &[Value]) -> Table {
    let documents = Documents::parse(&text(objects), "default").expect("well-formed objects");
    table(&documents, &scope())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    /// Whatever another namespace writes: it gets requests of an older one only by naming, sign by sign, more of their path.
    #[test]
    fn no_expression_takes_what_another_namespace_has(
        texts in vec("/(app|APP|api|a|b)?(/|\\(/\\|\\$\\)|\\(\\.\\*\\)|\\.\\*|\\||\\(\\.\\*\\)\\|/|\\?|\\*|\\[a-z/\\]\\+|x){0,4}(\\(\\.\\*\\)){0,4}", 1..4),
        asked in "/(app|APP|api|aPi|appx|a|b|x)?(/(app|api|a|b|x)){0,2}/?",
    ) {
        const OLDER: [(&str, &str); 4] = [
            ("Prefix", "/"),
            ("Prefix", "/app"),
            ("Exact", "/app/x"),
            ("ImplementationSpecific", "/api(/|$)(.*)"),
        ];
        // As rules are compared with it.
        let asked = asked.replace("//", "/");
        let older = of_expressions(TENANTS[0], 0, &OLDER);
        let paths: Vec<(&str, &str)> = texts.iter().map(|text| ("ImplementationSpecific", &**text)).collect();
        let younger = of_expressions(TENANTS[1], 1, &paths);
        let (alone, both) = (table_of(std::slice::from_ref(&older)), table_of(&[older.clone(), younger]));
        let url: http::Uri = format!("http://h.example{asked}").parse().expect("a URL");
        let found = |table: &Table| {
            let id = lookup::route(table, &url).expect("a path that is served").expect("a root");
            let tenant = table.route(id).owner.tenant.to_string();
            let expression = match lookup::met(table, &url).expect("a good path").1 {
                Met::Expression(expression) => Some(expression.text().to_owned()),
                Met::Exact | Met::Prefix(_) | Met::Default => None,
            };
            (tenant, expression)
        };
        let (before, after) = (found(&alone), found(&both));
        if after.0 == before.0 {
            prop_assert_eq!(before, after);
            return Ok(());
        }
        let hosts = both.hosts();
        let expressions = hosts.get("h.example").expect("the host").expressions();
        let mut own = expressions.filter(|(one, _)| Some(one.text()) == after.1.as_deref());
        let beginning = own.next().expect("it is an expression").0.beginning().to_owned();
        let of_older = ["/app", "/api"].into_iter().find(|path| asked == *path || asked.starts_with(&format!("{path}/")));
        prop_assert!(asked != "/app/x" && asked.starts_with(&beginning));
        prop_assert!(beginning.len() > of_older.unwrap_or("").len(), "{:?} has {}", after, asked);
    }
}

/// JSON pointers of all values inside.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let mut found = vec![at.to_owned()];
    if let Some(map) = value.as_object() {
        for (key, inner) in map {
            found.extend(pointers(inner, &format!("{at}/{}", key.replace('/', "~1"))));
        }
    } else if let Some(list) = value.as_array() {
        for (index, inner) in list.iter().enumerate() {
            found.extend(pointers(inner, &format!("{at}/{index}")));
        }
    }
    found
}

#[test]
fn of_ten_thousand_rules_only_the_bad_ones_are_left_out() {
    const RULES: usize = 10_000;
    let rule = |number: usize| {
        let (host, path, service) = match number {
            17 => ("Bad Host".to_owned(), "/", "one"),
            4711 => (format!("h{number}.example"), "relative", "one"),
            9999 => (format!("h{number}.example"), "/", "nobody"),
            _ => (format!("h{number}.example"), "/", "one"),
        };
        let backend = json!({"service": {"name": service, "port": {"number": 80}}});
        json!({"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}})
    };
    let rules: Vec<Value> = (0..RULES).map(rule).collect();
    let note = "x".repeat(1 << 20);
    let metadata = json!({"name": "large", "namespace": TENANTS[0],
        "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": note}});
    let spec = json!({"ingressClassName": "ours", "rules": rules});
    let (_, ingress) = object(
        "networking.k8s.io/v1",
        "Ingress",
        metadata,
        json!({"spec": spec}),
    );
    let ports = json!({"spec": {"ports": [{"port": 80}]}});
    let named = json!({"name": "one", "namespace": TENANTS[0]});
    let (_, service) = object("v1", "Service", named, ports);
    let explained = explained(&[ingress, service]);
    let routes = part_of(&explained, TENANTS[0])["routes"].clone();
    assert_eq!(routes.as_array().map(Vec::len), Some(RULES - 2));
    let all: Value = serde_norway::from_str(&explained).expect("explain writes YAML");
    let told = all["model"]["conditions"].as_array().cloned();
    let told: Vec<(String, String)> = told
        .unwrap_or_default()
        .iter()
        .map(|one| {
            [&one["reason"], &one["field"]].map(|text| text.as_str().unwrap_or_default().to_owned())
        })
        .map(|[reason, field]| (reason, field))
        .collect();
    let expected = [
        (
            "AnnotationInvalid",
            "metadata.annotations[nginx.ingress.kubernetes.io/proxy-body-size]",
        ),
        ("InvalidHost", "spec.rules[17].host"),
        ("InvalidPath", "spec.rules[4711].http.paths[0].path"),
        (
            "ServiceNotFound",
            "spec.rules[9999].http.paths[0].backend.service.name",
        ),
    ];
    let expected = expected.map(|(reason, field)| (reason.to_owned(), field.to_owned()));
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for one in &expected {
        assert!(
            told.iter()
                .any(|(reason, field)| *reason == one.0 && field.contains(one.1.as_str())),
            "{one:?}: {told:?}"
        );
    }
    // What its owner is told of a megabyte is a sentence.
    assert!(all["model"]["conditions"].to_string().len() < 4096);
}
