//! What the API server checks of an object before it is stored.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use super::objects::{Key, Resource};
use super::status::Status;

/// What pkg/apis/core/validation/events.go asks of a new Event, as far as we could break it.
pub(super) fn check_event(key: &Key, value: &Value) -> Result<(), Status> {
    if key.0 != Resource::Events {
        return Ok(());
    }
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let bounded = |field: &str| (1..=128).contains(&text(field).len());
    for field in [
        "reportingController",
        "reportingInstance",
        "action",
        "reason",
    ] {
        if !bounded(field) {
            let cause = "must have 1 to 128 characters";
            return Err(Status::invalid("Event", &key.2, field, cause));
        }
    }
    // About what is in no namespace.
    let namespace = value["regarding"]["namespace"]
        .as_str()
        .unwrap_or("default");
    let now: Result<jiff::Timestamp, _> = text("eventTime").parse();
    let sound = [
        ("eventTime", now.is_ok()),
        ("note", text("note").len() <= 1024),
        ("type", matches!(text("type"), "Normal" | "Warning")),
        ("regarding", namespace == key.1),
        ("metadata.name", (1..=253).contains(&key.2.len())),
    ];
    match sound.into_iter().find(|(_, sound)| !sound) {
        Some((field, _)) => Err(Status::invalid("Event", &key.2, field, "Invalid value")),
        None => Ok(()),
    }
}

pub(super) fn check_secret(key: &Key, value: &Value) -> Result<(), Status> {
    if key.0 != Resource::Secrets {
        return Ok(());
    }
    if value["type"] == "kubernetes.io/tls" {
        let missing = ["tls.crt", "tls.key"]
            .into_iter()
            .find(|key| !value["data"][*key].is_string());
        let Some(missing) = missing else {
            return Ok(());
        };
        let field = format!("data[{missing}]");
        return Err(Status::invalid("Secret", &key.2, &field, "Required value"));
    }
    if value["type"] != "kubernetes.io/dockerconfigjson" {
        return Ok(());
    }
    let field = "data[.dockerconfigjson]";
    let Some(encoded) = value["data"][".dockerconfigjson"].as_str() else {
        return Err(Status::invalid("Secret", &key.2, field, "Required value"));
    };
    let Ok(decoded) = BASE64_STANDARD.decode(encoded) else {
        return Err(Status::new(
            400,
            "BadRequest",
            "illegal base64 data at input byte 0",
        ));
    };
    if serde_json::from_slice::<Map<String, Value>>(&decoded).is_err() {
        let cause = "Invalid value: \"<secret contents redacted>\": invalid character";
        return Err(Status::invalid("Secret", &key.2, field, cause));
    }
    if decoded.len() > 1024 * 1024 {
        let cause = "Too long: may not be more than 1048576 bytes";
        return Err(Status::invalid("Secret", &key.2, "data", cause));
    }
    Ok(())
}
