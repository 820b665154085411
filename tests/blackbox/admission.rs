//! What becomes of a Pod: judged, ensured, injected; and of everything that is not one, over the router without a
//! socket.

use ecr_admission::namespace::Namespace;
use ecr_admission::policy::{Action, Policy};
use ecr_admission::secret::memory::NamespacePhase;
use ecr_admission::token::MintErrorKind;
use ecr_admission::watch::Mirror;
use serde_json::{Value, json};

use crate::support::mint::Behaviour;
use crate::support::review::{
    IMAGE, REGISTRY, create, create_pod, create_with, dry_run, image_in, pod, update, workload,
};
use crate::support::service::{EXCLUDED, SECRET, Service, denying};
use crate::support::store::Call;

const NO_TAG: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";

fn injected(pod: &Value) -> Value {
    let mut pod = pod.clone();
    pod["spec"]["imagePullSecrets"] = json!([{"name": SECRET}]);
    pod
}

fn annotated(pod: &Value, key: &str, value: &str) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["annotations"] = json!({key: value});
    pod
}

#[tokio::test]
async fn all_four_kinds_of_image_are_judged_and_ensured() {
    let specs = |image: &str| {
        [
            json!({"containers": [{"name": "a", "image": image}]}),
            json!({"containers": [], "initContainers": [{"name": "a", "image": image}]}),
            json!({"containers": [], "ephemeralContainers": [{"name": "a", "image": image}]}),
            json!({"containers": [], "volumes": [{"name": "a", "image": {"reference": image}}]}),
        ]
    };
    for spec in specs(IMAGE) {
        let service = Service::new();
        let answer = service.mutate(&create("team-a", &spec)).await;
        assert!(answer.is_injected(), "{spec}");
        assert_eq!(service.registries("team-a"), [REGISTRY], "{spec}");
    }
    let mut said = Vec::new();
    for spec in specs(NO_TAG) {
        let service = Service::new();
        said.push(service.mutate(&create("team-a", &spec)).await.said());
        assert!(service.secret("team-a").is_none());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    refused: container "a": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]
    refused: init container "a": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]
    refused: ephemeral container "a": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]
    refused: image volume "a": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]
    "#);
}

#[tokio::test]
async fn a_pod_of_two_registries_gets_one_secret_with_both() {
    let service = Service::new();
    let images = [
        IMAGE,
        &image_in(2, "us-east-2"),
        "nginx",
        &image_in(2, "eu-west-1"),
    ];
    let answer = service.mutate(&create_pod("team-a", &pod(&images))).await;
    assert!(answer.is_injected());
    assert_eq!(service.registries("team-a").len(), 3);
    // One token serves both accounts of a region.
    assert_eq!(service.tokens.count(), 2);
}

#[tokio::test]
async fn pods_without_private_ecr_images_are_left_alone_and_cost_nothing() {
    let service = Service::new();
    for image in [
        "nginx",
        "public.ecr.aws/nginx/nginx:1.27",
        "quay.io/team/app:1",
    ] {
        let review = create_with("team-a", image);
        assert!(service.mutate(&review).await.is_untouched());
        assert!(service.validate(&review).await.is_untouched());
    }
    assert_eq!(service.tokens.count(), 0);
    assert!(service.store.calls().is_empty());
}

