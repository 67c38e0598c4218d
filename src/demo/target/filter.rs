//! Evaluates a filter over a resource (RFC 7644 section 3.4.2.2).
use std::borrow::Cow;

use chrono::DateTime;
use scim_v2::filter::{AttrExp, AttrPath, CompValue, CompareOp, Filter, ValFilter};
use serde_json::Value;

use crate::demo::target::answer::Refusal;
use crate::demo::target::records::{Kind, Record, member};
use crate::demo::target::schema::{Attribute, Place, Shape};

/// Parses a filter and checks that the schemas have every attribute in it.
///
/// # Errors
/// 400 `invalidFilter`.
pub fn parse(text: &str, shape: &Shape) -> Result<Filter, Refusal> {
    let filter: Filter = text.parse().map_err(|error| {
        Refusal::bad(
            "invalidFilter",
            format!("the filter cannot be parsed: {error}"),
        )
    })?;
    check(&filter, shape)?;
    Ok(filter)
}

fn check(filter: &Filter, shape: &Shape) -> Result<(), Refusal> {
    let unknown = |path: &AttrPath| {
        let detail = format!("the filter names {path}, which the schemas do not have");
        Refusal::bad("invalidFilter", detail)
    };
    match filter {
        Filter::Attr(AttrExp::Present(path) | AttrExp::Comparison(path, ..)) => {
            shape.resolve(path).map(|_| ()).ok_or_else(|| unknown(path))
        }
        Filter::ValuePath(value_path) => {
            let place = shape.resolve(&value_path.attr);
            let place = place.ok_or_else(|| unknown(&value_path.attr))?;
            check_element(&value_path.filter, place.attribute)
        }
        Filter::Not(inner) => check(inner, shape),
        Filter::And(inner) | Filter::Or(inner) => {
            inner.iter().try_for_each(|one| check(one, shape))
        }
    }
}

/// Checks the filter inside brackets.
///
/// # Errors
/// 400 `invalidFilter` for a sub-attribute that the attribute does not have.
pub fn check_element(filter: &ValFilter, attribute: &Attribute) -> Result<(), Refusal> {
    match filter {
        ValFilter::Attr(AttrExp::Present(path) | AttrExp::Comparison(path, ..)) => {
            match attribute.sub(&path.name) {
                Some(_) => Ok(()),
                None => {
                    let detail = format!("{} has no sub-attribute {path}", attribute.name);
                    Err(Refusal::bad("invalidFilter", detail))
                }
            }
        }
        ValFilter::Not(inner) => check_element(inner, attribute),
        ValFilter::And(inner) | ValFilter::Or(inner) => inner
            .iter()
            .try_for_each(|one| check_element(one, attribute)),
    }
}

/// Whether a record matches a filter that [`parse`] accepted.
pub fn matches(filter: &Filter, shape: &Shape, record: &Record) -> bool {
    match filter {
        Filter::Attr(expression) => attribute_matches(expression, shape, record),
        Filter::ValuePath(value_path) => {
            let Some(place) = shape.resolve(&value_path.attr) else {
                return false;
            };
            if let Some(found) = one_member(place, &value_path.filter, record) {
                return found;
            }
            let held = value_at(place, record);
            elements(held.as_deref())
                .any(|element| element_matches(&value_path.filter, place.attribute, element))
        }
        Filter::Not(inner) => !matches(inner, shape, record),
        Filter::And(inner) => inner.iter().all(|one| matches(one, shape, record)),
        Filter::Or(inner) => inner.iter().any(|one| matches(one, shape, record)),
    }
}

/// Whether one value of a multi-valued attribute matches the filter in brackets.
pub fn element_matches(filter: &ValFilter, attribute: &Attribute, element: &Value) -> bool {
    match filter {
        ValFilter::Attr(expression) => {
            let (AttrExp::Present(path) | AttrExp::Comparison(path, ..)) = expression;
            let Some(sub) = attribute.sub(&path.name) else {
                return false;
            };
            test(expression, sub, elements(element.get(&sub.name)))
        }
        ValFilter::Not(inner) => !element_matches(inner, attribute, element),
        ValFilter::And(inner) => inner
            .iter()
            .all(|one| element_matches(one, attribute, element)),
        ValFilter::Or(inner) => inner
            .iter()
            .any(|one| element_matches(one, attribute, element)),
    }
}

/// The member that `value eq "id"` names, if the filter is just that: answered without rendering the others.
pub fn member_named(filter: &ValFilter) -> Option<&str> {
    match filter {
        ValFilter::Attr(AttrExp::Comparison(path, CompareOp::Eq, CompValue::Str(id)))
            if path.name.eq_ignore_ascii_case("value") =>
        {
            Some(id)
        }
        _ => None,
    }
}

fn one_member(place: Place<'_>, filter: &ValFilter, record: &Record) -> Option<bool> {
    if record.kind != Kind::Group || place.attribute.name != "members" {
        return None;
    }
    Some(record.members.contains_key(member_named(filter)?))
}

/// Whether one member matches a filter in brackets.
pub fn member_matches(filter: &ValFilter, attribute: &Attribute, id: &str, kind: Kind) -> bool {
    element_matches(filter, attribute, &member(id, kind, ""))
}

