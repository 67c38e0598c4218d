//! Reads LDIF content records (RFC 2849): comments, folded lines, base64. Changes and URLs are refused.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One record: its DN, and its attributes with their values in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The distinguished name as written.
    pub dn: String,
    /// Attributes in order, each with its values.
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// Why a text is not LDIF.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct LdifError {
    /// The line, from 1, on which the trouble starts.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// The records of a text.
///
/// # Errors
/// The first line that is not part of a content record.
pub fn parse(text: &str) -> Result<Vec<Record>, LdifError> {
    let mut records: Vec<Record> = Vec::new();
    let mut open = false;
    for (line, content) in unfold(text) {
        if content.is_empty() {
            open = false;
            continue;
        }
        let (name, value) = field(&content).map_err(|problem| LdifError { line, problem })?;
        if !open && records.is_empty() && name.eq_ignore_ascii_case("version") {
            continue;
        }
        let fail = |problem| Err(LdifError { line, problem });
        if !open {
            if !name.eq_ignore_ascii_case("dn") {
                return fail("a record must begin with \"dn:\"");
            }
            let Ok(dn) = String::from_utf8(value) else {
                return fail("the DN is not UTF-8");
            };
            records.push(Record {
                dn,
                attributes: Vec::new(),
            });
            open = true;
            continue;
        }
        if name.eq_ignore_ascii_case("changetype") {
            return fail("change records are not supported, only entries");
        }
        if let Some(record) = records.last_mut() {
            let known = record
                .attributes
                .iter_mut()
                .find(|(known, _)| known.eq_ignore_ascii_case(name));
            match known {
                Some((_, values)) => values.push(value),
                None => record.attributes.push((name.to_owned(), vec![value])),
            }
        }
    }
    Ok(records)
}

/// The lines without comments, continuation lines joined to what they continue, each with its number.
fn unfold(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match (line.strip_prefix(' '), lines.last_mut()) {
            (Some(more), Some((_, last))) if !last.is_empty() => last.push_str(more),
            _ => lines.push((index + 1, line.to_owned())),
        }
    }
    lines.retain(|(_, line)| !line.starts_with('#'));
    lines
}

fn field(line: &str) -> Result<(&str, Vec<u8>), &'static str> {
    let (name, value) = line
        .split_once(':')
        .ok_or("a line must be \"name: value\"")?;
    if name.is_empty() || name.contains(' ') {
        return Err("the attribute name is empty or has a space");
    }
    if value.starts_with('<') {
        return Err("values from a URL are not supported");
    }
    match value.strip_prefix(':') {
        Some(encoded) => match STANDARD.decode(encoded.trim()) {
            Ok(value) => Ok((name, value)),
            Err(_) => Err("the value behind \"::\" is not base64"),
        },
        None => Ok((name, value.trim_start_matches(' ').as_bytes().to_vec())),
    }
}
