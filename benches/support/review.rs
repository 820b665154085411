//! AdmissionReviews of a Deployment's Pod, as an API server sends them, of any size from 0.8 KB on. Nothing random.

use serde_json::{Map, Value, json};

use super::tenants;

/// Where the Pods are made.
pub(crate) const NAMESPACE: &str = "team-payments";

/// The three sizes that the promises name, in bytes.
pub(crate) const SIZES: [usize; 3] = [800, 8_700, 60_000];

const REGISTRY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// As many as a container of a common chart has; a larger Pod gets more containers.
const VARIABLES: usize = 32;
/// Where there are ten.
const VARIABLES_OF_TEN: usize = 4;
/// More than a variable takes, its managed fields included.
const VARIABLE_BYTES: usize = 250;

/// A review of a Pod's creation of at least `bytes` and hardly more.
pub(crate) fn body(bytes: usize) -> Vec<u8> {
    let small = envelope(NAMESPACE, &smallest());
    if small.len() + 1_000 > bytes {
        return small.into_bytes();
    }
    let (mut variables, mut review) = (0, envelope(NAMESPACE, &pod(0)));
    while review.len() < bytes {
        variables += 1 + (bytes - review.len()) / VARIABLE_BYTES;
        review = envelope(NAMESPACE, &pod(variables));
    }
    review.into_bytes()
}

/// A review of the creation of a tenant's Pod of ten images, in the namespace of that number.
pub(crate) fn of_tenant(number: usize) -> Vec<u8> {
    let (namespace, _) = tenants::namespace(number);
    let images = tenants::images(number).into_iter().enumerate();
    let containers: Vec<Value> = images
        .map(|(at, image)| {
            let mut container = container((at, VARIABLES_OF_TEN));
            container["image"] = json!(image);
            container
        })
        .collect();
    let mut metadata = metadata();
    metadata["namespace"] = json!(namespace);
    metadata["managedFields"] = managed_fields(&containers);
    let mut spec = spec(Vec::new());
    spec["containers"] = json!(containers);
    spec["initContainers"] = json!([]);
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec});
    envelope(&namespace, &pod).into_bytes()
}

/// As `0.8 KB`.
pub(crate) fn kilobytes(body: &[u8]) -> String {
    let tenths = (body.len() + 50) / 100;
    match tenths {
        0..100 => format!("{}.{} KB", tenths / 10, tenths % 10),
        _ => format!("{} KB", (tenths + 5) / 10),
    }
}

/// In the order in which Go writes the fields of `AdmissionRequest`: what names the request stands before its objects.
fn envelope(namespace: &str, pod: &Value) -> String {
    let kind = r#"{"group":"","version":"v1","kind":"Pod"}"#;
    let resource = r#"{"group":"","version":"v1","resource":"pods"}"#;
    let user = r#"{"username":"system:serviceaccount:kube-system:replicaset-controller","uid":"8ea51ad0-4f6a-4c0e-9d61-7f3a9dd0c9a5","groups":["system:serviceaccounts"]}"#;
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","kind":{kind},"resource":{resource},"requestKind":{kind},"requestResource":{resource},"namespace":"{namespace}","operation":"CREATE","userInfo":{user},"object":{pod},"oldObject":null,"dryRun":false,"options":{{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}}}}}}"#
    )
}

fn smallest() -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"generateName": "app-", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "app", "image": format!("{REGISTRY}/payments/app:v1.42.0")}]},
    })
}

/// A Pod whose containers have `variables` environment variables together.
fn pod(variables: usize) -> Value {
    let last = variables.saturating_sub(1) / VARIABLES;
    let counts = (0..last).map(|_| VARIABLES);
    let counts = counts.chain([variables - last * VARIABLES]);
    let containers: Vec<Value> = counts.enumerate().map(container).collect();
    let mut metadata = metadata();
    metadata["managedFields"] = managed_fields(&containers);
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": metadata,
        "spec": spec(containers),
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    })
}

