//! The bridge between the two vocabularies: what a directory's entry shall be at the target.
//!
//! Pure: the same entry and the same time give the same answer. Absent on purpose: anything that was read or sent.

pub mod roles;
pub mod rule;
pub mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use minijinja::Environment;

use crate::identity::{DirectoryType, Identity, Kind};
use crate::mapping::roles::RoleRule;
use crate::mapping::rule::{FieldProblem, Rule, Source};
use crate::mapping::status::StatusRules;
use crate::scim::path::AttributePath;
use crate::scim::{Attributes, ResourceType, Value};

/// What an entry shall be at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Whether the account shall be active; `None` when the entry does not say (the account stays as it is). Groups
    /// have no such state and are always `Some(true)`.
    pub active: Option<bool>,
    /// The mapped attributes without `active`, or why the entry cannot be mapped. An entry that cannot be mapped is
    /// unknown, never absent: its account stays as it is, unless `active` says otherwise.
    pub resource: Result<Attributes, Vec<FieldProblem>>,
}

/// The rules of one profile, checked and ready.
#[derive(Clone, Debug)]
pub struct Mapping {
    users: Vec<Rule>,
    groups: Vec<Rule>,
    units: Vec<Rule>,
    roles: Vec<RoleRule>,
    status: StatusRules,
    expressions: Arc<Environment<'static>>,
}

impl Mapping {
    /// Checks the rules against each other and compiles their expressions.
    ///
    /// # Errors
    /// Each with the left-hand name of the rule at fault.
    pub fn new(
        users: Vec<Rule>,
        group_name: Source,
        status: StatusRules,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Vec::new();
        let mut expressions = rule::environment();
        let groups = name_rule(group_name);
        let mut seen = BTreeSet::new();
        for rule in users.iter().chain(&groups) {
            if let Err(problem) = rule.compile(&mut expressions) {
                problems.push((rule.name.clone(), problem));
            }
        }
        for rule in &users {
            if !seen.insert(&rule.path) {
                problems.push((
                    rule.name.clone(),
                    format!("{} is mapped twice; keep one of the two", rule.path),
                ));
            }
        }
        if !users
            .iter()
            .any(|rule| rule.path == AttributePath::user_name())
        {
            problems.push((
                "username".into(),
                "userName must be mapped: every SCIM user has one (RFC 7643 §4.1.1)".into(),
            ));
        }
        if problems.is_empty() {
            Ok(Self {
                users,
                units: groups.clone(),
                groups,
                roles: Vec::new(),
                status,
                expressions: Arc::new(expressions),
            })
        } else {
            Err(problems)
        }
    }

    /// With rules that give roles to the members of groups; none of their attributes is mapped already.
    pub fn with_roles(self, roles: Vec<RoleRule>) -> Self {
        Self { roles, ..self }
    }

    /// With an attribute of its own for the name of an organizational unit that is a group.
    pub fn with_unit_name(self, attribute: &str) -> Self {
        Self {
            units: name_rule(Source::Attribute(attribute.to_owned())),
            ..self
        }
    }

    /// The rules that give roles to the members of groups.
    pub fn roles(&self) -> &[RoleRule] {
        &self.roles
    }

    /// The attributes that must be read of users.
    pub fn user_attributes(&self) -> BTreeSet<String> {
        self.needed(&self.users)
            .chain(self.status.attributes())
            .collect()
    }

    /// The attributes that must be read of groups.
    pub fn group_attributes(&self) -> BTreeSet<String> {
        self.needed(&self.groups).collect()
    }

    /// The attributes that must be read of organizational units that are groups.
    pub fn unit_attributes(&self) -> BTreeSet<String> {
        self.needed(&self.units).collect()
    }

