use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::table::{Affinity, BackendName, Protocol};

/// A backend with endpoints of these numbers, and what is known of them.
struct Given {
    backend: Backend,
    live: LiveBackend,
    now: Instant,
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint {
        address: ([127, 0, 0, number], 80).into(),
        identity: format!("uid-{number}").as_str().into(),
    }
}

fn given(numbers: impl IntoIterator<Item = u8>) -> Given {
    let endpoints: Vec<Endpoint> = numbers.into_iter().map(endpoint).collect();
    let now = Instant::now();
    let live = |endpoint: &Endpoint| Arc::new(LiveEndpoint::new(endpoint, now));
    Given {
        live: LiveBackend {
            traffic: Arc::new(Traffic::new(now, now)),
            endpoints: endpoints.iter().map(live).collect(),
        },
        backend: Backend {
            name: BackendName {
                namespace: "team".into(),
                service: "app".into(),
                port: "80".into(),
            },
            protocol: Protocol::Http1,
            endpoints,
        },
        now,
    }
}

impl Given {
    fn choice<'r>(&'r self, algorithm: Algorithm, by: By<'r>) -> Choice<'r> {
        Choice::new((&self.backend, &self.live), algorithm, by, self.now)
    }

    /// The numbers of the endpoints that one request tries, until there is none.
    fn tries(&self, mut choice: Choice<'_>, rng: &mut SmallRng) -> Vec<u8> {
        let next = || choice.next(self.now, rng).map(number);
        std::iter::from_fn(next).collect()
    }

    /// Where each of so many requests goes first.
    fn firsts(&self, algorithm: Algorithm, requests: usize, rng: &mut SmallRng) -> Vec<u8> {
        let one = |_| {
            let mut choice = self.choice(algorithm, By::Algorithm);
            number(choice.next(self.now, rng).unwrap())
        };
        (0..requests).map(one).collect()
    }
}

fn number(endpoint: &Endpoint) -> u8 {
    match endpoint.address.ip() {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(_) => unreachable!("all have IPv4"),
    }
}

fn rng() -> SmallRng {
    SmallRng::seed_from_u64(7)
}

fn count(picked: &[u8], number: u8) -> usize {
    picked.iter().filter(|&&picked| picked == number).count()
}

const ALL: [Algorithm; 3] = [
    Algorithm::RoundRobin,
    Algorithm::LeastRequest,
    Algorithm::Ewma,
];

#[test]
fn requests_go_round_the_endpoints() {
    let mut given = given(0..3);
    let first = given.firsts(Algorithm::RoundRobin, 5, &mut rng());
    assert_eq!(first, [0, 1, 2, 0, 1]);
    let traffic = given.live.traffic.clone();
    given = self::given(0..2);
    given.live.traffic = traffic;
    assert_eq!(given.firsts(Algorithm::RoundRobin, 2, &mut rng()), [1, 0]);
}

#[test]
fn a_request_tries_every_endpoint_once() {
    let affinities = [AffinityMode::Balanced, AffinityMode::Persistent].map(affinity);
    for algorithm in ALL {
        let given = given(0..9);
        let headers = HeaderMap::new();
        let mut ways = vec![By::Algorithm, By::Key(3)];
        for affinity in &affinities {
            let session = Session::new(affinity, &headers, "/");
            ways.push(By::Session(Box::new(session)));
        }
        for by in ways {
            let mut tries = given.tries(given.choice(algorithm, by), &mut rng());
            tries.sort_unstable();
            assert_eq!(tries, (0..9).collect::<Vec<u8>>(), "{algorithm}");
        }
        let none = self::given([]);
        let nothing = none.tries(none.choice(algorithm, By::Algorithm), &mut rng());
        assert_eq!(nothing, [0; 0]);
    }
}

#[test]
fn the_same_seed_chooses_the_same() {
    for algorithm in ALL {
        let picked = |seed| {
            let rng = &mut SmallRng::seed_from_u64(seed);
            given(0..8).firsts(algorithm, 64, rng)
        };
        assert_eq!(picked(1), picked(1), "{algorithm}");
        let is_by_chance = algorithm.counts();
        assert_eq!(picked(1) != picked(2), is_by_chance, "{algorithm}");
    }
}

