//! Every sentence that a person may read about an image. Read them aloud before you accept a change.

use std::fmt::Write as _;

use ecr_admission::policy::{Credential, Policy, decide};

pub(crate) const REGISTRY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// For each image, in which `$` stands for a good registry: what it gets, and what is said.
pub(crate) fn decided(policy: &Policy, images: &[&str]) -> String {
    let mut lines = String::new();
    for image in images {
        let image = image.replace('$', REGISTRY);
        let decision = decide(policy, &image);
        let credential = match &decision.credential {
            Credential::Secret { host, identity, .. } => {
                format!("{} {}", host.region, identity.fingerprint())
            }
            Credential::NotNeeded if decision.is_ecr() => "ECR, no Secret".to_owned(),
            Credential::NotNeeded => "no Secret".to_owned(),
        };
        let line = match decision.finding {
            Some(finding) => format!(
                "{} {} ({credential})\n  {}",
                finding.action, finding.rule, finding.message
            ),
            None => format!("ok ({credential})\n  {image}"),
        };
        let _ = writeln!(lines, "{line}");
    }
    lines
}

#[test]
fn a_reference_that_is_not_full_is_refused_with_the_full_one() {
    insta::assert_snapshot!(decided(&Policy::default(), &[
        "$/team/app",
        "public.ecr.aws/nginx/nginx",
        "$",
        "$:1.2",
        "$/",
        "$/:1.2",
        "$:app:1.2",
        "https://$",
        "public.ecr.aws",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
    ]), @r#"
    Enforce full-reference (eu-west-1 controller)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean
    Enforce full-reference (ECR, no Secret)
      image "public.ecr.aws/nginx/nginx" has neither a tag nor a digest; write "public.ecr.aws/nginx/nginx:tag" with the tag you mean
    Enforce missing-repository (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag"
    Enforce missing-repository (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com:1.2" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag"
    Enforce missing-repository (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag"
    Enforce missing-repository (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/:1.2" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag"
    Enforce missing-repository (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com:app:1.2" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag"
    Enforce missing-repository (no Secret)
      image "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/repository:tag"
    Enforce missing-repository (no Secret)
      image "public.ecr.aws" names an ECR registry but no repository in it; write "public.ecr.aws/repository:tag"
    Enforce missing-repository (no Secret)
      image "123456789012.dkr.ecr.cn-north-1.amazonaws.com" names an ECR registry but no repository in it; write "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/repository:tag"
    "#);
}

#[test]
fn a_host_that_no_credential_matches_is_refused_with_the_right_one() {
    insta::assert_snapshot!(decided(&Policy::default(), &[
        "123456789012.DKR.ECR.eu-west-1.amazonaws.com/app:1",
        "$:443/app:1",
        "123456789012.dkr.ecr.eu-west-1.AMAZONAWS.COM:443/app",
        "PUBLIC.ecr.aws/nginx/nginx:1",
        "public.ecr.aws:443/nginx/nginx:1",
    ]), @r#"
    Enforce host-form (no Secret)
      image "123456789012.DKR.ECR.eu-west-1.amazonaws.com/app:1" has upper-case letters in its registry, which no ECR credential matches; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce host-form (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443/app:1" has a port in its registry, which no ECR credential matches; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce host-form (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.AMAZONAWS.COM:443/app" has upper-case letters and a port in its registry, which no ECR credential matches; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean
    Enforce host-form (no Secret)
      image "PUBLIC.ecr.aws/nginx/nginx:1" has upper-case letters in its registry, which no ECR credential matches; write "public.ecr.aws/nginx/nginx:1"
    Enforce host-form (no Secret)
      image "public.ecr.aws:443/nginx/nginx:1" has a port in its registry, which no ECR credential matches; write "public.ecr.aws/nginx/nginx:1"
    "#);
}

#[test]
fn lookalikes_are_refused_and_say_what_is_wrong_with_them() {
    insta::assert_snapshot!(decided(&Policy::default(), &[
        "12345678901.dkr.ecr.eu-west-1.amazonaws.com/app:1",
        "1234567890123.dkr.ecr.eu-west-1.amazonaws.com/app:1",
        "my-account.dkr.ecr.eu-west-1.amazonaws.com/app:1",
        "vpce-0a1b-2c3d.dkr.ecr.eu-west-1.vpce.amazonaws.com/app:1",
        "123456789012.dkr_ecr.eu-west-1.amazonaws.com/app:1",
        "123456789012.dkr.ecr.eu_west_1.amazonaws.com/app:1",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.co/app:1",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example/app:1",
        "123456789012.dkr.ecr.eu-west-1.evil.example/app",
        "123456789012.dkr.ecr.eu-west-1/app:1",
        "123456789012.dkr.ecr.amazonaws.com/app:1",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn.evil.example/app:1",
        "123456789012.dkr-ecr.eu-west-1.amazonaws.com/app:1",
        "123456789012.dkr.ecr.eu-west-1.on.aws/app:1",
        "123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu/app:1",
        "123456789012.ecr.eu-west-1.amazonaws.com/app:1",
        "123456789012.ecr-fips.us-east-1.amazonaws.com/app:1",
        "api.ecr.eu-west-1.amazonaws.com/app:1",
        "ecr.eu-west-1.amazonaws.com/app:1",
        "public.ecr.amazonaws.com/nginx/nginx:1",
            "123456789012.dkr.ecr.eu-west1-.amazonaws.com/app:1",
        "123456789012.dkr.ecrx.eu-west-1.amazonaws.com/app:1",
        "123456789012.Dkr.Ecr.nowhere.example:5000/app:1",
    ]), @r#"
    Enforce lookalike-host (no Secret)
      image "12345678901.dkr.ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: its account ID has 11 digits instead of 12
    Enforce lookalike-host (no Secret)
      image "1234567890123.dkr.ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: its account ID has 13 digits instead of 12
    Enforce lookalike-host (no Secret)
      image "my-account.dkr.ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: it has "my-account" where the account ID of 12 digits belongs
    Enforce lookalike-host (no Secret)
      image "vpce-0a1b-2c3d.dkr.ecr.eu-west-1.vpce.amazonaws.com/app:1" looks like ECR but is not: it has "vpce-0a1b-2c3d" where the account ID of 12 digits belongs
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr_ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: it has "dkr_ecr" where "dkr.ecr" belongs; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.eu_west_1.amazonaws.com/app:1" looks like ECR but is not: "eu_west_1" is no region; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.co/app:1" looks like ECR but is not: registries in "eu-west-1" end in "amazonaws.com", not in "amazonaws.co"; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example/app:1" looks like ECR but is not: registries in "eu-west-1" end in "amazonaws.com", not in "amazonaws.com.evil.example"; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.evil.example/app" looks like ECR but is not: registries in "eu-west-1" end in "amazonaws.com", not in "evil.example"; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.eu-west-1/app:1" looks like ECR but is not: it ends behind the region; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.amazonaws.com/app:1" looks like ECR but is not: it has no region
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn.evil.example/app:1" looks like ECR but is not: registries in "cn-north-1" end in "amazonaws.com.cn", not in "amazonaws.com.cn.evil.example"; write "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr-ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: it has "dkr-ecr" where "dkr.ecr" belongs; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.on.aws/app:1" looks like ECR but is not: it has "dkr.ecr" where "dkr-ecr" belongs; write "123456789012.dkr-ecr.eu-west-1.on.aws/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu/app:1" looks like ECR but is not: no ECR registry is known to end in "on.amazonwebservices.eu"; write "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: it has "ecr" where "dkr.ecr" belongs; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "123456789012.ecr-fips.us-east-1.amazonaws.com/app:1" looks like ECR but is not: it has "ecr" where "dkr.ecr" belongs; write "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/app:1"
    Enforce lookalike-host (no Secret)
      image "api.ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: it has "api" where the account ID of 12 digits belongs
    Enforce lookalike-host (no Secret)
      image "ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: it has no account ID
    Enforce lookalike-host (no Secret)
      image "public.ecr.amazonaws.com/nginx/nginx:1" looks like ECR but is not: it has "public" where the account ID of 12 digits belongs
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west1-.amazonaws.com/app:1" is malformed: what stands before the first slash is no host
    Enforce lookalike-host (no Secret)
      image "123456789012.dkr.ecrx.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: no ECR registry is known to end in "eu-west-1.amazonaws.com"
    Enforce lookalike-host (no Secret)
      image "123456789012.Dkr.Ecr.nowhere.example:5000/app:1" looks like ECR but is not: no ECR registry is known to end in "example"
    "#);
}

#[test]
fn a_region_of_another_partition_is_refused_and_an_unknown_one_warned_about() {
    insta::assert_snapshot!(decided(&Policy::default(), &[
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com/app:1",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn/app:1",
        "123456789012.dkr.ecr.us-gov-west-1.amazonaws.eu/app:1",
        "123456789012.dkr-ecr.cn-north-1.on.aws/app",
        "123456789012.dkr-ecr.eusc-de-east-1.on.aws/app:1",
        "123456789012.DKR.ecr.cn-north-1.amazonaws.com:443/app:1",
        "123456789012.dkr.ecr.eu-north-9.amazonaws.com/app:1",
        "123456789012.dkr.ecr.nz-north-1.amazonaws.com/app:1",
        "123456789012.dkr.ecr.nz-north-1.amazonaws.com/app",
        "123456789012.dkr.ecr.us-gov-south-1.amazonaws.com/app:1",
    ]), @r#"
    Enforce foreign-region (no Secret)
      image "123456789012.dkr.ecr.cn-north-1.amazonaws.com/app:1" names region cn-north-1 of AWS partition aws-cn on a host of partition aws; write "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app:1"
    Enforce foreign-region (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn/app:1" names region eu-west-1 of AWS partition aws on a host of partition aws-cn; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce foreign-region (no Secret)
      image "123456789012.dkr.ecr.us-gov-west-1.amazonaws.eu/app:1" names region us-gov-west-1 of AWS partition aws-us-gov on a host of partition aws-eusc; write "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/app:1"
    Enforce foreign-region (no Secret)
      image "123456789012.dkr-ecr.cn-north-1.on.aws/app" names region cn-north-1 of AWS partition aws-cn on a host of partition aws; write "123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/app:tag" with the tag you mean
    Enforce foreign-region (no Secret)
      image "123456789012.dkr-ecr.eusc-de-east-1.on.aws/app:1" names region eusc-de-east-1 of AWS partition aws-eusc on a host of partition aws; write "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu/app:1"
    Enforce foreign-region (no Secret)
      image "123456789012.DKR.ecr.cn-north-1.amazonaws.com:443/app:1" names region cn-north-1 of AWS partition aws-cn on a host of partition aws; write "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app:1"
    Warn unknown-region (eu-north-9 controller)
      image "123456789012.dkr.ecr.eu-north-9.amazonaws.com/app:1" names AWS region eu-north-9, which this version does not know: it is new or misspelt
    Warn unknown-region (nz-north-1 controller)
      image "123456789012.dkr.ecr.nz-north-1.amazonaws.com/app:1" names AWS region nz-north-1, which this version does not know: it is new or misspelt
    Enforce full-reference (nz-north-1 controller)
      image "123456789012.dkr.ecr.nz-north-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.nz-north-1.amazonaws.com/app:tag" with the tag you mean
    Warn unknown-region (us-gov-south-1 controller)
      image "123456789012.dkr.ecr.us-gov-south-1.amazonaws.com/app:1" names AWS region us-gov-south-1, which this version does not know: it is new or misspelt
    "#);
}

#[test]
fn malformed_references_to_ecr_are_refused_with_the_right_one() {
    insta::assert_snapshot!(decided(&Policy::default(), &[
        "https://$/app:1",
        "docker://$/app",
        " $/app:1",
        "$/app:1\n",
        "$//team/app:1",
        "$/team/app/",
        "$/team/App:1",
        "$/app:",
        "$/app:1.0+build",
        "$/app@sha256:0123",
        "$/app@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        "$/app:1@",
        "$/{{ .Values.image }}",
        "{{ .Values.account }}.dkr.ecr.eu-west-1.amazonaws.com/app:1",
        "https://AWS:hunter2@$/app:1",
            "AWS:hunter2@$/app",
            "AWS:hunter2@$",
        "$./app:1",
        "$:/app:1",
        "$/app\0:1",
        "12345.dkr.ecr.eu-west-1.amazonaws.com/app:",
        "public.ecr.aws/nginx/nginx:",
        "ecr.amazonaws.com:443:443/app:1",
    ]), @r#"
    Enforce malformed-reference (no Secret)
      image "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1" is malformed: it begins like a URL; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce malformed-reference (no Secret)
      image "docker://123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" is malformed: it begins like a URL; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean
    Enforce malformed-reference (no Secret)
      image " 123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1" is malformed: it has white space in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1\n" is malformed: it has white space in it; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com//team/app:1" is malformed: its repository has an empty part before, between or behind slashes; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1"
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app/" is malformed: its repository has an empty part before, between or behind slashes; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/App:1" is malformed: the repository must be in lower case; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1"
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:" is malformed: no tag follows the colon; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1.0+build" is malformed: a tag holds only letters, digits, underscores, dots and hyphens
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:0123" is malformed: its digest does not have the form sha256: and 64 hexadecimal digits
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef" is malformed: the digest must be in lower case; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1@" is malformed: its digest does not have the form sha256: and 64 hexadecimal digits
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/{{ .Values.image }}" is malformed: it has a '{' in it, perhaps of a template that was not filled in
    Enforce malformed-reference (no Secret)
      image "{{ .Values.account }}.dkr.ecr.eu-west-1.amazonaws.com/app:1" is malformed: it has a '{' in it, perhaps of a template that was not filled in
    Enforce malformed-reference (no Secret)
      image "https://[REDACTED]@123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1" is malformed: it begins like a URL; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce malformed-reference (no Secret)
      image "[REDACTED]@123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" is malformed: it has a user or a password before an @; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean
    Enforce malformed-reference (no Secret)
      image "[REDACTED]@123456789012.dkr.ecr.eu-west-1.amazonaws.com" is malformed: the repository must be in lower case
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com./app:1" is malformed: what stands before the first slash is no host; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com:/app:1" is malformed: what stands before the first slash is no host; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1"
    Enforce malformed-reference (no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app\0:1" is malformed: it has a '\0' in it
    Enforce malformed-reference (no Secret)
      image "12345.dkr.ecr.eu-west-1.amazonaws.com/app:" is malformed: no tag follows the colon
    Enforce malformed-reference (no Secret)
      image "public.ecr.aws/nginx/nginx:" is malformed: no tag follows the colon; write "public.ecr.aws/nginx/nginx:tag" with the tag you mean
    Enforce malformed-reference (no Secret)
      image "ecr.amazonaws.com:443:443/app:1" is malformed: what stands before the first slash is no host
    "#);
}

#[test]
fn huge_and_hostile_images_get_a_short_sentence() {
    for image in [
        format!("{REGISTRY}/{}", "a".repeat(5_000_000)),
        format!("{REGISTRY}/{}", "\u{1b}[31m".repeat(1_000)),
        format!(
            "{}.dkr.ecr.{}.amazonaws.com/a",
            "1".repeat(100_000),
            "é".repeat(100_000)
        ),
        format!(
            "123456789012.dkr.ecr.ap-{}-1.amazonaws.com/a:1",
            "x".repeat(100_000)
        ),
    ] {
        let finding = decide(&Policy::default(), &image).finding.unwrap();
        assert!(finding.message.len() < 1_200, "{}", finding.message.len());
        assert!(!finding.message.contains(char::is_control));
    }
}
