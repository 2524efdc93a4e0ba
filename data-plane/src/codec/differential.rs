//! Holds codecs against each other: the same bytes, in any pieces, must be the same to the proxy.
//!
//! `corpus` has streams with a name, and `expected/` what the proxy sees of each; `generate` makes streams without end.
//! Both go to the reference in one piece and to the codec in use in many: today hyper against hyper, which still says that
//! no meaning hangs on where the network has cut. A new codec becomes [`Http1`] and nothing here changes.
//!
//! `observe` drives a codec over a script (`script`) and writes down, in words, what comes out on each side.

mod corpus;
mod generate;
mod observe;
mod script;

use std::fmt::Write as _;

use expect_test::expect_file;
use proptest::prelude::*;

use super::Http1;
use super::hyper_codec::Hyper;
use corpus::{ANSWERS, Answer, REQUESTS, Requests};
use generate::Cut;
use script::{End, Script};

/// What other codecs are measured by.
type Reference = Hyper;
/// What the proxy uses.
type Candidate = Http1;

/// More than one cut of a long stream teaches nothing new, and costs the square of its length.
const CUT_BYTES_MAX: usize = 600;

#[test]
fn what_the_proxy_sees_of_requests_is_recorded() {
    let mut seen = String::new();
    for Requests { name, bytes, end } in REQUESTS {
        let events = observe::server::<Candidate>(Script::whole(bytes, end));
        write!(seen, "## {name}\n{events}\n").unwrap();
    }
    expect_file!["differential/expected/requests.txt"].assert_eq(&seen);
}

#[test]
fn what_the_proxy_sees_of_answers_is_recorded() {
    let mut seen = String::new();
    for Answer {
        name,
        asked,
        bytes,
        end,
    } in ANSWERS
    {
        let events = observe::client::<Candidate>(asked, Script::whole(bytes, end));
        write!(seen, "## {name}\n{events}\n").unwrap();
    }
    expect_file!["differential/expected/answers.txt"].assert_eq(&seen);
}

#[test]
fn requests_mean_the_same_wherever_they_are_cut() {
    for Requests { name, bytes, end } in REQUESTS {
        let whole = observe::server::<Reference>(Script::whole(bytes, end));
        for script in cuts(bytes, end) {
            let cut = script.to_string();
            let seen = observe::server::<Candidate>(script);
            assert_eq!(seen, whole, "{name}, as {cut}");
        }
    }
}

#[test]
fn answers_mean_the_same_wherever_they_are_cut() {
    for Answer {
        name,
        asked,
        bytes,
        end,
    } in ANSWERS
    {
        let whole = observe::client::<Reference>(asked, Script::whole(bytes, end));
        for script in cuts(bytes, end) {
            let cut = script.to_string();
            let seen = observe::client::<Candidate>(asked, script);
            assert_eq!(seen, whole, "{name}, as {cut}");
        }
    }
}

#[test]
fn only_the_codec_names_what_hyper_has_for_http1() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut named) = (vec![source], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read_to_string(&path)
                .unwrap()
                .contains("conn::http1")
            {
                named.push(path);
            }
        }
    }
    named.retain(|path| !path.to_string_lossy().contains("/src/codec/"));
    assert!(named.is_empty(), "ask codec.rs for it instead: {named:?}");
}

/// The stream in two pieces, cut at every place, and byte by byte.
fn cuts(bytes: &'static [u8], end: End) -> impl Iterator<Item = Script> {
    let places = 1..bytes.len().min(CUT_BYTES_MAX);
    places
        .map(move |place| Script::cut_at(bytes, &[place], end))
        .chain([Script::bytewise(bytes, end)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_of_any_kind_mean_the_same_in_pieces(stream in generate::requests(), cut in generate::cut()) {
        let stream = with_an_end(stream);
        let whole = observe::server::<Reference>(Script::whole(&stream, End::Closed));
        let seen = observe::server::<Candidate>(cut_by(&stream, &cut));
        prop_assert_eq!(seen, whole, "{}", String::from_utf8_lossy(&stream));
    }

    #[test]
    fn answers_of_any_kind_mean_the_same_in_pieces(
        asked in generate::asked(),
        stream in generate::answers(),
        cut in generate::cut(),
    ) {
        let stream = with_an_end(stream);
        let whole = observe::client::<Reference>(asked, Script::whole(&stream, End::Closed));
        let seen = observe::client::<Candidate>(asked, cut_by(&stream, &cut));
        prop_assert_eq!(seen, whole, "{}", String::from_utf8_lossy(&stream));
    }
}

/// The last head has an end. A codec may look at a head in pieces only when it ends: of one that breaks off, a reader of the
/// whole may say that it is no HTTP, and one of pieces that the peer has gone.
fn with_an_end(mut stream: Vec<u8>) -> Vec<u8> {
    stream.extend_from_slice(b"\r\n\r\n");
    stream
}

fn cut_by(stream: &[u8], cut: &Cut) -> Script {
    let places: Vec<usize> = cut
        .iter()
        .map(|index| index.index(stream.len() + 1))
        .collect();
    Script::cut_at(stream, &places, End::Closed)
}
