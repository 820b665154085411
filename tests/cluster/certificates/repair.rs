//! From nothing, from what others have destroyed, and from what has long expired.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::certificate::managed::rotation::{Knowledge, Stored, propose};
use ecr_admission::certificate::managed::{Plan, State};
use ecr_admission::clock::Clock;
use jiff::SignedDuration;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{CONFIGURATIONS, SECRET, asked, bundles, pods, register, self_managed, trusted_leaf};
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::install_permissions;
use crate::harness::namespace::Namespace;
use crate::harness::webhook::Webhook;
use crate::harness::wire::Wire;
use crate::harness::{eventually, run};
use crate::pki::TestCa;

struct Scene {
    plane: ControlPlane,
    ecr: EcrDouble,
    namespace: String,
    made: AtomicUsize,
}

impl Scene {
    fn namespace(&self) -> Namespace<'_> {
        Namespace::existing(&self.plane, &self.namespace)
    }

    /// Starts two replicas at the same instant, which serve one leaf, and registers them.
    async fn two_replicas(&self, act: &str) -> ([Webhook; 2], Wire) {
        let start = async |name: String| {
            Webhook::start_with(&self.plane, &self.ecr, &name, self_managed(&[])).await
        };
        let (one, two) = tokio::join!(start(format!("{act}-a")), start(format!("{act}-b")));
        let wire = Wire::to([one.address, two.address]).await;
        register(&self.plane, &wire).await;
        asked(&self.namespace()).await;
        let leaf = trusted_leaf(&self.plane, &one).await.unwrap();
        assert_eq!(leaf, trusted_leaf(&self.plane, &two).await.unwrap());
        for replica in [&one, &two] {
            eventually("it is well", async || {
                let (_, page) = replica.admin("/readyz?verbose").await;
                !page.contains("degraded")
            })
            .await;
        }
        ([one, two], wire)
    }

    async fn secret(&self) -> Option<Value> {
        self.plane.api.get(SECRET).await.ok()
    }

    async fn bundles_are(&self, expected: &[String], what: &str) {
        let since = Instant::now();
        eventually(what, async || bundles(&self.plane).await == expected).await;
        println!("{what}: repaired in {:?}", since.elapsed());
    }
}

#[test]
fn two_replicas_start_at_once_with_nothing_or_long_expired_ones_and_repair_what_others_break() {
    run(async {
        let plane = ControlPlane::start("certificates").await;
        install_permissions(&plane).await;
        let namespace = Namespace::create(&plane, "repair").await.name;
        let scene = Scene {
            ecr: EcrDouble::start().await,
            made: AtomicUsize::new(0),
            namespace,
            plane,
        };
        assert!(scene.secret().await.is_none());
        let (replicas, _wire) = scene.two_replicas("nothing").await;
        let made = r#"ecr_admission_certificate_rotations_total{part="authority""#;
        let [one, two] = &replicas;
        assert_eq!(one.counted(made).await + two.counted(made).await, 1);

        the_secret_is_put_back_and_no_call_fails(&scene).await;
        configurations_are_repaired(&scene).await;
        drop(replicas);
        what_has_long_expired_is_replaced(&scene).await;
    });
}

