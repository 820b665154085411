//! What a replica listens on and calls, beside what the chart's NetworkPolicy and docs/aws.md say. No network here enforces a
//! policy; so this looks at the sockets in the networks of the Pods.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::in_machine;
use super::machine::{API_SERVER, Machine, NAME_SERVER, TWELVE_HOURS};
use super::pods::{create, unscheduled};
use super::registry::Password;
use crate::ecr::{Answer, Reply};
use crate::harness::namespace::Namespace;

/// Of a region that no replica has a token of.
const IMAGE: &str = "123456789012.dkr.ecr.eu-south-1.amazonaws.com/team/app:v1";
/// How long a call of AWS is there to be seen; far less than an admission may take here.
const SLOW: Duration = Duration::from_secs(3);

/// States of a socket, as Linux writes them.
const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

/// One of IPv4, in the network that a process is in.
struct Socket {
    local: SocketAddrV4,
    remote: SocketAddrV4,
    state: String,
}

#[test]
fn replicas_listen_on_the_ports_of_the_network_policy_and_call_what_is_documented() {
    in_machine(async |machine| {
        let allowed = allowed_ports(machine).await;
        assert_eq!(allowed.len(), 2);
        let replicas = replicas();
        assert_eq!(replicas.len(), 2, "{replicas:?}");
        for replica in &replicas {
            assert_eq!(listened(replica), allowed, "{}", replica.display());
        }

        let usual = Answer::Token(Password::First.text().to_owned(), TWELVE_HOURS);
        machine.ecr.always(Reply {
            delay: SLOW,
            ..usual.clone().into()
        });
        let namespace = Namespace::create(&machine.plane, "ports").await;
        let mut called = BTreeSet::new();
        let looking = async {
            loop {
                called.extend(replicas.iter().flat_map(|one| called_by(one, &allowed)));
                sleep(Duration::from_millis(20)).await;
            }
        };
        let spec = unscheduled(IMAGE);
        let pod = tokio::select! {
            () = looking => unreachable!(),
            pod = create(&namespace, "app", &spec) => pod,
        };
        pod.unwrap();
        machine.ecr.always(usual);
        let api_server: SocketAddr = format!("{API_SERVER}:443").parse().unwrap();
        for expected in [api_server, machine.ecr.address] {
            assert!(called.remove(&expected), "{expected}: {called:?}");
        }
        // It is seen only while a question is open.
        called.remove(&SocketAddr::new(NAME_SERVER.into(), 53));
        assert!(called.is_empty(), "not documented: {called:?}");
    });
}

/// What the NetworkPolicy lets in, by the numbers that the Pods give its names.
async fn allowed_ports(machine: &Machine) -> BTreeSet<u16> {
    let path = "/apis/networking.k8s.io/v1/namespaces/ecr-admission/networkpolicies/ecr-admission";
    let policy = machine.plane.api.get(path).await.unwrap();
    let rules = policy["spec"]["ingress"].as_array().unwrap().iter();
    let named = rules.flat_map(|rule| rule["ports"].as_array().unwrap());
    let pod = machine.installation.pods(&machine.plane).await.remove(0);
    let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
    let number = |name: &Value| {
        let port = ports.iter().find(|port| port["name"] == *name).unwrap();
        u16::try_from(port["containerPort"].as_u64().unwrap()).unwrap()
    };
    named.map(|port| number(&port["port"])).collect()
}

/// The folders of the replicas' processes.
fn replicas() -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap();
    let folders = processes.map(|process| process.unwrap().path());
    let serves = |folder: &PathBuf| {
        let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        command.starts_with(b"/ecr-admission\0serve\0")
    };
    folders.filter(serves).collect()
}

/// The ports that are listened on in a replica's network; there is no socket of IPv6.
fn listened(replica: &Path) -> BTreeSet<u16> {
    assert!(table(replica, "tcp6").is_empty() && table(replica, "udp6").is_empty());
    let sockets = sockets(replica, "tcp").into_iter();
    let listening = sockets.filter(|socket| socket.state == LISTENING);
    listening.map(|socket| socket.local.port()).collect()
}

/// Who is at the other end of the connections of a replica that others have not made to it.
fn called_by(replica: &Path, own: &BTreeSet<u16>) -> Vec<SocketAddr> {
    let kinds = ["tcp", "udp"].into_iter();
    let sockets = kinds.flat_map(|kind| sockets(replica, kind));
    let open = sockets.filter(|socket| socket.state == ESTABLISHED);
    let called = open.filter(|socket| !own.contains(&socket.local.port()));
    called.map(|socket| socket.remote.into()).collect()
}

fn sockets(replica: &Path, kind: &str) -> Vec<Socket> {
    let lines = table(replica, kind);
    lines.iter().map(|line| Socket::parse(line)).collect()
}

/// The lines of one of the tables in `/proc/PID/net` (`proc_pid_net(5)`), without its head.
fn table(replica: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(replica.join("net").join(name)).unwrap_or_default();
    text.lines().skip(1).map(str::to_owned).collect()
}

impl Socket {
    /// Reads `0: 0100007F:1F90 00000000:0000 0A …`: addresses in the machine's order of bytes, all in hexadecimal.
    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace().skip(1);
        let mut word = || words.next().unwrap();
        let address = |text: &str| {
            let (host, port) = text.split_once(':').unwrap();
            let host = u32::from_str_radix(host, 16).unwrap().to_ne_bytes();
            let port = u16::from_str_radix(port, 16).unwrap();
            SocketAddrV4::new(Ipv4Addr::from(host), port)
        };
        Self {
            local: address(word()),
            remote: address(word()),
            state: word().to_owned(),
        }
    }
}
