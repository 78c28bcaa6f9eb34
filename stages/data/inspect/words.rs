//! The figures of a data set in words: the same lines wherever a person sees them.

use super::{Inspection, Lengths};

/// Widest bar of a histogram, in characters.
const WIDE: u64 = 40;

impl Inspection {
    /// The figures as lines, each under a short name; a further line of the same name has none.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        for file in &self.files {
            let (shape, reading) = (file.reading.shape.name(), &file.reading);
            out.push(("file", format!("{}: {shape}; {} records; {}", file.name, reading.records, reading.reason)));
            if !reading.unused.is_empty() {
                let unused: Vec<String> = reading.unused.iter().map(|(key, n)| format!("{key} ({n})")).collect();
                out.push(("", format!("not used, in so many records: {}", unused.join(", "))));
            }
        }
        let compared = match self.not_compared {
            0 => String::new(),
            n => format!(", {n} not compared"),
        };
        out.push((
            "records",
            format!(
                "{}; {} with an empty answer; {} repeat an earlier one, {} nearly{compared}",
                self.records, self.empty_answers, self.duplicates, self.near_duplicates
            ),
        ));
        if self.equal_pairs > 0 {
            out.push(("", format!("{} pairs have two equal answers", self.equal_pairs)));
        }
        self.encoded_words(&mut out);
        self.asked_words(&mut out);
        let personal = &self.personal;
        out.push((
            "personal",
            format!(
                "{} e-mail addresses, {} telephone numbers, {} card numbers, likely, in {} records",
                personal.emails, personal.phones, personal.cards, personal.records
            ),
        ));
        out.extend(personal.examples.iter().map(|(place, text)| ("", format!("{place}: {text}"))));
        if let Some(overlap) = &self.overlap {
            out.push((
                "overlap",
                format!(
                    "of {} records to evaluate with, {} have a prompt that is trained on, {} nearly one",
                    overlap.records, overlap.same, overlap.near
                ),
            ));
            out.extend(overlap.examples.iter().map(|(place, text)| ("", format!("{place}: {text:?}"))));
        }
        out
    }

    /// What became of the tokens.
    fn encoded_words(&self, out: &mut Vec<(&'static str, String)>) {
        let tally = &self.tally;
        if self.tokens.count() == 0 {
            let most = self.characters.quantile(0.5);
            let text = format!("{} in all; half of the records have at most {most}", self.characters.total);
            return out.push(("characters", text));
        }
        let lengths = &self.tokens;
        out.push((
            "tokens",
            format!(
                "{} in all; {} to {} each, half of them at most {}",
                lengths.total,
                lengths.least,
                lengths.most,
                lengths.quantile(0.5)
            ),
        ));
        if self.encoded == 0 {
            return;
        }
        out.push((
            "learnt",
            format!(
                "{:.1} % of the tokens: {} of {} in {} records",
                100.0 * self.trained_share(),
                tally.trained_tokens,
                tally.tokens,
                tally.kept
            ),
        ));
        out.push((
            "left out",
            format!(
                "{} for a prompt that fills the context, {} for an answer that does not fit, {} with nothing to learn; \
                 {} cut",
                tally.prompt_too_long, tally.answer_too_long, tally.untrained, tally.truncated
            ),
        ));
        out.push((
            "masks",
            format!(
                "both ways agree on {}, on {} words of the template beside the answer are learnt too, {} without a \
                 template; {} tokens lie across a border",
                tally.exact, tally.contained, tally.plain, tally.straddling
            ),
        ));
        let (all, ended) = (tally.turns, tally.turns - tally.unended);
        out.push(("ends", format!("{ended} of {all} answers end with a mark that is learnt")));
        out.push(("begins", self.bos_words()));
    }

    fn bos_words(&self) -> String {
        match (self.begins_with_bos, self.bos_inside) {
            (0, _) => "no BOS (the tokenizer has none, or the template writes none)".into(),
            (some, inside) => format!("{some} of {} with exactly one BOS; {inside} have it inside too", self.encoded),
        }
    }

    /// What is asked.
    fn asked_words(&self, out: &mut Vec<(&'static str, String)>) {
        let asked = &self.diversity;
        if asked.prompts == 0 {
            return;
        }
        out.push((
            "prompts",
            format!("{}; {} stand in an earlier record too, {} nearly", asked.prompts, asked.same, asked.near),
        ));
        out.extend(asked.near_examples.iter().map(|(place, text)| ("", format!("nearly: {place}: {text:?}"))));
        out.push((
            "kinds",
            format!("{} by their first words, as varied as {:.1} equal ones", asked.kinds, asked.effective_kinds),
        ));
        for kind in &asked.most {
            let share = 100.0 * kind.count as f64 / asked.prompts as f64;
            out.push(("", format!("{:>5.1} %  {}: {:?}", share, kind.words, kind.example)));
        }
        let mut name = "words";
        for line in asked.words.histogram() {
            out.push((name, line));
            name = "";
        }
    }
}

impl Lengths {
    /// A bar for each range of lengths, between the first and the last that came.
    pub fn histogram(&self) -> Vec<String> {
        let most = self.bars.iter().copied().max().unwrap_or(0).max(1);
        let line = |(bar, &count): (usize, &u64)| {
            let (from, to) = (if bar == 0 { 0 } else { 1u64 << bar }, (2u64 << bar) - 1);
            let marks = "#".repeat((count * WIDE).div_ceil(most) as usize);
            format!("{from:>6} to {to:<6} {count:>7} {marks}").trim_end().to_owned()
        };
        self.bars.iter().enumerate().skip_while(|(_, count)| **count == 0).map(line).collect()
    }
}
