//! What Pods need that exist already: judged as an admission would judge them. Pure.

use super::judge::NeedRef;
use crate::event::{Event, Kind, Severity, Subject};
use crate::namespace::Namespace;
use crate::policy::{Credential, Policy, decide};
use crate::pull_secret::merge::MOST_ENTRIES;
use crate::secret::PodSight;

/// A Pod cannot pull, and no Secret will ever help it.
const UNINJECTED: &str = "PullSecretNotInPod";

/// What the existing Pods of one or more namespaces are judged by.
pub(super) struct Surveyor<'a> {
    pub(super) policy: &'a Policy,
    /// The Secret's name.
    pub(super) secret: &'a str,
}

impl Surveyor<'_> {
    /// The credentials that a Pod needs; none for one that is not to get any.
    pub(super) fn needs<'a>(
        &'a self,
        pod: &'a PodSight,
        namespace: &Namespace,
    ) -> Vec<NeedRef<'a>> {
        if self.wants(pod, namespace) {
            self.needs_of(&pod.images)
        } else {
            Vec::new()
        }
    }

    /// Whether a Pod is to get the credentials that its images need.
    pub(super) fn wants(&self, pod: &PodSight, namespace: &Namespace) -> bool {
        let wants = self.refers(pod) || (namespace.inject && !pod.opts_out);
        wants && !pod.beyond_help
    }

    /// The credentials that the images of a Pod need.
    pub(super) fn needs_of<'a>(&'a self, images: &'a [String]) -> Vec<NeedRef<'a>> {
        let mut needs: Vec<NeedRef<'_>> = Vec::new();
        for image in images {
            if let Some(need) = self.need(image)
                && !needs.iter().any(|known| known.key == need.key)
            {
                if needs.len() == MOST_ENTRIES {
                    // More than a Secret holds: it gets none, as at its admission, and keeps nobody else out.
                    return Vec::new();
                }
                needs.push(need);
            }
        }
        needs
    }

    /// What to tell about a Pod that fails to pull and never names our Secret: that cannot be changed any more.
    pub(super) fn unhealable(&self, pod: &PodSight, namespace: &Namespace) -> Option<Event> {
        if !self.passed_us(pod, namespace) {
            return None;
        }
        let failing = pod.failing.iter().find_map(|image| self.need(image))?;
        let secret = self.secret;
        Some(Event {
            subject: Subject {
                uid: Some(pod.uid.clone()),
                ..Subject::new(Kind::Pod, &pod.namespace, &pod.name)
            },
            severity: Severity::Warning,
            reason: UNINJECTED,
            note: format!(
                "this Pod cannot pull from {} and will not: Secret {secret:?} is not in its imagePullSecrets, which \
                 cannot be changed; delete the Pod, so that it is created anew",
                failing.key
            ),
        })
    }

    /// Whether [`Self::unhealable`] may yet tell of a Pod: it has not started, and no kubelet has said that it fails.
    pub(super) fn is_undecided(&self, pod: &PodSight, namespace: &Namespace) -> bool {
        let needs = || pod.images.iter().any(|image| self.need(image).is_some());
        pod.pending && self.passed_us(pod, namespace) && needs()
    }

    /// Whether it was to name our Secret, and does not.
    fn passed_us(&self, pod: &PodSight, namespace: &Namespace) -> bool {
        let meant = namespace.inject && !pod.opts_out && !pod.beyond_help;
        meant && !self.refers(pod)
    }

    fn refers(&self, pod: &PodSight) -> bool {
        pod.pull_secrets.iter().any(|name| name == self.secret)
    }

    /// The credential that an image needs, if policy lets it have one.
    fn need<'a>(&'a self, image: &'a str) -> Option<NeedRef<'a>> {
        let decision = decide(self.policy, image);
        // A Pod that breaks another rule is there, was admitted once, and pulls again.
        if decision.is_of_forbidden_registry() {
            return None;
        }
        match decision.credential {
            Credential::Secret {
                host,
                key,
                identity,
            } => Some(NeedRef {
                host,
                key,
                identity,
            }),
            Credential::NotNeeded => None,
        }
    }
}
