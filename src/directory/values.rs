//! Values that several readers of a directory's fields take: its type, distinguished names, filters.

use crate::document::{Fields, Problems};
use crate::identity::DirectoryType;
use crate::identity::dn::Dn;
use crate::identity::filter::within_limits;
use crate::secret::SecretRef;

/// The directory's type, on which other defaults depend.
pub(super) fn directory_type(fields: &mut Fields<'_>, problems: &mut Problems) -> DirectoryType {
    fields.required_text("type", "`ldap` or `active_directory`", problems);
    let words = [
        ("ldap", DirectoryType::Ldap),
        ("active_directory", DirectoryType::ActiveDirectory),
    ];
    fields.choice("type", DirectoryType::Ldap, &words, problems)
}

/// A distinguished name, kept as it was written.
pub(super) fn dn(
    fields: &mut Fields<'_>,
    name: &'static str,
    problems: &mut Problems,
) -> Option<String> {
    fields.parsed(name, problems, |text| {
        text.parse::<Dn>()
            .map(|_| text.to_owned())
            .map_err(|error| error.to_string())
    })
}

/// Where a secret is kept.
pub(super) fn reference(
    fields: &mut Fields<'_>,
    name: &'static str,
    what: &str,
    problems: &mut Problems,
) -> Option<SecretRef> {
    fields.required_text(name, what, problems)?;
    fields.parsed(name, problems, str::parse)
}

/// A filter that parses by itself.
pub(super) fn filter(
    fields: &mut Fields<'_>,
    name: &'static str,
    problems: &mut Problems,
) -> Option<String> {
    fields.parsed(name, problems, |text| {
        within_limits(text)
            .map_err(|wrong| format!("is no filter that is accepted: {wrong}; simplify it"))?;
        match ldap3::parse_filter(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(format!(
                "`{}` is not an LDAP filter (RFC 4515); example: (&(objectClass=person)(mail=*))",
                text.escape_debug()
            )),
        }
    })
}
