//! A workload's template: a warning when its Pods would be refused.

use super::judge::Judgement;
use super::{Admission, Outcome, Webhook};
use crate::manifest::pod_spec_pointer;
use crate::policy::Action;
use crate::review::{Envelope, parse_workload};

impl Admission {
    /// A workload is never refused: its author is warned that its Pods would be.
    pub(super) fn workload(
        &self,
        webhook: Webhook,
        body: &[u8],
        envelope: &Envelope<'_>,
    ) -> Outcome {
        let asked = webhook == Webhook::Validating && envelope.subresource().is_empty();
        let pointer = pod_spec_pointer(envelope.group(), envelope.kind());
        let Some(pointer) = pointer.filter(|_| asked) else {
            return Outcome::allow("not_a_pod");
        };
        let Ok(Some(template)) = parse_workload(body, pointer) else {
            return Outcome::allow("no_pod_template");
        };
        let judgement = Judgement::of(&self.settings.policy, &template);
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
