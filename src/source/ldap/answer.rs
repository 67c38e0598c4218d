//! The result of an operation (RFC 4511 §4.1.9), its paging cookie (RFC 2696), and what a code means in words.

use crate::source::ldap::ber::{self, Ber, Malformed};
use crate::source::ldap::frame::Message;

/// The control by which a search is read in pages.
pub(super) const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";

const REFERRAL: u8 = 0xa3;
/// The most characters of a server's text that are repeated in a message of ours.
const TEXT_CHARS_MAX: usize = 300;

/// How an operation ended, in the server's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The result code.
    pub(super) code: u32,
    /// The nearest entry above that the server admits to have, where it did not find the one that was asked for; just as
    /// it was sent, so not yet fit to be printed.
    pub(super) matched: String,
    /// What the server adds, printable and shortened.
    pub(super) text: String,
    /// Where else the server says to look.
    pub(super) referrals: Vec<String>,
}

impl Answer {
    /// Reads the result at the start of an operation; gives the elements after it as well.
    pub(super) fn decode(body: &[u8]) -> Result<(Self, Ber<'_>), Malformed> {
        let mut parts = Ber::new(body);
        let code = ber::number(parts.expect(ber::ENUMERATED, "a result without a code")?)?;
        let matched = parts.expect(ber::OCTET_STRING, "a result without a matched name")?;
        let text = parts.expect(ber::OCTET_STRING, "a result without a text")?;
        let mut referrals = Vec::new();
        if let Some(list) = parts.take(REFERRAL)? {
            let mut list = Ber::new(list);
            while let Some((_, uri)) = list.next()? {
                referrals.push(printable(uri));
            }
        }
        let answer = Self {
            code,
            matched: String::from_utf8_lossy(matched).into_owned(),
            text: printable(text),
            referrals,
        };
        Ok((answer, parts))
    }

    /// Whether the code is success.
    pub(super) fn is_success(&self) -> bool {
        self.code == 0
    }

    /// The code, its name, and the server's text.
    pub(super) fn words(&self) -> String {
        let mut words = format!("result {} ({})", self.code, name(self.code));
        if !self.text.is_empty() {
            words.push_str(&format!(", \"{}\"", self.text));
        }
        if !self.referrals.is_empty() {
            words.push_str(&format!(", refers to {}", self.referrals.join(" ")));
        }
        words
    }
}

/// A server's bytes as text that can stand in a message: one line, no control characters, not too long.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_matches(|c: char| c.is_control() || c.is_whitespace())
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_CHARS_MAX)
        .collect()
}

/// The cookie of the paging control of a message; `None` when the control is not there.
pub(super) fn paging_cookie(message: &Message) -> Result<Option<Vec<u8>>, Malformed> {
    let Some(value) = control_value(message, PAGED_RESULTS)? else {
        return Ok(None);
    };
    let value = Ber::new(value).expect(ber::SEQUENCE, "a paging control of another form")?;
    let mut value = Ber::new(value);
    value.expect(ber::INTEGER, "a paging control without a size")?;
    let cookie = value.expect(ber::OCTET_STRING, "a paging control without a cookie")?;
    Ok(Some(cookie.to_vec()))
}

/// The value of a control of a message; `None` when the control is not there.
pub(super) fn control_value<'a>(
    message: &'a Message,
    oid: &str,
) -> Result<Option<&'a [u8]>, Malformed> {
    let mut controls = Ber::new(message.controls());
    while let Some((_, control)) = controls.next()? {
        let mut parts = Ber::new(control);
        if parts.expect(ber::OCTET_STRING, "a control without a type")? != oid.as_bytes() {
            continue;
        }
        parts.take(ber::BOOLEAN)?;
        let value = parts.expect(ber::OCTET_STRING, "a control without its value")?;
        return Ok(Some(value));
    }
    Ok(None)
}

/// The name of a result code (RFC 4511 §4.1.9).
fn name(code: u32) -> &'static str {
    match code {
        0 => "success",
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        12 => "unavailableCriticalExtension",
        13 => "confidentialityRequired",
        18 => "inappropriateMatching",
        21 => "invalidAttributeSyntax",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        80 => "other",
        _ => "unnamed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn message(text: &[u8], controls: &[u8]) -> Message {
        let body = [&[0x0a, 1, 4, 4, 0, 4, text.len() as u8][..], text].concat();
        let content = [
            &[2, 1, 9, 0x65, body.len() as u8][..],
            &body,
            &[0xa0, controls.len() as u8],
            controls,
        ]
        .concat();
        Message::parse(Bytes::from(
            [&[0x30, content.len() as u8][..], &content].concat(),
        ))
        .unwrap()
    }

    fn paging(value: &[u8]) -> Vec<u8> {
        let oid = PAGED_RESULTS.as_bytes();
        let content = [
            &[4, oid.len() as u8][..],
            oid,
            &[1, 1, 0xff, 4, value.len() as u8],
            value,
        ]
        .concat();
        [&[0x30, content.len() as u8][..], &content].concat()
    }

    #[test]
    fn a_result_is_told_in_words_that_cannot_forge_a_line() {
        let message = message(b"too\nmany\0", &[]);
        let (answer, _) = Answer::decode(message.body()).unwrap();
        assert_eq!(answer.words(), "result 4 (sizeLimitExceeded), \"too many\"");
        assert_eq!(paging_cookie(&message), Ok(None));
    }

    #[test]
    fn a_cookie_is_found_among_controls_or_refused() {
        let other = [0x30, 5, 4, 3, b'1', b'.', b'2'];
        let whole = paging(&[0x30, 7, 2, 1, 0, 4, 2, b'o', b'k']);
        let found = paging_cookie(&message(b"", &[&other[..], &whole].concat()));
        assert_eq!(found, Ok(Some(b"ok".to_vec())));
        let empty = paging(&[0x30, 5, 2, 1, 0, 4, 0]);
        assert_eq!(paging_cookie(&message(b"", &empty)), Ok(Some(Vec::new())));
        for bad in [
            &paging(&[])[..],
            &paging(&[0x30, 3, 2, 1, 0]),
            &paging(&[0x04, 0]),
            &[0x30, 2, 2, 0],
        ] {
            assert!(paging_cookie(&message(b"", bad)).is_err(), "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Answer::decode(&bytes);
            let _ = paging_cookie(&message(b"", &[]));
            let _ = printable(&bytes);
        }
    }
}
