//! Merging new entries into what a Secret holds: nothing of others is lost, and what comes out is always readable.

use std::collections::{BTreeMap, HashSet};

use ecr_admission::clock::add;
use ecr_admission::pull_secret::docker_config::DockerConfig;
use ecr_admission::pull_secret::merge::{Current, MOST_ENTRIES};
use ecr_admission::pull_secret::{Merge, NewEntry, SecretContent, State, merge};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::mint::LIFE;
use crate::support::service::START as NOW;

fn new<'a>(key: &'a str, password: &'a str) -> NewEntry<'a> {
    NewEntry {
        key,
        password,
        issued_at: NOW,
        expires_at: add(NOW, LIFE),
        identity: "controller",
        generation: 0,
        used_at: NOW,
    }
}

fn written(merged: Merge) -> SecretContent {
    match merged {
        Merge::Write(content) => content,
        other => panic!("{other:?}"),
    }
}

/// The `auths` of a document, each entry as its JSON text.
fn auths(document: &str) -> BTreeMap<String, Value> {
    let document: Value = serde_json::from_str(document).unwrap();
    serde_json::from_value(document["auths"].clone()).unwrap()
}

/// An entry of the state that expires so many minutes from now; of a later version on demand.
fn state_entry(minutes: i64, newer: bool) -> Value {
    if newer {
        return json!({"v": 9, "lease": minutes});
    }
    let expires_at: Timestamp = NOW + SignedDuration::from_mins(minutes);
    json!({"v": 1, "issuedAt": NOW.to_string(), "expiresAt": expires_at.to_string(), "identity": "controller", "generation": 0})
}

/// A Secret's state and data. Some keys are only in one of them, as after an edit.
fn contents() -> impl Strategy<Value = (Value, Value)> {
    let entry = (-60_i64..720, prop::bool::weighted(0.2), 0..10_u8);
    prop::collection::btree_map("[a-f]{1,2}", entry, 0..12).prop_map(|entries| {
        let (mut state, mut config) = (json!({"entries": {}, "beside": 1}), json!({"auths": {}}));
        for (key, (minutes, newer, place)) in entries {
            if place != 0 {
                state["entries"][&key] = state_entry(minutes, newer);
            }
            if place != 1 {
                config["auths"][&key] = json!({"auth": "QVdTOmI=", "note": minutes});
            }
        }
        (state, config)
    })
}

proptest! {
    #[test]
    fn live_and_unknown_entries_of_others_are_kept_to_the_byte(
        (state, config) in contents(),
        keys in prop::collection::hash_set("[a-f]{1,2}", 1..4),
    ) {
        let (state_text, config_text) = (state.to_string(), config.to_string());
        let current = Current {
            state: Some(&state_text),
            docker_config: Some(config_text.as_bytes()),
            trusted: true,
            revoked: &[],
        };
        let news: Vec<NewEntry<'_>> = keys.iter().map(|key| new(key, "pass")).collect();
        let content = written(merge(current, &news, None, NOW));
        let document = content.docker_config.expose_secret();

        let after = auths(document);
        let state_after: Value = serde_json::from_str(&content.state).unwrap();
        let of_state: Vec<&String> = state_after["entries"].as_object().unwrap().keys().collect();
        prop_assert_eq!(of_state, after.keys().collect::<Vec<_>>());
        prop_assert_eq!(&state_after["beside"], &json!(1));
        for (key, entry) in state["entries"].as_object().unwrap() {
            if keys.contains(key) {
                continue;
            }
            let lives = entry["expiresAt"]
                .as_str()
                .is_none_or(|at| at.parse::<Timestamp>().unwrap() > NOW);
            let kept = lives && config["auths"].get(key).is_some();
            prop_assert_eq!(after.contains_key(key), kept, "{}", key);
            if kept {
                let text = config["auths"][key].to_string();
                prop_assert!(document.contains(&text), "{} in {}", text, document);
                prop_assert_eq!(&state_after["entries"][key], entry);
            }
        }
        for key in &keys {
            prop_assert_eq!(&after[key], &json!({"auth": "QVdTOnBhc3M="}));
        }
    }

    #[test]
    fn whatever_is_there_what_is_written_can_be_read(
        state in "\\PC{0,60}", config in "\\PC{0,60}", key in "\\PC{0,10}", password in "[!-~]{1,20}",
        wrapped in any::<bool>(),
    ) {
        let config = if wrapped { format!("{{\"auths\":{{\"a\":{config}}}}}") } else { config };
        let current = Current {
            state: Some(&state),
            docker_config: Some(config.as_bytes()),
            trusted: true,
            revoked: &[],
        };
        let content = written(merge(current, &[new(&key, &password)], None, NOW));
        prop_assert!(auths(content.docker_config.expose_secret()).contains_key(&key));
        let state = State::parse(Some(&content.state));
        prop_assert_eq!(state.known().map(|(key, _)| key).collect::<Vec<_>>(), [key.as_str()]);
    }
}

