//! `EcrPolicy` as people write it: the one set of types behind the CustomResourceDefinition and policy files.
//!
//! What the schema says (patterns, limits, CEL rules) refuses mistakes at `kubectl apply`; [`compile`] is the one truth
//! for what a valid policy is. An unknown field makes a policy unreadable instead of being passed over: it may be a
//! restriction that only a newer version knows.
//!
//! [`compile`]: super::compile::compile

#![expect(
    unreachable_pub,
    reason = "the derive of the schema repeats each struct where nobody reaches it"
)]

/// Gives an enum of words the schema of a string of exactly these words.
macro_rules! schema_of_words {
    ($word:ty, $name:literal, [$($given:literal),+], $description:literal) => {
        impl schemars::JsonSchema for $word {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    "enum": [$($given),+],
                })
            }
        }
    };
}

mod grant;
mod role;
mod selector;
mod status;
mod validation;

use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};

pub use grant::{Credentials, Grant};
pub(super) use grant::{MOST_REGISTRIES, MOST_REPOSITORIES};
pub use role::{Role, Scope, TokenLife};
pub(super) use selector::MOST_TERMS;
pub use selector::{MatchExpression, NamespaceSelector, SelectorOperator};
pub use status::{Condition, EcrPolicyStatus};
pub(super) use validation::MOST_PATTERNS;
pub use validation::{
    AllowedAccounts, AllowedImages, AllowedRegions, Exemption, MutableTags, OnlyEcr, Plain,
    Validation,
};

use super::{Action, OnFailure};

/// The most grants of one policy.
pub const MOST_GRANTS: usize = 8;
/// The most exemptions of one policy.
pub const MOST_EXEMPTIONS: usize = 16;

/// What namespaces may pull from Amazon ECR, with whose identity, and which images they may run at all. A namespace that
/// at least one policy with grants selects is limited to those grants. Of validation rules the strictest wins, those of
/// the settings of ecr-admission included.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "ecr-admission.dev",
    version = "v1alpha1",
    kind = "EcrPolicy",
    plural = "ecrpolicies",
    singular = "ecrpolicy",
    shortname = "ecrp",
    category = "ecr-admission",
    status = "EcrPolicyStatus",
    doc = "EcrPolicy says what namespaces may pull from Amazon ECR, with whose identity, and which images they may run.",
    derive = "PartialEq",
    annotation("helm.sh/resource-policy", "keep"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must have at most 63 characters"),
    printcolumn(json_path = ".status.namespaces", name = "Namespaces", type_ = "integer"),
    printcolumn(json_path = ".spec.grants[*].role.arn", name = "Role", type_ = "string"),
    printcolumn(json_path = ".spec.action", name = "Action", type_ = "string"),
    printcolumn(json_path = ".status.conditions[?(@.type==\"Ready\")].status", name = "Ready", type_ = "string"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
    "has(self.grants) && size(self.grants) > 0 || has(self.validation) || has(self.onFailure)")
    .message("a policy must grant something (grants), demand something (validation), or set onFailure"))]
#[x_kube(validation = Rule::new(
    "!has(self.grants) || self.grants.all(g, !has(g.role)) || has(self.namespaces) && \
     (has(self.namespaces.names) || has(self.namespaces.matchLabels) || has(self.namespaces.matchExpressions))")
    .message("a policy that grants a role must say to which namespaces (namespaces), or every namespace would get it"))]
#[x_kube(validation = Rule::new(
    "!has(self.validation) || !has(self.validation.granted) || has(self.grants) && size(self.grants) > 0")
    .message("validation.granted says what becomes of images that no grant covers, but this policy grants nothing"))]
#[x_kube(validation = Rule::new(
    "!has(self.exemptions) || size(self.exemptions) == 0 || has(self.validation)")
    .message("exemptions are from the rules under validation, and there are none"))]
pub struct EcrPolicySpec {
    /// The namespaces that this policy is about; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceSelector>,

    /// What breaking a rule under `validation` leads to, where the rule does not say it itself.
    #[serde(default)]
    pub action: Action,

    /// What the namespaces may pull from private ECR registries, and with whose identity. A namespace that any policy
    /// grants something is limited to what policies grant it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_GRANTS))]
    #[x_kube(validation = Rule::new(grant::NO_EXACT_BESIDE_FOLDER).message(
        "a role for exactly one repository cannot stand beside another identity for the folder of that name: \
         the kubelet has no key that tells them apart"))]
    #[x_kube(validation = Rule::new(grant::ONE_IDENTITY_A_FOLDER).message(
        "two identities cannot share a folder of repositories: the kubelet finds both by one key"))]
    #[x_kube(validation = Rule::new(grant::ONE_SESSION_A_ROLE).message(
        "a policy that grants one role twice must say the same of it each time, but for the repositories"))]
    pub grants: Vec<Grant>,

    /// Which images the namespaces may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,

    /// Who or what the rules under `validation` do not apply to. Never applies to grants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_EXEMPTIONS))]
    pub exemptions: Vec<Exemption>,

    /// What happens to a Pod of these namespaces for which no pull credential can be had: `Deny` refuses it; `Admit`
    /// never weakens a `Deny` of another policy or of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
}

/// The CustomResourceDefinition, as an object to be written as YAML or JSON.
///
/// # Errors
/// None that can happen: the definition always serialises.
pub fn definition() -> Result<serde_json::Value, serde_json::Error> {
    let mut definition = serde_json::to_value(EcrPolicy::crd())?;
    forbid_null(&mut definition);
    Ok(definition)
}

/// An optional field is left out, never null: CEL's `has` takes null for something.
fn forbid_null(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(fields) => {
            fields.remove("nullable");
            // kubectl refuses a definition whose enum holds null.
            if let Some(serde_json::Value::Array(words)) = fields.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            fields.values_mut().for_each(forbid_null);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(forbid_null),
        _ => {}
    }
}

schema_of_words!(
    Action,
    "Action",
    ["Enforce", "Warn", "Audit"],
    "Enforce refuses the Pod, Warn lets it pass with a warning, Audit only records it (log, metric, audit annotation)."
);
schema_of_words!(
    OnFailure,
    "OnFailure",
    ["Admit", "Deny"],
    "Admit lets the Pod pass with a warning, Deny refuses it."
);
