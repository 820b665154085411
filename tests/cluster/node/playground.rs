//! The same cluster, for a person.

use std::path::{Path, PathBuf};

use super::in_machine;
use super::machine::Machine;
use super::pods::{in_phase, never_told};
use super::tenants::{OF_A, OF_B, PASSWORDS, POLICIES, Tenants};
use crate::harness::control_plane::{ControlPlane, Said, kubernetes, said};
use crate::harness::namespace::{Namespace, REGISTRY};

/// What the person reads. The names in capitals are replaced.
const WELCOME: &str = include_str!("../fixtures/welcome.txt");
/// What the welcome says of a command that fails.
const REFUSED: &str = "# refused";

#[test]
#[ignore = "stays until it is interrupted: tests/cluster/run playground"]
fn stays() {
    in_machine(async |machine| {
        let (_tenants, welcome) = open(machine).await;
        println!("{welcome}");
        std::future::pending::<()>().await;
    });
}

#[test]
fn every_command_of_its_welcome_does_what_is_said_there() {
    in_machine(async |machine| {
        let plane = &machine.plane;
        let (tenants, welcome) = open(machine).await;
        let (kubectl, commands) = commands(&welcome);
        let mut outputs = Vec::new();
        for command in commands {
            let said = shell(plane, &format!("{kubectl}\n{command}")).await;
            assert_ne!(said.ok, command.contains(REFUSED), "{command}: {said:?}");
            outputs.extend([said.out, said.err]);
        }
        let outputs = outputs.join("\n");
        for shown in [
            "[full-reference]",
            "[granted]",
            "arn:aws:iam::222222222222:role/ecr-team-b",
            "ecr-admission.dev/expires-at",
            "a policy that grants a role must say to which namespaces",
        ] {
            assert!(outputs.contains(shown), "{shown} is not in\n{outputs}");
        }
        for (_, password) in PASSWORDS {
            assert!(!outputs.contains(password), "{outputs}");
        }

        for name in ["demo", "team-a", "team-b"] {
            let namespace = Namespace::existing(plane, name);
            in_phase(&namespace, "app", "Running").await;
            never_told(&namespace, "app", "Failed").await;
        }
        for ((tenant, password), image) in PASSWORDS.into_iter().zip([OF_A, OF_B]) {
            let (host, _) = image.split_once('/').unwrap();
            let passwords = Namespace::existing(plane, tenant).passwords().await;
            let own = (host.to_owned(), password.to_owned());
            assert_eq!(passwords, [own].into(), "{tenant}");
        }
        let pulled = PASSWORDS.map(|(tenant, of)| (format!("{tenant}/app"), of.to_owned()));
        assert_eq!(tenants.front.tried(), pulled.into());

        tenants.leave(machine).await;
        plane.api.delete("/api/v1/namespaces/demo").await.unwrap();
    });
}

/// Makes what the welcome speaks of, and says it.
async fn open(machine: &Machine) -> (Tenants, String) {
    let plane = &machine.plane;
    machine.registry.vary("stand-in:v1", "team/app:v1").await;
    Namespace::create(plane, "demo").await;
    let tenants = Tenants::settle(machine).await;
    let policies = plane.folder.join("tenants.yaml");
    std::fs::write(&policies, POLICIES).unwrap();
    let kubectl = write_kubectl(&plane.folder);
    let welcome = WELCOME
        .replace("KUBECTL", kubectl.to_str().unwrap())
        .replace("TENANTS", policies.to_str().unwrap())
        .replace("REGISTRY", REGISTRY)
        .replace("OF-A", OF_A)
        .replace("OF-B", OF_B)
        .replace("LOGS", plane.folder.to_str().unwrap());
    (tenants, welcome)
}

/// A kubectl that first enters the network that the API server is in.
fn write_kubectl(folder: &Path) -> PathBuf {
    let path = folder.join("kubectl");
    let folder = folder.display();
    let enter = format!(
        "#!/bin/sh\nserver=$(pgrep -o -f 'kube-apiserver.*{folder}')\n\
         exec nsenter --net=/proc/$server/ns/net env KUBECONFIG={folder}/admin.kubeconfig {} \"$@\"\n",
        kubernetes("kubectl").display(),
    );
    std::fs::write(&path, enter).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).unwrap();
    path
}

/// The indented lines: the one that says which kubectl, and those that use it.
fn commands(welcome: &str) -> (&str, Vec<&str>) {
    let mut lines = welcome.lines().filter_map(|line| line.strip_prefix("  "));
    (lines.next().unwrap(), lines.collect())
}

/// As somebody's shell does it.
async fn shell(plane: &ControlPlane, script: &str) -> Said {
    let path = PathBuf::from(std::env::var_os("PATH").unwrap());
    let variables = [("PATH", &path), ("HOME", &plane.folder)];
    said(Path::new("/bin/sh"), &["-c", script], variables, "").await
}
