//! What was measured, for people: printed, and written into `results/`.

use std::fmt::Write as _;
use std::path::Path;

use ecr_admission::clock::Clock;

/// One file of `results/`.
pub(crate) struct Report {
    name: &'static str,
    text: String,
}

impl Report {
    /// Starts one, with the date, the commit and the machine as it is now, before it is loaded.
    pub(crate) fn new(name: &'static str, title: &str) -> Self {
        let now = Clock::system().now().strftime("%Y-%m-%d %H:%M UTC");
        // `tests/cluster/run --full` says which; without it nothing is recorded.
        let commit =
            std::env::var("CLUSTER_COMMIT").unwrap_or_else(|_| "unknown commit".to_owned());
        let machine = machine();
        let text = format!("# {title}\n\n{now}, {commit}; {machine}.\n");
        Self { name, text }
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").unwrap();
    }

    /// Prints it, and keeps it where it is to be kept.
    pub(crate) fn publish(mut self) {
        let load = one_line("/proc/loadavg");
        let load = load.split(' ').next().unwrap_or_default();
        self.line(&format!(
            "\nLoad average of the machine at the end: {load}."
        ));
        println!("{}", self.text);
        if let Ok(folder) = std::env::var("CLUSTER_RESULTS") {
            let path = Path::new(&folder).join(format!("{}.md", self.name));
            std::fs::write(path, self.text).unwrap();
        }
    }
}

/// Its shape: nothing that would name it.
fn machine() -> String {
    let cores = std::thread::available_parallelism().unwrap();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&processors, "model name").unwrap_or("of unknown make");
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
    let gibibytes = memory.unwrap_or(0u64) >> 20;
    let kernel = one_line("/proc/sys/kernel/osrelease");
    let kernel = kernel.split('-').next().unwrap_or_default();
    let load = one_line("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let kubernetes = std::env::var("CLUSTER_KUBERNETES_VERSION").unwrap_or_default();
    format!(
        "{cores} cores ({model}), {gibibytes} GiB, Linux {kernel}; Kubernetes {kubernetes}; load average before it {load}"
    )
}

/// What stands behind `name` and a colon.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn one_line(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}