fn attribute_matches(expression: &AttrExp, shape: &Shape, record: &Record) -> bool {
    let (AttrExp::Present(path) | AttrExp::Comparison(path, ..)) = expression;
    let Some(place) = shape.resolve(path) else {
        return false;
    };
    if place.attribute.name == "schemas" {
        return test(
            expression,
            place.attribute,
            record_schemas(shape, record).iter(),
        );
    }
    if place.attribute.name == "members"
        && let AttrExp::Comparison(_, CompareOp::Eq, CompValue::Str(id)) = expression
        && place.sub.is_none_or(|sub| sub.name == "value")
    {
        return record.members.contains_key(id);
    }
    let held = value_at(place, record);
    // A complex attribute compared as a whole means its "value" (RFC 7644 section 3.4.2.2: `emails co "example.com"`).
    let sub = place.sub.or_else(|| place.attribute.sub("value"));
    match sub {
        Some(sub) if place.attribute.is_complex() => {
            let values = elements(held.as_deref()).filter_map(|element| element.get(&sub.name));
            test(expression, sub, values)
        }
        _ => test(expression, place.attribute, elements(held.as_deref())),
    }
}

/// The `schemas` of a resource: the core one, and each extension that has a value.
pub fn record_schemas(shape: &Shape, record: &Record) -> Vec<Value> {
    let extensions = record
        .attributes
        .keys()
        .filter(|key| shape.extension(key).is_some());
    let core = std::iter::once(shape.urn);
    core.chain(extensions.map(String::as_str))
        .map(Value::from)
        .collect()
}

fn value_at<'r>(place: Place<'_>, record: &'r Record) -> Option<Cow<'r, Value>> {
    let name = place.attribute.name.as_str();
    match place.extension {
        Some(urn) => record.attributes.get(urn)?.get(name).map(Cow::Borrowed),
        None => match record.attributes.get(name) {
            Some(value) => Some(Cow::Borrowed(value)),
            None => record.attribute(name, "").map(Cow::Owned),
        },
    }
}

/// The values of an attribute: those of the list, or the one.
fn elements(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let (many, one) = match value {
        Some(Value::Array(many)) => (many.as_slice(), None),
        one => (&[][..], one),
    };
    many.iter().chain(one)
}

fn test<'v>(
    expression: &AttrExp,
    attribute: &Attribute,
    values: impl Iterator<Item = &'v Value>,
) -> bool {
    let mut values = values.filter(|value| !value.is_null()).peekable();
    match expression {
        AttrExp::Present(_) => values.peek().is_some(),
        AttrExp::Comparison(_, CompareOp::Eq, CompValue::Null) => values.peek().is_none(),
        AttrExp::Comparison(_, CompareOp::Ne, CompValue::Null) => values.peek().is_some(),
        // "Not equal" holds when no value is equal, so also for an attribute without a value.
        AttrExp::Comparison(_, CompareOp::Ne, wanted) => {
            !values.any(|value| compare(attribute, value, &CompareOp::Eq, wanted))
        }
        AttrExp::Comparison(_, operator, wanted) => {
            values.any(|value| compare(attribute, value, operator, wanted))
        }
    }
}

fn compare(attribute: &Attribute, value: &Value, operator: &CompareOp, wanted: &CompValue) -> bool {
    match (value, wanted) {
        (Value::String(held), CompValue::Str(wanted)) if attribute.kind == "dateTime" => {
            let instant = |text: &str| DateTime::parse_from_rfc3339(text).ok();
            match (instant(held), instant(wanted)) {
                (Some(held), Some(wanted)) => ordered(&held, operator, &wanted),
                _ => false,
            }
        }
        (Value::String(held), CompValue::Str(wanted)) if attribute.case_exact => {
            text(held, operator, wanted)
        }
        (Value::String(held), CompValue::Str(wanted)) => {
            text(&held.to_lowercase(), operator, &wanted.to_lowercase())
        }
        (Value::Bool(held), CompValue::True) => *operator == CompareOp::Eq && *held,
        (Value::Bool(held), CompValue::False) => *operator == CompareOp::Eq && !*held,
        (Value::Number(held), CompValue::Number(wanted)) => {
            match (held.as_f64(), wanted.as_f64()) {
                (Some(held), Some(wanted)) => ordered(&held, operator, &wanted),
                _ => false,
            }
        }
        _ => false,
    }
}

fn text(held: &str, operator: &CompareOp, wanted: &str) -> bool {
    match operator {
        CompareOp::Co => held.contains(wanted),
        CompareOp::Sw => held.starts_with(wanted),
        CompareOp::Ew => held.ends_with(wanted),
        _ => ordered(&held, operator, &wanted),
    }
}

fn ordered<T: PartialOrd>(held: &T, operator: &CompareOp, wanted: &T) -> bool {
    match operator {
        CompareOp::Eq => held == wanted,
        CompareOp::Ne => held != wanted,
        CompareOp::Gt => held > wanted,
        CompareOp::Ge => held >= wanted,
        CompareOp::Lt => held < wanted,
        CompareOp::Le => held <= wanted,
        CompareOp::Co | CompareOp::Sw | CompareOp::Ew => false,
    }
}
