//! The rules of policies through the whole service: every kind of image, and what is counted.

use serde_json::{Value, json};

use super::world::{SHARED, World};
use crate::support::review::{create, create_with, update};

const RULES: &str = r"
    validation:
      digestRequired: {}
";
const AUDITED: &str = r"
    action: Audit
    validation:
      digestRequired: {}
";

/// A Pod's spec with one image without a digest, in the place that is named.
fn with_image_in(place: &str) -> Value {
    let image = format!("{SHARED}/app:1");
    let good = format!("{SHARED}/app@sha256:{}", "3b1c".repeat(16));
    let mut spec = json!({"containers": [{"name": "main", "image": good}]});
    let odd = match place {
        "volumes" => json!({"name": "odd", "image": {"reference": image}}),
        _ => json!({"name": "odd", "image": image}),
    };
    match spec[place].as_array_mut() {
        Some(items) => items.push(odd),
        None => spec[place] = json!([odd]),
    }
    spec
}

#[tokio::test(start_paused = true)]
async fn a_rule_is_about_images_of_all_four_kinds() {
    let world = World::new(&[("rules", RULES)]);
    world.label("one", &[]);
    for (place, called) in [
        ("containers", "container \"odd\""),
        ("initContainers", "init container \"odd\""),
        ("volumes", "image volume \"odd\""),
    ] {
        let spec = with_image_in(place);
        let answer = world.service.mutate(&create("one", &spec)).await;
        assert!(!answer.is_allowed(), "{place}: {answer:?}");
        assert!(
            answer.message().starts_with(called)
                && answer.message().contains("by policy \"rules\""),
            "{}",
            answer.message()
        );
    }
    // An ephemeral container comes by an update.
    let old = json!({"spec": with_image_in("containers")});
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] =
        json!([{"name": "debug", "image": format!("{SHARED}/debug:1")}]);
    let answer = world.service.mutate(&update("one", &old, &new)).await;
    assert!(
        answer
            .message()
            .starts_with("ephemeral container \"debug\""),
        "{}",
        answer.message()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_only_audited_is_told_to_the_audit_log_and_counted_and_to_nobody_else() {
    let world = World::new(&[("rules", AUDITED)]);
    world.label("one", &[]);
    let image = format!("{SHARED}/app:1");
    let answer = world.service.mutate(&create_with("one", &image)).await;
    assert!(
        answer.is_injected() && answer.warnings().is_empty(),
        "{answer:?}"
    );
    let audited = answer.0["auditAnnotations"].to_string();
    assert!(
        audited.contains("has no digest, which is demanded"),
        "{audited}"
    );
    let counted = world.service.metrics();
    let counted: Vec<&str> = counted
        .lines()
        .filter(|line| line.contains("reason=\"digest-required\""))
        .collect();
    let [line] = counted.as_slice() else {
        panic!("{counted:?}");
    };
    assert!(line.ends_with(" 1"), "{line}");
}
