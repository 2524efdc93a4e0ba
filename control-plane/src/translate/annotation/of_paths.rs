//! The annotations that say what is done to requests before they go to a pod. Pure.

use std::sync::Arc;

use tiergate_data_plane::table::{Prefix, Redirect, Rewrite, Target};

use super::{Refused, SWITCH, Served, switch};
use crate::model::path::{PathKind, PathPattern};

/// What an Ingress asks for, annotation by annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfPaths {
    ssl_redirect: Option<bool>,
    forces_https: bool,
    /// Whether its paths may be regular expressions.
    pub(in crate::translate) reads_expressions: bool,
    target: Option<Target>,
    prefix: Option<Prefix>,
}

/// Whether the paths of an Ingress with these annotations may be regular expressions: a target says so even if it makes no sense, because
/// its paths were written for one.
pub(in crate::translate) fn reads_expressions(annotations: &[(Box<str>, Box<str>)]) -> bool {
    annotations.iter().any(|(name, value)| match &**name {
        "use-regex" => value.trim() == "true",
        "rewrite-target" => !value.trim().is_empty(),
        _ => false,
    })
}

/// By name.
pub const OF_PATHS: [Served<OfPaths>; 5] = [
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
        name: "rewrite-target",
        values: "a path, with `$1` to `$9`",
        meaning: "The path that pods are asked for in place of the one that was matched, with the groups of a regular expression; the query stays. \
                  Makes the paths of the Ingress expressions, as `use-regex` does. Not for a path that is equal to it. URLs are not supported.",
        follow: |value, of_paths| {
            let wanted =
                "a path, beginning with / or $, with $1 to $9 for the groups of an expression";
            let target = Target::try_from(value);
            of_paths.target = Some(target.map_err(|_| Refused::Invalid(wanted))?);
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
    Served {
        name: "use-regex",
        values: SWITCH,
        meaning: "Whether the paths of the type `ImplementationSpecific` in this Ingress are regular expressions (see below).",
        // Of both annotations, see `reads_expressions`.
        follow: |value, _| switch(value).map(drop),
    },
    Served {
        name: "x-forwarded-prefix",
        values: "a path",
        meaning: "`X-Forwarded-Prefix` of requests whose path `rewrite-target` changes.",
        follow: |value, of_paths| {
            let wanted = Refused::Invalid("a path");
            of_paths.prefix = Some(Prefix::try_from(value).map_err(|_| wanted)?);
            Ok(())
        },
    },
];

// === impl OfPaths ===

impl OfPaths {
    /// What becomes of the path of requests, for a path of a rule. A path that is its own target stays, with what comes behind it.
    pub(in crate::translate) fn rewrite(
        &self,
        path: &str,
        pattern: &PathPattern,
    ) -> Option<Arc<Rewrite>> {
        let path = if path.is_empty() { "/" } else { path };
        let target = self.target.as_ref();
        let target = target.filter(|target| target.text() != path)?;
        let expression = match pattern.kind() {
            PathKind::Expression(expression) => Some(Arc::clone(expression)),
            PathKind::Literal(_) => None,
        };
        Some(Arc::new(Rewrite {
            expression,
            target: target.clone(),
            prefix: self.prefix.clone(),
        }))
    }

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
