//! The table of layers in lib.rs, which is the one truth about them.

use super::source::read;

struct Module {
    name: String,
    /// `0`, `1`, `2a`, …: an import goes to a lower digit, or stays in its layer.
    layer: String,
}

/// The modules in the order of the table.
pub(super) struct Layers(Vec<Module>);

impl Layers {
    pub(super) fn of_lib() -> Self {
        let lib = read("src/lib.rs");
        let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | "));
        let mut modules = Vec::new();
        for row in rows {
            let mut cells = row.split(" | ");
            let (Some(layer), Some(list)) = (cells.next(), cells.next()) else {
                continue;
            };
            let layer = layer.split(' ').next().unwrap();
            let linked = list
                .split_whitespace()
                .filter_map(|name| name.strip_prefix("[`")?.strip_suffix("`]"));
            modules.extend(linked.map(|name| Module {
                name: name.to_owned(),
                layer: layer.to_owned(),
            }));
        }
        Self(modules)
    }

    /// In the order of the alphabet.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.iter().map(|module| module.name.clone()).collect();
        names.sort();
        names
    }

    /// Whether `module` may import `other`.
    pub(super) fn allow(&self, module: &str, other: &str) -> bool {
        if module == other || module == "lib" {
            return true;
        }
        let (Some((at, own)), Some((to, named))) = (self.place(module), self.place(other)) else {
            return false;
        };
        if own.layer == named.layer {
            to < at
        } else {
            named.layer[..1] < own.layer[..1]
        }
    }

    pub(super) fn is_domain(&self, module: &str) -> bool {
        self.place(module)
            .is_some_and(|(_, module)| module.layer == "0")
    }

    fn place(&self, name: &str) -> Option<(usize, &Module)> {
        let mut modules = self.0.iter().enumerate();
        modules.find(|(_, module)| module.name == name)
    }
}

/// The modules that lib.rs declares, in the order of the alphabet.
pub(super) fn declared() -> Vec<String> {
    let lib = read("src/lib.rs");
    let lines = lib.lines();
    let names = lines.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn a_layer_reaches_down_and_back_but_neither_up_nor_sideways() {
    let layers = Layers::of_lib();
    for (module, other) in [
        ("admit", "secret"),
        ("policy", "image"),
        ("aws", "token"),
        ("server", "admit"),
        ("image", "image"),
    ] {
        assert!(layers.allow(module, other), "{module} -> {other}");
    }
    for (module, other) in [
        ("image", "policy"),
        ("token", "secret"),
        ("server", "aws"),
        ("clock", "nowhere"),
    ] {
        assert!(!layers.allow(module, other), "{module} -> {other}");
    }
}
