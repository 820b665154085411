//! Namespaces and Pods, which come and go.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;
use std::time::Duration;

use ecr_admission::secret::memory::NamespacePhase;
use ecr_admission::secret::{PodPage, PodSight};
use tokio::time::Instant;

use super::ecr::REGIONS;
use super::faults::exponential;
use super::per_day;
use super::tenancy::Tenant;
use super::world::SECRET;

/// How long a namespace and a Pod live on average.
const NAMESPACE_LIFE: Duration = Duration::from_hours(24 * 10);
const POD_LIFE: Duration = Duration::from_hours(24);
/// How many Pods a namespace gets in a day.
const PODS_PER_DAY: f64 = 2.0;
/// How many namespaces' Pods are listed at a time.
const PAGE: usize = 100;
/// How many registries (accounts) there are in a region.
const ACCOUNTS: usize = 4;
/// How many registries there are in all.
pub(crate) const REGISTRIES: usize = ACCOUNTS * REGIONS.len();

/// What is special about a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    Ordinary,
    /// Somebody has a Secret of our name in it.
    Foreign,
    /// A newer version has put an entry into its Secret that nobody here understands.
    Newer,
    /// Nobody creates Pods in it after its first day.
    Asleep,
    /// Somebody edits or deletes its Secret now and then.
    Vandalised,
}

/// A registry: an account in a region, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Registry(usize);

/// An image of each registry.
static IMAGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all = 0..REGISTRIES;
    let image = |number| {
        let (account, region) = (number / REGIONS.len() + 1, REGIONS[number % REGIONS.len()]);
        format!("{account:012}.dkr.ecr.{region}.amazonaws.com/team/app:v1")
    };
    all.map(image).collect()
});

impl Registry {
    fn any(rng: &mut fastrand::Rng) -> Self {
        Self(rng.usize(..IMAGES.len()))
    }

    /// The one with this host.
    pub(crate) fn of_host(host: &str) -> Option<Self> {
        (0..REGISTRIES).map(Self).find(|one| one.host() == host)
    }

    pub(crate) fn number(self) -> usize {
        self.0
    }

    pub(crate) fn region(self) -> usize {
        self.0 % REGIONS.len()
    }

    pub(crate) fn image(self) -> &'static str {
        &IMAGES[self.0]
    }

    pub(crate) fn host(self) -> &'static str {
        self.image().split('/').next().unwrap_or_default()
    }
}

pub(crate) struct Pod {
    pub(crate) registries: Vec<Registry>,
    /// When it was created, or will have been found by a survey.
    known: Instant,
    ends: Instant,
}

pub(crate) struct Namespace {
    pub(crate) kind: Kind,
    pub(crate) phase: NamespacePhase,
    pub(crate) created: Instant,
    pub(crate) tenant: Tenant,
    /// Whose it was before, and until when.
    pub(crate) former: Option<(Tenant, Instant)>,
    /// When it ends, or is gone.
    until: Instant,
    registries: Vec<Registry>,
    pub(crate) pods: Vec<Pod>,
    /// When somebody last disturbed its Secret.
    pub(crate) disturbed: Option<Instant>,
}

impl Namespace {
    fn new(tenant: Option<Tenant>, now: Instant, rng: &mut fastrand::Rng) -> Self {
        let kind = match rng.u8(..100) {
            _ if tenant.is_some() => Kind::Ordinary,
            0..2 => Kind::Foreign,
            2..5 => Kind::Newer,
            5..15 => Kind::Asleep,
            15..25 => Kind::Vandalised,
            _ => Kind::Ordinary,
        };
        let mut registries = vec![Registry::any(rng)];
        if rng.u8(..5) < 2 {
            registries.push(Registry::any(rng));
            registries.dedup();
        }
        let tenant = tenant.unwrap_or_else(|| match kind {
            Kind::Ordinary => Tenant::any(rng),
            _ => Tenant::NONE,
        });
        Self {
            kind,
            phase: NamespacePhase::Active,
            created: now,
            tenant,
            former: None,
            until: now + exponential(NAMESPACE_LIFE, rng),
            registries,
            pods: Vec::new(),
            disturbed: None,
        }
    }

    /// Gives it to another tenant.
    pub(crate) fn hand_over(&mut self, now: Instant) {
        self.former = Some((self.tenant, now));
        self.tenant = self.tenant.next();
    }

    /// Since when it is its tenant's.
    pub(crate) fn tenant_since(&self) -> Instant {
        self.former.map_or(self.created, |(_, until)| until)
    }

    /// The registries that its Pods may use.
    pub(crate) fn registries(&self) -> &[Registry] {
        &self.registries
    }

    /// The registries that Pods use, and since when somebody must know that each is.
    pub(crate) fn used(&self) -> impl Iterator<Item = (Registry, Instant)> {
        let since = move |registry: &Registry| {
            let users = self
                .pods
                .iter()
                .filter(|pod| pod.registries.contains(registry));
            users.map(|pod| pod.known).min()
        };
        let used = self.registries.iter();
        used.filter_map(move |registry| Some((*registry, since(registry)?)))
    }

