//! A Pod's admission: judge its images, make sure of its credentials, inject.

use super::ensure::Purpose;
use super::failure::EnsureError;
use super::judge::{Judgement, NeedRef, changed};
use super::need::Need;
use super::pinned::Pinned;
use super::{Admission, Outcome, Timing, Webhook};
use crate::clock::Moment;
use crate::policy::OnFailure;
use crate::pull_secret::Freshness;
use crate::pull_secret::merge::MOST_ENTRIES;
use crate::review::{Envelope, Patch, Pod, Review};
use crate::secret::{Known, Lookup};

impl Admission {
    pub(super) async fn create(
        &self,
        webhook: Webhook,
        envelope: &Envelope<'_>,
        pod: &Pod<'_>,
        timing: Timing,
    ) -> Outcome {
        let policy = match self.ruling(envelope, timing).await {
            Ok(policy) => policy,
            Err(outcome) => return outcome,
        };
        let judgement = Judgement::of(&policy, pod);
        if let Some(refused) = judgement.refusal() {
            return refused;
        }
        let refers = pod.refers_to(&self.settings.secret);
        let namespace = self.namespaces.get(envelope.namespace());
        let injects = namespace.inject && !pod.opts_out();
        let mut outcome = if judgement.needs.is_empty() {
            Outcome::allow("no_private_ecr_image")
        } else if !injects && !refers {
            Outcome::allow("injection_off")
        } else if webhook == Webhook::Validating && !refers {
            // Reinvocation never calls a webhook for the first time, so this is the last chance to notice.
            self.not_injected(policy.on_failure)
        } else {
            let ensure = self.ensure(envelope, &judgement, policy.on_failure, timing);
            ensure.await
        };
        if webhook == Webhook::Mutating && injects && !refers && !judgement.needs.is_empty() {
            let absent = !pod.has_image_pull_secrets();
            outcome.answer.patch = if outcome.answer.refusal.is_some() {
                Patch::None
            } else if absent {
                Patch::AddList
            } else {
                Patch::Append
            };
        }
        let mut outcome = judgement.remark(outcome);
        if webhook == Webhook::Mutating && !namespace.pins.is_empty() {
            let pinned = Pinned::of(&policy, &namespace.pins);
            outcome.answer.warnings.extend(pinned.warnings());
        }
        outcome
    }

    /// An update never patches (imagePullSecrets is immutable); it ensures a new registry for a Pod that refers to our
    /// Secret.
    pub(super) async fn update(
        &self,
        review: &Review<'_>,
        pod: &Pod<'_>,
        timing: Timing,
    ) -> Outcome {
        let changed = changed(review, pod);
        if changed.is_empty() {
            // Before anybody asks what is allowed: that cannot be told everywhere, and need not be.
            return Outcome::allow("no_new_private_ecr_image");
        }
        let policy = match self.ruling(&review.envelope, timing).await {
            Ok(policy) => policy,
            Err(outcome) => return outcome,
        };
        let judgement = Judgement::of_images(&policy, pod, changed);
        if let Some(refused) = judgement.refusal() {
            return refused;
        }
        let outcome = if judgement.needs.is_empty() {
            Outcome::allow("no_new_private_ecr_image")
        } else if pod.refers_to(&self.settings.secret) {
            let (envelope, on_failure) = (&review.envelope, policy.on_failure);
            self.ensure(envelope, &judgement, on_failure, timing).await
        } else {
            Outcome::allow("injection_off")
        };
        judgement.remark(outcome)
    }

    /// Makes sure that the Secret holds what the Pod needs. The warm path does no I/O.
    async fn ensure(
        &self,
        envelope: &Envelope<'_>,
        judgement: &Judgement<'_>,
        on_failure: OnFailure,
        timing: Timing,
    ) -> Outcome {
        let namespace = envelope.namespace();
        let needs = || judgement.needs.iter().map(Need::from).collect::<Vec<_>>();
        let now = timing.arrived;
        if let Lookup::Known(known) = self.index.look_up_at(namespace, now.monotonic) {
            match freshness(&known, &judgement.needs, now) {
                Freshness::Fresh => return Outcome::allow("warm"),
                Freshness::Aging => {
                    if !envelope.dry_run() {
                        self.ensurer.renew(namespace, needs());
                    }
                    return Outcome::allow("warm");
                }
                Freshness::Unusable => {}
            }
        }
        // Also where the mirror says that the namespace is being deleted: the API server asks about no Pod of such a one
        // (NamespaceLifecycle comes first), so there is another one of its name, or it has only just begun.
        let purpose = if envelope.dry_run() {
            Purpose::DryRun
        } else {
            Purpose::Admission
        };
        let ensured = if judgement.needs.len() > MOST_ENTRIES {
            Err(EnsureError::TooManyRegistries)
        } else {
            let ensure = self
                .ensurer
                .ensure(namespace, needs(), purpose, timing.deadline);
            ensure.await
        };
        match ensured {
            Ok(()) if envelope.dry_run() => Outcome::allow("dry_run"),
            Ok(()) => Outcome::allow("ensured"),
            Err(error) => {
                let outcome = without_credential(&error, on_failure);
                let heals = outcome.answer.refusal.is_none() && !error.is_final();
                if heals && !envelope.dry_run() {
                    self.healer.heal(namespace, needs());
                }
                outcome
            }
        }
    }

    fn not_injected(&self, on_failure: OnFailure) -> Outcome {
        let secret = &self.settings.secret;
        let message = format!(
            "private ECR image without Secret {secret} in imagePullSecrets: another webhook changed the image, or \
             ecr-admission was not asked; recreate the Pod"
        );
        match on_failure {
            OnFailure::Admit => Outcome::warn("not_injected", message),
            OnFailure::Deny => Outcome::refuse("not_injected", message),
        }
    }
}

/// The freshness of what is needed least well, by what is known of the namespace.
fn freshness(known: &Known, needs: &[NeedRef<'_>], now: Moment) -> Freshness {
    let freshness = needs.iter().map(|need| known.freshness(need.wanted(), now));
    freshness.min().unwrap_or(Freshness::Fresh)
}

/// What becomes of a Pod that has no usable credential. The API server cuts long warnings, so the first words must
/// say it.
fn without_credential(error: &EnsureError, on_failure: OnFailure) -> Outcome {
    let reason = error.label();
    match on_failure {
        OnFailure::Deny => Outcome::refuse(reason, format!("no pull credential: {error}")),
        OnFailure::Admit if error.is_final() => {
            Outcome::warn(reason, format!("no pull credential: {error}"))
        }
        OnFailure::Admit => Outcome::warn(
            reason,
            format!("no pull credential yet, still trying: {error}"),
        ),
    }
}
