//! Several policies in one namespace, through the whole service.

use super::world::{CONTROLLER, ROLE_A, SHARED, World};
use crate::support::review::{create, create_with};
use serde_json::json;

const BASE: &str = r#"
    grants:
    - registries: ["999999999999"]
      repositories: ["base/**"]
"#;
const TEAM: &str = r#"
    namespaces: {matchLabels: {team: a}}
    grants:
    - registries: ["999999999999"]
      repositories: ["team/**"]
      role: {arn: "arn:aws:iam::111111111111:role/ecr-team-a"}
"#;
const RULES: &str = r"
    namespaces: {matchLabels: {team: a}}
    validation:
      mutableTags: {}
      onlyEcr: {action: Audit}
    exemptions:
    - serviceAccounts: [builder]
      reason: it builds what has no tag yet
";

#[tokio::test(start_paused = true)]
async fn two_identities_share_a_registry_by_folder_and_both_are_in_the_secret() {
    let world = World::new(&[("base", BASE), ("team", TEAM)]);
    world.label("one", &[("team", "a")]);
    let containers = json!({"containers": [
        {"name": "app", "image": format!("{SHARED}/team/app:1")},
        {"name": "side", "image": format!("{SHARED}/base/side:1")},
    ]});
    let answer = world.service.mutate(&create("one", &containers)).await;
    assert!(answer.is_injected(), "{answer:?}");
    let (base, team) = (format!("{SHARED}/base/"), format!("{SHARED}/team/"));
    assert_eq!(world.service.registries("one"), [base.as_str(), &team]);
    assert_eq!(world.holder("one", &team).unwrap(), ROLE_A);
    assert_eq!(world.holder("one", &base).unwrap(), CONTROLLER);
    // A neighbour whose name only begins alike.
    let answer = world
        .service
        .mutate(&create_with("one", &format!("{SHARED}/team-b/app:1")))
        .await;
    assert!(!answer.is_allowed());
}

#[tokio::test(start_paused = true)]
async fn rules_are_enforced_audited_and_excepted_in_the_answer() {
    let world = World::new(&[("rules", RULES)]);
    world.label("one", &[("team", "a")]);
    world.label("two", &[]);
    let latest = format!("{SHARED}/app:latest");
    let answer = world.service.mutate(&create_with("one", &latest)).await;
    insta::assert_snapshot!(answer.message(), @r#"container "app": image "999999999999.dkr.ecr.eu-west-1.amazonaws.com/app:latest" has the tag "latest", which moves, and no digest: that is refused by policy "rules" [mutable-tag]"#);
    let answer = world.service.mutate(&create_with("two", &latest)).await;
    assert!(answer.is_injected(), "{answer:?}");

    let exempt = json!({
        "serviceAccountName": "builder",
        "containers": [{"name": "app", "image": latest}, {"name": "web", "image": "nginx"}],
    });
    let answer = world.service.mutate(&create("one", &exempt)).await;
    assert!(answer.is_injected(), "{answer:?}");
    let audited = answer.0["auditAnnotations"].to_string();
    for told in [
        "exempt from mutable-tag of policy",
        "exempt from only-ecr of policy",
        "it builds what has no tag yet",
    ] {
        assert!(audited.contains(told), "{audited}");
    }
}
