//! What holds however policies combine.

use ecr_admission::policy::compile::compile;
use ecr_admission::policy::decide::identity_of_key;
use ecr_admission::policy::spec::EcrPolicySpec;
use ecr_admission::policy::{
    Action, Compiled, Credential, Isolation, Labels, Policy, PolicySet, Rule, Unreadable, decide,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const IMAGES: [&str; 6] = [
    "a/x:1",
    "a/x/y:1",
    "a:1",
    "b/x:1",
    "ab/x:1",
    "b/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
];
const REPOSITORIES: [&str; 8] = ["**", "a/*", "a/**", "a", "b/x", "a/x", "*", "a*/x"];

fn compiled(name: &str, spec: &Value) -> Option<Compiled> {
    let spec: EcrPolicySpec = serde_json::from_value(spec.clone()).unwrap();
    compile(name, &spec).ok()
}

fn policy(set: Vec<Compiled>) -> Policy {
    PolicySet::new(Policy::default(), set, Vec::new()).in_namespace("n", &Labels::new())
}

fn is_granted(policy: &Policy, image: &str) -> bool {
    let decision = decide(policy, image);
    !decision
        .into_findings()
        .any(|finding| finding.rule == Rule::NotGranted)
}

fn action() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Audit", "Warn", "Enforce"])
}

/// A policy that selects every namespace under test: some repositories, by the controller, by one of two roles, or by
/// the nodes; and perhaps a demand.
fn spec() -> impl Strategy<Value = Value> {
    let repositories = prop::sample::subsequence(REPOSITORIES.to_vec(), 1..3);
    let demand = prop::option::of((
        prop::sample::select(vec!["digestRequired", "tagRequired"]),
        action(),
    ));
    (repositories, 0..4_u8, demand).prop_map(|(repositories, who, demand)| {
        let mut grant = json!({"registries": ["123456789012"], "repositories": repositories});
        match who {
            0 => {}
            1 => grant["credentials"] = json!("Skip"),
            role => {
                grant["role"] = json!({"arn": format!("arn:aws:iam::123456789012:role/{role}")});
            }
        }
        let mut spec = json!({"namespaces": {"names": ["n"]}, "grants": [grant]});
        if let Some((rule, action)) = demand {
            spec["validation"] = json!({rule: {"action": action}});
        }
        spec
    })
}

fn specs() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(spec(), 1..5)
}

fn all(specs: &[Value]) -> Vec<Compiled> {
    let named = specs.iter().enumerate();
    named
        .filter_map(|(at, spec)| compiled(&format!("p{at}"), spec))
        .collect()
}

proptest! {
    #[test]
    fn grants_are_the_union_but_for_conflicts(specs in specs()) {
        let each = all(&specs);
        prop_assume!(!each.is_empty());
        let together = policy(each.clone());
        for image in IMAGES {
            let image = format!("{HOST}/{image}");
            let alone = each.iter().any(|one| is_granted(&policy(vec![one.clone()]), &image));
            let granted = is_granted(&together, &image);
            prop_assert!(!granted || alone, "{} is granted by nobody", image);
            if together.combined.conflicts().is_empty() {
                prop_assert_eq!(granted, alone, "{}", image);
            }
        }
    }

    #[test]
    fn an_image_is_pulled_as_some_policy_alone_would_and_a_key_has_one_identity(specs in specs()) {
        let each = all(&specs);
        let together = policy(each.clone());
        let mut by_key = std::collections::BTreeMap::new();
        for image in IMAGES {
            let image = format!("{HOST}/{image}");
            let Credential::Secret { key, identity, .. } = decide(&together, &image).credential else {
                continue;
            };
            let of_key = identity_of_key(&together, key).map(|(_, identity)| identity);
            prop_assert_eq!(of_key, Some(identity), "{}", key);
            let known = by_key.entry(key.to_owned()).or_insert_with(|| identity.clone());
            prop_assert_eq!(&*known, identity, "two identities for {}", key);
            let somebody = each.iter().any(|one| {
                let alone = policy(vec![one.clone()]);
                matches!(decide(&alone, &image).credential, Credential::Secret { identity: by, .. } if by == identity)
            });
            prop_assert!(somebody || each.is_empty(), "{} by {}", image, identity);
        }
    }

    #[test]
    fn of_demands_the_strictest_wins_in_any_order(specs in specs(), seed in any::<u64>()) {
        let each = all(&specs);
        let together = policy(each.clone());
        let mut shuffled = each.clone();
        let by = usize::try_from(seed % 7).unwrap();
        shuffled.rotate_left(by % each.len().max(1));
        prop_assert_eq!(&policy(shuffled), &together, "the order of files or of a list does not matter");
        for image in IMAGES {
            let image = format!("{HOST}/{image}");
            let strictest = |policy: &Policy| {
                let findings = decide(policy, &image).into_findings();
                let demands = findings.filter(|finding| finding.rule != Rule::NotGranted);
                demands.map(|finding| finding.action).max()
            };
            let alone = each.iter().filter_map(|one| strictest(&policy(vec![one.clone()]))).max();
            prop_assert_eq!(strictest(&together), alone, "{}", image);
        }
    }

    /// Taking a policy away, or making it unreadable, never lets an image be pulled by a role or by the controller that
    /// was not pulled so before, as long as another policy with a role is left.
    #[test]
    fn a_lost_policy_never_widens_access_to_what_only_it_withheld(specs in specs()) {
        let each = all(&specs);
        let anchor = compiled("z", &json!({
            "namespaces": {"names": ["elsewhere"]},
            "grants": [{"registries": ["*"], "role": {"arn": "arn:aws:iam::123456789012:role/z"}}],
        })).unwrap();
        for lost in 0..each.len() {
            let mut left = each.clone();
            let gone = left.remove(lost);
            left.push(anchor.clone());
            let unreadable = Unreadable::new(gone.name(), None, Some(&gone));
            let broken = PolicySet::new(Policy::default(), left.clone(), vec![unreadable]);
            let broken = broken.in_namespace("n", &Labels::new());
            let deleted = policy(left);
            for image in IMAGES {
                let image = format!("{HOST}/{image}");
                prop_assert!(!is_granted(&broken, &image));
                let others = each.iter().enumerate().any(|(at, one)| {
                    at != lost && is_granted(&policy(vec![one.clone()]), &image)
                });
                prop_assert!(others || !is_granted(&deleted, &image), "{}", image);
            }
        }
    }
}

