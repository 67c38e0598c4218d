//! What was entered through the API: definitions of tenants and directories with their sealed secrets, and tokens.

use redb::{ReadTransaction, WriteTransaction};

use super::audit;
use super::codec;
use super::failure::Failure;
use super::tables::{DEFINITIONS, META, Source, TOKENS, open_read, open_write};
use crate::access::{Token, TokenId};
use crate::audit::Event;
use crate::store::records::{Definition, Subject};

const KEY_CHECK: &[u8] = b"key-check";

fn subject_key(subject: &Subject) -> Vec<u8> {
    match subject {
        Subject::Tenant(name) => [b"t".as_slice(), name.0.as_bytes()].concat(),
        Subject::Directory(id) => [b"d".as_slice(), id.0.as_bytes()].concat(),
    }
}

/// All definitions: directories, then tenants.
pub(super) fn definitions(txn: &ReadTransaction) -> Result<Vec<Definition>, Failure> {
    open_read(txn, DEFINITIONS)?
        .after(None)?
        .map(|entry| codec::decode(entry?.1.value()))
        .collect()
}

/// Writes definitions.
pub(super) fn save_definitions(
    txn: &WriteTransaction,
    definitions: &[Definition],
    events: &[Event],
) -> Result<(), Failure> {
    let mut table = open_write(txn, DEFINITIONS)?;
    for definition in definitions {
        let record = codec::encode(definition)?;
        table.insert(
            subject_key(&definition.subject).as_slice(),
            record.as_slice(),
        )?;
    }
    audit::append(txn, events)
}

/// Removes a definition.
pub(super) fn remove_definition(
    txn: &WriteTransaction,
    subject: &Subject,
    event: Event,
) -> Result<(), Failure> {
    open_write(txn, DEFINITIONS)?.remove(subject_key(subject).as_slice())?;
    audit::append(txn, &[event])
}

/// The sealed constant.
pub(super) fn key_check(txn: &ReadTransaction) -> Result<Option<Vec<u8>>, Failure> {
    open_read(txn, META)?.read(KEY_CHECK, |sealed| Ok(sealed.to_vec()))
}

/// Replaces the sealed constant.
pub(super) fn save_key_check(txn: &WriteTransaction, sealed: &[u8]) -> Result<(), Failure> {
    open_write(txn, META)?.insert(KEY_CHECK, sealed)?;
    Ok(())
}

/// All tokens, oldest first.
pub(super) fn tokens(txn: &ReadTransaction) -> Result<Vec<Token>, Failure> {
    open_read(txn, TOKENS)?
        .after(None)?
        .map(|entry| codec::decode(entry?.1.value()))
        .collect()
}

/// Writes tokens.
pub(super) fn save_tokens(
    txn: &WriteTransaction,
    tokens: &[Token],
    events: &[Event],
) -> Result<(), Failure> {
    let mut table = open_write(txn, TOKENS)?;
    for token in tokens {
        let record = codec::encode(token)?;
        table.insert(token.id.0.as_bytes().as_slice(), record.as_slice())?;
    }
    audit::append(txn, events)
}

/// Removes a token.
pub(super) fn remove_token(
    txn: &WriteTransaction,
    id: TokenId,
    event: Event,
) -> Result<(), Failure> {
    open_write(txn, TOKENS)?.remove(id.0.as_bytes().as_slice())?;
    audit::append(txn, &[event])
}
