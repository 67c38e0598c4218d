//! How long a server has been silent, without a look at the clock for each of its messages.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Into how many parts the time is cut that a server may be silent for; it is given one more, since its last word lies within one.
const PARTS: u32 = 4;

/// Watches one connection with one timer, so that a message that comes costs nothing here.
pub(super) struct Silence {
    part: Duration,
    /// When the part ends that has begun.
    ends: Option<Pin<Box<Sleep>>>,
    /// Parts that went by without a word.
    silent: u32,
}

impl Silence {
    /// A server may be silent for so long, or up to a fourth longer.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            part: limit / PARTS,
            ends: None,
            silent: 0,
        }
    }

    /// Something was asked.
    pub(super) fn begins(&mut self) {
        self.silent = 0;
        let end = Instant::now() + self.part;
        match &mut self.ends {
            Some(ends) => ends.as_mut().reset(end),
            None => self.ends = Some(Box::pin(sleep_until(end))),
        }
    }

    /// The server said something.
    pub(super) fn is_broken(&mut self) {
        self.silent = 0;
    }

    /// Waits until the server has been silent for too long. What was waited counts until something is asked or said.
    pub(super) async fn lasts(&mut self) {
        while self.silent <= PARTS {
            let part = self.part;
            let next = || Box::pin(sleep_until(Instant::now() + part));
            let ends = self.ends.get_or_insert_with(next);
            ends.as_mut().await;
            ends.as_mut().reset(Instant::now() + part);
            self.silent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    const LIMIT: Duration = Duration::from_secs(40);

    #[tokio::test(start_paused = true)]
    async fn only_a_server_that_says_nothing_is_silent() {
        let mut silence = Silence::new(LIMIT);
        silence.begins();
        for _ in 0..20 {
            assert!(timeout(LIMIT - LIMIT / 8, silence.lasts()).await.is_err());
            silence.is_broken();
        }
        let begun = Instant::now();
        silence.lasts().await;
        assert!((LIMIT..=LIMIT * 5 / 4).contains(&begun.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_between_two_questions_is_no_silence() {
        let mut silence = Silence::new(LIMIT);
        silence.begins();
        advance(LIMIT * 10).await;
        silence.begins();
        assert!(timeout(LIMIT, silence.lasts()).await.is_err());
    }
}
