//! `secret`: the key that seals secrets in the store, made and changed.

use chrono::Utc;
use serde_json::json;

use crate::app;
use crate::catalog;
use crate::cli::output::{Output, line};
use crate::cli::{Ending, Failure};
use crate::config::{Config, secrets};
use crate::secret::SecretRef;
use crate::vault;

/// Prints a new key.
pub(super) fn generate() -> Result<Ending, Failure> {
    let key = vault::new_key().map_err(Failure::failed)?;
    line(key.expose());
    Ok(Ending::Done)
}

/// Seals everything with another key; the relay must not run.
pub(super) async fn rotate(
    config: &Config,
    new: &SecretRef,
    output: Output,
) -> Result<Ending, Failure> {
    let wrong = |message| Failure::new(Ending::Wrong, message);
    let old = app::vault(config).map_err(wrong)?.ok_or_else(|| {
        wrong("there is no key to rotate: secrets.key is not configured".to_owned())
    })?;
    let key = secrets::resolve(new, "--new-key").map_err(wrong)?;
    let new_vault =
        vault::open(&vault::Settings { key }).map_err(|error| wrong(error.to_string()))?;
    let store = crate::store::open(&config.store)?;
    let count = catalog::rotate(store.as_ref(), &old, &new_vault, Utc::now())
        .await
        .map_err(Failure::failed)?;
    match output {
        Output::Json => line(&json!({ "secrets": count, "key": new.to_string() }).to_string()),
        Output::Text => line(&format!(
            "{count} secrets are sealed with the new key; now set secrets.key = \"{new}\" and start the relay"
        )),
    }
    Ok(Ending::Done)
}
