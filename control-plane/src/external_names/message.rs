//! A question to a DNS server and its answer, as bytes (RFC 1035 §4). Pure.
//!
//! In: a name and a kind of address; what came back. Out: the bytes of the question; the addresses that the name has by way of its
//! aliases, in the order of the chain. It believes nothing that the question did not ask for.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::Duration;

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, ParsedRecord, Rtype};
use domain::rdata::{A, Aaaa, Cname};

use crate::model::external::ExternalName;

/// Aliases of aliases that are followed.
const ALIASES_MAX: usize = 16;

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// What a server said of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    /// The names that it stands for in turn.
    pub(super) aliases: Vec<String>,
    /// How long this is so. None: nothing was said.
    pub(super) ttl: Option<Duration>,
    /// There is no such name at all.
    pub(super) is_missing: bool,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Useless {
    #[error("it is no DNS message")]
    Broken,
    #[error("it answers another question")]
    OtherQuestion,
    #[error("the server says {0}")]
    Refused(Rcode),
}

// === impl Family ===

impl Family {
    fn record_type(self) -> Rtype {
        match self {
            Self::Ipv4 => Rtype::A,
            Self::Ipv6 => Rtype::AAAA,
        }
    }
}

/// A question, as it is sent over TCP: with its length before it (RFC 1035 §4.2.2).
pub(super) fn question(name: &ExternalName, family: Family, id: u16) -> Option<Vec<u8>> {
    let name = Name::<Vec<u8>>::from_str(name.as_str()).ok()?;
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name, family.record_type())).ok()?;
    let message = builder.finish();
    let length = u16::try_from(message.len()).ok()?;
    Some([&length.to_be_bytes()[..], &message].concat())
}

/// What a server answered to that question.
pub(super) fn answer(
    bytes: &[u8],
    name: &ExternalName,
    family: Family,
    id: u16,
) -> Result<Answer, Useless> {
    let message = Message::from_octets(bytes).map_err(|_| Useless::Broken)?;
    let header = message.header();
    let question = message
        .sole_question()
        .map_err(|_| Useless::OtherQuestion)?;
    let is_ours = header.qr()
        && header.id() == id
        && question.qtype() == family.record_type()
        && comparable(question.qname()) == name.as_str();
    if !is_ours {
        return Err(Useless::OtherQuestion);
    }
    match header.rcode() {
        Rcode::NOERROR if header.tc() => return Err(Useless::Broken),
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN => {
            return Ok(Answer {
                is_missing: true,
                ..Answer::default()
            });
        }
        other => return Err(Useless::Refused(other)),
    }
    let mut records = Vec::new();
    for record in message.answer().map_err(|_| Useless::Broken)? {
        records.extend(read(&record.map_err(|_| Useless::Broken)?, family)?);
    }
    Ok(follow(name.as_str(), &records))
}

/// A record that may be of use.
struct Known {
    owner: String,
    ttl: Duration,
    data: Data,
}

enum Data {
    Address(IpAddr),
    Alias(String),
}

fn read(record: &ParsedRecord<'_, &[u8]>, family: Family) -> Result<Option<Known>, Useless> {
    if record.class() != Class::IN {
        return Ok(None);
    }
    let broken = |_| Useless::Broken;
    let data = match (record.rtype(), family) {
        (Rtype::A, Family::Ipv4) => {
            let address = record.to_record::<A>().map_err(broken)?;
            address.map(|address| Data::Address(address.data().addr().into()))
        }
        (Rtype::AAAA, Family::Ipv6) => {
            let address = record.to_record::<Aaaa>().map_err(broken)?;
            address.map(|address| Data::Address(address.data().addr().into()))
        }
        (Rtype::CNAME, _) => {
            let alias = record.to_record::<Cname<_>>().map_err(broken)?;
            alias.map(|alias| Data::Alias(comparable(alias.data().cname())))
        }
        _ => None,
    };
    Ok(data.map(|data| Known {
        owner: comparable(&record.owner()),
        ttl: Duration::from_secs(record.ttl().as_secs().into()),
        data,
    }))
}

