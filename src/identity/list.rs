//! Lists of records, read into memory that fits them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// The most elements for which a list gets room before the first of them is read. What says how many there are may be broken.
const ROOM_MAX: usize = 1 << 18;

/// Reads a list into room for as many elements as it is said to have. serde makes room for a MiB at the most and doubles it from
/// there, which leaves holes of some megabytes for each large group that is read.
///
/// # Errors
/// Those of the elements.
pub fn fitting<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Fitting(PhantomData))
}

struct Fitting<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fitting<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::with_capacity(elements.size_hint().unwrap_or(0).min(ROOM_MAX));
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(list)
    }
}
