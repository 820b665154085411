//! `metadata.managedFields`: who wrote which field last.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// A field by its path, such as `["data", ".dockerconfigjson"]`.
type Path = Vec<String>;

struct Entry {
    manager: String,
    operation: &'static str,
    time: String,
    fields: BTreeSet<Path>,
}

/// The managers of one object. Nothing is tracked between a clearing and the next apply.
#[derive(Default)]
pub(crate) struct ManagedFields {
    entries: Vec<Entry>,
    cleared: bool,
}

/// The fields of an object whose owners are kept apart, with their values.
fn leaves(object: &Value) -> BTreeMap<Path, Value> {
    let mut leaves = BTreeMap::new();
    for parent in [
        &["data"][..],
        &["metadata", "annotations"],
        &["metadata", "labels"],
    ] {
        let children = parent.iter().try_fold(object, |at, key| at.get(key));
        for (key, value) in children.and_then(Value::as_object).into_iter().flatten() {
            let mut path: Path = parent.iter().map(|part| (*part).to_owned()).collect();
            path.push(key.clone());
            leaves.insert(path, value.clone());
        }
    }
    for key in ["type", "immutable", "spec"] {
        if let Some(value) = object.get(key) {
            leaves.insert(vec![key.to_owned()], value.clone());
        }
    }
    leaves
}

impl ManagedFields {
    /// A create, update or patch by `manager`: what it changes becomes its own.
    pub(crate) fn update(&mut self, before: &Value, after: &Value, manager: &str, now: &str) {
        if self.cleared {
            return;
        }
        let (before, after) = (leaves(before), leaves(after));
        let changed: BTreeSet<Path> = after
            .iter()
            .filter(|(path, value)| before.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        let gone = before.keys().filter(|path| !after.contains_key(*path));
        self.take_away(&changed.iter().chain(gone).cloned().collect());
        if !changed.is_empty() {
            let entry = self.entry(manager, "Update", now);
            entry.fields.extend(changed);
        }
    }

    /// The managers that own fields which applying `config` would change.
    pub(crate) fn apply_conflicts(&self, before: &Value, config: &Value, manager: &str) -> bool {
        let changed = differing(before, config);
        self.entries
            .iter()
            .filter(|entry| entry.manager != manager || entry.operation != "Apply")
            .any(|entry| !entry.fields.is_disjoint(&changed))
    }

    /// A server-side apply of `config` with force.
    pub(crate) fn apply(&mut self, before: &Value, config: &Value, manager: &str, now: &str) {
        if self.entries.is_empty() && before.is_object() {
            self.entry("before-first-apply", "Update", now).fields =
                leaves(before).into_keys().collect();
        }
        self.cleared = false;
        self.take_away(&differing(before, config));
        self.entry(manager, "Apply", now).fields = leaves(config).into_keys().collect();
    }

    /// What an update to `managedFields: [{}]` does.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.cleared = true;
    }

    fn take_away(&mut self, fields: &BTreeSet<Path>) {
        for entry in &mut self.entries {
            entry.fields.retain(|field| !fields.contains(field));
        }
        self.entries.retain(|entry| !entry.fields.is_empty());
    }

    fn entry(&mut self, manager: &str, operation: &'static str, now: &str) -> &mut Entry {
        let found = self
            .entries
            .iter()
            .position(|entry| entry.manager == manager && entry.operation == operation);
        let at = found.unwrap_or_else(|| {
            self.entries.push(Entry {
                manager: manager.to_owned(),
                operation,
                time: String::new(),
                fields: BTreeSet::new(),
            });
            self.entries.len() - 1
        });
        now.clone_into(&mut self.entries[at].time);
        &mut self.entries[at]
    }

    pub(crate) fn render(&self) -> Value {
        self.entries.iter().map(Entry::render).collect()
    }
}

fn differing(before: &Value, config: &Value) -> BTreeSet<Path> {
    let before = leaves(before);
    leaves(config)
        .into_iter()
        .filter(|(path, value)| before.get(path).is_some_and(|old| old != value))
        .map(|(path, _)| path)
        .collect()
}

impl Entry {
    fn render(&self) -> Value {
        let mut fields = Map::new();
        for path in &self.fields {
            let mut at = &mut fields;
            for part in path {
                at = at
                    .entry(format!("f:{part}"))
                    .or_insert_with(|| json!({}))
                    .as_object_mut()
                    .expect("fieldsV1 holds objects only");
            }
        }
        json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": "v1",
            "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": fields,
        })
    }
}