async fn the_secret_is_put_back_and_no_call_fails(scene: &Scene) {
    let api = &scene.plane.api;
    let whole = scene.secret().await.unwrap();
    assert_eq!(whole["type"], "kubernetes.io/tls");
    let is_back = async || {
        let now = scene.secret().await.unwrap_or_default();
        let keys = whole["data"].as_object().unwrap().iter();
        let mut keys = keys.map(|(key, value)| now["data"][key] == *value);
        keys.all(|same| same)
    };
    let (namespace, done) = (scene.namespace(), AtomicBool::new(false));
    let breaking = async {
        api.delete(SECRET).await.unwrap();
        eventually("the deleted Secret is back", &is_back).await;
        let garbage = json!({"data": {
            "tls.crt": "Z2FyYmFnZQ==", "tls.key": "", "ca.crt": "Z2FyYmFnZQ==", "ca.key": null,
            "state.json": "e30=", "mine": "bWluZQ==",
        }});
        api.merge(SECRET, &garbage).await.unwrap();
        eventually("the overwritten Secret is back", &is_back).await;
        let now = scene.secret().await.unwrap();
        assert_eq!(now["data"]["mine"], "bWluZQ==", "keys of others stay");
        // Whoever is to be refused by a caBundle that was overwritten as well, would be by now.
        tokio::time::sleep(Duration::from_secs(2)).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(breaking, pods(&namespace, &done, &scene.made));
}

async fn configurations_are_repaired(scene: &Scene) {
    let api = &scene.plane.api;
    let right = bundles(&scene.plane).await;
    let foreign = BASE64_STANDARD.encode(TestCa::new().pem());
    let more = BASE64_STANDARD.encode(format!("{}{}", right[0], TestCa::new().pem()));
    for bundle in [json!(""), json!(foreign), json!(more)] {
        for path in CONFIGURATIONS {
            let mut edited = api.get(path).await.unwrap();
            edited["webhooks"][0]["clientConfig"]["caBundle"] = bundle.clone();
            edited["metadata"] = json!({"name": "zz-ecr-admission"});
            let edited = edited.to_string();
            let said = scene.plane.kubectl(&["replace", "-f", "-"], &edited);
            let said = said.await;
            assert!(said.ok, "{said:?}");
        }
        scene.bundles_are(&right, "an edited caBundle").await;
        asked(&scene.namespace()).await;
    }

    // As an upgrade does that knows of no caBundle, and as somebody does who deletes and applies anew.
    for delete in [false, true] {
        let mut objects = Vec::new();
        for path in CONFIGURATIONS {
            let mut object = api.get(path).await.unwrap();
            object["metadata"] = json!({"name": "zz-ecr-admission"});
            for webhook in object["webhooks"].as_array_mut().unwrap() {
                let client = webhook["clientConfig"].as_object_mut().unwrap();
                client.remove("caBundle");
            }
            objects.push(object);
            if delete {
                api.delete(path).await.unwrap();
            }
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let verb = if delete { "create" } else { "replace" };
        let said = scene.plane.kubectl(&[verb, "-f", "-"], &list).await;
        assert!(said.ok, "{said:?}");
        scene
            .bundles_are(&right, &format!("configurations after {verb}"))
            .await;
        asked(&scene.namespace()).await;
    }
}

/// A cluster that was restored from an old backup: the Secret and what the configurations trust are of the same age.
async fn what_has_long_expired_is_replaced(scene: &Scene) {
    let api = &scene.plane.api;
    let plan = Plan::for_service("ecr-admission", "ecr-admission");
    let then = Clock::system().now() - SignedDuration::from_hours(3 * 365 * 24);
    let (state, _) = propose(Stored::Nothing, &Knowledge::default(), &plan, then)
        .unwrap()
        .unwrap();
    let data = encoded(&state);
    api.merge(SECRET, &json!({"data": data})).await.unwrap();
    for path in CONFIGURATIONS {
        let mut restored = api.get(path).await.unwrap();
        for webhook in restored["webhooks"].as_array_mut().unwrap() {
            webhook["clientConfig"]["caBundle"] = data["ca.crt"].clone();
        }
        let change = json!({"webhooks": restored["webhooks"]});
        api.merge(path, &change).await.unwrap();
    }
    let (_replicas, _wire) = scene.two_replicas("expired").await;
    let now = scene.secret().await.unwrap();
    assert_ne!(now["data"]["tls.crt"], data["tls.crt"]);
}

fn encoded(state: &State) -> Value {
    let data = state.encode().into_iter();
    data.map(|(key, value)| (key, BASE64_STANDARD.encode(value.expose_secret())))
        .collect()
}
