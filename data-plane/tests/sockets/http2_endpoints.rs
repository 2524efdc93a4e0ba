//! What endpoints of HTTP/2 send, frame by frame, and what clients make of it.

use tiergate_data_plane::table::Protocol;

use crate::harness::client::get;
use crate::harness::frames::{DATA, RST_STREAM, answering, fields_of, frame};
use crate::harness::{config, proxy, run, table};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: (&str, &str) = (":status", "200");
const LENGTH: (&str, &str) = ("content-length", "4");
const NO_ERROR: [u8; 4] = [0; 4];

#[test]
fn an_answer_is_whole_only_if_its_end_or_all_of_its_length_came() {
    run(async {
        let unsaid: &'static [(&str, &str)] = &[OK];
        let said: &'static [(&str, &str)] = &[OK, LENGTH];
        for (head, part, is_last, has_trailers, is_whole) in [
            (unsaid, "part", false, false, false),
            (unsaid, "", false, false, false),
            (unsaid, "part", true, false, true),
            (unsaid, "part", false, true, true),
            (said, "part", false, false, true),
            (said, "par", false, false, false),
            (said, "part", true, false, true),
        ] {
            let answer = move |stream| {
                let mut answer = fields_of(stream, false, head);
                answer.extend(frame(DATA, is_last, stream, part.as_bytes()));
                if has_trailers {
                    answer.extend(fields_of(stream, true, &[("x-sum", "1")]));
                }
                answer.extend(frame(RST_STREAM, false, stream, &NO_ERROR));
                answer
            };
            let endpoint = answering(answer).await;
            let proxy = proxy(config(), table(Protocol::H2c, &[endpoint.address])).await;
            let response = get(proxy.http, GET).await;
            let case = (head, part, is_last, has_trailers);
            assert_eq!((response.status, response.text()), (200, part), "{case:?}");
            assert_eq!(!response.is_broken, is_whole, "{case:?}");
            let broken = proxy.errors("response_broken") > 0.5;
            assert_eq!(!broken, is_whole, "{case:?}");
        }
    });
}
