//! Bodies as the API server sends them, and as nobody should: the envelope first, so that every failure after it is
//! answered with the caller's uid.

use ecr_admission::admit::Webhook;
use ecr_admission::policy::{Action, Policy};
use serde_json::{Value, json};

use crate::support::review::{
    IMAGE, REGISTRY, UID, create, create_pod, create_with, pod, update, wire, workload,
};
use crate::support::service::{Answered, EXCLUDED, SECRET, Service};

const NO_TAG: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";

async fn mutate(body: &[u8]) -> Result<Answered, String> {
    Service::new().answer(Webhook::Mutating, body).await
}

fn acting(action: Action) -> Policy {
    Policy {
        action,
        ..Policy::default()
    }
}

#[tokio::test]
async fn what_is_no_admission_review_gets_a_reason_instead_of_an_answer() {
    let without = |path: &str, key: &str| {
        let mut review = create_with("team-a", IMAGE);
        review
            .pointer_mut(path)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key);
        wire(&review)
    };
    let with = |key: &str, value: Value| {
        let mut review = create_with("team-a", IMAGE);
        review[key] = value;
        wire(&review)
    };
    let bodies = [
        String::new(),
        "\0".to_owned(),
        "\u{feff}{}".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        with("apiVersion", json!("admission.k8s.io/v1beta1")),
        with("kind", json!("Pod")),
        with("request", Value::Null),
        without("", "request"),
        without("/request", "uid"),
        json!("x".repeat(5_000_000)).to_string(),
    ];
    let mut reasons = Vec::new();
    for body in bodies {
        reasons.push(mutate(body.as_bytes()).await.unwrap_err());
    }
    assert!(reasons.iter().all(|reason| reason.len() < 500));
    reasons.pop();
    insta::assert_snapshot!(reasons.join("\n"), @"
    this is no AdmissionReview: EOF while parsing a value at line 1 column 0
    this is no AdmissionReview: expected value at line 1 column 1
    this is no AdmissionReview: expected value at line 1 column 1
    this is no AdmissionReview: invalid type: null, expected an AdmissionReview at line 1 column 4
    this is no AdmissionReview: invalid type: sequence, expected an AdmissionReview at line 1 column 0
    this is no AdmissionReview: its apiVersion is not admission.k8s.io/v1
    this is no AdmissionReview: its apiVersion is not admission.k8s.io/v1
    this is no AdmissionReview: its kind is not AdmissionReview
    this is no AdmissionReview: invalid type: null, expected an AdmissionRequest at line 1 column 75
    this is no AdmissionReview: it has no request with a uid
    this is no AdmissionReview: it has no request with a uid
    ");
}

#[tokio::test]
async fn every_failure_behind_the_envelope_is_answered_with_the_uid_and_refused() {
    let nothing = wire(&create_with("team-a", "@"));
    for broken in [
        "{",
        "5",
        "[5]",
        "\u{0}",
        "\"\\ud800\"",
        "{\"containers\"",
        "tru",
        "\"unfinished",
    ] {
        let body = nothing.replacen("\"@\"", broken, 1);
        let answer = mutate(body.as_bytes()).await.unwrap();
        assert_eq!(answer.uid(), UID);
        assert!(
            answer.message().starts_with("this Pod cannot be read: "),
            "{answer:?}"
        );
    }
    let trailing = format!("{nothing}x");
    assert!(!mutate(trailing.as_bytes()).await.unwrap().is_allowed());
    let mut invalid = nothing.into_bytes();
    let at = invalid.iter().position(|byte| *byte == b'@').unwrap();
    invalid[at] = 0xff;
    assert!(!mutate(&invalid).await.unwrap().is_allowed());
}

#[tokio::test]
async fn bytes_that_are_no_text_matter_only_where_somebody_looks() {
    let spoilt = |pod: &Value| {
        let mut body = wire(&create("team-a", pod)).into_bytes();
        let at = body.iter().position(|byte| *byte == b'@').unwrap();
        body[at] = 0xff;
        body
    };
    let image = format!("{REGISTRY}/app:1");
    let elsewhere = json!({"containers": [{"image": image, "args": ["@"]}]});
    assert!(mutate(&spoilt(&elsewhere)).await.unwrap().is_allowed());
    for looked_at in [
        json!({"containers": [{"image": image, "name": "@"}]}),
        json!({"containers": [{"image": image, "@": 1}]}),
    ] {
        let answer = mutate(&spoilt(&looked_at)).await.unwrap();
        let message = answer.message();
        assert!(
            message.contains("invalid unicode code point"),
            "{message:?}"
        );
    }
}

