//! A byte-level tokenizer for the tests of this folder.

use super::*;

/// Ids 0..256 are bytes; 256 is BOS, 257 EOS, 258 padding.
#[derive(Debug, Clone)]
pub struct Toy {
    pub bos: bool,
    pub eos: bool,
    pub pad: bool,
}

pub const BOS: u32 = 256;
pub const EOS: u32 = 257;
pub const PAD: u32 = 258;

impl Toy {
    pub fn shared() -> Arc<dyn TextTokenizer> {
        Arc::new(Toy { bos: true, eos: true, pad: true })
    }
}

impl TextTokenizer for Toy {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if text.contains('\0') {
            return Err(Error::config("cannot encode NUL"));
        }
        Ok(text.bytes().map(u32::from).collect())
    }
    fn decode_raw(&self, ids: &[u32]) -> Result<String> {
        let text = |&id: &u32| match id {
            BOS => "<s>".to_string(),
            EOS => "</s>".to_string(),
            PAD => "<pad>".to_string(),
            byte => char::from(byte as u8).to_string(),
        };
        Ok(ids.iter().map(text).collect())
    }
    fn fingerprint(&self) -> Option<[u8; 32]> {
        Some([u8::from(self.bos) * 4 + u8::from(self.eos) * 2 + u8::from(self.pad); 32])
    }
    fn eos_id(&self) -> Option<u32> {
        self.eos.then_some(EOS)
    }
    fn pad_id(&self) -> Option<u32> {
        self.pad.then_some(PAD)
    }
    fn bos_id(&self) -> Option<u32> {
        Some(BOS)
    }
    fn add_bos(&self) -> bool {
        self.bos
    }
    fn ends_turn(&self, id: u32) -> bool {
        id == EOS
    }
    fn chat(&self, given: Option<&str>) -> Result<ChatTemplate> {
        // Bytes have no special tokens, so a template spells none.
        given.map_or(Err(Error::config("no chat template")), |source| ChatTemplate::new(source, "", ""))
    }
}
