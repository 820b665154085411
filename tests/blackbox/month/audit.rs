//! What must hold, whatever happens.
//!
//! Nobody is believed about a token: its password says where and until when it works, and the judge's clock never jumps.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::clock::Clock;
use ecr_admission::pull_secret::state::between;
use ecr_admission::secret::StoredSecret;
use ecr_admission::secret::memory::{MemorySecretStore, NamespacePhase};
use futures_util::FutureExt;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::Instant;

use super::ecr::{REGIONS, read};
use super::population::{Kind, Population, Registry};
use super::spells::Spells;
use crate::support::mint::LIFE;

/// What a Pod's token has left at the least when it is admitted: the smaller of an hour and a quarter of its life; and
/// the time that an admission may take.
const FLOOR: Duration = Duration::from_hours(1);
const TOLERANCE: Duration = Duration::from_secs(6);
/// How long everything must have worked before a failure is nobody's fault but ours: back-off ends, and a look comes.
const GRACE: Duration = Duration::from_mins(30);
/// Half of a life, less the tenth that renewals are spread over: what is left when the last replica comes due.
const DUE: Duration = LIFE.saturating_sub(Duration::from_secs(LIFE.as_secs() / 10 * 6));

/// The entry that somebody's newer version wrote.
pub(crate) const NEWER: &str = "newer.example.com";

/// What was seen of one namespace's Secret.
#[derive(Default)]
struct Seen {
    version: String,
    /// Until when the password of each host works.
    works_until: HashMap<String, Timestamp>,
    has_newer: bool,
    /// It is as somebody else made it.
    is_foreign: bool,
}

#[derive(Default)]
pub(crate) struct Audit {
    seen: HashMap<String, Seen>,
    /// The uses that have no working token, and since when.
    dark: BTreeMap<(String, Registry), Instant>,
    pub(crate) writes: u64,
    pub(crate) deletions: u64,
    pub(crate) conflicts: u64,
    /// How many uses were judged, and how many of these had no working token and an excuse.
    pub(crate) judged: u64,
    pub(crate) excused: u64,
    pub(crate) healed: u64,
}

impl Audit {
    pub(crate) fn wrote(&mut self, succeeded: bool) {
        self.writes += u64::from(succeeded);
        self.conflicts += u64::from(!succeeded);
    }

    pub(crate) fn deleted(&mut self, succeeded: bool) {
        self.deletions += u64::from(succeeded);
    }

    /// How many entries of ours the Secrets hold.
    pub(crate) fn entries(&self) -> usize {
        self.seen.values().map(|seen| seen.works_until.len()).sum()
    }

    /// Until when the token for a registry works.
    pub(crate) fn works_until(
        &mut self,
        name: &str,
        registry: Registry,
        cluster: &MemorySecretStore,
    ) -> Option<Timestamp> {
        let seen = self.look(name, cluster)?;
        seen.works_until.get(registry.host()).copied()
    }

    /// Reads a Secret whose version has changed.
    fn look(&mut self, name: &str, cluster: &MemorySecretStore) -> Option<&Seen> {
        use ecr_admission::secret::SecretStore;
        let stored = cluster.get(name).now_or_never()?.unwrap();
        let Some(stored) = stored else {
            self.seen.remove(name);
            return None;
        };
        let seen = self.seen.entry(name.to_owned()).or_default();
        if seen.version != stored.metadata.resource_version {
            *seen = Seen::of(name, &stored);
        }
        Some(seen)
    }

    /// Forgets a namespace that is gone: its name may come back.
    pub(crate) fn forget(&mut self, name: &str) {
        self.seen.remove(name);
        self.dark.retain(|(namespace, _), _| namespace != name);
    }