    fn sights(&self, name: &str) -> impl Iterator<Item = PodSight> {
        self.pods.iter().map(|pod| {
            let images = pod.registries.iter().map(|used| used.image().to_owned());
            PodSight {
                namespace: name.to_owned(),
                images: images.collect(),
                pull_secrets: vec![SECRET.to_owned()],
                ..PodSight::default()
            }
        })
    }

    /// The registries of a new Pod.
    pub(crate) fn pick(&self, rng: &mut fastrand::Rng) -> Vec<Registry> {
        if rng.bool() {
            self.registries.clone()
        } else {
            vec![self.registries[rng.usize(..self.registries.len())]]
        }
    }

    pub(crate) fn run(&mut self, registries: Vec<Registry>, rng: &mut fastrand::Rng) {
        self.run_unseen(registries, Duration::ZERO, rng);
    }

    /// The same, of which nobody knows until so much later.
    pub(crate) fn run_unseen(
        &mut self,
        registries: Vec<Registry>,
        unseen: Duration,
        rng: &mut fastrand::Rng,
    ) {
        let now = Instant::now();
        self.pods.push(Pod {
            registries,
            known: now + unseen,
            ends: now + exponential(POD_LIFE, rng),
        });
    }

    fn gets_pods(&self, now: Instant) -> bool {
        let asleep = self.kind == Kind::Asleep && now - self.created > per_day(1);
        self.phase == NamespacePhase::Active && !asleep
    }
}

/// All namespaces by name, those that are gone left out.
#[derive(Default)]
pub(crate) struct Population {
    pub(crate) namespaces: BTreeMap<String, Namespace>,
}

/// What becomes of a namespace.
pub(crate) enum Turn {
    Begins,
    Ends,
    IsGone,
}

impl Population {
    /// Lets some time pass: Pods end, and namespaces come and go so that there are about `wanted`.
    pub(crate) fn step(
        &mut self,
        wanted: usize,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Vec<(String, Turn)> {
        let mut turns = Vec::new();
        for (name, namespace) in &mut self.namespaces {
            namespace.pods.retain(|pod| pod.ends > now);
            if namespace.until > now {
                continue;
            }
            if namespace.phase == NamespacePhase::Active {
                namespace.phase = NamespacePhase::Terminating;
                namespace.until = now + Duration::from_secs(rng.u64(60..300));
                turns.push((name.clone(), Turn::Ends));
            } else {
                turns.push((name.clone(), Turn::IsGone));
            }
        }
        let gone = turns
            .iter()
            .filter(|(_, turn)| matches!(turn, Turn::IsGone));
        let gone: HashSet<&String> = gone.map(|(name, _)| name).collect();
        let mut reborn = Vec::new();
        self.namespaces.retain(|name, namespace| {
            let stays = !gone.contains(name);
            if !stays && namespace.tenant != Tenant::NONE && rng.bool() {
                reborn.push((name.clone(), namespace.tenant.next()));
            }
            stays
        });
        // Somebody else makes one of the same name at once.
        for (name, tenant) in reborn {
            let namespace = Namespace::new(Some(tenant), now, rng);
            self.namespaces.insert(name.clone(), namespace);
            turns.push((name, Turn::Begins));
        }
        // A few names more than namespaces, so that names come back.
        for _ in 0..wanted
            .saturating_sub(self.namespaces.len())
            .min(wanted / 6 + 1)
        {
            let name = format!("team-{}", rng.usize(..wanted + wanted / 5));
            if !self.namespaces.contains_key(&name) {
                let namespace = Namespace::new(None, now, rng);
                self.namespaces.insert(name.clone(), namespace);
                turns.push((name, Turn::Begins));
            }
        }
        turns
    }

    /// The Pods of one namespace, or those of some namespaces from the one named `next` on, as the API server lists them.
    pub(crate) fn page(&self, namespace: Option<&str>, next: Option<&str>) -> PodPage {
        if let Some(name) = namespace {
            let namespace = self.namespaces.get(name);
            let pods = namespace.map(|namespace| namespace.sights(name).collect());
            return PodPage {
                pods: pods.unwrap_or_default(),
                next: None,
            };
        }
        let from = next.unwrap_or_default().to_owned();
        let mut rest = self.namespaces.range(from..);
        let page = rest.by_ref().take(PAGE);
        PodPage {
            pods: page
                .flat_map(|(name, namespace)| namespace.sights(name))
                .collect(),
            next: rest.next().map(|(name, _)| name.clone()),
        }
    }

    /// Where Pods are created within the next `minutes`.
    pub(crate) fn busy(&self, minutes: u32, now: Instant, rng: &mut fastrand::Rng) -> Vec<String> {
        let chance = PODS_PER_DAY / (24.0 * 60.0) * f64::from(minutes);
        let busy = self.namespaces.iter().filter(|(_, namespace)| {
            // The first Pod comes soon.
            let chance = if now - namespace.created < Duration::from_mins(30) {
                0.4
            } else {
                chance
            };
            namespace.gets_pods(now) && rng.f64() < chance
        });
        busy.map(|(name, _)| name.clone()).collect()
    }
}
