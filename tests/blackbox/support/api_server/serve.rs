//! HTTP: paths to verbs, queries to answers, changes to watch streams.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, header};
use serde_json::{Value, json};

use super::objects::{Key, Resource, key};
use super::pages::position;
use super::status::Status;
use super::watcher::watch;
use super::{Fault, Received, Shared, Verb};

/// A request, understood.
pub(super) struct Call {
    verb: Verb,
    pub(super) resource: Resource,
    namespace: Option<String>,
    name: Option<String>,
    query: Vec<(String, String)>,
    pub(super) metadata_only: bool,
    json_patch: bool,
}

impl Call {
    fn parse(request: &Request<Incoming>) -> Option<Self> {
        let path: Vec<&str> = request.uri().path().split('/').skip(1).collect();
        let (resource, namespace, name) = match path.as_slice() {
            ["api", "v1", resource] | ["apis", _, "v1" | "v1alpha1", resource] => {
                (*resource, None, None)
            }
            [
                "apis",
                "admissionregistration.k8s.io" | "apiextensions.k8s.io",
                "v1",
                resource,
                name,
            ]
            | [
                "apis",
                "ecr-admission.dev",
                "v1alpha1",
                resource,
                name,
                "status",
            ] => (*resource, None, Some(*name)),
            ["api", "v1", "namespaces", name] => ("namespaces", None, Some(*name)),
            ["api", "v1", "namespaces", namespace, resource]
            | [
                "apis",
                "events.k8s.io" | "apps" | "batch",
                "v1",
                "namespaces",
                namespace,
                resource,
            ] => (*resource, Some(*namespace), None),
            ["api", "v1", "namespaces", namespace, resource, name] => {
                (*resource, Some(*namespace), Some(*name))
            }
            _ => return None,
        };
        let query: Vec<(String, String)> =
            serde_urlencoded(request.uri().query().unwrap_or_default());
        let header = |name| {
            let value = request.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let watch = query
            .iter()
            .any(|(key, value)| key == "watch" && value == "true");
        let verb = match (request.method().as_str(), name) {
            ("GET", Some(_)) => Verb::Get,
            ("GET", None) if watch => Verb::Watch,
            ("GET", None) => Verb::List,
            ("POST", None) => Verb::Create,
            ("PATCH", Some(_)) if header(header::CONTENT_TYPE).contains("apply-patch") => {
                Verb::Apply
            }
            ("PATCH", Some(_)) => Verb::Patch,
            ("DELETE", Some(_)) => Verb::Delete,
            _ => return None,
        };
        Some(Self {
            verb,
            resource: Resource::named(resource)?,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            query,
            metadata_only: header(header::ACCEPT).contains("as=PartialObjectMetadata"),
            json_patch: header(header::CONTENT_TYPE).contains("json-patch+json"),
        })
    }

    pub(super) fn query(&self, wanted: &str) -> &str {
        let found = self.query.iter().find(|(key, _)| key == wanted);
        found.map_or("", |(_, value)| value)
    }

    fn manager(&self) -> &str {
        match self.query("fieldManager") {
            "" => "unknown",
            manager => manager,
        }
    }

    fn key(&self) -> Key {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        key(
            self.resource,
            namespace,
            self.name.as_deref().unwrap_or_default(),
        )
    }

    /// Whether an object is in this list or watch, by namespace and field selector.
    pub(super) fn selects(&self, key: &Key, object: &Value) -> bool {
        let (resource, namespace, name) = key;
        let in_namespace = self
            .namespace
            .as_ref()
            .is_none_or(|wanted| wanted == namespace);
        let mut terms = self
            .query("fieldSelector")
            .split(',')
            .filter(|term| !term.is_empty());
        *resource == self.resource
            && in_namespace
            && terms.all(
                |term| match term.split_once("!=").or_else(|| term.split_once('=')) {
                    Some(("metadata.name", wanted)) => wanted == name,
                    Some(("status.phase", unwanted)) => object["status"]["phase"] != unwanted,
                    _ => false,
                },
            )
    }

    /// The object as this caller asked for it.
    pub(super) fn view(&self, object: &Value) -> Value {
        if self.metadata_only {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
        } else {
            object.clone()
        }
    }

    /// What an account may do whose Role pins names: list and watch only what it may also get.
    fn authorize(&self) -> Result<(), Status> {
        let selector = self.query("fieldSelector");
        let pinned = matches!(
            self.resource,
            Resource::Secrets
                | Resource::Events
                | Resource::MutatingWebhookConfigurations
                | Resource::ValidatingWebhookConfigurations
        );
        if pinned
            && matches!(self.verb, Verb::List | Verb::Watch)
            && !selector.starts_with("metadata.name=")
        {
            let resource = self.resource.plural();
            let message = format!(
                "{resource} is forbidden: User \"ecr-admission\" cannot list resource \"{resource}\" at the cluster scope"
            );
            return Err(Status::new(403, "Forbidden", &message));
        }
        Ok(())
    }
}

fn serde_urlencoded(query: &str) -> Vec<(String, String)> {
    let uri: axum::http::Uri = format!("/?{query}")
        .parse()
        .expect("a query of a valid request");
    axum::extract::Query::try_from_uri(&uri)
        .map(|axum::extract::Query(pairs)| pairs)
        .unwrap_or_default()
}

/// Answers a request; `Err` closes the connection without an answer.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let Some(call) = Call::parse(&request) else {
        return Ok(failure(&Status::unknown_resource()));
    };
    let received = Received {
        verb: call.verb,
        resource: call.resource,
        namespace: call.namespace.clone(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    };
    let fault = shared.receive(received);
    let body = request.into_body().collect().await;
    let body = body.map_err(std::io::Error::other)?.to_bytes();
    match fault {
        Some(Fault::Drop) => return Err(std::io::Error::other("dropped on demand")),
        Some(Fault::Refuse {
            code,
            reason,
            message,
        }) => {
            return Ok(failure(&Status::new(code, &reason, &message)));
        }
        Some(Fault::Answer(text)) => return Ok(Response::new(Body::from(text))),
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        None => {}
    }
    Ok(answer(&shared, call, &body).unwrap_or_else(|status| failure(&status)))
}

