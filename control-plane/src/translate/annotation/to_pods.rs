//! The annotations that say what is asked of TLS to pods. Pure.
//!
//! In: names and values, and the Secret that they name. Out: an [`UpstreamTls`], and a condition for what is not as it should be. Who asks for
//! verification and does not say whole whom to believe is not served where TLS is spoken: to go on unverified would be worse.

use tiergate_data_plane::host::HostName;
use tiergate_data_plane::table::{Authorities, UpstreamTls};

use super::{Refused, Served, VALUE_SHOWN, whole};
use crate::scope::ObjectName;
use crate::translate::condition::{Condition, Reason};
use crate::translate::secret::Named;
use crate::translate::{OurIngress, table_certificate};

const SECRET: &str = "proxy-ssl-secret";
const VERIFY: &str = "proxy-ssl-verify";
const SWITCH: &str = "`on`, `off`";

/// What an Ingress asks for, annotation by annotation.
#[derive(Debug, Default)]
pub struct ToPods {
    name: Option<HostName>,
    sends_name: bool,
    secret: Option<Box<str>>,
    verify: Option<Box<str>>,
    /// Something was asked for that is not known.
    is_refused: bool,
}

/// By name.
pub const TO_PODS: [Served<ToPods>; 4] = [
    Served {
        name: "proxy-ssl-name",
        values: "a host name",
        meaning: "The name that the certificate of a pod must be for where it is verified, and that a pod is told with `proxy-ssl-server-name`.",
        follow: |value, to_pods| {
            let name = HostName::try_from(value);
            to_pods.name = Some(name.map_err(|_| Refused::Invalid("a host name"))?);
            Ok(())
        },
    },
    Served {
        name: SECRET,
        values: "`namespace/name` of a Secret of type `kubernetes.io/tls` in the namespace of the Ingress",
        meaning: "`tls.crt` and `tls.key` are shown to pods that ask for a client certificate; `ca.crt` has the authorities for `proxy-ssl-verify`. A Secret that \
                  cannot be used closes the rules where TLS is spoken.",
        follow: |value, to_pods| {
            to_pods.secret = Some(value.into());
            Ok(())
        },
    },
    Served {
        name: "proxy-ssl-server-name",
        values: SWITCH,
        meaning: "Whether pods are told `proxy-ssl-name` in the handshake (SNI). `off`: no name is told.",
        follow: |value, to_pods| {
            to_pods.sends_name = match value {
                "on" => true,
                "off" => false,
                _ => return Err(Refused::Invalid("on or off")),
            };
            Ok(())
        },
    },
    Served {
        name: VERIFY,
        values: SWITCH,
        meaning: "Whether the certificates of pods are verified: valid now, for `proxy-ssl-name`, and of an authority in `ca.crt` of `proxy-ssl-secret`. Where one of \
                  the two is missing the rules are closed. `off` (the default): what is sent is encrypted, and whoever answers is believed.",
        follow: |value, to_pods| {
            to_pods.verify = Some(value.into());
            Ok(())
        },
    },
];

/// The Secret that these annotations name, when it can be one of this namespace.
pub(in crate::translate) fn secret(
    namespace: &str,
    annotations: &[(Box<str>, Box<str>)],
) -> Option<ObjectName> {
    let mut values = annotations.iter().filter(|(name, _)| &**name == SECRET);
    own_secret(namespace, values.next()?.1.trim())
}

fn own_secret(namespace: &str, value: &str) -> Option<ObjectName> {
    let (of, name) = value.split_once('/')?;
    (of == namespace && !name.is_empty()).then(|| ObjectName::new(namespace, name))
}

// === impl ToPods ===

impl ToPods {
    /// One of the annotations cannot be read.
    pub(super) fn refuse(&mut self) {
        self.is_refused = true;
    }

    /// What all of them come to.
    pub(super) fn finish(
        self,
        our: &OurIngress<'_>,
        secrets: &mut Named<'_>,
        conditions: &mut Vec<Condition>,
    ) -> Option<Box<UpstreamTls>> {
        let mut tls = UpstreamTls {
            sends_name: self.sends_name && self.name.is_some(),
            name: self.name.clone(),
            is_refused: self.is_refused,
            ..UpstreamTls::default()
        };
        let mut refuse = |tls: &mut UpstreamTls, name, reason, message: String| {
            tls.is_refused = true;
            let field = format!("metadata.annotations[{}]", whole(name));
            let message = format!(
                "{message}; where pods are spoken to by TLS, the requests of this Ingress are answered with 503"
            );
            conditions.push(our.condition(field, reason, message));
        };
        let secret = self.secret.as_deref().and_then(|value| {
            let secret = own_secret(&our.name.namespace, value);
            if secret.is_none() {
                let value: String = value.chars().take(VALUE_SHOWN).collect();
                let message = format!(
                    "{value:?} is not namespace/name of a Secret in the namespace of the Ingress"
                );
                refuse(&mut tls, SECRET, Reason::AnnotationInvalid, message);
            }
            secret
        });
        if let Some(secret) = &secret {
            match secrets.find(secret) {
                Ok(found) => tls.certificate = Some(table_certificate(secret, found)),
                Err((reason, message)) => refuse(&mut tls, SECRET, reason, message),
            }
        }
        match self.verify.as_deref() {
            None | Some("off") => {}
            Some("on") if self.name.is_none() => {
                let message = "there is no proxy-ssl-name that certificates must be for".to_owned();
                refuse(&mut tls, VERIFY, Reason::AnnotationInvalid, message);
            }
            Some("on") => match &secret {
                // What is wrong with its certificate has been said.
                Some(_) if tls.is_refused => {}
                Some(secret) => match secrets.authorities(secret) {
                    Ok(found) => {
                        tls.verify = Some(Authorities {
                            secret: secret.to_string().into(),
                            fingerprint: found.fingerprint,
                            roots: found.roots.clone(),
                        });
                    }
                    Err((reason, message)) => refuse(&mut tls, SECRET, reason, message),
                },
                None => {
                    let message =
                        "there is no proxy-ssl-secret with the authorities to believe".to_owned();
                    refuse(&mut tls, VERIFY, Reason::AnnotationInvalid, message);
                }
            },
            Some(other) => {
                let other: String = other.chars().take(VALUE_SHOWN).collect();
                let message = format!("{other:?} is neither on nor off");
                refuse(&mut tls, VERIFY, Reason::AnnotationInvalid, message);
            }
        }
        (tls != *UpstreamTls::NONE).then(|| Box::new(tls))
    }
}
