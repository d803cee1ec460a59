//! Text from outside made fit for XML 1.0, pages and terminals: what cannot be shown is shown as an escape.
//!
//! Console bytes, reasons and file names may hold anything. Nothing is dropped silently: a control octet becomes `\x1b`,
//! a character that XML forbids or that would turn the reading order round becomes `\u{202e}`, and `]]>`, which would
//! end a CDATA section, becomes `]]\x3e`. Escaping for the markup itself is left to the writers.

use core::fmt::Write as _;

/// Text of several lines: line feeds and tabs stay.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            '>' if out.ends_with("]]") => out.push_str("\\x3e"),
            c => push(&mut out, c),
        }
    }
    out
}

/// Text of one line, as attributes and table cells need it: line feeds and tabs become `\n` and `\t` as well.
#[must_use]
pub fn clean_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '>' if out.ends_with("]]") => out.push_str("\\x3e"),
            c => push(&mut out, c),
        }
    }
    out
}

/// Clean text as HTML: cleaned, and with the characters of the markup escaped.
#[must_use]
pub fn html(text: &str) -> String {
    escape(&clean(text))
}

/// Escape the characters of the markup, in text and in quoted attributes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn push(out: &mut String, c: char) {
    if !hidden(c) {
        out.push(c);
        return;
    }
    // Writing to a string does not fail.
    let _ = match u32::from(c) {
        code @ 0..=0xFF => write!(out, "\\x{code:02x}"),
        code => write!(out, "\\u{{{code:x}}}"),
    };
}

/// Characters that XML 1.0 forbids or discourages, and those that change what stands around them.
fn hidden(c: char) -> bool {
    let code = u32::from(c);
    c.is_control()
        || code & 0xFFFE == 0xFFFE
        || matches!(code, 0xFDD0..=0xFDEF)
        || matches!(code, 0x2028..=0x202E | 0x2066..=0x2069 | 0x200E | 0x200F | 0xFEFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("plain text, é and 光", "plain text, é and 光")]
    #[case("\u{1b}[31mred", "\\x1b[31mred")]
    #[case("\u{0}\u{7f}\u{85}", "\\x00\\x7f\\x85")]
    #[case("a\r\nb\tc", "a\\x0d\nb\tc")]
    #[case("]]>", "]]\\x3e")]
    #[case("]]]>]]>", "]]]\\x3e]]\\x3e")]
    #[case("a > b", "a > b")]
    #[case("\u{fffe}\u{ffff}\u{1fffe}\u{fdd0}", "\\u{fffe}\\u{ffff}\\u{1fffe}\\u{fdd0}")]
    #[case("abc\u{202e}cba", "abc\\u{202e}cba")]
    fn what_cannot_be_shown_is_shown_as_an_escape(#[case] text: &str, #[case] want: &str) {
        assert_eq!(clean(text), want);
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(clean_line("a\nb\tc]]>"), "a\\nb\\tc]]\\x3e");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(html("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
    }

    #[test]
    fn cleaning_twice_changes_nothing_more() {
        let once = clean("\u{1b}]]>\u{ffff}\r");
        assert_eq!(clean(&once), once);
    }
}
