//! What is known of a deleted directory or profile is forgotten, once no job of it runs any more.

use tracing::Instrument as _;

use crate::id::{DirectoryId, ProfileKey};
use crate::scheduler::{Scheduler, lock};
use crate::store::Error;

/// What was deleted.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// A directory with all of its profiles.
    Directory(DirectoryId),
    /// One profile of a directory.
    Profile(ProfileKey),
}

impl Deleted {
    fn directory(&self) -> DirectoryId {
        match self {
            Self::Directory(id) => *id,
            Self::Profile(key) => key.directory,
        }
    }

    fn includes(&self, key: &ProfileKey) -> bool {
        match self {
            Self::Directory(id) => key.directory == *id,
            Self::Profile(profile) => profile == key,
        }
    }
}

impl Scheduler {
    /// Cancels the jobs of what was deleted, and drops what the store knows of it when they have ended. Nothing depends on
    /// when that is: what is not in the catalog does not count.
    pub fn forget(&self, deleted: Deleted) {
        for (_, running) in self.table().iter().filter(|(key, _)| deleted.includes(key)) {
            running.stop.cancel();
        }
        for running in lock(&self.0.urgent).values() {
            if deleted.includes(&running.feed.borrow().profile_key()) {
                running.stop.cancel();
            }
        }
        let scheduler = self.clone();
        let span = tracing::info_span!("forget", directory = %deleted.directory());
        let work = async move {
            if let Err(error) = scheduler.forget_now(&deleted).await {
                tracing::error!(error = %error, "what was known of it could not be dropped from the store");
            }
        };
        self.0.tasks.spawn(work.instrument(span));
    }

    async fn forget_now(&self, deleted: &Deleted) -> Result<(), Error> {
        loop {
            let left = self.0.left.notified();
            if !self.table().keys().any(|key| deleted.includes(key)) {
                break;
            }
            left.await;
        }
        let _alone = self.alone(deleted.directory()).await;
        let profiles = self.0.runner.profiles();
        if profiles
            .iter()
            .any(|profile| deleted.includes(&profile.key))
        {
            // It was created anew, and goes on where it was.
            return Ok(());
        }
        match deleted {
            Deleted::Directory(id) => self.0.store.forget_directory(*id).await,
            Deleted::Profile(key) => {
                let lease = self.0.store.lease(key.directory).await?;
                self.0.store.forget_profile(&lease, key).await
            }
        }
    }
}
