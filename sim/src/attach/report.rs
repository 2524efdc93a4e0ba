//! What a user is told when the nodes are part of the cluster.

use std::fmt::Write;
use std::path::Path;

use super::settings::Settings;

/// The text, up to the line `ready`.
pub(super) fn text(
    settings: &Settings,
    server: &str,
    version: &str,
    note: Option<String>,
    folder: &Path,
) -> String {
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let name = width(&mut settings.nodes.iter().map(|place| place.name.len()));
    let name = name.max("NODE".len());
    let address = "255.255.255.255".len();
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a String takes every text");
    line(format!(
        "Nodes of the API server {server} ({version}), added by the kubeconfig {}:",
        settings.kubeconfig.display()
    ));
    line(format!("{:name$}  {:address$}  PODS", "NODE", "ADDRESS"));
    for place in &settings.nodes {
        let own = place.address.to_string();
        line(format!(
            "{:name$}  {own:address$}  {}",
            place.name, place.slice
        ));
    }
    note.into_iter().for_each(&mut line);
    line(format!("Logs of the pods: {}", folder.display()));
    text
}
