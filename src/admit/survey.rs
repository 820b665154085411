//! What Pods need that exist already: judged as an admission would judge them. Pure.

use super::judge::NeedRef;
use super::need::Need;
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
    pub(super) fn needs(&self, pod: &PodSight, namespace: &Namespace) -> Vec<Need> {
        let wants = self.refers(pod) || (namespace.inject && !pod.opts_out);
        if pod.beyond_help || !wants {
            return Vec::new();
        }
        let mut needs: Vec<Need> = Vec::new();
        for image in &pod.images {
            if let Some(need) = self.need(image)
                && !needs.contains(&need)
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
        let meant = namespace.inject && !pod.opts_out && !pod.beyond_help;
        if !meant || self.refers(pod) {
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
                failing.key()
            ),
        })
    }

    fn refers(&self, pod: &PodSight) -> bool {
        pod.pull_secrets.iter().any(|name| name == self.secret)
    }

    /// The credential that an image needs, if policy lets it have one.
    fn need(&self, image: &str) -> Option<Need> {
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
            } => Some(Need::from(&NeedRef {
                host,
                key,
                identity,
            })),
            Credential::NotNeeded => None,
        }
    }
}
