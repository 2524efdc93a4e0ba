//! Gives every namespace its ServiceAccount `default`.
//!
//! In: namespaces and ServiceAccounts. Out: ServiceAccounts.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::namespace::is_active;
use super::queue::{Queue, work};
use super::store::Key;
use super::write::{WriteError, Writer};
use super::{CONTROLLER_MANAGER, Context};

const NAME: &str = "default";

const RETRY_DELAY_FIRST: Duration = Duration::from_millis(20);

/// Makes the controller listen to the stores, and returns its work, which has no end.
pub(crate) fn run(context: Context) -> impl Future<Output = ()> + Send {
    let stores = context.stores;
    let writer = Writer::new(context.client, CONTROLLER_MANAGER);
    let queue = Queue::new(RETRY_DELAY_FIRST);
    let adder = Arc::clone(&queue);
    stores.namespaces.on_change(move |before, after| {
        if let (None, Some(namespace)) = (before, after) {
            adder.add(Key::of(namespace));
        }
    });
    let adder = Arc::clone(&queue);
    stores.service_accounts.on_change(move |before, after| {
        if let (Some(gone), None) = (before, after) {
            let key = Key::of(gone);
            if key.name == NAME {
                adder.add(Key::new("", key.namespace));
            }
        }
    });
    async move {
        stores.namespaces.synced().await;
        stores.service_accounts.synced().await;
        work("service_account", &queue, |key| {
            let (stores, writer) = (&stores, &writer);
            async move {
                let is_there = stores
                    .service_accounts
                    .get(&Key::new(&*key.name, NAME))
                    .is_some();
                let namespace = stores.namespaces.get(&key);
                if is_there || !namespace.is_some_and(|namespace| is_active(&namespace)) {
                    return Ok(());
                }
                let account = ServiceAccount {
                    metadata: ObjectMeta {
                        name: Some(NAME.into()),
                        namespace: Some(key.name),
                        ..ObjectMeta::default()
                    },
                    ..ServiceAccount::default()
                };
                match writer.create(&account).await {
                    Ok(_)
                    | Err(
                        WriteError::AlreadyExists
                        | WriteError::NamespaceTerminating
                        | WriteError::NotFound,
                    ) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        })
        .await;
    }
}
