//! Lays the four sources of settings over each other: defaults, file, environment, flags. Pure.
//!
//! In: the parsed flags, the text of the file, the variables. Out: [`Layers`], which every setting is read from, and
//! warnings. An unknown key of the file is an error. An unknown variable is a warning: kubelets add variables for every
//! Service of the namespace (`TIERGATE_PORT=tcp://…` for one named `tiergate`), and those are not meant for us at all.

use std::collections::BTreeMap;
use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use super::key::{About, Arity, Key, Place, Tier, Unfit};
use super::{Invalid, VARIABLE_PREFIX, keys};

mod service_link;
mod tree;

use tree::{flatten, insert, scalar, split};

/// The settings of one start, before they are parsed.
#[derive(Clone, Debug)]
pub struct Layers {
    tier: Tier,
    version: &'static str,
    figment: Figment,
    warnings: Vec<String>,
}

/// One of the four sources.
struct Layer {
    name: &'static str,
    source: Option<Source>,
    values: Dict,
}

const DEFAULTS: &str = "defaults";
const FILE: &str = "file";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

// === impl Layers ===

impl Layers {
    /// Only the defaults.
    #[must_use]
    pub fn new(tier: Tier) -> Self {
        let mut values = Dict::new();
        for about in abouts(tier) {
            if let Some(default) = about.default_of(tier) {
                insert(&mut values, about.name, split(about, default));
            }
        }
        let figment = Figment::from(Layer::new(DEFAULTS, values));
        Self {
            tier,
            version: env!("CARGO_PKG_VERSION"),
            figment,
            warnings: Vec::new(),
        }
    }

    /// Of a program that calls itself otherwise than this crate.
    #[must_use]
    pub fn of_version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Adds the file that was read from `path`.
    ///
    /// # Errors
    /// When it is no YAML mapping, or has a key that the tier does not know.
    pub fn file(mut self, path: &Path, text: &str) -> Result<Self, Invalid> {
        let shown = path.display();
        let yaml: serde_norway::Value = serde_norway::from_str(text)
            .map_err(|error| Invalid::new(format!("`--config`: {shown} is not YAML: {error}")))?;
        let values = match Value::serialize(yaml) {
            Ok(Value::Dict(_, values)) => values,
            Ok(Value::Empty(..)) => Dict::new(),
            Ok(_) => {
                return Err(Invalid::new(format!(
                    "`--config`: {shown} holds no settings; write one `key: value` per line"
                )));
            }
            Err(error) => {
                return Err(Invalid::new(format!(
                    "`--config`: {shown} has a key or value that no setting takes: {error}"
                )));
            }
        };
        let mut leaves = Vec::new();
        flatten("", values, &mut leaves);
        let mut known = Dict::new();
        for (name, value) in leaves {
            let about = self.in_file(&name, path)?;
            let value = match (about.arity, scalar(&value)) {
                (Arity::List, Some(text)) => split(about, &text),
                _ => value,
            };
            insert(&mut known, about.name, value);
        }
        let layer = Layer {
            source: Some(Source::from(path)),
            ..Layer::new(FILE, known)
        };
        self.figment = self.figment.merge(layer);
        Ok(self)
    }