fn metadata() -> Value {
    json!({
        "generateName": "app-6d4b75cb6d-",
        "namespace": NAMESPACE,
        "creationTimestamp": null,
        "labels": {
            "app.kubernetes.io/name": "app", "app.kubernetes.io/instance": "payments",
            "app.kubernetes.io/version": "v1.42.0", "pod-template-hash": "6d4b75cb6d", "team": "payments",
        },
        "annotations": {
            "checksum/config": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
            "prometheus.io/path": "/metrics", "prometheus.io/port": "9090", "prometheus.io/scrape": "true",
            "kubectl.kubernetes.io/restartedAt": "2026-11-20T16:04:11Z",
        },
        "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-6d4b75cb6d",
            "uid": "2f3ad6b1-45cf-4d5e-8f2b-6a3e21a8b0a4", "controller": true, "blockOwnerDeletion": true,
        }],
    })
}

fn spec(containers: Vec<Value>) -> Value {
    let proxy = "registry.example.com/platform/envoy:v1.33.2";
    let migrate = format!(
        "210987654321.dkr.ecr.eu-central-1.amazonaws.com/platform/migrate@sha256:{}",
        "3b1c".repeat(16)
    );
    let mut containers = containers;
    containers.push(json!({"name": "proxy", "image": proxy, "args": ["--config-path", "/etc/envoy.yaml"], "resources": {}}));
    json!({
        "volumes": [
            {"name": "config", "configMap": {"name": "app-config", "defaultMode": 420}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ]}},
        ],
        "initContainers": [{
            "name": "migrate", "image": migrate, "args": ["up"], "resources": {}, "imagePullPolicy": "IfNotPresent",
        }],
        "containers": containers,
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "serviceAccountName": "app", "serviceAccount": "app", "schedulerName": "default-scheduler", "priority": 0,
        "securityContext": {"runAsNonRoot": true, "fsGroup": 2000},
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
        "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
    })
}

fn container((number, variables): (usize, usize)) -> Value {
    let probe = |path| {
        json!({
            "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        })
    };
    json!({
        "name": format!("app-{number}"),
        "image": format!("{REGISTRY}/payments/app-{number}:v1.42.0"),
        "args": ["serve", "--listen=:8080", "--log-format=json"],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": (0..variables).map(variable).collect::<Vec<_>>(),
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/app", "readOnly": true},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
        ],
        "livenessProbe": probe("/livez"), "readinessProbe": probe("/readyz"),
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false},
    })
}

fn variable(number: usize) -> Value {
    let name = format!("APP_SETTING_{number}");
    match number % 4 {
        0 => {
            json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "app-credentials", "key": format!("setting-{number}")}}})
        }
        1 => {
            json!({"name": name, "value": format!("{{\"endpoint\": \"https://api-{number}.example.com\", \"retries\": 3}}")})
        }
        _ => json!({"name": name, "value": format!("value-of-setting-{number}")}),
    }
}

/// What `kube-controller-manager` owns: every field of the containers again, by path.
fn managed_fields(containers: &[Value]) -> Value {
    let mut by_name = Map::new();
    for container in containers {
        let mut fields = leaves(container);
        fields["f:env"] = keyed(&container["env"]);
        fields["f:volumeMounts"] = keyed(&container["volumeMounts"]);
        by_name.insert(format!("k:{{\"name\":{}}}", container["name"]), fields);
    }
    json!([{
        "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
        "time": "2026-11-21T08:15:02Z", "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {"f:annotations": {".": {}, "f:checksum/config": {}}, "f:generateName": {}, "f:labels": {".": {}}},
            "f:spec": {"f:containers": by_name, "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:securityContext": {}},
        },
    }])
}

fn leaves(object: &Value) -> Value {
    let fields = object.as_object().into_iter().flatten();
    let mut leaves: Map<String, Value> = fields
        .map(|(name, _)| (format!("f:{name}"), json!({})))
        .collect();
    leaves.insert(".".to_owned(), json!({}));
    Value::Object(leaves)
}

fn keyed(list: &Value) -> Value {
    let items = list.as_array().into_iter().flatten();
    let keyed = items.map(|item| (format!("k:{{\"name\":{}}}", item["name"]), leaves(item)));
    Value::Object(keyed.collect())
}
