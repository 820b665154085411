//! A workload's template: a warning when its Pods would be refused.

use super::judge::Judgement;
use super::{Admission, Outcome, Timing, Webhook};
use crate::manifest::pod_spec_pointer;
use crate::policy::Action;
use crate::review::{Envelope, parse_workload};

impl Admission {
    /// A workload is never refused: its author is warned that its Pods would be.
    pub(super) async fn workload(
        &self,
        webhook: Webhook,
        body: &[u8],
        envelope: &Envelope<'_>,
        timing: Timing,
    ) -> Outcome {
        let asked = webhook == Webhook::Validating && envelope.subresource().is_empty();
        let pointer = pod_spec_pointer(envelope.group(), envelope.kind());
        let Some(pointer) = pointer.filter(|_| asked) else {
            return Outcome::allow("not_a_pod");
        };
        let Ok(Some(template)) = parse_workload(body, pointer) else {
            return Outcome::allow("no_pod_template");
        };
        // Whether it can be told or not, its Pods will be asked about.
        let Ok(policy) = self.ruling(envelope, timing).await else {
            return Outcome::allow("namespace_unknown");
        };
        let judgement = Judgement::of(&policy, &template);
        let Some(decisive) = judgement.decisive() else {
            return Outcome::allow("workload");
        };
        let mut outcome = Outcome::allow(decisive.rule.id());
        let refused = judgement.sentences(Action::Enforce);
        let warnings = &mut outcome.answer.warnings;
        warnings.extend(refused.map(|sentence| format!("its Pods will be refused: {sentence}")));
        judgement.remark(outcome)
    }
}
