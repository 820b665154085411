//! What is decided about an image: its credential, and whether it breaks a rule.

use ecr_admission::policy::{Action, Credential, Policy, Rule, decide};

use crate::messages::{REGISTRY, decided};

#[test]
fn full_references_to_ecr_are_accepted() {
    insta::assert_snapshot!(decided(&Policy::default(), &[
        "$/app:1.2",
        "$/team/app:1.2@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "$/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "$/app:latest",
        "public.ecr.aws/nginx/nginx:1.27",
        "ecr-public.aws.com/nginx/nginx:1.27",
    ]), @"
    ok (eu-west-1 controller)
      123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1.2
    ok (eu-west-1 controller)
      123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1.2@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    ok (eu-west-1 controller)
      123456789012.dkr.ecr.eu-west-1.amazonaws.com/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    ok (eu-west-1 controller)
      123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:latest
    ok (ECR, no Secret)
      public.ecr.aws/nginx/nginx:1.27
    ok (ECR, no Secret)
      ecr-public.aws.com/nginx/nginx:1.27
    ");
}

#[test]
fn images_elsewhere_are_left_alone_well_formed_or_not() {
    for image in [
        "nginx",
        "nginx:1.27",
        "docker.io/library/nginx",
        "registry.k8s.io/pause:3.9",
        "quay.io/team/secrets:1",
        "localhost:5000/ecr/app",
        "registry.example/123456789012.dkr.ecr.eu-west-1.amazonaws.com/app",
        "team/123456789012.dkr.ecr.eu-west-1.amazonaws.com/app",
        "dkr_ecr/app",
        "ecr/app",
        "ecr.example.com/app",
        "my-ecr.example.com:5000/app",
        "elb-1.eu-west-1.elb.amazonaws.com/app",
        "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:5000/app",
        "app.dkr.ecr",
        "NGINX",
        "nginx:",
        "https://registry.example/app:1",
        "registry.example//ecr.amazonaws.com/app",
        "/123456789012.dkr.ecr.eu-west-1.amazonaws.com/app",
        "",
    ] {
        let policy = Policy::default();
        let decision = decide(&policy, image);
        assert_eq!(decision.credential, Credential::NotNeeded, "{image}");
        assert_eq!(decision.finding, None, "{image}");
        assert!(!decision.is_ecr(), "{image}");
    }
}

#[test]
fn a_company_s_own_mirror_is_trusted_with_and_without_port() {
    let policy = Policy {
        trusted_hosts: [
            "mirror.dkr.ecr.example".to_owned(),
            "b.dkr.ecr.example:5000".to_owned(),
        ]
        .into(),
        ..Policy::default()
    };
    for image in [
        "mirror.dkr.ecr.example/app",
        "mirror.dkr.ecr.example:5000/app:1",
        "Mirror.dkr.ecr.example/app:1",
        "mirror.dkr.ecr.example/App:1",
        "b.dkr.ecr.example:5000/app:1",
    ] {
        let decision = decide(&policy, image);
        assert_eq!(decision.finding, None, "{image}");
        assert!(!decision.is_ecr(), "{image}");
    }
    for image in ["b.dkr.ecr.example/app:1", "x.mirror.dkr.ecr.example/app:1"] {
        assert_eq!(
            decide(&policy, image).finding.map(|finding| finding.rule),
            Some(Rule::LookalikeHost)
        );
    }
}

#[test]
fn native_registries_need_no_secret_but_a_full_reference() {
    let policy = Policy {
        native_registries: vec!["*.dkr.ecr.eu-west-1.amazonaws.com".parse().unwrap()],
        ..Policy::default()
    };
    insta::assert_snapshot!(decided(&policy, &[
        "$/app:1",
        "$/app",
        "123456789012.dkr.ecr.eu-west-2.amazonaws.com/app:1",
    ]), @r#"
    ok (ECR, no Secret)
      123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1
    Enforce full-reference (ECR, no Secret)
      image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean
    ok (eu-west-2 controller)
      123456789012.dkr.ecr.eu-west-2.amazonaws.com/app:1
    "#);
}

#[test]
fn only_allowed_accounts_and_regions_are_allowed() {
    let policy = Policy {
        allowed_accounts: Some(["123456789012".to_owned()].into()),
        allowed_regions: Some(["eu-west-1".to_owned(), "mars-north-1".to_owned()].into()),
        ..Policy::default()
    };
    insta::assert_snapshot!(decided(&policy, &[
        "$/app:1",
        "210987654321.dkr.ecr.eu-west-1.amazonaws.com/app:1",
        "123456789012.dkr.ecr.eu-west-2.amazonaws.com/app",
        "123456789012.dkr.ecr.mars-north-1.amazonaws.com/app:1",
        "210987654321.dkr.ecr.eu-west-1.amazonaws.co/app:1",
        "210987654321.dkr.ecr.eu-west-1.amazonaws.com",
        "public.ecr.aws/nginx/nginx:1",
    ]), @r#"
    ok (eu-west-1 controller)
      123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1
    Enforce account-not-allowed (eu-west-1 controller)
      image "210987654321.dkr.ecr.eu-west-1.amazonaws.com/app:1" is in AWS account 210987654321, which is not an allowed account
    Enforce region-not-allowed (eu-west-2 controller)
      image "123456789012.dkr.ecr.eu-west-2.amazonaws.com/app" is in AWS region eu-west-2, which is not an allowed region
    Warn unknown-region (mars-north-1 controller)
      image "123456789012.dkr.ecr.mars-north-1.amazonaws.com/app:1" names AWS region mars-north-1, which this version does not know: it is new or misspelt
    Enforce lookalike-host (no Secret)
      image "210987654321.dkr.ecr.eu-west-1.amazonaws.co/app:1" looks like ECR but is not: registries in "eu-west-1" end in "amazonaws.com", not in "amazonaws.co"
    Enforce missing-repository (no Secret)
      image "210987654321.dkr.ecr.eu-west-1.amazonaws.com" names an ECR registry but no repository in it
    ok (ECR, no Secret)
      public.ecr.aws/nginx/nginx:1
    "#);
}

#[test]
fn a_milder_action_keeps_the_credential_and_refuses_nothing() {
    for action in [Action::Warn, Action::Audit] {
        let policy = Policy {
            action,
            ..Policy::default()
        };
        let image = format!("{REGISTRY}/app");
        let decision = decide(&policy, &image);
        assert!(matches!(decision.credential, Credential::Secret { .. }));
        assert_eq!(
            decision.finding.as_ref().map(|finding| finding.action),
            Some(action)
        );
        assert!(!decision.is_refused());
    }
}
