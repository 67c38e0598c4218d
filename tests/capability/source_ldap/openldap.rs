//! Against slapd: what a whole read, a cut one, and a look see.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scim_relay::fault::Fault;
use scim_relay::identity::known::Known;
use scim_relay::identity::observation::{Coverage, Look, Observation};
use scim_relay::identity::{Anchor, Kind, MemberKey, RowKey, Value};
use scim_relay::secret::Secret;
use scim_relay::source::{Security, Settings, Stage};
use tokio::sync::mpsc;

use super::{identities, open, read, refused, rows, settings, why_partial};
use crate::support::slapd::free_port;

const PEOPLE: usize = 2_500;
const GROUPS: usize = 5;

/// A slapd of its own, with people, groups, and accounts of different rights; killed when dropped.
struct Slapd {
    process: Child,
    port: u16,
    tls_port: u16,
    ca: String,
    _directory: tempfile::TempDir,
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error}; install with: apt-get install -y --no-install-recommends slapd"
        )
    });
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
}

/// A CA and a certificate for 127.0.0.1 and localhost, as PEM files; gives the CA.
fn certificates(directory: &Path) -> String {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["127.0.0.1", "::1", "localhost"]
        .map(str::to_owned)
        .to_vec();
    let certificate = rcgen::CertificateParams::new(names).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("ca.pem"), &ca_pem).unwrap();
    std::fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    ca_pem
}

fn ldif() -> String {
    let mut text = String::from(
        "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n",
    );
    for unit in ["people", "groups", "hidden", "split"] {
        writeln!(
            text,
            "dn: ou={unit},dc=example,dc=org\nobjectClass: organizationalUnit\nou: {unit}\n"
        )
        .unwrap();
    }
    for account in ["reader", "limited", "capped"] {
        writeln!(
            text,
            "dn: cn={account},dc=example,dc=org\nobjectClass: organizationalRole\n\
             objectClass: simpleSecurityObject\ncn: {account}\nuserPassword: secret\n"
        )
        .unwrap();
    }
    let mut person = |unit: &str, n: usize, more: &str| {
        writeln!(
            text,
            "dn: uid=u{n},ou={unit},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: u{n}\n\
             cn: Person {n}\nsn: P{n}\nmail: u{n}@example.org\n{more}"
        )
        .unwrap();
    };
    for n in 0..PEOPLE {
        // base64 of ff d8 00
        let photo = if n == 7 { "jpegPhoto:: /9gA\n" } else { "" };
        person("people", n, photo);
    }
    person("hidden", 1, "");
    person("split", 1, "");
    text.push_str(
        "dn: ou=far,ou=split,dc=example,dc=org\nobjectClass: referral\nobjectClass: extensibleObject\nou: far\n\
         ref: ldap://far.example.org/ou=far,dc=example,dc=org\n\n",
    );
    for n in 0..GROUPS - 1 {
        writeln!(
            text,
            "dn: cn=g{n},ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: g{n}"
        )
        .unwrap();
        for member in 0..20 {
            let uid = n * 20 + member;
            writeln!(text, "member: UID=U{uid}, ou=People,dc=example,dc=org").unwrap();
        }
        text.push('\n');
    }
    text.push_str(
        "dn: cn=posix,ou=groups,dc=example,dc=org\nobjectClass: posixGroup\ncn: posix\ngidNumber: 1\n\
         memberUid: u3\nmemberUid: nobody\n\n",
    );
    text
}

