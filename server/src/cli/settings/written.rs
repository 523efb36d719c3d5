//! How values of settings are written, in flags, variables and files, and read. All errors come from visitors, so
//! that they have the place of an entry in a list, and not that of the list.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use killick_server::{Address, Allowed, AllowedError, BadSeed, Seed};
use serde::Serialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, SeqAccess, Visitor};
use serde::ser::Serializer;

use crate::cli::time_above;

/// A time as it is written: `500ms`, `2s`, `1m` or plain seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "String")]
pub(super) struct Time(pub(super) Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        time_above("it has to be longer than 0", text).map(Time)
    }
}

impl From<Time> for String {
    fn from(time: Time) -> String {
        time.to_string()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_nanos() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_secs_f64() * 1e3),
        }
    }
}

/// An address as it is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Listen(#[serde(serialize_with = "serialize")] pub(super) Address);

/// Programs as they are written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Program(#[serde(serialize_with = "serialize")] pub(super) Allowed);

/// A seed as it is written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Join(#[serde(serialize_with = "serialize")] pub(super) Seed);

impl FromStr for Join {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        text.parse().map(Join)
    }
}

/// Where hosts reach each other, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Place(pub(super) SocketAddr);

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |_| "an address and a port are expected, as in 192.0.2.7:7300";
        text.parse().map(Place).map_err(bad)
    }
}

/// A key and a value as they are written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tag(pub(super) String, pub(super) String);

impl FromStr for Tag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Tag(key.to_owned(), value.to_owned())),
            _ => Err("a key and a value are needed, as in zone=a".into()),
        }
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}={}", self.0, self.1))
    }
}

impl FromStr for Program {
    type Err = AllowedError;

    fn from_str(text: &str) -> Result<Self, AllowedError> {
        text.parse().map(Program)
    }
}

impl FromStr for Listen {
    type Err = <Address as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Listen)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn serialize<S: Serializer>(
    value: &impl Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Reads text, or a number as it is written, and what is `expected`.
struct Written<T> {
    expected: &'static str,
    value: PhantomData<T>,
}

impl<T: FromStr<Err: Display>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an address in quotes, as in \"tcp:127.0.0.1:2016\"";
        deserializer.deserialize_str(Written { expected, value: PhantomData })
    }
}

impl<'de> Deserialize<'de> for Join {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a place in quotes, as in \"hosts.example.org:7300\"";
        deserializer.deserialize_str(Written { expected, value: PhantomData })
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "an address in quotes, as in \"192.0.2.7:7300\"";
        deserializer.deserialize_str(Written { expected, value: PhantomData })
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a key and a value in quotes, as in \"zone=a\"";
        deserializer.deserialize_str(Written { expected, value: PhantomData })
    }
}

impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a program in quotes, as in \"/usr/bin/python3\"";
        deserializer.deserialize_str(Written { expected, value: PhantomData })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a time, as in \"500ms\", \"2s\" or \"1m\", or seconds";
        deserializer.deserialize_any(Written { expected, value: PhantomData })
    }
}

/// Reads a list, or its only entry without brackets.
pub(super) fn list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list, as in [a, b], or its only entry")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(text.into_deserializer()).map(|one| vec![one])
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Vec<T>, E> {
            T::deserialize(number.into_deserializer()).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, all: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(all))
        }
    }

    deserializer.deserialize_any(List(PhantomData)).map(Some)
}
