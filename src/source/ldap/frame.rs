//! Cuts a byte stream into LDAP messages (RFC 4511 §4.1.1), none longer or deeper than it may be.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::source::ldap::ber::{self, Ber, Malformed};

/// Room that is made for each read from the stream.
const READ_BYTES: usize = 64 * 1024;
/// Room that is kept when what came last has been taken: that of a large group is given back.
const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// The tag of the controls at the end of a message.
const CONTROLS: u8 = 0xa0;

/// One message, still as the server wrote it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    bytes: Bytes,
    /// The request that it answers; 0 when the server speaks unasked.
    pub(super) id: u32,
    /// The tag of the operation, for example `0x64` for an entry.
    pub(super) op: u8,
    body: Bytes,
    controls: Bytes,
}

impl Message {
    /// Checks a whole message and finds its parts.
    pub(super) fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        ber::check(&bytes)?;
        let content = Ber::new(&bytes).expect(ber::SEQUENCE, "a message that is not a sequence")?;
        let mut parts = Ber::new(content);
        let id = ber::number(parts.expect(ber::INTEGER, "a message without an id")?)?;
        let (op, body) = parts
            .next()?
            .ok_or(Malformed("a message without an operation"))?;
        let mut controls = Bytes::new();
        // What else may follow is passed over: RFC 4511 §4 allows extensions, and Active Directory puts the name of
        // its Notice of Disconnection here.
        while let Some((tag, content)) = parts.next()? {
            if tag == CONTROLS {
                controls = bytes.slice_ref(content);
            }
        }
        Ok(Self {
            id,
            op,
            body: bytes.slice_ref(body),
            controls,
            bytes,
        })
    }

    /// The content of the operation.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The controls, one after the other; empty when there are none.
    pub(super) fn controls(&self) -> &[u8] {
        &self.controls
    }

    /// The whole message.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why no further message could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream ended or failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The stream ended in the middle of a message.
    #[error("the connection was closed in the middle of a message")]
    Cut,
    /// The bytes are not LDAP.
    #[error("the answer is not LDAP: {0}")]
    Malformed(#[from] Malformed),
    /// The message is longer than is accepted.
    #[error("a message of {bytes} bytes, where {bytes_max} are accepted")]
    TooLong {
        /// What its header says.
        bytes: usize,
        /// What the settings allow.
        bytes_max: usize,
    },
}

/// What is at the beginning of the buffer.
enum Cut {
    /// A whole message, taken from it.
    Whole(Bytes),
    /// A part of one; so many bytes are missing at least.
    Missing(usize),
}

