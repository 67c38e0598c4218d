//! The audit log: appended to, never changed; each record's digest depends on all before it.

use std::ops::Bound;

use redb::{ReadTransaction, WriteTransaction};

use super::codec;
use super::failure::Failure;
use super::tables::{AUDIT, META, Source, WriteTable, open_read, open_write};
use crate::audit::{Actor, ChainDigest, Deed, Event, Record, Verdict};
use crate::id::TenantName;
use crate::identity::RowKey;
use crate::job::Job;
use crate::plan::{Action, Reason};
use crate::store::Author;
use crate::store::jobs::Change;
use crate::store::records::{AuditFilter, AuditPage};

/// Number and digest of the last record, so that a log that was cut off at its end shows, too.
const HEAD: &[u8] = b"audit";
const DIGEST_BYTES: usize = 32;
/// Members that a record names; of more it gives the number and a digest, and the job's journal has them all.
const MEMBERS_NAMED: usize = 100;
/// Records that one call looks at, so that a filter that nothing passes does not read the whole log.
const RECORDS_PER_CALL: usize = 20_000;

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
        let table = open_write(txn, AUDIT)?;
        let (mut sequence, digest) = head(&meta)?;
        // Where somebody has taken the end away, nothing that is there is written over; the gap shows.
        if let Some(last) = table
            .between(Bound::Unbounded, Bound::Unbounded)?
            .next_back()
        {
            sequence = sequence.max(sequence_of(last?.0.value())?);
        }
        Ok(Self {
            table,
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
        Action::Delete { attributes } => attributes.keys().map(ToString::to_string).collect(),
        Action::AddMembers(_) | Action::RemoveMembers(_) | Action::SetManager(_) => Vec::new(),
    };
    let members = match &change.action {
        Action::Create { members, .. }
        | Action::AddMembers(members)
        | Action::RemoveMembers(members) => named(members),
        Action::Change { .. }
        | Action::Link { .. }
        | Action::Delete { .. }
        | Action::SetManager(_) => Vec::new(),
    };
    let outcome = match &change.error {
        None if change.reason == Reason::Recovered => {
            "found at the target, after the run that sent it was cut off".to_owned()
        }
        None => "acknowledged".to_owned(),
        Some(error) => format!("{}: {}", error.fault, error.detail),
    };
    let details = [
        ("operation", change.class.as_str().to_owned()),
        ("reason", change.reason.as_str().to_owned()),
        ("anchor", change.key.anchor.to_string()),
        ("id", change.id.clone().unwrap_or_default()),
        ("attributes", attributes.join(" ")),
        ("outcome", outcome),
    ];
    let details = details.into_iter().chain(members);
    Event {
        at: change.at,
        actor: Actor::Job(author.job),
        tenant: Some(author.tenant.clone()),
        deed: Deed::Change,
        subject: format!("{} {}", change.key.kind.as_str(), change.dn),
        details: details
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// Members by their anchors: all of a few; of many the first, how many there are, and a digest over all.
fn named(members: &[RowKey]) -> Vec<(&'static str, String)> {
    let anchors: Vec<String> = members.iter().map(|row| row.anchor.to_string()).collect();
    if anchors.len() <= MEMBERS_NAMED {
        return vec![("members", anchors.join(" "))];
    }
    let mut digest = ChainDigest::default();
    for (number, anchor) in (0..).zip(&anchors) {
        digest = digest.next(number, anchor.as_bytes());
    }
    vec![
        ("memberCount", anchors.len().to_string()),
        ("members", anchors[..MEMBERS_NAMED].join(" ")),
        ("membersDigest", digest.to_string()),
    ]
}

/// What the log says of a job that was asked for.
pub(super) fn start_of(job: &Job, actor: &Actor, tenant: &TenantName) -> Event {
    let word = |value: serde_json::Result<serde_json::Value>| {
        let value = value.ok();
        let word = value.as_ref().and_then(serde_json::Value::as_str);
        word.unwrap_or_default().to_owned()
    };
    let details = [
        ("directory", job.directory_id.to_string()),
        ("profile", job.profile.to_string()),
        ("mode", word(serde_json::to_value(job.mode))),
        ("trigger", word(serde_json::to_value(job.trigger))),
    ];
    Event {
        at: job.queued_at,
        actor: actor.clone(),
        tenant: Some(tenant.clone()),
        deed: Deed::JobStart,
        subject: format!("job {}", job.id),
        details: details.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

/// Records, newest first.
pub(super) fn records(
    txn: &ReadTransaction,
    filter: &AuditFilter,
    limit: usize,
) -> Result<AuditPage, Failure> {
    let table = open_read(txn, AUDIT)?;
    let before = filter.before.map(u64::to_be_bytes);
    let to = before.as_ref().map_or(Bound::Unbounded, |before| {
        Bound::Excluded(before.as_slice())
    });
    let mut page = AuditPage::default();
    for (looked_at, entry) in table.between(Bound::Unbounded, to)?.rev().enumerate() {
        let (key, stored) = entry?;
        if page.records.len() == limit || looked_at == RECORDS_PER_CALL {
            page.next = Some(sequence_of(key.value())? + 1);
            break;
        }
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
            page.records.push(record);
        }
    }
    Ok(page)
}

fn matches(filter: &AuditFilter, event: &Event) -> bool {
    let of_tenant = match (&filter.tenant, &event.tenant) {
        (Some(asked), Some(tenant)) => asked == tenant,
        (Some(_), None) => filter.relay_wide,
        (None, _) => true,
    };
    let of_kind = filter.deed.is_none_or(|deed| deed == event.deed);
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
    of_tenant && of_kind && has_text
}

fn sequence_of(key: &[u8]) -> Result<u64, Failure> {
    codec::number(key).ok_or_else(|| Failure::corrupt("the audit log has a key that is not one"))
}

fn read(key: &[u8], stored: &[u8]) -> Result<Record, Failure> {
    let no_record = || Failure::corrupt("the audit log has a record that is not one");
    let (digest, event) = stored
        .split_first_chunk::<DIGEST_BYTES>()
        .ok_or_else(no_record)?;
    Ok(Record {
        sequence: sequence_of(key)?,
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

/// Checks every record's number and digest, that the log ends where it should, and that it has a digest noted elsewhere.
pub(super) fn verify(
    txn: &ReadTransaction,
    noted: Option<ChainDigest>,
) -> Result<Verdict, Failure> {
    let (last, head) = head(&open_read(txn, META)?)?;
    let (mut sequence, mut digest) = (0_u64, ChainDigest::default());
    let mut has_noted = noted.is_none_or(|noted| noted == digest);
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
            return broken(
                sequence,
                "the record is missing, or another one is in its place",
            );
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
        has_noted |= noted == Some(digest);
    }
    if (sequence, digest) != (last, head) {
        let problem = format!("the log ends here, but {last} records were written");
        return broken(sequence + 1, &problem);
    }
    if !has_noted {
        return Ok(Verdict::Replaced {
            records: sequence,
            head: digest,
        });
    }
    Ok(Verdict::Intact {
        records: sequence,
        head: digest,
    })
}