#[test]
fn who_has_fewer_requests_under_way_gets_more() {
    let given = given(0..4);
    let _busy: Vec<InFlight> = (0..10)
        .map(|_| InFlight::new(&given.live.endpoints[2]))
        .collect();
    let picked = given.firsts(Algorithm::LeastRequest, 400, &mut rng());
    assert_eq!(count(&picked, 2), 0, "of two, the other is always idler");
    for number in [0, 1, 3] {
        assert!(count(&picked, number) > 90, "{picked:?}");
    }
}

#[test]
fn requests_under_way_are_counted_where_load_decides() {
    let given = given(0..1);
    for (algorithm, counted) in [
        (Algorithm::RoundRobin, 0),
        (Algorithm::LeastRequest, 1),
        (Algorithm::Ewma, 1),
    ] {
        let mut choice = given.choice(algorithm, By::Key(1));
        assert!(choice.begin().is_none(), "none was found");
        choice.next(given.now, &mut rng());
        let under_way = choice.begin();
        assert_eq!(given.live.endpoints[0].load.in_flight(), counted);
        drop(under_way);
        assert_eq!(given.live.endpoints[0].load.in_flight(), 0);
    }
}

#[test]
fn who_answers_late_is_left_alone_for_a_while() {
    let given = given(0..4);
    for (position, endpoint) in given.live.endpoints.iter().enumerate() {
        let latency = if position == 1 { 2000 } else { 10 };
        let under_way = InFlight::new(endpoint);
        under_way.answered(Duration::from_millis(latency), given.now);
    }
    let picked = given.firsts(Algorithm::Ewma, 400, &mut rng());
    assert_eq!(count(&picked, 1), 0);
    let later = Given {
        now: given.now + Duration::from_secs(60),
        ..given
    };
    for position in [0, 2, 3] {
        let under_way = InFlight::new(&later.live.endpoints[position]);
        under_way.answered(Duration::from_millis(10), later.now);
    }
    let picked = later.firsts(Algorithm::Ewma, 400, &mut rng());
    assert!(count(&picked, 1) > 0, "its latency has faded");
}

#[test]
fn a_key_stays_with_its_endpoint_and_then_with_the_next_of_its_rank() {
    let all = given(0..6);
    for key in 0..200 {
        let tries = |given: &Given| {
            let choice = given.choice(Algorithm::RoundRobin, By::Key(rank::key(&[key])));
            given.tries(choice, &mut rng())
        };
        let before = tries(&all);
        let without_first = given((0..6).filter(|&number| number != before[0]));
        assert_eq!(tries(&without_first), before[1..]);
    }
}

fn affinity(mode: AffinityMode) -> Affinity {
    Affinity {
        mode,
        cookie: "sid".into(),
        path: None,
        attributes: "".into(),
        expires: None,
        is_secure: None,
        changes_on_failure: false,
    }
}

/// The first so many endpoints that a request with this cookie tries, and the cookie that the answer of the last one sets.
fn ask(
    given: &Given,
    affinity: &Affinity,
    cookie: Option<&str>,
    tries: usize,
    rng: &mut SmallRng,
) -> (Vec<u8>, Option<String>) {
    let mut headers = HeaderMap::new();
    if let Some(cookie) = cookie {
        let value = format!("sid={cookie}");
        headers.insert(COOKIE, HeaderValue::try_from(value).unwrap());
    }
    let session = Session::new(affinity, &headers, "/");
    let by = By::Session(Box::new(session));
    let mut choice = given.choice(Algorithm::RoundRobin, by);
    let tried = (0..tries).map(|_| number(choice.next(given.now, rng).unwrap()));
    let tried = tried.collect();
    let set = choice.set_cookie(false, || SystemTime::UNIX_EPOCH);
    let value = set.map(|set| {
        let text = set.to_str().unwrap();
        let value = text.strip_prefix("sid=").unwrap();
        value.strip_suffix("; Path=/; HttpOnly").unwrap().to_owned()
    });
    (tried, value)
}

