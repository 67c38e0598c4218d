//! Opening: mode, lock, version, damage, a disk that refuses.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::InMemoryBackend;
use redb::{Builder, StorageBackend};

use super::*;
use crate::store::redb::failure::Failure;
use crate::store::redb::tables::{META, Source, open_read, open_write};
use redb::ReadableDatabase;

#[tokio::test]
async fn a_new_file_is_private_and_everything_outlives_a_restart() {
    let fixture = Fixture::new().await;
    let mode = fs::metadata(path(&fixture.folder))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    fixture.see("a", &[entry(&user(1), "ann", &[])]).await;
    let ann = resource("id-1", "ann", true);
    fixture
        .settle(vec![settlement(&user(1), Effect::Applied(ann.clone()))])
        .await;

    let fixture = fixture.reopen();
    let rows = fixture
        .store
        .rows(DIRECTORY, names(), vec![user(1)])
        .await
        .unwrap();
    assert_eq!(rows[0].applied, Some(ann));
    assert_eq!(rows[0].seen[0].1.identity, entry(&user(1), "ann", &[]));
    // The lease is still good, since nobody took it.
    fixture.see("a", &[entry(&user(2), "bob", &[])]).await;
    assert_eq!(fixture.store.known(&profile("a")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_second_opening_is_refused() {
    let fixture = Fixture::new().await;
    let (kind, message) = refusal(&settings(&fixture.folder));
    assert_eq!(kind, ErrorKind::InUse);
    assert!(message.contains("state.redb") && message.contains("stop it"));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(open(&settings(&folder)).unwrap());
    fs::set_permissions(path(&folder), fs::Permissions::from_mode(0o644)).unwrap();
    let (kind, message) = refusal(&settings(&folder));
    assert_eq!(kind, ErrorKind::Disk);
    assert!(message.contains("chmod 600") && message.contains("0644"));
}

#[test]
fn a_file_that_a_killed_process_left_half_made_is_made_anew() {
    let folder = TempDir::new().unwrap();
    let draft = folder.path().join("state.redb.new");
    // What redb leaves when it is killed: the length, and not yet the mark of a database.
    let half = fs::File::create(&draft).unwrap();
    half.set_len(1 << 20).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).unwrap();
    half.lock().unwrap();
    assert_eq!(refusal(&settings(&folder)).0, ErrorKind::InUse);
    drop(half);
    drop(open(&settings(&folder)).unwrap());
    assert!(path(&folder).exists() && !draft.exists());
    drop(open(&settings(&folder)).unwrap());
}

#[test]
fn a_missing_folder_is_named() {
    let folder = TempDir::new().unwrap();
    let settings = Settings {
        path: folder.path().join("missing/state.redb"),
        cache_mib: 16,
    };
    let (kind, message) = refusal(&settings);
    assert_eq!(kind, ErrorKind::Disk);
    assert!(message.contains("make the directory"), "{message}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error() {
    let fixture = Fixture::new().await;
    let entries: Vec<_> = (0..2000)
        .map(|n| entry(&user(n), &format!("u{n}"), &[]))
        .collect();
    fixture.see("a", &entries).await;
    let Fixture { folder, store, .. } = fixture;
    drop(store);
    let whole = fs::read(path(&folder)).unwrap();
    let noise: Vec<u8> = (0..whole.len())
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect();
    let mut damages = vec![noise[..5000].to_vec(), b"not a store".to_vec()];
    for length in [1, 100, 4096, 5000, whole.len() / 2] {
        damages.push(whole[..length].to_vec());
    }
    for (number, damaged) in damages.into_iter().enumerate() {
        fs::write(path(&folder), &damaged).unwrap();
        let (kind, message) = refusal(&settings(&folder));
        assert_eq!(kind, ErrorKind::Corrupt, "damage {number}: {message}");
        assert!(message.contains("backup"), "{message}");
    }
    // The whole one is still good: it was the damage that was refused.
    fs::write(path(&folder), &whole).unwrap();
    assert!(open(&settings(&folder)).is_ok());
}

/// Damage inside the file may be met at opening or later; either way it is an answer, never the end of the process.
#[tokio::test]
async fn damaged_pages_do_not_end_the_process() {
    let fixture = Fixture::new().await;
    let entries: Vec<_> = (0..2000)
        .map(|n| entry(&user(n), &format!("u{n}"), &[]))
        .collect();
    fixture.see("a", &entries).await;
    let Fixture { folder, store, .. } = fixture;
    drop(store);
    let whole = fs::read(path(&folder)).unwrap();
    let mut noticed = 0;
    for at in (4096..whole.len()).step_by(whole.len() / 16) {
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(at).take(4096) {
            *byte ^= 0xa5;
        }
        fs::write(path(&folder), &damaged).unwrap();
        let Ok(store) = open(&settings(&folder)) else {
            noticed += 1;
            continue;
        };
        let known = store.known(&profile("a")).await;
        let leased = store.lease(DIRECTORY).await;
        noticed += usize::from(known.is_err() || leased.is_err());
    }
    assert!(noticed > 0, "no damage was where it matters");
}

#[test]
fn another_programs_file_and_a_newer_version_are_refused() {
    let folder = TempDir::new().unwrap();
    let database = file::open(&settings(&folder)).unwrap();
    let txn = database.begin_write().unwrap();
    let newer = 7_u32.to_be_bytes();
    open_write(&txn, META)
        .unwrap()
        .insert(b"schema".as_slice(), newer.as_slice())
        .unwrap();
    txn.commit().unwrap();
    drop(database);
    let (kind, message) = refusal(&settings(&folder));
    assert_eq!(kind, ErrorKind::Newer);
    assert!(message.contains("schema 7, this one knows 3"), "{message}");

    let folder = TempDir::new().unwrap();
    let database = redb::Database::create(path(&folder)).unwrap();
    let txn = database.begin_write().unwrap();
    open_write(&txn, "cats").unwrap();
    txn.commit().unwrap();
    drop(database);
    fs::set_permissions(path(&folder), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(refusal(&settings(&folder)).0, ErrorKind::Corrupt);
}

#[test]
fn migrations_run_once_in_order_and_all_or_none() {
    fn first(txn: &redb::WriteTransaction) -> Result<(), Failure> {
        open_write(txn, "trail")?.insert(b"1".as_slice(), b"".as_slice())?;
        Ok(())
    }
    fn second(txn: &redb::WriteTransaction) -> Result<(), Failure> {
        assert!(open_write(txn, "trail")?.has(b"1")?);
        open_write(txn, "trail")?.insert(b"2".as_slice(), b"".as_slice())?;
        Ok(())
    }
    fn fails(_: &redb::WriteTransaction) -> Result<(), Failure> {
        Err(Failure::defect("no"))
    }
    let database = Builder::new()
        .create_with_backend(InMemoryBackend::new())
        .unwrap();
    let here = Path::new("memory");
    let trail = || {
        let txn = database.begin_read().unwrap();
        let trail = open_read(&txn, "trail").unwrap();
        trail.keys_starting_with(b"").unwrap()
    };
    file::migrate(&database, here, &[]).unwrap();
    assert!(file::migrate(&database, here, &[first, fails]).is_err());
    assert!(trail().is_empty());
    file::migrate(&database, here, &[first]).unwrap();
    file::migrate(&database, here, &[first, second]).unwrap();
    assert_eq!(trail(), [b"1", b"2"]);
    // Taken already: they would fail now.
    file::migrate(&database, here, &[fails, fails]).unwrap();
    let newer = file::migrate(&database, here, &[first]).unwrap_err();
    assert_eq!(newer.kind, ErrorKind::Newer);
}

/// A disk that can be filled up.
#[derive(Debug)]
struct SmallDisk {
    inner: InMemoryBackend,
    full: Arc<AtomicBool>,
}

impl SmallDisk {
    fn check(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for SmallDisk {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.inner.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_what_was_written_can_be_read() {
    let full = Arc::new(AtomicBool::new(false));
    let disk = SmallDisk {
        inner: InMemoryBackend::new(),
        full: full.clone(),
    };
    let store = crate::store::open_on(disk).unwrap();
    let lease = store.lease(DIRECTORY).await.unwrap();
    let ann = entry(&user(1), "ann", &[]);
    // What is read waits for the disk until something is to be sent.
    let write = async |entry: Identity| {
        let entries = vec![(entry.clone(), digest_of(&entry))];
        store.record_seen(&lease, &profile("a"), entries).await?;
        store.intend(&lease, vec![]).await
    };
    write(ann.clone()).await.unwrap();
    full.store(true, Ordering::SeqCst);
    let error = write(entry(&user(2), "bob", &[])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Disk);
    assert!(error.message.contains("make room"), "{}", error.message);
    let again = write(entry(&user(3), "eve", &[])).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::Disk, "{}", again.message);
    match store.known(&profile("a")).await {
        Ok(known) => assert!(!known.is_empty()),
        Err(error) => assert_eq!(error.kind, ErrorKind::Disk),
    }
}

#[tokio::test]
async fn what_waits_for_the_disk_goes_there_with_what_does_not_and_never_after_it() {
    let folder = TempDir::new().unwrap();
    let store = open(&settings(&folder)).unwrap();
    let lease = store.lease(DIRECTORY).await.unwrap();
    let see = async |number, name| {
        let entry = entry(&user(number), name, &[]);
        let entries = vec![(entry.clone(), digest_of(&entry))];
        store.record_seen(&lease, &profile("a"), entries).await
    };
    // What a kill leaves: the file as it is.
    let rows_after_kill = async || {
        let copied = TempDir::new().unwrap();
        fs::copy(path(&folder), path(&copied)).unwrap();
        let store = open(&settings(&copied)).unwrap();
        let intents = store.intents(DIRECTORY).await.unwrap().len();
        (store.known(&profile("a")).await.unwrap().len(), intents)
    };
    see(1, "ann").await.unwrap();
    assert_eq!(store.known(&profile("a")).await.unwrap().len(), 1);
    assert_eq!(rows_after_kill().await, (0, 0));
    let intent = applied::intent(&user(1), 0);
    store.intend(&lease, vec![intent]).await.unwrap();
    assert_eq!(rows_after_kill().await, (1, 1));
    see(2, "bob").await.unwrap();
    assert_eq!(rows_after_kill().await, (1, 1));
    drop(store);
    assert_eq!(rows_after_kill().await, (2, 1));
}

#[tokio::test]
async fn an_earlier_lease_no_longer_writes() {
    let fixture = Fixture::new().await;
    let old = fixture.lease;
    let new = fixture.store.lease(DIRECTORY).await.unwrap();
    assert!(new.term > old.term);
    let store = &fixture.store;
    let lost = [
        store.mark_all_dirty(&old, names()).await,
        store.record_seen(&old, &profile("a"), vec![]).await,
        store
            .record_absent(&old, &profile("a"), vec![], time(0))
            .await,
        store
            .save_profile_state(&old, &profile("a"), &Default::default())
            .await,
        store.clear_dirty(&old, vec![]).await,
        store.record_found(&old, vec![]).await,
        store.record_observed(&old, vec![]).await,
        store.add_steps(&old, JOB, vec![]).await,
        store.drop_steps(&old, JOB, vec![]).await,
        store.drop_plan(&old, JOB).await,
        store.intend(&old, vec![]).await,
        store.settle(&old, &author(), vec![]).await,
    ];
    for result in lost {
        assert_eq!(result.unwrap_err().kind, ErrorKind::LeaseLost);
    }
    store.mark_all_dirty(&new, names()).await.unwrap();
    // Another directory's lease is another matter.
    let other = DirectoryId(Uuid::from_u128(0xd2));
    let other = store.lease(other).await.unwrap();
    store.mark_all_dirty(&new, names()).await.unwrap();
    let wrong = store.record_seen(&other, &profile("a"), vec![]).await;
    assert_eq!(wrong.unwrap_err().kind, ErrorKind::Defect);
}
