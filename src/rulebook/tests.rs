use std::collections::HashSet;

use super::*;
use crate::namespace::Namespace;
use crate::policy::spec::EcrPolicySpec;
use crate::policy::{Labels, compile};
use crate::watch::Mirror;

fn set(team: &str) -> PolicySet {
    let spec = format!(
        "{{namespaces: {{matchLabels: {{team: {team}}}}}, grants: [{{registries: [\"123456789012\"]}}]}}"
    );
    let spec: EcrPolicySpec = serde_saphyr::from_str(&spec).unwrap();
    let compiled = compile("tenant", &spec).unwrap();
    PolicySet::new(Policy::default(), vec![compiled], Vec::new())
}

fn labelled(team: &str) -> Namespace {
    Namespace {
        labels: Arc::new(Labels::from([("team".to_owned(), team.to_owned())])),
        ..Namespace::default()
    }
}

#[test]
fn namespaces_that_the_same_policies_select_share_what_is_compiled_until_something_changes() {
    let namespaces = Arc::new(NamespaceIndex::with_labels());
    for (name, team) in [("one", "a"), ("two", "a"), ("three", "b")] {
        namespaces.apply(name, labelled(team));
    }
    let rulebook = Rulebook::new(set("a"), Arc::clone(&namespaces), Arc::new(NothingLive));
    let ruling = |name: &str| rulebook.ruling(name).unwrap();
    assert!(Arc::ptr_eq(&ruling("one"), &ruling("two")));
    assert!(Arc::ptr_eq(&ruling("one"), &ruling("one")));
    assert!(*ruling("one") != *ruling("three"));
    assert!(rulebook.ruling("unheard-of").is_none());

    let before = ruling("three");
    namespaces.apply("three", labelled("a"));
    assert!(*ruling("three") != *before && Arc::ptr_eq(&ruling("three"), &ruling("one")));
    let mut changes = rulebook.changes();
    rulebook.replace(set("b"));
    assert!(changes.has_changed().unwrap() && *ruling("one") == *before);
    changes.mark_unchanged();
    namespaces.listed(&HashSet::new(), "2");
    assert!(rulebook.ruling("one").is_none() && !changes.has_changed().unwrap());
}

#[test]
fn without_policies_the_same_holds_in_namespaces_that_nobody_has_heard_of() {
    let rulebook = Rulebook::everywhere(Policy::default());
    assert_eq!(*rulebook.ruling("anything").unwrap(), Policy::default());
    let granted = rulebook.grants("anything");
    let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    assert!(granted(host, "controller") && !granted(host, "somebody"));
    assert!(!granted("docker.io", "controller"));
}
