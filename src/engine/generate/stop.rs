//! When a generation ends: a stop token, a stop string in the text, or the token limit.
//!
//! Text is streamed while it is generated, so text that may turn out to be the beginning of a stop string is held back
//! until it is decided. The result does not depend on how the text is cut into pieces.

use crate::engine::{Error, Result};

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The model produced this stop token (usually EOS).
    Token(u32),
    /// The text contained this stop string.
    Text(String),
    /// `max_new_tokens` were produced.
    Length,
}

impl StopReason {
    /// Short, stable name: `"eos"`, `"stop"` or `"length"`.
    pub fn name(&self) -> &'static str {
        match self {
            StopReason::Token(_) => "eos",
            StopReason::Text(_) => "stop",
            StopReason::Length => "length",
        }
    }
}

/// Finds the first stop string in text that arrives piece by piece.
#[derive(Debug, Clone)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
}

impl StopStrings {
    /// A matcher for `strings`; none at all is fine, an empty one is an error.
    pub fn new(strings: Vec<String>) -> Result<Self> {
        if strings.iter().any(String::is_empty) {
            return Err(Error::config("stop: an empty string is in every text, so nothing could be generated"));
        }
        Ok(StopStrings { strings, held: String::new() })
    }

    /// Takes the next piece of text. Returns the text that is certain, and the stop string if one is complete: then the
    /// returned text ends before it and nothing after it counts. Of several, the one that ends first wins, then the
    /// longest.
    pub fn push(&mut self, piece: &str) -> (String, Option<String>) {
        self.held.push_str(piece);
        let hits = self.strings.iter().filter_map(|stop| self.held.find(stop.as_str()).map(|start| (start, stop)));
        if let Some((start, stop)) = hits.min_by_key(|(start, stop)| (start + stop.len(), *start)) {
            let found = (self.held[..start].to_string(), Some(stop.clone()));
            self.held.clear();
            return found;
        }
        let certain = self.held.len() - self.undecided();
        (self.held.drain(..certain).collect(), None)
    }

    /// The text still held back, once the generation has ended otherwise.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text that some stop string begins with.
    fn undecided(&self) -> usize {
        let longest = self.strings.iter().map(String::len).max().unwrap_or(0);
        let start = self.held.len().saturating_sub(longest.saturating_sub(1));
        (start..self.held.len())
            .filter(|&i| self.held.is_char_boundary(i))
            .find(|&i| self.strings.iter().any(|stop| stop.starts_with(&self.held[i..])))
            .map_or(0, |i| self.held.len() - i)
    }
}

/// All three ends of a generation together.
#[derive(Debug, Clone)]
pub struct Stopping {
    tokens: Vec<u32>,
    strings: StopStrings,
    max_new_tokens: usize,
    produced: usize,
}

impl Stopping {
    /// Ends at any of `tokens`, at any of `strings`, or after `max_new_tokens` (at least 1).
    pub fn new(tokens: &[u32], strings: Vec<String>, max_new_tokens: usize) -> Result<Self> {
        if max_new_tokens == 0 {
            return Err(Error::config("max_new_tokens is 0, but must be at least 1"));
        }
        Ok(Stopping { tokens: tokens.to_vec(), strings: StopStrings::new(strings)?, max_new_tokens, produced: 0 })
    }

    /// Tokens produced so far, a stop token included.
    pub fn produced(&self) -> usize {
        self.produced
    }

    /// Counts a chosen token. [`StopReason::Token`]: it is a stop token and no part of the answer.
    /// [`StopReason::Length`]: it is the last one, and its text still belongs to the answer.
    pub fn token(&mut self, id: u32) -> Option<StopReason> {
        self.produced += 1;
        if self.tokens.contains(&id) {
            Some(StopReason::Token(id))
        } else if self.produced >= self.max_new_tokens {
            Some(StopReason::Length)
        } else {
            None
        }
    }

    /// [`StopStrings::push`] as a reason to stop.
    pub fn text(&mut self, piece: &str) -> (String, Option<StopReason>) {
        let (certain, stop) = self.strings.push(piece);
        (certain, stop.map(StopReason::Text))
    }

