//! The audit log: appended to, never changed; each record's digest depends on all before it.

use std::ops::Bound;

use redb::{ReadTransaction, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::tables::{AUDIT, META, Source, WriteTable, open_read, open_write};
use crate::audit::{Actor, ChainDigest, Deed, Event, Record, Verdict};
use crate::plan::Action;
use crate::store::records::AuditFilter;
use crate::store::{Author, Change};

/// Number and digest of the last record, so that a log that was cut off at its end shows, too.
const HEAD: &[u8] = b"audit";
const DIGEST_BYTES: usize = 32;

/// The log, open at its end.
pub(super) struct AuditLog<'t> {
    table: WriteTable<'t>,
    meta: WriteTable<'t>,
    sequence: u64,
    digest: ChainDigest,
}

impl<'t> AuditLog<'t> {
    /// Opens it.
    pub(super) fn open(txn: &'t WriteTransaction) -> Result<Self, Failure> {
        let meta = open_write(txn, META)?;
        let (sequence, digest) = head(&meta)?;
        Ok(Self {
            table: open_write(txn, AUDIT)?,
            meta,
            sequence,
            digest,
        })
    }

    /// Adds a record.
    pub(super) fn append(&mut self, event: &Event) -> Result<(), Failure> {
        let record = codec::encode(event)?;
        self.sequence += 1;
        self.digest = self.digest.next(self.sequence, &record);
        let stored = [self.digest.0.as_slice(), &record].concat();
        self.table
            .insert(self.sequence.to_be_bytes().as_slice(), stored.as_slice())?;
        Ok(())
    }

    /// Writes down where the log ends.
    pub(super) fn close(mut self) -> Result<(), Failure> {
        let head = [self.sequence.to_be_bytes().as_slice(), &self.digest.0].concat();
        self.meta.insert(HEAD, head.as_slice())?;
        Ok(())
    }
}

/// Appends events.
pub(super) fn append(txn: &WriteTransaction, events: &[Event]) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let mut log = AuditLog::open(txn)?;
    events.iter().try_for_each(|event| log.append(event))?;
    log.close()
}

/// What the log says of a change that was sent.
pub(super) fn event_of(change: &Change, author: &Author) -> Event {
    let attributes = match &change.action {
        Action::Change { changes } => changes
            .iter()
            .map(|change| change.path.to_string())
            .collect(),
        Action::Create { attributes, .. } | Action::Link { attributes, .. } => {
            attributes.keys().map(ToString::to_string).collect()
        }
        Action::AddMembers(_) | Action::RemoveMembers(_) => Vec::new(),
    };
    let members: Vec<String> = match &change.action {
        Action::Create { members, .. }
        | Action::AddMembers(members)
        | Action::RemoveMembers(members) => members
            .iter()
            .map(|member| member.anchor.to_string())
            .collect(),
        Action::Change { .. } | Action::Link { .. } => Vec::new(),
    };
    let outcome = match &change.error {
        None => "acknowledged".to_owned(),
        Some(error) => format!("{}: {}", error.fault, error.detail),
    };
    let details = [
        ("operation", change.class.as_str().to_owned()),
        ("reason", change.reason.as_str().to_owned()),
        ("anchor", change.key.anchor.to_string()),
        ("id", change.id.clone().unwrap_or_default()),
        ("attributes", attributes.join(" ")),
        ("members", members.join(" ")),
        ("outcome", outcome),
    ];
    Event {
        at: change.at,
        actor: Actor::Job(author.job),
        tenant: Some(author.tenant.clone()),
        deed: Deed::Change,
        subject: format!("{} {}", change.key.kind.as_str(), change.dn),
        details: details
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// Records, newest first.
pub(super) fn records(
    txn: &ReadTransaction,
    filter: &AuditFilter,
    limit: usize,
) -> Result<Vec<Record>, Failure> {
    let table = open_read(txn, AUDIT)?;
    let before = filter.before.map(u64::to_be_bytes);
    let to = before.as_ref().map_or(Bound::Unbounded, |before| {
        Bound::Excluded(before.as_slice())
    });
    let mut found = Vec::new();
    for entry in table.between(Bound::Unbounded, to)?.rev() {
        if found.len() == limit {
            break;
        }
        let (key, stored) = entry?;
        let record = read(key.value(), stored.value())?;
        // Records are in order of writing, and times are not: clocks are set. A day's grace keeps the scan short.
        let too_old = |grace| {
            filter
                .since
                .is_some_and(|since| record.event.at + grace < since)
        };
        if too_old(chrono::Duration::days(1)) {
            break;
        }
        if !too_old(chrono::Duration::zero()) && matches(filter, &record.event) {
            found.push(record);
        }
    }
    Ok(found)
}

fn matches(filter: &AuditFilter, event: &Event) -> bool {
    let of_tenant = filter
        .tenant
        .as_ref()
        .is_none_or(|tenant| event.tenant.as_ref() == Some(tenant));
    let has_text = filter.text.as_ref().is_none_or(|text| {
        let text = text.to_lowercase();
        [
            event.subject.as_str(),
            event.deed.as_str(),
            &event.actor.to_string(),
        ]
        .iter()
        .any(|part| part.to_lowercase().contains(&text))
    });
    of_tenant && has_text
}

fn read(key: &[u8], stored: &[u8]) -> Result<Record, Failure> {
    let no_record = || Failure::corrupt("the audit log has a record that is not one");
    let sequence = key
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| no_record())?;
    let (digest, event) = stored
        .split_first_chunk::<DIGEST_BYTES>()
        .ok_or_else(no_record)?;
    Ok(Record {
        sequence,
        event: codec::decode(event)?,
        digest: ChainDigest(*digest),
    })
}

fn head(meta: &impl Source) -> Result<(u64, ChainDigest), Failure> {
    let head = meta.read(HEAD, |bytes| {
        let parts = bytes
            .split_first_chunk()
            .and_then(|(sequence, digest)| Some((*sequence, digest.try_into().ok()?)));
        let (sequence, digest) = parts
            .ok_or_else(|| Failure::corrupt("the end of the audit log is not written down"))?;
        Ok((u64::from_be_bytes(sequence), ChainDigest(digest)))
    })?;
    Ok(head.unwrap_or_default())
}

/// Checks every record's number and digest, and that the log ends where it should.
pub(super) fn verify(txn: &ReadTransaction) -> Result<Verdict, Failure> {
    let (last, head) = head(&open_read(txn, META)?)?;
    let (mut sequence, mut digest) = (0_u64, ChainDigest::default());
    let broken = |sequence, problem: &str| {
        Ok(Verdict::Broken {
            sequence,
            problem: problem.to_owned(),
        })
    };
    for entry in open_read(txn, AUDIT)?.after(None)? {
        let (key, stored) = entry?;
        sequence += 1;
        if key.value() != sequence.to_be_bytes() {
            return broken(sequence, "the record is missing");
        }
        let Some((written, record)) = stored.value().split_first_chunk::<DIGEST_BYTES>() else {
            return broken(sequence, "the record is cut off");
        };
        digest = digest.next(sequence, record);
        if digest.0 != *written {
            return broken(
                sequence,
                "the record, or one before it, is not what was written",
            );
        }
    }
    if (sequence, digest) != (last, head) {
        let problem = format!("the log ends here, but {last} records were written");
        return broken(sequence + 1, &problem);
    }
    Ok(Verdict::Intact {
        records: sequence,
        head: digest,
    })
}
