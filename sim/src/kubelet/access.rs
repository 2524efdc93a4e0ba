//! How pods reach the API server. Pure.

/// How a pod process reaches the API server.
#[derive(Clone, Debug)]
pub struct ApiAccess {
    /// `https://ADDRESS:PORT`.
    pub server: String,
    /// The certificate authority behind it.
    pub ca_pem: String,
}

// === impl ApiAccess ===

impl ApiAccess {
    /// The variables by which client libraries find the API server from within a pod. They name the place that this
    /// kubelet itself uses: it is there whether or not a service proxy serves the Service `kubernetes`.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        let url: http::Uri = match self.server.parse() {
            Ok(url) => url,
            Err(_) => return Vec::new(),
        };
        let port = url
            .port_u16()
            .unwrap_or(if url.scheme_str() == Some("http") {
                80
            } else {
                443
            });
        let host = url.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        vec![
            ("KUBERNETES_SERVICE_HOST".to_owned(), host.to_owned()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_libraries_are_told_the_place_that_the_kubelet_uses() {
        for (server, host, port) in [
            ("https://127.0.0.1:6443", "127.0.0.1", "6443"),
            ("https://api.example.test", "api.example.test", "443"),
            ("http://[::1]/", "::1", "80"),
        ] {
            let access = ApiAccess {
                server: server.to_owned(),
                ca_pem: String::new(),
            };
            let values: Vec<String> = access
                .variables()
                .into_iter()
                .map(|(_, value)| value)
                .collect();
            assert_eq!(values, [host, port, port], "{server}");
        }
    }
}
