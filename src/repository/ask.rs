//! What an annotation asks for.

use std::sync::Arc;

use super::MOST;
use crate::image::ecr::EcrHost;
use crate::policy::{Identity, Policy};
use crate::token::TokenKey;

/// The longest item that is told in full, in characters.
const LONGEST_TOLD: usize = 100;

/// One repository that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The registry's host and the path, as Argo CD wants it.
    pub url: String,
    /// The `auths` key in a pull Secret that would open it.
    pub key: String,
    /// The token that opens it.
    pub token: TokenKey,
}

/// An item that cannot be had; one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// What an annotation comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// In the order of the annotation, each once, at most [`MOST`].
    pub repositories: Vec<Repository>,
    /// Why items were left out.
    pub refused: Vec<Refused>,
}

/// Reads the value of the annotation.
pub fn asked(policy: &Policy, value: &str) -> Asked {
    let mut asked = Asked::default();
    let items = value.split([',', '\n']).map(str::trim);
    for item in items.filter(|item| !item.is_empty()) {
        match repository(policy, item) {
            Ok(known) if asked.repositories.contains(&known) => {}
            Ok(_) if asked.repositories.len() == MOST => asked.refused.push(Refused(format!(
                "{item:?} is one too many: a namespace can have {MOST} repositories"
            ))),
            Ok(new) => asked.repositories.push(new),
            Err(why) => {
                let shown: String = item.chars().take(LONGEST_TOLD).collect();
                asked.refused.push(Refused(format!("{shown:?} {why}")));
            }
        }
    }
    asked
}

fn repository(policy: &Policy, item: &str) -> Result<Repository, &'static str> {
    let url = item.strip_prefix("oci://").unwrap_or(item);
    let url = url.trim_end_matches('/');
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let host = EcrHost::parse(host)
        .ok_or("does not start with the host of a private ECR registry in its exact form")?;
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let segment = |segment: &str| !segment.is_empty() && segment.bytes().all(good);
    if !path.is_empty() && (path.len() > 255 || !path.split('/').all(segment)) {
        return Err("has a path that can be no repository of ECR, or the start of one");
    }
    let allows = |list: &Option<std::collections::BTreeSet<String>>, what: &str| {
        list.as_ref().is_none_or(|list| list.contains(what))
    };
    if !allows(&policy.allowed_accounts, host.account) {
        return Err("is of an AWS account that allowedAccounts leaves out");
    }
    if !allows(&policy.allowed_regions, host.region) {
        return Err("is of an AWS region that allowedRegions leaves out");
    }
    let (key, identity) = granted(policy, &host, path).ok_or("is not granted to this namespace as a whole by any policy, or only for what the nodes pull",
    )?;
    Ok(Repository {
        key,
        token: TokenKey {
            identity,
            partition: host.partition,
            region: Arc::from(host.region),
        },
        url: url.to_owned(),
    })
}

/// Who pulls what is below a path, where one identity does.
fn granted(policy: &Policy, host: &EcrHost<'_>, path: &str) -> Option<(String, Identity)> {
    let keys = policy.keys_of(host);
    let wanted = format!("{}/{path}/", host.host);
    // The most specific comes first, as the kubelet would have it.
    let covers = |key: &str| wanted.starts_with(&format!("{}/", key.trim_end_matches('/')));
    let found = keys.into_iter().find(|(key, _)| covers(key));
    found.map(|(key, identity)| (key, identity.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    fn urls(asked: &Asked) -> Vec<&str> {
        asked
            .repositories
            .iter()
            .map(|one| one.url.as_str())
            .collect()
    }

    #[test]
    fn hosts_with_and_without_a_path_are_taken_as_argo_cd_wants_them() {
        let policy = Policy::default();
        let value = format!("{HOST}/charts, oci://{HOST}/team/a/ ,\n{HOST},{HOST}/charts,");
        let asked = asked(&policy, &value);
        let expected = [
            format!("{HOST}/charts"),
            format!("{HOST}/team/a"),
            HOST.to_owned(),
        ];
        assert_eq!(urls(&asked), expected);
        assert_eq!(asked.refused, []);
        assert_eq!(&*asked.repositories[0].token.region, "eu-west-1");
    }

    #[test]
    fn what_cannot_be_had_is_told_and_keeps_nothing_else_back() {
        let policy = Policy {
            allowed_accounts: Some(BTreeSet::from(["123456789012".to_owned()])),
            allowed_regions: Some(BTreeSet::from(["eu-west-1".to_owned()])),
            ..Policy::default()
        };
        let others = "docker.io/x, 210987654321.dkr.ecr.eu-west-1.amazonaws.com/x, \
                      123456789012.dkr.ecr.us-east-1.amazonaws.com/x";
        let value = format!("{others}, {HOST}/A/b, {HOST}/a//b, https://{HOST}/a, {HOST}/good");
        let asked = asked(&policy, &value);
        assert_eq!(urls(&asked), [format!("{HOST}/good")]);
        let told: Vec<String> = asked.refused.iter().map(Refused::to_string).collect();
        assert_eq!(told.len(), 6);
        insta::assert_snapshot!(told[0], @r#""docker.io/x" does not start with the host of a private ECR registry in its exact form"#);
        assert!(
            told[1].contains("allowedAccounts") && told[2].contains("allowedRegions"),
            "{told:?}"
        );
    }

    #[test]
    fn there_is_an_end_to_what_one_namespace_can_have() {
        let many: Vec<String> = (0..20).map(|number| format!("{HOST}/{number}")).collect();
        let asked = asked(&Policy::default(), &many.join(","));
        assert_eq!((asked.repositories.len(), asked.refused.len()), (MOST, 4));
    }
}