/// slapd on ports that it found free; `None` where somebody else took one of them first.
fn launch(path: &Path) -> Option<(Child, u16, u16)> {
    let (port, tls_port) = (free_port(), free_port());
    let mut process = Command::new("/usr/sbin/slapd")
        .arg("-f")
        .arg(path.join("slapd.conf"))
        .arg("-h")
        .arg(format!(
            "ldap://127.0.0.1:{port} ldap://127.0.0.2:{port} ldap://[::1]:{port} \
             ldaps://127.0.0.2:{tls_port} ldaps://[::1]:{tls_port} ldaps://127.0.0.1:{tls_port}"
        ))
        .args(["-d", "0"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_secs(20);
    let answers = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    // It writes its pid once the ports are its own; a neighbour on the same port writes none here.
    while !(path.join("pid").exists() && answers(port) && answers(tls_port)) {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(Instant::now() < limit, "slapd did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some((process, port, tls_port))
}

impl Slapd {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let at = path.display();
        let ca = certificates(path);
        let config = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\ninclude /etc/ldap/schema/nis.schema\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\n\
             TLSCACertificateFile {at}/ca.pem\nTLSCertificateFile {at}/cert.pem\n\
             TLSCertificateKeyFile {at}/key.pem\n\
             database mdb\nsuffix dc=example,dc=org\nrootdn cn=admin,dc=example,dc=org\nrootpw secret\n\
             directory {at}/db\nmaxsize 268435456\nindex objectClass,entryUUID eq\n\
             limits dn.exact=cn=reader,dc=example,dc=org size=unlimited\n\
             limits dn.exact=cn=limited,dc=example,dc=org size.soft=10 size.hard=10\n\
             limits dn.exact=cn=capped,dc=example,dc=org size.prtotal=900\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to dn.subtree=ou=hidden,dc=example,dc=org attrs=entryUUID by * none\n\
             access to * by users read by anonymous none\n"
        );
        std::fs::create_dir(path.join("db")).unwrap();
        std::fs::write(path.join("slapd.conf"), config).unwrap();
        std::fs::write(path.join("data.ldif"), ldif()).unwrap();
        run(Command::new("/usr/sbin/slapadd")
            .args(["-q", "-f"])
            .arg(path.join("slapd.conf"))
            .arg("-l")
            .arg(path.join("data.ldif")));
        let (process, port, tls_port) = std::iter::repeat_with(|| launch(path))
            .take(10)
            .flatten()
            .next()
            .expect("slapd starts on ports that are free");
        Self {
            process,
            port,
            tls_port,
            ca,
            _directory: directory,
        }
    }

    fn settings(&self) -> Settings {
        settings(self.port)
    }

    fn settings_as(&self, account: &str) -> Settings {
        Settings {
            bind_dn: format!("cn={account},dc=example,dc=org"),
            ..self.settings()
        }
    }
}

#[tokio::test]
async fn a_whole_read_is_complete_and_the_same_again_says_only_how_far_it_is() {
    let slapd = Slapd::start();
    let source = open(&slapd.settings()).await.unwrap();
    let (end, stated) = read(&*source, &mut Known::default()).await;
    let end = end.unwrap();
    assert_eq!(end.coverage, Coverage::Complete);
    assert_eq!((end.users, end.groups), (PEOPLE as u64, GROUPS as u64));
    let all = identities(&stated);
    assert_eq!(all.len(), PEOPLE + GROUPS);
    assert!(all[..PEOPLE].iter().all(|user| user.kind == Kind::User));
    let find = |dn: &str| *all.iter().find(|found| found.dn.starts_with(dn)).unwrap();
    let person = find("uid=u7,");
    assert_eq!(person.text("mail"), Some("u7@example.org"));
    assert_eq!(
        person.values("jpegPhoto"),
        [Value::Bytes(vec![0xff, 0xd8, 0])]
    );
    assert!(person.values("sn").is_empty() && person.values("entryUUID").is_empty());
    assert!(matches!(person.anchor, Anchor::Uuid(_)));
    assert!(person.names.contains(&MemberKey::of_uid("U7")));
    // Members are written in another case and with other spaces than the people's names.
    let group = find("cn=g0,");
    assert_eq!(group.members.len(), 20);
    assert!(
        group
            .members
            .iter()
            .any(|member| person.names.contains(&member.key))
    );
    let posix = find("cn=posix,");
    let uid = MemberKey::of_uid("u3");
    assert!(posix.members.iter().any(|member| member.key == uid));
    assert!(find("uid=u3,").names.contains(&uid));

    let mut known = Known::from_rows(rows(&stated));
    let (end, stated) = read(&*source, &mut known).await;
    assert!(end.unwrap().coverage.is_complete());
    assert_eq!(stated, []);
    assert_eq!(known.unmet(), 0);
    source.close().await;
}

#[tokio::test]
async fn limits_of_the_account_make_a_read_partial() {
    let slapd = Slapd::start();
    // 400 entries a page: one account is stopped within the first page, the other within the third.
    for (account, users) in [("limited", 10), ("capped", 900)] {
        let source = open(&slapd.settings_as(account)).await.unwrap();
        let (end, stated) = read(&*source, &mut Known::default()).await;
        let end = end.unwrap();
        let why = why_partial(&end);
        assert!(
            why.contains("sizeLimitExceeded") && why.contains("127.0.0.1"),
            "{why}"
        );
        assert!(why.contains("raise the size limit"), "{why}");
        assert_eq!(end.users, users, "{account}: {end:?}");
        assert_eq!(stated.len() as u64, end.users + end.groups);
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_leaves_a_partial_read() {
    let mut slapd = Slapd::start();
    let settings = Settings {
        page_entries: 50,
        ..slapd.settings()
    };
    let source = open(&settings).await.unwrap();
    let (sink, mut receiver) = mpsc::channel(1);
    let mut known = Known::default();
    let kill = async {
        receiver.recv().await.unwrap();
        slapd.process.kill().unwrap(); // SIGKILL
        slapd.process.wait().unwrap();
        let mut stated = 1;
        while receiver.recv().await.is_some() {
            stated += 1;
        }
        stated
    };
    let both = async { tokio::join!(source.read(&mut known, sink), kill) };
    let (end, stated) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .unwrap();
    let end = end.unwrap();
    why_partial(&end);
    assert!(end.users == stated && stated < PEOPLE as u64, "{end:?}");
    let key = RowKey {
        kind: Kind::User,
        anchor: Anchor::Uuid(uuid::Uuid::nil()),
    };
    let error = source.look(&key).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Transient, "{error}");
}

#[tokio::test]
async fn what_the_operator_must_mend_is_denied_and_named() {
    let slapd = Slapd::start();
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = slapd.settings();
        change(&mut settings);
        settings
    };
    let cases = [
        (
            with(&|s| s.bind_password = Secret::new("wrong".into())),
            Stage::Authentication,
            "wrong bind DN or password",
        ),
        (
            with(&|s| s.bind_dn = "no name".into()),
            Stage::Authentication,
            "check the bind DN",
        ),
        (
            with(&|s| s.bind_password = Secret::new(String::new())),
            Stage::Authentication,
            "anonymous",
        ),
        (
            with(&|s| s.users.filter = "(uid=a".into()),
            Stage::Filter,
            "(uid=a",
        ),
        (
            with(&|s| s.users.attributes.push("*".into())),
            Stage::Reading,
            "`*`",
        ),
        (
            with(&|s| s.users.base = "nowhere".into()),
            Stage::BaseDn,
            "nowhere",
        ),
    ];
    for (settings, stage, words) in cases {
        let error = refused(&settings).await;
        assert_eq!(
            (error.stage, error.fault()),
            (stage, Fault::Denied),
            "{error}"
        );
        assert!(error.message.contains(words), "{error}");
        assert!(error.message.contains(&slapd.port.to_string()), "{error}");
    }
    let source = open(&with(&|s| {
        s.users.base = "ou=gone,dc=example,dc=org".into()
    }))
    .await
    .unwrap();
    let (end, stated) = read(&*source, &mut Known::default()).await;
    let error = end.unwrap_err();
    assert_eq!((error.stage, error.fault()), (Stage::BaseDn, Fault::Denied));
    assert!(
        error.message.contains("ou=gone") && stated.is_empty(),
        "{error}"
    );
    let closed = refused(&settings(free_port())).await;
    assert_eq!(
        (closed.stage, closed.fault()),
        (Stage::Network, Fault::Transient)
    );
}

#[tokio::test]
async fn an_entry_without_its_anchor_and_a_reference_leave_a_read_partial() {
    let slapd = Slapd::start();
    for (unit, words, unreadable) in [
        ("hidden", "entryuuid", 1),
        ("split", "ldap://far.example.org", 0),
    ] {
        let mut settings = slapd.settings();
        settings.users.base = format!("ou={unit},dc=example,dc=org");
        let source = open(&settings).await.unwrap();
        let (end, stated) = read(&*source, &mut Known::default()).await;
        let end = end.unwrap();
        let why = why_partial(&end);
        assert!(why.contains(words), "{why}");
        let found = stated
            .iter()
            .filter(|stated| matches!(stated, Observation::Unreadable(_)));
        assert_eq!(found.count(), unreadable);
        assert_eq!(end.groups, GROUPS as u64);
    }
}

#[tokio::test]
async fn tls_is_verified_against_the_own_authority_and_nothing_else() {
    let slapd = Slapd::start();
    let other = tempfile::tempdir().unwrap();
    let other_ca = certificates(other.path());
    for (security, port) in [
        (Security::Tls, slapd.tls_port),
        (Security::StartTls, slapd.port),
    ] {
        let with = |host: &str, ca: Option<&str>| Settings {
            security,
            host: host.into(),
            ca_certificate: ca.map(|ca| ca.as_bytes().to_vec()),
            // Large enough that what comes gathers below TLS.
            page_entries: 1_000,
            ..settings(port)
        };
        for host in ["127.0.0.1", "localhost", "::1"] {
            let source = open(&with(host, Some(&slapd.ca))).await.unwrap();
            let (end, _) = read(&*source, &mut Known::default()).await;
            assert!(end.unwrap().coverage.is_complete(), "{security:?} {host}");
        }
        for ca in [Some(other_ca.as_str()), None, Some("no certificate")] {
            let error = refused(&with("127.0.0.1", ca)).await;
            assert_eq!(
                (error.stage, error.fault()),
                (Stage::Tls, Fault::Denied),
                "{error}"
            );
        }
        // The certificate is for 127.0.0.1, not for another address of the same machine.
        let wrong_name = with("127.0.0.2", Some(&slapd.ca));
        let error = refused(&wrong_name).await;
        assert_eq!(
            (error.stage, error.fault()),
            (Stage::Tls, Fault::Denied),
            "{error}"
        );
        assert!(error.message.contains("another name"), "{error}");
    }
    let plain_port = Settings {
        security: Security::Tls,
        ca_certificate: Some(slapd.ca.clone().into_bytes()),
        ..settings(slapd.port)
    };
    assert_eq!(refused(&plain_port).await.stage, Stage::Tls);
}

#[tokio::test]
async fn a_look_finds_what_is_in_scope_and_only_that() {
    let slapd = Slapd::start();
    let source = open(&slapd.settings()).await.unwrap();
    let (_, stated) = read(&*source, &mut Known::default()).await;
    let all = identities(&stated);
    for identity in [all[0], all[PEOPLE]] {
        let Look::Present(seen) = source.look(&identity.key()).await.unwrap() else {
            panic!("{} should be there", identity.dn);
        };
        assert_eq!(*seen, *identity);
        // The same anchor as the other kind is out of that kind's scope.
        let other = RowKey {
            kind: match identity.kind {
                Kind::User => Kind::Group,
                Kind::Group => Kind::User,
            },
            anchor: identity.anchor.clone(),
        };
        assert_eq!(source.look(&other).await.unwrap(), Look::Absent);
    }
    let nobody = RowKey {
        kind: Kind::User,
        anchor: Anchor::Uuid(uuid::Uuid::from_u128(1)),
    };
    assert_eq!(source.look(&nobody).await.unwrap(), Look::Absent);

    let mut narrower = slapd.settings();
    narrower.users.filter = "(uid=u1)".into();
    let narrower = open(&narrower).await.unwrap();
    let person = |uid: &str| all.iter().find(|found| found.text("uid") == Some(uid));
    let (one, two) = (person("u1").unwrap(), person("u2").unwrap());
    assert!(matches!(
        narrower.look(&one.key()).await.unwrap(),
        Look::Present(_)
    ));
    assert_eq!(narrower.look(&two.key()).await.unwrap(), Look::Absent);
}