    /// [`StopStrings::finish`].
    pub fn finish(&mut self) -> String {
        self.strings.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rng::Stream;

    fn matcher(strings: &[&str]) -> StopStrings {
        StopStrings::new(strings.iter().map(|s| s.to_string()).collect()).unwrap()
    }

    /// Everything that is shown for `pieces`, and the stop string.
    fn run(strings: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut matcher = matcher(strings);
        let mut shown = String::new();
        for piece in pieces {
            let (certain, stop) = matcher.push(piece);
            shown += &certain;
            if stop.is_some() {
                return (shown, stop);
            }
        }
        (shown + matcher.finish().as_str(), None)
    }

    /// Protects the reader of a stream: no part of a stop string is shown, and what was only alike is shown later.
    #[test]
    fn holds_back_what_may_be_a_stop() {
        let mut m = matcher(&["###"]);
        assert_eq!(m.push("text #"), ("text ".into(), None));
        assert_eq!(m.push("#"), (String::new(), None));
        assert_eq!(m.push("1"), ("##1".into(), None));
        assert_eq!(m.push(" ##"), (" ".into(), None));
        assert_eq!(m.push("# more"), (String::new(), Some("###".into())));
        assert_eq!(m.finish(), "");
    }

    /// Protects independence of the pieces: random text over a small alphabet, cut at random places, many times.
    #[test]
    fn pieces_do_not_matter() {
        let stops = ["aab", "ba", "é\n", "abab"];
        let alphabet = ['a', 'b', 'é', '\n'];
        for seed in 0..500 {
            let random = Stream::new(seed);
            let text: Vec<char> = (0..12).map(|i| alphabet[random.below(i, 4)]).collect();
            let each: Vec<String> = text.iter().map(char::to_string).collect();
            let whole = run(&stops, &[&text.iter().collect::<String>()]);
            let single = run(&stops, &each.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(whole, single, "seed {seed}: {text:?}");
            let cut = random.below(99, 13);
            let halves = [text[..cut].iter().collect::<String>(), text[cut..].iter().collect()];
            assert_eq!(run(&stops, &[&halves[0], &halves[1]]), whole, "seed {seed}: {text:?} cut at {cut}");
            // Against the definition: shown text and stop string are a prefix of the text, and no stop string ends earlier.
            let (shown, stop) = whole;
            let text: String = text.into_iter().collect();
            let prefix = format!("{shown}{}", stop.clone().unwrap_or_default());
            assert!(text.starts_with(&prefix));
            let shorter: String = prefix.chars().take(prefix.chars().count() - usize::from(stop.is_some())).collect();
            assert!(stops.iter().all(|s| !shorter.contains(s)), "seed {seed}: {text:?}");
        }
    }

    /// Protects the choice between stop strings that end together: the longest leaves less behind.
    #[test]
    fn longest_of_those_that_end_first() {
        assert_eq!(run(&["b", "ab"], &["xab"]), ("x".into(), Some("ab".into())));
        assert_eq!(run(&["abc", "b"], &["abc"]), ("a".into(), Some("b".into())));
        assert_eq!(run(&[], &["abc"]), ("abc".into(), None));
        assert!(StopStrings::new(vec![String::new()]).is_err());
    }

    /// Protects the limit and the stop tokens: a stop token wins over the limit it happens to meet.
    #[test]
    fn tokens_and_length() {
        let mut stopping = Stopping::new(&[2, 7], vec!["\n".into()], 3).unwrap();
        assert_eq!((stopping.token(5), stopping.token(5)), (None, None));
        assert_eq!(stopping.clone().token(7), Some(StopReason::Token(7)));
        assert_eq!(stopping.token(5), Some(StopReason::Length));
        assert_eq!(stopping.produced(), 3);
        assert_eq!(stopping.text("a\nb"), ("a".into(), Some(StopReason::Text("\n".into()))));
        assert_eq!([StopReason::Token(2), StopReason::Length].map(|r| r.name()), ["eos", "length"]);
        assert!(Stopping::new(&[], vec![], 0).unwrap_err().to_string().contains("max_new_tokens is 0"));
    }
}
