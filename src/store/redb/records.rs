//! Definitions, tokens and the audit log behind their trait.

use async_trait::async_trait;

use super::{Commit, RedbStore, audit, definitions};
use crate::access::{Token, TokenId};
use crate::audit::{Event, Record, Verdict};
use crate::store::Error;
use crate::store::records::{AuditFilter, Definition, Records, Subject};

#[async_trait]
impl Records for RedbStore {
    async fn definitions(&self) -> Result<Vec<Definition>, Error> {
        self.read(definitions::definitions).await
    }

    async fn save_definitions(
        &self,
        definitions: Vec<Definition>,
        events: Vec<Event>,
    ) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            definitions::save_definitions(txn, &definitions, &events)
        })
        .await
    }

    async fn remove_definition(&self, subject: &Subject, event: Event) -> Result<(), Error> {
        let subject = subject.clone();
        self.write(Commit::Outbox, move |txn| {
            definitions::remove_definition(txn, &subject, event)
        })
        .await
    }

    async fn key_check(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read(definitions::key_check).await
    }

    async fn save_key_check(
        &self,
        sealed: Vec<u8>,
        definitions: Vec<Definition>,
        events: Vec<Event>,
    ) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            definitions::save_key_check(txn, &sealed)?;
            definitions::save_definitions(txn, &definitions, &events)
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.read(definitions::tokens).await
    }

    async fn save_token(&self, token: &Token, events: Vec<Event>) -> Result<(), Error> {
        let token = token.clone();
        self.write(Commit::Outbox, move |txn| {
            definitions::save_token(txn, &token, &events)
        })
        .await
    }

    async fn remove_token(&self, id: TokenId, event: Event) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            definitions::remove_token(txn, id, event)
        })
        .await
    }

    async fn append_audit(&self, events: Vec<Event>) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| audit::append(txn, &events))
            .await
    }

    async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<Vec<Record>, Error> {
        self.read(move |txn| audit::records(txn, &filter, limit))
            .await
    }

    async fn verify_audit(&self) -> Result<Verdict, Error> {
        self.read(audit::verify).await
    }
}
