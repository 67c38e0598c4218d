//! PATCH (RFC 7644 section 3.5.2): all operations of a request, or none.
use std::collections::BTreeMap;

use scim_v2::filter::{AttrPath, PatchPath, ValFilter};
use scim_v2::schema_urns;
use serde_json::Value;

use crate::demo::target::answer::{Object, Refusal};
use crate::demo::target::filter;
use crate::demo::target::records::{Kind, Record};
use crate::demo::target::schema::{Attribute, Place, Shape, coerce, coerce_single};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Replace,
    Remove,
}

/// How to take back one change of a group's members.
enum Undo {
    One(String, Option<Kind>),
    All(BTreeMap<String, Kind>),
}

/// What one PATCH does to one record. Members change in place, with a way back, since a copy of 100,000 of them for
/// each request would be the most expensive thing the target does.
pub struct Patch<'a> {
    record: &'a mut Record,
    shape: &'a Shape,
    resolve: &'a dyn Fn(&str) -> Option<Kind>,
    undo: Vec<Undo>,
}

/// Carries out the operations of a PATCH body. `resolve` says what kind of resource a member id is.
/// True when anything changed.
///
/// # Errors
/// The refusal of the first operation that cannot be done; the record is then as it was.
pub fn apply(
    record: &mut Record,
    shape: &Shape,
    body: &Value,
    resolve: &dyn Fn(&str) -> Option<Kind>,
) -> Result<bool, Refusal> {
    let operations = operations(body)?;
    let before = record.attributes.clone();
    let mut patch = Patch {
        record,
        shape,
        resolve,
        undo: Vec::new(),
    };
    let done = operations
        .iter()
        .try_for_each(|operation| patch.operation(operation))
        .and_then(|()| shape.require(&patch.record.attributes));
    match done {
        Ok(()) => {
            let members_changed = !patch.undo.is_empty();
            Ok(members_changed || record.attributes != before)
        }
        Err(refusal) => {
            patch.take_back();
            record.attributes = before;
            Err(refusal)
        }
    }
}

fn operations(body: &Value) -> Result<&Vec<Value>, Refusal> {
    let schemas = body["schemas"].as_array();
    let is_patch =
        schemas.is_some_and(|schemas| schemas.iter().any(|urn| urn == schema_urns::PATCH_OP));
    if !is_patch {
        let detail = format!("\"schemas\" must name {}", schema_urns::PATCH_OP);
        return Err(Refusal::bad("invalidSyntax", detail));
    }
    match body["Operations"].as_array() {
        Some(operations) if !operations.is_empty() => Ok(operations),
        _ => Err(Refusal::bad(
            "invalidSyntax",
            "\"Operations\" must be a list with at least one operation",
        )),
    }
}

