//! Tells the variables that a kubelet adds for every Service of a namespace from those that somebody set for us. Pure.

/// Whether a kubelet adds such a variable for a Service (Kubernetes, "Service", discovering services). They are told by
/// the shape of their name alone, so that none can take the place of a setting, whatever the Service is called.
pub(super) fn is_name_of_one(variable: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_port_of_protocol = |rest: &str| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(is_number)
            && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!(parts.next(), None | Some("PROTO" | "PORT" | "ADDR"))
            && parts.next().is_none()
    };
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_")
        || variable.ends_with("_PORT")
        || (0..variable.len()).any(|at| {
            // Overlapping ones count: a Service whose name ends in `port` makes `…_PORT_PORT_80_TCP`.
            let rest = variable
                .get(at..)
                .and_then(|rest| rest.strip_prefix("_PORT_"));
            rest.is_some_and(is_port_of_protocol)
        })
}