#[tokio::test]
async fn an_unreadable_pod_is_only_warned_of_while_no_rule_is_enforced() {
    let review = create("team-a", &json!({"containers": "no list"}));
    for action in [Action::Warn, Action::Audit] {
        let answer = Service::with(acting(action)).mutate(&review).await;
        assert!(answer.is_allowed() && answer.patch().is_none());
        assert!(
            answer.warnings()[0].starts_with("this Pod was not checked"),
            "{answer:?}"
        );
    }
    let answer = Service::new().mutate(&review).await;
    insta::assert_snapshot!(answer.said(), @r#"refused: this Pod cannot be read: invalid type: string "no list", expected a sequence at line 1 column 570"#);
    let excluded = create(EXCLUDED, &json!({"containers": "no list"}));
    assert!(Service::new().mutate(&excluded).await.is_untouched());
    let other = workload("apps", "Deployment", &json!({"spec": 5, "metadata": 7}));
    assert!(Service::new().validate(&other).await.is_untouched());
}

#[tokio::test]
async fn a_review_cut_off_anywhere_is_never_allowed() {
    let body = wire(&create_with("team-a", NO_TAG));
    let service = Service::new();
    for end in 0..body.len() {
        let cut = &body.as_bytes()[..end];
        if let Ok(answer) = service.answer(Webhook::Mutating, cut).await {
            assert!(!answer.is_allowed(), "cut at {end}");
            assert_eq!(answer.uid(), UID, "cut at {end}");
        }
        if let Ok(answer) = service.answer_too_large(cut) {
            let answer = Answered::of(&answer);
            assert!(!answer.is_allowed(), "cut at {end}");
            assert_eq!(answer.uid(), UID, "cut at {end}");
        }
    }
}

#[tokio::test]
async fn the_order_of_keys_does_not_matter_even_where_the_pod_cannot_be_read() {
    for (spec, expected) in [
        (format!(r#"{{"containers":[{{"image":"{IMAGE}"}}]}}"#), true),
        (
            format!(r#"{{"containers":[{{"image":"{NO_TAG}"}}]}}"#),
            false,
        ),
        (r#"{"containers":[{"image":{}}]}"#.to_owned(), false),
    ] {
        let body = format!(
            r#"{{"request":{{"object":{{"spec":{spec}}},"operation":"CREATE","namespace":"team-a",
            "kind":{{"kind":"Pod","group":""}},"uid":"{UID}"}},
            "kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}}"#
        );
        let answer = mutate(body.as_bytes()).await.unwrap();
        assert_eq!(
            (answer.uid(), answer.is_allowed()),
            (UID, expected),
            "{spec}"
        );
    }
}

#[tokio::test]
async fn escapes_in_strings_hide_nothing() {
    let escaped: Vec<String> = NO_TAG
        .bytes()
        .map(|byte| format!("\\u{byte:04x}"))
        .collect();
    let escaped = escaped.concat();
    let body = wire(&create_with("team-a", "@"))
        .replacen('@', &escaped, 1)
        .replacen("\"image\"", "\"\\u0069mage\"", 1);
    let answer = mutate(body.as_bytes()).await.unwrap();
    assert!(answer.message().contains("has neither a tag nor a digest"));
    let uid = wire(&create_with("team-a", NO_TAG)).replacen(UID, "a\\\"b\\u00e9", 1);
    assert_eq!(mutate(uid.as_bytes()).await.unwrap().uid(), "a\"bé");
}

#[tokio::test]
async fn nulls_stand_for_what_is_absent() {
    let nulls = json!({
        "containers": [{"name": null, "image": IMAGE, "env": null}],
        "initContainers": null,
        "ephemeralContainers": null,
        "volumes": [{"name": "a", "image": null}, {"image": {"reference": null}}],
        "imagePullSecrets": null,
    });
    let mut pod = create("team-a", &nulls)["request"]["object"].clone();
    pod["metadata"] = json!({"annotations": null, "deletionTimestamp": null});
    let mut review = create_pod("team-a", &pod);
    review["request"]["dryRun"] = Value::Null;
    review["request"]["subResource"] = Value::Null;
    let answer = Service::new().mutate(&review).await;
    assert!(answer.is_injected(), "{answer:?}");
    json_patch::patch(&mut pod, &answer.patch().unwrap()).unwrap();
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": SECRET}]));
    let empty = create("team-a", &Value::Null);
    assert!(Service::new().mutate(&empty).await.is_untouched());
}

#[tokio::test]
async fn a_key_that_is_there_twice_is_never_a_way_around_policy() {
    let good = wire(&create_with("team-a", IMAGE));
    let twice = [
        ("\"image\":", "\"image\":\"nginx\",\"image\":".to_owned()),
        (
            "\"containers\":",
            "\"containers\":[],\"containers\":".to_owned(),
        ),
        ("\"object\":", "\"object\":{},\"object\":".to_owned()),
        ("\"request\":", "\"request\":{},\"request\":".to_owned()),
    ];
    for (key, doubled) in twice {
        let body = good.replacen(key, &doubled, 1);
        assert_ne!(body, good, "{key}");
        let answer = mutate(body.as_bytes()).await;
        assert!(answer.is_err() || !answer.unwrap().is_allowed(), "{key}");
    }
}

#[tokio::test]
async fn a_list_is_never_taken_for_an_object() {
    for spec in [
        json!([[{"name": "a", "image": IMAGE}]]),
        json!({"containers": [["a", IMAGE]]}),
        json!({"containers": {"name": "a", "image": IMAGE}}),
    ] {
        let body = wire(&create("team-a", &spec));
        let answer = mutate(body.as_bytes()).await.unwrap();
        assert!(answer.message().contains("cannot be read"), "{spec}");
    }
}

#[tokio::test]
async fn deep_nesting_is_skipped_where_nobody_reads_and_refused_where_somebody_does() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let open = "[".repeat(100_000);
    let good = wire(&create_with("team-a", IMAGE));
    let beside = good.replacen("\"status\":{}", &format!("\"status\":{deep}"), 1);
    assert!(mutate(beside.as_bytes()).await.unwrap().is_injected());
    for hostile in [
        good.replacen("\"status\":{}", &format!("\"status\":{open}"), 1),
        good.replacen("\"spec\":{", &format!("\"spec\":{deep},\"x\":{{"), 1),
        good.replacen("\"object\":{", &format!("\"object\":{deep},\"x\":{{"), 1),
    ] {
        assert!(!mutate(hostile.as_bytes()).await.unwrap().is_allowed());
    }
    assert!(mutate(deep.as_bytes()).await.is_err());
}

// On a busy machine a debug build takes longer to judge them than the API server waits.
#[tokio::test(start_paused = true)]
async fn twenty_thousand_containers_are_answered_with_what_a_person_can_read() {
    let bad: Vec<String> = (0..20_000).map(|n| format!("{REGISTRY}/app-{n}")).collect();
    let bad: Vec<&str> = bad.iter().map(String::as_str).collect();
    let service = Service::new();
    let answer = service.mutate(&create_pod("team-a", &pod(&bad))).await;
    assert!(answer.message().len() < 10_000);
    assert!(
        answer
            .message()
            .ends_with("; and 19990 more images like these"),
        "{}",
        answer.message()
    );

    let warned = Service::with(acting(Action::Warn));
    let answer = warned.mutate(&create_pod("team-a", &pod(&bad))).await;
    assert_eq!(answer.warnings().len(), 11);
    assert!(answer.patch().is_some());

    // Each the same place in old and new: comparing every one with every other would take minutes.
    let answer = service
        .mutate(&update("team-a", &pod(&bad), &pod(&bad)))
        .await;
    assert!(answer.is_untouched());
}

// On a busy machine a debug build takes longer to judge them than the API server waits.
#[tokio::test(start_paused = true)]
async fn an_image_of_a_megabyte_gets_a_short_answer() {
    let endless = "x".repeat(1_000_000);
    for image in [
        format!("{REGISTRY}/{endless}"),
        format!("{REGISTRY}/app:{endless}"),
    ] {
        let answer = Service::new().mutate(&create_with("team-a", &image)).await;
        assert!(answer.message().len() < 2_000);
    }
    let named = json!({"containers": [{"name": endless, "image": NO_TAG}]});
    let answer = Service::new().mutate(&create("team-a", &named)).await;
    assert!(answer.message().len() < 1_000);
    assert!(answer.message().contains("has neither a tag"));
}

#[tokio::test]
async fn a_review_too_large_to_read_is_answered_from_its_front() {
    let body = wire(&create_with("team-a", NO_TAG));
    let front = &body.as_bytes()[..body.find("\"containers\"").unwrap()];
    let answer = |policy| {
        let answer = Service::with(policy).answer_too_large(front);
        Answered::of(&answer.unwrap())
    };
    insta::assert_snapshot!(answer(Policy::default()).said(), @"refused: this Pod is too large to check: its review is over 7 MiB; make its spec smaller");
    insta::assert_snapshot!(answer(acting(Action::Warn)).said(), @"warning: this Pod was not checked: its review is over 7 MiB");
    let said = Service::new()
        .answer_too_large(b"{\"apiVersion\":\"v1\"")
        .unwrap_err();
    insta::assert_snapshot!(said, @"the body is too large, and no AdmissionReview starts it");
    let excluded = wire(&create_with(EXCLUDED, NO_TAG));
    let answer = Service::new().answer_too_large(&excluded.as_bytes()[..700]);
    assert!(Answered::of(&answer.unwrap()).is_untouched());
}