impl Patch<'_> {
    fn operation(&mut self, operation: &Value) -> Result<(), Refusal> {
        let op = match operation["op"]
            .as_str()
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("add") => Op::Add,
            Some("replace") => Op::Replace,
            Some("remove") => Op::Remove,
            _ => {
                return Err(Refusal::bad(
                    "invalidSyntax",
                    "\"op\" must be add, replace or remove",
                ));
            }
        };
        let value = operation.get("value");
        match (op, operation["path"].as_str(), value) {
            (Op::Remove, Some(_), Some(_)) => Err(Refusal::bad(
                "invalidValue",
                "a remove operation carries no value",
            )),
            (Op::Remove, Some(path), None) => self.at(op, path, &Value::Null),
            (Op::Remove, None, _) => {
                Err(Refusal::bad("noTarget", "a remove operation needs a path"))
            }
            (_, _, None) => Err(Refusal::bad("invalidValue", "the operation needs a value")),
            (_, Some(path), Some(value)) => self.at(op, path, value),
            (_, None, Some(Value::Object(values))) => values
                .iter()
                .try_for_each(|(path, value)| self.at(op, path, value)),
            (_, None, Some(_)) => Err(Refusal::bad(
                "invalidValue",
                "without a path the value must be an object",
            )),
        }
    }

    fn at(&mut self, op: Op, path: &str, value: &Value) -> Result<(), Refusal> {
        if let Some(urn) = self.shape.extension(path) {
            return self.extension(op, urn, value);
        }
        let parsed: PatchPath = path.parse().map_err(|error| {
            Refusal::bad(
                "invalidPath",
                format!("the path {path} cannot be parsed: {error}"),
            )
        })?;
        let (attr, selected, sub) = match parsed {
            PatchPath::Attr(attr) => (attr, None, None),
            PatchPath::Value(value_path) => (
                value_path.attr,
                Some(value_path.filter),
                value_path.sub_attr,
            ),
        };
        let attr = AttrPath {
            sub_attr: attr.sub_attr.or(sub),
            ..attr
        };
        let place = self.shape.resolve(&attr);
        let place = place.ok_or_else(|| {
            Refusal::bad("invalidPath", format!("the schema has no attribute {attr}"))
        })?;
        if place.attribute.read_only() || place.sub.is_some_and(Attribute::read_only) {
            return Err(Refusal::bad("mutability", format!("{attr} is read-only")));
        }
        if let Some(selected) = &selected {
            filter::check_element(selected, place.attribute)
                .map_err(|refusal| Refusal::bad("invalidPath", refusal.detail))?;
        }
        if self.record.kind == Kind::Group && place.attribute.name == "members" {
            return self.members(op, place, selected.as_ref(), value);
        }
        self.attribute(op, place, selected.as_ref(), value)
    }

    fn extension(&mut self, op: Op, urn: &str, value: &Value) -> Result<(), Refusal> {
        match (op, value) {
            (Op::Remove, _) => {
                self.record.attributes.remove(urn);
                Ok(())
            }
            (_, Value::Object(values)) => values
                .iter()
                .try_for_each(|(name, value)| self.at(op, &format!("{urn}:{name}"), value)),
            _ => Err(Refusal::bad(
                "invalidValue",
                format!("{urn} must be an object"),
            )),
        }
    }

    fn attribute(
        &mut self,
        op: Op,
        place: Place<'_>,
        selected: Option<&ValFilter>,
        value: &Value,
    ) -> Result<(), Refusal> {
        let attributes = &mut self.record.attributes;
        let Some(urn) = place.extension else {
            return change(attributes, op, place, selected, value);
        };
        let mut held = match attributes.remove(urn) {
            Some(Value::Object(held)) => held,
            _ => Object::new(),
        };
        let done = change(&mut held, op, place, selected, value);
        if !held.is_empty() {
            attributes.insert(urn.to_owned(), held.into());
        }
        done
    }

    fn members(
        &mut self,
        op: Op,
        place: Place<'_>,
        selected: Option<&ValFilter>,
        value: &Value,
    ) -> Result<(), Refusal> {
        if place.sub.is_some() {
            return Err(Refusal::bad(
                "mutability",
                "the sub-attributes of members are immutable",
            ));
        }
        match (op, selected) {
            (Op::Remove, None) => {
                self.replace_members(BTreeMap::new());
                Ok(())
            }
            (Op::Remove, Some(selected)) => {
                self.remove_members(place.attribute, selected);
                Ok(())
            }
            (_, Some(_)) => Err(Refusal::bad(
                "mutability",
                "the sub-attributes of members are immutable",
            )),
            (Op::Replace, None) => {
                let members = member_ids(value, self.resolve)?;
                self.replace_members(members);
                Ok(())
            }
            (Op::Add, None) => {
                for (id, kind) in member_ids(value, self.resolve)? {
                    let previous = self.record.members.insert(id.clone(), kind);
                    if previous.is_none() {
                        self.undo.push(Undo::One(id, previous));
                    }
                }
                Ok(())
            }
        }
    }

    fn replace_members(&mut self, members: BTreeMap<String, Kind>) {
        if members != self.record.members {
            let before = std::mem::replace(&mut self.record.members, members);
            self.undo.push(Undo::All(before));
        }
    }

    fn remove_members(&mut self, attribute: &Attribute, selected: &ValFilter) {
        let found: Vec<String> = match filter::member_named(selected) {
            Some(id) => vec![id.to_owned()],
            None => {
                let members = self.record.members.iter();
                let found = members
                    .filter(|(id, kind)| filter::member_matches(selected, attribute, id, **kind));
                found.map(|(id, _)| id.clone()).collect()
            }
        };
        for id in found {
            if let Some(kind) = self.record.members.remove(&id) {
                self.undo.push(Undo::One(id, Some(kind)));
            }
        }
    }

    fn take_back(&mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::All(members) => self.record.members = members,
                Undo::One(id, Some(kind)) => {
                    self.record.members.insert(id, kind);
                }
                Undo::One(id, None) => {
                    self.record.members.remove(&id);
                }
            }
        }
    }
}

/// The members that a value names.
///
/// # Errors
/// 400 `invalidValue` when one has no `value` or is not a resource of this target.
pub fn member_ids(
    value: &Value,
    resolve: &dyn Fn(&str) -> Option<Kind>,
) -> Result<BTreeMap<String, Kind>, Refusal> {
    let listed = match value {
        Value::Array(listed) => listed.as_slice(),
        Value::Null => &[],
        one => std::slice::from_ref(one),
    };
    let mut members = BTreeMap::new();
    for member in listed {
        let Some(id) = member["value"].as_str() else {
            return Err(Refusal::bad(
                "invalidValue",
                "a member needs a \"value\" that is an id",
            ));
        };
        let Some(kind) = resolve(id) else {
            let detail = format!("there is no resource {id} to be a member");
            return Err(Refusal::bad("invalidValue", detail));
        };
        members.insert(id.to_owned(), kind);
    }
    Ok(members)
}

