use std::io::Write;
use std::sync::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
    }
}

fn logged(format: Format, filter: &str, log: impl Fn(&Handle)) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let (dispatch, handle) = subscriber(
        Tier::Namespace,
        format,
        filter.parse().unwrap(),
        false,
        move || writer.clone(),
    );
    tracing::dispatcher::with_default(&dispatch, || log(&handle));
    lines.take()
}

#[test]
fn an_event_is_one_line_of_json_with_fixed_keys_first() {
    let error = InvalidFormat;
    let line = logged(Format::Json, "info", |_| {
        tracing::warn!(
            tenant = "openstack",
            reason = "x",
            count = 3,
            tier = "forged",
            ratio = 0.5,
            is_ready = false,
            error = &error as &dyn std::error::Error,
            "two\nlines and a \" quote"
        );
    });
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    let (time, rest) = line.split_once(r#"","level"#).unwrap();
    assert!(
        time.starts_with(r#"{"ts":"2"#) && time.ends_with('Z'),
        "{line}"
    );
    expect_test::expect![[r#"
        ":"warn","msg":"two\nlines and a \" quote","tier":"namespace","target":"tiergate_control_plane::telemetry::tests","count":3,"error":"the log format is text, json or auto","is_ready":false,"ratio":0.5,"reason":"x","tenant":"openstack","tier_":"forged"}
    "#]]
    .assert_eq(rest);
    serde_json::from_str::<serde_json::Value>(&line).expect("the line is JSON");
}

#[test]
fn text_has_no_colours_away_from_a_terminal() {
    let line = logged(Format::Text, "info", |_| {
        tracing::info!(port = 80, "serving")
    });
    assert!(
        line.contains("INFO") && line.contains("serving port=80"),
        "{line}"
    );
    assert!(!line.contains('\u{1b}'), "{line}");
}

#[test]
fn the_filter_decides_and_can_be_changed_while_running() {
    let lines = logged(Format::Text, "warn", |handle| {
        tracing::info!("hidden");
        tracing::warn!("shown");
        handle.set_filter("error,tiergate=debug".parse().unwrap());
        tracing::debug!("shown after the change");
        tracing::debug!(target: "hyper", "of another crate");
        tracing::warn!(target: "hyper", "of another crate");
        assert_eq!(handle.filter().to_string(), "error,tiergate=debug");
    });
    assert!(!lines.contains("hidden"), "{lines}");
    assert!(lines.contains("shown after the change"), "{lines}");
    assert!(!lines.contains("of another crate"), "{lines}");
}

#[test]
fn a_module_alone_leaves_the_others_at_info() {
    let lines = logged(Format::Text, "hyper=trace", |_| {
        tracing::trace!(target: "hyper", "one");
        tracing::info!(target: "kube", "two");
        tracing::debug!(target: "kube", "three");
    });
    assert!(lines.contains("one") && lines.contains("two"), "{lines}");
    assert!(!lines.contains("three"), "{lines}");
}

#[test]
fn what_is_no_level_is_refused() {
    for text in [
        "",
        "loud",
        "3",
        "info,",
        "tiergate=",
        "=info",
        "tiergate=loud",
        "a b=info",
        "tiergate",
        "info;debug",
    ] {
        let error = text.parse::<Filter>().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("{text:?} is not a log level")),
            "{error}"
        );
    }
    assert!("info,".repeat(1000).parse::<Filter>().is_err());
    for text in ["off", "ERROR", "warn, tiergate=debug,hyper::proto=trace"] {
        assert!(text.parse::<Filter>().is_ok(), "{text}");
    }
}
