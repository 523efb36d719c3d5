//! Text that others have written, and people read.

/// Whether a character is not shown as itself: a terminal acts on it, or it ends a line, or turns the direction of
/// the text around it (Unicode's UAX #9), so that what is read is something else than what is there.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::is_deceptive;

    #[test]
    fn what_a_terminal_acts_on_and_what_turns_text_around_is_deceptive_and_letters_are_not() {
        for c in ['\0', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{200f}', '\u{202e}', '\u{2066}'] {
            assert!(is_deceptive(c), "{c:?}");
        }
        for c in ['a', 'é', 'א', '中', '\u{200d}', '👩'] {
            assert!(!is_deceptive(c), "{c:?}");
        }
    }
}