#[test]
fn of_data_that_somebody_else_wrote_nothing_is_kept() {
    let state = json!({"entries": {"a": state_entry(60, false), "b": state_entry(0, true)}});
    let current = Current {
        state: Some(&state.to_string()),
        docker_config: Some(br#"{"auths":{"a":{"auth":"QVdTOmI="},"b":{}}}"#),
        trusted: false,
        revoked: &[],
    };
    let content = written(merge(current, &[new("c", "pass")], None, NOW));
    let document = content.docker_config.expose_secret();
    assert_eq!(auths(document).into_keys().collect::<Vec<_>>(), ["c"]);
}

#[test]
fn at_the_cap_what_no_pod_uses_gives_way_soonest_expiry_first() {
    let key = |n: usize| format!("{n:02}.example");
    let mut state = json!({"entries": {}});
    let mut config = DockerConfig::default();
    for n in 0..MOST_ENTRIES {
        let minutes = 60 + i64::try_from((n * 7) % MOST_ENTRIES).unwrap();
        state["entries"][key(n)] = state_entry(minutes, n == 1);
        config.insert(&key(n), "old");
    }
    let (state, config) = (state.to_string(), config.render());
    let current = Current {
        state: Some(&state),
        docker_config: Some(config.expose_secret().as_bytes()),
        trusted: true,
        revoked: &[],
    };
    let merged =
        |in_use: Option<&HashSet<String>>| merge(current, &[new("new", "pass")], in_use, NOW);

    assert!(matches!(merged(None), Merge::Full));
    // 0 expires first and is in use, 1 is of a version that we do not know; 55 is next: 55 * 7 % 64 is 1.
    let content = written(merged(Some(&HashSet::from([key(0)]))));
    let after = auths(content.docker_config.expose_secret());
    assert_eq!(after.len(), MOST_ENTRIES);
    let has = |n| after.contains_key(&key(n));
    assert!(has(0) && has(1) && !has(55) && after.contains_key("new"));

    let all: HashSet<String> = (0..MOST_ENTRIES).map(key).collect();
    assert!(matches!(merged(Some(&all)), Merge::Exhausted));
    // An entry that is there already takes no room.
    assert!(matches!(
        merge(current, &[new(&key(5), "pass")], None, NOW),
        Merge::Write(_)
    ));
}

#[test]
fn a_path_s_entry_is_in_use_where_its_host_is() {
    let mut state = json!({"entries": {}});
    let mut config = DockerConfig::default();
    for n in 0..MOST_ENTRIES {
        let key = format!("host/team-{n}/");
        state["entries"][&key] = state_entry(60, false);
        config.insert(&key, "old");
    }
    let (state, config) = (state.to_string(), config.render());
    let current = Current {
        state: Some(&state),
        docker_config: Some(config.expose_secret().as_bytes()),
        trusted: true,
        revoked: &[],
    };
    let in_use = HashSet::from(["host".to_owned()]);
    assert!(matches!(
        merge(current, &[new("new", "p")], Some(&in_use), NOW),
        Merge::Exhausted
    ));
}

#[test]
fn a_document_that_would_be_too_large_for_a_secret_is_not_written() {
    let password = "x".repeat(800_000);
    let merged = merge(Current::default(), &[new("a", &password)], None, NOW);
    assert!(matches!(merged, Merge::Exhausted));
}
