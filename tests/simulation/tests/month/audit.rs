//! What must hold, whatever happens.
//!
//! Nobody is believed about a token: its password says where and until when it works, and the judge's clock never jumps.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecr_admission::clock::{Clock, Moment};
use ecr_admission::pull_secret::state::between;
use ecr_admission::secret::memory::{MemorySecretStore, NamespacePhase};
use ecr_admission::secret::{SecretMetadata, SecretStore, StoredSecret};
use ecr_admission::watch::Mirror;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::docker_config::{auths, password};
use super::ecr::{LIFE, REGIONS, read};
use super::population::{Kind, Population, REGISTRIES, Registry};
use super::spells::Spells;
use super::tenancy::{Tenancy, Tenant};

/// What a Pod's token has left at the least when it is admitted: the smaller of an hour and a quarter of its life; and
/// the time that an admission may take.
const FLOOR: Duration = Duration::from_hours(1);
const TOLERANCE: Duration = Duration::from_secs(6);
/// How long what is not granted any more may stay while every replica hears of it: the longest wait after a failure, and
/// for each namespace the time between two starts of work, because a policy or a list can be about all of them.
const REVOKED: Duration = Duration::from_mins(2);
const REVOKED_EACH: Duration = Duration::from_millis(20);
/// How long ECR may have answered again when a token expires in use: back-off ends, and thousands have their turn.
const RESUMED: Duration = Duration::from_mins(20);
/// How long everything must have worked before a failure is nobody's fault but ours: back-off ends, and a look comes.
const GRACE: Duration = Duration::from_mins(30);
/// How long everything may have worked and what is due still not be renewed: a look that found no Pod using it is repeated
/// after up to an hour and a half, and a warm admission tells nobody.
const RENEWED: Duration = Duration::from_hours(2);
/// Half of a life, less the tenth that renewals are spread over: what is left when the last replica comes due.
const DUE: Duration = LIFE.saturating_sub(Duration::from_secs(LIFE.as_secs() / 10 * 6));

/// The entry that somebody's newer version wrote.
pub(crate) const NEWER: &str = "newer.example.com";

/// Something for each registry.
type EachRegistry<T> = [Option<T>; REGISTRIES];

/// What was seen of one namespace's Secret.
#[derive(Default)]
struct Seen {
    /// Until when the password of each registry works.
    works_until: EachRegistry<Timestamp>,
    /// Whose it is.
    holders: [Tenant; REGISTRIES],
    /// Until when they worked at the last inspection, where that was another version.
    inspected: Option<Box<EachRegistry<Timestamp>>>,
    /// Until when those would have worked that were the first since then to be replaced in time.
    in_time: EachRegistry<Timestamp>,
    /// The uses that have no working token, and since when.
    dark: EachRegistry<Instant>,
    has_newer: bool,
    /// It is as somebody else made it.
    is_foreign: bool,
}

/// The namespaces whose Secrets were written and not looked at since.
#[derive(Default)]
struct Changed(Mutex<BTreeSet<String>>);

pub(crate) struct Audit {
    cluster: Arc<MemorySecretStore>,
    changed: Arc<Changed>,
    seen: HashMap<String, Seen>,
    inspected_at: Instant,
    /// What was seen at a write, and is to be told by whoever judges.
    pub(crate) breach: Option<String>,
    pub(crate) writes: u64,
    pub(crate) deletions: u64,
    pub(crate) conflicts: u64,
    /// How many uses were judged, and how many of these had no working token and an excuse.
    pub(crate) judged: u64,
    pub(crate) excused: u64,
    pub(crate) healed: u64,
}

impl Audit {
    pub(crate) fn new(cluster: &Arc<MemorySecretStore>) -> Self {
        let changed = Arc::<Changed>::default();
        cluster.attach(Arc::clone(&changed) as Arc<_>);
        Self {
            cluster: Arc::clone(cluster),
            changed,
            seen: HashMap::new(),
            inspected_at: Instant::now(),
            breach: None,
            writes: 0,
            deletions: 0,
            conflicts: 0,
            judged: 0,
            excused: 0,
            healed: 0,
        }
    }

    pub(crate) fn wrote(&mut self, succeeded: bool) {
        self.writes += u64::from(succeeded);
        self.conflicts += u64::from(!succeeded);
    }

    pub(crate) fn deleted(&mut self, succeeded: bool) {
        self.deletions += u64::from(succeeded);
    }