/// A stream and the bytes of it that are not yet a whole message.
pub(super) struct Framed<S> {
    stream: S,
    buffer: BytesMut,
    bytes_max: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    /// Frames a stream; no message longer than `bytes_max` is accepted.
    pub(super) fn new(stream: S, bytes_max: usize) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            bytes_max,
        }
    }

    /// The next message, or `None` when the stream ended between two.
    ///
    /// Not a byte is read before the last message was taken, so a slow reader slows the server down.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, FrameError> {
        loop {
            let missing = match self.cut()? {
                Cut::Whole(bytes) => return Ok(Some(Message::parse(bytes)?)),
                Cut::Missing(missing) => missing,
            };
            // At once for all of a large message: memory that nothing was written to costs nothing, and growing leaves holes.
            self.buffer.reserve(missing.max(READ_BYTES));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(FrameError::Cut)
                };
            }
        }
    }

    /// Takes the first bytes out of the buffer. The room of a large message goes with it, or the buffer would have it to the end.
    fn take(&mut self, bytes: usize) -> Bytes {
        let message = self.buffer.split_to(bytes);
        if bytes > KEPT_BYTES_MAX {
            self.buffer = BytesMut::from(self.buffer.as_ref());
        }
        message.freeze()
    }

    fn cut(&mut self) -> Result<Cut, FrameError> {
        let Some(header) = ber::header(&self.buffer)? else {
            return Ok(Cut::Missing(1));
        };
        if header.tag != ber::SEQUENCE {
            return Err(Malformed("a message that is not a sequence").into());
        }
        // Refused by the header, before any of it is kept.
        let bytes = header.content.saturating_add(header.bytes);
        if bytes > self.bytes_max {
            return Err(FrameError::TooLong {
                bytes,
                bytes_max: self.bytes_max,
            });
        }
        Ok(match bytes.saturating_sub(self.buffer.len()) {
            0 => Cut::Whole(self.take(bytes)),
            missing => Cut::Missing(missing),
        })
    }

    /// Sends bytes that are one whole message.
    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message).await?;
        self.stream.flush().await
    }

    /// Ends the sending side.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// The stream.
    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream, and the bytes after the last message that were read from it already.
    pub(super) fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.buffer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const DONE: [u8; 14] = [
        0x30, 0x0c, 0x02, 0x01, 0x07, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00,
    ];

    async fn read(pieces: &[&[u8]], bytes_max: usize) -> Result<Vec<Message>, FrameError> {
        let (mut far, near) = tokio::io::duplex(4);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        tokio::spawn(async move {
            for piece in pieces {
                if far.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        let mut framed = Framed::new(near, bytes_max);
        let mut messages = Vec::new();
        while let Some(message) = framed.next().await? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[tokio::test]
    async fn messages_come_out_however_the_stream_is_cut() {
        let messages = read(&[&DONE[..3], &DONE[3..], &DONE], 100).await.unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].id, messages[0].op), (7, 0x65));
        assert_eq!(messages[0].body(), &DONE[7..]);
        assert!(messages[0].controls().is_empty());
    }

    #[tokio::test]
    async fn the_room_of_a_large_message_goes_with_it() {
        let told = |tag: u8, content: &[u8]| {
            let length = u32::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x84], length.as_slice(), content].concat()
        };
        let text = told(0x04, &vec![b'x'; 3 * KEPT_BYTES_MAX]);
        let done = told(0x65, &[&DONE[7..12], &text].concat());
        let large = told(0x30, &[&DONE[2..5], &done].concat());
        let stream = [large.as_slice(), &DONE].concat();
        let mut framed = Framed::new(tokio::io::join(stream.as_slice(), Vec::new()), stream.len());
        let first = framed.next().await.unwrap().unwrap();
        assert!(framed.buffer.capacity() <= READ_BYTES);
        assert_eq!(first.body().len(), 5 + text.len());
        assert_eq!(framed.next().await.unwrap().unwrap().body(), &DONE[7..]);
    }

    #[tokio::test]
    async fn a_stream_that_breaks_the_rules_is_refused() {
        let mut inner_too_long = DONE;
        inner_too_long[6] = 0x09;
        let mut no_sequence = DONE;
        no_sequence[0] = 0x31;
        let mut negative_id = DONE;
        negative_id[4] = 0xff;
        let cases: [(&str, &[u8]); 7] = [
            ("the middle of a message", &DONE[..9]),
            (
                "a message of 2147483653 bytes",
                &[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0],
            ),
            ("longer than what it is in", &inner_too_long),
            ("not a sequence", &no_sequence),
            ("a number that is not within", &negative_id),
            ("an indefinite length", &[0x30, 0x80, 0x00, 0x00]),
            ("not a sequence", b"HTTP/1.1 400 Bad Request\r\n"),
        ];
        for (words, bytes) in cases {
            let error = read(&[bytes], 1000).await.unwrap_err().to_string();
            assert!(error.contains(words), "{words}: {error}");
        }
        assert!(read(&[&DONE], 13).await.is_err());
        assert!(read(&[&DONE], 14).await.is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let _ = Message::parse(Bytes::from(bytes));
        }

        #[test]
        fn a_message_with_any_byte_changed_is_answered(at in 0usize..14, byte in any::<u8>()) {
            let mut changed = DONE;
            changed[at] = byte;
            if let Ok(message) = Message::parse(Bytes::copy_from_slice(&changed)) {
                let _ = (message.body(), message.controls());
            }
        }
    }
}
