//! What the little world writes, by the names that pipeline files give it: `world:notes:3000:1:400000` is 3000 notes of
//! seed 1 from number 400000 on. Texts, records and samples for tokenizers all have this one form.

use super::instructions::{Dialogue, Instructions};
use super::manuals::Manuals;
use super::preferences::{Prompt, Prompts, SimulatedRater};
use super::tasks::Notes;
use super::{Side, Stories};
use crate::data::random::Dice;
use pleach_runtime::fault::Refusal;
use serde_json::{Value, json};

/// Of a hundred learned answers to prompts that tempt, so many give in: what the last stage is there to unlearn.
const NAIVE: usize = 60;

/// Answers to each prompt that preferences rank.
const RANKED: usize = 4;

/// Sets the dice that choose answers to prompts apart from those that write prompts.
const ANSWERS: u64 = 0xA5_3E12;

/// Documents of a name at most: some 850 GB of stories.
const DOCUMENTS: u64 = 1_000_000_000;

/// A kind of document, all of them of the side that is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Material {
    /// General stories: `{"text"}`.
    Stories,
    /// Pages of manuals: `{"text"}`.
    Manuals,
    /// Notes and their JSON: `{"prompt", "completion"}`.
    Notes,
    /// Dialogues of many kinds of instruction: `{"messages"}`.
    Instructions,
    /// Prompts of preference with an answer, three in five naive, the others good: `{"messages"}`.
    Answers,
    /// Prompts to sample completions of, harmful ones and look-alikes among them: `{"prompt"}`.
    Prompts,
    /// Answers ranked by the simulated rater: `{"prompt", "completions", "ranks", "rater"}`.
    Preferences,
}

impl Material {
    /// All of it.
    pub const ALL: [Material; 7] = [
        Material::Stories,
        Material::Manuals,
        Material::Notes,
        Material::Instructions,
        Material::Answers,
        Material::Prompts,
        Material::Preferences,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Material::Stories => "stories",
            Material::Manuals => "manuals",
            Material::Notes => "notes",
            Material::Instructions => "instructions",
            Material::Answers => "answers",
            Material::Prompts => "prompts",
            Material::Preferences => "preferences",
        }
    }

    /// Tokens of a document in the mean, its marks among them, by the ladder's vocabulary.
    pub fn tokens(self) -> f64 {
        match self {
            Material::Stories => 153.0,
            Material::Manuals => 82.0,
            Material::Notes => 32.0,
            Material::Instructions => 46.0,
            Material::Answers => 31.0,
            Material::Prompts => 18.0,
            Material::Preferences => 90.0,
        }
    }

    /// Bytes of a document's text, about: only shares and progress bars lean on it.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Material::Stories => 850,
            _ => 450,
        }
    }

    /// The documents of a seed, by number, each a line of JSON.
    fn writer(self, seed: u64) -> Box<dyn Fn(u64) -> String> {
        match self {
            Material::Stories => {
                let stories = Stories::new(seed);
                Box::new(move |number| json!({ "text": stories.story(number) }).to_string())
            }
            Material::Manuals => {
                let manuals = Manuals::new(seed);
                Box::new(move |number| json!({ "text": manuals.page(number) }).to_string())
            }
            Material::Notes => {
                let notes = Notes::new(seed, Side::Seen);
                Box::new(move |number| notes.record(number).line())
            }
            Material::Instructions => {
                let dialogues = Instructions::new(seed, Side::Seen);
                Box::new(move |number| dialogues.dialogue(number).line())
            }
            Material::Answers | Material::Prompts | Material::Preferences => {
                let prompts = Prompts::new(seed, Side::Seen);
                Box::new(move |number| {
                    let prompt = prompts.prompt(number);
                    let mut dice = Dice::new(seed ^ ANSWERS, number);
                    match self {
                        Material::Answers => {
                            let naive = dice.chance(NAIVE);
                            let answer = if naive { prompt.naive(&mut dice) } else { prompt.good(&mut dice) };
                            let (messages, kinds) = (prompt.messages(&answer).to_vec(), Vec::new());
                            Dialogue { messages, kinds }.line()
                        }
                        Material::Prompts => json!({"prompt": asked(&prompt)}).to_string(),
                        _ => ranked(&prompt, seed, number, &mut dice),
                    }
                })
            }
        }
    }
}

fn asked(prompt: &Prompt) -> Value {
    json!([{"role": "user", "content": prompt.text}])
}

/// Answers of the world to a prompt, as the simulated rater ranks them.
fn ranked(prompt: &Prompt, seed: u64, number: u64, dice: &mut Dice) -> String {
    let answers = prompt.candidates(RANKED, dice);
    let ranking = SimulatedRater::new(seed).rank(prompt, &answers, number);
    let completion = |(at, (text, flags)): (usize, (&String, &Vec<super::preferences::Flag>))| {
        let flags: serde_json::Map<String, Value> =
            flags.iter().map(|flag| (format!("{flag:?}").to_lowercase(), json!(true))).collect();
        json!({"id": format!("{at}"), "text": text, "flags": flags})
    };
    let completions: Vec<Value> = answers.iter().zip(&ranking.flags).enumerate().map(completion).collect();
    let ranks: Vec<usize> = ranking.ranks.iter().map(|rank| rank + 1).collect();
    json!({"id": format!("world-{number}"), "prompt": asked(prompt), "completions": completions, "ranks": ranks,
           "rater": ranking.rater})
    .to_string()
}

