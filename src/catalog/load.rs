//! Definitions as they are read at the start: the file's first, then the store's, where nothing stands in their way.

use std::sync::Arc;

use crate::catalog::{Contents, Entry, Kept, Sealed, Unusable};
use crate::directory::tenant::{self, Tenant};
use crate::directory::{Directory, Origin, read};
use crate::document::{Node, Problems};
use crate::id::DirectoryId;
use crate::store::records::{Definition, Subject};

/// Puts the definitions of file and store together. One of the store that cannot be used is left out and told of: it
/// must not keep the others from running.
pub(super) fn contents(
    tenants: Vec<Tenant>,
    directories: Vec<Directory>,
    definitions: Vec<Definition>,
) -> Contents {
    let mut contents = Contents::default();
    for tenant in tenants {
        contents.tenants.insert(
            tenant.name.clone(),
            Entry {
                definition: Arc::new(tenant),
                kept: Kept::InFile,
            },
        );
    }
    for directory in directories {
        contents.directories.insert(
            directory.id,
            Entry {
                definition: Arc::new(directory),
                kept: Kept::InFile,
            },
        );
    }
    let (tenants, directories): (Vec<_>, Vec<_>) = definitions
        .into_iter()
        .partition(|definition| matches!(definition.subject, Subject::Tenant(_)));
    for definition in tenants.into_iter().chain(directories) {
        let result = match definition.subject.clone() {
            Subject::Tenant(_) => add_tenant(&mut contents, &definition),
            Subject::Directory(id) => add_directory(&mut contents, id, &definition),
        };
        if let Err(problem) = result {
            contents.unusable.push(Unusable {
                name: name_of(&definition),
                tenant: definition.tenant,
                subject: definition.subject,
                problem,
            });
        }
    }
    contents
}

fn add_tenant(contents: &mut Contents, definition: &Definition) -> Result<(), String> {
    let tenant = parse(&definition.fields, |node, problems| {
        tenant::read(node, "", true, problems)
    })?;
    if contents.tenants.contains_key(&tenant.name) {
        return Err("the configuration file defines a tenant of this name, too".to_owned());
    }
    contents.tenants.insert(
        tenant.name.clone(),
        Entry {
            definition: Arc::new(tenant),
            kept: kept(definition),
        },
    );
    Ok(())
}

fn add_directory(
    contents: &mut Contents,
    id: DirectoryId,
    definition: &Definition,
) -> Result<(), String> {
    let origin = Origin::Api(id, definition.tenant.clone());
    let directory = parse(&definition.fields, |node, problems| {
        read::directory(node, "", &origin, problems)
    })?;
    match contents.tenant(&directory.tenant).map(|entry| &entry.kept) {
        None => return Err(format!("its tenant {} is not defined", directory.tenant)),
        Some(Kept::InStore(tenant)) if tenant.created_at > definition.created_at => {
            return Err("it belongs to an earlier tenant of this name; delete it".to_owned());
        }
        Some(_) => {}
    }
    let same_name = |other: &&Entry<Directory>| other.definition.name == directory.name;
    if contents
        .directories_of(&directory.tenant)
        .iter()
        .any(same_name)
    {
        return Err("the configuration file defines a directory of this name, too".to_owned());
    }
    contents.directories.insert(
        id,
        Entry {
            definition: Arc::new(directory),
            kept: kept(definition),
        },
    );
    Ok(())
}

/// The name in the fields, for whoever has to tell one from another.
fn name_of(definition: &Definition) -> String {
    let fields: Option<serde_json::Value> = serde_json::from_str(&definition.fields).ok();
    let name = fields.as_ref().and_then(|fields| fields["name"].as_str());
    name.unwrap_or_default().to_owned()
}

fn kept(definition: &Definition) -> Kept {
    Kept::InStore(Sealed {
        secrets: definition.sealed.clone(),
        created_at: definition.created_at,
        updated_at: definition.updated_at,
    })
}

/// Reads stored fields by the reader that they passed when they were entered.
fn parse<T>(
    fields: &str,
    read: impl FnOnce(&Node, &mut Problems) -> Option<T>,
) -> Result<T, String> {
    let json = serde_json::from_str(fields).map_err(|error| format!("it is not JSON: {error}"))?;
    let mut problems = Problems::default();
    let definition = read(&Node::of_json(json), &mut problems);
    problems.verdict(definition).map_err(|problems| {
        let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })
}
