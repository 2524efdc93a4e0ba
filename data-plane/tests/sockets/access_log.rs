//! The event that each request leaves in the log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tiergate_data_plane::table::{PathMatch, PathPolicy, Protocol, Redirect, TableBuilder};
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::client::get;
use crate::harness::endpoint::echo;
use crate::harness::{backend, config, owner, pattern, proxy, run, table_of, until};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }
}

#[test]
fn a_request_leaves_one_event_without_its_query() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_writer(lines.clone())
        .finish();
    // For all threads: `tracing` keeps one interest per place of code, which threads without a subscriber would spoil.
    tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");
    run(async {
        let endpoint = echo().await;
        let proxy = proxy(config(), table_of(&[endpoint.address])).await;
        let request =
            "POST /logged?secret=1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(get(proxy.http, request).await.status, 200);
        get(
            proxy.http,
            "GET /logged/../c HTTP/1.1\r\nHost: a.example\r\n\r\n",
        )
        .await;
        let mut builder = TableBuilder::new();
        let id = builder.backend(backend("app", Protocol::Http1, &[endpoint.address]));
        let of_path = PathPolicy {
            redirect: Redirect::Always,
            ..PathPolicy::default()
        };
        let route = builder.route_of_path(owner("web"), id, of_path);
        let _ = builder.path(&pattern("a.example"), PathMatch::Prefix, "/", route);
        proxy.cell.publish(builder.build());
        get(
            proxy.http,
            "GET /logged?secret=2 HTTP/1.1\r\nHost: a.example\r\n\r\n",
        )
        .await;
        until(|| lines.text().matches("\"path\":\"/logged").count() == 3).await;
        let text = lines.text();
        let mut events = text
            .lines()
            .filter(|line| line.contains("\"path\":\"/logged"));
        let event = events.next().expect("an event");
        for part in [
            "\"client\":\"127.0.0.1\"",
            "\"method\":\"POST\"",
            "\"host\":\"a.example\"",
            "\"path\":\"/logged\"",
            "\"code\":200",
            "\"tenant\":\"team\"",
            "\"ingress\":\"web\"",
            "\"backend\":\"team/app:80\"",
            "\"tries\":1",
            "\"request_body_bytes\":2",
            "\"request_id\":\"",
            "\"upstream_ms\":",
            &format!("\"endpoint\":\"{}\"", endpoint.address),
        ] {
            assert!(event.contains(part), "{part} in {event}");
        }
        let refused = events.next().expect("an event");
        assert!(
            refused.contains("\"code\":400") && refused.contains("\"reason\":\"bad_target\""),
            "{refused}"
        );
        let redirected = events.next().expect("an event");
        for part in [
            "\"code\":308",
            "\"reason\":\"https_redirect\"",
            "\"ingress\":\"web\"",
        ] {
            assert!(redirected.contains(part), "{part} in {redirected}");
        }
        assert!(!text.contains("secret"), "{text}");
    });
}
