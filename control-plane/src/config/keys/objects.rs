//! Which objects are looked at, and what they default to. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::super::key::{About, Arity, Default, Key, Place, Range, Tier, Tiers, Unfit};
use super::super::value;
use super::{ABOUT, EXPLAINED};
use crate::scope::ObjectName;

/// The namespace of a namespace tier.
pub const WATCH_NAMESPACE: Key<String> = Key {
    about: About {
        name: "watch_namespace",
        tiers: Tiers::Only(Tier::Namespace),
        place: EXPLAINED,
        placeholder: "NAMESPACE",
        form: "the name of a namespace",
        example: "openstack",
        default: Default::Required,
        meaning: "The only namespace that is watched and served. No request to the API server goes beyond it.",
        ..ABOUT
    },
    parse: value::label,
};

/// The classes that are served.
pub const INGRESS_CLASS: Key<String> = Key {
    about: About {
        name: "ingress_class",
        place: EXPLAINED,
        arity: Arity::List,
        placeholder: "CLASS",
        form: "the name of an IngressClass",
        example: "tiergate",
        default: Default::PerTier {
            cluster: "tiergate-cluster",
            namespace: "tiergate",
        },
        meaning: "Classes whose Ingresses are served, by spec.ingressClassName or else by the annotation \
                  kubernetes.io/ingress.class.",
        ..ABOUT
    },
    parse: value::subdomain,
};

/// Whether Ingresses without any class are served.
pub const WATCH_INGRESS_WITHOUT_CLASS: Key<bool> = Key {
    about: About {
        name: "watch_ingress_without_class",
        place: EXPLAINED,
        arity: Arity::Switch,
        placeholder: "BOOL",
        form: "true or false",
        example: "true",
        default: Default::Value("false"),
        meaning: "Whether Ingresses that name no class at all are served as well.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// The tier's own default backend.
pub const DEFAULT_BACKEND_SERVICE: Key<ObjectName> = Key {
    about: About {
        name: "default_backend_service",
        place: EXPLAINED,
        placeholder: "NAMESPACE/NAME",
        form: "NAMESPACE/NAME",
        example: "kube-system/error-pages",
        default: Default::Nothing("such requests are answered with 404"),
        meaning: "Service that gets the requests which no rule matches, at its first port, with X-Code: 404, X-Format (what the \
                  client accepts) and X-Original-URI, as error pages made for ingress-nginx read them. While it has no endpoint, \
                  such requests are answered with 404.",
        ..ABOUT
    },
    parse: object_name,
};

/// The certificate for names that no other covers.
pub const DEFAULT_SSL_CERTIFICATE: Key<ObjectName> = Key {
    about: About {
        name: "default_ssl_certificate",
        place: EXPLAINED,
        placeholder: "NAMESPACE/NAME",
        form: "NAMESPACE/NAME",
        example: "kube-system/front-door-tls",
        default: Default::Nothing("such handshakes fail"),
        meaning: "TLS Secret for the names that no other certificate covers, and for clients that send no name.",
        ..ABOUT
    },
    parse: object_name,
};

/// Whether http is sent to https.
pub const SSL_REDIRECT: Key<bool> = Key {
    about: About {
        name: "ssl_redirect",
        place: EXPLAINED,
        arity: Arity::Switch,
        placeholder: "BOOL",
        form: "true or false",
        example: "true",
        default: Default::Value("true"),
        meaning: "Whether requests by http to a host in `spec.tls` are answered with 308 to https, where their Ingress does not say \
                  (annotation `ssl-redirect`). Behind something else that ends TLS, either name it in trusted_proxies or \
                  switch this off: a tier that cannot know that the client came by https would send it there again.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Where a cluster tier may read Secrets.
pub const SECRET_NAMESPACES: Key<String> = Key {
    about: About {
        name: "secret_namespaces",
        tiers: Tiers::Only(Tier::Cluster),
        place: EXPLAINED,
        arity: Arity::List,
        placeholder: "NAMESPACE",
        form: "the name of a namespace",
        example: "kube-system",
        default: Default::Value("none"),
        meaning: "Namespaces whose TLS Secrets may be read: each that an Ingress of ours or default_ssl_certificate names, by \
                  its name (verb get), never by list or watch. `none`: no Secret at all.",
        ..ABOUT
    },
    parse: value::label,
};

/// How often a cluster tier reads the Secrets anew.
pub const SECRET_REFRESH: Key<Duration> = Key {
    about: About {
        name: "secret_refresh",
        tiers: Tiers::Only(Tier::Cluster),
        placeholder: "TIME",
        form: "a time such as 30s",
        example: "30s",
        default: Default::Value("30s"),
        range: Some(Range::Time(
            Duration::from_secs(1),
            Duration::from_secs(3600),
        )),
        meaning: "How long a Secret that was read by its name is taken as it is before it is read anew, or up to a tenth less. \
                  A renewed certificate is served after about this long.",
        ..ABOUT
    },
    parse: value::time,
};

/// Whether Services may stand for names in DNS.
pub const EXTERNAL_NAMES: Key<bool> = Key {
    about: About {
        name: "external_names",
        place: EXPLAINED,
        arity: Arity::Switch,
        placeholder: "BOOL",
        form: "true or false",
        example: "true",
        default: Default::Value("false"),
        meaning: "Whether Services of type ExternalName are served. Whoever may write a Service then chooses where the tier \
                  connects to: any public address, and those of external_name_networks; never this host, the link, the \
                  metadata of a cloud, or a name of another namespace.",
        ..ABOUT
    },
    parse: value::from_text,
};

/// Where they may lead to.
pub const EXTERNAL_NAME_NETWORKS: Key<IpNet> = Key {
    about: About {
        name: "external_name_networks",
        place: EXPLAINED,
        arity: Arity::List,
        placeholder: "CIDR",
        form: "a network such as 10.20.0.0/16 or an address",
        example: "10.20.0.0/16",
        default: Default::Value("none"),
        meaning: "Networks that Services of type ExternalName may lead to beside the public ones. Do not name those of \
                  Services and pods: a name could lead to any of them.",
        ..ABOUT
    },
    parse: value::network,
};

/// Who is asked for their addresses.
pub const EXTERNAL_NAME_SERVERS: Key<SocketAddr> = Key {
    about: About {
        name: "external_name_servers",
        place: Place::File,
        arity: Arity::List,
        form: "IP:PORT",
        example: "10.20.0.53:53",
        default: Default::Value("none"),
        meaning: "DNS servers that are asked for the addresses of these names, over TCP (RFC 7766), the first that answers. `none`: \
                  those of /etc/resolv.conf.",
        ..ABOUT
    },
    parse: value::from_text,
};

pub(super) fn object_name(about: &About, text: &str) -> Result<ObjectName, Unfit> {
    let (namespace, name) = text.split_once('/').ok_or(Unfit::Form)?;
    let namespace = value::label(about, namespace)?;
    let name = value::subdomain(about, name)?;
    Ok(ObjectName::new(namespace, name))
}