    /// A password was replaced that would have worked until then.
    pub(crate) fn replaced_in_time(&mut self, name: &str, host: &str, until: Timestamp) {
        let seen = self.seen.entry(name.to_owned()).or_default();
        let registry = Registry::of_host(host).expect("nobody names another registry");
        seen.in_time[registry.number()].get_or_insert(until);
    }

    /// How many entries of ours the Secrets hold.
    pub(crate) fn entries(&self) -> usize {
        let held = self.seen.values();
        held.map(|seen| seen.works_until.iter().flatten().count())
            .sum()
    }

    /// Reads a Secret that has changed.
    fn look(&mut self, name: &str) {
        let stored = self.cluster.get(name).now_or_never();
        let stored = stored.and_then(|stored| stored.unwrap());
        let seen = self.seen.entry(name.to_owned()).or_default();
        let before = seen.works_until;
        seen.inspected.get_or_insert_with(|| Box::new(before));
        seen.read(name, stored.as_ref());
    }

    /// Forgets a namespace that is gone: its name may come back.
    pub(crate) fn forget(&mut self, name: &str) {
        self.seen.remove(name);
        self.changed.names().remove(name);
    }

    /// Judges every use of every Secret.
    pub(crate) fn inspect(&mut self, world: &Around<'_>, truth: &Clock) {
        let changed = std::mem::take(&mut *self.changed.names());
        for name in &changed {
            self.look(name);
        }
        let now = truth.moment();
        let inspected_at = std::mem::replace(&mut self.inspected_at, now.monotonic);
        let namespaces = u32::try_from(world.population.namespaces.len()).unwrap();
        let revoked = REVOKED + REVOKED_EACH * namespaces;
        for (name, namespace) in &world.population.namespaces {
            if namespace.phase != NamespacePhase::Active {
                continue;
            }
            let seen = match self.seen.get_mut(name) {
                Some(seen) => seen,
                None => self.seen.entry(name.clone()).or_default(),
            };
            let before = seen.inspected.take();
            let before = before.map_or(seen.works_until, |before| *before);
            let in_time = std::mem::take(&mut seen.in_time);
            match namespace.kind {
                Kind::Foreign => {
                    assert!(seen.is_foreign, "somebody's Secret in {name} was written");
                    continue;
                }
                Kind::Newer => {
                    let kept = seen.has_newer;
                    assert!(kept, "{name} has lost an entry of a newer version");
                }
                Kind::Ordinary | Kind::Asleep | Kind::Vandalised => {}
            }
            let mut was_dark = std::mem::take(&mut seen.dark);
            let (is_granted, policy_since) = world.tenancy.grants(namespace.tenant);
            let granted_since = policy_since.max(namespace.tenant_since());
            let tenant = namespace.tenant;
            let heard = world.heard.longest(granted_since, now.monotonic);
            assert!(
                heard < revoked || !seen.holds_other_than(is_granted.then_some(tenant)),
                "{name} holds what it has not been granted for {:?}, {heard:?} of which everybody heard of it",
                now.monotonic - granted_since
            );
            if !is_granted {
                continue;
            }
            let is_new = granted_since > inspected_at;
            if is_new {
                was_dark = EachRegistry::default();
            }
            for (registry, since) in namespace.used() {
                let number = registry.number();
                let is_its = seen.holders[number] == tenant;
                let mut use_ = Use {
                    name,
                    registry,
                    since: since.max(granted_since),
                    before: before[number]
                        .filter(|until| is_its && !is_new && in_time[number] != Some(*until)),
                    until: seen.works_until[number].filter(|_| is_its),
                    dark: was_dark[number],
                };
                let region = registry.region();
                use_.judge(&world.spells[region], &world.answered[region], now);
                seen.dark[number] = use_.dark;
                self.judged += 1;
                self.excused += u64::from(use_.dark.is_some());
                self.healed += u64::from(was_dark[number].is_some() && use_.dark.is_none());
            }
        }
    }

    /// A Pod was admitted and nobody warned: its token must last.
    pub(crate) fn admitted(
        &mut self,
        (name, tenant): (&str, Tenant),
        registries: &[Registry],
        now: Timestamp,
        by: &str,
    ) {
        if self.changed.names().remove(name) {
            self.look(name);
        }
        let seen = self.seen.get(name);
        for registry in registries {
            let seen = seen.filter(|seen| seen.holders[registry.number()] == tenant);
            let until = seen.and_then(|seen| seen.works_until[registry.number()]);
            let left = until.map_or(Duration::ZERO, |until| between(now, until));
            assert!(
                !left.is_zero() && left + TOLERANCE >= FLOOR,
                "{by} admitted a Pod to {name} whose token for {} has {left:?} left",
                registry.host()
            );
        }
    }
}

