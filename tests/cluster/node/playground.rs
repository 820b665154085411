//! The same cluster, for a person.

use super::in_machine;
use crate::harness::control_plane::kubernetes;
use crate::harness::namespace::REGISTRY;

/// What the person reads. The names in capitals are replaced.
const WELCOME: &str = include_str!("../fixtures/welcome.txt");

#[test]
#[ignore = "stays until it is interrupted: tests/cluster/run playground"]
fn stays() {
    in_machine(async |machine| {
        machine.registry.vary("stand-in:v1", "team/app:v1").await;
        let kubectl = machine.plane.folder.join("kubectl");
        // Into the network that the API server is in.
        let folder = machine.plane.folder.display();
        let enter = format!(
            "#!/bin/sh\nserver=$(pgrep -o -f 'kube-apiserver.*{folder}')\n\
             exec nsenter --net=/proc/$server/ns/net env KUBECONFIG={folder}/admin.kubeconfig {} \"$@\"\n",
            kubernetes("kubectl").display(),
        );
        std::fs::write(&kubectl, enter).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&kubectl, executable).unwrap();
        let welcome = WELCOME
            .replace("KUBECTL", kubectl.to_str().unwrap())
            .replace("REGISTRY", REGISTRY)
            .replace("LOGS", machine.plane.folder.to_str().unwrap());
        println!("{welcome}");
        std::future::pending::<()>().await;
    });
}
