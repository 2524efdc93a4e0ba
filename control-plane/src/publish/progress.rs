//! How far a replica has come, so that replicas can be compared. Pure.
//!
//! In: resourceVersions, as they are heard of. Out: for each kind, up to which version a table is published. Replicas of a tier
//! watch the same kinds, so one that has come as far as another has the other's rules.

use std::fmt;

use crate::objects::Kind;
use crate::watch::Version;

/// For each kind, a resourceVersion; 0 is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress([u64; Kind::ALL.len()]);

/// What a table is published of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Programmed {
    /// Up to which versions everything is in the table.
    pub(crate) reached: Progress,
    /// The newest change in it, by kind: who has reached that has the same rules, though perhaps not heard of more since.
    pub(crate) needed: Progress,
}

// === impl Progress ===

impl Progress {
    /// Whether it is as far as another for each kind.
    pub(crate) fn has_reached(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(own, other)| own >= other)
    }

    pub(crate) fn of(&self, kind: Kind) -> u64 {
        self.0[place(kind)]
    }

    /// Whether Secrets are still to be read for the first time.
    pub(crate) fn is_reading(&self) -> bool {
        self.of(Kind::Secret) == 0
    }

    /// What both have reached.
    pub(crate) fn or_less(&self, other: &Self) -> Self {
        let mut less = *self;
        for (own, other) in less.0.iter_mut().zip(&other.0) {
            *own = (*own).min(*other);
        }
        less
    }

    /// Reads what [`fmt::Display`] writes. What makes no sense is 0: it is waited for until it does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut progress = Self::default();
        for part in text.split_ascii_whitespace() {
            let Some((name, version)) = part.split_once('=') else {
                continue;
            };
            if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == name) {
                progress.0[place(kind)] = version.parse().unwrap_or_default();
            }
        }
        progress
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, kind) in Kind::ALL.into_iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(f, "{space}{kind}={}", self.of(kind))?;
        }
        Ok(())
    }
}

fn place(kind: Kind) -> usize {
    let place = Kind::ALL.into_iter().position(|one| one == kind);
    place.expect("it is one of all kinds")
}

// === impl Programmed ===

impl Programmed {
    /// Notes what was heard of. A list begins anew: after a restore of etcd versions may be smaller than before.
    pub(super) fn take_in(&mut self, version: Version, is_list: bool, differs: bool) {
        let place = place(version.kind);
        let (reached, needed) = (&mut self.reached.0[place], &mut self.needed.0[place]);
        if is_list {
            *reached = version.seen;
            *needed = version.object;
            return;
        }
        *reached = version.seen.max(*reached);
        if differs {
            *needed = version.object.max(*needed);
        }
    }

    /// Notes whether all Secrets that are named are answered for, at a tier that reads them by their names: they are no list, and have no version
    /// in common, so 1 stands for all of them.
    pub(super) fn secrets_are_read(&mut self, are_read: bool) {
        let place = place(Kind::Secret);
        self.reached.0[place] = u64::from(are_read);
        self.needed.0[place] = 1;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A table of objects of these versions.
    pub(crate) fn programmed(versions: &[(Kind, u64)]) -> Programmed {
        let mut programmed = Programmed::default();
        for (kind, version) in versions {
            let (object, seen) = (*version, *version);
            let version = Version {
                kind: *kind,
                object,
                seen,
            };
            programmed.take_in(version, false, true);
        }
        programmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(kind: Kind, object: u64, seen: u64) -> Version {
        Version { kind, object, seen }
    }

    #[test]
    fn who_has_reached_what_another_needs_has_its_rules() {
        let (mut leader, mut member) = (Programmed::default(), Programmed::default());
        leader.take_in(heard(Kind::Ingress, 7, 7), false, true);
        assert!(!member.reached.has_reached(&leader.needed));
        member.take_in(heard(Kind::Ingress, 7, 7), false, true);
        assert!(member.reached.has_reached(&leader.needed));
        // Statuses and bookmarks are not waited for.
        leader.take_in(heard(Kind::Ingress, 8, 8), false, false);
        leader.take_in(heard(Kind::Service, 0, 9), false, false);
        assert!(member.reached.has_reached(&leader.needed));
        leader.take_in(heard(Kind::EndpointSlice, 10, 10), false, true);
        assert!(!member.reached.has_reached(&leader.needed));
        // A bookmark says that nothing was missed.
        member.take_in(heard(Kind::EndpointSlice, 0, 11), false, false);
        assert!(member.reached.has_reached(&leader.needed));
    }

    #[test]
    fn who_has_not_read_every_secret_has_not_reached_what_others_need() {
        let (mut leader, mut member) = (Programmed::default(), Programmed::default());
        leader.secrets_are_read(true);
        member.secrets_are_read(false);
        assert!(member.reached.is_reading() && !leader.reached.is_reading());
        assert!(!member.reached.has_reached(&leader.needed));
        member.secrets_are_read(true);
        assert!(member.reached.has_reached(&leader.needed));
    }

    #[test]
    fn a_list_begins_anew() {
        let mut programmed = Programmed::default();
        programmed.take_in(heard(Kind::Ingress, 90, 90), false, true);
        programmed.take_in(heard(Kind::Ingress, 12, 20), true, true);
        assert_eq!(programmed.reached.of(Kind::Ingress), 20);
        assert_eq!(programmed.needed.of(Kind::Ingress), 12);
    }

    #[test]
    fn a_progress_is_read_as_it_is_written() {
        let mut programmed = Programmed::default();
        for (n, kind) in Kind::ALL.into_iter().enumerate() {
            let version = u64::try_from(n).unwrap() + 5;
            programmed.take_in(heard(kind, version, version), false, true);
        }
        let text = programmed.reached.to_string();
        assert_eq!(
            text,
            "Ingress=5 IngressClass=6 Service=7 EndpointSlice=8 Secret=9 Namespace=10"
        );
        assert_eq!(Progress::parse(&text), programmed.reached);
        assert_eq!(
            Progress::parse("Ingress=x Service Other=4 EndpointSlice=3").to_string(),
            "Ingress=0 IngressClass=0 Service=0 EndpointSlice=3 Secret=0 Namespace=0"
        );
    }
}
