//! The rules of the house (src/ARCHITECTURE.md) as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a source file before its tests; see rule 10.
const FILE_LINES_MAX: usize = 500;

/// What pure rooms must not contain, and why.
const WET: [(&str, &str); 12] = [
    ("async ", "async"),
    (".await", "async"),
    ("tokio::", "async"),
    ("std::fs", "files"),
    ("std::net", "sockets"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("Utc::now", "the clock"),
    ("SystemTime", "the clock"),
    ("Instant::", "the clock"),
    ("getrandom", "randomness"),
    ("now_v7", "the clock and randomness"),
];

struct Room {
    pure: bool,
    may_import: Option<BTreeSet<String>>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The table of rooms in src/ARCHITECTURE.md; `everything` is `None`.
fn rooms() -> BTreeMap<String, Room> {
    let text = std::fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## Rooms\n").nth(1).expect("a section Rooms");
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1);
    let rooms: BTreeMap<String, Room> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, _, pure, imports] = cells[..] else {
                panic!("not four cells: {line}")
            };
            let may_import = match imports {
                "everything" => None,
                "-" => Some(BTreeSet::new()),
                names => Some(
                    names
                        .split(',')
                        .map(|name| name.trim().to_owned())
                        .collect(),
                ),
            };
            (
                name.to_owned(),
                Room {
                    pure: pure == "yes",
                    may_import,
                },
            )
        })
        .collect();
    assert!(rooms.len() > 15, "the table of rooms could not be read");
    rooms
}

/// Every Rust file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

struct Source {
    /// Path from the project's root.
    path: String,
    room: String,
    /// The product's own part.
    code: String,
    is_test: bool,
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root().join("src"), &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let inside = path.strip_prefix("src/").unwrap();
            let room = inside.split(['/', '.']).next().unwrap().to_owned();
            let is_test = inside.contains("/tests/") || inside.ends_with("/tests.rs");
            let code = text
                .split("\n#[cfg(test)]\nmod tests {")
                .next()
                .unwrap()
                .to_owned();
            Source {
                path,
                room,
                code,
                is_test,
            }
        })
        .collect()
}

/// Lines without comments.
fn statements(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

fn report(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn tidy_every_room_is_in_the_table_and_declared_once() {
    let rooms = rooms();
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: BTreeSet<String> = lib
        .lines()
        .filter_map(|line| {
            line.strip_prefix("pub mod ")?
                .strip_suffix(';')
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(declared, rooms.keys().cloned().collect::<BTreeSet<_>>());
    assert!(
        !lib.contains("use "),
        "lib.rs declares rooms and re-exports nothing"
    );
}

#[test]
fn tidy_imports_go_down_as_the_table_allows() {
    let rooms = rooms();
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        let Some(Room {
            may_import: Some(allowed),
            ..
        }) = rooms.get(&source.room)
        else {
            continue;
        };
        for line in statements(&source.code) {
            for part in line.split("crate::").skip(1) {
                let target: String = part
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if rooms.contains_key(&target)
                    && target != source.room
                    && !allowed.contains(&target)
                {
                    breaches.push(format!(
                        "{}: {} may not import {target}",
                        source.path, source.room
                    ));
                }
            }
            assert!(
                !line.contains("use crate::{"),
                "{}: import by full path: {line}",
                source.path
            );
            assert!(
                !line.trim_start().starts_with("pub use "),
                "{}: nothing is re-exported: {line}",
                source.path
            );
        }
    }
    report(breaches);
}

#[test]
fn tidy_pure_rooms_are_pure() {
    let rooms = rooms();
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        if rooms.get(&source.room).is_some_and(|room| room.pure) {
            for line in statements(&source.code) {
                let found = WET.iter().filter(|(word, _)| line.contains(word));
                breaches.extend(
                    found.map(|(_, what)| {
                        format!("{}: a pure room uses {what}: {line}", source.path)
                    }),
                );
            }
        }
    }
    report(breaches);
}

#[test]
fn tidy_every_file_says_what_it_holds_and_fits_a_head() {
    let mut breaches = Vec::new();
    for source in sources() {
        if !source.code.starts_with("//! ") && !source.code.starts_with("#![doc") {
            breaches.push(format!(
                "{} does not open with a sentence that says what it holds",
                source.path
            ));
        }
        let lines = source.code.lines().count();
        if lines > FILE_LINES_MAX {
            breaches.push(format!(
                "{} has {lines} lines; is there a seam with a name?",
                source.path
            ));
        }
    }
    report(breaches);
}

#[test]
fn tidy_lints_are_not_switched_off_without_a_reason() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        for line in statements(&source.code)
            .filter(|line| line.contains("[allow(") || line.contains("[expect("))
        {
            if !line.contains("reason") {
                breaches.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    report(breaches);
}

#[test]
fn tidy_there_is_one_tls_provider_and_one_top_level() {
    // Cargo.lock names optional dependencies that are never built, so the resolved tree is asked.
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.contains("aws-lc-rs "),
        "the tree of dependencies could not be read"
    );
    for banned in ["ring ", "openssl ", "openssl-sys ", "native-tls "] {
        assert!(
            !tree.lines().any(|line| line.starts_with(banned)),
            "{banned} is a second TLS provider"
        );
    }
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "src",
        "config",
        "tests",
        "scim-fixtures",
        "target",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || allowed.contains(&name.as_str()),
            "{name} does not belong on the top level"
        );
    }
}
