//! Definitions, tokens and the audit log behind their trait.

use async_trait::async_trait;

use super::{Commit, RedbStore, audit, definitions, jobs};
use crate::access::{Token, TokenId};
use crate::audit::{Actor, ChainDigest, Event, Verdict};
use crate::id::TenantName;
use crate::job::Job;
use crate::store::Error;
use crate::store::records::{AuditFilter, AuditPage, Definition, Records, Subject};

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

    async fn save_tokens(&self, tokens: Vec<Token>, events: Vec<Event>) -> Result<(), Error> {
        self.write(Commit::Outbox, move |txn| {
            definitions::save_tokens(txn, &tokens, &events)
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

    async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<AuditPage, Error> {
        self.read(move |txn| audit::records(txn, &filter, limit))
            .await
    }

    async fn verify_audit(&self, noted: Option<ChainDigest>) -> Result<Verdict, Error> {
        self.read(move |txn| audit::verify(txn, noted)).await
    }

    async fn queue_job(&self, job: &Job, actor: &Actor, tenant: &TenantName) -> Result<(), Error> {
        let (job, event) = (job.clone(), audit::start_of(job, actor, tenant));
        self.write(Commit::Outbox, move |txn| {
            jobs::save(txn, &job)?;
            audit::append(txn, &[event])
        })
        .await
    }
}
