//! The annotations that say what is done to requests before they go to a pod. Pure.

use tiergate_data_plane::table::Redirect;

use super::{SWITCH, Served, switch};

/// What an Ingress asks for, annotation by annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfPaths {
    ssl_redirect: Option<bool>,
    forces_https: bool,
}

/// By name.
pub const OF_PATHS: [Served<OfPaths>; 2] = [
    Served {
        name: "force-ssl-redirect",
        values: SWITCH,
        meaning: "Whether all requests by http are answered with 308 to https, also where no certificate is known: something in front ends \
                  TLS, which must be one of `trusted_proxies`.",
        follow: |value, of_paths| {
            of_paths.forces_https = switch(value)?;
            Ok(())
        },
    },
    Served {
        name: "ssl-redirect",
        values: SWITCH,
        meaning: "Whether requests by http to a host in `spec.tls` are answered with 308 to https, in place of `ssl_redirect`. Not those to \
                  `/.well-known/acme-challenge/`.",
        follow: |value, of_paths| {
            of_paths.ssl_redirect = Some(switch(value)?);
            Ok(())
        },
    },
];

// === impl OfPaths ===

impl OfPaths {
    /// Whether requests by http are sent to https; `default` is for an Ingress that does not say.
    pub(in crate::translate) fn redirect(&self, default: bool) -> Redirect {
        match self.ssl_redirect {
            _ if self.forces_https => Redirect::Always,
            Some(false) => Redirect::Never,
            None if !default => Redirect::Never,
            Some(true) | None => Redirect::WhereServed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_sent_to_https_is_the_ingress_to_say_and_else_the_tier() {
        let (ssl, force) = ("ssl-redirect", "force-ssl-redirect");
        for (annotations, default, expected) in [
            (&[][..], true, Redirect::WhereServed),
            (&[], false, Redirect::Never),
            (&[(ssl, "true")], false, Redirect::WhereServed),
            (&[(ssl, "false")], true, Redirect::Never),
            (&[(ssl, "no")], true, Redirect::WhereServed),
            (&[(force, "false")], true, Redirect::WhereServed),
            (&[(force, "true")], false, Redirect::Always),
            (&[(force, "true"), (ssl, "false")], false, Redirect::Always),
        ] {
            let mut asked = OfPaths::default();
            for (name, value) in annotations {
                let served = OF_PATHS.iter().find(|served| served.name == *name);
                let _ = (served.unwrap().follow)(value, &mut asked);
            }
            let found = asked.redirect(default);
            assert_eq!(found, expected, "{annotations:?} {default}");
        }
    }
}
