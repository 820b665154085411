//! The EcrPolicies of the cluster, asked once.

use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;

use super::errors::Action;
use super::list::page;
use crate::policy::{Compiled, PolicyVersion, Unreadable};
use crate::policy_book::read_spec;
use crate::secret::StoreError;

/// Policies a page.
const PAGE: u32 = 500;
/// For all pages together.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
const PATH: &str = "/apis/ecr-admission.dev/v1alpha1/ecrpolicies";

/// What the cluster holds.
#[derive(Debug, Default)]
pub struct ListedPolicies {
    /// The policies that are valid.
    pub policies: Vec<Compiled>,
    /// Those that are not: their namespaces are granted nothing.
    pub unreadable: Vec<Unreadable>,
    /// What is wrong with them, a sentence each.
    pub faults: Vec<String>,
}

/// Lists the EcrPolicies. Wants `list` on ecrpolicies of `ecr-admission.dev`.
///
/// # Errors
/// When they cannot be listed; also when the cluster does not know EcrPolicies at all.
pub async fn list_policies(client: &Client) -> Result<ListedPolicies, StoreError> {
    let action = Action {
        verb: "list",
        object: "EcrPolicies",
        namespace: "",
    };
    action.within(CALL_TIMEOUT, list(client)).await
}

async fn list(client: &Client) -> kube::Result<ListedPolicies> {
    let request = Request::new(PATH);
    let mut params = ListParams::default().limit(PAGE);
    let mut all = ListedPolicies::default();
    loop {
        let list = request.list(&params).map_err(kube::Error::BuildRequest)?;
        let (listed, meta) = page(client, list, CALL_TIMEOUT, all, ListedPolicies::add).await?;
        all = listed;
        match meta.next_page() {
            Some(token) => params.continue_token = Some(token.to_owned()),
            None => return Ok(all),
        }
    }
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    generation: i64,
}

impl ListedPolicies {
    fn add(&mut self, object: Object) {
        let Metadata {
            name,
            uid,
            generation,
        } = object.metadata;
        let version = PolicyVersion { uid, generation };
        let unread = match read_spec(&name, &object.spec, version) {
            Ok(policy) => return self.policies.push(policy),
            Err(unread) => unread,
        };
        let told = unread.faults.iter().map(|fault| {
            format!(
                "EcrPolicy {name:?} cannot be read, and its namespaces are granted nothing: {fault}"
            )
        });
        self.faults.extend(told);
        self.unreadable.push(unread.unreadable(None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Labels, Policy, PolicySet, decide};

    fn listed(objects: &str) -> ListedPolicies {
        let mut listed = ListedPolicies::default();
        let objects: Vec<Object> = serde_json::from_str(objects).unwrap();
        for object in objects {
            listed.add(object);
        }
        listed
    }

    #[test]
    fn a_policy_of_a_newer_version_takes_the_grants_of_whom_it_selects() {
        let listed = listed(
            r#"[{"metadata":{"name":"good","uid":"1"},"spec":{"onFailure":"Deny"},"status":{}},
                {"metadata":{"name":"newer"},"spec":{"namespaces":{"names":["team-a"]},"restriction":{}}}]"#,
        );
        assert_eq!(listed.policies.len(), 1);
        insta::assert_snapshot!(listed.faults.join("\n"), @r#"EcrPolicy "newer" cannot be read, and its namespaces are granted nothing: spec: unknown field `restriction`, expected one of `namespaces`, `action`, `grants`, `validation`, `exemptions`, `onFailure`"#);
        let set = PolicySet::new(Policy::default(), listed.policies, listed.unreadable);
        let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1";
        let policy = set.in_namespace("team-a", &Labels::new());
        assert!(decide(&policy, image).is_refused());
    }
}
