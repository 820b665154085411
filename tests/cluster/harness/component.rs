//! A process that ends with us.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Starts a program, tells its process id, waits until its own stdin ends, and kills the program. Its stdin is a pipe
/// that only we hold, so it ends when we do, however that happens: nothing that a test starts outlives the tests.
const LEASH: &str =
    r#""$@" >>"$COMPONENT_LOG" 2>&1 </dev/null & echo $!; cat >/dev/null; kill -9 $!; wait"#;

/// A running program, killed when dropped. Its output is in a file.
pub(crate) struct Component {
    leash: Child,
    id: u32,
    log: PathBuf,
}

/// Resident memory in MiB: now, and the most that there has been.
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) most: f64,
}

impl Component {
    /// Starts `command` (program, arguments, environment; the rest is ours) with its output appended to `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Self {
        let mut leashed = Command::new("/bin/sh");
        leashed
            .args(["-c", LEASH, "leash"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("COMPONENT_LOG", log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C must reach us alone, or the leash would die before it has killed the program.
            .process_group(0);
        for (name, value) in command.get_envs() {
            leashed.env(name, value.unwrap());
        }
        let mut leash = leashed.spawn().unwrap();
        let mut id = String::new();
        let mut said = BufReader::new(leash.stdout.take().unwrap());
        said.read_line(&mut id).unwrap();
        Self {
            id: id.trim().parse().unwrap(),
            leash,
            log: log.to_owned(),
        }
    }

    /// Sends a signal, named as `kill` names it.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.id.to_string())
            .status();
        assert!(sent.unwrap().success());
    }

    /// Fails, with what it said, when it has ended by itself.
    pub(crate) fn must_run(&self) {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.id));
        // Until the leash reaps it, what has ended is a zombie.
        let runs = state.is_ok_and(|state| !state.contains(") Z "));
        assert!(runs, "it has ended:\n{}", self.log());
    }

    /// The processor time that it has used so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap();
        // Behind its name, which may hold anything: the fields from the third on (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks: f64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<f64>().unwrap())
            .sum();
        // Linux shows times to programs in hundredths of a second on every machine.
        ticks / 100.0
    }

    /// What it has in memory.
    pub(crate) fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
            kibibytes.parse::<f64>().unwrap() / 1_024.0
        };
        Memory {
            resident: field("VmRSS:"),
            most: field("VmHWM:"),
        }
    }

    /// All that it has said so far.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        // It has nothing left to do but to kill and to end.
        let _ = self.leash.wait();
    }
}
