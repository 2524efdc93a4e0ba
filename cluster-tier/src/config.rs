//! The settings of the cluster tier: those of both tiers, who moves the address of the cluster, and which Secrets may be read.

use std::time::Duration;

use tiergate_control_plane::config::{Common, Invalid, Layers, keys};

/// What the tier is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The settings of both tiers.
    pub common: Common,
    /// The namespaces whose Secrets may be read.
    pub secret_namespaces: Vec<String>,
    /// How long a Secret that was read is taken as it is.
    pub secret_refresh: Duration,
}

// === impl Config ===

impl Config {
    /// Parses the settings.
    ///
    /// # Errors
    /// When one does not fit, or does not go with another.
    pub fn from_layers(layers: &Layers) -> Result<Self, Invalid> {
        // The address is bound as it is given. Whoever asks for it to be moved learns that nobody would.
        layers.one(&keys::VIP_MODE)?;
        layers.all(&keys::VIP_ADDRESS)?;
        layers.maybe(&keys::VIP_INTERFACE)?;
        Ok(Self {
            common: Common::from_layers(layers)?,
            secret_namespaces: layers.all(&keys::SECRET_NAMESPACES)?,
            secret_refresh: layers.one(&keys::SECRET_REFRESH)?,
        })
    }
}
