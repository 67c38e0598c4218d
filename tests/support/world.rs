//! A made-up company: the same seed gives the same people and groups, as values to compare with and as LDIF to load.

use std::fmt::Write as _;

use crate::support::ldif::write_value;
use crate::support::slapd::{GROUPS, PEOPLE};

const GIVEN: &[&str] = &[
    "Anna",
    "Björn",
    "Chloé",
    "Darragh",
    "Elżbieta",
    "François",
    "Grażyna",
    "Hélène",
    "İlker",
    "Jürgen",
    "Katarína",
    "Łukasz",
    "María",
    "Niamh",
    "Øyvind",
    "Petra",
    "Renée",
    "Søren",
    "Tomáš",
    "Zoë",
];
const SURNAMES: &[&str] = &[
    "Ångström",
    "Brontë",
    "Češka",
    "Doğan",
    "Etxeberria",
    "Fischer",
    "García",
    "Hansson",
    "Iglesias",
    "Jørgensen",
    "Kovács",
    "Lindqvist",
    "Müller",
    "Nuñez",
    "O'Brien",
    "Peña",
    "Rossi",
    "Strauß",
    "Tremblay",
    "Žižek",
];
const TITLES: &[&str] = &[
    "Engineer",
    "Analyst",
    "Accountant",
    "Team lead",
    "Director",
    "Conseillère",
    "Buchhalter",
];

/// One person, with every attribute that the default mapping reads and a few more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The login name; unique, lower-case ASCII.
    pub uid: String,
    /// First name, often with accents.
    pub given_name: String,
    /// Last name, often with accents.
    pub surname: String,
    /// First and last name with the number that makes it unique.
    pub display_name: String,
    /// Work address; unique.
    pub mail: String,
    /// Work telephone, E.164 with spaces.
    pub telephone: String,
    /// Job title.
    pub title: String,
    /// Department, `1` to `40`.
    pub department: String,
    /// Employee number; unique.
    pub employee: String,
}

impl Person {
    /// Where the person is in the directory.
    pub fn dn(&self) -> String {
        format!("uid={},{PEOPLE}", self.uid)
    }

    /// The person as an LDIF entry.
    pub fn ldif(&self) -> String {
        let mut ldif = format!("dn: {}\n", self.dn());
        for class in ["top", "person", "organizationalPerson", "inetOrgPerson"] {
            write_value(&mut ldif, "objectClass", class);
        }
        for (name, value) in [
            ("uid", &self.uid),
            ("cn", &self.display_name),
            ("sn", &self.surname),
            ("givenName", &self.given_name),
            ("displayName", &self.display_name),
            ("mail", &self.mail),
            ("telephoneNumber", &self.telephone),
            ("title", &self.title),
            ("departmentNumber", &self.department),
            ("employeeNumber", &self.employee),
        ] {
            write_value(&mut ldif, name, value);
        }
        ldif.push('\n');
        ldif
    }
}

/// One groupOfNames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's name; unique.
    pub name: String,
    /// Whom it names: people, other groups, and nobody (a dangling name).
    pub members: Vec<String>,
}

impl Group {
    /// Where the group is in the directory.
    pub fn dn(&self) -> String {
        format!("cn={},{GROUPS}", self.name)
    }

    /// The group as an LDIF entry.
    pub fn ldif(&self) -> String {
        let mut ldif = format!("dn: {}\n", self.dn());
        write_value(&mut ldif, "objectClass", "groupOfNames");
        write_value(&mut ldif, "cn", &self.name);
        for member in &self.members {
            write_value(&mut ldif, "member", member);
        }
        ldif.push('\n');
        ldif
    }
}

