//! One list, page by page: the next page is asked for before this one is decoded.
//!
//! In: the address of a list and its parameters. Out: its objects, and how new they and it are. API server and tier work at the same time
//! so, which is a good part of the time that a tier needs from its start until it serves. It does not try again.

use std::fmt;
use std::time::Duration;

use futures::future::{MaybeDone, maybe_done};
use kube::api::{ListMeta, ListParams, ObjectList};
use kube::{Client, Error, Resource};
use serde::Deserializer as _;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use tokio::time::timeout;

use crate::objects::{OBJECTS_MAX, Object};

/// For one page.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// Turns of the runtime in which a request gets to the socket: client, queue and connection are tasks of their own.
const TURNS: usize = 8;

/// All objects of a list.
pub(super) struct Listed {
    pub(super) objects: Vec<Object>,
    /// The newest resourceVersion among them; 0 without any.
    pub(super) newest: u64,
    /// That of the list.
    pub(super) version: String,
}

/// A resourceVersion as the number that it is; 0 when it is none.
pub(super) fn number(version: Option<&str>) -> u64 {
    version.map_or(0, |version| version.parse().unwrap_or_default())
}

/// Asks for all pages. `parameters` are those of the first.
pub(super) async fn list<K>(
    client: &Client,
    url: &str,
    mut parameters: ListParams,
) -> anyhow::Result<Listed>
where
    K: Resource + Clone + DeserializeOwned,
    Object: From<K>,
{
    let mut objects: Vec<Object> = Vec::new();
    let mut newest = 0;
    let mut text = ask(client, url, &parameters).await?;
    loop {
        let token = continue_token(&text);
        // What is beyond the limit is refused, counted and logged where it is taken in: some of it is enough for that.
        let goes_on = token.is_some() && objects.len() <= OBJECTS_MAX;
        let next = goes_on.then(|| {
            parameters.continue_token = token;
            maybe_done(ask(client, url, &parameters))
        });
        let mut next = std::pin::pin!(next);
        if let Some(next) = next.as_mut().as_pin_mut() {
            send(next).await;
        }
        let page: ObjectList<K> = serde_json::from_str(&text).map_err(Error::SerdeError)?;
        drop(text);
        for item in page.items {
            newest = newest.max(number(item.meta().resource_version.as_deref()));
            objects.push(Object::from(item));
        }
        let Some(mut next) = next.as_mut().as_pin_mut() else {
            let version = page.metadata.resource_version.unwrap_or_default();
            anyhow::ensure!(!version.is_empty(), "the list has no resourceVersion");
            return Ok(Listed {
                objects,
                newest,
                version,
            });
        };
        next.as_mut().await;
        text = next.take_output().expect("it is done")?;
    }
}

async fn ask(client: &Client, url: &str, parameters: &ListParams) -> anyhow::Result<String> {
    let request = kube::core::Request::new(url).list(parameters);
    let mut request = request.map_err(Error::BuildRequest)?;
    // What the client's own lists are called in traces.
    request.extensions_mut().insert("list");
    Ok(timeout(LIST_TIMEOUT, client.request_text(request)).await??)
}

/// Lets a request go out.
async fn send<F: Future>(mut request: std::pin::Pin<&mut MaybeDone<F>>) {
    for _ in 0..TURNS {
        if futures::poll!(request.as_mut()).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Where the list goes on. Reads no further than that: API servers write it before the items.
fn continue_token(text: &str) -> Option<String> {
    struct Head(Option<ListMeta>);

    impl<'de> Visitor<'de> for &mut Head {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
            while let Some(field) = fields.next_key::<&str>()? {
                if field == "metadata" {
                    self.0 = Some(fields.next_value()?);
                    return Err(A::Error::custom("the rest is not read"));
                }
                fields.next_value::<IgnoredAny>()?;
            }
            Ok(())
        }
    }

    let mut head = Head(None);
    // An error says that there is more, or what is wrong: the whole page is decoded anyway, and tells of it.
    let _ = serde_json::Deserializer::from_str(text).deserialize_map(&mut head);
    let token = head.0?.continue_;
    token.filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_where_its_metadata_says() {
        for (text, token) in [
            (
                r#"{"kind":"L","metadata":{"continue":"x","resourceVersion":"3"},"items":[{"metadata":{"continue":"y"}}]}"#,
                Some("x"),
            ),
            (
                r#"{"items":[{"metadata":{"continue":"y"}}],"metadata":{"continue":"x"}}"#,
                Some("x"),
            ),
            (r#"{"metadata":{"continue":""},"items":[]}"#, None),
            (r#"{"metadata":{},"items":[]}"#, None),
            (r#"{"items":[]}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(continue_token(text).as_deref(), token, "{text}");
        }
    }
}