fn failure(status: &Status) -> Response<Body> {
    let mut response = success(&status.body);
    *response.status_mut() = axum::http::StatusCode::from_u16(status.code).expect("a status code");
    response
}

fn success(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn answer(shared: &Arc<Shared>, call: Call, body: &Bytes) -> Result<Response<Body>, Status> {
    call.authorize()?;
    if call.resource == Resource::EcrPolicies && shared.objects().no_policies {
        return Err(Status::unknown_resource());
    }
    let parse = || {
        serde_json::from_slice::<Value>(body)
            .map_err(|error| Status::new(400, "BadRequest", &error.to_string()))
    };
    let namespace = call.namespace.as_deref().unwrap_or_default();
    let written = match call.verb {
        Verb::List => return list(shared, &call).map(|list| success(&list)),
        Verb::Watch => return watch(shared, call),
        Verb::Get => shared.objects().get(&call.key())?,
        Verb::Create => {
            let object = parse()?;
            shared
                .write(|objects| objects.create(call.resource, namespace, object, call.manager()))?
        }
        Verb::Patch if call.json_patch => {
            let patch: json_patch::Patch = serde_json::from_value(parse()?)
                .map_err(|error| Status::new(400, "BadRequest", &error.to_string()))?;
            let mut patched = shared.objects().get(&call.key())?;
            json_patch::patch(&mut patched, &patch)
                .map_err(|error| Status::new(422, "Invalid", &error.to_string()))?;
            // In between somebody else may have written, as on a real server; then the version differs.
            let replace = |object: &mut Value| *object = patched;
            shared.write(|objects| objects.update(&call.key(), call.manager(), replace))?
        }
        Verb::Patch => {
            let patch = parse()?;
            let merge = |object: &mut Value| json_patch::merge(object, &patch);
            shared.write(|objects| objects.update(&call.key(), call.manager(), merge))?
        }
        Verb::Apply => {
            let config = parse()?;
            let force = call.query("force") == "true";
            shared.write(|objects| objects.apply(&call.key(), call.manager(), force, config))?
        }
        Verb::Delete => {
            let options = if body.is_empty() {
                Value::Null
            } else {
                parse()?
            };
            shared.write(|objects| objects.delete(&call.key(), &options["preconditions"]))?;
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
        }
    };
    Ok(success(&written))
}

fn list(shared: &Shared, call: &Call) -> Result<Value, Status> {
    let objects = shared.objects();
    let asked: u64 = call.query("resourceVersion").parse().unwrap_or_default();
    if asked > objects.version {
        let message = format!(
            "Timeout: Too large resource version: {asked}, current: {}",
            objects.version
        );
        return Err(Status::new(504, "Timeout", &message));
    }
    let token = position(shared, call.query("continue"))?;
    // From the watch cache (a resourceVersion is given) there are no pages.
    let limit = match call.query("resourceVersion") {
        "" => call.query("limit").parse().unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let mut items = Vec::new();
    let mut next = Value::Null;
    let mut last = String::new();
    for (key, object) in objects.list(call.resource, call.namespace.as_deref()) {
        let position = format!("{}/{}", key.1, key.2);
        if position.as_str() <= token || !call.selects(key, &object) {
            continue;
        }
        if items.len() == limit {
            next = json!(last);
            break;
        }
        items.push(call.view(&object));
        last = position;
    }
    let kind = if call.metadata_only {
        "PartialObjectMetadata"
    } else {
        call.resource.kind()
    };
    Ok(json!({
        "kind": format!("{kind}List"),
        "apiVersion": if call.metadata_only { "meta.k8s.io/v1" } else { call.resource.api_version() },
        "metadata": {"resourceVersion": objects.version.to_string(), "continue": next},
        // Seen in 1.36: an empty list of metadata is null.
        "items": if items.is_empty() && call.metadata_only { Value::Null } else { json!(items) },
    }))
}
