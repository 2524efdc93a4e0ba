//! The API server alone, for the contract probes: `cargo run -p tiergate-sim --example api_server -- 127.0.0.1:6443`.

use anyhow::Context as _;
use tiergate_data_plane::net::TokioNet;
use tiergate_sim::api::{Options, Server, tls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args()
        .nth(1)
        .context("the address to bind, such as 127.0.0.1:6443, is missing")?;
    let token = std::env::args()
        .nth(2)
        .unwrap_or_else(|| "admin".to_owned());
    let is_plain = std::env::args()
        .nth(3)
        .is_some_and(|scheme| scheme == "http");
    tracing_subscriber::fmt().init();
    let server = Server::new(Options::new(token, 1));
    let tls = if is_plain {
        None
    } else {
        Some(tls::identity(&[])?.acceptor)
    };
    let bound = server.bind(&TokioNet, address.parse()?, tls).await?;
    tracing::info!(address = %bound.address()?, "serving");
    bound.run(async { _ = tokio::signal::ctrl_c().await }).await;
    Ok(())
}
