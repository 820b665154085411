//! Views of JSON objects: the few fields that are wanted, borrowed in one pass; everything else is skipped unread.
//!
//! What serde derives does nearly the same, and also takes an array for an object.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::Deserializer;

/// Reads all of a body.
pub(super) fn all<'de, S: DeserializeSeed<'de>>(
    body: &'de [u8],
    seed: S,
) -> serde_json::Result<S::Value> {
    // Once for the whole body is quicker than key by key, string by string. What is skipped may be anything.
    match simdutf8::basic::from_utf8(body) {
        Ok(text) => finish(Deserializer::from_str(text), seed),
        Err(_) => finish(Deserializer::from_slice(body), seed),
    }
}

fn finish<'de, R: serde_json::de::Read<'de>, S: DeserializeSeed<'de>>(
    mut deserializer: Deserializer<R>,
    seed: S,
) -> serde_json::Result<S::Value> {
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads an object: hands each value whose key is among `names` to `read`, with the key's place there, and skips all
/// others. One loop for all objects, not one for each kind: its code is still in the nearest cache for the next.
#[inline(never)]
pub(super) fn each<'de, A: MapAccess<'de>>(
    map: &mut A,
    names: &[&str],
    read: &mut ReadValue<'_, 'de, A>,
) -> Result<(), A::Error> {
    while let Some(place) = map.next_key_seed(Among(names))? {
        match place {
            Some(place) => read(place, map)?,
            None => skip(map)?,
        }
    }
    Ok(())
}

/// Reads the value whose key has that place.
type ReadValue<'r, 'de, A> =
    dyn FnMut(usize, &mut A) -> Result<(), <A as MapAccess<'de>>::Error> + 'r;

/// The place of a key, unescaped, among names.
struct Among<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Among<'_> {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: serde::Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Among<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    #[inline]
    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// Reads a field that may be null or absent, but not there twice: which of two would count is anybody's guess, and a
/// guess that differs from the API server's would be a way around policy.
#[inline]
pub(super) fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    name: &'static str,
    slot: &mut Option<T>,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = map.next_value()?;
    Ok(())
}

/// Skips a value that nobody wants.
#[inline]
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// Does with the values of the keys of an object, which is a `MapAccess`, what is said for each; skips all others.
macro_rules! fields {
    ($map:ident: $($field:ident = $key:literal => $read:expr,)*) => {
        #[allow(non_camel_case_types, reason = "each is named as its field is")]
        enum Field {
            $($field,)*
        }
        const FIELDS: &[Field] = &[$(Field::$field,)*];

        crate::review::view::each(&mut $map, &[$($key,)*], &mut |place, $map| match FIELDS[place] {
            $(Field::$field => $read,)*
        })?;
    };
}

/// A struct that is read from a JSON object: each field is an `Option` of what stands under its key.
macro_rules! view {
    (
        $object:literal:
        $(#[$attribute:meta])*
        $visible:vis struct $name:ident<'a> { $($field:ident = $key:literal: $type:ty,)* }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Default)]
        $visible struct $name<'a> {
            $($field: Option<$type>,)*
        }

        impl<'de: 'a, 'a> serde::Deserialize<'de> for $name<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct ViewVisitor;

                impl<'de> serde::de::Visitor<'de> for ViewVisitor {
                    type Value = $name<'de>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($object)
                    }

                    #[inline]
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut view = $name::default();
                        crate::review::view::fields! { map:
                            $($field = $key => crate::review::view::once($key, &mut view.$field, map),)*
                        }
                        Ok(view)
                    }
                }

                deserializer.deserialize_map(ViewVisitor)
            }
        }
    };
}

pub(super) use {fields, view};
