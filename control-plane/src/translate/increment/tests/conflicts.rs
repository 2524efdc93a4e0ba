//! A property: whoever asks, in whatever order the objects came to it, gets the same answer to who holds a path, and the answer is
//! the oldest, then the first by namespace and name.

use super::*;
use crate::model::TenantModel;
use crate::translate::condition::Reason;

/// Valid rules of both tenants for the same few hosts and paths.
fn rival() -> impl Strategy<Value = networking::v1::Ingress> {
    let rule = (
        select(vec!["a.example", "*.example", ""]),
        select(vec!["/", "/a", "/a/b"]),
        select(vec!["Prefix", "Exact", "ImplementationSpecific"]),
    );
    (name(), vec(rule, 1..4), 0..3u32).prop_map(|((tenant, name), rules, second)| {
        let backend = json!({"service": {"name": "one", "port": {"number": 80}}});
        let rule = |(host, path, kind): &(&str, &str, &str)| {
            json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}})
        };
        let rules: Vec<_> = rules.iter().map(rule).collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": tenant, "name": name, "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")},
            "spec": {"ingressClassName": "ours", "rules": rules},
        }))
        .unwrap()
    })
}

/// Who asks for a host, a path and a way to compare it, the first of them first.
type Askers = BTreeMap<(String, String, bool), Vec<(String, String, String)>>;

fn askers<'i>(ingresses: impl Iterator<Item = &'i networking::v1::Ingress>) -> Askers {
    let mut askers = Askers::default();
    for ingress in ingresses {
        let metadata = &ingress.metadata;
        let text = |text: &Option<String>| text.clone().unwrap();
        let created = metadata.creation_timestamp.as_ref().unwrap().0.to_string();
        let asker = (created, text(&metadata.namespace), text(&metadata.name));
        for rule in ingress
            .spec
            .iter()
            .flat_map(|spec| spec.rules.iter().flatten())
        {
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let host = rule.host.clone().unwrap_or_default();
                let key = (host, text(&path.path), path.path_type == "Exact");
                askers.entry(key).or_default().push(asker.clone());
            }
        }
    }
    for of_one in askers.values_mut() {
        of_one.sort();
    }
    askers
}

/// Who holds each path of a model.
fn holders(tenants: &BTreeMap<crate::model::tenant::Tenant, TenantModel>) -> Vec<String> {
    let mut holders: Vec<String> = tenants
        .iter()
        .flat_map(|(tenant, model)| {
            model
                .routes
                .iter()
                .map(move |(key, target)| (tenant, key, target))
        })
        .map(|(tenant, key, target)| {
            let path = key
                .path
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{} {path}: {tenant}/{}", key.host, target.ingress)
        })
        .collect();
    holders.sort();
    holders
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_replica_after_every_restart_gives_a_contested_path_to_the_same_ingress(
        rivals in vec(rival(), 2..7), orders in vec(any::<prop::sample::Index>(), 3 * 8), scope in scope(),
    ) {
        let rivals: BTreeMap<_, _> = rivals
            .into_iter()
            .map(|ingress| ((ingress.metadata.namespace.clone(), ingress.metadata.name.clone()), ingress))
            .collect();
        let mut all = Objects::default();
        for ingress in rivals.values() {
            all.apply(Change::Apply(Object::from(ingress.clone())));
        }
        let restarted = translate(&all, &scope);
        let expected = compile(&restarted.model);
        for order in orders.chunks(8) {
            let mut waiting: Vec<_> = rivals.values().cloned().collect();
            let (mut objects, mut replica) = (Objects::default(), Increment::new(HashKey::default()));
            for next in order {
                if waiting.is_empty() {
                    break;
                }
                let arrives = waiting.swap_remove(next.index(waiting.len()));
                let mut changes = Changes::default();
                objects.take_in(Change::Apply(Object::from(arrives)), &mut changes);
                replica.follow(&objects, &scope, &changes);
            }
            prop_assert!(waiting.is_empty());
            prop_assert_eq!(&replica.table(), &expected);
            prop_assert_eq!(replica.conditions().cloned().collect::<Vec<_>>(), restarted.conditions.clone());
        }

        let askers = askers(rivals.values());
        let mut first: Vec<String> = askers
            .iter()
            .map(|((host, path, is_exact), of_one)| {
                let host = if host.is_empty() { "*" } else { host };
                let kind = if *is_exact { "Exact" } else { "Prefix" };
                format!("{host} {kind} {path}: {}/{}", of_one[0].1, of_one[0].2)
            })
            .collect();
        first.sort();
        prop_assert_eq!(holders(&restarted.model.tenants), first);

        let losers: usize = askers.values().map(|of_one| of_one.len() - 1).sum();
        let told: Vec<_> = restarted
            .conditions
            .iter()
            .filter(|condition| matches!(condition.reason, Reason::PathConflict | Reason::DuplicatePath))
            .collect();
        prop_assert_eq!(told.len(), losers);
        for condition in told {
            let other = TENANTS.into_iter().find(|tenant| *tenant != condition.object.name.namespace);
            let other = format!("{}/", other.unwrap());
            prop_assert!(!condition.message.contains(&other), "{}", condition.message);
        }
    }
}
