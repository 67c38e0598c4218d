//! The limits of a search filter's text, checked before anything parses it.

/// The longest filter that is accepted, in bytes.
const BYTES_MAX: usize = 64 * 1024;
/// The deepest nesting: parsers call themselves for each level, and a stack that runs out ends the whole process.
const DEPTH_MAX: usize = 64;

/// Whether a filter may be given to a parser; it need not be one.
///
/// # Errors
/// When it is too long or nested too deep, in words that go on a sentence about it.
pub fn within_limits(text: &str) -> Result<(), &'static str> {
    if text.len() > BYTES_MAX {
        return Err("it is longer than 64 KiB");
    }
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err("it is nested more than 64 deep");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_neither_too_long_nor_too_deep() {
        let nested = |depth: usize| "(!".repeat(depth - 1) + "(a=b)" + &")".repeat(depth - 1);
        assert_eq!(within_limits(&nested(DEPTH_MAX)), Ok(()));
        assert!(within_limits(&nested(DEPTH_MAX + 1)).is_err());
        assert!(within_limits(&"(".repeat(BYTES_MAX)).is_err());
        assert_eq!(
            within_limits(&format!("(|{})", "(a=b)".repeat(1_000))),
            Ok(())
        );
        // Closing what was never opened buys no depth.
        assert!(within_limits(&(")".repeat(99) + &nested(DEPTH_MAX + 1))).is_err());
        assert!(within_limits(&"a".repeat(BYTES_MAX + 1)).is_err());
    }
}