#[test]
fn a_session_stays_with_its_endpoint() {
    let (rng, given) = (&mut rng(), given(0..5));
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        let affinity = affinity(mode);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let (first, cookie) = ask(&given, &affinity, None, 1, rng);
            let cookie = cookie.expect("a new session has a cookie");
            assert!(!cookie.contains('.'), "no address: {cookie}");
            seen.insert(first[0]);
            for _ in 0..3 {
                assert_eq!(
                    ask(&given, &affinity, Some(&cookie), 1, rng),
                    (first.clone(), None)
                );
            }
        }
        assert_eq!(seen.len(), 5, "new sessions are spread: {mode:?}");
    }
}

#[test]
fn when_endpoints_come_a_persistent_session_stays_and_few_balanced_ones_move() {
    let (rng, before, after) = (&mut rng(), given(0..4), given(0..5));
    for (mode, moved_max) in [(AffinityMode::Balanced, 80), (AffinityMode::Persistent, 0)] {
        let affinity = affinity(mode);
        let mut moved = 0;
        for _ in 0..200 {
            let (first, cookie) = ask(&before, &affinity, None, 1, rng);
            let (now, set) = ask(&after, &affinity, cookie.as_deref(), 1, rng);
            assert_eq!(set, None);
            if now != first {
                assert_eq!(now, [4], "to the one that came");
                moved += 1;
            }
        }
        assert!(moved <= moved_max, "{mode:?}: {moved}");
        assert!(moved > 0 || moved_max == 0, "{mode:?}");
    }
}

#[test]
fn a_session_whose_endpoint_has_gone_gets_another() {
    let (rng, before) = (&mut rng(), given(0..5));
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        let affinity = affinity(mode);
        let (first, cookie) = ask(&before, &affinity, None, 1, rng);
        let cookie = cookie.unwrap();
        let after = given((0..5).filter(|number| *number != first[0]));
        let (now, set) = ask(&after, &affinity, Some(&cookie), 1, rng);
        assert_ne!(now, first);
        // In balanced mode the key has another holder, and the cookie goes on to say it.
        assert_eq!(set.is_some(), mode == AffinityMode::Persistent);
        let cookie = set.unwrap_or(cookie);
        assert_eq!(ask(&after, &affinity, Some(&cookie), 1, rng), (now, None));
    }
}

#[test]
fn a_session_whose_endpoint_fails_moves_for_good_only_where_that_is_asked_for() {
    let (rng, given) = (&mut rng(), given(0..5));
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        for changes_on_failure in [false, true] {
            let affinity = Affinity {
                changes_on_failure,
                ..affinity(mode)
            };
            let (first, cookie) = ask(&given, &affinity, None, 1, rng);
            let (tried, set) = ask(&given, &affinity, cookie.as_deref(), 2, rng);
            assert_eq!(tried[0], first[0]);
            assert_ne!(tried[1], first[0]);
            assert_eq!(set.is_some(), changes_on_failure, "{mode:?}");
            if let Some(set) = set {
                let moved = ask(&given, &affinity, Some(&set), 1, rng);
                assert_eq!(moved, (vec![tried[1]], None), "{mode:?}");
            } else {
                let again = ask(&given, &affinity, cookie.as_deref(), 2, rng);
                assert_eq!(again, (tried, None), "the same one meanwhile");
            }
            // A new session whose first endpoint fails belongs to the one that served it.
            let (tried, set) = ask(&given, &affinity, None, 2, rng);
            let stays = ask(&given, &affinity, set.as_deref(), 1, rng);
            assert_eq!(stays, (vec![tried[1]], None), "{mode:?}");
        }
    }
}

#[test]
fn a_forged_cookie_chooses_nothing_that_another_would_not() {
    let (rng, given) = (&mut rng(), given(0..3));
    let long = "a".repeat(4000);
    for value in [
        "127.0.0.1:80",
        "0000000000000000",
        "x",
        &long,
        "ffffffffffffffff",
    ] {
        let balanced = affinity(AffinityMode::Balanced);
        let (_, set) = ask(&given, &balanced, Some(value), 1, rng);
        assert_eq!(set.is_some(), value.len() > 128, "{value}");
        let persistent = affinity(AffinityMode::Persistent);
        let (_, set) = ask(&given, &persistent, Some(value), 1, rng);
        assert!(set.is_some(), "{value}");
    }
}

