package dev.harmguard.core.bundle

/**
 * What a tokenizer.json may hold: part, list of a Sequence, and per line a step or model with its
 * fields, each with its check in TokenizerRules.kt; a question mark says that it may be left out.
 */
internal const val TOKENIZER_STEPS = """
normalizer normalizers
 BertNormalizer clean_text:flag handle_chinese_chars:flag lowercase:flag strip_accents:maybeFlag?
 Strip strip_left:flag strip_right:flag
 StripAccents
 NFC
 NFD
 NFKC
 NFKD
 Lowercase
 Nmt
 Precompiled precompiled_charsmap:charsmap
 Replace pattern:pattern content:text
 Prepend prepend:prefix
pre_tokenizer pretokenizers
 BertPreTokenizer
 Whitespace
 WhitespaceSplit
 UnicodeScripts
 Punctuation behavior:behavior?
 Digits individual_digits:flag
 CharDelimiterSplit delimiter:letter
 Split pattern:words behavior:behavior invert:flag
 ByteLevel add_prefix_space:flag trim_offsets:flag use_regex:flag?
 Metaspace replacement:letter str_rep:letter? add_prefix_space:flag? prepend_scheme:scheme? split:flag?
post_processor processors
 TemplateProcessing single:single pair:pair special_tokens:specials
 BertProcessing sep:special cls:special
 RobertaProcessing sep:special cls:special trim_offsets:flag add_prefix_space:flag
 ByteLevel add_prefix_space:flag trim_offsets:flag use_regex:flag?
decoder decoders
 WordPiece prefix:prefix cleanup:flag
 ByteLevel add_prefix_space:flag trim_offsets:flag use_regex:flag?
 Metaspace replacement:letter str_rep:letter? add_prefix_space:flag? prepend_scheme:scheme? split:flag?
 BPEDecoder suffix:prefix
 Fuse
 ByteFallback
 Strip content:letter start:id stop:id
 Replace pattern:pattern content:text
model -
 WordPiece vocab:none unk_token:token continuing_subword_prefix:prefix max_input_chars_per_word:wordLimit
 BPE vocab:none dropout:zero? unk_token:maybeToken? continuing_subword_prefix:short? end_of_word_suffix:short? fuse_unk:flag? byte_fallback:flag? ignore_merges:flag? merges:merges
 WordLevel vocab:none unk_token:token
 Unigram vocab:none unk_id:id byte_fallback:flag?
added_tokens -
 token id:id content:token single_word:flag lstrip:flag rstrip:flag normalized:flag special:flag
"""
