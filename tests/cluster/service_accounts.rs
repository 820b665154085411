//! The ServiceAccount mode: what it does, what the policy keeps our account from doing, and what Pods get by it.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::ecr::EcrDouble;
use crate::harness::control_plane::{ControlPlane, Said};
use crate::harness::install::{apply, install_permissions, manifest};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{eventually, run};

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
const REFUSAL: &str =
    "may change nothing of a ServiceAccount but whether its imagePullSecrets name";

async fn install(plane: &ControlPlane) {
    install_permissions(plane).await;
    for name in ["service-accounts-policy.yaml", "service-accounts.yaml"] {
        apply(plane, manifest(name)).await;
    }
}

async fn replica(plane: &ControlPlane, ecr: &EcrDouble, name: &str, mode: &str) -> Webhook {
    let settings = Settings::files(&plane.folder);
    let chosen = ["--service-accounts", "*", "--service-account-mode", mode];
    let settings = settings.with(chosen.map(Into::into));
    Webhook::start_with(plane, ecr, name, settings).await
}

fn account(name: &str, pull_secrets: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": {"example.com/kept": "yes"}},
        "automountServiceAccountToken": false,
        "imagePullSecrets": pull_secrets,
    })
}

/// The names in a ServiceAccount's list.
async fn names(namespace: &Namespace<'_>, account: &str) -> Vec<String> {
    let path = namespace.path(&format!("serviceaccounts/{account}"));
    let account = namespace.api().get(&path).await.unwrap();
    let list = account["imagePullSecrets"].as_array();
    let names = list
        .into_iter()
        .flatten()
        .map(|entry| entry["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

#[test]
fn two_replicas_put_our_entry_in_and_take_it_out_again_and_nothing_else_changes() {
    run(async {
        let plane = ControlPlane::start("service-accounts").await;
        install(&plane).await;
        let ecr = EcrDouble::start().await;
        let before = Namespace::create(&plane, "before").await;
        let theirs = account("builder", &json!([{"name": "theirs"}]));
        let accounts = before.path("serviceaccounts");
        before.api().create(&accounts, &theirs).await.unwrap();
        let out = Namespace::create(&plane, "out").await;
        let label = json!({"metadata": {"labels": {"ecr-admission.dev/admission": "disabled"}}});
        plane
            .api
            .merge("/api/v1/namespaces/out", &label)
            .await
            .unwrap();

        let replicas = [
            replica(&plane, &ecr, "adding-a", "Add").await,
            replica(&plane, &ecr, "adding-b", "Add").await,
        ];
        let created = (0..20).map(|number| Namespace::create(&plane, format!("new-{number}")));
        let created = join_all(created).await;
        for namespace in created.iter().chain([&before]) {
            eventually("the default ServiceAccount names our Secret", async || {
                names(namespace, "default").await == [SECRET]
            })
            .await;
        }
        eventually("so does one with an entry of its own", async || {
            names(&before, "builder").await == ["theirs", SECRET]
        })
        .await;
        let builder = before
            .api()
            .get(&before.path("serviceaccounts/builder"))
            .await
            .unwrap();
        assert_eq!(
            builder["metadata"]["annotations"],
            theirs["metadata"]["annotations"]
        );
        assert_eq!(builder["automountServiceAccountToken"], false);
        assert!(names(&out, "default").await.is_empty());
        let kube_system = Namespace::of(&plane, "kube-system");
        assert!(names(&kube_system, "default").await.is_empty());
        pods_get_it_without_a_webhook(&created[0]).await;
        strict_service_accounts_allow_it(&created[1], &out).await;
        let [a, b] = &replicas;
        let failed = r#"ecr_admission_service_account_writes_total{result="refused""#;
        assert_eq!((a.counted(failed).await, b.counted(failed).await), (0, 0));

        // Opting out later takes it away.
        let label = json!({"metadata": {"labels": {"ecr-admission.dev/admission": "disabled"}}});
        plane
            .api
            .merge("/api/v1/namespaces/new-2", &label)
            .await
            .unwrap();
        eventually("it is gone where a namespace opts out", async || {
            names(&created[2], "default").await.is_empty()
        })
        .await;
        drop(replicas);

        let _removing = [
            replica(&plane, &ecr, "removing-a", "Remove").await,
            replica(&plane, &ecr, "removing-b", "Remove").await,
        ];
        for namespace in &created {
            eventually("our entry is gone", async || {
                names(namespace, "default").await.is_empty()
            })
            .await;
        }
        eventually("and the other stays", async || {
            names(&before, "builder").await == ["theirs"]
        })
        .await;
    });
}

/// No webhook is registered here at all.
async fn pods_get_it_without_a_webhook(namespace: &Namespace<'_>) {
    // The API server's admission learns of a changed ServiceAccount a moment later.
    eventually(
        "a Pod gets our Secret from its ServiceAccount",
        async || {
            let name = format!("app-{}", fastrand::u32(..));
            let pod = namespace.run(&name, IMAGE).await;
            pull_secrets(&pod) == [SECRET]
        },
    )
    .await;
}

/// A ServiceAccount that limits what its Pods may name allows the Secrets in its `imagePullSecrets`; being in `secrets`
/// is not needed.
async fn strict_service_accounts_allow_it(named: &Namespace<'_>, unnamed: &Namespace<'_>) {
    let strict = json!({"metadata": {"annotations": {ENFORCE: "true"}}});
    for namespace in [named, unnamed] {
        let path = namespace.path("serviceaccounts/default");
        namespace.api().merge(&path, &strict).await.unwrap();
    }
    let mut spec = one_container(IMAGE);
    spec["imagePullSecrets"] = json!([{"name": SECRET}]);
    // As ServiceAccounts of this kind demand of every volume.
    spec["automountServiceAccountToken"] = json!(false);
    eventually(
        "it is refused where the ServiceAccount does not name it",
        async || {
            let name = format!("strict-{}", fastrand::u32(..));
            let refusal = unnamed.create_pod(&name, &spec).await.err();
            refusal.is_some_and(|refusal| {
                refusal
                    .message
                    .contains("does not reference that imagePullSecret")
            })
        },
    )
    .await;
    eventually(
        "it is allowed where the ServiceAccount names it",
        async || {
            let name = format!("strict-{}", fastrand::u32(..));
            named.create_pod(&name, &spec).await.is_ok()
        },
    )
    .await;
}

struct Bench<'a> {
    namespace: Namespace<'a>,
    token: String,
}

impl Bench<'_> {
    async fn patch(&self, operations: &Value, more: &[&str]) -> Said {
        let operations = operations.to_string();
        let patch = [
            "patch",
            "serviceaccount",
            "victim",
            "--type=json",
            "-p",
            &operations,
        ];
        let arguments = [&patch[..], &["--token", &self.token], more].concat();
        self.namespace.kubectl(&arguments, "").await
    }

    /// Whether our account is told that it may not, by the policy.
    async fn is_refused(&self, operations: &Value) -> bool {
        let said = self.patch(operations, &[]).await;
        assert!(
            said.ok || said.err.contains(REFUSAL),
            "{operations}: {said:?}"
        );
        !said.ok
    }
}

#[test]
fn without_the_policy_our_account_could_take_any_aws_role_and_with_it_only_our_entry_changes() {
    run(async {
        let plane = ControlPlane::start("service-accounts-policy").await;
        install_permissions(&plane).await;
        apply(&plane, manifest("service-accounts.yaml")).await;
        let bench = Bench {
            namespace: Namespace::create(&plane, "attacked").await,
            token: plane.token().await,
        };
        let victim = account("victim", &json!([{"name": "theirs"}, {"name": "more"}]));
        let accounts = bench.namespace.path("serviceaccounts");
        plane.api.create(&accounts, &victim).await.unwrap();
        let role = json!([{
            "op": "add",
            "path": "/metadata/annotations/eks.amazonaws.com~1role-arn",
            "value": "arn:aws:iam::123456789012:role/admin",
        }]);
        assert!(
            !bench.is_refused(&role).await,
            "it succeeds without the policy"
        );

        apply(&plane, manifest("service-accounts-policy.yaml")).await;
        let other = json!([{"op": "add", "path": "/metadata/annotations/other", "value": "x"}]);
        eventually("the policy holds", async || {
            !bench.patch(&other, &["--dry-run=server"]).await.ok
        })
        .await;
        let path = format!("{accounts}/victim");
        let before = plane.api.get(&path).await.unwrap();
        for attempt in [
            other,
            json!([{"op": "remove", "path": "/metadata/annotations"}]),
            json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
            json!([{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/held"]}]),
            json!([{"op": "add", "path": "/secrets", "value": [{"name": SECRET}]}]),
            json!([{"op": "replace", "path": "/automountServiceAccountToken", "value": true}]),
            json!([{"op": "remove", "path": "/automountServiceAccountToken"}]),
            json!([{"op": "add", "path": "/imagePullSecrets/-", "value": {"name": "another"}}]),
            json!([{"op": "remove", "path": "/imagePullSecrets/0"}]),
            json!([{"op": "remove", "path": "/imagePullSecrets"}]),
            json!([{"op": "replace", "path": "/imagePullSecrets", "value": [{"name": "more"}, {"name": "theirs"}]}]),
            json!([{"op": "replace", "path": "/imagePullSecrets", "value": [{"name": SECRET}]}]),
        ] {
            assert!(bench.is_refused(&attempt).await, "{attempt}");
        }
        assert_eq!(plane.api.get(&path).await.unwrap(), before);

        let add = json!([{"op": "add", "path": "/imagePullSecrets/-", "value": {"name": SECRET}}]);
        assert!(!bench.is_refused(&add).await);
        assert_eq!(
            names(&bench.namespace, "victim").await,
            ["theirs", "more", SECRET]
        );
        let remove = json!([{"op": "remove", "path": "/imagePullSecrets/2"}]);
        assert!(!bench.is_refused(&remove).await);
        assert_eq!(names(&bench.namespace, "victim").await, ["theirs", "more"]);

        // It was never given these, and the policy would not allow them either.
        for attempt in [
            "create serviceaccount x",
            "delete serviceaccount victim",
            "create token victim",
        ] {
            let arguments: Vec<&str> = attempt
                .split(' ')
                .chain(["--token", &bench.token])
                .collect();
            let said = bench.namespace.kubectl(&arguments, "").await;
            assert!(
                said.err.contains("Forbidden") || said.err.contains("forbidden"),
                "{said:?}"
            );
        }
    });
}