    /// The attributes that the relay maintains: no other one is ever compared or sent.
    pub fn maintained(&self, kind: Kind) -> BTreeSet<AttributePath> {
        let (rules, roles) = match kind {
            Kind::User => (&self.users, self.roles.as_slice()),
            Kind::Group => (&self.groups, &[][..]),
        };
        let given = roles.iter().map(|rule| rule.path.clone());
        rules
            .iter()
            .map(|rule| rule.path.clone())
            .chain(given)
            .chain([AttributePath::external_id()])
            .collect()
    }

    /// The directory attribute whose value is the name of a kind at the target (userName, a group's displayName); `None`
    /// when that is a constant or made by an expression.
    pub fn name_attribute(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::User => attribute_of(&self.users, &AttributePath::user_name()),
            Kind::Group => attribute_of(&self.groups, &AttributePath::display_name()),
        }
    }

    /// The directory attribute in which users name their managers.
    pub fn manager_attribute(&self) -> Option<String> {
        attribute_of(&self.users, &AttributePath::manager())
    }

    /// The directory attribute whose value is the name of an organizational unit that is a group.
    pub fn unit_name_attribute(&self) -> Option<String> {
        attribute_of(&self.units, &AttributePath::display_name())
    }

    /// The directory attributes that rules of users read whose value is required.
    pub fn required_user_attributes(&self) -> BTreeSet<String> {
        let required = self.users.iter().filter(|rule| rule.required);
        required
            .flat_map(|rule| rule.attributes(&self.expressions))
            .collect()
    }

    /// When an account becomes inactive by the passing of time alone.
    pub fn expires_later(&self, identity: &Identity, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let is_user = identity.kind == Kind::User;
        is_user.then(|| self.status.expires_later(identity, now))?
    }

    /// The attribute and the value by which a user's account is disabled; `None` when it is enabled, or the entry does not
    /// say.
    pub fn disabled_by(&self, identity: &Identity, now: DateTime<Utc>) -> Option<(&str, String)> {
        let is_user = identity.kind == Kind::User;
        is_user.then(|| self.status.disabled_by(identity, now))?
    }

    fn needed<'a>(&'a self, rules: &'a [Rule]) -> impl Iterator<Item = String> + 'a {
        rules
            .iter()
            .flat_map(|rule| rule.attributes(&self.expressions))
    }

    /// What an entry shall be at the target, at a point in time (accounts expire), by itself: what membership in groups
    /// gives (see [`roles`]) is added by those who know it, and so is the manager.
    pub fn desired(&self, identity: &Identity, now: DateTime<Utc>) -> Desired {
        let (rules, active) = match identity.kind {
            Kind::User => (&self.users, self.status.active(identity, now)),
            Kind::Group if identity.is_unit() => (&self.units, Some(true)),
            Kind::Group => (&self.groups, Some(true)),
        };
        let mut attributes = Attributes::new();
        let mut problems = Vec::new();
        for rule in rules {
            match rule.evaluate(identity, &self.expressions) {
                Ok(Some(value)) => {
                    attributes.insert(rule.path.clone(), value);
                }
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        attributes.insert(
            AttributePath::external_id(),
            Value::Text(identity.anchor.to_string()),
        );
        let resource = if problems.is_empty() {
            Ok(attributes)
        } else {
            Err(problems)
        };
        Desired { active, resource }
    }
}

/// The directory attribute from which a rule takes what it gives, unless it is made otherwise.
fn attribute_of(rules: &[Rule], path: &AttributePath) -> Option<String> {
    let rule = rules.iter().find(|rule| rule.path == *path)?;
    match &rule.source {
        Source::Attribute(name) => Some(name.clone()),
        Source::Constant(_) | Source::Expression(_) => None,
    }
}

/// The one rule of a group.
fn name_rule(source: Source) -> Vec<Rule> {
    vec![Rule {
        name: "name".into(),
        path: AttributePath::display_name(),
        source,
        required: true,
    }]
}

/// What a kind of entry is in the protocol's words.
pub fn resource_type(kind: Kind) -> ResourceType {
    match kind {
        Kind::User => ResourceType::User,
        Kind::Group => ResourceType::Group,
    }
}

/// The usual rules of a directory type, by their left-hand names (specification page 3).
pub fn default_rules(directory_type: DirectoryType) -> [(&'static str, &'static str); 6] {
    let user_name = match directory_type {
        DirectoryType::ActiveDirectory => "sAMAccountName",
        DirectoryType::Ldap => "uid",
    };
    [
        ("username", user_name),
        ("email", "mail"),
        ("firstName", "givenName"),
        ("lastName", "sn"),
        ("phone", "telephoneNumber"),
        ("displayName", "displayName"),
    ]
}

/// The attribute that names an organizational unit; what Active Directory itself keeps up on a rename.
pub fn default_unit_name(directory_type: DirectoryType) -> &'static str {
    match directory_type {
        DirectoryType::ActiveDirectory => "name",
        DirectoryType::Ldap => "ou",
    }
}