#[tokio::test]
async fn every_finding_is_told_at_once() {
    let images = [NO_TAG, "12345678901.dkr.ecr.eu-west-1.amazonaws.com/app:1"];
    let answer = Service::new()
        .mutate(&create_pod("team-a", &pod(&images)))
        .await;
    insta::assert_snapshot!(answer.said(), @r#"refused: container "c0": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]; container "c1": image "12345678901.dkr.ecr.eu-west-1.amazonaws.com/app:1" looks like ECR but is not: its account ID has 11 digits instead of 12 [lookalike-host]"#);
}

#[tokio::test]
async fn findings_under_warn_and_audit_admit_and_inject() {
    for action in [Action::Warn, Action::Audit] {
        let service = Service::with(Policy {
            action,
            ..Policy::default()
        });
        let answer = service.mutate(&create_with("team-a", NO_TAG)).await;
        assert!(answer.patch().is_some());
        assert_eq!(service.registries("team-a"), [REGISTRY]);
        if action == Action::Warn {
            insta::assert_snapshot!(answer.said(), @r#"warning: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]"#);
        } else {
            insta::assert_snapshot!(answer.said(), @r#"audit: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]"#);
        }
    }
}

#[tokio::test]
async fn an_update_judges_only_what_changed_and_never_patches() {
    let service = Service::new();
    let (old, good) = (pod(&[NO_TAG, "nginx"]), pod(&[NO_TAG, "nginx:1.27"]));
    assert!(
        service
            .mutate(&update("team-a", &old, &good))
            .await
            .is_untouched()
    );
    let moved = pod(&["nginx", NO_TAG]);
    assert!(
        !service
            .mutate(&update("team-a", &old, &moved))
            .await
            .is_allowed()
    );
    let worse = pod(&[NO_TAG, NO_TAG]);
    assert!(
        !service
            .validate(&update("team-a", &old, &worse))
            .await
            .is_allowed()
    );

    // It ensures a new registry for a Pod that refers to our Secret, and for no other.
    let (old, new) = (pod(&["nginx"]), pod(&[IMAGE]));
    assert!(
        service
            .mutate(&update("team-a", &old, &new))
            .await
            .is_untouched()
    );
    assert!(service.secret("team-a").is_none());
    let answer = service
        .mutate(&update("team-a", &injected(&old), &injected(&new)))
        .await;
    assert!(answer.is_untouched());
    assert_eq!(service.registries("team-a"), [REGISTRY]);
}

#[tokio::test]
async fn ephemeral_containers_are_judged_and_ensured() {
    let service = Service::new();
    let old = injected(&pod(&[NO_TAG]));
    let debugged = |image: &str| {
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": image}]);
        let mut review = update("team-a", &old, &new);
        review["request"]["subResource"] = json!("ephemeralcontainers");
        review
    };
    assert!(service.validate(&debugged(IMAGE)).await.is_untouched());
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    let answer = service.validate(&debugged(NO_TAG)).await;
    insta::assert_snapshot!(answer.said(), @r#"refused: ephemeral container "debug": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]"#);
}

#[tokio::test]
async fn a_pod_that_is_being_deleted_always_passes_and_a_new_one_cannot_pretend() {
    let service = Service::new();
    let mut dying = pod(&[NO_TAG]);
    dying["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
    let answer = service
        .mutate(&update("team-a", &pod(&["nginx"]), &dying))
        .await;
    assert!(answer.is_untouched());
    assert!(
        !service
            .mutate(&create_pod("team-a", &dying))
            .await
            .is_allowed()
    );
}

#[tokio::test]
async fn mirror_pods_and_other_operations_are_left_alone() {
    let service = Service::new();
    let mirror = annotated(&pod(&[NO_TAG]), "kubernetes.io/config.mirror", "0123");
    assert!(
        service
            .mutate(&create_pod("team-a", &mirror))
            .await
            .is_untouched()
    );
    let mut delete = create_with("team-a", NO_TAG);
    delete["request"]["operation"] = json!("DELETE");
    assert!(service.mutate(&delete).await.is_untouched());
    delete["request"]["object"] = Value::Null;
    assert!(service.mutate(&delete).await.is_untouched());
    let mut absent = create_with("team-a", NO_TAG);
    absent["request"]["object"] = Value::Null;
    assert!(!service.mutate(&absent).await.is_allowed());
}

#[tokio::test]
async fn opting_out_switches_injection_off_and_validation_stays() {
    let service = Service::new();
    let key = "ecr-admission.dev/inject";
    let out = |images: &[&str]| create_pod("team-a", &annotated(&pod(images), key, "false"));
    assert!(service.mutate(&out(&[IMAGE])).await.is_untouched());
    assert!(service.validate(&out(&[IMAGE])).await.is_untouched());
    assert!(!service.mutate(&out(&[NO_TAG])).await.is_allowed());
    let on = create_pod("team-b", &annotated(&pod(&[IMAGE]), key, "true"));
    assert!(service.mutate(&on).await.is_injected());

    let opted_out = Namespace {
        inject: false,
        ..Namespace::default()
    };
    service.namespaces.apply("team-c", opted_out);
    assert!(
        service
            .mutate(&create_with("team-c", IMAGE))
            .await
            .is_untouched()
    );
    assert!(
        !service
            .mutate(&create_with("team-c", NO_TAG))
            .await
            .is_allowed()
    );
    assert!(service.secret("team-a").is_none() && service.secret("team-c").is_none());
    // Whoever names our Secret by hand gets it filled.
    let by_hand = create_pod("team-c", &injected(&pod(&[IMAGE])));
    assert!(service.mutate(&by_hand).await.is_untouched());
    assert_eq!(service.registries("team-c"), [REGISTRY]);
}

#[tokio::test]
async fn excluded_and_impossible_namespaces_get_nothing_from_us() {
    let service = Service::new();
    assert!(
        service
            .mutate(&create_with(EXCLUDED, NO_TAG))
            .await
            .is_untouched()
    );
    for namespace in [
        "",
        "..",
        "a/b",
        "kube-system/",
        "Kube-System",
        "a?b",
        &"a".repeat(64),
    ] {
        let answer = service.mutate(&create_with(namespace, IMAGE)).await;
        assert_eq!(
            answer.message(),
            "this Pod is in no namespace that can exist"
        );
    }
    assert!(service.store.calls().is_empty());
    assert_eq!(service.tokens.count(), 0);
}

#[tokio::test]
async fn a_pod_of_a_namespace_that_is_being_deleted_is_told_so() {
    let service = Service::new();
    service.namespaces.apply("team-a", terminating());
    let cluster = &service.store.cluster;
    cluster.set_namespace("team-a", NamespacePhase::Terminating);
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    insta::assert_snapshot!(
        answer.said(),
        @r#"warning: no pull credential: cannot write the pull Secret in namespace "team-a": the namespace is being terminated"#
    );
    // One try, and nobody goes on with it.
    assert_eq!(service.store.calls(), [Call::Create]);
    assert_eq!(service.admission.healing(), 0);
}

#[tokio::test]
async fn a_pod_is_served_whose_namespace_has_the_name_of_one_that_was_being_deleted() {
    let service = Service::new();
    service.namespaces.apply("team-a", terminating());
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    assert!(answer.is_allowed() && answer.warnings().is_empty());
    assert_eq!(service.registries("team-a"), [REGISTRY]);
}

fn terminating() -> Namespace {
    Namespace {
        terminating: true,
        ..Namespace::default()
    }
}

#[tokio::test]
async fn a_dry_run_gets_the_same_answer_and_writes_nothing() {
    let reviews = [
        create_with("team-a", IMAGE),
        create_with("team-a", NO_TAG),
        create_with("team-a", "nginx"),
        create_with("team-a", &image_in(1, "ap-south-1")),
        create_with("foreign", IMAGE),
    ];
    for policy in [Policy::default(), denying()] {
        for review in &reviews {
            let service = Service::with(policy.clone());
            crate::writing::add_foreign(&service, "foreign");
            service.tokens.by_key(|key| match &*key.region {
                "ap-south-1" => Behaviour::Fail(MintErrorKind::Denied),
                _ => Behaviour::Give(crate::support::mint::LIFE),
            });
            let rehearsed = service.mutate(&dry_run(review.clone())).await;
            let calls = service.store.calls();
            assert!(calls.is_empty(), "{calls:?}");
            assert_eq!(service.admission.healing(), 0);
            let real = service.mutate(review).await;
            assert_eq!(rehearsed.0, real.0);
        }
    }
}

#[tokio::test]
async fn workloads_are_warned_of_what_their_pods_will_meet_and_never_refused() {
    let service = Service::new();
    let spec = json!({"containers": [{"name": "app", "image": NO_TAG}]});
    let template = json!({"spec": {"template": {"spec": spec}}});
    let cron = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}});
    let kinds = [
        ("apps", "Deployment", &template),
        ("apps", "ReplicaSet", &template),
        ("apps", "StatefulSet", &template),
        ("apps", "DaemonSet", &template),
        ("batch", "Job", &template),
        ("batch", "CronJob", &cron),
        ("", "ReplicationController", &template),
    ];
    for (group, kind, object) in kinds {
        let answer = service.validate(&workload(group, kind, object)).await;
        assert!(answer.is_allowed() && answer.patch().is_none());
        assert_eq!(answer.warnings().len(), 1, "{kind}");
        let other = workload("example.com", kind, object);
        assert!(service.validate(&other).await.is_untouched(), "{kind}");
    }
    let deployment = workload("apps", "Deployment", &template);
    insta::assert_snapshot!(service.validate(&deployment).await.said(), @r#"warning: its Pods will be refused: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]"#);
    assert!(service.mutate(&deployment).await.is_untouched());
    for broken in [
        json!({"spec": 5}),
        json!({"spec": {"template": null}}),
        Value::Null,
    ] {
        let review = workload("apps", "Deployment", &broken);
        assert!(service.validate(&review).await.is_untouched(), "{broken}");
    }
    assert!(service.store.calls().is_empty());
}

#[tokio::test]
async fn the_validating_webhook_notices_a_pod_that_was_not_injected() {
    let review = create_with("team-a", IMAGE);
    let answer = Service::new().validate(&review).await;
    insta::assert_snapshot!(answer.said(), @"warning: private ECR image without Secret ecr-pull-secret in imagePullSecrets: another webhook changed the image, or ecr-admission was not asked; recreate the Pod");
    let answer = Service::with(denying()).validate(&review).await;
    assert!(!answer.is_allowed());

    let service = Service::new();
    let final_object = create_pod("team-a", &injected(&pod(&[IMAGE])));
    assert!(service.validate(&final_object).await.is_untouched());
    assert_eq!(service.registries("team-a"), [REGISTRY]);
}
