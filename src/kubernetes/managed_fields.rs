//! Who last wrote a Secret's data, by `metadata.managedFields`.
//!
//! Source: the API reference of ManagedFieldsEntry. A manager that changes a field's value takes the field away from
//! all others; one that applies the same value shares it. `time` moves whenever its manager changes a value.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::secret::{DataWriter, FIELD_MANAGER};

/// The field of `data` that holds a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenField {
    /// Of a pull Secret.
    DockerConfig,
    /// Of Argo CD's repository Secrets.
    Password,
}

/// One entry of `managedFields`: a manager, and which of the fields that we ask for it owns.
#[derive(Clone, Deserialize)]
pub(super) struct ManagedFieldsEntry {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    time: Option<Timestamp>,
    #[serde(default, rename = "fieldsV1")]
    fields: Option<Fields>,
}

#[derive(Clone, Deserialize)]
struct Fields {
    #[serde(default, rename = "f:data")]
    data: Option<DataFields>,
}

#[derive(Clone, Deserialize)]
struct DataFields {
    // DATA_KEY, as fieldsV1 spells it.
    #[serde(default, rename = "f:.dockerconfigjson")]
    docker_config: Option<IgnoredAny>,
    #[serde(default, rename = "f:password")]
    password: Option<IgnoredAny>,
}

impl ManagedFieldsEntry {
    fn owns(&self, field: TokenField) -> bool {
        let data = self.fields.as_ref().and_then(|fields| fields.data.as_ref());
        data.is_some_and(|data| match field {
            TokenField::DockerConfig => data.docker_config.is_some(),
            TokenField::Password => data.password.is_some(),
        })
    }
}

/// Whether we own that field, under whichever operation, and since when.
pub(super) fn data_writer(entries: &[ManagedFieldsEntry], field: TokenField) -> DataWriter {
    let mut owners = entries.iter().filter(|entry| entry.owns(field)).peekable();
    if owners.peek().is_none() {
        return DataWriter::Untracked;
    }
    owners
        .filter(|entry| entry.manager == FIELD_MANAGER)
        .map(|entry| entry.time)
        .max()
        .map_or(DataWriter::SomebodyElse, |at| DataWriter::Us { at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(managed_fields: &str) -> DataWriter {
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_str(managed_fields).unwrap();
        data_writer(&entries, TokenField::DockerConfig)
    }

    fn us(at: &str) -> DataWriter {
        DataWriter::Us {
            at: Some(at.parse().unwrap()),
        }
    }

    const OURS: &str = r#"{"manager":"ecr-admission","operation":"Update","apiVersion":"v1",
        "time":"2026-11-21T08:00:00Z","fieldsType":"FieldsV1","fieldsV1":{
        "f:data":{".":{},"f:.dockerconfigjson":{}},
        "f:metadata":{"f:annotations":{".":{},"f:ecr-admission.dev/state":{}}},"f:type":{}}}"#;
    const APPLIED: &str = r#"{"manager":"ecr-admission","operation":"Apply","apiVersion":"v1",
        "time":"2026-11-21T09:30:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:.dockerconfigjson":{}}}}"#;
    const OURS_WITHOUT_DATA: &str = r#"{"manager":"ecr-admission","operation":"Update","apiVersion":"v1",
        "time":"2026-11-21T08:00:00Z","fieldsType":"FieldsV1","fieldsV1":{
        "f:metadata":{"f:annotations":{"f:ecr-admission.dev/state":{}}},"f:type":{}}}"#;
    const EDITED: &str = r#"{"manager":"kubectl-edit","operation":"Update","apiVersion":"v1",
        "time":"2026-11-21T10:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:.dockerconfigjson":{}}}}"#;
    const LABELLED: &str = r#"{"manager":"kubectl-label","operation":"Update","apiVersion":"v1",
        "time":"2026-11-21T10:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:team":{}}}}}"#;
    const OTHER_KEY: &str = r#"{"manager":"kubectl-patch","operation":"Update","apiVersion":"v1",
        "time":"2026-11-21T10:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:extra":{}}}}"#;
    const NO_TIME: &str = r#"{"manager":"ecr-admission","operation":"Update","apiVersion":"v1",
        "fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:.dockerconfigjson":{}}}}"#;

    #[test]
    fn data_is_ours_while_an_entry_of_ours_owns_it() {
        let eight = us("2026-11-21T08:00:00Z");
        let half_past_nine = us("2026-11-21T09:30:00Z");
        for (case, entries, expected) in [
            ("our update", vec![OURS], eight),
            ("somebody labelled it", vec![OURS, LABELLED], eight),
            ("somebody added a key", vec![OTHER_KEY, OURS], eight),
            ("repaired by apply", vec![APPLIED, LABELLED], half_past_nine),
            ("applied, then updated", vec![APPLIED, OURS], half_past_nine),
            ("shared with an equal value", vec![EDITED, OURS], eight),
            ("no time kept", vec![NO_TIME], DataWriter::Us { at: None }),
            (
                "edited by somebody",
                vec![OURS_WITHOUT_DATA, EDITED],
                DataWriter::SomebodyElse,
            ),
            (
                "nothing about data",
                vec![OURS_WITHOUT_DATA, OTHER_KEY],
                DataWriter::Untracked,
            ),
            ("cleared", vec!["{}"], DataWriter::Untracked),
            ("absent", vec![], DataWriter::Untracked),
        ] {
            let entries = format!("[{}]", entries.join(","));
            assert_eq!(writer(&entries), expected, "{case}");
        }
    }

    #[test]
    fn each_kind_of_secret_has_its_own_field() {
        let edited = OURS.replace("f:.dockerconfigjson", "f:password");
        let entries = format!("[{edited},{EDITED}]");
        let entries: Vec<ManagedFieldsEntry> = serde_json::from_str(&entries).unwrap();
        let writer = |field| data_writer(&entries, field);
        assert_eq!(writer(TokenField::Password), us("2026-11-21T08:00:00Z"));
        assert_eq!(writer(TokenField::DockerConfig), DataWriter::SomebodyElse);
    }
}