const EJECTION: Ejection = Ejection {
    is_on: true,
    failures: 2,
    time: Duration::from_secs(5),
    time_max: Duration::from_secs(60),
};

/// Lets endpoints fail until they rest.
fn eject(given: &Given, numbers: &[usize]) {
    for &number in numbers {
        let endpoint = &given.live.endpoints[number];
        assert_eq!(endpoint.failed(given.now, &EJECTION), None);
        assert!(endpoint.failed(given.now, &EJECTION).is_some());
    }
}

#[test]
fn who_rests_gets_no_request_until_its_time_is_over() {
    for algorithm in ALL {
        let mut given = given(0..4);
        eject(&given, &[1, 2]);
        let picked = given.firsts(algorithm, 200, &mut rng());
        assert_eq!(count(&picked, 1) + count(&picked, 2), 0, "{algorithm}");
        given.now += EJECTION.time;
        let picked = given.firsts(algorithm, 200, &mut rng());
        assert!(
            count(&picked, 1) > 0 && count(&picked, 2) > 0,
            "{algorithm}"
        );
    }
}

#[test]
fn the_others_share_evenly_what_one_that_rests_would_have_had() {
    for resting in [&[1][..], &[1, 2], &[0, 3], &[5]] {
        let given = given(0..6);
        eject(&given, resting);
        let picked = given.firsts(Algorithm::RoundRobin, 600, &mut rng());
        let well = 6 - resting.len();
        for number in (0..6).filter(|number| !resting.contains(number)) {
            let picked = count(&picked, u8::try_from(number).unwrap());
            assert!(
                picked.abs_diff(600 / well) <= 2,
                "{resting:?}: {number} {picked}"
            );
        }
    }
}

#[test]
fn with_fewer_than_half_left_all_get_requests() {
    for algorithm in ALL {
        let given = given(0..5);
        eject(&given, &[0, 1]);
        let picked = given.firsts(algorithm, 200, &mut rng());
        assert_eq!(count(&picked, 0) + count(&picked, 1), 0, "{algorithm}");
        eject(&given, &[2]);
        let picked = given.firsts(algorithm, 400, &mut rng());
        for number in 0..5 {
            assert!(count(&picked, number) > 0, "{algorithm}: {picked:?}");
        }
    }
    let alone = given(0..1);
    eject(&alone, &[0]);
    assert_eq!(alone.firsts(Algorithm::RoundRobin, 2, &mut rng()), [0, 0]);
}

#[test]
fn who_rests_is_tried_when_all_others_have_been() {
    let given = given(0..3);
    eject(&given, &[1]);
    for (algorithm, by) in ALL
        .into_iter()
        .zip([By::Algorithm, By::Key(9), By::Algorithm])
    {
        let tries = given.tries(given.choice(algorithm, by), &mut rng());
        assert_eq!((tries.len(), tries[2]), (3, 1), "{algorithm}: {tries:?}");
    }
}

#[test]
fn keys_and_sessions_come_back_to_their_endpoint_after_its_rest() {
    let (rng, mut given) = (&mut rng(), given(0..5));
    for mode in [AffinityMode::Balanced, AffinityMode::Persistent] {
        let affinity = affinity(mode);
        let (first, cookie) = ask(&given, &affinity, None, 1, rng);
        eject(&given, &[usize::from(first[0])]);
        let (meanwhile, set) = ask(&given, &affinity, cookie.as_deref(), 1, rng);
        assert_ne!(meanwhile, first);
        assert_eq!(set, None);
        let (fresh, _) = ask(&given, &affinity, None, 1, rng);
        assert_ne!(fresh, first, "a new session does not begin there");
        given.now += Duration::from_secs(60);
        assert_eq!(
            ask(&given, &affinity, cookie.as_deref(), 1, rng),
            (first, None)
        );
    }
}
