//! A process with a dead worker ends, so that the kubelet starts a whole one.

use std::io;
use std::net::IpAddr;

use tiergate_data_plane::net::Listener;
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The kernel's network, with a fault: once told, the listeners of one worker panic.
#[derive(Clone)]
struct Faulty {
    told: watch::Receiver<bool>,
    worker: &'static str,
}

struct FaultyListener {
    inner: TcpListener,
    fault: Faulty,
}

impl Net for Faulty {
    type Stream = TcpStream;
    type Listener = FaultyListener;

    async fn bind(&self, address: SocketAddr) -> io::Result<FaultyListener> {
        Ok(FaultyListener {
            inner: TokioNet.bind(address).await?,
            fault: self.clone(),
        })
    }

    async fn connect(&self, to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
        TokioNet.connect(to, from).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        TokioNet.resolve(host, port).await
    }
}

impl Listener for FaultyListener {
    type Stream = TcpStream;

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(&self.inner)
    }

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if std::thread::current().name() != Some(self.fault.worker) {
            return Listener::accept(&mut self.inner).await;
        }
        tokio::select! {
            accepted = Listener::accept(&mut self.inner) => accepted,
            _ = self.fault.told.wait_for(|is_told| *is_told) => panic!("the fault of this test"),
        }
    }
}

#[tokio::test]
async fn a_tier_one_of_whose_workers_dies_ends_with_code_70_and_names_it() {
    let ending = async {
        for worker in ["worker-0", "worker-1", "worker-2"] {
            let (tell, told) = watch::channel(false);
            let net = Faulty { told, worker };
            let tier = start_on(net, 3, "1h", json!({})).await;
            tier.gate.send_replace(true);
            until(tier.http, "/", "HTTP/1.1 404").await;
            assert!(!tier.ended.is_finished());
            tell.send_replace(true);
            let ended = tokio::time::timeout(PATIENCE, tier.ended).await;
            let failure = ended.expect("it ends").unwrap().unwrap_err();
            let sentence = format!("internal fault: the thread {worker} has died");
            assert_eq!(failure.to_string(), sentence);
            assert_eq!(
                format!("{:?}", failure.exit_code()),
                format!("{:?}", std::process::ExitCode::from(70))
            );
        }
    };
    LocalSet::new().run_until(ending).await;
}