    /// Adds the environment. Variables without our prefix and empty ones are passed over.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        let mut values = Dict::new();
        for (variable, text) in variables {
            if !variable.starts_with(VARIABLE_PREFIX) || service_link::is_name_of_one(&variable) {
                continue;
            }
            match abouts(self.tier).find(|about| about.variable() == variable) {
                Some(_) if text.is_empty() => {}
                Some(about) => insert(&mut values, about.name, split(about, &text)),
                None => self.warnings.push(self.unknown_variable(&variable)),
            }
        }
        self.figment = self.figment.merge(Layer::new(ENVIRONMENT, values));
        self
    }

    /// Adds the flags: names of settings with the texts that were given.
    #[must_use]
    pub fn flags(mut self, flags: impl IntoIterator<Item = (&'static About, Vec<String>)>) -> Self {
        let mut values = Dict::new();
        for (about, texts) in flags {
            let value = match about.arity {
                Arity::List => split(about, &texts.join(",")),
                Arity::One | Arity::Switch => texts.last().map(String::as_str).unwrap_or("").into(),
            };
            insert(&mut values, about.name, value);
        }
        self.figment = self.figment.merge(Layer::new(FLAGS, values));
        self
    }

    /// Whose settings these are.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// What the program calls itself.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Variables that look as if they were meant for us and mean nothing, each in a sentence.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The value of a setting that has a default or must be set.
    ///
    /// # Errors
    /// When the value does not fit, or none is there.
    pub fn one<T>(&self, key: &Key<T>) -> Result<T, Invalid> {
        self.maybe(key)?.ok_or_else(|| {
            let about = &key.about;
            let flag = about.flag().map(|flag| format!("`--{flag}`"));
            Invalid::new(format!(
                "{} is required: give {}, for example {}",
                flag.unwrap_or_else(|| format!("`{}`", about.name)),
                about.form,
                about.example,
            ))
        })
    }

    /// The value of a setting that may stay unset.
    ///
    /// # Errors
    /// When the value does not fit.
    pub fn maybe<T>(&self, key: &Key<T>) -> Result<Option<T>, Invalid> {
        let about = &key.about;
        let Ok(value) = self.figment.find_value(about.name) else {
            return Ok(None);
        };
        let text = scalar(&value).ok_or_else(|| {
            self.invalid(
                about,
                &format!("write one value, for example {}", about.example),
                &value,
            )
        })?;
        self.parse(key, &value, &text).map(Some)
    }

    /// The values of a list.
    ///
    /// # Errors
    /// When one of them does not fit, or stands there twice.
    pub fn all<T>(&self, key: &Key<T>) -> Result<Vec<T>, Invalid> {
        let about = &key.about;
        let Ok(value) = self.figment.find_value(about.name) else {
            return Ok(Vec::new());
        };
        let texts = match value.as_array() {
            Some(items) => items.iter().map(scalar).collect(),
            None => scalar(&value).map(|text| vec![text]),
        };
        let texts: Vec<String> = texts.ok_or_else(|| {
            let trouble = format!("write a list of values, for example [{}]", about.example);
            self.invalid(about, &trouble, &value)
        })?;
        if texts == ["none"] {
            return Ok(Vec::new());
        }
        for (at, text) in texts.iter().enumerate() {
            if texts[..at].contains(text) {
                return Err(self.invalid(
                    about,
                    &format!("{text:?} is there twice; leave one of them out"),
                    &value,
                ));
            }
        }
        texts
            .iter()
            .map(|text| self.parse(key, &value, text))
            .collect()
    }

    /// The sentence for a setting whose value is well formed but does not go with another one.
    #[must_use]
    pub fn contradiction(&self, about: &About, trouble: &str) -> Invalid {
        match self.figment.find_value(about.name) {
            Ok(value) => self.invalid(about, trouble, &value),
            Err(_) => Invalid::new(format!("`{}`: {trouble}", about.name)),
        }
    }

    fn parse<T>(&self, key: &Key<T>, value: &Value, text: &str) -> Result<T, Invalid> {
        let about = &key.about;
        let trouble = match (key.parse)(about, text) {
            Ok(parsed) => return Ok(parsed),
            Err(Unfit::Refused(why)) => format!("{text:?} {why}"),
            Err(Unfit::Range) => match about.range {
                Some(range) => format!("{text:?} is out of range; write a value from {range}"),
                None => format!("{text:?} is out of range"),
            },
            Err(Unfit::Form) => format!(
                "{text:?} is not {}; write for example {}",
                about.form, about.example
            ),
        };
        Err(self.invalid(about, &trouble, value))
    }

    /// Names the setting in the words of the source that its value comes from.
    fn invalid(&self, about: &About, trouble: &str, value: &Value) -> Invalid {
        let metadata = self.figment.get_metadata(value.tag());
        let name = match metadata.map(|metadata| &*metadata.name) {
            Some(FLAGS) => about.flag().map(|flag| format!("`--{flag}`")),
            Some(ENVIRONMENT) => Some(format!("`{}`", about.variable())),
            Some(FILE) => metadata
                .and_then(|metadata| metadata.source.as_ref()?.file_path())
                .map(|path| format!("`{}` in {}", about.name, path.display())),
            Some(_) | None => None,
        };
        let name = name.unwrap_or_else(|| format!("`{}`", about.name));
        Invalid::new(format!("{name}: {trouble}"))
    }

    /// The setting that a key of the file means.
    fn in_file(&self, name: &str, path: &Path) -> Result<&'static About, Invalid> {
        let in_file = || abouts(self.tier).filter(|about| about.place != Place::Flag);
        if let Some(about) = in_file().find(|about| about.name == name) {
            return Ok(about);
        }
        let subject = format!("`{name}` in {}", path.display());
        let program = self.tier.program();
        let below = format!("{name}.");
        if let Some(inner) = in_file().find(|about| about.name.starts_with(&below)) {
            return Err(Invalid::new(format!(
                "{subject} is a section; write its keys below it, for example `{}`",
                inner.name
            )));
        }
        if keys::ALL.iter().any(|about| about.name == name) {
            return Err(Invalid::new(format!(
                "{subject} is no key of {program}'s file; leave it out"
            )));
        }
        let cure = nearest(name, in_file().map(|about| about.name)).map_or_else(
            || "docs/configuration.md lists all keys".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Err(Invalid::new(format!(
            "{subject} is not a key of {program}; {cure}"
        )))
    }

    fn unknown_variable(&self, variable: &str) -> String {
        let names: Vec<_> = abouts(self.tier).map(About::variable).collect();
        let hint = nearest(variable, names.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean {near}?"));
        format!("the environment variable {variable} is no setting and is passed over{hint}")
    }
}

/// The settings of one tier.
pub(super) fn abouts(tier: Tier) -> impl Iterator<Item = &'static About> {
    keys::ALL
        .iter()
        .copied()
        .filter(move |about| about.is_for(tier))
}

/// The most similar name, when it is similar enough to be a slip of the finger.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILARITY_MIN: f64 = 0.7;
    let name = name.replace('-', "_");
    names
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(&name, candidate),
                candidate,
            )
        })
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

// === impl Layer ===

impl Layer {
    fn new(name: &'static str, values: Dict) -> Self {
        Self {
            name,
            source: None,
            values,
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match &self.source {
            Some(source) => Metadata::from(self.name, source.clone()),
            None => Metadata::named(self.name),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