#[test]
fn a_policy_is_isolated_when_nobody_else_gets_tokens_of_its_roles() {
    let role = |name: &str| json!({"arn": format!("arn:aws:iam::123456789012:role/{name}")});
    let grant = |name: &str, role: Option<Value>| {
        let mut grant = json!({"registries": ["123456789012"]});
        if let Some(role) = role {
            grant["role"] = role;
        }
        compiled(
            name,
            &json!({"namespaces": {"names": [name]}, "grants": [grant]}),
        )
        .unwrap()
    };
    let nodes = json!({"grants": [{"registries": ["*"], "credentials": "Skip"}]});
    let set = vec![
        grant("own", Some(role("own"))),
        grant("shared-1", Some(role("shared"))),
        grant("shared-2", Some(role("shared"))),
        grant("controller", None),
        compiled("nodes", &nodes).unwrap(),
    ];
    let set = PolicySet::new(Policy::default(), set, Vec::new());
    let found: Vec<String> = set
        .policies()
        .iter()
        .map(|policy| match Isolation::among(set.policies(), policy) {
            Isolation::NothingGranted => format!("{}: nothing granted", policy.name()),
            Isolation::Isolated => format!("{}: isolated", policy.name()),
            Isolation::Shared(why) => format!("{}: shared, {why}", policy.name()),
        })
        .collect();
    insta::assert_snapshot!(found.join("\n"), @r#"
    controller: shared, it grants the identity of ecr-admission itself, whose token opens all that this may pull
    nodes: nothing granted
    own: isolated
    shared-1: shared, policy "shared-2" grants arn:aws:iam::123456789012:role/shared too
    shared-2: shared, policy "shared-1" grants arn:aws:iam::123456789012:role/shared too
    "#);
}

#[test]
fn a_namespace_may_refuse_pods_as_soon_as_one_rule_is_enforced() {
    let audit = Policy {
        action: Action::Audit,
        ..Policy::default()
    };
    let enforcing = |spec: Value| {
        let set = PolicySet::new(
            audit.clone(),
            vec![compiled("p", &spec).unwrap()],
            Vec::new(),
        );
        let here = set.in_namespace("n", &Labels::new()).is_enforcing();
        assert_eq!(here, set.may_enforce());
        here
    };
    assert!(!enforcing(
        json!({"action": "Warn", "validation": {"digestRequired": {}}})
    ));
    assert!(enforcing(
        json!({"action": "Warn", "validation": {"digestRequired": {"action": "Enforce"}}})
    ));
    assert!(enforcing(json!({"validation": {"references": {}}})));
    assert!(enforcing(json!({"grants": [{"registries": ["*"]}]})));
    assert!(!enforcing(
        json!({"grants": [{"registries": ["*"]}], "validation": {"granted": {"action": "Audit"}}})
    ));
}