/// The company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// Everyone, by number.
    pub people: Vec<Person>,
    /// The groups whose members are people only.
    pub groups: Vec<Group>,
    /// `all-of-0`: holds the first group and one person (nesting). Empty when there are no plain groups, like the next two.
    pub nested: Option<Group>,
    /// `cycle-a` and `cycle-b`, each a member of the other, each with one person.
    pub cycle: Vec<Group>,
    /// `dangling`: one person, and one name that no entry has.
    pub dangling: Option<Group>,
    /// `posix`: a posixGroup, members by login name (`memberUid`).
    pub posix: Vec<String>,
}

impl World {
    /// `people` people and `groups` plain groups of 1 to 30 members, plus the special groups when there is anyone to be in them.
    pub fn new(seed: u64, people: usize, groups: usize) -> Self {
        let mut random = Random(seed);
        let people: Vec<Person> = (0..people)
            .map(|number| person(&mut random, number))
            .collect();
        if people.is_empty() || groups == 0 {
            return Self {
                people,
                groups: Vec::new(),
                nested: None,
                cycle: Vec::new(),
                dangling: None,
                posix: Vec::new(),
            };
        }
        let groups: Vec<Group> = (0..groups)
            .map(|number| plain_group(&mut random, number, &people))
            .collect();
        let one = |random: &mut Random| people[random.below(people.len())].dn();
        let named = |name: &str, members: Vec<String>| Group {
            name: name.to_owned(),
            members,
        };
        Self {
            nested: Some(named("all-of-0", vec![groups[0].dn(), one(&mut random)])),
            cycle: vec![
                named(
                    "cycle-a",
                    vec![format!("cn=cycle-b,{GROUPS}"), one(&mut random)],
                ),
                named(
                    "cycle-b",
                    vec![format!("cn=cycle-a,{GROUPS}"), one(&mut random)],
                ),
            ],
            dangling: Some(named(
                "dangling",
                vec![format!("uid=nobody,{PEOPLE}"), one(&mut random)],
            )),
            posix: people
                .iter()
                .take(3)
                .map(|person| person.uid.clone())
                .collect(),
            people,
            groups,
        }
    }

    /// All groupOfNames, the special ones last.
    pub fn all_groups(&self) -> impl Iterator<Item = &Group> {
        self.groups
            .iter()
            .chain(&self.nested)
            .chain(&self.cycle)
            .chain(&self.dangling)
    }

    /// Everything as LDIF, to be loaded below the organizational units that every test directory has.
    pub fn ldif(&self) -> String {
        let mut ldif = String::new();
        for person in &self.people {
            ldif.push_str(&person.ldif());
        }
        for group in self.all_groups() {
            ldif.push_str(&group.ldif());
        }
        if !self.posix.is_empty() {
            writeln!(
                ldif,
                "dn: cn=posix,{GROUPS}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 5000"
            )
            .expect("writing to a string");
            for uid in &self.posix {
                write_value(&mut ldif, "memberUid", uid);
            }
            ldif.push('\n');
        }
        ldif
    }
}

fn person(random: &mut Random, number: usize) -> Person {
    let given_name = random.one_of(GIVEN).to_owned();
    let surname = random.one_of(SURNAMES).to_owned();
    Person {
        uid: format!("u{number:07}"),
        display_name: format!("{given_name} {surname} {number}"),
        mail: format!("u{number:07}@example.org"),
        telephone: format!("+49 30 {:07}", random.below(10_000_000)),
        title: random.one_of(TITLES).to_owned(),
        department: (1 + random.below(40)).to_string(),
        employee: format!("E{:07}", 1_000_000 + number),
        given_name,
        surname,
    }
}

fn plain_group(random: &mut Random, number: usize, people: &[Person]) -> Group {
    let size = 1 + random.below(30.min(people.len()));
    // Neighbours by number: distinct without a look at those chosen before.
    let first = random.below(people.len());
    Group {
        name: format!("group {number:05}"),
        members: (0..size)
            .map(|step| people[(first + step) % people.len()].dn())
            .collect(),
    }
}

/// SplitMix64: the same numbers on every machine and with every version of every library.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}
