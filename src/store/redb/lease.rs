//! Leases: the term that fences off a writer of a directory's rows who has been replaced.

use redb::WriteTransaction;

use super::codec;
use super::failure::Failure;
use super::tables::{LEASES, Source, WriteTable, open_write};
use crate::id::DirectoryId;
use crate::store::{Error, ErrorKind, Lease};

/// Takes a directory's lease with the next term.
pub(super) fn take(txn: &WriteTransaction, directory: DirectoryId) -> Result<Lease, Failure> {
    let mut leases = open_write(txn, LEASES)?;
    let term = term(&leases, directory)? + 1;
    leases.insert(
        directory.0.as_bytes().as_slice(),
        term.to_be_bytes().as_slice(),
    )?;
    Ok(Lease { directory, term })
}

/// Checks, inside the transaction that writes, that a lease is still the last one.
pub(super) fn check(txn: &WriteTransaction, lease: &Lease) -> Result<(), Failure> {
    let term = term(&open_write(txn, LEASES)?, lease.directory)?;
    if term == lease.term {
        return Ok(());
    }
    Err(Failure::Rule(Error::new(
        ErrorKind::LeaseLost,
        format!(
            "the right to write directory {} was taken over (term {term}, held {}); the next run goes on",
            lease.directory, lease.term
        ),
    )))
}

/// Checks a lease, and that it is for this directory.
pub(super) fn check_for(
    txn: &WriteTransaction,
    lease: &Lease,
    directory: DirectoryId,
) -> Result<(), Failure> {
    if lease.directory != directory {
        return Err(Failure::defect(format!(
            "a lease for directory {} was used to write directory {directory}",
            lease.directory
        )));
    }
    check(txn, lease)
}

fn term(leases: &WriteTable<'_>, directory: DirectoryId) -> Result<u64, Failure> {
    let term = leases.read(directory.0.as_bytes(), |term| {
        codec::number(term).ok_or_else(|| Failure::corrupt("a lease has a term that is no number"))
    })?;
    Ok(term.unwrap_or_default())
}