fn comparable(name: &impl std::fmt::Display) -> String {
    let text = name.to_string().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// From the name along its aliases to addresses.
fn follow(name: &str, records: &[Known]) -> Answer {
    let mut answer = Answer::default();
    let mut at = name.to_owned();
    loop {
        let mut next = None;
        for Known { owner, ttl, data } in records.iter().filter(|known| known.owner == at) {
            debug_assert_eq!(*owner, at, "filtered");
            answer.ttl = Some(answer.ttl.map_or(*ttl, |known| known.min(*ttl)));
            match data {
                Data::Address(address) => answer.addresses.push(*address),
                Data::Alias(alias) => next = Some(alias.clone()),
            }
        }
        match next {
            Some(alias) if answer.addresses.is_empty() && answer.aliases.len() < ALIASES_MAX => {
                answer.aliases.push(alias.clone());
                at = alias;
            }
            Some(_) | None => return answer,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use domain::base::Ttl;

    use super::*;

    fn name(text: &str) -> ExternalName {
        ExternalName::parse(text, "shop").unwrap()
    }

    fn dns(text: &str) -> Name<Vec<u8>> {
        Name::from_str(text).unwrap()
    }

    /// The answer to a question, with these records: owner, seconds, and what it leads to.
    pub(in super::super) fn answered(
        question: &[u8],
        rcode: Rcode,
        records: &[(&str, u32, &str)],
    ) -> Vec<u8> {
        let question = Message::from_octets(&question[2..]).unwrap();
        let builder = MessageBuilder::new_vec();
        let mut builder = builder
            .start_answer(&question, rcode)
            .unwrap_or_else(|_| unreachable!());
        for (owner, seconds, to) in records {
            let (owner, ttl) = (dns(owner), Ttl::from_secs(*seconds));
            match to.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => builder.push((owner, ttl, A::new(address))),
                Ok(IpAddr::V6(address)) => builder.push((owner, ttl, Aaaa::new(address))),
                Err(_) => builder.push((owner, ttl, Cname::new(dns(to)))),
            }
            .unwrap();
        }
        builder.finish()
    }

    #[test]
    fn an_answer_is_followed_along_its_aliases() {
        let db = name("db.example.com");
        let question = question(&db, Family::Ipv4, 7).unwrap();
        let bytes = answered(
            &question,
            Rcode::NOERROR,
            &[
                ("other.example.com", 1, "10.9.9.9"),
                ("CDN.example.net", 20, "10.0.0.2"),
                ("db.example.com", 300, "cdn.Example.net"),
                ("cdn.example.net", 30, "10.0.0.1"),
                ("cdn.example.net", 30, "fd00::1"),
            ],
        );
        let found = answer(&bytes, &db, Family::Ipv4, 7).unwrap();
        let addresses: [IpAddr; 2] = ["10.0.0.2", "10.0.0.1"].map(|text| text.parse().unwrap());
        assert_eq!(found.addresses, addresses);
        assert_eq!(found.aliases, ["cdn.example.net"]);
        assert_eq!(found.ttl, Some(Duration::from_secs(20)));
        // The same bytes are no answer to anything else.
        let other = Err(Useless::OtherQuestion);
        assert_eq!(answer(&bytes, &db, Family::Ipv4, 8), other);
        assert_eq!(answer(&bytes, &db, Family::Ipv6, 7), other);
        assert_eq!(answer(&bytes, &name("a.example"), Family::Ipv4, 7), other);
        assert_eq!(answer(&question[2..], &db, Family::Ipv4, 7), other);
    }

    #[test]
    fn aliases_in_a_circle_lead_nowhere() {
        let db = name("db.example.com");
        let question = question(&db, Family::Ipv6, 7).unwrap();
        let records = [
            ("db.example.com", 5, "a.example"),
            ("a.example", 5, "db.example.com"),
        ];
        let bytes = answered(&question, Rcode::NOERROR, &records);
        let found = answer(&bytes, &db, Family::Ipv6, 7).unwrap();
        assert_eq!(
            (found.addresses.len(), found.aliases.len()),
            (0, ALIASES_MAX)
        );
    }

    #[test]
    fn a_name_that_is_not_there_is_told_from_a_server_that_cannot_say() {
        let db = name("db.example.com");
        let question = question(&db, Family::Ipv4, 7).unwrap();
        let of = |rcode| answer(&answered(&question, rcode, &[]), &db, Family::Ipv4, 7);
        assert!(of(Rcode::NXDOMAIN).unwrap().is_missing);
        assert_eq!(of(Rcode::NOERROR), Ok(Answer::default()));
        for rcode in [Rcode::SERVFAIL, Rcode::REFUSED] {
            assert_eq!(of(rcode), Err(Useless::Refused(rcode)));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_stop_it(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            at: proptest::sample::Index, byte: u8,
        ) {
            let db = name("db.example.com");
            let _ = answer(&bytes, &db, Family::Ipv4, 7);
            let question = question(&db, Family::Ipv4, 7).unwrap();
            let records = [("db.example.com", 5, "a.example"), ("a.example", 5, "10.0.0.1")];
            let mut bytes = answered(&question, Rcode::NOERROR, &records);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = answer(&bytes, &db, Family::Ipv4, 7);
            let _ = answer(&bytes[..at], &db, Family::Ipv4, 7);
        }
    }
}
