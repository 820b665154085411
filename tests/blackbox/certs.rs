//! `ecr-admission certs show` and `certs rotate`, over the API server's wire protocol.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

use crate::self_managed::{
    CONFIGURATION, KINDS, NAME, SECRET, bundles, cluster, configure, is_trusted, start,
};
use crate::support::api_server::{ApiServer, Resource};
use crate::support::https::development_ca;
use crate::support::process::eventually;

async fn certs(api: &ApiServer, folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ecr-admission"));
    command
        .arg("certs")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("KUBECONFIG", api.write_kubeconfig(folder));
    command.output().await.unwrap()
}

async fn told(api: &ApiServer, args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = certs(api, folder.path(), args).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn show_tells_names_issuers_dates_and_whether_the_configurations_trust_it() {
    let (api, ecr) = cluster().await;
    configure(&api);
    let serve = start(&api, &ecr, &[]).await;
    serve.ready().await;
    let secret = format!("ours/{SECRET}");
    let (address, name) = (serve.client.address.to_string(), NAME);
    let live = ["show", "--connect", &address, "--server-name", name];
    let leaf = "names      ecr-admission, ecr-admission.ours, ecr-admission.ours.svc, \
                ecr-admission.ours.svc.cluster.local";
    for args in [&["show", "--secret", &secret][..], &live] {
        let told = told(&api, args).await;
        for part in [leaf, "issuer     CN=ecr-admission CA ", "89 days left"] {
            assert!(told.contains(part), "{part} is not in\n{told}");
        }
        assert_eq!(told.matches("\" trusts it\n").count(), 2, "{told}");
        assert!(!told.contains("PRIVATE"));
    }
    let of_secret = told(&api, &["show", "--secret", &secret]).await;
    assert!(of_secret.contains("  signs      "), "{of_secret}");

    // What is served is not what these configurations trust.
    drop(serve);
    let other = BASE64_STANDARD.encode(development_ca().ca_pem);
    api.edit(KINDS[0], "", CONFIGURATION, "helm", |configuration| {
        configuration["webhooks"][1]["clientConfig"]["caBundle"] = json!(other);
    });
    let told = told(&api, &["show", "--secret", &secret]).await;
    assert!(
        told.contains("does NOT trust it (webhook 2: invalid peer certificate"),
        "{told}"
    );
}

#[tokio::test]
async fn show_works_for_files_without_a_cluster_and_says_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let ca = development_ca();
    std::fs::write(folder.path().join("tls.crt"), &ca.cert_pem).unwrap();
    std::fs::write(folder.path().join("garbage.crt"), "garbage").unwrap();
    let run = async |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ecr-admission"));
        command
            .args(["certs", "show"])
            .args(args)
            .current_dir(folder.path())
            .env_clear();
        let output = command.env("HOME", folder.path()).output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = run(&["tls.crt"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("names      localhost") && said.contains("not asked: no cluster"),
        "{said}"
    );
    let (code, said) = run(&["garbage.crt"]).await;
    assert_eq!(
        (code, said.contains("garbage.crt holds no certificate")),
        (Some(2), true),
        "{said}"
    );
    let (code, said) = run(&["--connect", "127.0.0.1:1"]).await;
    assert_eq!(
        (code, said.contains("cannot connect to 127.0.0.1:1")),
        (Some(2), true),
        "{said}"
    );
    assert_eq!(run(&[]).await.0, Some(2));
}

#[tokio::test]
async fn rotate_now_gives_up_the_old_authority_for_good() {
    let (api, ecr) = cluster().await;
    configure(&api);
    let serve = start(&api, &ecr, &[]).await;
    serve.ready().await;
    let before = bundles(&api, KINDS[0]);
    let stolen = api.get(Resource::Secrets, "ours", SECRET).unwrap();
    let rotate = ["rotate", "--now", "--secret", "ours/ecr-admission-tls"];
    let said = told(&api, &rotate).await;
    assert!(
        said.contains("Until a replica has seen the new Secret"),
        "{said}"
    );
    let after = bundles(&api, KINDS[0]);
    assert_eq!(after, bundles(&api, KINDS[1]));
    assert_eq!(after[0].matches("BEGIN CERTIFICATE").count(), 1);
    assert!(!before[0].contains(&after[0]));
    eventually(async || is_trusted(&api, &serve).await).await;
    serve.ready().await;

    // Whoever puts the old Secret back, brings nobody to trust its authority again.
    api.edit(Resource::Secrets, "ours", SECRET, "thief", |secret| {
        secret["data"] = stolen["data"].clone();
    });
    eventually(async || {
        api.get(Resource::Secrets, "ours", SECRET).unwrap()["data"] != stolen["data"]
    })
    .await;
    eventually(async || is_trusted(&api, &serve).await).await;
    sleep(Duration::from_secs(2)).await;
    for kind in KINDS {
        assert!(!bundles(&api, kind)[0].contains(&before[0]));
    }
}

#[tokio::test]
async fn rotate_in_good_order_announces_and_the_replicas_do_the_rest() {
    let (api, ecr) = cluster().await;
    configure(&api);
    let serve = start(&api, &ecr, &["--tls-propagation", "2s"]).await;
    serve.ready().await;
    let before = bundles(&api, KINDS[0]);
    let said = told(&api, &["rotate", "--secret", "ours/ecr-admission-tls"]).await;
    assert!(said.starts_with("Announced authority "), "{said}");
    let again = told(&api, &["rotate", "--secret", "ours/ecr-admission-tls"]).await;
    assert!(again.contains("announced before"), "{again}");
    eventually(async || serve.log().contains("replaced the authority and the leaf")).await;
    assert!(is_trusted(&api, &serve).await);
    assert!(
        bundles(&api, KINDS[0])[0].contains(&before[0]),
        "the old one is trusted on"
    );
}
