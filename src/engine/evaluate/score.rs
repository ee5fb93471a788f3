//! Scores of a model over a set of records: the loss of the references, and measures of the model's own answers.

use crate::engine::data::loader::LoaderOptions;
use crate::engine::data::metrics::{Chrf, MeanLoss, Normal, chrf, rouge};
use crate::engine::data::split::Subset;
use crate::engine::data::tokenize::Tokenized;
use crate::engine::error::{Error, Result};
use crate::engine::generate::stop::StopReason;
use crate::engine::generate::{BatchLimits, GenerateConfig, Generated};
use crate::engine::interrupt;
use crate::engine::llama::Llama;

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The prompt as the model reads it.
    pub prompt: String,
    /// What it should answer.
    pub reference: String,
}

/// How to score.
#[derive(Debug, Clone, Default)]
pub struct ScoreOptions {
    /// How answers are made.
    pub generate: GenerateConfig,
    /// How much is worked on at once.
    pub limits: BatchLimits,
    /// What exact match overlooks.
    pub normal: Normal,
    /// Whether ROUGE looks at words without their endings.
    pub stemming: bool,
}

/// An answer with its scores.
#[derive(Debug, Clone)]
pub struct Answered {
    /// What was asked.
    pub asked: Asked,
    /// What the model made of it.
    pub answer: Generated,
    /// Whether the two are equal, after what is overlooked.
    pub exact_match: bool,
    /// All ROUGE measures.
    pub rouge: rouge::Scores,
    /// chrF, 0..100.
    pub chrf: f64,
}

impl Answered {
    /// Whether the model ended its answer by itself.
    pub fn stopped(&self) -> bool {
        matches!(self.answer.reason, StopReason::Token(_))
    }
}

/// Scores over a set. Shares and ROUGE are 0..1, chrF is 0..100.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Scores {
    /// Records answered.
    pub records: usize,
    /// Mean loss of a reference token, in nats; NaN where no record leaves one.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Reference tokens that the loss is over.
    pub tokens: u64,
    /// Share of answers equal to their reference.
    pub exact_match: f64,
    /// Mean ROUGE-1 F1.
    pub rouge_1: f64,
    /// Mean ROUGE-2 F1.
    pub rouge_2: f64,
    /// Mean ROUGE-L F1.
    pub rouge_l: f64,
    /// chrF of the whole set: of the counts of all answers together, as `sacrebleu` reports it.
    pub chrf: f64,
    /// Mean tokens of an answer, its end token included.
    pub answer_tokens: f64,
    /// Share of answers that the model ended by itself, rather than by a stop text or at the longest length.
    pub stopped: f64,
}

impl Llama {
    /// Losses of `data`'s labels. Examples of like length are taken together, no more tokens at once than `limits` allow:
    /// what fits in training fits here. With `pack` several share a row of so many tokens.
    ///
    /// # Errors
    /// If an example is longer than the model's positions or a packed row, or on Ctrl-C.
    pub fn set_loss(&mut self, data: &Tokenized, limits: BatchLimits, pack: Option<usize>) -> Result<MeanLoss> {
        limits.validate()?;
        let parts = match pack {
            Some(width) => vec![(data.clone(), limits.rows_of(width))],
            None => {
                let lengths: Vec<usize> = data.examples().iter().map(|e| e.ids.len()).collect();
                let part = |rows: Vec<usize>| data.pick(&rows).map(|part| (part, rows.len()));
                limits.batches(&lengths).into_iter().map(part).collect::<Result<_>>()?
            }
        };
        let mut mean = MeanLoss::default();
        for (part, size) in parts {
            let options = LoaderOptions { size, pack, shuffle: false, ..LoaderOptions::default() };
            for batch in part.windows(options)?.flatten() {
                interrupt::poll_any()?;
                let ids = batch.input_tensor(&self.device)?;
                let (sum, count) = self.evaluate(&ids, &batch.labels, Some(&batch.documents))?;
                mean.add_sum(sum, count);
            }
        }
        Ok(mean)
    }

    /// Scores of the answers to `asked`, with the loss of `examples`, and the answers. `on_done` hears how many are made.
    ///
    /// # Errors
    /// If nothing is asked, the model has no tokenizer, or a prompt is longer than the model's positions.
    pub fn score(
        &mut self,
        asked: Vec<Asked>,
        examples: Option<&Tokenized>,
        how: &ScoreOptions,
        on_done: &mut dyn FnMut(usize),
    ) -> Result<(Scores, Vec<Answered>)> {
        if asked.is_empty() {
            return Err(Error::config("there are no records to score"));
        }
        let loss = examples.map(|e| self.set_loss(e, how.limits, None)).transpose()?.unwrap_or_default();
        let ids = asked.iter().map(|a| self.prompt_ids(&a.prompt)).collect::<Result<Vec<_>>>()?;
        let mut done = 0;
        let answers = self.generate_all(&ids, &how.generate, how.limits, &mut |_, _| {
            done += 1;
            on_done(done);
            Ok(())
        })?;
        let mut answered = Vec::with_capacity(answers.len());
        for (asked, answer) in asked.into_iter().zip(answers) {
            interrupt::poll()?; // ROUGE-L's time is the product of two lengths
            answered.push(measured(asked, answer, how)?);
        }
        Ok((means(&answered, loss), answered))
    }
}

