//! One text or two as the tokenizer's post-processor writes them for a model that reads them whole: `[CLS] a [SEP]`,
//! `[CLS] a [SEP] b [SEP]`, `<s> a`, ... Too long ones are cut inside the texts, so the tokens around them stay.

use tokenizers::{EncodeInput, Encoding, PostProcessor, TruncationParams, truncate_encodings};

use super::tokenizer::{Tokenizer, cannot_encode};
use crate::error::{Error, Result};

/// A text, and perhaps a second one.
pub(crate) struct TextPair {
    pub first: String,
    pub second: Option<String>,
}

impl TextPair {
    /// Whether there is nothing to read in it.
    pub(crate) fn is_blank(&self) -> bool {
        self.first.trim().is_empty() && self.second.as_ref().is_none_or(|second| second.trim().is_empty())
    }

    fn input(&self) -> EncodeInput<'_> {
        match &self.second {
            Some(second) => (self.first.as_str(), second.as_str()).into(),
            None => self.first.as_str().into(),
        }
    }
}

/// The ids of a text or two.
pub(crate) struct EncodedPair {
    pub ids: Vec<u32>,
    /// From which position on the token type is 1; the number of ids where it is 0 throughout.
    pub second: usize,
    /// Whether it was longer than the limit.
    pub cut: bool,
}

impl Tokenizer {
    /// The ids of each pair with special tokens, at most `max_length` of them. Of two texts the longer one is cut first.
    ///
    /// # Errors
    /// When a text cannot be encoded, or `max_length` has no room for more than the special tokens.
    pub(crate) fn encode_pairs(&self, pairs: &[TextPair], max_length: usize) -> Result<Vec<EncodedPair>> {
        let inputs: Vec<EncodeInput> = pairs.iter().map(TextPair::input).collect();
        #[cfg(not(target_arch = "wasm32"))]
        let encodings = self.guarded(|inner| inner.encode_batch_fast(inputs, true))?.map_err(|e| cannot_encode(&e))?;
        #[cfg(target_arch = "wasm32")]
        let encodings = inputs
            .into_iter()
            .map(|input| self.guarded(|inner| inner.encode_fast(input, true))?.map_err(|e| cannot_encode(&e)))
            .collect::<Result<Vec<_>>>()?;
        let fit = |(pair, encoding): (&TextPair, Encoding)| {
            let cut = encoding.len() > max_length;
            let encoding = if cut { self.cut_pair(pair, max_length)? } else { encoding };
            let second = encoding.get_type_ids().iter().position(|&kind| kind != 0).unwrap_or(encoding.len());
            Ok(EncodedPair { ids: encoding.get_ids().to_vec(), second, cut })
        };
        pairs.iter().zip(encodings).map(fit).collect()
    }

    /// Whether the post-processor writes anything between two texts.
    pub(crate) fn separates_pairs(&self) -> bool {
        let ids = |input: EncodeInput| {
            let encoded = self.guarded(|inner| inner.encode_fast(input, true))?;
            encoded.map(|encoding| encoding.len()).map_err(|e| cannot_encode(&e))
        };
        let (Ok(pair), Ok(single)) = (ids(("a", "a").into()), self.encode("a", false)) else { return true };
        pair > 2 * single.len() + self.prefix().len() + self.suffix().len()
    }

    /// Encodes the texts alone, cuts them to what the special tokens leave, and puts these around them.
    fn cut_pair(&self, pair: &TextPair, max_length: usize) -> Result<Encoding> {
        let added = self.guarded(|inner| {
            inner.get_post_processor().map_or(0, |processor| processor.added_tokens(pair.second.is_some()))
        })?;
        let room = max_length.checked_sub(added).filter(|&room| room > 0).ok_or_else(|| {
            Error::input(format!(
                "max_seq_length is {max_length}, but the tokenizer's own {added} tokens leave no room for text: raise it"
            ))
        })?;
        let alone = |text: &str| self.guarded(|inner| inner.encode_fast(text, false))?.map_err(|e| cannot_encode(&e));
        let first = alone(&pair.first)?;
        let second = match &pair.second {
            Some(text) => {
                let mut second = alone(text)?;
                second.set_type_ids(vec![1; second.len()]);
                Some(second)
            }
            None => None,
        };
        let limit = TruncationParams { max_length: room, ..TruncationParams::default() };
        let (mut first, mut second) = truncate_encodings(first, second, &limit).map_err(|e| cannot_encode(&e))?;
        // What was cut off would be given special tokens too.
        first.take_overflowing();
        if let Some(second) = &mut second {
            second.take_overflowing();
        }
        self.guarded(|inner| inner.post_process(first, second, true))?.map_err(|e| cannot_encode(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bert_tokenizer, byte_fallback_tokenizer, byte_level_tokenizer};
    use super::*;

    fn encode(tokenizer: &Tokenizer, first: &str, second: Option<&str>, max: usize) -> EncodedPair {
        let pair = TextPair { first: first.into(), second: second.map(String::from) };
        tokenizer.encode_pairs(&[pair], max).expect("encoded").remove(0)
    }

    #[test]
    fn bert_pairs_have_types_and_keep_their_separators() {
        let tokenizer = bert_tokenizer();
        let whole = encode(&tokenizer, "Hello world", None, 16);
        assert_eq!((whole.ids, whole.second, whole.cut), (vec![101, 7592, 2088, 102], 4, false));
        let pair = encode(&tokenizer, "hello", Some("world hello"), 16);
        assert_eq!((pair.ids, pair.second, pair.cut), (vec![101, 7592, 102, 2088, 7592, 102], 3, false));
        let cut = encode(&tokenizer, "hello world hello", None, 4);
        assert_eq!((cut.ids, cut.second, cut.cut), (vec![101, 7592, 2088, 102], 4, true));
        // The longer text gives way.
        let cut = encode(&tokenizer, "hello", Some("world world world world"), 6);
        assert_eq!((cut.ids, cut.second), (vec![101, 7592, 102, 2088, 2088, 102], 3));
        let cut = encode(&tokenizer, "world world world world", Some("hello"), 6);
        assert_eq!((cut.ids, cut.second), (vec![101, 2088, 2088, 102, 7592, 102], 4));
        let pair = TextPair { first: "hello".into(), second: Some("world".into()) };
        let Err(error) = tokenizer.encode_pairs(&[pair], 3) else { panic!("must fail") };
        assert!(error.to_string().contains("tokenizer's own 3 tokens leave no room"), "{error}");
        assert!(tokenizer.separates_pairs());
    }

    #[test]
    fn decoders_are_cut_at_the_end() {
        let tokenizer = byte_level_tokenizer();
        assert_eq!(encode(&tokenizer, "abcd", None, 3).ids, [97, 98, 99]);
        let pair = encode(&tokenizer, "ab", Some("cd"), 9);
        assert_eq!((pair.ids, pair.second), (vec![97, 98, 99, 100], 2));
        assert_eq!(encode(&tokenizer, "ab", Some("cdef"), 4).second, 2);
        assert!(!tokenizer.separates_pairs());
        let tokenizer = byte_fallback_tokenizer();
        assert_eq!(encode(&tokenizer, "abcd", None, 4).ids, tokenizer.encode("ab", true).expect("ids"));
    }
}
