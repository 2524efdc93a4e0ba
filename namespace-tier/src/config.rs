//! The settings of the namespace tier: those of both tiers, and its namespace.

use tiergate_control_plane::config::{About, Common, Invalid, Layers, keys};
use tiergate_control_plane::scope::ObjectName;
use tiergate_control_plane::status::Addresses;

/// What the tier is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of both tiers.
    pub common: Common,
    /// The only namespace that is watched.
    pub watch_namespace: String,
}

// === impl Config ===

impl Config {
    /// Parses the settings.
    ///
    /// # Errors
    /// When one does not fit, or does not go with another.
    pub fn from_layers(layers: &Layers) -> Result<Self, Invalid> {
        let watch_namespace = layers.one(&keys::WATCH_NAMESPACE)?;
        let common = Common::from_layers(layers)?;
        let service = match &common.status.addresses {
            Addresses::OfService(service) => Some(service.clone()),
            Addresses::None | Addresses::Fixed(_) => None,
        };
        let is_outside = |object: &&ObjectName| object.namespace != watch_namespace;
        for (about, object) in [
            (
                &keys::DEFAULT_BACKEND_SERVICE.about,
                &common.default_backend_service,
            ),
            (
                &keys::DEFAULT_SSL_CERTIFICATE.about,
                &common.default_ssl_certificate,
            ),
            (&keys::PUBLISH_SERVICE.about, &service),
        ] {
            if let Some(object) = object.as_ref().filter(is_outside) {
                return Err(outside(layers, about, object, &watch_namespace));
            }
        }
        Ok(Self {
            common,
            watch_namespace,
        })
    }
}

/// The tier reads nothing beyond its namespace, so it would wait for such an object for ever.
fn outside(layers: &Layers, about: &About, object: &ObjectName, namespace: &str) -> Invalid {
    let object = object.to_string();
    let trouble = format!(
        "{object:?} is outside of the namespace {namespace:?} that is watched; name one in it"
    );
    layers.contradiction(about, &trouble)
}
