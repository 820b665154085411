//! The file in which docker keeps its configuration, and helm and podman their logins: one JSON object. What is not
//! changed keeps its order and its text, unknown keys included.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::ser::PrettyFormatter;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::pull_secret::docker_config::USERNAME;

/// The file's object. No `Debug`: it holds passwords.
#[derive(Default)]
pub struct Document {
    top: Object,
    auths: Object,
}

/// Why a file cannot be one, as the end of a sentence that begins with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl Document {
    /// Reads a file's text; an empty one is an empty object.
    ///
    /// # Errors
    /// When it is no JSON object, or `auths`, `credHelpers` or `credsStore` is not what it must be. The text is not
    /// quoted.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let top: Object = serde_json::from_str(text).map_err(|_| Malformed("is no JSON object"))?;
        let auths = top.get("auths");
        let auths: Option<Option<Object>> = auths
            .map(read)
            .transpose()
            .map_err(|_| Malformed("has \"auths\" that are no JSON object"))?;
        let document = Self {
            auths: auths.flatten().unwrap_or_default(),
            top,
        };
        document
            .helpers()
            .map_err(|_| Malformed("has \"credHelpers\" that do not map hosts to names"))?;
        document
            .creds_store()
            .map_err(|_| Malformed("has a \"credsStore\" that is no name"))?;
        Ok(document)
    }

    /// The credential helper that keeps the passwords of `host`: its own, or where `with_store` the one for all. One
    /// that is set to nothing is none.
    pub fn helper(&self, host: &str, with_store: bool) -> Option<String> {
        let own = self.helpers().unwrap_or_default();
        let own = own.as_ref().and_then(|helpers| helpers.get(host));
        let own = own.map(|name| read::<String>(name).unwrap_or_default());
        let of_all = || {
            self.creds_store()
                .unwrap_or_default()
                .filter(|_| with_store)
        };
        own.or_else(of_all).filter(|name| !name.is_empty())
    }

    /// Whether this file itself has something to say for `host`.
    pub fn answers_for(&self, host: &str) -> bool {
        let entry = self
            .auths
            .get(host)
            .and_then(|entry| read::<Object>(entry).ok());
        let has_password = entry.is_some_and(|entry| !entry.0.is_empty());
        has_password || self.helper(host, false).is_some()
    }

    /// Puts the password for `host` into the file; with none, an empty entry, as docker does for what a helper keeps.
    pub fn set(&mut self, host: &str, password: Option<&str>) {
        let entry = match password {
            None => "{}".to_owned(),
            Some(password) => {
                let pair = Zeroizing::new(format!("{USERNAME}:{password}"));
                let auth = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
                // The indentation is that of its place.
                format!("{{\n\t\t\t\"auth\": \"{}\"\n\t\t}}", *auth)
            }
        };
        // Base64 and this frame are JSON.
        if let Ok(entry) = RawValue::from_string(entry) {
            self.auths.set(host, entry);
        }
        if self.top.get("auths").is_none() {
            self.top.0.push(("auths".to_owned(), empty()));
        }
    }

    /// The file's text, indented by tabs as docker and helm write it.
    pub fn render(&self) -> Zeroizing<String> {
        let mut text = Vec::new();
        let tabs = PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
        // Strings and JSON that was read always serialise, into memory.
        let _always = self.serialize(&mut serializer);
        text.push(b'\n');
        Zeroizing::new(String::from_utf8(text).unwrap_or_default())
    }

    fn helpers(&self) -> serde_json::Result<Option<Object>> {
        let helpers = self.top.get("credHelpers").map(read::<Option<Object>>);
        let helpers = helpers.transpose()?.flatten();
        for (_, name) in helpers.iter().flat_map(|helpers| &helpers.0) {
            read::<String>(name)?;
        }
        Ok(helpers)
    }

    fn creds_store(&self) -> serde_json::Result<Option<String>> {
        let store = self.top.get("credsStore").map(read::<Option<String>>);
        Ok(store.transpose()?.flatten())
    }
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> serde_json::Result<T> {
    serde_json::from_str(value.get())
}

