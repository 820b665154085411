//! What holds for every image.

use proptest::prelude::*;

use super::judge::{judge, judge_in_full};
use super::{Policy, Rule, decide};
use crate::image::ecr::Host;
use crate::image::lookalike::may_concern_ecr;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_short_ways_lead_to_the_verdict_of_the_long_one(image in ecr_like()) {
        let policy = Policy::default();
        let verdict = judge_in_full(&policy, &image);
        prop_assert_eq!(judge(&policy, &image), verdict);
        if verdict != (Host::Other, None) {
            prop_assert!(may_concern_ecr(&image));
        }
    }

    #[test]
    fn a_correction_is_accepted_by_the_policy_that_gave_it(image in ecr_like()) {
        let policy = Policy::default();
        let message = decide(&policy, &image).finding.map(|finding| finding.message);
        let correction = message.as_deref().and_then(|message| message.split_once("; write \""));
        if let Some((_, correction)) = correction {
            let correction = correction.split_once('"').unwrap().0;
            let (host, broken) = judge(&policy, correction);
            prop_assert!(matches!(host, Host::Private(_) | Host::Public(_)), "{}", correction);
            prop_assert!(matches!(broken, None | Some(Rule::UnknownRegion)), "{}", correction);
        }
    }
}
