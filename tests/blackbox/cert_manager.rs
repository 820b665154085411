//! The resources for cert-manager fit together, and fit our Service, our configurations and what the document says.

use serde_json::Value;

const README: &str = include_str!("../../certs/README.md");
const RESOURCES: &str = include_str!("../../certs/cert-manager.yaml");
const INJECT: &str = include_str!("../../certs/inject-ca.yaml");
const WEBHOOKS: &str = include_str!("../../manifests/webhooks.yaml");

fn objects(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// NAMESPACE/NAME.
fn identity(object: &Value) -> String {
    let part = |name: &str| object["metadata"][name].as_str().unwrap().to_owned();
    format!("{}/{}", part("namespace"), part("name"))
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found = objects.iter().filter(|object| object["kind"] == kind);
    found.collect()
}

#[test]
fn every_issuer_and_secret_that_is_named_is_there() {
    let objects = objects(RESOURCES);
    let issuers = of_kind(&objects, "Issuer");
    let certificates = of_kind(&objects, "Certificate");
    assert_eq!((issuers.len(), certificates.len()), (2, 2));
    let names: Vec<&Value> = issuers
        .iter()
        .map(|issuer| &issuer["metadata"]["name"])
        .collect();
    for certificate in &certificates {
        let issuer = &certificate["spec"]["issuerRef"];
        assert!(names.contains(&&issuer["name"]), "{issuer}");
        assert_eq!(issuer["kind"], "Issuer");
    }
    let authority = certificates.iter().find(|one| one["spec"]["isCA"] == true);
    let used = issuers
        .iter()
        .find_map(|issuer| issuer["spec"]["ca"]["secretName"].as_str());
    assert_eq!(authority.unwrap()["spec"]["secretName"], used.unwrap());
}

#[test]
fn the_certificate_is_for_the_service_that_the_api_server_calls_and_its_authority_is_injected() {
    let objects = objects(RESOURCES);
    let certificates = of_kind(&objects, "Certificate");
    let leaf = certificates
        .iter()
        .find(|one| one["spec"]["isCA"].is_null());
    let leaf = leaf.unwrap();
    let names = leaf["spec"]["dnsNames"].as_array().unwrap();
    let injected = self::objects(INJECT);
    for (webhooks, inject) in self::objects(WEBHOOKS).iter().zip(&injected) {
        assert_eq!(webhooks["kind"], inject["kind"]);
        assert_eq!(webhooks["metadata"]["name"], inject["metadata"]["name"]);
        let annotation = &inject["metadata"]["annotations"]["cert-manager.io/inject-ca-from"];
        assert_eq!(annotation, &identity(leaf));
        for webhook in webhooks["webhooks"].as_array().unwrap() {
            let service = &webhook["clientConfig"]["service"];
            let part = |name: &str| service[name].as_str().unwrap();
            let asked = format!("{}.{}.svc", part("name"), part("namespace"));
            assert!(names.contains(&asked.as_str().into()), "{asked}");
            assert!(README.contains(&format!("ECR_ADMISSION_TLS_NAMES, value: {asked}}}")));
        }
    }
    assert_eq!(injected.len(), 2);
    let secret = leaf["spec"]["secretName"].as_str().unwrap();
    assert!(README.contains(&format!("secret: {{secretName: {secret}}}")));
}
