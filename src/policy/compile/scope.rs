//! The session policy that keeps a role's sessions to what one policy grants with it.

use std::collections::BTreeSet;

use serde_json::json;

use super::syntax;
use crate::image::ecr::is_account;
use crate::policy::glob::glob;
use crate::policy::pattern::Repository;
use crate::policy::spec;

/// The longest session policy that STS takes, in characters (AssumeRole, `Policy`). There is a second limit, on a packed
/// form that nobody can compute beforehand.
pub(super) const LONGEST_DOCUMENT: usize = 2_048;

/// The document for one role: the four actions of a pull, three of them on the repositories of all `grants` only, which
/// are those that name this role. The same for the same grants in any order.
pub(super) fn document<'g>(arn: &str, grants: impl Iterator<Item = &'g spec::Grant>) -> String {
    let partition = syntax::partition_of_role(arn).map_or("aws", |(partition, _)| partition);
    let mut repositories = BTreeSet::new();
    for grant in grants {
        for (account, region) in grant.registries.iter().flat_map(|text| places(text, grant)) {
            repositories.extend(grant.repositories.iter().map(|text| {
                // All that stands before the two stars is literal, so AWS's one star means the same.
                let name = text.replace("**", "*");
                format!("arn:{partition}:ecr:{region}:{account}:repository/{name}")
            }));
        }
    }
    let mut statements = vec![json!({
        "Effect": "Allow",
        "Action": "ecr:GetAuthorizationToken",
        "Resource": "*",
    })];
    if !repositories.is_empty() {
        statements.push(json!({
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            "Resource": repositories,
        }));
    }
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

/// The accounts and regions, as AWS writes patterns, that a registry of a grant stands for.
fn places<'g>(registry: &'g str, grant: &'g spec::Grant) -> Vec<(&'g str, &'g str)> {
    let (account, region) = if registry == "*" || is_account(registry) {
        (registry, "*")
    } else {
        let mut parts = registry.split('.');
        let account = parts.next().unwrap_or("*");
        // `dkr.ecr.REGION` or `dkr-ecr.REGION`.
        let behind = usize::from(parts.next() == Some("dkr"));
        (account, parts.nth(behind).unwrap_or("*"))
    };
    match &grant.regions {
        None => vec![(account, region)],
        Some(regions) => {
            let fits = |own: &&String| glob(region, own, b'.');
            let regions = regions.iter().filter(fits);
            regions.map(|own| (account, own.as_str())).collect()
        }
    }
}

/// What is wrong with a repository of a grant whose sessions are limited: in AWS a star reaches below a slash, so every
/// star of ours but the last two would let a session pull more than is granted.
pub(super) fn repository_fault(text: &str) -> Option<String> {
    let literal = text.strip_suffix("**").unwrap_or(text);
    literal.contains('*').then(|| {
        format!(
            "cannot be what a session is limited to, because in AWS a star reaches below a slash too: name the \
             repositories, or grant the whole folder, \"{}**\"",
            Repository::new(text).folder()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/r";

    fn grant(registries: &[&str], regions: &[&str], repositories: &[&str]) -> spec::Grant {
        let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        spec::Grant {
            registries: own(registries),
            regions: (!regions.is_empty()).then(|| own(regions)),
            repositories: own(repositories),
            credentials: spec::Credentials::Provide,
            role: None,
        }
    }

    fn resources(arn: &str, grants: &[spec::Grant]) -> Vec<String> {
        let document = document(arn, grants.iter());
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let resources = document["Statement"][1]["Resource"].as_array();
        let resources = resources.into_iter().flatten();
        resources
            .map(|resource| resource.as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_document_allows_the_four_actions_of_a_pull() {
        let document = document(ROLE, [grant(&["123456789012"], &[], &["team/app"])].iter());
        insta::assert_snapshot!(document, @r#"{"Statement":[{"Action":"ecr:GetAuthorizationToken","Effect":"Allow","Resource":"*"},{"Action":["ecr:BatchCheckLayerAvailability","ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Effect":"Allow","Resource":["arn:aws:ecr:*:123456789012:repository/team/app"]}],"Version":"2012-10-17"}"#);
    }

    #[test]
    fn registries_and_regions_become_arns_of_the_roles_partition() {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        for (registries, regions, expected) in [
            (vec!["*"], vec![], vec!["*:*"]),
            (vec!["123456789012"], vec![], vec!["*:123456789012"]),
            (
                vec!["123456789012"],
                vec!["eu-west-1", "us-east-1"],
                vec!["eu-west-1:123456789012", "us-east-1:123456789012"],
            ),
            (vec![host], vec![], vec!["eu-west-1:123456789012"]),
            (
                vec![host],
                vec!["eu-west-1", "us-east-1"],
                vec!["eu-west-1:123456789012"],
            ),
            (vec![host], vec!["us-east-1"], vec![]),
            (
                vec!["*.dkr-ecr.eu-*.on.aws", "*.dkr.ecr-fips.us-*.amazonaws.com"],
                vec![],
                vec!["eu-*:*", "us-*:*"],
            ),
            (
                vec!["*.dkr-ecr.eu-*.on.aws"],
                vec!["eu-west-1", "us-east-1"],
                vec!["eu-west-1:*"],
            ),
            (
                vec![host, "123456789012.dkr-ecr-fips.eu-west-1.on.aws"],
                vec![],
                vec!["eu-west-1:123456789012"],
            ),
        ] {
            let found = resources(ROLE, &[grant(&registries, &regions, &["team/**"])]);
            let expected: Vec<String> = expected
                .iter()
                .map(|place| format!("arn:aws:ecr:{place}:repository/team/*"))
                .collect();
            assert_eq!(found, expected, "{registries:?} in {regions:?}");
        }
        let china = "arn:aws-cn:iam::123456789012:role/r";
        let found = resources(china, &[grant(&["123456789012"], &["cn-north-1"], &["**"])]);
        assert_eq!(
            found,
            ["arn:aws-cn:ecr:cn-north-1:123456789012:repository/*"]
        );
    }

    #[test]
    fn the_order_of_grants_makes_no_other_document() {
        let one = grant(&["123456789012"], &[], &["a", "b/**"]);
        let two = grant(&["210987654321"], &[], &["c"]);
        let forward = document(ROLE, [&one, &two].into_iter());
        assert_eq!(document(ROLE, [&two, &one, &two].into_iter()), forward);
    }

    /// What AWS's pattern matches: its star is any run of characters.
    fn aws_matches(pattern: &str, name: &str) -> bool {
        glob(pattern, name, b'\0')
    }

    #[test]
    fn what_is_taken_is_no_wider_in_aws_and_what_would_be_is_refused() {
        let names = [
            "a",
            "ab",
            "team",
            "team/app",
            "team/app/db",
            "team-b/app",
            "x/team/app",
        ];
        for pattern in ["**", "team", "team/app", "team/**", "x/team/**"] {
            assert_eq!(repository_fault(pattern), None);
            for name in names {
                let ours = Repository::new(pattern).matches(name);
                let theirs = aws_matches(&pattern.replace("**", "*"), name);
                assert_eq!(ours, theirs, "{pattern} {name}");
            }
        }
        for pattern in ["*", "team/*", "a*", "*/app", "*/team/**", "team/a*/**"] {
            assert!(repository_fault(pattern).is_some(), "{pattern}");
        }
        insta::assert_snapshot!(repository_fault("team/app-*").unwrap(), @r#"cannot be what a session is limited to, because in AWS a star reaches below a slash too: name the repositories, or grant the whole folder, "team/**""#);
    }
}
