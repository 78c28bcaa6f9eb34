//! Chat templates: Jinja through minijinja, set up as transformers sets up its own.
//!
//! The same words come out: blocks trimmed on both sides, Python's spelling of values and of JSON, Python's methods on
//! strings and objects, `raise_exception`, `strftime_now`, `break` and `continue`. A template is hostile input: its
//! size and its work are bounded, and it reaches nothing but what it is given.
//!
//! Differences that stay: `strftime_now` is UTC and told by whoever trains, because the same data must give the same
//! tokens on another day; Jinja's rarest filters (`wordcount`, `center`, `truncate`, `xmlattr` ...) are not there, and
//! a template that uses one is refused with its name.

mod clock;
mod generation;
mod jinja;
mod load;
mod python;
#[cfg(test)]
mod tests;

pub(in crate::data) use generation::unused as unused_characters;
pub use load::Source;

use super::records::Message;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, State, Value};
use pleach_runtime::fault::Refusal;
use serde_json::{Map, Value as Json};
use std::ops::Range;

/// Largest template, in bytes: the longest public ones have 20 KiB.
const MAX_SOURCE: usize = 1 << 20;

/// Work of one rendering: about an instruction, or 64 bytes of text, each. A conversation of a thousand turns takes
/// a hundredth of it.
const FUEL: u64 = 20_000_000;

/// Deepest nesting of macros.
const DEEPEST: usize = 100;

/// The built-in template: each turn between `<|im_start|>` and `<|im_end|>`, tools as Qwen2.5 spells them.
pub const CHATML: &str = include_str!("template/chatml.jinja");

/// The built-in plain template: turns after "Human:" and "Assistant:", an answer's end is EOS.
pub const PLAIN: &str = include_str!("template/plain.jinja");

/// A compiled chat template with the special tokens that it may name.
pub struct Template {
    origin: String,
    source: String,
    environment: Environment<'static>,
    specials: Vec<(String, String)>,
    marks: bool,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Template({}, {} bytes)", self.origin, self.source.len())
    }
}

/// What a template sees.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The conversation, each message an object.
    pub messages: Vec<Json>,
    /// Schemas of tools; absent where there are none.
    pub tools: Option<Vec<Json>>,
    /// Documents; absent where there are none.
    pub documents: Option<Vec<Json>>,
    /// Whether the beginning of an answer is to follow.
    pub add_generation_prompt: bool,
    /// Other variables, such as `enable_thinking`.
    pub variables: Map<String, Json>,
}

impl Scene {
    /// The scene of some messages.
    pub fn of(messages: &[Message]) -> Scene {
        Scene { messages: messages.iter().map(Message::to_value).collect(), ..Scene::default() }
    }
}

impl Template {
    /// Compiles a template. `origin` names it in messages; `specials` are names and texts such as
    /// ("bos_token", "<s>").
    ///
    /// # Errors
    /// A refusal where it is too long or no Jinja; it names the line.
    pub fn new(origin: &str, source: &str, specials: Vec<(String, String)>) -> Result<Template, Refusal> {
        let refuse = |detail: String| {
            let hint = "correct the template, or leave it out to use the built-in ChatML (template = \"chatml\")";
            Refusal::new(format!("could not read the chat template {origin}"), detail, hint)
        };
        if source.len() > MAX_SOURCE {
            return Err(refuse(format!("it has {} bytes; the limit is {MAX_SOURCE}", source.len())));
        }
        let (prepared, marks) = generation::prepare(source);
        let mut environment = environment();
        let compiled = environment.add_template_owned("chat", prepared);
        compiled.map_err(|error| refuse(describe(&error)))?;
        Ok(Template { origin: origin.to_owned(), source: source.to_owned(), environment, specials, marks })
    }

    /// Where the template is from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The template's text, as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The special tokens that it may name.
    pub fn specials(&self) -> &[(String, String)] {
        &self.specials
    }

    /// Whether it says with `{% generation %}` what the model writes.
    pub fn has_generation_blocks(&self) -> bool {
        self.marks
    }

    /// The same template with the moment that `strftime_now` tells, in seconds since 1970, UTC. Without it the
    /// function is not there, as in older versions of transformers; templates ask whether it is.
    pub fn at(mut self, seconds: i64) -> Template {
        let tell = move |format: String| -> Result<String, Error> {
            clock::strftime(seconds, &format).map_err(|detail| Error::new(ErrorKind::InvalidOperation, detail))
        };
        self.environment.add_function("strftime_now", tell);
        self
    }

    /// The rendered conversation.
    ///
    /// # Errors
    /// A refusal with what the template raised, or where it failed; its line is named.
    pub fn render(&self, scene: &Scene) -> Result<String, Refusal> {
        self.run(scene, None)
    }

    /// The rendered conversation, and the byte ranges within its `{% generation %}` blocks.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_marked(&self, scene: &Scene) -> Result<(String, Vec<Range<usize>>), Refusal> {
        let fences = generation::fences(&self.source, scene);
        let text = self.run(scene, Some(fences))?;
        Ok(generation::take_out(&text, fences))
    }

    fn run(&self, scene: &Scene, fences: Option<(char, char)>) -> Result<String, Refusal> {
        let mut context: Vec<(String, Value)> = Vec::new();
        // Python's own constants, which Jinja knows besides its small ones.
        for (name, text) in &self.specials {
            context.push((name.clone(), Value::from(text.as_str())));
        }
        let variables = scene.variables.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value))));
        context.extend(variables);
        let optional = |list: &Option<Vec<Json>>| match list {
            Some(list) => Value::from(Serde(list)),
            None => Value::from(()),
        };
        context.push(("messages".into(), Value::from(Serde(&scene.messages))));
        context.push(("tools".into(), optional(&scene.tools)));
        context.push(("documents".into(), optional(&scene.documents)));
        context.push(("add_generation_prompt".into(), Value::from(scene.add_generation_prompt)));
        if let Some((open, close)) = fences {
            context.push((generation::FENCES.into(), Value::from(format!("{open}{close}"))));
        }
        let template = self.environment.get_template("chat").map_err(|error| self.failed(&error))?;
        template.render(Value::from_pairs(context)).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &Error) -> Refusal {
        let hint = match error.kind() {
            ErrorKind::OutOfFuel => "it does far too much work for a conversation: do not trust this template",
            _ => "correct the record, or use another template (template = \"chatml\" is built in)",
        };
        let what = format!("the chat template {} does not take this conversation", self.origin);
        Refusal::new(what, describe(error), hint)
    }
}

/// An error with its line, and what a template raised in its own words.
fn describe(error: &Error) -> String {
    let line = error.line().map_or(String::new(), |line| format!("line {line}: "));
    let detail = error.detail().unwrap_or("");
    match error.kind() {
        ErrorKind::OutOfFuel => format!("{line}it did not end within {FUEL} steps"),
        kind if detail.is_empty() => format!("{line}{kind}"),
        kind => format!("{line}{kind}: {detail}"),
    }
}

/// transformers' environment.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().expect("the usual delimiters"));
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(DEEPEST);
    environment.set_formatter(|out, _: &mut State, value| {
        let text = python::text(value)?;
        out.write_str(&text).map_err(|_| Error::new(ErrorKind::WriteFailure, "could not write"))
    });
    jinja::extend(&mut environment);
    environment.add_filter(generation::FILTER, generation::fence);
    environment
}
