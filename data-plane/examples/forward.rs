//! The data plane alone, with a table of its own making: to profile it and to compare builds, without a cluster.
//!
//!     forward HTTP-ADDRESS HTTPS-ADDRESS ENDPOINT [--h2c] [--hosts N] [--threads N] [--certificate PEM KEY] [--trusted NETWORK]
//!
//! Serves h0.example.test … hN-1.example.test with everything that a tier does per request. Ends by a signal. Of two in a row, the
//! second one trusts the first one's address, as a namespace tier does.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use prometheus_client::registry::Registry;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tiergate_data_plane::access_log::{Level, Switch};
use tiergate_data_plane::config::Config;
use tiergate_data_plane::drain;
use tiergate_data_plane::host::{HostName, HostPattern};
use tiergate_data_plane::metrics::Metrics;
use tiergate_data_plane::net::TokioNet;
use tiergate_data_plane::snapshot::SnapshotCell;
use tiergate_data_plane::table::{
    Backend, BackendName, Certificate, Certificates, Endpoint, PathMatch, Protocol, RouteOwner,
    Table, TableBuilder,
};
use tiergate_data_plane::workers;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

struct Options {
    addresses: Vec<SocketAddr>,
    protocol: Protocol,
    hosts: usize,
    threads: usize,
    certificate: Option<(String, String)>,
    trusted_proxies: Vec<IpNet>,
}

fn main() -> Result<(), Failure> {
    let options = options(std::env::args().skip(1))?;
    tiergate_data_plane::net::raise_descriptors()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(options))
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options {
        addresses: Vec::new(),
        protocol: Protocol::Http1,
        hosts: 1,
        threads: 1,
        certificate: None,
        trusted_proxies: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or("a value is missing");
        match word.as_str() {
            "--h2c" => options.protocol = Protocol::H2c,
            "--hosts" => options.hosts = next()?.parse()?,
            "--threads" => options.threads = next()?.parse()?,
            "--trusted" => options.trusted_proxies.push(next()?.parse()?),
            "--certificate" => options.certificate = Some((next()?, next()?)),
            address => options.addresses.push(address.parse()?),
        }
    }
    Ok(options)
}

async fn serve(options: Options) -> Result<(), Failure> {
    let [http, https, endpoint] = options.addresses[..] else {
        return Err("three addresses: of HTTP, of HTTPS and of the endpoint".into());
    };
    let config = Config {
        http_addresses: vec![http],
        https_addresses: vec![https],
        trusted_proxies: options.trusted_proxies.clone(),
        ..Config::new("tiergate-namespace")
    };
    let mut registry = Registry::with_prefix("tiergate");
    let metrics = Metrics::register(&mut registry);
    let cell = Arc::new(SnapshotCell::new(metrics.clone()));
    cell.publish(table(&options, endpoint)?);
    let (_handle, signal) = drain::channel();
    let workers = workers::start(
        options.threads,
        TokioNet,
        Arc::new(config),
        cell,
        metrics,
        Switch::new(Level::Off),
        SmallRng::seed_from_u64(1),
        signal,
    );
    Ok(workers.await?.stopped().await?)
}

fn table(options: &Options, address: SocketAddr) -> Result<Table, Failure> {
    let mut builder = TableBuilder::new();
    for number in 0..options.hosts {
        let name = format!("s{}", number % 100);
        let backend = builder.backend(Backend {
            name: BackendName {
                namespace: "team".into(),
                service: name.as_str().into(),
                port: "80".into(),
            },
            protocol: options.protocol,
            endpoints: vec![Endpoint {
                address,
                identity: name.into(),
            }],
        });
        let owner = RouteOwner {
            tenant: "team".into(),
            ingress: format!("i{number}").into(),
        };
        let route = builder.route(owner, backend);
        let host = HostPattern::Exact(HostName::try_from(
            format!("h{number}.example.test").as_str(),
        )?);
        builder.path(&host, PathMatch::Prefix, "/", route);
    }
    if let Some((chain, key)) = &options.certificate {
        builder.certificates(Certificates {
            default: Some(certificate(chain, key)?),
            ..Certificates::default()
        });
    }
    Ok(builder.build())
}

fn certificate(chain: &str, key: &str) -> Result<Certificate, Failure> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())?;
    Ok(Certificate {
        secret: "team/certificate".into(),
        fingerprint: [0; 32],
        alternative: None,
        key: Arc::new(key),
    })
}