fn measured(asked: Asked, answer: Generated, how: &ScoreOptions) -> Result<Answered> {
    let (text, reference) = (&answer.text, &asked.reference);
    Ok(Answered {
        exact_match: how.normal.of(text) == how.normal.of(reference),
        rouge: rouge::scores(text, reference, how.stemming)?,
        chrf: chrf::sentence(text, reference),
        asked,
        answer,
    })
}

fn means(answered: &[Answered], loss: MeanLoss) -> Scores {
    let mean = |of: &dyn Fn(&Answered) -> f64| answered.iter().map(of).sum::<f64>() / answered.len() as f64;
    let share = |yes: bool| f64::from(u8::from(yes));
    let mut chrf = Chrf::default();
    for a in answered {
        chrf.add(&a.answer.text, &a.asked.reference);
    }
    Scores {
        records: answered.len(),
        loss: loss.mean().unwrap_or(f64::NAN),
        perplexity: loss.perplexity().unwrap_or(f64::NAN),
        tokens: loss.tokens(),
        exact_match: mean(&|a| share(a.exact_match)),
        rouge_1: mean(&|a| a.rouge.rouge_1.f1),
        rouge_2: mean(&|a| a.rouge.rouge_2.f1),
        rouge_l: mean(&|a| a.rouge.rouge_l.f1),
        chrf: chrf.score(),
        answer_tokens: mean(&|a| a.answer.ids.len() as f64),
        stopped: mean(&|a| share(a.stopped())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::data::record::{Dataset, Record};
    use crate::engine::data::template::Template;
    use crate::engine::data::tokenize::{TokenizeOptions, tokenize};
    use candle_core::{DType, Device};
    use std::sync::Arc;

    fn stories() -> Llama {
        Llama::load("builtin:stories260K", DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap()
    }

    fn asked() -> Vec<Asked> {
        let long = "They played and ran. ".repeat(10);
        let pairs = [
            ("Once upon a time", ", there was a little girl named Lily."),
            ("The dog", " ran to the park"),
            ("One day, Tom", &long),
            ("Lily", " was sad"),
        ];
        pairs.iter().map(|(p, r)| Asked { prompt: p.to_string(), reference: r.to_string() }).collect()
    }

    fn examples(model: &Llama) -> Tokenized {
        let options = TokenizeOptions {
            template: Template::single("{instruction}").unwrap().into(),
            ..TokenizeOptions::default()
        };
        let records = asked().into_iter().map(|a| Record::new(a.prompt, "", a.reference));
        let tokenizer = Arc::new(model.tokenizer().unwrap().clone());
        tokenize(&Dataset::new("records", records), tokenizer, &options).unwrap()
    }

    fn how() -> ScoreOptions {
        let mut how = ScoreOptions::default();
        how.generate.max_new_tokens = 6;
        how
    }

    /// Protects the loss: sorted into batches of any size it is the loss of one example at a time.
    #[test]
    fn set_loss_does_not_depend_on_the_batches() {
        let mut model = stories();
        let examples = examples(&model);
        let mut one = MeanLoss::default();
        for batch in examples.batches(1).unwrap() {
            let ids = batch.input_tensor(&Device::Cpu).unwrap();
            let (sum, count) = model.evaluate(&ids, &batch.labels, Some(&batch.documents)).unwrap();
            one.add_sum(sum, count);
        }
        for (rows, tokens) in [(1, 1), (2, 4096), (8, 4096), (8, 20)] {
            for pack in [None, Some(200)] {
                let loss = model.set_loss(&examples, BatchLimits { rows, tokens }, pack).unwrap();
                assert_eq!(loss.tokens(), one.tokens());
                let (got, want) = (loss.mean().unwrap(), one.mean().unwrap());
                assert!((got - want).abs() < 1e-5, "{rows} rows, {tokens} tokens, {pack:?}: {got} and {want}");
            }
        }
    }

    /// Protects the means: each is of the answers that come with it, and those are the model's own.
    #[test]
    fn scores_are_of_the_answers() {
        let mut model = stories();
        let mut heard = Vec::new();
        let examples = examples(&model);
        let (scores, answers) = model.score(asked(), Some(&examples), &how(), &mut |n| heard.push(n)).unwrap();
        assert_eq!((scores.records, answers.len(), heard), (4, 4, vec![1, 2, 3, 4]));
        let ids = model.prompt_ids("The dog").unwrap();
        let alone = model.generate(&ids, &how().generate, &mut |_| Ok(())).unwrap();
        assert_eq!(answers[1].answer.text, alone.text);
        assert_eq!((scores.answer_tokens, scores.stopped), (6.0, 0.0));
        let mean = answers.iter().map(|a| a.rouge.rouge_l.f1).sum::<f64>() / 4.0;
        assert!((scores.rouge_l - mean).abs() < 1e-12 && mean > 0.0);
        assert!((scores.perplexity - scores.loss.exp()).abs() < 1e-9 && scores.loss > 0.0);
    }

    /// Protects sets without references, and the message for an empty one.
    #[test]
    fn without_references() {
        let mut model = stories();
        let once = vec![Asked { prompt: "Once".into(), reference: String::new() }];
        let (scores, _) = model.score(once, None, &how(), &mut |_| ()).unwrap();
        assert!(scores.loss.is_nan() && scores.tokens == 0 && scores.chrf == 0.0);
        let none = model.score(Vec::new(), None, &how(), &mut |_| ()).unwrap_err();
        assert_eq!(none.to_string(), "there are no records to score");
    }
}