/// What is judged, and what excuses it.
pub(crate) struct Around<'a> {
    pub(crate) population: &'a Population,
    pub(crate) tenancy: &'a Tenancy,
    pub(crate) spells: &'a [Spells; REGIONS.len()],
    pub(crate) answered: &'a [Spells; REGIONS.len()],
    pub(crate) heard: &'a Spells,
}

/// That a namespace uses a registry, and how that stands.
struct Use<'a> {
    name: &'a str,
    registry: Registry,
    since: Instant,
    /// Until when its password works or worked, at the last inspection, unless it was replaced in time since, and now.
    before: Option<Timestamp>,
    until: Option<Timestamp>,
    /// Since when there is no working token.
    dark: Option<Instant>,
}

impl Use<'_> {
    fn judge(&mut self, spells: &Spells, answered: &Spells, now: Moment) {
        let (name, host) = (self.name, self.registry.host());
        let works = |until: Timestamp| until > now.wall;
        let mut since = now.monotonic;
        // The state can be gone with the token, or made anew since: what was seen last counts.
        let expired = self.before.or(self.until).filter(|until| !works(*until));
        if let Some(expired) = expired
            && self.dark.is_none()
        {
            since -= between(expired, now.wall);
            let due = (since - DUE).max(self.since);
            let worked = spells.longest(due, since.max(due));
            assert!(
                worked < GRACE,
                "the token of {name} for {host} expired in use at {expired}, though everything worked for {worked:?} since it \
                 was due"
            );
            let had_answered = answered.lasting_at(since);
            assert!(
                had_answered < RESUMED || since < self.since,
                "the token of {name} for {host} expired in use at {expired}, when ECR had answered for {had_answered:?}"
            );
        }
        if let Some(until) = self.until.filter(|until| works(*until)) {
            self.dark = None;
            self.must_be_renewed(until, spells, now);
            return;
        }
        let dark = *self.dark.get_or_insert(since.max(self.since));
        let worked = spells.longest(dark, now.monotonic);
        assert!(
            worked < GRACE,
            "{name} has had no token for {host} for {:?}, of which everything worked for {worked:?}",
            now.monotonic - dark
        );
    }

    /// What still works must not be near its end.
    fn must_be_renewed(&self, until: Timestamp, spells: &Spells, now: Moment) {
        let left = between(now.wall, until);
        let due = now.monotonic - DUE.saturating_sub(left);
        let worked = spells.longest(due.max(self.since), now.monotonic);
        assert!(
            left >= DUE || worked < RENEWED,
            "the token of {} for {} has {left:?} left and was not renewed, though everything worked for {worked:?} since it \
             was due",
            self.name,
            self.registry.host()
        );
    }
}

impl Seen {
    fn read(&mut self, name: &str, stored: Option<&StoredSecret>) {
        self.works_until = EachRegistry::default();
        let metadata = stored.map(|stored| &stored.metadata);
        self.is_foreign =
            metadata.is_some_and(|metadata| !metadata.owned && metadata.state.is_none());
        self.has_newer = false;
        for (host, auth) in stored.map(auths).unwrap_or_default() {
            if host == NEWER {
                let state = metadata.and_then(|metadata| metadata.state.as_deref());
                self.has_newer = state.is_some_and(|state| state.contains(NEWER));
                continue;
            }
            let password = password(auth);
            let (holder, region, works_until) = read(&password).unwrap();
            assert!(
                host.contains(region),
                "{name} has a token of {region} for {host}"
            );
            let registry = Registry::of_host(host).expect("nobody names another registry");
            self.works_until[registry.number()] = Some(works_until);
            self.holders[registry.number()] = holder;
        }
    }

    /// Whether any entry is of somebody else, or of anybody where nobody may have one.
    fn holds_other_than(&self, tenant: Option<Tenant>) -> bool {
        let held = self.works_until.iter().zip(self.holders);
        let mut held = held.filter(|(until, _)| until.is_some());
        held.any(|(_, holder)| Some(holder) != tenant)
    }
}

impl Changed {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap()
    }
}

impl Mirror<SecretMetadata> for Changed {
    fn apply(&self, key: &str, _object: SecretMetadata) {
        self.names().insert(key.to_owned());
    }

    fn delete(&self, key: &str, _resource_version: &str) {
        self.names().insert(key.to_owned());
    }

    fn listed(&self, _keys: &HashSet<String>, _resource_version: &str) {}

    fn heard(&self) {}
}
