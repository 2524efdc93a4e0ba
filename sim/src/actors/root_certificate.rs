//! Gives every namespace the ConfigMap `kube-root-ca.crt`, from which pods know their API server.
//!
//! In: namespaces, and the ConfigMaps of this name. Out: these ConfigMaps, put right when they are changed or deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::namespace::is_active;
use super::queue::{Queue, work};
use super::store::Key;
use super::write::{WriteError, Writer, unless_gone};
use super::{CONTROLLER_MANAGER, Context};

/// The name of the ConfigMap.
pub(crate) const NAME: &str = "kube-root-ca.crt";

const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(20);

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let (stores, options) = (context.stores, context.options);
    let writer = Writer::new(context.client, CONTROLLER_MANAGER);
    let queue = Queue::new(RETRY_DELAY_FIRST);
    let adder = Arc::clone(&queue);
    stores.namespaces.on_change(move |before, after| {
        if let (None, Some(namespace)) = (before, after) {
            adder.add(Key::of(namespace));
        }
    });
    let adder = Arc::clone(&queue);
    stores.root_certificates.on_change(move |before, after| {
        let changed = after.or(before).expect("a change has a side");
        adder.add(Key::new("", Key::of(changed).namespace));
    });
    async move {
        stores.namespaces.synced().await;
        stores.root_certificates.synced().await;
        work("root_certificate", &queue, |key| {
            let (stores, options, writer) = (&stores, &options, &writer);
            async move {
                let namespace = stores.namespaces.get(&key);
                if !namespace.is_some_and(|namespace| is_active(&namespace)) {
                    return Ok(());
                }
                let present = stores.root_certificates.get(&Key::new(&*key.name, NAME));
                match step(
                    &key.name,
                    present.as_deref(),
                    &options.root_certificates_pem,
                ) {
                    Some(map) if map.metadata.uid.is_none() => match writer.create(&map).await {
                        Ok(_)
                        | Err(
                            WriteError::AlreadyExists
                            | WriteError::NamespaceTerminating
                            | WriteError::NotFound,
                        ) => Ok(()),
                        Err(error) => Err(error),
                    },
                    Some(map) => unless_gone(writer.replace(&map).await).map(|_| ()),
                    None => Ok(()),
                }
            }
        })
        .await;
    }
}

/// The ConfigMap to write; none when the present one is right. Pure.
fn step(namespace: &str, present: Option<&ConfigMap>, pem: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([(DATA_KEY.to_owned(), pem.to_owned())]);
    let mut map = present.cloned().unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    });
    map.data = Some(data);
    let annotations = map.metadata.annotations.get_or_insert_default();
    annotations.entry(DESCRIPTION.into()).or_insert_with(|| {
        "The certificates with which pods of this namespace check the API server of the cluster.".into()
    });
    (present != Some(&map)).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_written_when_it_is_missing_or_wrong_and_else_left_alone() {
        let written = step("a", None, "PEM").expect("it is missing");
        assert_eq!(written.data.as_ref().unwrap()[DATA_KEY], "PEM");
        assert_eq!(step("a", Some(&written), "PEM"), None);
        let put_right = step("a", Some(&written), "NEW").expect("it is wrong");
        assert_eq!(put_right.data.unwrap()[DATA_KEY], "NEW");
    }
}
