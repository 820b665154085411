//! The survey: a look through all Pods, in pages, as views that nobody keeps.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::reconcile::Reconciler;
use crate::secret::{Lookup, PodSight, StoreError, Wanted};

/// The least time between two pages of Pods: a survey of a large cluster takes minutes, which nobody waits for.
const PAGE_INTERVAL: Duration = Duration::from_millis(50);

/// What a survey finds.
#[derive(Default)]
pub(super) struct Found {
    pub(super) in_need: BTreeSet<Box<str>>,
    /// Whether a Pod may yet turn out to be one that nothing can help.
    pub(super) undecided: bool,
}

impl Reconciler {
    /// Looks through all Pods and pins, and tells of Pods that nothing can help.
    pub(super) async fn survey(&self) -> Result<Found, StoreError> {
        let parts = &self.parts;
        let mut found = Found::default();
        for namespace in parts.namespaces.pinning() {
            found.in_need.insert(namespace);
        }
        let mut unhealable = 0;
        let mut next: Option<String> = None;
        loop {
            let page = parts.pods.page(None, next.as_deref()).await?;
            let by_namespace = |one: &PodSight, next: &PodSight| one.namespace == next.namespace;
            for pods in page.pods.chunk_by(by_namespace) {
                unhealable += self.sift(pods, &mut found);
            }
            next = page.next;
            if next.is_none() {
                break;
            }
            tokio::time::sleep(PAGE_INTERVAL).await;
        }
        parts.metrics.found_unhealable(unhealable);
        Ok(found)
    }

    /// Looks at some Pods of one namespace; returns how many of them nothing can help.
    fn sift(&self, pods: &[PodSight], found: &mut Found) -> usize {
        let parts = &self.parts;
        let name = pods.first().map_or("", |pod| &*pod.namespace);
        if parts.settings.excluded_namespaces.contains(name) {
            return 0;
        }
        // What nobody has heard of yet is looked into when it is.
        let Some(policy) = parts.rulebook.ruling(name) else {
            return 0;
        };
        let namespace = parts.namespaces.get(name);
        let surveyor = self.surveyor(&policy);
        let mut unhealable = 0;
        for pod in pods {
            if let Some(event) = surveyor.unhealable(pod, &namespace) {
                unhealable += 1;
                parts.events.tell(event);
            } else {
                found.undecided |= surveyor.is_undecided(pod, &namespace);
            }
        }
        if !namespace.terminating && !found.in_need.contains(name) {
            let lacks = self.lacks(name);
            // The Pods of one workload name the same images.
            let mut judged: HashSet<&[String]> = HashSet::new();
            let wanting = pods.iter().filter(|pod| surveyor.wants(pod, &namespace));
            let mut images = wanting.map(|pod| &*pod.images);
            let in_need = images.any(|images| {
                let needs = || surveyor.needs_of(images).into_iter();
                judged.insert(images) && needs().any(|need| lacks(need.wanted()))
            });
            // Who writes what has just been taken away, and dies, leaves it to whoever looks next.
            if in_need || self.holds_other_than(name, &policy) {
                found.in_need.insert(name.into());
            }
        }
        unhealable
    }

    /// Tells whether the namespace's Secret does not hold what is wanted.
    pub(super) fn lacks(&self, namespace: &str) -> impl Fn(Wanted<'_>) -> bool + use<> {
        let known = match self.parts.index.look_up(namespace) {
            Lookup::Known(known) => Some(known),
            Lookup::Absent | Lookup::Unsure => None,
        };
        let now = self.parts.clock.moment();
        move |wanted| {
            let known = known.as_ref();
            !known.is_some_and(|known| known.freshness(wanted, now).is_usable())
        }
    }
}