/// Some documents of the world: what a name in a pipeline file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// What they are.
    pub material: Material,
    /// Seed of the world's dice.
    pub seed: u64,
    /// Number of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Excerpt {
    /// What `world:` names mean: `world:20000` is stories, `world:KIND:COUNT:SEED:FIRST` anything, where seed (1) and
    /// first number (0) may be left out. None for all other names.
    ///
    /// # Errors
    /// A refusal of a name that begins so and goes on otherwise.
    pub fn parse(name: &str) -> Result<Option<Excerpt>, Refusal> {
        let Some(rest) = name.strip_prefix("world:") else { return Ok(None) };
        let (kind, numbers) = match rest.split_once(':') {
            Some((kind, numbers)) if kind.starts_with(char::is_alphabetic) => (kind, numbers),
            _ => ("stories", rest),
        };
        let material = Material::ALL.into_iter().find(|material| material.name() == kind);
        let numbers: Option<Vec<u64>> = numbers.split(':').map(|number| number.parse().ok()).collect();
        let (material, numbers) = match (material, numbers) {
            (Some(material), Some(numbers)) if numbers.len() <= 3 => (material, numbers),
            _ => return Err(refuse(name)),
        };
        let number = |at: usize, otherwise: u64| numbers.get(at).copied().unwrap_or(otherwise);
        let excerpt = Excerpt { material, seed: number(1, 1), first: number(2, 0), count: numbers[0] };
        let fits = (1..=DOCUMENTS).contains(&excerpt.count) && excerpt.first <= u64::MAX - DOCUMENTS;
        if fits { Ok(Some(excerpt)) } else { Err(refuse(name)) }
    }

    /// The name that [`Excerpt::parse`] reads.
    pub fn name(&self) -> String {
        format!("world:{}:{}:{}:{}", self.material.name(), self.count, self.seed, self.first)
    }

    /// The documents as records, each a line without its end.
    pub fn lines(&self) -> impl Iterator<Item = String> + use<> {
        let write = self.material.writer(self.seed);
        (self.first..self.first + self.count).map(write)
    }

    /// The documents as text: of a record all that is said in it, which is what a tokenizer learns words from.
    pub fn texts(&self) -> impl Iterator<Item = String> + use<> {
        let (lines, bare) = (self.lines(), [Material::Stories, Material::Manuals].contains(&self.material));
        lines.map(move |line| {
            let (value, mut out) = (serde_json::from_str(&line).unwrap_or_default(), String::new());
            said(&value, &mut out);
            // A text is itself.
            out.truncate(out.len() - usize::from(bare));
            out
        })
    }
}

fn refuse(name: &str) -> Refusal {
    let kinds: Vec<&str> = Material::ALL.into_iter().map(Material::name).collect();
    let hint = format!(
        "write world:20000 for stories, or world:KIND:COUNT, with a seed and the first one's number behind it if they \
         are wanted (world:notes:3000:1:0); kinds are {}; at most {DOCUMENTS}",
        kinds.join(", ")
    );
    Refusal::new("could not read the data's name", format!("\"{name}\""), hint)
}

/// All that is said in a record: its speakers, prompts, answers and contents, a line each.
fn said(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| said(one, out)),
        Value::Object(map) => {
            for key in ["messages", "prompt", "completion", "completions", "role", "content", "text"] {
                match map.get(key) {
                    Some(Value::String(text)) => {
                        out.push_str(text.trim_end_matches('\n'));
                        out.push('\n');
                    }
                    Some(other) => said(other, out),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_material_has_lines_of_json_that_say_something() {
        for material in Material::ALL {
            let excerpt = Excerpt { material, seed: 3, first: 7, count: 30 };
            let (lines, texts): (Vec<_>, Vec<_>) = (excerpt.lines().collect(), excerpt.texts().collect());
            assert_eq!((lines.len(), texts.len()), (30, 30));
            assert_eq!(lines, excerpt.lines().collect::<Vec<_>>());
            // A document is its number's, wherever one begins.
            let tail = Excerpt { first: 17, count: 20, ..excerpt };
            assert_eq!(lines[10..], tail.lines().collect::<Vec<_>>());
            for (line, text) in lines.iter().zip(texts) {
                assert!(text.len() > 4 && !text.contains('{') || material == Material::Notes, "{text}");
                let value: Value = serde_json::from_str(line).expect("a line is JSON");
                assert!(value.is_object());
            }
        }
    }

    #[test]
    fn names_are_read_or_refused_in_words() {
        let read = |name: &str| Excerpt::parse(name).expect("it is a name");
        let of = |material, count, seed, first| Some(Excerpt { material, seed, first, count });
        assert_eq!(read("world:20"), of(Material::Stories, 20, 1, 0));
        assert_eq!(read("world:20:7"), of(Material::Stories, 20, 7, 0));
        assert_eq!(read("world:notes:3:2:9"), of(Material::Notes, 3, 2, 9));
        assert_eq!(read("notes.jsonl"), None);
        for material in Material::ALL {
            let excerpt = Excerpt { material, seed: 3, first: 7, count: 30 };
            assert_eq!(read(&excerpt.name()), Some(excerpt));
        }
        for name in
            ["world:", "world:0", "world:notes", "world:notes:x", "world:novels:3", "world:3:1:0:5", "world:1e3"]
        {
            let refusal = Excerpt::parse(name).expect_err(name);
            assert!(refusal.hint.contains("world:notes:3000"), "{refusal}");
        }
    }
}
