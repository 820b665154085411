//! The patch, applied: our name is appended once, and nothing else changes.

use ecr_admission::review::{Answer, InjectionPatch, Patch};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::review::{IMAGE, create_pod};
use crate::support::service::{Answered, SECRET, Service};

/// Any JSON of moderate size, with keys that need escapes.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z~/\"]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// `imagePullSecrets` as users have it: absent, null, empty, their own, ours among them.
fn pull_secrets() -> impl Strategy<Value = Option<Value>> {
    let name = prop_oneof![
        3 => "[a-z]{1,6}".prop_map(|name| json!({"name": name})),
        1 => Just(json!({"name": SECRET})),
        1 => Just(json!({})),
        1 => Just(json!({"name": null})),
    ];
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        prop::collection::vec(name, 0..4).prop_map(|names| Some(Value::from(names))),
    ]
}

fn pods() -> impl Strategy<Value = Value> {
    let beside = || prop::collection::hash_map("x[a-z]{0,4}", json_value(), 0..4);
    (pull_secrets(), beside(), beside()).prop_map(|(pull_secrets, of_pod, of_spec)| {
        let mut spec: Map<String, Value> = of_spec.into_iter().collect();
        spec.insert("containers".into(), json!([{"name": "a", "image": IMAGE}]));
        if let Some(pull_secrets) = pull_secrets {
            spec.insert("imagePullSecrets".into(), pull_secrets);
        }
        let mut pod: Map<String, Value> = of_pod.into_iter().collect();
        pod.insert("spec".into(), Value::Object(spec));
        Value::Object(pod)
    })
}

/// What the patch is to come to.
fn expected(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let list = &mut pod["spec"]["imagePullSecrets"];
    let ours = json!({"name": SECRET});
    match list.as_array_mut() {
        None => *list = json!([ours]),
        Some(names) if names.contains(&ours) => {}
        Some(names) => names.push(ours),
    }
    pod
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn our_name_is_appended_once_and_nothing_else_changes(pod in pods()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let service = Service::new();
            let answer = service.mutate(&create_pod("team-a", &pod)).await;
            prop_assert!(answer.is_allowed());
            let mut patched = pod.clone();
            if let Some(patch) = answer.patch() {
                json_patch::patch(&mut patched, &patch).unwrap();
                prop_assert_ne!(&patched, &pod);
            }
            prop_assert_eq!(&patched, &expected(&pod));

            // Asked again about the result, as a reinvocation is, nothing is left to do.
            let again = service.mutate(&create_pod("team-a", &patched)).await;
            prop_assert!(again.is_untouched());
            Ok(())
        })?;
    }

    #[test]
    fn an_answer_is_well_formed_whatever_it_says(
        uid in ".{0,40}", secret in ".{1,20}", said in "(?s).{0,80}", kind in 0..3_usize,
    ) {
        let answer = Answer {
            refusal: (kind == 0).then(|| said.clone()),
            warnings: vec![said.clone(); kind],
            audit: (kind == 1).then(|| said.clone()),
            patch: [Patch::None, Patch::AddList, Patch::Append][kind],
        };
        let answered = Answered::of(&answer.to_json(&uid, &InjectionPatch::new(&secret)));
        prop_assert_eq!(answered.uid(), uid);
        let mut texts = answered.0.clone();
        texts["uid"] = Value::Null;
        let texts = texts.to_string();
        prop_assert!(!texts.contains("\\u00"), "a control character: {}", texts);
        if let Some(patch) = answered.patch() {
            let mut pod = json!({"spec": {"imagePullSecrets": []}});
            json_patch::patch(&mut pod, &patch).unwrap();
            prop_assert_eq!(&pod["spec"]["imagePullSecrets"], &json!([{"name": secret}]));
        }
    }
}
