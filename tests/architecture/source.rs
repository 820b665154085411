//! Reading Rust sources, as far as the checks need it: lines of code without comments, literals and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// Where a source file sits in the crate, and its code without comments, strings and tests.
pub(super) struct Source {
    /// From the crate's root, with `/`.
    pub(super) path: String,
    /// Top module, such as `image`; `lib` and `main` for the roots.
    pub(super) module: String,
    pub(super) code: String,
    pub(super) lines: usize,
}

/// Every file of `src`, without its tests.
pub(super) fn production() -> Vec<Source> {
    let all = sources("src");
    assert!(all.len() > 50, "the sources were not found");
    let test_files: Vec<String> = all.iter().flat_map(test_modules).collect();
    all.into_iter()
        .filter(|source| !test_files.contains(&source.path))
        .collect()
}

pub(super) fn sources(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    files.sort();
    files.iter().map(|file| Source::read(file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    // Not every folder that may hold sources is there.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != "target" {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let path = file.strip_prefix(root()).unwrap();
        let path = path.to_str().unwrap().replace('\\', "/");
        let module = path.split('/').nth(1).unwrap_or_default();
        Self {
            module: module.trim_end_matches(".rs").to_owned(),
            code: without_tests(&blank(&text)),
            lines: text.lines().count(),
            path,
        }
    }

    /// How many `super::` lead to the root of the crate.
    pub(super) fn depth(&self) -> usize {
        self.stem().split('/').count() - 1
    }

    /// The path of the module: `src/image/ecr`, `src/image`.
    fn stem(&self) -> &str {
        let path = self.path.strip_suffix(".rs").unwrap();
        path.strip_suffix("/mod").unwrap_or(path)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Whether a line names a word, and not just a longer one.
pub(super) fn names(line: &str, word: &str) -> bool {
    let is_part = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let open_end = word.ends_with([':', '!', '_']);
    line.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).map(|at| line.as_bytes()[at]);
        // `'static` is a lifetime.
        let after = line.as_bytes().get(at + word.len()).copied();
        !is_part(before) && before != Some(b'\'') && (open_end || !is_part(after))
    })
}

/// The top modules that a line names behind `crate::`.
pub(super) fn imports(line: &str) -> Vec<String> {
    let paths = line.match_indices("crate::");
    let tops = paths.map(|(at, path)| {
        let rest = &line[at + path.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    tops.collect()
}

/// Code in which comments and the insides of literals are blanks; lines stay where they were.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal(rest).unwrap_or(0);
        if length == 0 {
            // A whole word, so that its last letter is not read as the start of a raw string.
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let word = word.unwrap_or(rest.len()).max(first.len_utf8());
            code.push_str(&rest[..word]);
            rest = &rest[word..];
        } else {
            code.extend(
                rest[..length]
                    .chars()
                    .map(|c| if c == '\n' { c } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the comment or literal that starts here.
fn literal(text: &str) -> Option<usize> {
    let up_to = |from: usize, end: &str| text[from..].find(end).map(|at| from + at + end.len());
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return up_to(2, "*/");
    }
    let unprefixed = text.strip_prefix('b').unwrap_or(text);
    let prefix = text.len() - unprefixed.len();
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return up_to(prefix + 1 + hashes + 1, &end);
        }
    }
    let quote = unprefixed
        .chars()
        .next()
        .filter(|c| ['"', '\''].contains(c))?;
    let mut inside = unprefixed.char_indices().skip(1);
    if quote == '\'' {
        // A lifetime has no second quote behind one character.
        let mut look = unprefixed.chars().skip(1);
        if look.next() != Some('\\') && look.next() != Some('\'') {
            return None;
        }
    }
    while let Some((at, character)) = inside.next() {
        if character == '\\' {
            inside.next();
        } else if character == quote {
            return Some(prefix + at + 1);
        }
    }
    Some(text.len())
}

/// The code with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let length = item(&rest[at..]);
        kept.extend(rest[at..at + length].chars().filter(|c| *c == '\n'));
        rest = &rest[at + length..];
    }
    kept.push_str(rest);
    kept
}

/// The length of an item: up to its `;`, or to the end of its braces.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The files behind `#[cfg(test)] mod x;`.
fn test_modules(source: &Source) -> Vec<String> {
    let code = blank(&read(&source.path));
    let declared = code.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let name = rest.trim_start().strip_prefix("mod ")?.split_once(';')?.0;
        (!name.contains('{')).then(|| format!("{}/{name}.rs", source.stem()))
    });
    declared.collect()
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let text = "// crate::a\nlet x = r#\"crate::b \"#; let c = '\"'; f::<'static>(\"\\\" crate::c\");\n\
                /* crate::d */ use crate::e::F;\n#[cfg(test)]\nmod tests { use crate::g; }\nuse crate::h;";
    let code = without_tests(&blank(text));
    assert_eq!(code.lines().count(), text.lines().count());
    let found: Vec<String> = code.lines().flat_map(imports).collect();
    assert_eq!(found, ["e", "h"]);
}
