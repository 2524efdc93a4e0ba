//! Asks DNS servers for the addresses of a name, over TCP.
//!
//! In: a name, and servers in their order. Out: what the first of them says that says anything. Every server takes questions over TCP
//! (RFC 7766 §5); an answer over it is whole, nobody beside the way can forge it, and its every byte passes [`Net`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tiergate_data_plane::net::{Families, Net};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::message::{Answer, Family, answer, question};
use crate::model::external::ExternalName;

/// Servers that are asked; resolvers read no more of `/etc/resolv.conf` either (resolv.conf(5)).
pub(crate) const SERVERS_MAX: usize = 3;

/// How long a server may take for all that it is asked of one name.
const SERVER_TIMEOUT: Duration = Duration::from_secs(3);

/// Numbers that questions are told apart by.
pub(super) type Ids = [u16; 2];

type Ask = dyn Fn(ExternalName, Ids) -> BoxFuture<'static, Option<Answer>> + Send + Sync;

/// Looks names up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Resolver(Arc<Ask>);

// === impl Resolver ===

impl Resolver {
    /// Asks these servers, over this network, for addresses of these families.
    pub(crate) fn new<N: Net>(net: N, mut servers: Vec<SocketAddr>, families: Families) -> Self {
        servers.truncate(SERVERS_MAX);
        let servers: Arc<[SocketAddr]> = servers.into();
        Self(Arc::new(move |name, ids| {
            let (net, servers) = (net.clone(), Arc::clone(&servers));
            Box::pin(async move { look_up(&net, &servers, families, &name, ids).await })
        }))
    }

    /// What DNS says of a name. None: nothing.
    pub(super) fn look_up(
        &self,
        name: ExternalName,
        ids: Ids,
    ) -> BoxFuture<'static, Option<Answer>> {
        (self.0)(name, ids)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

/// The servers that `/etc/resolv.conf` names.
pub(crate) fn servers(text: &str) -> Vec<SocketAddr> {
    const PORT: u16 = 53;
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then_some(words.next()?)
    });
    let addresses = named.filter_map(|word| word.parse::<IpAddr>().ok());
    let servers = addresses.map(|address| SocketAddr::new(address, PORT));
    servers.take(SERVERS_MAX).collect()
}

async fn look_up<N: Net>(
    net: &N,
    servers: &[SocketAddr],
    families: Families,
    name: &ExternalName,
    ids: Ids,
) -> Option<Answer> {
    for &server in servers {
        let asked = timeout(SERVER_TIMEOUT, ask(net, server, families, name, ids));
        let error = match asked.await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(elapsed) => elapsed.into(),
        };
        tracing::debug!(%server, %name, %error, "a DNS server gives no answer");
    }
    None
}

/// All that one server says of a name. When it can say something of one family only, that is what there is.
async fn ask<N: Net>(
    net: &N,
    server: SocketAddr,
    families: Families,
    name: &ExternalName,
    ids: Ids,
) -> io::Result<Answer> {
    let wanted: &[Family] = match families {
        Families::Both => &[Family::Ipv4, Family::Ipv6],
        Families::Ipv4 => &[Family::Ipv4],
        Families::Ipv6 => &[Family::Ipv6],
    };
    let mut stream = net.connect(server, None).await?;
    let mut whole = Answer::default();
    let mut useless = None;
    for (&family, id) in wanted.iter().zip(ids) {
        let question = question(name, family, id).ok_or(io::ErrorKind::InvalidInput)?;
        stream.write_all(&question).await?;
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await?;
        match answer(&bytes, name, family, id) {
            Ok(part) => merge(&mut whole, part),
            Err(error) => useless = Some(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
    match useless {
        Some(error) if whole.addresses.is_empty() => Err(error),
        Some(_) | None => Ok(whole),
    }
}

fn merge(whole: &mut Answer, part: Answer) {
    whole.addresses.extend(part.addresses);
    let is_new = |alias: &String| !whole.aliases.contains(alias);
    let aliases: Vec<String> = part.aliases.into_iter().filter(is_new).collect();
    whole.aliases.extend(aliases);
    whole.ttl = match (whole.ttl, part.ttl) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    whole.is_missing |= part.is_missing;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_of_the_file_three_at_most() {
        let text = "# a comment\nsearch shop.svc.cluster.local\nnameserver 10.96.0.10\nnameserver nonsense\n\
                    nameserver fd00::10 # second\nnameserver\n nameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let expected = ["10.96.0.10:53", "[fd00::10]:53", "10.0.0.3:53"];
        assert_eq!(servers(text), expected.map(|text| text.parse().unwrap()));
        assert!(servers("").is_empty());
    }
}