/// The usual anchor attribute of a directory type.
pub fn default_anchor(directory_type: DirectoryType) -> &'static str {
    match directory_type {
        DirectoryType::ActiveDirectory => "objectGUID",
        DirectoryType::Ldap => "entryUUID",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::place::Place;
    use crate::identity::{Anchor, Member, MemberKey, Value as DirectoryValue};
    use uuid::Uuid;

    pub(super) fn user(attributes: &[(&str, &[&str])]) -> Identity {
        let attributes = attributes
            .iter()
            .map(|(name, values)| {
                let values = values
                    .iter()
                    .map(|value| DirectoryValue::Text((*value).into()))
                    .collect();
                (name.to_lowercase(), values)
            })
            .collect();
        Identity {
            kind: Kind::User,
            anchor: Anchor::Uuid(Uuid::from_u128(7)),
            dn: "uid=ann,dc=x".into(),
            attributes,
            members: Vec::new(),
            names: Vec::new(),
        }
    }

    fn rule(name: &str, source: Source) -> Rule {
        Rule {
            name: name.into(),
            path: AttributePath::from_rule(name).unwrap(),
            source,
            required: name == "username",
        }
    }

    fn mapping(rules: Vec<Rule>) -> Mapping {
        Mapping::new(
            rules,
            Source::Attribute("cn".into()),
            StatusRules::of(DirectoryType::Ldap, Vec::new()),
        )
        .unwrap()
    }

    fn texts(desired: Desired) -> Vec<(String, String)> {
        let attributes = desired.resource.unwrap();
        attributes
            .iter()
            .map(|(path, value)| (path.to_string(), value.as_text().unwrap_or("-").to_owned()))
            .collect()
    }

    #[test]
    fn attributes_constants_and_expressions_give_values() {
        let mapping = mapping(vec![
            rule("username", Source::Attribute("UID".into())),
            rule("userType", Source::Constant("Employee".into())),
            rule(
                "displayName",
                Source::Expression("{{ givenName }} {{ sn | upper }}".into()),
            ),
            rule("title", Source::Attribute("title".into())),
            rule(
                "nickName",
                Source::Expression("{% if title %}x{% endif %}".into()),
            ),
        ]);
        let entry = user(&[
            ("uid", &["ann", "anne"]),
            ("givenName", &["Ann"]),
            ("sn", &["Müller"]),
        ]);
        let desired = mapping.desired(&entry, DateTime::UNIX_EPOCH);
        assert_eq!(desired.active, Some(true));
        let expected = [
            ("displayName", "Ann MÜLLER"),
            ("externalId", "00000000-0000-0000-0000-000000000007"),
            ("userName", "ann"),
            ("userType", "Employee"),
        ];
        assert_eq!(
            texts(desired),
            expected.map(|(path, value)| (path.to_owned(), value.to_owned()))
        );
        let needed: Vec<String> = mapping.user_attributes().into_iter().collect();
        assert_eq!(
            needed,
            [
                "UID",
                "givenName",
                "nsAccountLock",
                "pwdAccountLockedTime",
                "sn",
                "title"
            ]
        );
    }

    #[test]
    fn names_and_required_attributes_are_those_that_rules_read() {
        let of = |user_name| {
            let mut title = rule("title", Source::Expression("{{ title }}{{ rank }}".into()));
            title.required = true;
            mapping(vec![
                rule("username", user_name),
                rule("email", Source::Attribute("mail".into())),
                title,
            ])
        };
        let read = of(Source::Attribute("uid".into()));
        assert_eq!(read.name_attribute(Kind::User).as_deref(), Some("uid"));
        assert_eq!(read.name_attribute(Kind::Group).as_deref(), Some("cn"));
        let required = read.required_user_attributes();
        assert_eq!(required, ["rank", "title", "uid"].map(str::to_owned).into());
        let made = of(Source::Expression("{{ uid }}@x".into()));
        assert_eq!(made.name_attribute(Kind::User), None);
    }

    #[test]
    fn a_unit_has_a_name_of_its_own() {
        let mapping = mapping(vec![rule("username", Source::Attribute("uid".into()))]);
        let mapping = mapping.with_unit_name("ou");
        let mut group = user(&[("cn", &["Group"]), ("ou", &["Unit"])]);
        group.kind = Kind::Group;
        group.dn = "ou=unit,dc=x".into();
        let name = |group: &Identity| {
            let attributes = mapping.desired(group, DateTime::UNIX_EPOCH).resource;
            attributes.unwrap()[&AttributePath::display_name()].clone()
        };
        assert_eq!(name(&group), Value::Text("Group".into()));
        let place = MemberKey::of_place(Place::RightBelow, &group.dn.parse().unwrap());
        group.members = vec![Member {
            key: place,
            name: group.dn.clone(),
        }];
        assert_eq!(name(&group), Value::Text("Unit".into()));
        assert_eq!(mapping.unit_attributes(), ["ou".to_owned()].into());
    }

    #[test]
    fn an_entry_that_cannot_be_mapped_names_the_attribute_and_the_cure() {
        let mapping = mapping(vec![
            rule("username", Source::Attribute("uid".into())),
            rule("title", Source::Attribute("title".into())),
        ]);
        let mut entry = user(&[("title", &["a\u{0}b"])]);
        entry
            .attributes
            .insert("uid".into(), vec![DirectoryValue::Bytes(vec![0xff])]);
        let problems = mapping
            .desired(&entry, DateTime::UNIX_EPOCH)
            .resource
            .unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            text[0].contains("uid") && text[0].contains("UTF-8"),
            "{text:?}"
        );
        assert!(
            text[1].contains("title") && text[1].contains("control character"),
            "{text:?}"
        );
        let missing = mapping
            .desired(&user(&[]), DateTime::UNIX_EPOCH)
            .resource
            .unwrap_err();
        assert!(missing[0].to_string().contains("no uid"), "{missing:?}");
    }

    #[test]
    fn wrong_rules_are_refused_with_their_name() {
        let problems = Mapping::new(
            vec![
                rule("email", Source::Attribute("mail".into())),
                rule(
                    "emails[type eq \"work\"].value",
                    Source::Attribute("mail2".into()),
                ),
                rule("title", Source::Expression("{{ x".into())),
            ],
            Source::Attribute("cn".into()),
            StatusRules::of(DirectoryType::Ldap, Vec::new()),
        )
        .unwrap_err();
        let names: Vec<&str> = problems.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["title", "emails[type eq \"work\"].value", "username"]
        );
    }

    #[test]
    fn an_expression_that_never_ends_is_that_entrys_error() {
        let endless =
            "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
        let mapping = mapping(vec![
            rule("username", Source::Attribute("uid".into())),
            rule("title", Source::Expression(endless.into())),
        ]);
        let problems = mapping
            .desired(&user(&[("uid", &["ann"])]), DateTime::UNIX_EPOCH)
            .resource
            .unwrap_err();
        assert!(
            problems[0].to_string().contains("expression"),
            "{problems:?}"
        );
    }
}
