//! A document as a tree in which every value knows its line.
//!
//! Only the keys that can lead to an image, or to whose it is, are kept ([`KEYS`]): the rest is parsed, checked for
//! duplicate keys, and dropped, so that a List of thousands of Pods costs little memory. A generic tree rather than a
//! struct for each kind, because serde's `flatten` and untagged enums lose the positions, and so that kinds stay data.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_saphyr::{Location, Spanned};

/// The keys that are kept.
const KEYS: [&str; 18] = [
    "apiVersion",
    "containers",
    "ephemeralContainers",
    "generateName",
    "image",
    "initContainers",
    "items",
    "jobTemplate",
    "kind",
    "metadata",
    "name",
    "namespace",
    "reference",
    "serviceAccount",
    "serviceAccountName",
    "spec",
    "template",
    "volumes",
];

/// A value and where it is used: for a YAML alias the place of the alias.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) value: Value<'a>,
    /// Line in the document, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
    /// Byte range of the source text in the document.
    pub(super) source: std::ops::Range<u32>,
}

/// What YAML (and its subset JSON) has.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Bool,
    Number,
    List(Vec<Node<'a>>),
    Map(Vec<(&'static str, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The value of `key`; `None` too when it is null, as Kubernetes reads it, or when this is no mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'a>> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        entries
            .iter()
            .find(|(name, node)| *name == key && !matches!(node.value, Value::Null))
            .map(|(_, node)| node)
    }

    /// The value of `key` where it is a string.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What this is, for a sentence: "a number".
    pub(super) fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Text(_) => "a string",
            Value::Bool => "true or false",
            Value::Number => "a number",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value, referenced, ..
        } = Spanned::<Value<'de>>::deserialize(deserializer)?;
        let (line, column) = position(referenced);
        let start = narrow(referenced.span().byte_offset().unwrap_or(0));
        let length = narrow(referenced.span().byte_len().unwrap_or(0));
        Ok(Self {
            value,
            line,
            column,
            source: start..start.saturating_add(length),
        })
    }
}

/// Line and column of a place.
pub(super) fn position(at: Location) -> (u32, u32) {
    (narrow(at.line()).max(1), narrow(at.column()).max(1))
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            match key {
                Some(key) => map.push((key, entries.next_value()?)),
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Map(map))
    }
}

/// Reads a key: `Some` of those that are kept.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string as key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(KEYS.into_iter().find(|kept| *kept == key))
    }
}