fn empty() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.top.0.len()))?;
        for (key, value) in &self.top.0 {
            if key == "auths" {
                map.serialize_entry(key, &self.auths)?;
            } else {
                map.serialize_entry(key, value)?;
            }
        }
        map.end()
    }
}

/// A JSON object in its own order. Of a key that is there twice, the last counts, as for every reader of such files.
#[derive(Default)]
struct Object(Vec<(String, Box<RawValue>)>);

impl Object {
    fn get(&self, key: &str) -> Option<&RawValue> {
        let mut found = self.0.iter().filter(|(known, _)| known == key);
        found.next_back().map(|(_, value)| &**value)
    }

    fn set(&mut self, key: &str, value: Box<RawValue>) {
        match self.0.iter_mut().rfind(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    fn parse(text: &str) -> Document {
        Document::parse(text).ok().unwrap()
    }

    #[test]
    fn what_is_not_ours_keeps_its_order_and_its_text() {
        let mut document = parse(
            "{\n\t\"zeta\": {\"b\":1,  \"a\":[1.50]},\n\t\"auths\": {\n\t\t\"ghcr.io\": {\n\t\t\t\"auth\": \"dTpw\",\n\t\t\t\"new\": 1e2\n\t\t}\n\t},\n\t\"alpha\": 12345678901234567890123\n}\n",
        );
        document.set(HOST, Some("p"));
        insta::assert_snapshot!(document.render().replace('\t', "→"), @r#"
        {
        →"zeta": {"b":1,  "a":[1.50]},
        →"auths": {
        →→"ghcr.io": {
        →→→"auth": "dTpw",
        →→→"new": 1e2
        →→},
        →→"123456789012.dkr.ecr.eu-west-1.amazonaws.com": {
        →→→"auth": "QVdTOnA="
        →→}
        →},
        →"alpha": 12345678901234567890123
        }
        "#);
        document.set(HOST, Some("q"));
        let again = parse(&document.render());
        assert_eq!(again.auths.0.len(), 2);
        assert!(again.answers_for(HOST) && again.answers_for("ghcr.io"));
    }

    #[test]
    fn an_empty_file_becomes_a_whole_one() {
        for text in ["", " \n", "{}", r#"{"auths":null}"#] {
            let mut document = parse(text);
            document.set("a", Some("p"));
            insta::allow_duplicates! {
                insta::assert_snapshot!(document.render().replace('\t', "→"), @r#"
                {
                →"auths": {
                →→"a": {
                →→→"auth": "QVdTOnA="
                →→}
                →}
                }
                "#);
            }
        }
    }

    #[test]
    fn a_registrys_own_helper_goes_before_the_one_for_all() {
        let document = parse(r#"{"credsStore":"desktop","credHelpers":{"a":"ecr-login","b":""}}"#);
        let helper = |host, with_store| document.helper(host, with_store);
        assert_eq!(helper("a", true).as_deref(), Some("ecr-login"));
        assert_eq!(helper("b", true), None);
        assert_eq!(helper("c", true).as_deref(), Some("desktop"));
        assert_eq!(helper("c", false), None);
        assert!(document.answers_for("a") && !document.answers_for("c"));
    }

    #[test]
    fn what_a_helper_keeps_leaves_an_empty_entry_behind() {
        let mut document = parse(r#"{"auths":{"a":{"auth":"b2xk"}}}"#);
        document.set("a", None);
        assert!(!document.render().contains("b2xk"));
        assert!(!document.answers_for("a"));
    }

    #[test]
    fn what_is_no_such_file_is_refused_and_never_quoted() {
        for text in [
            "null",
            "[]",
            "{\"auths\":",
            r#"{"auths":["hunter2"]}"#,
            r#"{"credHelpers":{"a":7}}"#,
            r#"{"credHelpers":"x"}"#,
            r#"{"credsStore":{}}"#,
        ] {
            let malformed = Document::parse(text).err().unwrap();
            assert!(!malformed.0.contains("hunter2"), "{text}");
        }
    }
}
