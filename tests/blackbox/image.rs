//! What the container image says about itself, in the two files that say it.

use std::fs;

use serde_json::Value;

fn read(name: &str) -> String {
    fs::read_to_string(format!("{}/image/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_dockerfile_and_the_build_without_an_engine_run_the_same_program_as_the_same_user() {
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    let dockerfile = read("Dockerfile");
    let last_stage = dockerfile.split("FROM scratch").nth(1).unwrap();
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
fn the_image_runs_as_the_user_that_the_chart_says() {
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    let values: Value = serde_saphyr::from_str(&read("../manifests/chart/values.yaml")).unwrap();
    let user = &values["podSecurityContext"];
    let expected = format!("{}:{}", user["runAsUser"], user["runAsGroup"]);
    assert_eq!(config["User"], expected.as_str());
}
