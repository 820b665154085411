//! What the container image says about itself, in the two files that say it.

use std::collections::HashSet;
use std::fs;

use serde_json::Value;

fn read(name: &str) -> String {
    fs::read_to_string(format!("{}/image/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_dockerfile_and_the_build_without_an_engine_run_the_same_program_as_the_same_user() {
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    let dockerfile = read("Dockerfile");
    let last_stage = dockerfile.split("FROM scratch\n").nth(1).unwrap();
    let said = |instruction: &str| {
        let mut lines = last_stage.lines();
        lines.find_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '))
    };
    for (instruction, field) in [("ENTRYPOINT", "Entrypoint"), ("CMD", "Cmd")] {
        let list: Value = serde_json::from_str(said(instruction).unwrap()).unwrap();
        assert_eq!(list, config[field], "{instruction}");
    }
    for (instruction, field) in [("USER", "User"), ("WORKDIR", "WorkingDir")] {
        assert_eq!(said(instruction), config[field].as_str(), "{instruction}");
    }
    let exposed = said("EXPOSE").unwrap().split(' ');
    let exposed: Vec<String> = exposed.map(|port| format!("{port}/tcp")).collect();
    let ports = config["ExposedPorts"].as_object().unwrap();
    assert_eq!(exposed, ports.keys().cloned().collect::<Vec<_>>());
}

#[test]
fn the_dockerfile_puts_the_same_two_files_there_as_the_build_without_an_engine() {
    // Who changes one of these changes the other, and the pair here.
    let pairs = [
        (
            r#"install -m 555 "$("$here/binary" "${PROFILE:-fat}" "$arch")" "$stage/$arch/ecr-admission""#,
            r#"install -m 555 "$(image/binary fat "$TARGETARCH")" /image/ecr-admission"#,
        ),
        (
            "authorities=/etc/ssl/certs/ca-certificates.crt\n",
            "COPY --from=build --chmod=444 /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt\n",
        ),
        (
            r#"install -m 444 $authorities "$stage/authorities$authorities""#,
            "COPY --from=build /image/ecr-admission /ecr-admission\n",
        ),
    ];
    let (build, dockerfile) = (read("build"), read("Dockerfile"));
    for (without_engine, by_engine) in pairs {
        assert!(build.contains(without_engine), "{without_engine}");
        assert!(dockerfile.contains(by_engine), "{by_engine}");
    }
    assert_eq!(build.matches("install -m").count(), 2, "and no other");
    let (_, last_stage) = dockerfile.split_once("FROM scratch\n").unwrap();
    assert_eq!(last_stage.matches("COPY ").count(), 2, "and no other");
}

#[test]
fn the_layout_that_the_dockerfile_gives_out_is_what_the_build_without_an_engine_made() {
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains("\nRUN image/build /layout \"$TARGETARCH\"\n"));
    let stages = dockerfile.split("\nFROM ");
    let mut layout = stages.filter_map(|stage| stage.strip_prefix("scratch AS layout\n"));
    assert_eq!(layout.next().unwrap(), "COPY --from=build /layout /\n");
    assert!(
        !dockerfile.contains("PROFILE"),
        "what is shipped, as image/build does unless told"
    );
}

#[test]
fn the_dockerfile_builds_with_the_toolchain_of_the_checkout_and_what_image_binary_needs() {
    let (dockerfile, toolchain) = (read("Dockerfile"), read("../rust-toolchain.toml"));
    let toolchain = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "));
    let version = toolchain.unwrap().trim_matches('"');
    let base = format!("FROM --platform=linux/amd64 rust:{version}-bookworm AS build\n");
    assert!(dockerfile.contains(&base), "{base}");
    let compiler = "apt-get install gcc-aarch64-linux-gnu";
    assert!(read("binary").contains(compiler), "{compiler}");
    assert!(dockerfile.contains("gcc-aarch64-linux-gnu libc6-dev-arm64-cross\n"));
    let ignored = read("../.dockerignore");
    for folder in ["target", ".git"] {
        assert!(ignored.lines().any(|line| line == folder), "{folder}");
    }
}

#[test]
fn the_image_runs_as_the_user_that_the_chart_says() {
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    let values: Value = serde_saphyr::from_str(&read("../manifests/chart/values.yaml")).unwrap();
    let user = &values["podSecurityContext"];
    let expected = format!("{}:{}", user["runAsUser"], user["runAsGroup"]);
    assert_eq!(config["User"], expected.as_str());
}

#[test]
fn the_order_has_each_function_once_by_the_name_of_any_build_and_admissions_before_the_start() {
    let order = read("order");
    let lines: Vec<&str> = order.lines().collect();
    let distinct: HashSet<&str> = lines.iter().copied().collect();
    assert_eq!(distinct.len(), lines.len());
    for line in &lines {
        let (name, size) = line.split_once(' ').unwrap();
        let has_hash = name.starts_with("_ZN") && name.contains("17h") && name.ends_with('E');
        assert!(!has_hash, "{name}");
        assert!(usize::from_str_radix(size, 16).is_ok(), "{line}");
    }
    let place = |part: &str| lines.iter().position(|line| line.contains(part));
    let (admission, start) = (place("5admit9Admission6finish"), place("12clap_builder"));
    assert!(admission.unwrap() < start.unwrap());
}
