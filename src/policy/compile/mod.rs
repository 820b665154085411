//! The one truth for what a valid policy is: an `EcrPolicy` as it is written → the plain data that decisions need, or
//! everything that is wrong with it.

mod grants;
mod role;
mod scope;
mod selector;
mod syntax;
mod validation;

use std::fmt;
use std::sync::Arc;

use super::spec::{EcrPolicySpec, MOST_EXEMPTIONS, MOST_GRANTS};
use super::{OnFailure, RoleIdentity};
pub(super) use grants::{Grant, Source};
pub use selector::Labels;
pub(super) use selector::Selector;
pub(super) use validation::{Demand, Exemption, Rules};

/// The longest name of a policy: it becomes part of the session's name in AWS.
const LONGEST_NAME: usize = 63;

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Invalid {
    /// The field, such as `spec.grants[0].role.arn`.
    pub path: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// A valid policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    pub(super) name: String,
    pub(super) selector: Selector,
    /// Shared by the namespaces that it selects, as its demands are.
    pub(super) grants: Vec<Arc<Grant>>,
    pub(super) rules: Rules,
    pub(super) exemptions: Vec<Exemption>,
    pub(super) on_failure: Option<OnFailure>,
    version: Option<PolicyVersion>,
}

/// The version of an `EcrPolicy` in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVersion {
    /// The object's identity: differs when it was deleted and made anew.
    pub uid: String,
    /// `metadata.generation`: what the API server counts up when the spec changes.
    pub generation: i64,
}

impl Compiled {
    /// The same, as that version of an object in the cluster says it.
    #[must_use]
    pub fn of_version(self, version: PolicyVersion) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// The version of the object in the cluster; `None` for one from a file.
    pub fn version(&self) -> Option<&PolicyVersion> {
        self.version.as_ref()
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it selects a namespace.
    pub fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.selector.matches(namespace, labels)
    }

    /// Whether it has rules that need to see images that are not ECR's.
    pub fn judges_all_images(&self) -> bool {
        self.rules.judge_all_images()
    }

    /// The roles that it grants, each as often as grants name it.
    pub fn roles(&self) -> impl Iterator<Item = &RoleIdentity> {
        self.grants.iter().filter_map(|grant| match &grant.source {
            Source::Role(role) => Some(role),
            _ => None,
        })
    }

    /// Whether it limits what the namespaces may pull that it selects.
    pub fn grants_anything(&self) -> bool {
        !self.grants.is_empty()
    }

    pub(super) fn names_a_role(&self) -> bool {
        self.roles().next().is_some()
    }
}

/// Checks a policy and turns it into what decisions need.
///
/// # Errors
/// Everything that is wrong with it, in the order of its fields.
pub fn compile(name: &str, spec: &EcrPolicySpec) -> Result<Compiled, Vec<Invalid>> {
    let mut faults = Faults::default();
    let at = Path::root();
    if !syntax::is_object_name(name) || name.len() > LONGEST_NAME {
        faults.add(
            &Path::new("metadata.name"),
            format!(
                "{name:?} is no name for a policy: use at most {LONGEST_NAME} lower-case letters, digits, - and ."
            ),
        );
    }
    let selector = Selector::compile(
        spec.namespaces.as_ref(),
        &at.field("namespaces"),
        &mut faults,
    );
    let grants = grants::compile(name, &spec.grants, &at.field("grants"), &mut faults);
    faults.at_most(MOST_GRANTS, spec.grants.len(), &at.field("grants"));
    let rules = validation::compile(spec, &at.field("validation"), &mut faults);
    let exemptions = validation::exemptions(&spec.exemptions, &at.field("exemptions"), &mut faults);
    faults.at_most(
        MOST_EXEMPTIONS,
        spec.exemptions.len(),
        &at.field("exemptions"),
    );
    check_whole(spec, &at, &mut faults);
    if faults.0.is_empty() {
        Ok(Compiled {
            name: name.to_owned(),
            selector,
            grants,
            rules,
            exemptions,
            on_failure: spec.on_failure,
            version: None,
        })
    } else {
        Err(faults.0)
    }
}

/// What no single field is to blame for.
fn check_whole(spec: &EcrPolicySpec, at: &Path, faults: &mut Faults) {
    if spec.grants.is_empty() && spec.validation.is_none() && spec.on_failure.is_none() {
        faults.add(
            at,
            "a policy must grant something (grants), demand something (validation), or set onFailure",
        );
    }
    let names_a_role = spec.grants.iter().any(|grant| grant.role.is_some());
    let selects_all = spec.namespaces.as_ref().is_none_or(|namespaces| {
        namespaces.names.is_none()
            && namespaces.match_labels.is_none()
            && namespaces.match_expressions.is_none()
    });
    if names_a_role && selects_all {
        faults.add(
            at,
            "a policy that grants a role must say to which namespaces (namespaces), or every namespace would get it",
        );
    }
    if !spec.exemptions.is_empty() && spec.validation.is_none() {
        faults.add(
            at,
            "exemptions are from the rules under validation, and there are none",
        );
    }
}

/// Where in a policy something stands.
#[derive(Clone)]
struct Path(String);

impl Path {
    fn root() -> Self {
        Self::new("spec")
    }

    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn field(&self, name: &str) -> Self {
        Self(format!("{}.{name}", self.0))
    }

    fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was found wrong so far.
#[derive(Default)]
struct Faults(Vec<Invalid>);

impl Faults {
    fn add(&mut self, path: &Path, message: impl Into<String>) {
        self.0.push(Invalid {
            path: path.0.clone(),
            message: message.into(),
        });
    }

    fn at_most(&mut self, most: usize, found: usize, path: &Path) {
        if found > most {
            self.add(
                path,
                format!("has {found} items, and at most {most} are allowed"),
            );
        }
    }

    /// Checks a list: how long it is, and each item by `check`, whose complaint follows the item in quotation marks.
    fn list(
        &mut self,
        items: &[String],
        least: usize,
        most: usize,
        path: &Path,
        check: impl Fn(&str) -> Option<String>,
    ) {
        if items.len() < least {
            self.add(path, "is empty: leave it out, or say what it should hold");
        }
        self.at_most(most, items.len(), path);
        for (index, item) in items.iter().enumerate() {
            if let Some(complaint) = check(item) {
                self.add(&path.item(index), format!("{item:?} {complaint}"));
            }
        }
    }
}