    /// Judges every use of every Secret.
    pub(crate) fn inspect(
        &mut self,
        population: &Population,
        spells: &[Spells; REGIONS.len()],
        cluster: &MemorySecretStore,
        truth: &Clock,
    ) {
        for (name, namespace) in &population.namespaces {
            if namespace.phase != NamespacePhase::Active {
                continue;
            }
            if namespace.kind == Kind::Foreign {
                let untouched = self.look(name, cluster).is_some_and(|seen| seen.is_foreign);
                assert!(untouched, "somebody's Secret in {name} was written");
                continue;
            }
            if namespace.kind == Kind::Newer {
                let kept = self.look(name, cluster).is_some_and(|seen| seen.has_newer);
                assert!(kept, "{name} has lost an entry of a newer version");
            }
            for (registry, since) in namespace.used() {
                let before = self.seen.get(name);
                let before = before.and_then(|seen| seen.works_until.get(registry.host()));
                let before = before.copied();
                let until = self.works_until(name, registry, cluster);
                let spells = &spells[registry.region()];
                self.judge(name, registry, since, [before, until], spells, truth);
                self.judged += 1;
            }
            // What no Pod uses counts as an entry too.
            self.look(name, cluster);
        }
        self.dark.retain(|(name, registry), _| {
            let namespace = population.namespaces.get(name);
            namespace
                .is_some_and(|namespace| namespace.used().iter().any(|(used, _)| used == registry))
        });
    }

    fn judge(
        &mut self,
        name: &str,
        registry: Registry,
        used_since: Instant,
        [before, until]: [Option<Timestamp>; 2],
        spells: &Spells,
        truth: &Clock,
    ) {
        let now = truth.moment();
        let works = |until: Timestamp| until > now.wall;
        let key = (name.to_owned(), registry);
        let host = registry.host();
        let mut since = now.monotonic;
        // The state can be gone with the token, or made anew since: what was seen last counts.
        let expired = before.or(until).filter(|until| !works(*until));
        if let Some(expired) = expired
            && !self.dark.contains_key(&key)
        {
            since -= between(expired, now.wall);
            let due = (since - DUE).max(used_since);
            let worked = spells.longest(due, since.max(due));
            assert!(
                worked < GRACE,
                "the token of {name} for {host} expired in use at {expired}, though everything worked for {worked:?} since it \
                 was due"
            );
        }
        if until.is_some_and(works) {
            self.healed += u64::from(self.dark.remove(&key).is_some());
            return;
        }
        self.excused += 1;
        let dark = *self.dark.entry(key).or_insert(since.max(used_since));
        let worked = spells.longest(dark, now.monotonic);
        assert!(
            worked < GRACE,
            "{name} has had no token for {host} for {:?}, of which everything worked for {worked:?}",
            now.monotonic - dark
        );
    }

    /// A Pod was admitted and nobody warned: its token must last.
    pub(crate) fn admitted(
        &mut self,
        name: &str,
        registries: &[Registry],
        cluster: &MemorySecretStore,
        now: Timestamp,
        by: &str,
    ) {
        for registry in registries {
            let until = self.works_until(name, *registry, cluster);
            let left = until.map_or(Duration::ZERO, |until| between(now, until));
            assert!(
                left + TOLERANCE >= FLOOR,
                "{by} admitted a Pod to {name} whose token for {} has {left:?} left",
                registry.host()
            );
        }
    }
}

impl Seen {
    fn of(name: &str, stored: &StoredSecret) -> Self {
        let mut seen = Self {
            version: stored.metadata.resource_version.clone(),
            is_foreign: !stored.metadata.owned && stored.metadata.state.is_none(),
            ..Self::default()
        };
        let document = stored.docker_config.as_ref();
        let document = document.map(|document| serde_json::from_slice(document.expose_secret()));
        // Somebody's edit need not be JSON.
        let Some(Ok(document)) = document else {
            return seen;
        };
        let document: Value = document;
        for (host, entry) in document["auths"].as_object().into_iter().flatten() {
            if host == NEWER {
                let state = stored.metadata.state.as_deref().unwrap_or_default();
                seen.has_newer = state.contains(NEWER);
                continue;
            }
            let pair = BASE64_STANDARD.decode(entry["auth"].as_str().unwrap());
            let pair = String::from_utf8(pair.unwrap()).unwrap();
            let (region, works_until) = read(pair.strip_prefix("AWS:").unwrap()).unwrap();
            assert!(
                host.contains(region),
                "{name} has a token of {region} for {host}"
            );
            seen.works_until.insert(host.clone(), works_until);
        }
        seen
    }
}
