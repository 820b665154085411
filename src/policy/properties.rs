//! What holds for every image.

use proptest::prelude::*;

use super::grants::Grants;
use super::judge::{Judgement, judge, judge_in_full};
use super::spec::{self, EcrPolicySpec};
use super::{Compiled, Labels, Policy, PolicySet, Rule, compile, decide};
use crate::image::ecr::{EcrHost, Host};
use crate::image::lookalike::may_concern_ecr;
use crate::image::reference::Reference;

/// Text made of what ECR references and their lookalikes are made of.
fn ecr_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("123456789012.dkr.ecr.eu-west-1.amazonaws.com".to_owned()),
        Just("public.ecr.aws".to_owned()),
        "(\\.|_|-)?(dkr|DKR)?(\\.|_|-)?[eE][cC][rR](-fips)?(\\.|_|-)?",
        "(12345678901[0-9]?|eu-west-1|cn-north-1|on|aws|com)",
        "(amazonaws\\.com|amazonaws\\.com\\.cn|on\\.aws|c2s\\.ic\\.gov|Amazonaws\\.eu)",
        "(https?://|docker://|:443|@|/|//|\\.| )",
        "[a-z0-9]{1,3}(/[A-Za-z0-9]{1,3})?(:[a-z0-9]{0,3})?",
        "/[a-z]{1,3}(:[a-z]{1,3})?@(sha256|SHA256|sha384|md5|sha-256):([a-f0-9]{64}|[a-fA-F0-9]{32,64})",
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

/// Policies of one to three grants for a few registries and paths, so that they overlap and conflict.
fn policies() -> impl Strategy<Value = Vec<Compiled>> {
    let registry = prop::sample::select(vec![
        "*",
        "123456789012",
        "210987654321",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "*.dkr.ecr.us-*.amazonaws.com",
    ]);
    let repository = "([ab*]{1,2}/){0,2}([ab]{1,2}\\*?|\\*|\\*\\*)";
    let repositories = prop::collection::vec(repository, 1..4);
    let grant = (registry, repositories, 0..4_u8).prop_map(|(registry, repositories, who)| {
        let mut grant = serde_json::json!({"registries": [registry], "repositories": repositories});
        match who {
            0 => {}
            1 => grant["credentials"] = "Skip".into(),
            role => {
                let arn = format!("arn:aws:iam::123456789012:role/{role}");
                grant["role"] = serde_json::json!({"arn": arn});
            }
        }
        serde_json::from_value::<spec::Grant>(grant).unwrap()
    });
    let spec = prop::collection::vec(grant, 1..4).prop_map(|grants| EcrPolicySpec {
        namespaces: Some(spec::NamespaceSelector {
            names: Some(vec!["n".to_owned()]),
            ..spec::NamespaceSelector::default()
        }),
        grants,
        ..EcrPolicySpec::default()
    });
    prop::collection::vec(spec, 1..6).prop_map(|specs| {
        let named = specs.iter().enumerate();
        named
            .filter_map(|(at, spec)| compile(&format!("p{at}"), spec).ok())
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_grant_is_found_by_its_prefix_as_by_a_look_at_every_one(
        policies in policies(),
        paths in prop::collection::vec("[ab]{1,2}(/[ab]{1,2}){0,3}", 1..20),
    ) {
        let set = PolicySet::new(Policy::default(), policies, Vec::new());
        let policy = set.in_namespace("n", &Labels::new());
        let Grants::Limited(limited) = &policy.combined.grants else {
            return Ok(());
        };
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com",
            "210987654321.dkr.ecr.eu-west-1.amazonaws.com",
        ] {
            let host = EcrHost::parse(host).unwrap();
            for path in &paths {
                prop_assert_eq!(limited.find(&host, path), limited.find_simply(&host, path), "{}", path);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_short_ways_lead_to_the_verdict_of_the_long_one(image in ecr_like()) {
        let policy = Policy::default();
        let verdict = judge_in_full(&policy, &image);
        let judged = judge(&policy, None, &image);
        prop_assert_eq!((judged.registry, judged.broken), (verdict.registry, verdict.broken));
        let is_private = matches!(judged.registry, Host::Private(_));
        prop_assert!(!is_private || judged.reference.is_some());
        if let Some(reference) = judged.reference {
            prop_assert_eq!(Reference::parse(&image), Ok(reference));
        }
        if (verdict.registry, verdict.broken) != (Host::Other, None) {
            prop_assert!(may_concern_ecr(&image));
        }
    }

    #[test]
    fn the_registry_of_the_image_before_changes_no_verdict(before in ecr_like(), behind in "[/:@.a-zA0-9]{0,12}") {
        let policy = Policy::default();
        if let Host::Private(last) = judge_in_full(&policy, &before).registry {
            let image = format!("{}{behind}", last.host);
            prop_assert_eq!(judge(&policy, Some(&last), &image), judge(&policy, None, &image), "{}", image);
        }
        let last = EcrHost::parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com");
        prop_assert_eq!(judge(&policy, last.as_ref(), &before), judge(&policy, None, &before), "{}", before);
    }

    #[test]
    fn a_correction_is_accepted_by_the_policy_that_gave_it(image in ecr_like()) {
        let policy = Policy::default();
        let message = decide(&policy, &image).finding.map(|finding| finding.message);
        let correction = message.as_deref().and_then(|message| message.split_once("; write \""));
        if let Some((_, correction)) = correction {
            let correction = correction.split_once('"').unwrap().0;
            let Judgement { registry: host, broken, .. } = judge_in_full(&policy, correction);
            prop_assert!(matches!(host, Host::Private(_) | Host::Public(_)), "{}", correction);
            prop_assert!(matches!(broken, None | Some(Rule::UnknownRegion)), "{}", correction);
        }
    }
}