fn change(
    held: &mut Object,
    op: Op,
    place: Place<'_>,
    selected: Option<&ValFilter>,
    value: &Value,
) -> Result<(), Refusal> {
    let attribute = place.attribute;
    let name = &attribute.name;
    if attribute.multi_valued && (selected.is_some() || place.sub.is_some()) {
        return change_elements(held, op, place, selected, value);
    }
    if selected.is_some() {
        return Err(Refusal::bad(
            "invalidPath",
            format!("{name} has one value, so a filter cannot select any"),
        ));
    }
    if let Some(sub) = place.sub {
        let mut object = match held.remove(name) {
            Some(Value::Object(object)) => object,
            _ => Object::new(),
        };
        set(&mut object, op, sub, value)?;
        if !object.is_empty() {
            held.insert(name.clone(), object.into());
        }
        return Ok(());
    }
    if attribute.required && (op == Op::Remove || value.is_null()) {
        return Err(Refusal::bad(
            "mutability",
            format!("{name} is required and cannot be removed"),
        ));
    }
    set(held, op, attribute, value)
}

/// Sets or removes a whole attribute or sub-attribute in the object that holds it.
fn set(held: &mut Object, op: Op, attribute: &Attribute, value: &Value) -> Result<(), Refusal> {
    let name = &attribute.name;
    let value = match (op, value) {
        (Op::Remove, _) => None,
        // One value instead of a list of one is what several clients send.
        (_, single @ Value::Object(_)) if attribute.multi_valued => {
            coerce(attribute, &Value::Array(vec![single.clone()]))?
        }
        _ => coerce(attribute, value)?,
    };
    let Some(value) = value else {
        // To add nothing changes nothing; to replace by nothing, or to remove, unassigns.
        if op != Op::Add {
            held.remove(name);
        }
        return Ok(());
    };
    match (op, held.get_mut(name), value) {
        (Op::Add, Some(Value::Array(present)), Value::Array(more)) => add_elements(present, more),
        (_, Some(Value::Object(present)), Value::Object(more)) => present.extend(more),
        (_, _, value) => {
            held.insert(name.clone(), value);
        }
    }
    Ok(())
}

fn add_elements(present: &mut Vec<Value>, more: Vec<Value>) {
    for element in more {
        if present.contains(&element) {
            continue;
        }
        if element["primary"] == true {
            demote(present);
        }
        present.push(element);
    }
}

/// At most one value is primary: the one set last (RFC 7644 section 3.5.2).
fn demote(elements: &mut [Value]) {
    for element in elements {
        if element["primary"] == true {
            element["primary"] = false.into();
        }
    }
}

/// A change of the values that a filter selects, or of one sub-attribute of all values.
fn change_elements(
    held: &mut Object,
    op: Op,
    place: Place<'_>,
    selected: Option<&ValFilter>,
    value: &Value,
) -> Result<(), Refusal> {
    let attribute = place.attribute;
    let mut elements = match held.get(&attribute.name) {
        Some(Value::Array(elements)) => elements.clone(),
        _ => Vec::new(),
    };
    let is_selected = |element: &Value| {
        selected.is_none_or(|selected| filter::element_matches(selected, attribute, element))
    };
    let chosen: Vec<bool> = elements.iter().map(is_selected).collect();
    if op != Op::Remove && !chosen.contains(&true) {
        let detail = format!("no value of {} matches the path", attribute.name);
        return Err(Refusal::bad("noTarget", detail));
    }
    let makes_primary = match place.sub {
        Some(sub) => sub.name == "primary" && value == true,
        None => value["primary"] == true,
    };
    if op != Op::Remove && makes_primary {
        demote(&mut elements);
    }
    let mut kept = Vec::with_capacity(elements.len());
    for (element, chosen) in elements.into_iter().zip(chosen) {
        let changed = match chosen {
            true => change_element(element, op, place, value)?,
            false => Some(element),
        };
        kept.extend(changed);
    }
    if kept.is_empty() {
        held.remove(&attribute.name);
    } else {
        held.insert(attribute.name.clone(), kept.into());
    }
    Ok(())
}

/// One selected value after the change; `None` when nothing is left of it.
fn change_element(
    element: Value,
    op: Op,
    place: Place<'_>,
    value: &Value,
) -> Result<Option<Value>, Refusal> {
    let Some(sub) = place.sub else {
        return match op {
            Op::Remove => Ok(None),
            Op::Replace => coerce_single(place.attribute, value),
            Op::Add => merged(element, coerce_single(place.attribute, value)?),
        };
    };
    let Value::Object(mut object) = element else {
        return Ok(Some(element));
    };
    set(&mut object, op, sub, value)?;
    Ok((!object.is_empty()).then_some(Value::Object(object)))
}

fn merged(element: Value, more: Option<Value>) -> Result<Option<Value>, Refusal> {
    match (element, more) {
        (Value::Object(mut object), Some(Value::Object(more))) => {
            object.extend(more);
            Ok(Some(Value::Object(object)))
        }
        (element, None) => Ok(Some(element)),
        (_, more) => Ok(more),
    }
}
